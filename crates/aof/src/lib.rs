//! The append-only file: its formats, how one is read and checked, and the machine that keeps one.
//!
//! Owned here are the manifest (`manifest`), the checked batch (`record`), the mark of replication (`mark`), the reader (`read`), what there is to say of a
//! log on disk (`check`), and `Log`, which decides what is written, synced, rewritten and removed, and when. Nothing here
//! opens a file: the machine hands out tasks (`base::disk`) and is told what became of them. What the commands mean, and
//! what a snapshot looks like, is left to others.

#![forbid(unsafe_code)]

mod ages;
pub mod check;
mod current;
pub mod log;
pub mod manifest;
pub mod mark;
mod pace;
pub mod place;
pub mod read;
pub mod record;
mod rewrite;
pub mod settings;

pub use check::{Check, Report};
pub use log::{Figures, Log, Output};
pub use manifest::{LogFile, Manifest, ManifestError};
pub use mark::Mark;
pub use place::Place;
pub use read::{Reader, Replay, Verdict};
pub use record::Batches;
pub use rewrite::Started;
pub use settings::{Fsync, Settings, Sizes, Start, Tail};
