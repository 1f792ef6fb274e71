//! Replication: both ends of Redis' protocol as machines without I/O.
//!
//! ```text
//!            Primary                                                  Replica
//!   stream ─► Backlog ─ one buffer, a cursor per link ──► bytes ──► Apply(range) ──► applied(offset)
//!   PSYNC  ─► decide: partial or full                              position {id, offset}
//!   full   ─► StartSnapshot ─► file or pieces ──────────────────► Snapshot(range) ──► loaded
//!             acks, lag, WAIT ◄──────────────────────────────────── REPLCONF ACK
//! ```
//!
//! Owned here are the histories and their ids (`psync`), the shared buffer (`backlog`), what a master knows of its replicas
//! (`feed`, `primary`), and the replica's side of a link (`replica`). What the bytes of the stream mean, what a snapshot
//! holds, and everything that touches a socket or a file is left to others.

#![forbid(unsafe_code)]

pub mod backlog;
pub mod feed;
mod greeting;
mod handout;
pub mod id;
mod lines;
mod mark;
pub mod primary;
pub mod psync;
pub mod replica;
pub mod settings;

pub use backlog::Backlog;
pub use greeting::Content;
pub use id::ReplId;
pub use primary::{Answer, Primary};
pub use psync::{Decision, History};
pub use replica::{Position, Replica};
pub use settings::{PrimarySettings, ReplicaSettings};

/// A link to a replica, as its driver numbers it; not used again while the machine may know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);
