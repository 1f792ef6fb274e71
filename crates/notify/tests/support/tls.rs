//! Certificates and the server's end of TLS.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::support::{Stream, Wrap};

/// A certificate that no authority of the system knows.
pub(crate) struct Identity {
    pub(crate) pem: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    pub(crate) fn new(host: &str) -> Identity {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Identity { pem: made.cert.pem(), config: Arc::new(config) }
    }

    /// Returns the server's end; nothing when the client would not have the certificate.
    pub(crate) fn accept(&self, mut stream: TcpStream) -> Option<Box<dyn Stream>> {
        let mut connection = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        connection.complete_io(&mut stream).ok()?;
        Some(Box::new(StreamOwned::new(connection, stream)))
    }

    pub(crate) fn wrap(self: &Arc<Self>) -> Wrap {
        let identity = Arc::clone(self);
        Arc::new(move |stream| identity.accept(stream))
    }
}
