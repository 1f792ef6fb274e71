//! WeCom's group robots: the key stands in the URL, 20 messages a minute, texts of at most 2048 bytes.

use std::time::Duration;

use super::http::Http;
use super::{Failure, code, quoted};
use crate::message::Message;
use crate::secret::Secret;
use crate::toml_table::{Mistake, Table};

/// How long it waits between two messages.
pub(super) const SPACING: Duration = Duration::from_secs(3);

/// How long a robot that sent too many keeps quiet.
const HOLD: Duration = Duration::from_secs(60);

/// Its code for "too many".
const TOO_MANY: i64 = 45_009;

const TEXT_BYTES_MAX: usize = 2048;

#[derive(Debug)]
pub(super) struct WeCom {
    http: Http,
}

impl WeCom {
    pub(super) fn read(
        table: &mut Table<'_>,
        timeout: Duration,
        secrets: &mut Vec<Secret>,
    ) -> Result<WeCom, Mistake> {
        Ok(WeCom { http: Http::read(table, timeout, secrets)? })
    }

    pub(super) fn deliver(&self, message: &Message<'_>) -> Result<(), Failure> {
        let person = message.person;
        let lead = crate::record::shorten(person.name.clone(), 100);
        let text = format!("{lead}: {}", message.text(TEXT_BYTES_MAX - lead.len() - 2));
        let body = serde_json::json!({
            "msgtype": "text",
            "text": {
                "content": text,
                "mentioned_list": person.wecom.iter().collect::<Vec<_>>(),
                "mentioned_mobile_list": person.wecom_mobile.iter().collect::<Vec<_>>(),
            },
        });
        let answer = self.http.post(body.to_string().as_bytes(), &[])?;
        let said = serde_json::from_slice(&answer.body).unwrap_or_default();
        match code(&said, &["errcode"]) {
            Some(0) => Ok(()),
            errcode => Err(Failure {
                what: format!("WeCom answered {}", quoted(&answer.body)),
                hold: (errcode == Some(TOO_MANY)).then_some(HOLD),
            }),
        }
    }
}
