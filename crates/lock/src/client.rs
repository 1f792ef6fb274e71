//! The client: where locks are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::backend::{BackendKind, Trouble, native};
use crate::builder::ClientBuilder;
use crate::encode::digits;
use crate::error::Error;
use crate::lock::Lock;
use crate::record::RecordSink;
use crate::renewal::Renewals;
use crate::store::Store;

/// Asks one server, or several independent ones, for locks. Clones share their connections.
#[derive(Clone, Debug)]
pub struct LockClient {
    pub(crate) shared: Arc<Shared>,
}

/// What all clones of a client, and all that it holds, share.
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) renewals: Arc<Renewals>,
    pub(crate) sink: Option<Arc<dyn RecordSink>>,
    pub(crate) patience: Duration,
    /// What owners' names begin with.
    pub(crate) owner: String,
    pub(crate) next_id: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockClient").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns a name that no other owner has.
    pub(crate) fn next_owner(&self) -> String {
        let mut room = [0; 20];
        let number = digits(self.next_id(), &mut room);
        let mut name = String::with_capacity(self.owner.len() + 1 + number.len());
        name.push_str(&self.owner);
        name.push(':');
        name.extend(number.iter().map(|digit| char::from(*digit)));
        name
    }
}

impl LockClient {
    /// Returns a builder for a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Returns the lock on a key, to be configured and then acquired or run under.
    pub fn lock(&self, key: impl AsRef<[u8]>) -> Lock {
        Lock::new(self.clone(), key.as_ref().to_vec())
    }

    /// Connects, and returns how the server holds locks; of several servers, the first that answers.
    pub async fn backend(&self) -> Result<BackendKind, Error> {
        let mut trouble = None;
        for server in self.shared.store.servers() {
            match server.link().await {
                Ok(link) => return Ok(link.kind),
                Err(error) => trouble = Some(error),
            }
        }
        Err(trouble.map_or(Error::Unavailable { reason: "no server given".into() }, Error::from))
    }

    /// Tells a resource on a Redstart server of a token: true if it is the newest it has seen, false if it is fenced.
    pub async fn fence(&self, resource: impl AsRef<[u8]>, token: u64) -> Result<bool, Error> {
        let command = native::fence(resource.as_ref(), token);
        match self.native("LOCK.FENCE").await?.ask(&command, |_| Ok(())).await {
            Ok(()) => Ok(true),
            Err(Trouble::Fenced) => Ok(false),
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// Returns the server if it has the native commands.
    pub(crate) async fn native(&self, what: &'static str) -> Result<&crate::server::Server, Error> {
        let Store::One(server) = &*self.shared.store else { return Err(Error::Unsupported { what }) };
        match server.link().await?.kind {
            BackendKind::Native => Ok(server),
            BackendKind::Portable => Err(Error::Unsupported { what }),
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Error {
        match trouble {
            Trouble::Unreachable(reason) => Error::Unavailable { reason },
            Trouble::Refused(reason) => Error::Refused { reason },
            Trouble::NotDurable(reason) => Error::NotDurable { reason },
            Trouble::NotHeld => Error::Lost { cause: crate::LossCause::Taken },
            Trouble::Fenced => Error::Lost { cause: crate::LossCause::Fenced },
        }
    }
}
