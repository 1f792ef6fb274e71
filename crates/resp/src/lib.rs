//! RESP2 and RESP3 to values and back. No sockets, no commands.
//!
//! `decode` reads what clients send to a server, `encode` writes what it answers, and `value` reads the answer
//! again for those on the other side: clients, replicas and tests.

#![forbid(unsafe_code)]

pub mod decode;
pub mod encode;
pub mod inline;
pub mod value;

pub use decode::{Decoder, Limits, ProtocolError, Request};
pub use encode::{Mark, Protocol, Writer};
pub use value::{Value, ValueError};
