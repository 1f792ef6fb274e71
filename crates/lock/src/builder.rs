//! Building a client: where to connect, and as whom.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{Client, IntoConnectionInfo};

use crate::backend::BackendKind;
use crate::client::{LockClient, Shared};
use crate::error::Error;
use crate::lock::{LONGEST_OWNER, LONGEST_TIME};
use crate::record::RecordSink;
use crate::renewal::Renewals;
use crate::server::{DEAD_AFTER, Server};
use crate::store::Store;
use crate::{blocking, machine, random};

/// Builds a [`LockClient`].
#[derive(Clone)]
pub struct ClientBuilder {
    urls: Vec<String>,
    username: Option<String>,
    password: Option<String>,
    db: Option<i64>,
    connection_timeout: Duration,
    response_timeout: Duration,
    patience: Duration,
    owner: Option<String>,
    backend: Option<BackendKind>,
    redlock: bool,
    sink: Option<Arc<dyn RecordSink>>,
}

impl Default for ClientBuilder {
    fn default() -> ClientBuilder {
        ClientBuilder {
            urls: Vec::new(),
            username: None,
            password: None,
            db: None,
            connection_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
            patience: Duration::from_secs(5),
            owner: None,
            backend: None,
            redlock: false,
            sink: None,
        }
    }
}

impl ClientBuilder {
    /// Adds an address, such as `redis://127.0.0.1:6379` or `unix:///run/redis.sock`.
    ///
    /// Several addresses are those of one master and its replicas, tried in turn; with [`redlock`](Self::redlock) they
    /// are independent servers.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Adds several addresses.
    pub fn urls<U: Into<String>>(mut self, urls: impl IntoIterator<Item = U>) -> Self {
        self.urls.extend(urls.into_iter().map(Into::into));
        self
    }

    /// Sets the user to log in as, for addresses that name none.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Sets the password to log in with, for addresses that have none.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Sets the number of the database, for addresses that name none.
    pub fn db(mut self, db: i64) -> Self {
        self.db = Some(db);
        self
    }

    /// Sets how long connecting may take; 2 s by default.
    pub fn connection_timeout(mut self, timeout: Duration) -> Self {
        self.connection_timeout = timeout.min(LONGEST_TIME);
        self
    }

    /// Sets how long an answer may take, beyond a wait that was asked for; 2 s by default.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout.min(LONGEST_TIME);
        self
    }

    /// Sets how long a server may be out of reach until [`Error::Unavailable`]; 5 s by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets what owners' names begin with; `host:pid` by default. What follows makes each lock's own of it.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Sets how locks are held instead of asking the server what it can do.
    pub fn backend(mut self, backend: BackendKind) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Takes the addresses as those of independent servers, of which a majority decides; see [`crate::redlock`].
    pub fn redlock(mut self) -> Self {
        self.redlock = true;
        self
    }

    /// Sets who is told of failures.
    pub fn records(mut self, sink: Arc<dyn RecordSink>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Returns the client; it connects when it is first asked for something.
    pub fn build(self) -> Result<LockClient, Error> {
        if self.urls.is_empty() {
            return Err(Error::Invalid { reason: "no address of a server given".into() });
        }
        let addresses = self.urls.iter().map(|url| self.address(url)).collect::<Result<Vec<_>, _>>()?;
        let server = |addresses| {
            Arc::new(Server::new(addresses, self.backend, self.connection_timeout, self.response_timeout))
        };
        let store = if self.redlock {
            Store::Several(addresses.into_iter().map(|address| server(vec![address])).collect())
        } else {
            Store::One(server(addresses))
        };
        let owner = self.owner.unwrap_or_else(|| format!("{}:{}", machine::host(), std::process::id()));
        if owner.is_empty() || owner.len() > LONGEST_OWNER / 2 || owner.contains(['\r', '\n', '\0']) {
            let reason =
                "what owners' names begin with has from 1 to 256 bytes, without line breaks and zeros";
            return Err(Error::Invalid { reason: reason.into() });
        }
        // Two processes may be given the same name, and must not take each other's locks for their own.
        let owner = format!("{owner}:{:016x}", random::number());
        Ok(LockClient {
            shared: Arc::new(Shared {
                store: Arc::new(store),
                renewals: Arc::new(Renewals::default()),
                sink: self.sink,
                patience: self.patience,
                owner,
                next_id: AtomicU64::new(0),
            }),
        })
    }

    /// Returns a client for code that is not async.
    pub fn build_blocking(self) -> Result<blocking::LockClient, Error> {
        blocking::LockClient::new(self.build()?)
    }

    fn address(&self, url: &str) -> Result<Client, Error> {
        // The address may hold a password: it is left out of what is said.
        let invalid = |error: redis::RedisError| Error::Invalid {
            reason: format!("not an address of a server: {}", error.category()),
        };
        let info = url.into_connection_info().map_err(invalid)?;
        let mut settings = info.redis_settings().clone();
        if let (None, Some(username)) = (settings.username(), &self.username) {
            settings = settings.set_username(username);
        }
        if let (None, Some(password)) = (settings.password(), &self.password) {
            settings = settings.set_password(password);
        }
        if let (0, Some(db)) = (settings.db(), self.db) {
            settings = settings.set_db(db);
        }
        // Whoever waits in a queue hears nothing for long; the system finds out when nobody is there any more.
        let third = DEAD_AFTER / 3;
        let keepalive = TcpKeepalive::new().with_time(third).with_interval(third / 2).with_retries(4);
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
        Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp)).map_err(invalid)
    }
}
