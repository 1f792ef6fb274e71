//! What the protected work is told of the lock it runs under.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Value};

use crate::backend::{Trouble, native};
use crate::client::LockClient;
use crate::error::{Error, LossCause};
use crate::held::Held;

/// What the protected work needs to know of its lock. Clones speak of the same lock.
#[derive(Clone, Debug)]
pub struct Context(pub(crate) Arc<Held>);

impl Context {
    /// Returns the lock's key.
    pub fn key(&self) -> &[u8] {
        &self.0.request.key
    }

    /// Returns the name under which it is held.
    pub fn owner(&self) -> &str {
        &self.0.request.owner
    }

    /// Returns the fencing token: larger than that of every earlier holder.
    ///
    /// Give it to what the lock protects, and have that refuse a token smaller than one it has seen.
    pub fn token(&self) -> u64 {
        self.0.token()
    }

    /// Returns whether it is held, as far as this process can know without asking.
    pub fn is_held(&self) -> bool {
        self.0.is_held()
    }

    /// Returns an error if the lock is not held any more; to be asked before whatever must not happen without it.
    pub fn ensure_held(&self) -> Result<(), Error> {
        match self.0.loss() {
            None => Ok(()),
            Some(cause) => Err(self.0.error(cause)),
        }
    }

    /// Waits until the lock is lost (or given back), and returns why.
    ///
    /// It returns before the lease ends on the server, by the margin that was asked for.
    pub async fn lost(&self) -> LossCause {
        self.0.lost().await
    }

    /// Returns for how long the lock may be relied on if it is not renewed again; it usually is.
    pub fn remaining(&self) -> Duration {
        if !self.is_held() {
            return Duration::ZERO;
        }
        self.0.valid_until().saturating_duration_since(Instant::now())
    }

    /// Returns how many checks it took to get it.
    pub fn checks(&self) -> u32 {
        self.0.checks
    }

    /// Returns how long it took to get it.
    pub fn waited(&self) -> Duration {
        self.0.waited
    }

    /// Runs a command on a Redstart server only if this lock is still the one that is held, and returns its reply.
    ///
    /// [`Error::Lost`] with [`LossCause::Fenced`] says that it was refused: nothing has happened.
    pub async fn guard_command(&self, command: &Cmd) -> Result<Value, Error> {
        let client = LockClient { shared: Arc::clone(&self.0.client) };
        let server = client.native("LOCK.GUARD").await?;
        let guarded = native::guard(self.key(), self.token(), command);
        let answer = server.ask(&guarded, |reply| Ok(reply.clone())).await;
        if answer == Err(Trouble::Fenced) {
            self.0.lose(LossCause::Fenced);
        }
        Ok(answer?)
    }

    /// Tells a resource on a Redstart server of this lock's token; false if it has seen a newer one.
    pub async fn fence(&self, resource: impl AsRef<[u8]>) -> Result<bool, Error> {
        LockClient { shared: Arc::clone(&self.0.client) }.fence(resource, self.token()).await
    }
}
