//! DingTalk's group robots: signed by time and secret, 20 messages a minute, or silence for ten.

use std::time::Duration;

use super::http::Http;
use super::{Failure, code, quoted};
use crate::message::Message;
use crate::secret::Secret;
use crate::sign;
use crate::time::UnixMs;
use crate::toml_table::{Mistake, Table};

/// How long it waits between two messages: evenly spread, 20 a minute never are too many.
pub(super) const SPACING: Duration = Duration::from_secs(3);

/// How long a robot that sent too many is not heard.
const HOLD: Duration = Duration::from_secs(600);

/// Its codes for "too many".
const TOO_MANY: [i64; 2] = [130_101, 410_100];

const TEXT_BYTES_MAX: usize = 4000;

#[derive(Debug)]
pub(super) struct DingTalk {
    http: Http,
    secret: Option<Secret>,
}

impl DingTalk {
    pub(super) fn read(
        table: &mut Table<'_>,
        timeout: Duration,
        secrets: &mut Vec<Secret>,
    ) -> Result<DingTalk, Mistake> {
        let http = Http::read(table, timeout, secrets)?;
        let secret = table.secret("secret")?.map(|secret| secret.value);
        secrets.extend(secret.clone());
        Ok(DingTalk { http, secret })
    }

    pub(super) fn deliver(&self, message: &Message<'_>, now: UnixMs) -> Result<(), Failure> {
        let person = message.person;
        // A number in `atMobiles` calls somebody only when the text has it too.
        let mention =
            person.dingtalk.as_ref().map_or_else(|| person.name.clone(), |mobile| format!("@{mobile}"));
        let body = serde_json::json!({
            "msgtype": "text",
            "text": { "content": format!("{mention} {}", message.text(TEXT_BYTES_MAX)) },
            "at": { "atMobiles": person.dingtalk.iter().collect::<Vec<_>>(), "isAtAll": false },
        });
        let body = body.to_string();
        let answer = match &self.secret {
            None => self.http.post(body.as_bytes(), &[])?,
            Some(secret) => {
                let signature = sign::url_encode(&sign::dingtalk(secret.expose(), now.0));
                let url = self.http.url_with(&format!("timestamp={}&sign={signature}", now.0));
                self.http.post_to(&url, body.as_bytes(), &[])?
            }
        };
        let said = serde_json::from_slice(&answer.body).unwrap_or_default();
        match code(&said, &["errcode"]) {
            Some(0) => Ok(()),
            errcode => Err(Failure {
                what: format!("DingTalk answered {}", quoted(&answer.body)),
                hold: errcode.filter(|errcode| TOO_MANY.contains(errcode)).map(|_| HOLD),
            }),
        }
    }
}
