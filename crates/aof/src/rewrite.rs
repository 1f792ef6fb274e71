//! Rewriting the log: a new base, a new increment behind it, the manifest, and the files that are replaced.
//!
//! ```text
//!              running log (hot)                          no trusted log (cold)
//! Preparing    MakeDir, Create the increment              the same
//! Listing      manifest: … old, new increment             (the manifest stays as it is)
//! Ready        last Append and a Sync of the old file     —
//! Writing      Snapshot; writes go to the new file        Snapshot; writes go to the new file
//!              as soon as the old one is synced
//! Renaming     temporary file → base                      the same
//! Finishing    manifest: base, new increment, history     the same; from now on there is a log
//! (removal)    Remove history, manifest without it        the same
//! ```
//!
//! The new increment is listed before anything is written to it, and empty until the file before it is on the disk. So
//! whatever moment the power chooses, only the last file that is not empty can have a torn tail.

use std::time::Duration;

use base::disk::{DiskError, FileId, Task};
use base::log_level::LogLevel;
use base::time::Instant;

use crate::current::{Current, Gate};
use crate::log::{Job, Log, Mode, Output};
use crate::manifest::{LogFile, Manifest, Numbered};
use crate::place::Place;

/// What became of the wish to rewrite the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    Started,
    /// It begins as soon as it can.
    Scheduled,
}

/// A rewrite under way.
#[derive(Debug)]
pub(crate) struct Rewriting {
    number: u64,
    pub(crate) since: Instant,
    /// Whether there is no trusted log that goes on meanwhile.
    cold: bool,
    /// Whether the base is a snapshot rather than commands.
    snapshot: bool,
    temporary: String,
    /// The file that is written to from the snapshot on; none while the log is off.
    increment: Option<(FileId, LogFile)>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Preparing { left: usize, failed: Option<String> },
    Listing,
    Ready,
    Writing,
    Renaming { bytes: u64, base: LogFile },
    Finishing { bytes: u64, base: LogFile },
}

/// When the log is rewritten next, and how it went so far.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Somebody asked for a rewrite that cannot begin yet.
    pub(crate) wanted: bool,
    /// When a log that is not trusted tries again.
    pub(crate) cold_at: Option<Instant>,
    cold_delay: Duration,
    /// No automatic rewrite begins before.
    automatic_at: Option<Instant>,
    pub(crate) failures: u64,
    pub(crate) count: u64,
    pub(crate) last_ok: bool,
    pub(crate) last_secs: Option<u64>,
    pub(crate) delayed: u64,
    /// Numbers the temporary files.
    temporary: u64,
    /// It was said that the budget forbids a rewrite.
    budget_said: bool,
}

/// The manifest on its way to the disk: one at a time.
#[derive(Debug)]
pub(crate) struct Listing {
    in_flight: Option<Purpose>,
    /// When it is tried again.
    at: Option<Instant>,
    delay: Duration,
    /// Files of manifests that could not be written, the disk may list them nevertheless, until it lists others; and
    /// files that an earlier process left, which may be listed again after a power cut, until a manifest is synced.
    unsure: Vec<LogFile>,
    /// Numbers that such files had are not given again.
    taken_base: u64,
    taken_increment: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Begin(FileId),
    Prepared(u64),
    Finished(u64),
    Removed,
}

/// Files that are being removed.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    left: usize,
    gone: Vec<String>,
    failed: bool,
    /// Temporary files that could not be removed.
    left_over: Vec<String>,
    /// When it is tried again.
    at: Option<Instant>,
}

const DELAY_MIN: Duration = Duration::from_secs(1);
const DELAY_MAX: Duration = Duration::from_secs(60);
/// From so many failures in a row on, automatic rewrites wait.
const FAILURES_MAX: u64 = 3;
const AUTOMATIC_DELAY_MIN: Duration = Duration::from_secs(60);
const AUTOMATIC_DELAY_MAX: Duration = Duration::from_secs(3600);
const REMOVAL_DELAY: Duration = Duration::from_secs(60);

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule {
            wanted: false,
            cold_at: None,
            cold_delay: DELAY_MIN,
            automatic_at: None,
            failures: 0,
            count: 0,
            last_ok: true,
            last_secs: None,
            delayed: 0,
            temporary: 0,
            budget_said: false,
        }
    }
}

impl Default for Listing {
    fn default() -> Listing {
        Listing {
            in_flight: None,
            at: None,
            delay: DELAY_MIN,
            unsure: Vec::new(),
            taken_base: 0,
            taken_increment: 0,
        }
    }
}

impl Listing {
    /// Notes that the disk may list what this manifest lists.
    fn doubt(&mut self, manifest: &Manifest) {
        self.taken_base = self.taken_base.max(manifest.base.as_ref().map_or(0, |file| file.seq));
        self.taken_increment =
            self.taken_increment.max(manifest.increments.last().map_or(0, |file| file.seq));
        for file in manifest.files() {
            if !self.unsure.contains(file) {
                self.unsure.push(file.clone());
            }
        }
    }
}

impl Schedule {
    /// Forgets what was planned, not what was counted.
    pub(crate) fn cancel(&mut self) {
        (self.wanted, self.cold_at, self.automatic_at) = (false, None, None);
        (self.failures, self.cold_delay) = (0, DELAY_MIN);
    }
}

impl Rewriting {
    /// Returns whether a snapshot is being written.
    pub(crate) fn is_writing(&self) -> bool {
        matches!(self.stage, Stage::Writing)
    }

    /// Returns whether there is no trusted log that goes on meanwhile.
    pub(crate) fn is_cold(&self) -> bool {
        self.cold
    }
}

impl Log {
    /// Begins a rewrite that somebody asked for, or as soon as that is possible; an error is a reply.
    pub fn rewrite(&mut self, now: base::time::Now) -> Result<Started, &'static str> {
        self.tick(now);
        if self.rewriting.is_some() {
            return Err("Background append only file rewriting already in progress");
        }
        self.schedule.failures = 0;
        self.schedule.automatic_at = None;
        if !self.is_cold() && self.exceeds_budget() {
            self.say_budget();
            return Err("Can't rewrite the append only file: it would exceed aof-disk-budget");
        }
        if matches!(self.mode, Mode::Starting | Mode::Broken) {
            self.schedule.cold_at = Some(self.now.instant);
        }
        self.schedule.wanted = true;
        self.drive();
        Ok(if self.rewriting.is_some() { Started::Started } else { Started::Scheduled })
    }

    /// Asks for a rewrite that begins by itself, for those who may not begin one now.
    pub fn schedule_rewrite(&mut self, now: base::time::Now) {
        self.tick(now);
        (self.schedule.wanted, self.schedule.failures) = (true, 0);
    }

    /// Takes what became of the snapshot: its length, the file being on the disk, or why there is none.
    pub fn snapshot_done(&mut self, now: base::time::Now, result: Result<u64, String>) {
        self.tick(now);
        let Some(snapshot) = self.rewriting.as_ref().map(|rewriting| rewriting.snapshot) else { return };
        let base = self.next_base(snapshot);
        let Some(rewriting) = self.rewriting.as_mut().filter(|rewriting| rewriting.is_writing()) else {
            return;
        };
        let (from, to) = (rewriting.temporary.clone(), self.settings.path(&base.name));
        let number = rewriting.number;
        rewriting.stage = Stage::Renaming { bytes: *result.as_ref().unwrap_or(&0), base };
        match result {
            Ok(_) => {
                self.line(LogLevel::Notice, "Background AOF rewrite terminated with success".into());
                self.ask(Task::Rename { from, to }, Job::Rename(number));
            }
            Err(reason) => self.rewrite_failed(reason),
        }
        self.drive();
    }

    /// Takes over what is in the log's directory: no number of a file there is given again.
    ///
    /// What a manifest does not list is removed when another manifest is on the disk.
    pub(crate) fn take_place(&mut self, place: Place) {
        self.manifest = place.manifest;
        let listed = self.manifest != Manifest::default();
        for found in place.names.iter().filter_map(|found| Numbered::parse(&self.settings.name, found)) {
            let listing = &mut self.listing;
            let taken = if found.base { &mut listing.taken_base } else { &mut listing.taken_increment };
            *taken = found.file.seq.max(*taken);
            let unknown =
                !self.manifest.files().chain(&self.manifest.history).any(|file| *file == found.file);
            if listed && unknown && !listing.unsure.contains(&found.file) {
                listing.unsure.push(found.file);
            }
        }
    }

    pub(crate) fn next_increment(&self) -> LogFile {
        self.manifest.next_increment(&self.settings.name, self.listing.taken_increment)
    }

    pub(crate) fn next_base(&self, snapshot: bool) -> LogFile {
        self.manifest.next_base(&self.settings.name, snapshot, self.listing.taken_base)
    }

    /// Returns whether a rewrite has to make do without a log that goes on meanwhile.
    fn is_cold(&self) -> bool {
        self.mode != Mode::On
    }

    /// Turns the log on without one on the disk.
    pub(crate) fn start(&mut self) {
        self.mode = Mode::Starting;
        self.schedule.cold_at = Some(self.now.instant);
    }

    /// Begins a rewrite if one is due and nothing is in its way.
    pub(crate) fn drive_rewrite(&mut self) {
        let ready = match &self.file {
            _ if self.rewriting.is_some() || self.busy => false,
            // What is about to be listed may have been given up: its numbers are not free before that is known.
            _ if self.listing.in_flight.is_some() => false,
            _ if self.closing && self.mode == Mode::On => false,
            Some(file) if self.mode == Mode::On => {
                file.gate == Gate::Open && file.unlisted.is_none() && self.retiring.is_none()
            }
            _ => self.mode != Mode::On,
        };
        if !ready {
            return;
        }
        let now = self.now.instant;
        let due = match self.mode {
            Mode::Starting | Mode::Broken => self.schedule.cold_at.is_some_and(|at| at <= now),
            Mode::Off => self.schedule.wanted,
            Mode::On => {
                let growth = self.growth().filter(|_| self.schedule.automatic_at.is_none_or(|at| at <= now));
                let wanted = std::mem::take(&mut self.schedule.wanted);
                let due = wanted || growth.is_some();
                if due && self.exceeds_budget() {
                    return self.say_budget();
                }
                if let (false, Some(growth)) = (wanted, growth) {
                    let line = format!("Starting automatic rewriting of AOF on {growth}% growth");
                    self.line(LogLevel::Notice, line);
                }
                due
            }
        };
        if due {
            self.begin_rewrite();
        }
    }

    /// Returns by how many percent the log has grown, if that is a reason to rewrite it.
    fn growth(&self) -> Option<u64> {
        let (size, percentage) = (self.current_size(), self.settings.rewrite_percentage);
        let growth = (size.saturating_mul(100) / self.sizes.rewritten.max(1)).saturating_sub(100);
        (percentage > 0 && size > self.settings.rewrite_min_size && growth >= percentage).then_some(growth)
    }

    /// Returns whether a new base, as long as the last, would be too much beside the files that are there.
    pub(crate) fn exceeds_budget(&self) -> bool {
        let (budget, size) = (self.settings.disk_budget, self.current_size());
        let base = if self.sizes.base > 0 { self.sizes.base } else { size };
        let sum =
            [self.sizes.history, base, self.prepared_space()].into_iter().fold(size, u64::saturating_add);
        budget > 0 && sum > budget
    }

    fn say_budget(&mut self) {
        if !std::mem::replace(&mut self.schedule.budget_said, true) {
            let line = format!(
                "The AOF is not rewritten: beside its {} bytes a new base would exceed aof-disk-budget ({} bytes)",
                self.current_size() + self.sizes.history,
                self.settings.disk_budget
            );
            self.line(LogLevel::Warning, line);
        }
    }

    fn begin_rewrite(&mut self) {
        self.schedule.wanted = false;
        self.schedule.cold_at = None;
        self.schedule.budget_said = false;
        self.schedule.count += 1;
        self.schedule.temporary += 1;
        let number = self.schedule.temporary;
        let increment = (self.mode != Mode::Off).then(|| (self.file_id(), self.next_increment()));
        let mut tasks = vec![Task::MakeDir { path: self.settings.dir_path() }];
        if let Some((file, name)) = &increment {
            tasks.push(Task::Create { file: *file, path: self.settings.path(&name.name) });
        }
        self.rewriting = Some(Rewriting {
            number,
            since: self.now.instant,
            cold: self.is_cold(),
            snapshot: self.settings.use_rdb_preamble,
            temporary: self.settings.temporary(number),
            increment,
            stage: Stage::Preparing { left: tasks.len(), failed: None },
        });
        for task in tasks {
            self.ask(task, Job::Prepare(number));
        }
    }

    /// Takes the result of a task before the snapshot.
    pub(crate) fn prepared(&mut self, number: u64, result: Result<(), DiskError>) {
        let Some(rewriting) = self.rewriting.as_mut().filter(|rewriting| rewriting.number == number) else {
            return;
        };
        let Stage::Preparing { left, failed } = &mut rewriting.stage else { return };
        *left -= 1;
        if let Err(error) = result {
            failed.get_or_insert(error.to_string());
        }
        if *left > 0 {
            return;
        }
        match failed.take() {
            Some(reason) => self.rewrite_failed(reason),
            None if rewriting.cold => rewriting.stage = Stage::Ready,
            None => rewriting.stage = Stage::Listing,
        }
    }

    /// Lets the snapshot be taken now, if all is ready for it.
    pub(crate) fn fork_if_ready(&mut self) {
        let Some(rewriting) = &self.rewriting else { return };
        let steady =
            self.retiring.is_none() && self.file.as_ref().is_some_and(|file| file.gate == Gate::Open);
        if !matches!(rewriting.stage, Stage::Ready) || self.busy || !(rewriting.cold || steady) {
            return;
        }
        let (cold, path, snapshot) = (rewriting.cold, rewriting.temporary.clone(), rewriting.snapshot);
        if let Some((id, name)) = rewriting.increment.clone() {
            self.line(
                LogLevel::Notice,
                format!("Creating AOF incr file {} on background rewrite", name.name),
            );
            let gate = if cold { Gate::Open } else { Gate::Waiting };
            let next = Current::new(id, self.settings.path(&name.name), gate, 0, self.appended);
            self.retiring = self.file.replace(next);
        }
        if let Some(rewriting) = &mut self.rewriting {
            rewriting.stage = Stage::Writing;
        }
        // The end of the old file goes out before anything else happens.
        self.drive();
        self.settle();
        self.outputs.push_back(Output::Snapshot { path, snapshot });
    }

    /// Takes the result of giving the new base its name.
    pub(crate) fn renamed(&mut self, number: u64, result: Result<(), DiskError>) {
        let Some(rewriting) = self.rewriting.as_mut().filter(|rewriting| rewriting.number == number) else {
            return;
        };
        let Stage::Renaming { bytes, base } = &rewriting.stage else { return };
        match result {
            Ok(()) => rewriting.stage = Stage::Finishing { bytes: *bytes, base: base.clone() },
            Err(error) => self.rewrite_failed(error.to_string()),
        }
    }

    /// Hands out the manifest that is due next, if any is.
    pub(crate) fn drive_listing(&mut self) {
        if self.removal.at.is_some_and(|at| at <= self.now.instant) {
            self.removal.at = None;
            self.collect();
            for path in std::mem::take(&mut self.removal.left_over) {
                self.sweep(path);
            }
        }
        if self.listing.in_flight.is_some() {
            return;
        }
        let Some((purpose, next)) = self.next_manifest() else {
            self.listing.at = None;
            return;
        };
        if self.listing.at.is_none_or(|at| at <= self.now.instant) {
            let path = self.settings.path(&Manifest::file_name(&self.settings.name));
            self.listing.in_flight = Some(purpose);
            self.ask(Task::Replace { path, bytes: next.print() }, Job::List(next));
        }
    }

    /// Returns the manifest that the disk should have next, and what for.
    fn next_manifest(&self) -> Option<(Purpose, Manifest)> {
        if let Some(file) = &self.file
            && let Some(unlisted) = &file.unlisted
            && file.gate == Gate::Opening
            && unlisted.left == 0
        {
            let mut next = self.manifest.with_increment(unlisted.file.clone());
            if let Some((base, _)) = &unlisted.base {
                next.base = Some(base.clone());
            }
            return Some((Purpose::Begin(file.id), next));
        }
        if let Some(rewriting) = &self.rewriting {
            let (number, increment) =
                (rewriting.number, rewriting.increment.as_ref().map(|(_, file)| file.clone()));
            match &rewriting.stage {
                Stage::Listing => {
                    let increment = increment.expect("a running log has a new increment");
                    return Some((Purpose::Prepared(number), self.manifest.with_increment(increment)));
                }
                Stage::Finishing { base, .. } => {
                    return Some((
                        Purpose::Finished(number),
                        self.manifest.with_base(base.clone(), increment),
                    ));
                }
                _ => {}
            }
        }
        if self.removal.left == 0 && !self.removal.gone.is_empty() {
            let mut next = self.manifest.clone();
            next.history.retain(|file| !self.removal.gone.contains(&file.name));
            return Some((Purpose::Removed, next));
        }
        None
    }

    /// Takes what became of a manifest.
    pub(crate) fn listed(&mut self, manifest: Manifest, result: Result<(), DiskError>) {
        let purpose = self.listing.in_flight.take().expect("one manifest is in flight");
        if let Err(error) = result {
            self.listing.doubt(&manifest);
            let wait = self.listing.delay;
            self.listing.at = Some(self.now.instant + wait);
            self.listing.delay = (wait * 2).min(DELAY_MAX);
            let line = format!(
                "The AOF manifest could not be written: {error}. It is tried again in {} s",
                wait.as_secs()
            );
            self.line(LogLevel::Warning, line);
            if let Purpose::Begin(_) = purpose {
                // Nothing is written to a file that loading would not find.
                self.write_error = Some(error.reason);
            }
            return;
        }
        self.manifest = manifest;
        (self.listing.at, self.listing.delay) = (None, DELAY_MIN);
        self.forget_unsure();
        let current = self.rewriting.as_ref().map(|rewriting| rewriting.number);
        match purpose {
            Purpose::Begin(id) => {
                if let Some(file) = self.file.as_mut().filter(|file| file.id == id) {
                    (file.unlisted, file.gate) = (None, Gate::Open);
                    self.writes_again();
                }
            }
            Purpose::Prepared(number) if current == Some(number) => {
                if let Some(rewriting) = &mut self.rewriting {
                    rewriting.stage = Stage::Ready;
                }
            }
            Purpose::Finished(number) if current == Some(number) => self.finished(),
            // The rewrite was given up; what is listed is there all the same.
            Purpose::Prepared(_) | Purpose::Finished(_) => {}
            Purpose::Removed => {
                self.removal.gone.clear();
                if self.manifest.history.is_empty() {
                    self.sizes.history = 0;
                } else if self.removal.at.is_none() {
                    self.collect();
                }
            }
        }
    }

    /// Removes files that only a manifest listed of which the disk now has another.
    fn forget_unsure(&mut self) {
        let awaited = self.rewriting.as_ref().and_then(|rewriting| match &rewriting.stage {
            Stage::Finishing { base, .. } => Some(base.clone()),
            _ => None,
        });
        let begun = self.rewriting.as_ref().and_then(|rewriting| rewriting.increment.clone());
        let kept = |file: &LogFile| {
            self.manifest.files().chain(&self.manifest.history).any(|listed| listed.name == file.name)
                || awaited.as_ref().is_some_and(|base| base.name == file.name)
                || begun.as_ref().is_some_and(|(_, increment)| increment.name == file.name)
        };
        let (keep, gone): (Vec<_>, Vec<_>) = self.listing.unsure.iter().cloned().partition(kept);
        self.listing.unsure = keep;
        for file in gone {
            self.sweep(self.settings.path(&file.name));
        }
    }

    /// Lets the new base count.
    fn finished(&mut self) {
        let Some(rewriting) = self.rewriting.take() else { return };
        let Stage::Finishing { bytes, .. } = rewriting.stage else { unreachable!("only then it is listed") };
        if let Some(old) = self.retiring.take() {
            self.sizes.older += old.written.len;
            self.ask(Task::Close { file: old.id }, Job::Aside);
            self.open_gate();
            // Whatever could not be written to it, the base holds.
            self.writes_again();
        }
        self.sizes.history += self.sizes.base + self.sizes.older;
        (self.sizes.base, self.sizes.older) = (bytes, 0);
        self.sizes.rewritten = self.current_size();
        self.schedule.last_secs = Some(self.since(rewriting.since).as_secs());
        self.schedule.last_ok = true;
        (self.schedule.failures, self.schedule.automatic_at) = (0, None);
        self.schedule.cold_delay = DELAY_MIN;
        self.line(LogLevel::Notice, "Background AOF rewrite finished successfully".into());
        if matches!(self.mode, Mode::Starting | Mode::Broken) {
            if self.mode == Mode::Broken {
                self.line(
                    LogLevel::Warning,
                    "The AOF is whole again: a new base and a new file are synced.".into(),
                );
            }
            self.mode = Mode::On;
            self.sync_error = None;
        }
        self.settle();
        self.collect();
    }

    /// Removes the files that others replaced.
    pub(crate) fn collect(&mut self) {
        let busy = self.removal.left > 0 || !self.removal.gone.is_empty();
        if busy || self.settings.disable_auto_gc {
            return;
        }
        self.removal.failed = false;
        let names: Vec<_> = self.manifest.history.iter().map(|file| file.name.clone()).collect();
        self.removal.left = names.len();
        for name in names {
            self.line(LogLevel::Notice, format!("Removing the history file {name} in the background"));
            self.ask(Task::Remove { path: self.settings.path(&name) }, Job::Remove(name));
        }
    }

    pub(crate) fn removed(&mut self, name: String, result: Result<(), DiskError>) {
        self.removal.left -= 1;
        match result {
            Ok(()) => self.removal.gone.push(name),
            Err(error) => {
                self.removal.at = Some(self.now.instant + REMOVAL_DELAY);
                if !std::mem::replace(&mut self.removal.failed, true) {
                    self.line(LogLevel::Warning, format!("The history file {name} is still there: {error}"));
                }
            }
        }
    }

    /// Removes a temporary file.
    fn sweep(&mut self, path: String) {
        self.ask(Task::Remove { path: path.clone() }, Job::Sweep(path));
    }

    pub(crate) fn swept(&mut self, path: String, result: Result<(), DiskError>) {
        if let Err(error) = result {
            self.line(LogLevel::Verbose, format!("The temporary file {path} is still there: {error}"));
            self.removal.left_over.push(path);
            self.removal.at = Some(self.now.instant + REMOVAL_DELAY);
        }
    }

    /// Ends a rewrite that cannot go on; the log is what it was.
    pub(crate) fn rewrite_failed(&mut self, reason: String) {
        let cold = self.rewriting.as_ref().is_some_and(|rewriting| rewriting.cold);
        self.line(LogLevel::Warning, format!("Background AOF rewrite failed: {reason}"));
        self.abort_rewrite();
        if let Some(file) = self.file.take_if(|_| cold) {
            self.ask(Task::Close { file: file.id }, Job::Aside);
        }
        self.schedule.last_ok = false;
        self.schedule.failures += 1;
        if self.schedule.failures >= FAILURES_MAX {
            let doublings = u32::try_from(self.schedule.failures - FAILURES_MAX).unwrap_or(u32::MAX).min(6);
            let wait = (AUTOMATIC_DELAY_MIN * (1 << doublings)).min(AUTOMATIC_DELAY_MAX);
            self.schedule.automatic_at = Some(self.now.instant + wait);
            if self.mode == Mode::On {
                let line =
                    format!("The AOF is not rewritten by itself in the next {} minutes", wait.as_secs() / 60);
                self.line(LogLevel::Warning, line);
            }
        } else {
            self.schedule.automatic_at = Some(self.now.instant + DELAY_MIN);
        }
        if matches!(self.mode, Mode::Starting | Mode::Broken) {
            self.schedule.cold_at = Some(self.now.instant + self.schedule.cold_delay);
            self.schedule.cold_delay = (self.schedule.cold_delay * 2).min(DELAY_MAX);
        }
    }

    /// Gives up a rewrite; files that may be listed stay.
    pub(crate) fn abort_rewrite(&mut self) {
        let Some(rewriting) = self.rewriting.take() else { return };
        match (rewriting.stage, rewriting.increment) {
            (Stage::Preparing { .. } | Stage::Listing | Stage::Ready, Some((file, _))) => {
                self.ask(Task::Close { file }, Job::Aside);
            }
            (Stage::Writing, _) => {
                self.outputs.push_back(Output::StopSnapshot);
                self.sweep(rewriting.temporary);
            }
            (Stage::Renaming { .. }, _) => self.sweep(rewriting.temporary),
            _ => {}
        }
    }

    /// Returns when something of a rewrite will be due.
    pub(crate) fn schedule_due(&self) -> Option<Instant> {
        let idle = self.rewriting.is_none() && !self.busy && self.listing.in_flight.is_none();
        let cold =
            self.schedule.cold_at.filter(|_| idle && matches!(self.mode, Mode::Starting | Mode::Broken));
        let automatic = self
            .schedule
            .automatic_at
            .filter(|_| idle && !self.closing && self.mode == Mode::On && self.growth().is_some());
        let listing = self.listing.at.filter(|_| self.listing.in_flight.is_none());
        // One that would exceed the budget waits for the log to change, not for time.
        let automatic = automatic.filter(|at| *at > self.now.instant);
        [cold, automatic, listing, self.removal.at].into_iter().flatten().min()
    }
}
