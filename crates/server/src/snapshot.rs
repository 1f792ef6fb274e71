//! Snapshots: a child process writes the data as it is now to a file, while this one goes on serving.
//!
//! The child tells how far it is over a socket, which the loop watches:
//!
//! ```text
//!  0      1             9              17             25
//! ┌──────┬─────────────┬──────────────┬──────────────┐
//! │ kind │ keys        │ bytes        │ copied       │   PROGRESS, at most once a second, SYNCING when all is written and
//! └──────┴─────────────┴──────────────┴──────────────┘
//!                                                        goes to the device, and DONE as the last word
//! ┌──────┬────────────────────────────┄
//! │ kind │ words, up to the end           FAILED
//! └──────┴────────────────────────────┄
//! ```
//!
//! Numbers have their low byte first. Bytes copied are those of pages that parent and child do not share any more.
//! What is written is the caller's business: it gets a [`Sink`] in the child.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use config::Config;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use rdb::{Sink, SinkError};

use crate::file_sink::{self, Target};
use crate::files;
use crate::fork::{Exit, Pid, fork};
use crate::{oom, process, title};

const PROGRESS: u8 = 1;
const DONE: u8 = 2;
const FAILED: u8 = 3;
const SYNCING: u8 = 4;

/// The length of a PROGRESS, SYNCING or DONE.
const REPORT: usize = 25;

/// How often the child tells how far it is.
const INTERVAL: Duration = Duration::from_secs(1);

/// A child that does not end is not waited for any longer than this.
const LEAVE_AFTER: Duration = Duration::from_secs(1);

/// Looking for copied pages may take this part of the child's time.
const DUTY: u32 = 100;

/// The length of a piece at most: clients wait while one is taken and sent.
const PIECE_MAX: usize = 128 << 10;

/// The clock is looked at after so many keys, or so many bytes.
const KEYS_UNSEEN: u64 = 256;
const BYTES_UNSEEN: u64 = 1 << 20;

/// What a child is to do, and how it appears meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) target: Target<'a>,
    /// Nothing goes to the target: this process is handed the bytes, see [`take_piece`].
    pub(crate) in_pieces: bool,
    /// The name in the process' title: `redis-rdb-bgsave`, `redis-aof-rewrite`.
    pub(crate) name: &'a str,
    pub(crate) config: &'a Config,
    /// For the title, as in [`title::show`].
    pub(crate) config_file: &'a str,
    /// The badness that the kernel gave the server at its start.
    pub(crate) oom_score: i32,
    /// `rdb-key-save-delay`: microseconds to wait for each key; negative: a microsecond for one key in so many.
    pub(crate) key_delay: i64,
}

/// A snapshot under way.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pid: Pid,
    pipe: UnixStream,
    /// Where the bytes of one in pieces come from.
    pieces: Option<UnixStream>,
    received: Vec<u8>,
    progress: Progress,
    fork_time: Duration,
    temporary: PathBuf,
    killed: bool,
    /// The child has said its last word.
    closed: bool,
    /// The child has been waited for.
    ended: bool,
}

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
    /// Bytes in pages that had to be copied, now and at most.
    pub(crate) copied: u64,
    pub(crate) copied_peak: u64,
    /// All is written: the child says nothing more until it is on the device.
    pub(crate) syncing: bool,
    /// When the child said so.
    pub(crate) at: Option<Instant>,
}

/// What [`Snapshot::poll`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running(Progress),
    Done(Result<Progress, Failure>),
}

/// Why there is no snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// We ended it.
    Killed,
    /// Something else did.
    Signal(i32),
    /// It could not go on; in its own words.
    Error(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Killed => f.write_str("it was stopped"),
            Failure::Signal(signal) => write!(f, "terminated by signal {signal}"),
            Failure::Error(reason) => f.write_str(reason),
        }
    }
}

impl Snapshot {
    /// Begins a snapshot; the loop is woken with `token` when [`Snapshot::poll`] is to be called.
    ///
    /// In the child, `write` writes the data and returns the number of keys. It calls its second argument with the
    /// number of keys written so far. It must not touch what threads share, or descriptors from before.
    pub(crate) fn start(
        registry: &Registry,
        token: Token,
        job: Job<'_>,
        write: impl FnOnce(&mut dyn Sink, &mut dyn FnMut(u64)) -> Result<u64, SinkError>,
    ) -> io::Result<Snapshot> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut pipe = UnixStream::from_std(ours);
        registry.register(&mut pipe, token, Interest::READABLE)?;
        // Where the file is stays true when this process moves to another directory.
        let temporary = std::path::absolute(job.target.temporary)?;

        let (mut pieces, mut their_pieces) = (None, None);
        if job.in_pieces {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            // The child is not to wait for this process after every few pages.
            let _ = socket2::SockRef::from(&theirs).set_send_buffer_size(PIECE_MAX);
            let mut ours = UnixStream::from_std(ours);
            registry.register(&mut ours, token, Interest::READABLE)?;
            (pieces, their_pieces) = (Some(ours), Some(theirs));
        }
        let keep: Vec<_> = std::iter::once(theirs.as_raw_fd())
            .chain(their_pieces.as_ref().map(AsRawFd::as_raw_fd))
            .collect();
        let start = Instant::now();
        let pid = fork(&keep, || run(job, &theirs, their_pieces.as_ref(), write))?;
        Ok(Snapshot {
            pid,
            pipe,
            pieces,
            received: Vec::new(),
            progress: Progress::default(),
            fork_time: start.elapsed(),
            temporary,
            killed: false,
            closed: false,
            ended: false,
        })
    }

    /// Returns how long this process stood still for the fork.
    pub(crate) fn fork_time(&self) -> Duration {
        self.fork_time
    }

    /// Returns the child's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.number()
    }

    /// Ends the child; that it has ended is told by a later [`Snapshot::poll`].
    pub(crate) fn kill(&mut self) {
        self.killed = true;
        if !self.ended {
            self.pid.kill();
        }
    }

    /// Takes what the child said; after `Done` there is nothing more to be had.
    pub(crate) fn poll(&mut self) -> State {
        assert!(!self.ended, "a snapshot that is done was asked again");
        self.closed = self.closed || self.receive();
        while matches!(self.received.first(), Some(&(PROGRESS | SYNCING))) && self.received.len() >= REPORT {
            self.take_report();
        }
        // A process that hangs in the system ends when that lets it, and nobody waits for it.
        let Some(exit) = self.closed.then(|| self.pid.ended()).flatten() else {
            return State::Running(self.progress);
        };
        self.ended = true;
        let result = match (exit, self.received.first()) {
            (Exit::Code(0), Some(&DONE)) if self.received.len() == REPORT => {
                self.take_report();
                Ok(self.progress)
            }
            (Exit::Signal(_), _) if self.killed => Err(Failure::Killed),
            (Exit::Signal(signal), _) => Err(Failure::Signal(signal)),
            (Exit::Code(_), Some(&FAILED)) => {
                Err(Failure::Error(String::from_utf8_lossy(&self.received[1..]).into_owned()))
            }
            (Exit::Code(code), _) => Err(Failure::Error(format!("the child ended with code {code}"))),
        };
        if matches!(exit, Exit::Signal(_) | Exit::Code(crate::fork::PANICKED)) {
            files::discard(&self.temporary);
        }
        State::Done(result)
    }

    /// Hands over what a snapshot in pieces comes through, once.
    pub(crate) fn take_pieces(&mut self) -> Option<UnixStream> {
        self.pieces.take()
    }

    /// Returns whether the child is about to end, which nobody is woken for: it is to be polled again soon.
    pub(crate) fn is_leaving(&self) -> bool {
        self.closed && !self.ended
    }

    /// Reads what there is; returns whether that was all there will ever be.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; 1024];
        loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => return true,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // As when the child is gone.
                Err(_) => return true,
            }
        }
    }

    fn take_report(&mut self) {
        let number = |at: usize| {
            let bytes = self.received[at..at + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        };
        let copied = number(17);
        self.progress = Progress {
            keys: number(1),
            bytes: number(9),
            copied,
            copied_peak: copied.max(self.progress.copied_peak),
            syncing: self.received[0] == SYNCING,
            at: Some(Instant::now()),
        };
        self.received.drain(..REPORT);
    }
}

impl Drop for Snapshot {
    /// Ends the child and removes what it wrote.
    fn drop(&mut self) {
        if !self.ended {
            self.pid.kill();
            let end = Instant::now() + LEAVE_AFTER;
            while self.pid.ended().is_none() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            // A child that ends later finds nothing to rename.
            files::discard(&self.temporary);
        }
    }
}

/// Returns the next bytes of a snapshot in pieces: none yet, or an empty piece at its end.
pub(crate) fn take_piece(pieces: &mut UnixStream) -> Option<Vec<u8>> {
    let mut piece = vec![0; PIECE_MAX];
    let mut filled = 0;
    while filled < PIECE_MAX {
        match pieces.read(&mut piece[filled..]) {
            Ok(0) => {
                // The end is told by itself, with nothing else in the piece.
                piece.truncate(filled);
                return Some(piece);
            }
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    piece.truncate(filled);
    (filled > 0).then_some(piece)
}

/// What the child does; returns its exit code.
fn run(
    job: Job<'_>,
    pipe: &std::os::unix::net::UnixStream,
    pieces: Option<&std::os::unix::net::UnixStream>,
    write: impl FnOnce(&mut dyn Sink, &mut dyn FnMut(u64)) -> Result<u64, SinkError>,
) -> i32 {
    title::show(job.config, job.name, job.config_file);
    oom::adjust_child(job.config, job.oom_score);
    // Where both share a processor clients come first; and every piece is one more thing for the parent to do.
    process::give_way(process::Way::Some);
    let written = Rc::new(Cell::new(0));
    let reporter = RefCell::new(Reporter::new(pipe, Rc::clone(&written), job.key_delay));
    let write = |sink: &mut dyn Sink| {
        let mut sink = Watched { sink, reporter: &reporter };
        let keys = write(&mut sink, &mut |keys| reporter.borrow_mut().wrote(keys))?;
        let mut reporter = reporter.borrow_mut();
        reporter.keys = keys;
        reporter.report(SYNCING);
        Ok(keys)
    };
    let result = match pieces {
        Some(pieces) => file_sink::write_pieces(pieces, written, write),
        None => file_sink::write_file(job.target, written, write),
    };
    let mut reporter = reporter.into_inner();
    match result {
        Ok(written) => {
            reporter.keys = written.keys;
            reporter.report(DONE);
            0
        }
        Err(reason) => {
            let mut pipe = pipe;
            let _ = pipe.write_all(&[&[FAILED], reason.as_bytes()].concat());
            1
        }
    }
}

/// A sink that remembers to tell the parent, however long a single key takes.
struct Watched<'a, 'b> {
    sink: &'a mut dyn Sink,
    reporter: &'a RefCell<Reporter<'b>>,
}

impl Sink for Watched<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.sink.write(bytes)?;
        self.reporter.borrow_mut().look();
        Ok(())
    }
}

/// Tells the parent how far the child is.
struct Reporter<'a> {
    pipe: &'a std::os::unix::net::UnixStream,
    keys: u64,
    bytes: Rc<Cell<u64>>,
    /// Where both stood when the clock was looked at.
    seen: (u64, u64),
    next: Instant,
    key_delay: i64,
}

impl<'a> Reporter<'a> {
    fn new(pipe: &'a std::os::unix::net::UnixStream, bytes: Rc<Cell<u64>>, key_delay: i64) -> Self {
        Reporter { pipe, keys: 0, bytes, seen: (0, 0), next: Instant::now() + INTERVAL, key_delay }
    }

    #[inline]
    fn wrote(&mut self, keys: u64) {
        if self.key_delay != 0 {
            self.delay(keys - self.keys);
        }
        self.keys = keys;
        self.look();
    }

    /// Looks at the clock, if enough has happened since the last look.
    #[inline]
    fn look(&mut self) {
        let (keys, bytes) = (self.keys, self.bytes.get());
        let (seen_keys, seen_bytes) = self.seen;
        if keys - seen_keys >= KEYS_UNSEEN || bytes - seen_bytes >= BYTES_UNSEEN || self.key_delay > 0 {
            self.seen = (keys, bytes);
            let now = Instant::now();
            if now >= self.next {
                self.report(PROGRESS);
                self.next = now + INTERVAL.max(now.elapsed() * DUTY);
            }
        }
    }

    #[cold]
    fn delay(&self, keys: u64) {
        let micros = match self.key_delay {
            delay @ 1.. => delay as u64 * keys,
            delay => self.keys.wrapping_add(keys) / delay.unsigned_abs() - self.keys / delay.unsigned_abs(),
        };
        if micros > 0 {
            std::thread::sleep(Duration::from_micros(micros));
        }
    }

    fn report(&mut self, kind: u8) {
        let mut report = [kind; REPORT];
        for (place, number) in
            report[1..].chunks_exact_mut(8).zip([self.keys, self.bytes.get(), copied_bytes()])
        {
            place.copy_from_slice(&number.to_le_bytes());
        }
        // Should nobody listen any more, the parent is gone, and this process as well.
        let _ = self.pipe.write_all(&report);
    }
}

/// Returns the bytes in pages that this process has changed or that others have changed since it began.
fn copied_bytes() -> u64 {
    let Ok(text) = fs::read_to_string(Path::new("/proc/self/smaps_rollup")) else { return 0 };
    let kilobytes = text.lines().find_map(|line| {
        line.strip_prefix("Private_Dirty:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests;
