//! One increment while it is written: what is gathered, handed out, in the file, and on the disk.
//!
//! ```text
//!  0 ......... synced ......... written ......... handed out ......... end
//!  on the disk │ in the file    │ kept until the   │ gathered: batches
//!              │                │ append is done   │
//! ```
//!
//! Each border is known as a length of the file and as an offset of the stream of writes. A failed append leaves the bytes
//! kept, and the file is opened again at the length that is known to be written.

use std::collections::VecDeque;
use std::sync::Arc;

use base::disk::FileId;
use base::time::Instant;

use crate::manifest::LogFile;
use crate::mark::{HistoryName, Mark};
use crate::record::Batches;

#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) id: FileId,
    pub(crate) path: String,
    pub(crate) gate: Gate,
    /// What must still be done before the file is part of the log.
    pub(crate) unlisted: Option<Unlisted>,
    pub(crate) batches: Batches,
    /// What was handed out and is not known to be in the file.
    pub(crate) kept: VecDeque<Kept>,
    pub(crate) written: Border,
    pub(crate) handed: Border,
    pub(crate) synced: Border,
    /// The stream's offset behind what is gathered.
    pub(crate) gathered: u64,
    /// Tasks on this file whose result is not known.
    pub(crate) in_flight: usize,
    /// Syncs among them.
    pub(crate) syncs: usize,
    /// Whether space may be prepared behind the data.
    pub(crate) prepared: bool,
    /// When the oldest byte was appended that no sync was asked for.
    pub(crate) unasked: Option<Instant>,
    /// Since when everything in the file is on the disk.
    pub(crate) quiet: Option<Instant>,
    /// Whether nothing was gathered yet: the database has to be selected.
    pub(crate) fresh: bool,
    /// The time that the last annotation gives.
    pub(crate) stamp: i64,
    /// Where in a history of replication the log stands behind what is gathered, until the file says so.
    pub(crate) mark: Option<Mark>,
    /// When the mark is due though nothing else is written: it says that bytes went by which are none of the log's.
    pub(crate) mark_due: Instant,
    /// The history that the file has named last.
    named: Option<HistoryName>,
    /// How often in a row it could not be opened again.
    pub(crate) reopen_failures: u32,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Border {
    /// As a length of the file.
    pub(crate) len: u64,
    /// As an offset of the stream.
    pub(crate) offset: u64,
}

/// Bytes that are on their way into the file.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) end: Border,
}

/// Whether gathered bytes may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// It is being opened or made.
    Opening,
    /// The file before it is not on the disk yet: only the last file may have a torn tail.
    Waiting,
    /// A task failed; the next attempt is at this time.
    Failed(Instant),
}

/// An increment that the manifest does not list.
#[derive(Debug)]
pub(crate) struct Unlisted {
    pub(crate) file: LogFile,
    /// The base that goes before it, when there is no log at all.
    pub(crate) base: Option<(LogFile, Vec<u8>)>,
    /// Files before it, and how many of their bytes count: they are cut and synced, as only the last file may have a torn
    /// tail, and what was cut off by a process that was killed must not come back.
    pub(crate) before: Vec<(String, u64)>,
    /// Tasks before it can be listed.
    pub(crate) left: usize,
    pub(crate) failed: bool,
}

/// The time and the selection that may stand before units are not longer.
const FRONT_MAX: usize = 128;

impl Current {
    /// Returns a file that has `len` bytes, all on the disk, as has the stream up to `offset`.
    pub(crate) fn new(id: FileId, path: String, gate: Gate, len: u64, offset: u64) -> Current {
        let border = Border { len, offset };
        Current {
            id,
            path,
            gate,
            unlisted: None,
            batches: Batches::new(len),
            kept: VecDeque::new(),
            written: border,
            handed: border,
            synced: border,
            gathered: offset,
            in_flight: 0,
            syncs: 0,
            prepared: false,
            unasked: None,
            quiet: None,
            fresh: true,
            stamp: i64::MIN,
            mark: None,
            mark_due: Instant::default(),
            named: None,
            reopen_failures: 0,
        }
    }

    /// Gathers whole units, which end at `offset` of the stream.
    ///
    /// `trusted` says that nothing but the system decides when the file is synced, so that batches cannot say what was.
    pub(crate) fn gather(
        &mut self,
        now: Instant,
        stamp: Option<i64>,
        selected: usize,
        offset: u64,
        trusted: bool,
        bytes: &[u8],
    ) {
        let mut front = Vec::new();
        let stamp = stamp.filter(|time| *time > self.stamp);
        // A batch that ends here says where it stands, should the file end behind it.
        if stamp.is_some() || self.batches.overflows(bytes.len() + FRONT_MAX) {
            if !self.batches.is_empty() {
                self.say_mark(trusted);
            }
            self.batches.seal();
        }
        self.mark = None;
        if let Some(time) = stamp {
            // At the front of a batch, where the file can be cut.
            self.stamp = time;
            front.extend_from_slice(format!("#TS:{time}\r\n").as_bytes());
        }
        if std::mem::take(&mut self.fresh) {
            let index = selected.to_string();
            front.extend_from_slice(
                format!("*2\r\n$6\r\nSELECT\r\n${}\r\n{index}\r\n", index.len()).as_bytes(),
            );
        }
        let synced = if trusted { self.batches.end() } else { self.synced.len };
        self.batches.push(synced, &[&front, bytes]);
        self.gathered = offset;
        self.unasked.get_or_insert(now);
        self.quiet = None;
    }

    /// Notes where in a history of replication the log stands behind what was gathered.
    pub(crate) fn set_mark(&mut self, mark: Mark) {
        self.mark = Some(mark);
    }

    /// Gathers the mark, if one is to be said.
    pub(crate) fn say_mark(&mut self, trusted: bool) {
        if let Some(mark) = self.mark.take() {
            let synced = if trusted { self.batches.end() } else { self.synced.len };
            self.batches.push(synced, &[&mark.line(self.named.as_ref())]);
            self.named = Some(mark.id);
        }
    }

    /// Notes that the stream went on by bytes that are not logged.
    pub(crate) fn skip(&mut self, offset: u64) {
        let gathered = std::mem::replace(&mut self.gathered, offset);
        for border in [&mut self.handed, &mut self.written, &mut self.synced] {
            if border.offset == gathered {
                border.offset = offset;
            }
        }
    }

    /// Takes what was gathered, to be appended.
    pub(crate) fn hand_out(&mut self) -> Option<Arc<Vec<u8>>> {
        if self.batches.is_empty() {
            return None;
        }
        let bytes = Arc::new(self.batches.take());
        self.handed = Border { len: self.batches.end(), offset: self.gathered };
        self.kept.push_back(Kept { bytes: Arc::clone(&bytes), end: self.handed });
        Some(bytes)
    }

    /// Takes all that was handed out and is not in the file, to be appended again.
    pub(crate) fn hand_out_again(&mut self) -> Option<Arc<Vec<u8>>> {
        let end = self.kept.back()?.end;
        let bytes = match self.kept.len() {
            1 => Arc::clone(&self.kept[0].bytes),
            _ => {
                let pieces: Vec<&[u8]> = self.kept.iter().map(|kept| kept.bytes.as_slice()).collect();
                Arc::new(pieces.concat())
            }
        };
        self.kept.clear();
        self.kept.push_back(Kept { bytes: Arc::clone(&bytes), end });
        Some(bytes)
    }

    /// Notes that the oldest of what was handed out is in the file.
    pub(crate) fn appended(&mut self) {
        self.written = self.kept.pop_front().expect("an append was handed out").end;
        self.written.offset = self.written.offset.max(self.synced.offset);
    }

    /// Notes that the file was synced up to `border`.
    pub(crate) fn synced(&mut self, border: Border, now: Instant) {
        self.synced.len = self.synced.len.max(border.len);
        self.synced.offset = self.synced.offset.max(border.offset);
        if self.is_synced() {
            // The stream may have gone on by bytes that are not logged.
            self.synced.offset = self.gathered;
            self.quiet = Some(now);
            self.unasked = None;
        }
    }

    /// Returns whether all that was appended is on the disk.
    pub(crate) fn is_synced(&self) -> bool {
        self.batches.is_empty() && self.kept.is_empty() && self.synced.offset >= self.handed.offset
    }

    /// Returns whether bytes were handed out that no finished sync covers.
    pub(crate) fn has_unsynced(&self) -> bool {
        self.handed.offset > self.synced.offset
    }

    /// Returns whether everything that was handed out is on the disk, also what says nothing of the stream.
    ///
    /// Only the last file may end inside a batch.
    pub(crate) fn has_every_byte_synced(&self) -> bool {
        self.synced.len >= self.handed.len
    }

    /// Returns whether the file holds more on the disk than any of its batches says.
    pub(crate) fn is_understated(&self) -> bool {
        self.batches.is_empty() && self.kept.is_empty() && self.synced.len > self.batches.claimed()
    }

    /// Returns how many bytes wait in memory.
    pub(crate) fn buffered(&self) -> usize {
        self.batches.len() + self.kept.iter().map(|kept| kept.bytes.len()).sum::<usize>()
    }
}
