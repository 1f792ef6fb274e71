//! A distributed lock: a task runs only while it holds the lock on a key.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use redstart_lock::LockClient;
//! use std::time::Duration;
//!
//! let client = LockClient::builder().url("redis://127.0.0.1:6379").build()?;
//! let rows = client
//!     .lock("jobs:nightly-report")
//!     .lease(Duration::from_secs(30))
//!     .max_checks(10)
//!     .interval(Duration::from_secs(1))
//!     .run(|held| async move {
//!         println!("this run has the token {}", held.token());
//!         Ok::<_, std::io::Error>(42)
//!     })
//!     .await?;
//! # let _ = rows; Ok(()) }
//! ```
//!
//! The key is checked; if nobody holds it, it is created and the task runs, otherwise the library sleeps and checks
//! again, and after `max_checks` checks it fails with [`Error::Busy`]. When the task has finished the key is deleted.
//!
//! | module | owns |
//! |---|---|
//! | [`attempt`] | when to check, how long to sleep, when to give up: a pure state machine |
//! | [`lease`] | how long a lock may be relied on: pure arithmetic on a monotonic clock |
//! | `backend` | what is sent: `LOCK.*` commands on Redstart, scripts on Redis and Valkey |
//! | `server`, `wire`, `direct`, `wakeup` | connections, what goes over one, and being woken by a release |
//! | `renewal`, `held` | keeping a lock while it is held, and finding out that it is lost |
//! | [`redlock`] | one lock over several independent servers |
//! | [`record`] | whom failures are told to |
//! | [`blocking`] | the same for code that is not async |
//!
//! What a lock of this kind can and cannot promise is written in `docs/lock.md`; in one sentence: a lease is not mutual
//! exclusion, the [token](Context::token) is, where the protected resource checks it.
#![forbid(unsafe_code)]

pub mod attempt;
mod backend;
pub mod blocking;
mod builder;
mod client;
mod context;
mod direct;
mod encode;
mod error;
mod guard;
mod held;
pub mod lease;
mod lock;
mod machine;
mod parse;
mod random;
pub mod record;
pub mod redlock;
mod renewal;
mod server;
mod settle;
mod store;
mod task;
mod wakeup;
mod wire;

pub use backend::BackendKind;
pub use builder::ClientBuilder;
pub use client::LockClient;
pub use context::Context;
pub use error::{Error, Holder, LossCause, RunError};
pub use guard::Guard;
pub use lock::Lock;
pub use record::{Failure, FailureKind, RecordSink};
pub use redis;
pub use task::TaskInfo;
