//! What a log asks of a disk: tasks that are carried out in order, and what became of each.
//!
//! Owned here are the words alone. Two disks understand them: the real one in `server` and the virtual one in
//! `simulator`. A machine that keeps files hands tasks out, and is told of each exactly once, in the order in which it
//! asked.
//!
//! Paths are relative to the server's directory (`dir`), their parts divided by '/'.
//!
//! # When something fails
//!
//! - A failed [`Task::Append`] is cut back: the file ends where its data did before. From then on the file is *broken*: every
//!   later `Append` and `Sync` fails with the same error at once, so that what was asked for before the failure was known
//!   leaves no hole in the log. [`Task::Open`] with a length makes it whole.
//! - A failed [`Task::Sync`] breaks a file for good. The kernel may have thrown the bytes away and call the next sync a
//!   success, so nothing that this file holds is trusted again: `Open` fails too. The way on is a new file.
//! - Any other task that fails has changed nothing that may be relied on, and can be asked for again.

use std::fmt;
use std::sync::Arc;

/// An open log file: chosen by who asks for it, and never chosen again in the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// One task among all: the number grows by one with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// One thing to do on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Makes a directory, and syncs the one that it lies in; it may be there already.
    MakeDir { path: String },
    /// Opens a new, empty file for appending, and syncs it and its directory.
    ///
    /// It replaces a file of that name only if that is empty, or was made by this process in the same way.
    Create { file: FileId, path: String },
    /// Opens a file that is there for appending, after cutting it to `len` bytes and syncing it, its directory, and the
    /// one that this lies in.
    ///
    /// A file shorter than that is an error. A file that a failed append broke is whole again after this.
    Open { file: FileId, path: String, len: u64 },
    /// Writes bytes behind those that the file has; who asks keeps them, too, until it is told that they are written.
    Append { file: FileId, bytes: Arc<Vec<u8>> },
    /// Returns when every byte appended before is on the disk.
    ///
    /// Up to so many bytes `ahead` of the data may be prepared with filler, see [`crate::prepared`]; with 0 the file is cut to
    /// its data. Neither is promised, and that it fails is no failure of the sync.
    Sync { file: FileId, ahead: u64 },
    /// Forgets an open file, also a broken one; the bytes are not synced.
    Close { file: FileId },
    /// Replaces a file by one with this content: after a crash there is the old one or the new one, whole and synced.
    Replace { path: String, bytes: Vec<u8> },
    /// Renames a file, in place of one that has the new name, and syncs the directory.
    Rename { from: String, to: String },
    /// Removes a file, which may be gone already.
    Remove { path: String },
}

/// What went wrong with a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// What the disk was doing.
    pub step: Step,
    /// There was no room left: ENOSPC or EDQUOT.
    pub full: bool,
    /// The system's words for the error.
    pub reason: String,
}

/// What a disk was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Open,
    Write,
    /// Of a file or of a directory.
    Sync,
    Rename,
    Remove,
    /// Shortening a file to the length that it had or is to have.
    Cut,
    MakeDir,
}

impl Step {
    /// Returns what failed, as the subject of a sentence in the log: "writing", "syncing", …
    pub fn word(self) -> &'static str {
        match self {
            Step::Open => "opening",
            Step::Write => "writing",
            Step::Sync => "syncing",
            Step::Rename => "renaming",
            Step::Remove => "removing",
            Step::Cut => "cutting",
            Step::MakeDir => "making the directory",
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.step.word(), self.reason)
    }
}

impl std::error::Error for DiskError {}
