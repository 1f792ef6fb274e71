//! What the engine would like done outside, as values.

use std::time::Duration;

use keyspace::change::Garbage;

use crate::SessionId;

/// A wish of the engine; the driver carries it out in order.
pub enum Effect {
    /// The command's outcome for the log and the replicas; built only while somebody listens.
    ///
    /// What changes no data (PUBLISH, SPUBLISH) concerns replicas alone.
    Propagate { db: usize, argv: Vec<Box<[u8]>> },
    /// Close the session's link, after its output is flushed if `flush`.
    Close { session: SessionId, flush: bool },
    /// Free this memory on another thread.
    Free(Garbage),
    /// Block the whole server for a while (DEBUG SLEEP).
    Stall(Duration),
    /// Stop the server.
    Shutdown { now: bool, force: bool, save: Option<bool> },
    /// A line for the log.
    Log(LogLevel, String),
    /// End the process on the spot, as a crash would (DEBUG SEGFAULT, DEBUG PANIC).
    Crash(String),
    /// The session does not wait any more: go on with its input.
    Unblocked(SessionId),
    /// Postponed commands may be tried again.
    Resume,
}

/// Severity of a log line, after Redis' `loglevel` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}
