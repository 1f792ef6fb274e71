//! What the engine would like done outside, as values.

use std::time::Duration;

use base::disk::{Task, TaskId};
pub use base::log_level::LogLevel;
use keyspace::change::Garbage;
use replication::primary::SnapshotId;

use crate::SessionId;
use crate::persistence::Snapshot;

/// A wish of the engine; the driver carries it out in order.
pub enum Effect {
    /// Close the session's link, after its output is flushed if `flush`.
    Close { session: SessionId, flush: bool },
    /// Free this memory on another thread.
    Free(Garbage),
    /// Block the whole server for a while (DEBUG SLEEP).
    Stall(Duration),
    /// Stop the server: what is to be saved is saved.
    Shutdown,
    /// A task for the disk; its outcome is to be told to the node.
    Disk(TaskId, Task),
    /// Fork, and let the child write a snapshot to this file, which gets another name once it is whole.
    ///
    /// Nothing may be executed before the fork. The outcome is to be told to the node.
    Fork { kind: Snapshot, path: String, rename_to: Option<String> },
    /// End the child that writes a snapshot.
    KillChild,
    /// A snapshot is due.
    Save,
    /// The log is to be written anew.
    RewriteLog,
    /// Parameters have changed.
    Reconfigured,
    /// The server follows another master than before, or nobody.
    Follow,
    /// Open a link to a master for a session; that it is open, or cannot be, is to be told to the node.
    Connect { session: SessionId, host: String, port: u16 },
    /// Hand in the next piece of a snapshot that has no file.
    NextPiece(SnapshotId),
    /// Nobody wants the pieces of that snapshot any more.
    DropPieces,
    /// Send a file on a session's link, behind all that the session has to send; tell the node of its last byte.
    SendFile { session: SessionId, path: String },
    /// Let the system gather what is sent on the session's link into fewer packets.
    Gather(SessionId),
    /// The session wants to be heard again.
    Listen(SessionId),
    /// There is something to load: the node knows which files.
    Load,
    /// A line for the log.
    Log(LogLevel, String),
    /// End the process on the spot, as a crash would: DEBUG SEGFAULT, DEBUG PANIC, or a replica whose disk fails
    /// (replica-ignore-disk-write-errors).
    Crash(String),
    /// The session does not wait any more: go on with its input.
    Unblocked(SessionId),
    /// Postponed commands may be tried again.
    Resume,
}
