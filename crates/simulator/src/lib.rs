//! The other driver of a [`node::Node`]: virtual time, virtual links, and judges of what comes back.
//!
//! A [`world`] is one node, a network that delays, splits and joins bytes, and clients that send random commands, all
//! of it drawn from one seed: the same seed gives the same bytes. The [`checkers`] compare every reply with what a
//! model of maps and vectors says, and look the keyspace over at the end. [`InProcess`] plays the executable
//! specification against a node without a socket.
#![forbid(unsafe_code)]

pub mod chaos;
pub mod checkers;
pub mod clock;
pub mod corruption;
pub mod crashes;
pub mod disk;
pub mod fuzz;
mod fuzz_aof;
mod fuzz_replication;
pub mod host;
pub mod in_process;
pub mod log_files;
pub mod network;
pub mod reference;
pub mod replicas;
pub mod seeds;
pub mod workload;
pub mod world;

pub use clock::Clock;
pub use host::VirtualHost;
pub use in_process::InProcess;
