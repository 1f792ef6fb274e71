//! Command execution: from a request to a reply and the effects of it.
//!
//! A pure machine: time, randomness and measurements arrive as arguments ([`Host`]), and what should happen outside
//! leaves as [`Effect`]s. Sockets, files, threads and clocks belong to the drivers.
#![forbid(unsafe_code)]

mod account;
mod acks;
pub mod args;
pub mod blocking;
mod client_line;
mod client_memory;
pub mod commands;
pub mod commit;
pub mod cx;
pub mod dispatch;
pub mod effect;
pub mod error;
mod failover;
pub mod gate;
pub mod hold;
pub mod host;
pub mod keys_of;
pub mod latency;
pub mod locks;
mod memory;
pub mod monitor;
pub mod multi;
pub mod notify;
mod output_limits;
mod own_keys;
pub mod pause;
pub mod periodic;
pub mod persistence;
pub mod propagate;
pub mod pubsub;
mod redact;
pub mod replication;
mod room;
pub mod server;
pub mod session;
pub mod slowlog;
pub mod stats;
pub mod stream;
mod synchronous;
pub mod syntax;
pub mod table;

pub use args::Args;
pub use cx::Cx;
pub use dispatch::{Engine, Outcome};
pub use effect::Effect;
pub use error::{Error, Result};
pub use host::Host;
pub use resp::encode::{Protocol, Writer as Reply};
pub use server::Server;
pub use session::{Session, SessionId};
