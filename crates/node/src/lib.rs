//! A whole server without its I/O: links in, bytes and wishes out.
//!
//! The server and the simulator drive the same [`Node`]: they hand it time, bytes and measurements, and carry out what
//! it asks for. Nothing here owns a socket, a file, a thread or a clock.
#![forbid(unsafe_code)]

mod follow;
mod intake;
mod link;
mod loading;
mod node;
mod persist;
mod replicate;
mod rewrite;

pub use engine::effect::LogLevel;
pub use engine::persistence::Snapshot;
pub use engine::session::{Closing, SessionId as LinkId};
pub use engine::{Effect, Host};
pub use link::{Input, Peer};
pub use loading::{Ended, FileToLoad};
pub use node::Node;
pub use persist::{Written, look};
pub use replication::primary::SnapshotId;
