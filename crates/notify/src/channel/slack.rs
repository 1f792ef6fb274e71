//! Slack's incoming webhooks: one message a second, and `ok` when it was taken.

use std::time::Duration;

use super::http::Http;
use super::{Failure, quoted};
use crate::message::Message;
use crate::secret::Secret;
use crate::toml_table::{Mistake, Table};

/// How long it waits between two messages.
pub(super) const SPACING: Duration = Duration::from_secs(1);

/// How long a text may be; Slack cuts longer ones.
const TEXT_BYTES_MAX: usize = 4000;

#[derive(Debug)]
pub(super) struct Slack {
    http: Http,
}

impl Slack {
    pub(super) fn read(
        table: &mut Table<'_>,
        timeout: Duration,
        secrets: &mut Vec<Secret>,
    ) -> Result<Slack, Mistake> {
        Ok(Slack { http: Http::read(table, timeout, secrets)? })
    }

    pub(super) fn deliver(&self, message: &Message<'_>) -> Result<(), Failure> {
        let person = message.person;
        let mention = match &person.slack {
            Some(member) => format!("<@{member}>"),
            None => escape(&person.name),
        };
        let text = format!("{mention} {}", escape(&message.text(TEXT_BYTES_MAX)));
        let body = serde_json::json!({ "text": text }).to_string();
        let answer = self.http.post(body.as_bytes(), &[])?;
        if answer.body.trim_ascii() == b"ok" {
            Ok(())
        } else {
            Err(Failure::new(format!("Slack answered {} instead of ok", quoted(&answer.body))))
        }
    }
}

/// Returns a text in which nothing mentions anybody: a key named `<!channel>` must not wake a channel.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
