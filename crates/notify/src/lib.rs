//! What happens when a lock's task did not run or did not end well: a record is saved, and a person is told.
//!
//! A [`FailureRecord`] is made where the failure happened and saved in a [`Store`]: in the server, or on disk while that
//! cannot be reached. With the feature `deliver`, a `Notifier` tells the people that a `Config` names, over the
//! channels that it names, until each was told at least once or somebody acknowledged the record. With the feature
//! `library`, a `Notifier` takes what the lock library tells of.
//!
//! This crate speaks to servers over the wire only; locks and the tasks under them are others' business.
#![forbid(unsafe_code)]

#[cfg(feature = "deliver")]
pub mod channel;
pub mod journal;
#[cfg(feature = "library")]
pub mod library;
#[cfg(feature = "deliver")]
pub mod message;
#[cfg(feature = "deliver")]
pub mod notifier;
#[cfg(feature = "deliver")]
pub mod outbox;
mod random;
pub mod record;
pub mod redact;
#[cfg(feature = "deliver")]
pub mod route;
#[cfg(feature = "deliver")]
mod secret;
#[cfg(feature = "deliver")]
pub mod sign;
pub mod store;
pub mod time;
#[cfg(feature = "deliver")]
mod toml_table;
pub mod ulid;

pub use journal::Journal;
#[cfg(feature = "deliver")]
pub use notifier::{Notifier, Pass};
pub use record::{Acknowledgement, Attempt, AttemptResult, Exit, FailureKind, FailureRecord, Holder};
#[cfg(feature = "deliver")]
pub use route::{Config, ConfigError, Person, Target};
pub use store::{Saved, Store, StoreError};
pub use time::UnixMs;
pub use ulid::Ulid;
