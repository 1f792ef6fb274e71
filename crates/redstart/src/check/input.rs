//! A file read from its front to its end, piece by piece, with a word on how far that is where a person looks on.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// A file on its way into a checker.
pub(crate) struct Input {
    file: File,
    length: u64,
    name: String,
    /// Bytes that were read and not taken, from `start` on.
    bytes: Vec<u8>,
    start: usize,
    read: u64,
    ended: bool,
    progress: Option<Progress>,
}

struct Progress {
    began: Instant,
    shown: Instant,
    visible: bool,
}

/// What is read at a time, unless an item is longer.
const PIECE: usize = 1 << 20;

/// Progress is shown for files that take longer than this, and as often.
const SHOW_EVERY: Duration = Duration::from_millis(300);

impl Input {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> io::Result<Input> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        if found.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let now = Instant::now();
        Ok(Input {
            file,
            length: found.len(),
            name: path.display().to_string(),
            bytes: Vec::new(),
            start: 0,
            read: 0,
            ended: false,
            progress: io::stderr().is_terminal().then_some(Progress {
                began: now,
                shown: now,
                visible: false,
            }),
        })
    }

    /// Returns how long the file was when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Returns the bytes that were read and not taken.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Hands pieces to `take`, which returns how many bytes it took, until it takes none at the end of the file, or
    /// says that it is done.
    ///
    /// What was not taken is handed over again when there is twice as much of it.
    pub(crate) fn feed(&mut self, mut take: impl FnMut(&[u8]) -> (usize, bool)) -> io::Result<()> {
        loop {
            let (taken, done) = take(&self.bytes[self.start..]);
            self.start += taken;
            if done || (taken == 0 && self.ended) {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Reads on.
    fn fill(&mut self) -> io::Result<()> {
        self.bytes.drain(..self.start);
        self.start = 0;
        let wanted = self.bytes.len().max(PIECE) as u64;
        let read = (&mut self.file).take(wanted).read_to_end(&mut self.bytes)? as u64;
        self.read += read;
        self.ended = read < wanted;
        self.show();
        Ok(())
    }

    fn show(&mut self) {
        let Some(progress) = &mut self.progress else { return };
        if self.length == 0 || progress.shown.elapsed() < SHOW_EVERY {
            return;
        }
        (progress.shown, progress.visible) = (Instant::now(), true);
        let percent = self.read.min(self.length) * 100 / self.length;
        let speed = self.read as f64 / 1e6 / progress.began.elapsed().as_secs_f64();
        eprint!("\r{}: {percent} %, {speed:.0} MB/s ", self.name);
        // Nothing depends on whether it is seen.
        let _ = io::stderr().flush();
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if self.progress.as_ref().is_some_and(|progress| progress.visible) {
            eprint!("\r\x1b[K");
        }
    }
}
