//! Posts over HTTP and HTTPS, within bounds: of time, of bytes, and of where a receiver may send us.

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::Failure;
use crate::secret::Secret;
use crate::toml_table::{Mistake, Table};

/// How much of an answer is read; all that matters stands at its beginning.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// How long we keep away when a receiver says "too many" without saying for how long.
const HOLD: Duration = Duration::from_secs(30);

/// The longest time that a receiver can keep us away for.
const HOLD_MAX: Duration = Duration::from_secs(600);

/// A URL and the means to post to it.
pub(crate) struct Http {
    url: Secret,
    timeout: Duration,
    authorities: Option<Vec<CertificateDer<'static>>>,
    agent: OnceLock<Agent>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("url", &self.url).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What a receiver answered with a status of success.
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// Reads `url` and `ca_file` from a channel's table.
    pub(crate) fn read(
        table: &mut Table<'_>,
        timeout: Duration,
        secrets: &mut Vec<Secret>,
    ) -> Result<Http, Mistake> {
        let url = table.required_secret("url")?;
        let text = url.value.expose();
        let after_scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = after_scheme.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
        if host.is_none_or(str::is_empty)
            || text.contains(char::is_whitespace)
            || text.parse::<ureq::http::Uri>().is_err()
        {
            return Err(url.mistake(format!("{}: `url` must be a URL of http or https", table.name)));
        }
        // Vendors put what opens the door into the path or the query, and receivers may quote any part of it.
        secrets.push(url.value.clone());
        let parts = after_scheme.unwrap_or_default().split(['/', '?', '&', '=', '#']).skip(1);
        secrets.extend(parts.filter(|part| part.len() >= 12).map(Secret::new));
        let authorities = match table.path("ca_file")? {
            Some(file) => Some(
                certificates(&file.value).map_err(|what| file.mistake(format!("{}: {what}", table.name)))?,
            ),
            None => None,
        };
        Ok(Http { url: url.value, timeout, authorities, agent: OnceLock::new() })
    }

    /// Returns the URL with parameters added.
    pub(crate) fn url_with(&self, parameters: &str) -> Secret {
        let url = self.url.expose();
        let join = if url.contains('?') { '&' } else { '?' };
        Secret::new(format!("{url}{join}{parameters}"))
    }

    /// Posts JSON to the URL itself.
    pub(crate) fn post(&self, body: &[u8], headers: &[(&str, &str)]) -> Result<Answer, Failure> {
        self.post_to(&self.url, body, headers)
    }

    /// Posts JSON; only a status of success is an answer.
    pub(crate) fn post_to(
        &self,
        url: &Secret,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let mut request =
            self.agent().post(url.expose()).header("Content-Type", "application/json; charset=utf-8");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(body).map_err(|error| Failure::new(reason(&error)))?;
        let status = response.status().as_u16();
        let wait =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut answer = Vec::new();
        let read = response.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
        match status {
            200..=299 => {
                // A status without its body may come from a receiver that failed half-way.
                read.map_err(|error| Failure::new(format!("the answer broke off: {error}")))?;
                Ok(Answer { body: answer })
            }
            300..=399 => Err(Failure::new(format!(
                "answered {status}, a redirect, which is not followed: the message would go where nobody meant it to go"
            ))),
            _ => {
                let hold = (status == 429 || status == 503).then(|| wait.map_or(HOLD, Duration::from_secs));
                let what = format!("answered {status} with {}", super::quoted(&answer));
                let said_so = status == 429 || wait.is_some();
                Err(Failure { what, hold: hold.filter(|_| said_so).map(|hold| hold.min(HOLD_MAX)) })
            }
        }
    }

    fn agent(&self) -> &Agent {
        self.agent.get_or_init(|| {
            let authorities = self.authorities.clone().unwrap_or_else(system_certificates);
            let roots: Vec<Certificate<'static>> =
                authorities.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
            let tls = TlsConfig::builder()
                .provider(TlsProvider::Rustls)
                .root_certs(RootCerts::new_with_certs(&roots))
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .build();
            Agent::config_builder()
                .tls_config(tls)
                .timeout_global(Some(self.timeout))
                .http_status_as_error(false)
                // A redirect turns a POST into a GET, which any page answers with 200: nobody would have been told.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .max_idle_connections(0)
                .max_response_header_size(ANSWER_BYTES_MAX as usize)
                .user_agent(concat!("redstart/", env!("CARGO_PKG_VERSION")))
                .build()
                .new_agent()
        })
    }
}

/// Returns why a post failed, in words that never hold the URL.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "the URL or a header is not valid".into(),
        ureq::Error::Timeout(_) => "no answer in time".into(),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        ureq::Error::Io(error) => {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(error) => format!("TLS: {error}"),
                None => error.to_string(),
            }
        }
        other => other.to_string(),
    }
}

/// Returns the certificates in a PEM file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| format!("{}: {error}", path.display()))?;
    if found.is_empty() { Err(format!("{} has no certificate", path.display())) } else { Ok(found) }
}

/// Returns the certificates that this system trusts.
fn system_certificates() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}
