//! Mail over SMTP: STARTTLS unless told otherwise, and never a password over an open line.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Address, SmtpTransport, Transport};

use super::Failure;
use super::http::certificates;
use crate::message::Message;
use crate::secret::Secret;
use crate::toml_table::{Mistake, Table};

/// How long it waits between two messages.
pub(super) const SPACING: Duration = Duration::from_secs(1);

const TEXT_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Smtp {
    server: String,
    from: Mailbox,
    transport: SmtpTransport,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("server", &self.server).field("from", &self.from).finish_non_exhaustive()
    }
}

impl Smtp {
    pub(super) fn read(
        table: &mut Table<'_>,
        timeout: Duration,
        secrets: &mut Vec<Secret>,
    ) -> Result<Smtp, Mistake> {
        let server = table.required("server")?.value;
        let from = table.required("from")?;
        let mailbox: Mailbox = from
            .value
            .parse()
            .map_err(|_| from.mistake(format!("{}: `from` is not an address of e-mail", table.name)))?;
        let tls = table.text("tls")?;
        let mode = tls.as_ref().map_or("starttls", |tls| tls.value.as_str());
        let port = table.port("port")?;
        let ca_file = table.path("ca_file")?;
        let user = table.text("username")?;
        let password = table.secret("password")?;
        let parameters = |table: &Table<'_>| -> Result<TlsParameters, Mistake> {
            let mut builder = TlsParameters::builder(server.clone());
            if let Some(file) = &ca_file {
                builder = builder.certificate_store(CertificateStore::None);
                let wrong = |what: String| file.mistake(format!("{}: {what}", table.name));
                for certificate in certificates(&file.value).map_err(wrong)? {
                    let certificate = Certificate::from_der(certificate.to_vec())
                        .map_err(|error| wrong(error.to_string()))?;
                    builder = builder.add_root_certificate(certificate);
                }
            }
            builder.build().map_err(|error| table.mistake(error))
        };
        let (tls_mode, usual_port) = match mode {
            "starttls" => (Tls::Required(parameters(table)?), 587),
            "implicit" => (Tls::Wrapper(parameters(table)?), 465),
            "none" => (Tls::None, 25),
            _ => {
                let place = tls.as_ref().map_or(table.span.clone(), |tls| tls.span.clone());
                return Err(Mistake::new(
                    place,
                    format!("{}: `tls` must be starttls, implicit or none", table.name),
                ));
            }
        };
        let mut builder = SmtpTransport::builder_dangerous(server.clone())
            .port(port.unwrap_or(usual_port))
            .tls(tls_mode)
            .timeout(Some(timeout));
        match (user, password) {
            (Some(user), Some(password)) => {
                if mode == "none" {
                    return Err(password
                        .mistake(format!("{}: a password needs TLS; set `tls` to starttls", table.name)));
                }
                secrets.push(password.value.clone());
                builder =
                    builder.credentials(Credentials::new(user.value, password.value.expose().to_owned()));
            }
            (None, None) => {}
            _ => return Err(table.mistake("`username` and `password` belong together")),
        }
        Ok(Smtp { server, from: mailbox, transport: builder.build() })
    }

    pub(super) fn deliver(&self, message: &Message<'_>) -> Result<(), Failure> {
        let person = message.person;
        let address: Option<Address> = person.email.as_deref().and_then(|email| email.parse().ok());
        let address =
            address.ok_or_else(|| Failure::new(format!("{} has no address of e-mail", message.person_id)))?;
        // One id for all tries: a mail program shows the second of two as the same mail.
        let id = format!("<{}.{}@redstart>", message.record.id, message.person_id);
        let mail = Mail::builder()
            .from(self.from.clone())
            .to(Mailbox::new(Some(person.name.clone()), address))
            .subject(format!("[redstart] {}", message.headline()))
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN)
            .body(format!("{},\n\n{}\n", person.name, message.text(TEXT_BYTES_MAX)))
            .map_err(|error| Failure::new(error.to_string()))?;
        self.transport.send(&mail).map(drop).map_err(|error| {
            // What went wrong underneath says more than "Connection error".
            let mut what = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                let inner_text = inner.to_string();
                if !what.contains(&inner_text) {
                    what = format!("{what}: {inner_text}");
                }
                source = inner.source();
            }
            Failure::new(what)
        })
    }
}
