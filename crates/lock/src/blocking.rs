//! The lock for code that is not async: the same client, with a runtime of its own in the background.
//!
//! ```no_run
//! # fn example() -> Result<(), redstart_lock::Error> {
//! let client = redstart_lock::LockClient::builder().url("redis://127.0.0.1").build_blocking()?;
//! let guard = client.lock("jobs:nightly-report").acquire()?;
//! println!("token {}", guard.token());
//! guard.release()
//! # }
//! ```
//!
//! Requests go out from the thread that waits for them, each in one write and one read; only what takes longer is left
//! to the background. The lock is renewed by the background thread, so the work may block as long as it likes. Nothing can stop it from
//! outside, however: it has to ask [`Context::ensure_held`] itself.

use std::fmt::Display;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::context::Context;
use crate::error::{Error, RunError};
use crate::record::FailureKind;
use crate::task::TaskInfo;

/// The runtime in the background; whoever drops it last may be async code, which must not wait for its end.
#[derive(Debug)]
struct Background(Option<Runtime>);

impl Background {
    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(runtime) = &self.0 else { unreachable!("it is there until it is dropped") };
        runtime.block_on(work)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Asks for locks and waits for the answers.
#[derive(Clone, Debug)]
pub struct LockClient {
    client: crate::LockClient,
    runtime: Arc<Background>,
}

/// The lock on a key, to be configured and then acquired or run under.
#[derive(Clone, Debug)]
pub struct Lock {
    lock: crate::Lock,
    runtime: Arc<Background>,
}

/// A held lock, given back when it is dropped.
#[derive(Debug)]
#[must_use = "a lock is given back as soon as its guard is dropped"]
pub struct Guard {
    /// There until it is given back.
    guard: Option<crate::Guard>,
    context: Context,
    runtime: Arc<Background>,
}

impl LockClient {
    /// Returns a blocking client that uses an async one.
    pub fn new(client: crate::LockClient) -> Result<LockClient, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("redstart-lock")
            .enable_all()
            .build()
            .map_err(|error| Error::Unavailable { reason: format!("no thread to work on: {error}") })?;
        Ok(LockClient { client, runtime: Arc::new(Background(Some(runtime))) })
    }

    /// Returns the lock on a key.
    pub fn lock(&self, key: impl AsRef<[u8]>) -> Lock {
        Lock { lock: self.client.lock(key), runtime: Arc::clone(&self.runtime) }
    }
}

impl Lock {
    /// Sets for how long the lock outlives a holder that is gone; see [`crate::Lock::lease`].
    pub fn lease(self, lease: Duration) -> Self {
        self.with(|lock| lock.lease(lease))
    }

    /// Sets after how many checks to fail; see [`crate::Lock::max_checks`].
    pub fn max_checks(self, max_checks: impl Into<Option<u32>>) -> Self {
        self.with(|lock| lock.max_checks(max_checks))
    }

    /// Sets how long to sleep between two checks; see [`crate::Lock::interval`].
    pub fn interval(self, interval: Duration) -> Self {
        self.with(|lock| lock.interval(interval))
    }

    /// Sets by which part a sleep may be shorter or longer; see [`crate::Lock::jitter`].
    pub fn jitter(self, jitter: f64) -> Self {
        self.with(|lock| lock.jitter(jitter))
    }

    /// Sets the owner's name; see [`crate::Lock::owner`].
    pub fn owner(self, owner: impl Into<String>) -> Self {
        self.with(|lock| lock.owner(owner))
    }

    /// Says what the lock is for; see [`crate::Lock::task`].
    pub fn task(self, task: impl Into<TaskInfo>) -> Self {
        self.with(|lock| lock.task(task))
    }

    /// Sets how many replicas must have the lock; see [`crate::Lock::replicas`].
    pub fn replicas(self, replicas: u32) -> Self {
        self.with(|lock| lock.replicas(replicas))
    }

    /// Sets for how long the lock is held at most; see [`crate::Lock::max_hold`].
    pub fn max_hold(self, max_hold: Duration) -> Self {
        self.with(|lock| lock.max_hold(max_hold))
    }

    /// Sets how long before the lease's end its loss is told; see [`crate::Lock::margin`].
    pub fn margin(self, margin: Duration) -> Self {
        self.with(|lock| lock.margin(margin))
    }

    /// Gets the lock; see [`crate::Lock::acquire`].
    pub fn acquire(self) -> Result<Guard, Error> {
        let guard = self.runtime.block_on(self.lock.directly().acquire())?;
        Ok(Guard { context: guard.context(), guard: Some(guard), runtime: self.runtime })
    }

    /// Gets the lock, runs a task under it, and gives it back.
    ///
    /// A task that outlives its lock is not stopped; its result is dropped and the loss returned instead.
    pub fn run<T, E: Display>(self, task: impl FnOnce(&Context) -> Result<T, E>) -> Result<T, RunError<E>> {
        let guard = self.acquire()?;
        match task(&guard) {
            Ok(value) => {
                guard.release()?;
                Ok(value)
            }
            Err(error) => {
                let (context, runtime) = (guard.context.clone(), Arc::clone(&guard.runtime));
                let _ = guard.release(); // The task's own failure is what the caller is to hear of.
                runtime.block_on(context.0.record(FailureKind::TaskFailed, error.to_string()));
                Err(RunError::TaskFailed(error))
            }
        }
    }

    fn with(self, change: impl FnOnce(crate::Lock) -> crate::Lock) -> Lock {
        Lock { lock: change(self.lock), runtime: self.runtime }
    }
}

impl Guard {
    /// Gives the lock back and waits until that is certain; see [`crate::Guard::release`].
    pub fn release(mut self) -> Result<(), Error> {
        match self.guard.take() {
            Some(guard) => self.runtime.block_on(guard.release()),
            None => Ok(()),
        }
    }
}

impl Deref for Guard {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else { return };
        // The runtime may end with this guard, and what it has in the background with it; within another runtime
        // nothing may be waited for, and that runtime gives it back.
        if Handle::try_current().is_err() {
            let _ = self.runtime.block_on(guard.release());
        }
    }
}
