//! Failures that a person may want to hear of, and the place they are handed to.
//!
//! The library tells; keeping and sending is left to whoever implements [`RecordSink`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Holder;
use crate::task::TaskInfo;

/// Takes failures and keeps them.
pub trait RecordSink: Send + Sync {
    /// Keeps a failure. It is awaited before the error is returned, but no longer than [`SINK_PATIENCE`].
    fn record<'a>(&'a self, failure: &'a Failure) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// How long a sink may take before the library goes on without it.
pub const SINK_PATIENCE: Duration = Duration::from_secs(10);

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// All checks are used up.
    Busy,
    /// The lock could not be asked for, or was refused: no server, too few replicas, a key of another type.
    Unavailable,
    /// The lock was lost while it was held.
    Lost,
    /// The task ran and failed.
    TaskFailed,
    /// The task did not end within the time that its lock may be held at most.
    MaxHold,
    /// Whether the lock was given back is not known.
    ReleaseUnknown,
}

/// One failure, with all that the library knows of it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// When it happened.
    pub at: SystemTime,
    /// The lock's key.
    pub key: String,
    /// The task that the lock was for.
    pub task: Option<TaskInfo>,
    /// The owner's name.
    pub owner: String,
    /// The token, if the lock was held.
    pub token: Option<u64>,
    /// How many checks were made.
    pub checks: u32,
    /// How many would have been made at most.
    pub max_checks: Option<u32>,
    /// How long to sleep between checks.
    pub interval: Duration,
    /// The lease that was asked for.
    pub lease: Duration,
    /// How long the attempt lasted.
    pub waited: Duration,
    /// How long the lock was held.
    pub held: Option<Duration>,
    /// Who held it instead.
    pub holder: Option<Holder>,
    /// What happened, in words.
    pub message: String,
}

/// Hands a failure over; without a sink nothing happens.
pub(crate) async fn hand_over(sink: Option<&Arc<dyn RecordSink>>, failure: impl FnOnce() -> Failure) {
    if let Some(sink) = sink {
        let failure = failure();
        // A sink that hangs must not hold up the task's error for ever.
        let _ = tokio::time::timeout(SINK_PATIENCE, sink.record(&failure)).await;
    }
}
