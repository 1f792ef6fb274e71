//! Loading the data set at the start, piece by piece, while clients are told that it is being loaded.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Waker;
use node::{Ended, Node};

use crate::host::Machine;
use crate::log;
use crate::reading::{Piece, Reading};
use crate::text::reason;

/// The files on their way into the node.
pub(crate) struct Loader {
    waker: Arc<Waker>,
    reading: Option<(String, Reading)>,
    /// What the node did not take yet.
    rest: Vec<u8>,
    /// How much of it there was when it was tried last: it is tried again when there is twice as much, so that a large
    /// value is not looked at once for each piece.
    tried: usize,
    /// Bytes of the file that were taken.
    done: u64,
    file_started: Instant,
    shown: Instant,
    /// Keys that `key-load-delay` was counted for, and what is still to be slept for them.
    keys_counted: u64,
    delay_left: Duration,
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to do at once.
    More,
    /// The disk is not that far; the waker tells.
    Wait,
    /// Everything is loaded.
    Done,
}

/// How often the log says how far loading is.
const SHOW_EVERY: Duration = Duration::from_secs(2);

/// `key-load-delay` is slept in parts of this length.
const DELAY_AT_ONCE: Duration = Duration::from_millis(5);

impl Loader {
    /// Finds out which files there are, and begins.
    pub(crate) fn begin(node: &mut Node, machine: &Machine, waker: Arc<Waker>) -> Result<Loader, String> {
        let config = &node.engine.server.config;
        let (name, dir) = (&config.appendfilename, &config.appenddirname);
        let manifest_path = Path::new(OsStr::from_bytes(dir))
            .join(OsStr::from_bytes(&[name.as_slice(), b".manifest"].concat()));
        let manifest = match fs::read(&manifest_path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(format!("{}: {}", manifest_path.display(), reason(&error))),
        };
        if manifest.is_none() && config.appendonly {
            // Files of a log that nobody lists: beginning a new one beside them would lose what they hold.
            node::look(config, machine)?;
        }
        let old_log = Path::new(OsStr::from_bytes(name)).is_file();
        let mut size_of = |path: &str| fs::metadata(path).ok().map(|found| found.len());
        node.begin_loading(machine.clock.now(), manifest.as_deref(), old_log, &mut size_of)?;
        Ok(Loader::new(waker))
    }

    /// Begins to load what the node asks for while it serves; nothing if it has changed its mind.
    pub(crate) fn of_node(node: &Node, waker: Arc<Waker>) -> Option<Loader> {
        node.file_to_load().map(|_| Loader::new(waker))
    }

    fn new(waker: Arc<Waker>) -> Loader {
        let now = Instant::now();
        Loader {
            waker,
            reading: None,
            rest: Vec::new(),
            tried: 0,
            done: 0,
            file_started: now,
            shown: now,
            keys_counted: 0,
            delay_left: Duration::ZERO,
        }
    }

    /// Loads a little more.
    pub(crate) fn step(&mut self, node: &mut Node, machine: &Machine) -> Result<Step, String> {
        if self.delays(node) {
            return Ok(Step::More);
        }
        let now = machine.clock.now();
        if self.reading.is_none() {
            let Some(file) = node.file_to_load() else {
                node.end_loading(now, machine);
                return Ok(Step::Done);
            };
            match Reading::open(Path::new(&file.path), Some(Arc::clone(&self.waker))) {
                Ok(reading) => {
                    self.reading = Some((file.path, reading));
                    (self.done, self.file_started) = (0, Instant::now());
                }
                Err(error) if error.kind() == ErrorKind::NotFound => node.file_missing()?,
                Err(error) => return Err(format!("{}: {}", file.path, reason(&error))),
            }
            return Ok(Step::More);
        }
        self.read_on(node, machine)
    }

    fn read_on(&mut self, node: &mut Node, machine: &Machine) -> Result<Step, String> {
        let Some((path, reading)) = &mut self.reading else { return Ok(Step::More) };
        let failed = |error: io::Error| format!("{path}: {}", reason(&error));
        let now = machine.clock.now();
        match reading.poll().map_err(failed)? {
            Piece::Pending => return Ok(Step::Wait),
            Piece::Bytes(piece) => {
                if self.rest.is_empty() {
                    let taken = node.load(now, machine, &piece)?;
                    self.rest.extend_from_slice(&piece[taken..]);
                    (self.done, self.tried) = (self.done + taken as u64, self.rest.len());
                } else {
                    self.rest.extend_from_slice(&piece);
                    if self.rest.len() >= 2 * self.tried {
                        self.load_rest(node, machine)?;
                    }
                }
                if let Some((_, reading)) = &self.reading {
                    reading.give_back(piece);
                }
            }
            Piece::End => {
                let path = path.clone();
                self.load_rest(node, machine)?;
                if let Ended::Torn(offset) = node.file_ended(machine, &self.rest)? {
                    log::warning(&format!("{path} was loaded up to offset {offset}"));
                }
                self.rest = Vec::new();
                self.reading = None;
            }
        }
        self.show();
        self.count_delay(node);
        Ok(Step::More)
    }

    /// Loads what was left before.
    fn load_rest(&mut self, node: &mut Node, machine: &Machine) -> Result<(), String> {
        if !self.rest.is_empty() {
            let taken = node.load(machine.clock.now(), machine, &self.rest)?;
            self.rest.drain(..taken);
            (self.done, self.tried) = (self.done + taken as u64, self.rest.len());
        }
        Ok(())
    }

    /// Notes for how long to sleep as `key-load-delay` asks: for each key, or for one in so many where it is negative.
    fn count_delay(&mut self, node: &Node) {
        let delay = node.engine.server.config.key_load_delay;
        if delay == 0 {
            return;
        }
        let keys = node.engine.keyspace.len() as u64;
        let fresh = keys.saturating_sub(self.keys_counted);
        self.keys_counted = keys;
        let micros = if delay > 0 { fresh * delay as u64 } else { fresh / delay.unsigned_abs() };
        self.delay_left += Duration::from_micros(micros);
    }

    /// Sleeps for a moment if there is a delay left, so that clients are answered in between.
    fn delays(&mut self, node: &Node) -> bool {
        if node.engine.server.config.key_load_delay == 0 {
            self.delay_left = Duration::ZERO;
        }
        let moment = self.delay_left.min(DELAY_AT_ONCE);
        self.delay_left -= moment;
        if moment.is_zero() {
            return false;
        }
        std::thread::sleep(moment);
        true
    }

    /// Says now and then how far it is: a bar where a person looks on, a line elsewhere.
    fn show(&mut self) {
        let Some((path, reading)) = &self.reading else { return };
        if self.shown.elapsed() < SHOW_EVERY || reading.len() == 0 {
            return;
        }
        self.shown = Instant::now();
        let percent = self.done * 100 / reading.len();
        let speed = self.done as f64 / 1e6 / self.file_started.elapsed().as_secs_f64();
        let bar = match io::stdout().is_terminal() {
            true => {
                let filled = (percent / 5) as usize;
                format!(" [{}{}]", "#".repeat(filled), ".".repeat(20 - filled.min(20)))
            }
            false => String::new(),
        };
        log::notice(&format!("Loading {path}:{bar} {percent}%, {speed:.0} MB/s"));
    }
}
