//! RESP2 and RESP3 to values and back. No sockets, no commands.
//!
//! `decode` reads what clients send to a server, `encode` writes what it answers, and `value` reads the answer
//! again for those on the other side: clients, replicas and tests.

#![forbid(unsafe_code)]

pub mod batch;
pub mod decode;
pub mod encode;
pub mod error;
pub mod inline;
pub mod request;
pub mod value;

pub use batch::Batch;
pub use decode::{Decoder, Limits};
pub use encode::{Mark, Protocol, Writer};
pub use error::ProtocolError;
pub use request::Request;
pub use value::{Value, ValueError};
