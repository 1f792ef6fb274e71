//! The other driver of a [`node::Node`]: virtual time and virtual links.
//!
//! [`InProcess`] plays the executable specification against a node without a socket.
#![forbid(unsafe_code)]

pub mod clock;
pub mod fuzz;
pub mod host;
pub mod in_process;

pub use clock::Clock;
pub use host::VirtualHost;
pub use in_process::InProcess;
