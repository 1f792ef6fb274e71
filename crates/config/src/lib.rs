//! What the server can be told: every parameter of redis.conf, once, in [`PARAMS`].
//!
//! This crate owns the table of parameters, the typed [`Config`] that the rest of the server reads, CONFIG GET and
//! CONFIG SET, the syntax of configuration files and of the command line, and CONFIG REWRITE. It has no files, no
//! sockets and no clock: reading an included file or changing directory is asked of a [`Host`], rewriting is a function
//! from text to text, and putting a changed parameter into force is left to whoever called [`Config::set_many`].
//!
//! ```text
//! command line ─┐
//! redis.conf ───┼─► file::load ─► PARAMS row ─► Kind::parse ─► Value ─► Values field ─► read by hot code
//! CONFIG SET ───┘                                                └─► Kind::print ─► CONFIG GET, CONFIG REWRITE
//! ```
//!
//! A parameter of something that this version does not do is still a row: it is listed with the value that describes
//! what the server does, setting that value is accepted, and setting any other is refused with the reason. Nothing is
//! accepted and then ignored.

#![forbid(unsafe_code)]

mod choice;
mod command_line;
mod config;
mod error;
mod file;
mod kind;
mod limits;
mod memory;
mod notify;
mod params;
mod rewrite;
mod title;
mod value;
mod values;
mod words;

pub use choice::{
    AppendFsync, DisklessLoad, EvictionPolicy, LogLevel, OomScoreAdj, ProtectedAction, SanitizePayload,
    ShutdownFlags, Supervised, SynchronousCommit, SyslogFacility,
};
pub use command_line::{Action, CommandLine};
pub use config::{Caller, Changes, Config};
pub use error::{LoadError, SetError};
pub use file::{Host, Loaded};
pub use kind::Kind;
pub use limits::{ClientMemory, OutputLimit, OutputLimits};
pub use memory::{format_memory, parse_memory};
pub use notify::NotifyFlags;
pub use params::{PARAMS, Param, Support, find};
pub use rewrite::rewrite;
pub use title::expand_title;
pub use values::Values;
pub use words::{quote, split_words};
