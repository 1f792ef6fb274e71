//! Feishu's (Lark's) custom bots: signed by time and secret, 100 messages a minute.

use std::time::Duration;

use super::http::Http;
use super::{Failure, code, quoted};
use crate::message::Message;
use crate::secret::Secret;
use crate::sign;
use crate::time::UnixMs;
use crate::toml_table::{Mistake, Table};

/// How long it waits between two messages.
pub(super) const SPACING: Duration = Duration::from_millis(600);

/// How long a bot that sent too many keeps quiet.
const HOLD: Duration = Duration::from_secs(60);

/// Its codes for "too many".
const TOO_MANY: [i64; 2] = [9499, 11_232];

const TEXT_BYTES_MAX: usize = 4000;

#[derive(Debug)]
pub(super) struct Feishu {
    http: Http,
    secret: Option<Secret>,
}

impl Feishu {
    pub(super) fn read(
        table: &mut Table<'_>,
        timeout: Duration,
        secrets: &mut Vec<Secret>,
    ) -> Result<Feishu, Mistake> {
        let http = Http::read(table, timeout, secrets)?;
        let secret = table.secret("secret")?.map(|secret| secret.value);
        secrets.extend(secret.clone());
        Ok(Feishu { http, secret })
    }

    pub(super) fn deliver(&self, message: &Message<'_>, now: UnixMs) -> Result<(), Failure> {
        let person = message.person;
        let name = plain(&person.name);
        let mention = match &person.feishu {
            Some(user) => format!("<at user_id=\"{user}\">{name}</at>"),
            None => name,
        };
        let mut body = serde_json::json!({
            "msg_type": "text",
            "content": { "text": format!("{mention} {}", plain(&message.text(TEXT_BYTES_MAX))) },
        });
        if let Some(secret) = &self.secret {
            let seconds = now.0 / 1000;
            body["timestamp"] = seconds.to_string().into();
            body["sign"] = sign::feishu(secret.expose(), seconds).into();
        }
        let answer = self.http.post(body.to_string().as_bytes(), &[])?;
        let said = serde_json::from_slice(&answer.body).unwrap_or_default();
        // Older bots answer `StatusCode`.
        match code(&said, &["code", "StatusCode"]) {
            Some(0) => Ok(()),
            code => Err(Failure {
                what: format!("Feishu answered {}", quoted(&answer.body)),
                hold: code.filter(|code| TOO_MANY.contains(code)).map(|_| HOLD),
            }),
        }
    }
}

/// Returns a text in which nothing mentions anybody: Feishu knows no escapes, so tags lose their bracket.
fn plain(text: &str) -> String {
    text.replace('<', "‹").replace('>', "›")
}
