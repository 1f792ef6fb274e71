//! What the lock library tells of becomes records: a program that uses it has people told by one more line.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = notify::Store::open("redis://127.0.0.1:6379", notify::Journal::default_directory())?;
//! let notifier = Arc::new(notify::Notifier::new(notify::Config::load("notify.toml")?, store));
//! let client = redstart_lock::LockClient::builder().url("redis://127.0.0.1:6379").records(notifier.sink()).build()?;
//! # Ok(())
//! # }
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use redstart_lock::{Failure, RecordSink};

use crate::notifier::Notifier;
use crate::record::{FailureKind, FailureRecord, Holder};

impl Notifier {
    /// Returns what the lock library hands its failures to.
    pub fn sink(self: &Arc<Self>) -> Arc<dyn RecordSink> {
        Arc::new(Sink(Arc::clone(self)))
    }
}

struct Sink(Arc<Notifier>);

impl RecordSink for Sink {
    fn record<'a>(&'a self, failure: &'a Failure) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let (notifier, record) = (Arc::clone(&self.0), FailureRecord::from(failure));
        // The store blocks, which a thread of the runtime must not. Should neither server nor disk take the record, the
        // library's caller still has the error that the record is about.
        Box::pin(async move {
            let _ = tokio::task::spawn_blocking(move || notifier.report(record)).await;
        })
    }
}

impl From<&Failure> for FailureRecord {
    fn from(failure: &Failure) -> FailureRecord {
        let holder = failure.holder.as_ref().map(|holder| Holder {
            owner: holder.owner.clone(),
            token: holder.token,
            held_ms: holder.held_for.map(|held| held.as_millis() as u64),
            remaining_ms: holder.remaining.map(|left| left.as_millis() as u64),
            meta: holder.meta.as_ref().map(|meta| {
                serde_json::from_str(meta).unwrap_or_else(|_| serde_json::Value::String(meta.clone()))
            }),
        });
        let mut record = FailureRecord::here(kind(failure.kind), &failure.key)
            .arguments(std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()))
            .waited(u64::from(failure.checks), failure.interval, failure.waited)
            .holder(holder)
            .token(failure.token)
            .error(&failure.message);
        if let Some(task) = &failure.task {
            record.task = Some(task.name.clone());
            record.details = task.details.clone();
        }
        record
    }
}

fn kind(kind: redstart_lock::FailureKind) -> FailureKind {
    match kind {
        redstart_lock::FailureKind::Busy => FailureKind::Busy,
        redstart_lock::FailureKind::Unavailable => FailureKind::Unavailable,
        redstart_lock::FailureKind::Lost => FailureKind::Lost,
        redstart_lock::FailureKind::TaskFailed => FailureKind::TaskFailed,
        redstart_lock::FailureKind::MaxHold => FailureKind::MaxHold,
        redstart_lock::FailureKind::ReleaseUnknown => FailureKind::ReleaseUnknown,
    }
}
