//! `Log`: the machine that keeps the append-only file.
//!
//! It takes the bytes of writes as they happen, hands out what is to be done on the disk, and says which replies may leave.
//! Nothing is done here: tasks go out by `poll_output`, and what became of them comes back by `task_done`.
//!
//! ```text
//! append ──► gathered ──► Append ──► Sync ──► durable()          one file: see `current`
//!                │ always: one Sync in flight; what comes meanwhile goes out together when it is done, see `pace`
//!                │ everysec, no: each turn's bytes at once
//! rewrite ──► new increment, manifest ──► Snapshot ──► Rename, manifest, Remove         see `rewrite`
//! ```
//!
//! # When the disk fails
//!
//! - An append that fails leaves the bytes here. Writes are refused; once a second the file is opened again at the length
//!   it had, and the bytes are appended again.
//! - A sync that fails ends the trust in the file: nothing is written to it again. Writes are refused until a new base,
//!   a new increment and the manifest that lists them are on the disk; attempts follow at growing intervals.
//! - A manifest that cannot be written is written again, at growing intervals. Whatever it may list stays where it is.
//! - A rewrite that fails leaves the log as it is. After the third in a row the next one waits, longer each time.
//!
//! # Order
//!
//! Whoever drives the log appends all that was executed before it calls `poll_output`: a `Snapshot` is of the dataset at
//! the moment it is polled.

use std::collections::VecDeque;
use std::time::Duration;

use base::disk::{DiskError, FileId, Step, Task, TaskId};
use base::log_level::LogLevel;
use base::time::{Instant, Now};

use crate::ages::Ages;
use crate::current::{Border, Current, Gate, Unlisted};
use crate::manifest::Manifest;
use crate::mark::Mark;
use crate::pace::Pace;
use crate::place::Place;
use crate::rewrite::{Listing, Removal, Rewriting, Schedule};
use crate::settings::{Fsync, Settings, Sizes, Start};

/// What the log would like done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// On the disk; the result is awaited by [`Log::task_done`].
    Task(TaskId, Task),
    /// Write the dataset of this moment to a file, synced: as a snapshot, or as commands. See [`Log::snapshot_done`].
    Snapshot { path: String, snapshot: bool },
    /// Give up the snapshot under way; nothing is heard of it any more.
    StopSnapshot,
    /// For the server's log.
    Line(LogLevel, String),
}

/// Keeps one append-only file.
#[derive(Debug)]
pub struct Log {
    pub(crate) settings: Settings,
    pub(crate) now: Now,
    pub(crate) mode: Mode,
    /// As it is on the disk, for all that is known.
    pub(crate) manifest: Manifest,
    /// What is appended to.
    pub(crate) file: Option<Current>,
    /// What was appended to before, until it is on the disk.
    pub(crate) retiring: Option<Current>,
    pub(crate) rewriting: Option<Rewriting>,
    pub(crate) schedule: Schedule,
    pub(crate) listing: Listing,
    pub(crate) removal: Removal,
    pub(crate) sizes: Lengths,
    /// Whether another snapshot is being written.
    pub(crate) busy: bool,
    /// The stream's offset behind all that was appended.
    pub(crate) appended: u64,
    durable: u64,
    ages: Ages,
    /// When `always` syncs.
    pace: Pace,
    /// While `everysec` cannot keep its word: what may leave nevertheless, since it may have left before.
    held: Option<u64>,
    /// Why an append failed, until it succeeds.
    pub(crate) write_error: Option<String>,
    /// Why the file that was appended to is not trusted.
    pub(crate) sync_error: Option<String>,
    /// Since when no line about failing writes was said.
    said: Option<Instant>,
    pub(crate) closing: bool,
    /// Automatic rewrites were turned off while the server ran, as is done before a log is copied.
    pub(crate) copied: bool,
    /// The log was on from the start, so that its word holds before its first base is there: replies wait for that.
    promises: bool,
    tasks: VecDeque<(TaskId, Job)>,
    pub(crate) outputs: VecDeque<Output>,
    last_task: u64,
    last_file: u32,
}

/// How long the files are that make up the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lengths {
    pub(crate) base: u64,
    /// Increments before the one that is appended to.
    pub(crate) older: u64,
    pub(crate) history: u64,
    /// All together when the log was rewritten last.
    pub(crate) rewritten: u64,
}

/// What the log is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Off,
    /// There is no base yet: nothing is promised.
    Starting,
    On,
    /// A sync failed: what was promised is on the disk, and nothing more is until there is a new base.
    Broken,
}

/// What a task was handed out for.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Append(FileId),
    /// Of all up to there, with so much space prepared behind it.
    Sync(FileId, Border, u64),
    Open(FileId),
    /// One of the tasks before an increment can be listed.
    Begin(FileId),
    /// One of the tasks before a rewrite can be listed.
    Prepare(u64),
    Rename(u64),
    List(Manifest),
    Remove(String),
    /// Removing a temporary file.
    Sweep(String),
    /// Nothing depends on it.
    Aside,
}

/// A byte that waits for longer than this is synced.
const SYNC_AFTER: Duration = Duration::from_millis(500);
/// Replies wait when a byte has waited for this long.
const HOLD_AFTER: Duration = Duration::from_secs(1);
/// A file is opened again this long after an append failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// After so many failures to open a file again it is given up.
const REOPEN_FAILURES_MAX: u32 = 5;
/// A file in which nothing happens says after this time that all of it is on the disk.
const QUIET_AFTER: Duration = Duration::from_secs(1);
/// Marks of nothing but bytes that are not logged are so far apart.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Lines about failing writes come no more often.
const SAY_EVERY: Duration = Duration::from_secs(30);

impl Log {
    /// Returns a log over the files of `place`, in the state that `start` tells, at `offset` of the stream.
    pub fn new(
        settings: Settings,
        place: impl Into<Place>,
        sizes: Sizes,
        start: Start,
        offset: u64,
        now: Now,
    ) -> Log {
        let last = match start {
            Start::Loaded { last: Some(tail), .. } => tail.len,
            _ => 0,
        };
        let mut log = Log {
            settings,
            now,
            mode: Mode::On,
            manifest: Manifest::default(),
            file: None,
            retiring: None,
            rewriting: None,
            schedule: Schedule::default(),
            listing: Listing::default(),
            removal: Removal::default(),
            sizes: Lengths {
                base: sizes.base,
                older: sizes.increments.saturating_sub(last),
                history: sizes.history,
                rewritten: sizes.base,
            },
            busy: false,
            appended: offset,
            durable: offset,
            ages: Ages::default(),
            pace: Pace::default(),
            held: None,
            write_error: None,
            sync_error: None,
            said: None,
            closing: false,
            copied: false,
            promises: false,
            tasks: VecDeque::new(),
            outputs: VecDeque::new(),
            last_task: 0,
            last_file: 0,
        };
        log.take_place(place.into());
        match start {
            Start::Off => log.mode = Mode::Off,
            Start::Dataset => {
                log.promises = true;
                log.start();
            }
            Start::Empty { base } => {
                let file = log.next_base(log.settings.use_rdb_preamble);
                log.sizes.base = base.len() as u64;
                log.sizes.rewritten = log.sizes.base;
                log.begin(Some((file, base)), Vec::new());
            }
            Start::Loaded { last, filled } => {
                let before = log.not_surely_synced(filled);
                let last = last.zip(log.manifest.increments.last());
                let last = last.map(|(tail, file)| (tail, file.name.clone()));
                match last.filter(|(tail, name)| {
                    let path = log.settings.path(name);
                    (tail.checked || tail.len == 0) && before.iter().all(|(found, _)| *found == path)
                }) {
                    Some((tail, name)) => {
                        let path = log.settings.path(&name);
                        log.line(LogLevel::Notice, format!("Opening AOF incr file {name} on server start"));
                        let id = log.file_id();
                        log.file = Some(Current::new(id, path, Gate::Opening, tail.len, offset));
                        log.reopen(id);
                    }
                    None => {
                        log.sizes.older = sizes.increments;
                        log.begin(None, before);
                    }
                }
            }
        }
        log.collect();
        log
    }

    /// Puts other settings into force; names, and where the files are, do not change.
    pub fn configure(&mut self, now: Now, settings: Settings) {
        self.tick(now);
        let Settings { name, dir, root, rewrite_percentage: before, .. } = self.settings.clone();
        self.copied = settings.rewrite_percentage == 0 && (self.copied || before > 0);
        self.settings = Settings { name, dir, root, ..settings };
        self.drive();
    }

    /// Returns what the paths of the log begin with.
    pub fn root(&self) -> &str {
        &self.settings.root
    }

    /// Says where the log's directory is, and what is in it, while the log is off; a log that is on stays where it is.
    pub fn settle_in(&mut self, root: String, place: Place) {
        if self.mode == Mode::Off && self.rewriting.is_none() {
            self.settings.root = root;
            self.take_place(place);
        }
    }

    /// Takes whole units as replicas would get them, which end at `offset_after` of the stream.
    ///
    /// `selected` is the database that is selected before the first of them. No bytes are a part of the stream that is
    /// not logged.
    pub fn append(&mut self, now: Now, offset_after: u64, selected: usize, bytes: &[u8]) {
        self.tick(now);
        debug_assert!(offset_after >= self.appended, "the stream went back");
        self.appended = offset_after;
        let stamp = self.settings.timestamps.then(|| now.unix_secs());
        let trusted = self.settings.fsync == Fsync::No;
        match &mut self.file {
            Some(file) if bytes.is_empty() => file.skip(offset_after),
            Some(file) => file.gather(now.instant, stamp, selected, offset_after, trusted, bytes),
            None => {}
        }
        if !bytes.is_empty() && self.mode != Mode::Off {
            self.ages.push(now.instant, offset_after);
        }
        self.settle();
    }

    /// Says where in a history of replication the log stands, with all that was appended; who restarts goes on there.
    ///
    /// The mark goes out behind what was appended. When that was nothing, since what went by is none of the log's, marks
    /// go out a second apart.
    pub fn mark(&mut self, now: Now, mark: Mark) {
        self.tick(now);
        if let Some(file) = &mut self.file {
            file.set_mark(mark);
        }
    }

    /// Says how many clients wait for bytes to be on the disk; with `always` a sync waits for those that it may expect.
    pub fn set_waiting(&mut self, clients: usize) {
        self.pace.set_waiting(clients);
    }

    /// Takes what became of a task; each is reported once, in the order in which they were handed out.
    pub fn task_done(&mut self, now: Now, id: TaskId, result: Result<(), DiskError>) {
        self.tick(now);
        let (expected, job) = self.tasks.pop_front().expect("a task was handed out");
        assert_eq!(id, expected, "tasks are reported in the order in which they were handed out");
        match job {
            Job::Append(id) => self.appended_to(id, result),
            Job::Sync(id, border, ahead) => self.synced(id, border, ahead, result),
            Job::Open(id) => self.opened(id, result),
            Job::Begin(id) => self.begun(id, result),
            Job::Prepare(number) => self.prepared(number, result),
            Job::Rename(number) => self.renamed(number, result),
            Job::List(manifest) => self.listed(manifest, result),
            Job::Remove(name) => self.removed(name, result),
            Job::Sweep(path) => self.swept(path, result),
            Job::Aside => {
                if let Err(error) = result {
                    self.line(LogLevel::Verbose, format!("Tidying up after the append only file: {error}"));
                }
            }
        }
        self.drive();
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.tick(now);
        self.drive();
    }

    /// Says whether another snapshot is being written; a rewrite waits until none is.
    pub fn set_snapshot_busy(&mut self, now: Now, busy: bool) {
        self.tick(now);
        if self.busy != busy {
            self.busy = busy;
            self.drive();
        }
    }

    /// Returns the next thing to do, all that was executed having been appended.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.drive();
            self.fork_if_ready();
        }
        self.outputs.pop_front()
    }

    /// Returns when something will be due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut due = self.schedule_due();
        let mut add = |at: Option<Instant>| due = due.into_iter().chain(at).min();
        for file in self.file.iter().chain(&self.retiring) {
            match file.gate {
                Gate::Failed(at) if file.in_flight == 0 => add(Some(at)),
                Gate::Open
                    if self.settings.fsync == Fsync::EverySecond && !self.skips_sync() && file.syncs == 0 =>
                {
                    let waits = file.has_unsynced() || !file.batches.is_empty();
                    add(file.unasked.filter(|_| waits).map(|since| since + SYNC_AFTER));
                }
                _ => {}
            }
            if file.gate == Gate::Open && self.settings.fsync == Fsync::Always && !file.batches.is_empty() {
                add(self.pace.due().filter(|_| file.syncs == 0 && !self.skips_sync()));
            }
            add(self.quiet_due(file));
            add(self.mark_due(file));
        }
        if self.holds_late() && self.held.is_none() {
            add(self.ages.oldest().map(|since| since + HOLD_AFTER));
        }
        due
    }

    /// Returns up to where every byte of the stream is on the disk.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Returns up to which offset replies may leave.
    pub fn releasable(&self) -> u64 {
        match (self.mode, self.settings.fsync) {
            (Mode::Off, _) | (_, Fsync::No) => u64::MAX,
            (Mode::Starting, _) if !self.promises => u64::MAX,
            (Mode::On, _) if self.skips_sync() => u64::MAX,
            (_, Fsync::Always) => self.durable,
            (_, Fsync::EverySecond) => self.held.map_or(u64::MAX, |held| held.max(self.durable)),
        }
    }

    /// Returns what a write is refused with, while the log cannot take it.
    pub fn refusal(&self) -> Option<String> {
        let reason = match self.mode {
            Mode::Starting if self.promises && self.schedule.failures > 0 => {
                "its first base could not be written"
            }
            Mode::Off | Mode::Starting => return None,
            Mode::On => self.write_error.as_ref()?,
            Mode::Broken => self.sync_error.as_ref()?,
        };
        Some(format!("MISCONF Errors writing to the AOF file: {reason}"))
    }

    /// Counts from another offset on: the stream is another. Only while the log is off.
    pub fn rebase(&mut self, offset: u64) {
        if self.mode == Mode::Off {
            (self.appended, self.durable) = (offset, offset);
        }
    }

    /// Turns the log on: a base is written first, and nothing is promised before it is on the disk.
    pub fn enable(&mut self, now: Now) {
        self.tick(now);
        if self.mode == Mode::Off {
            if self.rewriting.is_some() {
                self.line(LogLevel::Notice, "AOF was enabled while a rewrite runs: it begins anew".into());
            }
            self.abort_rewrite();
            self.start();
            self.drive();
        }
    }

    /// Turns the log off, with what it has on the disk.
    pub fn disable(&mut self, now: Now) {
        self.tick(now);
        self.abort_rewrite();
        for mut file in [self.retiring.take(), self.file.take()].into_iter().flatten() {
            // Not where the file before it may yet turn out to have lost something, or is not opened.
            if file.gate == Gate::Open {
                file.say_mark(self.settings.fsync == Fsync::No);
                if let Some(bytes) = file.hand_out() {
                    self.ask(Task::Append { file: file.id, bytes }, Job::Aside);
                }
            }
            self.ask(Task::Sync { file: file.id, ahead: 0 }, Job::Aside);
            self.ask(Task::Close { file: file.id }, Job::Aside);
        }
        self.mode = Mode::Off;
        self.schedule.cancel();
        (self.write_error, self.sync_error, self.held) = (None, None, None);
        self.ages.clear();
    }

    /// Hands out all that is left, as the server is about to end; see [`Log::flushed`].
    pub fn shutdown(&mut self, now: Now) {
        self.tick(now);
        self.closing = true;
        if matches!(self.mode, Mode::Off | Mode::On) {
            self.abort_rewrite();
        }
        self.drive();
    }

    /// Goes on after a shutdown that was called off.
    pub fn resume(&mut self) {
        self.closing = false;
    }

    /// Returns whether all that was appended is on the disk; nothing while that is being done.
    pub fn flushed(&self) -> Option<bool> {
        if self.mode == Mode::Off {
            return self.tasks.is_empty().then_some(true);
        }
        let beginning = self.mode == Mode::Starting && self.promises && self.schedule.failures == 0;
        let failing =
            self.write_error.is_some() || self.sync_error.is_some() || (self.mode != Mode::On && !beginning);
        let file = self.file.as_ref().filter(|file| file.gate == Gate::Open);
        // A file that nobody has open is all data.
        match self.retiring.is_none()
            && file.is_some_and(|file| file.is_synced() && !(self.closing && file.prepared))
        {
            true => Some(true),
            false if failing => Some(false),
            false => None,
        }
    }

    /// Returns what INFO shows.
    pub fn figures(&self) -> Figures {
        let files = || self.file.iter().chain(&self.retiring);
        Figures {
            enabled: self.mode != Mode::Off,
            starting: self.mode == Mode::Starting,
            rewrite_in_progress: self.rewriting.is_some(),
            rewrite_scheduled: self.schedule.wanted,
            last_rewrite_secs: self.schedule.last_secs,
            current_rewrite_secs: self
                .rewriting
                .as_ref()
                .map(|rewriting| self.now.instant.saturating_since(rewriting.since).as_secs()),
            last_rewrite_ok: self.schedule.last_ok,
            rewrites: self.schedule.count,
            consecutive_failures: self.schedule.failures,
            last_write_ok: self.write_error.is_none() && self.sync_error.is_none(),
            current_size: self.current_size(),
            base_size: self.sizes.rewritten,
            buffer_length: files().map(|file| file.buffered() as u64).sum(),
            syncs_in_flight: files().map(|file| file.syncs as u64).sum(),
            delayed_syncs: self.schedule.delayed,
            over_budget: self.exceeds_budget(),
            unsynced_age: self.ages.oldest().map(|since| self.now.instant.saturating_since(since)),
            unsynced: self.appended.saturating_sub(self.durable),
        }
    }

    /// Takes over the time, and notices what it brings.
    pub(crate) fn tick(&mut self, now: Now) {
        self.now = Now { instant: self.now.instant.max(now.instant), unix_us: now.unix_us };
        let late = self.ages.oldest().is_some_and(|since| self.since(since) >= HOLD_AFTER);
        match (self.holds_late() && late, self.held) {
            (true, None) => {
                self.held = Some(self.appended);
                self.schedule.delayed += 1;
                let line = "Asynchronous AOF fsync is taking too long (disk is busy?). Replies to writes wait for it.";
                self.line(LogLevel::Notice, line.into());
            }
            (false, Some(_)) => self.held = None,
            _ => {}
        }
    }

    /// Returns whether replies are to wait for bytes that waited too long.
    fn holds_late(&self) -> bool {
        let promised = match self.mode {
            Mode::Off => false,
            Mode::Starting => self.promises,
            Mode::On | Mode::Broken => true,
        };
        promised && self.settings.fsync == Fsync::EverySecond && !(self.mode == Mode::On && self.skips_sync())
    }

    /// Returns whether nothing is synced because a snapshot is being written.
    fn skips_sync(&self) -> bool {
        let writing = self.busy || self.rewriting.as_ref().is_some_and(Rewriting::is_writing);
        self.settings.no_fsync_on_rewrite && writing && !self.closing
    }

    pub(crate) fn since(&self, then: Instant) -> Duration {
        self.now.instant.saturating_since(then)
    }

    pub(crate) fn line(&mut self, level: LogLevel, text: String) {
        self.outputs.push_back(Output::Line(level, text));
    }

    pub(crate) fn ask(&mut self, task: Task, job: Job) {
        self.last_task += 1;
        let id = TaskId(self.last_task);
        self.tasks.push_back((id, job));
        self.outputs.push_back(Output::Task(id, task));
    }

    pub(crate) fn file_id(&mut self) -> FileId {
        self.last_file += 1;
        FileId(self.last_file)
    }

    /// Returns the size of base and increments.
    pub(crate) fn current_size(&self) -> u64 {
        let length = |file: &Option<Current>| file.as_ref().map_or(0, |file| file.written.len);
        self.sizes.base + self.sizes.older + length(&self.retiring) + length(&self.file)
    }

    fn named(&mut self, id: FileId) -> Option<&mut Current> {
        self.file.iter_mut().chain(&mut self.retiring).find(|file| file.id == id)
    }

    /// Returns the increments from the last one on that has anything in it, and how many of their bytes count.
    fn not_surely_synced(&self, filled: Option<(String, u64)>) -> Vec<(String, u64)> {
        let paths = self.manifest.increments.iter().map(|file| self.settings.path(&file.name));
        match filled {
            None => paths.map(|path| (path, 0)).collect(),
            Some((path, len)) => {
                let behind = paths.skip_while(|found| *found != path).skip(1).map(|path| (path, 0));
                [(path.clone(), len)].into_iter().chain(behind).collect()
            }
        }
    }

    /// Begins a new increment without a rewrite, behind a base of these bytes if there is nothing yet.
    fn begin(&mut self, base: Option<(crate::LogFile, Vec<u8>)>, before: Vec<(String, u64)>) {
        let file = self.next_increment();
        if let Some((base, _)) = &base {
            self.line(LogLevel::Notice, format!("Creating AOF base file {} on server start", base.name));
        }
        self.line(LogLevel::Notice, format!("Creating AOF incr file {} on server start", file.name));
        let (id, path) = (self.file_id(), self.settings.path(&file.name));
        let mut current = Current::new(id, path, Gate::Opening, 0, self.appended);
        current.unlisted = Some(Unlisted { file, base, before, left: 0, failed: false });
        self.file = Some(current);
        self.reopen(id);
    }

    /// Asks for a file to be opened, or made if the log does not have it yet.
    fn reopen(&mut self, id: FileId) {
        let dir = self.settings.dir_path();
        let settings = self.settings.clone();
        let (fresh, other) = (self.file_id(), self.file_id());
        let Some(file) = self.named(id) else { return };
        file.gate = Gate::Opening;
        let mut tasks = Vec::new();
        let job = match &mut file.unlisted {
            None => {
                tasks.push(Task::Open { file: id, path: file.path.clone(), len: file.written.len });
                Job::Open(id)
            }
            Some(unlisted) => {
                for (path, len) in &unlisted.before {
                    tasks.push(Task::Open { file: other, path: path.clone(), len: *len });
                    tasks.push(Task::Close { file: other });
                }
                tasks.push(Task::MakeDir { path: dir });
                if let Some((base, bytes)) = &unlisted.base {
                    tasks.push(Task::Replace { path: settings.path(&base.name), bytes: bytes.clone() });
                }
                // What an attempt before this may have opened is not opened again.
                file.id = fresh;
                tasks.push(Task::Create { file: fresh, path: file.path.clone() });
                (unlisted.left, unlisted.failed) = (tasks.len(), false);
                Job::Begin(fresh)
            }
        };
        file.in_flight += tasks.len();
        for task in tasks {
            self.ask(task, job.clone());
        }
    }

    /// Takes the result of a task before an increment can be listed.
    fn begun(&mut self, id: FileId, result: Result<(), DiskError>) {
        let retry = self.now.instant + RETRY_AFTER;
        let Some(file) = self.named(id) else { return };
        file.in_flight -= 1;
        let Some(unlisted) = &mut file.unlisted else { return };
        unlisted.left -= 1;
        unlisted.failed |= result.is_err();
        let given_up = unlisted.left == 0 && unlisted.failed;
        if given_up {
            file.gate = Gate::Failed(retry);
        }
        if let Err(error) = result {
            self.say_failing(&error);
            self.write_error = Some(error.reason);
        }
        if given_up {
            self.ask(Task::Close { file: id }, Job::Aside);
        }
    }

    /// Takes the result of opening a file at the length that it is known to have.
    fn opened(&mut self, id: FileId, result: Result<(), DiskError>) {
        let now = self.now.instant;
        let Some(file) = self.named(id) else { return };
        file.in_flight -= 1;
        match result {
            Ok(()) => {
                (file.gate, file.reopen_failures, file.prepared) = (Gate::Open, 0, false);
                let again = file.hand_out_again();
                file.synced(file.written, now);
                match again {
                    Some(bytes) => {
                        file.in_flight += 1;
                        self.ask(Task::Append { file: id, bytes }, Job::Append(id));
                    }
                    None => self.writes_again(),
                }
                self.settle();
            }
            Err(error) => {
                file.reopen_failures += 1;
                let given_up = file.reopen_failures >= REOPEN_FAILURES_MAX;
                self.fail(id, error, given_up);
            }
        }
    }

    fn appended_to(&mut self, id: FileId, result: Result<(), DiskError>) {
        let Some(file) = self.named(id) else { return };
        file.in_flight -= 1;
        match result {
            Ok(()) => {
                file.appended();
                if file.kept.is_empty() {
                    self.writes_again();
                }
                self.settle();
            }
            Err(error) => self.fail(id, error, false),
        }
    }

    fn synced(&mut self, id: FileId, border: Border, ahead: u64, result: Result<(), DiskError>) {
        let now = self.now.instant;
        let Some(file) = self.named(id) else { return };
        file.in_flight -= 1;
        file.syncs -= 1;
        match result {
            Ok(()) => {
                file.synced(border, now);
                file.prepared &= ahead > 0;
                self.pace.done(now);
                self.settle();
            }
            Err(error) => self.fail(id, error, false),
        }
    }

    /// Copes with a file that failed.
    fn fail(&mut self, id: FileId, error: DiskError, given_up: bool) {
        if error.step == Step::Sync || given_up || self.mode != Mode::On {
            return self.distrust(error);
        }
        let now = self.now.instant;
        if let Some(file) = self.named(id) {
            file.gate = Gate::Failed(now + RETRY_AFTER);
            // A sync that was asked for behind the append has failed with it.
            file.unasked.get_or_insert(now);
        }
        self.say_failing(&error);
        self.write_error = Some(error.reason);
    }

    fn say_failing(&mut self, error: &DiskError) {
        if self.said.is_none_or(|said| self.since(said) >= SAY_EVERY) {
            self.said = Some(self.now.instant);
            let room = if error.full { " The disk is full." } else { "" };
            self.line(
                LogLevel::Warning,
                format!("Error writing to the AOF file: {error}.{room} Writes are refused; it is tried again every second."),
            );
        }
    }

    pub(crate) fn writes_again(&mut self) {
        if self.write_error.take().is_some() {
            self.said = None;
            self.line(LogLevel::Warning, "AOF write error looks solved. The server can write again.".into());
        }
    }

    /// Gives up the files that were appended to: only a new base makes a log of them again.
    fn distrust(&mut self, error: DiskError) {
        for file in [self.retiring.take(), self.file.take()].into_iter().flatten() {
            self.ask(Task::Close { file: file.id }, Job::Aside);
        }
        if self.mode == Mode::On {
            self.mode = Mode::Broken;
            self.line(
                LogLevel::Warning,
                format!(
                    "The AOF file is not trusted any more: {error}. Writes are refused until a new base and a new file are synced."
                ),
            );
        }
        self.write_error = None;
        self.sync_error = Some(error.reason.clone());
        let cold = self.rewriting.as_ref().map(Rewriting::is_cold);
        if cold.is_some() {
            self.rewrite_failed(error.to_string());
        }
        // The first attempt to make a new base comes at once, others are spaced.
        if cold != Some(true) {
            self.schedule.cold_at = Some(self.now.instant);
        }
    }

    /// Moves `durable` to what is known.
    pub(crate) fn settle(&mut self) {
        if let Some(file) = &self.retiring
            && file.is_synced()
            && file.has_every_byte_synced()
            && file.in_flight == 0
        {
            let id = file.id;
            self.sizes.older += file.written.len;
            self.retiring = None;
            self.ask(Task::Close { file: id }, Job::Aside);
            self.open_gate();
        }
        if self.mode == Mode::On
            && let Some(file) = self.retiring.as_ref().or(self.file.as_ref())
        {
            self.durable = self.durable.max(file.synced.offset);
            self.ages.forget(self.durable);
            self.tick(self.now);
        }
    }

    pub(crate) fn open_gate(&mut self) {
        if let Some(file) = self.file.as_mut().filter(|file| file.gate == Gate::Waiting) {
            file.gate = Gate::Open;
        }
    }

    /// Does all that can be done now.
    pub(crate) fn drive(&mut self) {
        for id in [&self.retiring, &self.file]
            .map(|file| file.as_ref().map(|file| (file.id, file.gate, file.in_flight)))
        {
            if let Some((id, Gate::Failed(at), 0)) = id
                && at <= self.now.instant
            {
                self.reopen(id);
            }
        }
        self.drive_rewrite();
        self.drive_listing();
        for retiring in [true, false] {
            self.flush(retiring);
        }
    }

    /// Hands out what a file has gathered, and syncs it, as far as its policy wants that now.
    fn flush(&mut self, retiring: bool) {
        let (policy, now, closing) = (self.settings.fsync, self.now.instant, self.closing);
        let skips = self.skips_sync() && !retiring;
        let ahead = self.prepared_space();
        let slot = if retiring { &mut self.retiring } else { &mut self.file };
        let Some(file) = slot.as_mut().filter(|file| file.gate == Gate::Open) else { return };
        let quiet = file.quiet.is_some_and(|since| now.saturating_since(since) >= QUIET_AFTER);
        if quiet && file.syncs == 0 && file.is_understated() && policy != Fsync::No {
            file.quiet = None;
            file.batches.push(file.synced.len, &[]);
        }
        let together = policy == Fsync::Always && !skips;
        let company = together && !file.batches.is_empty() && !retiring && !closing;
        let waits = together && (file.syncs > 0 || (company && self.pace.waits(now)));
        let id = file.id;
        let ahead = if retiring { 0 } else { ahead };
        let mut tasks = Vec::new();
        if !waits || retiring || closing {
            if !file.batches.is_empty() || file.mark_due <= now || retiring || closing {
                if file.mark.is_some() {
                    file.mark_due = now + MARK_EVERY;
                }
                file.say_mark(policy == Fsync::No);
            }
            if let Some(bytes) = file.hand_out() {
                file.in_flight += 1;
                tasks.push((Task::Append { file: id, bytes }, Job::Append(id)));
            }
        }
        let late = file.unasked.is_some_and(|since| now.saturating_since(since) >= SYNC_AFTER);
        let due = match policy {
            _ if retiring || closing => true,
            Fsync::Always => !skips,
            Fsync::EverySecond => late && !skips,
            Fsync::No => false,
        };
        let unsynced = file.has_unsynced() || (retiring && !file.has_every_byte_synced());
        let cuts = file.prepared && ahead == 0;
        if file.syncs == 0 && ((due && unsynced) || cuts) {
            file.prepared |= ahead > 0;
            file.in_flight += 1;
            file.syncs += 1;
            self.pace.begun(now);
            file.unasked = (!file.batches.is_empty()).then_some(now);
            tasks.push((Task::Sync { file: id, ahead }, Job::Sync(id, file.handed, ahead)));
        }
        for (task, job) in tasks {
            self.ask(task, job);
        }
    }

    /// Returns how much space is to be prepared behind the data: only where each write is synced it is of use.
    ///
    /// Who copies a log that is written to turns automatic rewrites off before: such a copy is to have no holes, which are
    /// there when filler was read in one place and, later, what is behind it in the next.
    pub(crate) fn prepared_space(&self) -> u64 {
        let wanted = self.mode != Mode::Off && !self.closing && !self.copied;
        match self.settings.fsync {
            Fsync::Always if wanted => self.settings.prepared_space,
            _ => 0,
        }
    }

    /// Returns when a file in which nothing happens is to say that it is on the disk.
    fn quiet_due(&self, file: &Current) -> Option<Instant> {
        let due = file.gate == Gate::Open && file.syncs == 0 && file.is_understated();
        let since = file.quiet.filter(|_| due && self.settings.fsync != Fsync::No)?;
        Some(since + QUIET_AFTER)
    }

    /// Returns when a mark is to be written though there is nothing else to write.
    fn mark_due(&self, file: &Current) -> Option<Instant> {
        let waits = self.settings.fsync == Fsync::Always && file.syncs > 0 && !self.skips_sync();
        let due = file.gate == Gate::Open && file.mark.is_some() && file.batches.is_empty() && !waits;
        due.then_some(file.mark_due)
    }
}

/// What INFO shows of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    pub enabled: bool,
    /// The log was turned on, and its first base is not on the disk.
    pub starting: bool,
    pub rewrite_in_progress: bool,
    pub rewrite_scheduled: bool,
    /// How long the last rewrite took, if there was one.
    pub last_rewrite_secs: Option<u64>,
    pub current_rewrite_secs: Option<u64>,
    pub last_rewrite_ok: bool,
    pub rewrites: u64,
    pub consecutive_failures: u64,
    pub last_write_ok: bool,
    /// Base and increments together.
    pub current_size: u64,
    /// The same when the log was rewritten last.
    pub base_size: u64,
    /// Bytes that are not in the file yet.
    pub buffer_length: u64,
    pub syncs_in_flight: u64,
    /// How often `everysec` could not keep up, so that replies had to wait.
    pub delayed_syncs: u64,
    /// A rewrite would exceed the budget.
    pub over_budget: bool,
    /// For how long the oldest byte that is not on the disk has waited.
    pub unsynced_age: Option<Duration>,
    /// How many bytes of the stream are not on the disk.
    pub unsynced: u64,
}
