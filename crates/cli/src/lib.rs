//! The programs that speak to a server over the wire: the command-line client and what is built like it.
//!
//! Nothing here knows the engine or the server; whatever is asked is asked in the protocol, of any server that speaks it.
#![forbid(unsafe_code)]

pub mod lock;
pub mod repl;
