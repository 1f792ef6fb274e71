//! Any receiver of HTTP: the record as JSON, signed when a secret is given.
//!
//! ```text
//!  POST /path
//!  X-Redstart-Record: 01JD9X2M4Q7Z3K9V1B5N8C6D2F              tells a repetition from a new failure
//!  X-Redstart-Signature: t=1795400761,v1=HEX                  HMAC-SHA256 of "1795400761." and the body
//! ```

use std::time::Duration;

use super::Failure;
use super::http::Http;
use crate::message::Message;
use crate::secret::Secret;
use crate::sign;
use crate::time::UnixMs;
use crate::toml_table::{Mistake, Table};

/// How long it waits between two messages.
pub(super) const SPACING: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Webhook {
    http: Http,
    secret: Option<Secret>,
    headers: Vec<(String, Secret)>,
}

impl Webhook {
    pub(super) fn read(
        table: &mut Table<'_>,
        timeout: Duration,
        secrets: &mut Vec<Secret>,
    ) -> Result<Webhook, Mistake> {
        let http = Http::read(table, timeout, secrets)?;
        let secret = table.secret("secret")?.map(|secret| secret.value);
        secrets.extend(secret.clone());
        let mut headers = Vec::new();
        for (name, value) in table.secrets("headers")? {
            let valid = name.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if !valid || !value.expose().bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                return Err(name.mistake(format!("{}: `{}` is not a header of HTTP", table.name, name.value)));
            }
            secrets.push(value.clone());
            headers.push((name.value, value));
        }
        Ok(Webhook { http, secret, headers })
    }

    pub(super) fn deliver(&self, message: &Message<'_>, now: UnixMs) -> Result<(), Failure> {
        let body = message.json();
        let id = message.record.id.to_string();
        let signature =
            self.secret.as_ref().map(|secret| sign::webhook(secret.expose(), now.0 / 1000, &body));
        let mut headers: Vec<(&str, &str)> = vec![("X-Redstart-Record", &id)];
        headers.extend(signature.as_deref().map(|signature| ("X-Redstart-Signature", signature)));
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.expose())));
        self.http.post(&body, &headers).map(drop)
    }
}
