//! A virtual disk: the same tasks as the real one, in virtual time, with failures and power cuts.
//!
//! What was written and not synced is known to whoever reads, and may be gone after [`VirtualDisk::crash`]: all of it, none,
//! the end of it, or any of its sectors, with what was there before in the place of the others, or zeros. Names that were given, changed or removed and whose
//! directory was not synced may be as before. A sync that fails makes the disk forget that there was something to write:
//! later syncs succeed, and the bytes are gone after the next power cut. That is how Linux does it.
//!
//! ```text
//! submit(now, id, task) ─► queue ─► due after a latency ─► carried out, step by step ─► take_done(now)
//!                                                            │
//!                                           an injected failure, or the power cut, comes between two steps
//! ```
//!
//! As on the real disk an append with nothing ahead of it is carried out at once. The same seed gives the same disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::disk::{DiskError, FileId, Step, Task, TaskId};
use base::prepared::{Behind, Plan, Space};
use base::rng::Rng;
use base::time::Instant;

mod inode;
mod names;

use inode::Inode;
use names::Names;

/// What became of a task.
pub type Done = (TaskId, Result<(), DiskError>);

/// A disk, its files, and what is asked of it.
#[derive(Clone, Debug)]
pub struct VirtualDisk {
    rng: Rng,
    /// By number; never reused, those without a name take no part.
    inodes: Vec<Inode>,
    names: Names,
    open: BTreeMap<FileId, LogFile>,
    /// Log files that were made since the process began.
    own: BTreeSet<String>,
    queue: VecDeque<(Instant, TaskId, Task)>,
    done: Vec<Done>,
    /// When the last task that was asked for is due.
    busy_until: Instant,
    speed: Speed,
    faults: Vec<Fault>,
    /// Bytes that still fit.
    room: u64,
    /// The steps that are left before the power goes, while it goes.
    steps_left: Option<u64>,
    /// How many tasks of each kind of step were made to fail.
    failures: BTreeMap<Step, u64>,
}

/// How long tasks take: between nothing and these, most of them little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    /// What is neither a sync nor contains one.
    pub write: Duration,
    /// What is synced.
    pub sync: Duration,
    /// One sync in so many takes a hundred times as long; 0: none does.
    pub stall: u64,
}

impl Default for Speed {
    fn default() -> Speed {
        Speed { write: Duration::from_micros(100), sync: Duration::from_millis(5), stall: 100 }
    }
}

/// A failure that is to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The step that fails.
    pub step: Step,
    /// One step in so many fails; 1: each.
    pub one_in: u64,
    /// So many times; after that the fault is gone.
    pub times: u64,
    /// Only where the path contains this.
    pub path: String,
    /// There is no room, rather than an I/O error.
    pub full: bool,
}

impl Fault {
    /// Returns the fault that lets the next such step fail, whatever its file.
    pub fn next(step: Step) -> Fault {
        Fault { step, one_in: 1, times: 1, path: String::new(), full: false }
    }
}

#[derive(Clone, Debug)]
enum LogFile {
    Whole { inode: usize, path: String, space: Space },
    Broken(DiskError),
    Lost(DiskError),
}

/// Why a task was not carried out to its end.
enum Stop {
    Error(DiskError),
    /// The power is gone.
    Cut,
}

type Outcome<T = ()> = Result<T, Stop>;

impl VirtualDisk {
    /// Returns an empty disk; everything that chance decides follows from `seed`.
    pub fn new(seed: u64, speed: Speed) -> VirtualDisk {
        VirtualDisk {
            rng: Rng::seeded(seed),
            inodes: Vec::new(),
            names: Names::default(),
            open: BTreeMap::new(),
            own: BTreeSet::new(),
            queue: VecDeque::new(),
            done: Vec::new(),
            busy_until: Instant::ZERO,
            speed,
            faults: Vec::new(),
            room: u64::MAX,
            steps_left: None,
            failures: BTreeMap::new(),
        }
    }

    /// Takes a task.
    pub fn submit(&mut self, now: Instant, id: TaskId, task: Task) {
        self.work(now);
        if self.queue.is_empty() && matches!(task, Task::Append { .. }) {
            return self.carry_out(id, task);
        }
        let due = self.busy_until.max(now) + self.latency(&task);
        self.busy_until = due;
        self.queue.push_back((due, id, task));
    }

    /// Returns whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns when the next task is done.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.done.is_empty() {
            return Some(Instant::ZERO);
        }
        self.queue.front().map(|(due, ..)| *due)
    }

    /// Returns what has become of tasks since the last call, in order.
    pub fn take_done(&mut self, now: Instant) -> Vec<Done> {
        self.work(now);
        std::mem::take(&mut self.done)
    }

    /// Carries out everything that is queued, whenever it would be due; the results are still to be taken.
    pub fn settle(&mut self) {
        while let Some((_, id, task)) = self.queue.pop_front() {
            self.carry_out(id, task);
        }
        // What comes next waits for nothing that is done already.
        self.busy_until = Instant::ZERO;
    }

    /// Writes a whole file as a snapshot's child does: temporary file, sync, rename, directory sync.
    pub fn save(&mut self, temporary: &str, rename_to: Option<&str>, bytes: &[u8]) -> Result<(), DiskError> {
        let result = self.write_file(temporary, rename_to, bytes);
        if result.is_err() {
            self.names.unlink(temporary);
        }
        result.map_err(|stop| match stop {
            Stop::Error(error) => error,
            Stop::Cut => unreachable!("the power goes only in a crash"),
        })
    }

    /// Leaves a part of a file behind, as a snapshot's child that was killed does.
    pub fn abandon(&mut self, temporary: &str, bytes: &[u8]) {
        let inode = self.create_inode(temporary);
        self.inodes[inode].append(bytes);
    }

    /// Lets failures happen from now on.
    pub fn inject(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Ends all failures that were injected.
    pub fn heal(&mut self) {
        self.faults.clear();
    }

    /// Sets how many bytes can still be written before the disk is full.
    pub fn set_room(&mut self, bytes: u64) {
        self.room = bytes;
    }

    /// Sets how long tasks take that are asked for from now on.
    pub fn set_speed(&mut self, speed: Speed) {
        self.speed = speed;
    }

    /// Returns how often a step was made to fail.
    pub fn failures(&self, step: Step) -> u64 {
        self.failures.get(&step).copied().unwrap_or(0)
    }

    /// Cuts the power: leaves what a disk would have afterwards, drawn from `rng`.
    ///
    /// The task that was under way may have been carried out in part; those behind it were not begun. Nothing is open, and
    /// nothing that was not taken will be reported.
    pub fn crash(&mut self, rng: &mut Rng) {
        self.kill(rng);
        self.names.crash(rng);
        let named = self.names.inodes();
        for (number, inode) in self.inodes.iter_mut().enumerate() {
            if named.contains(&number) { inode.crash(rng) } else { *inode = Inode::default() }
        }
    }

    /// Kills the process but not the machine: what was written stays, what was queued does not happen.
    ///
    /// The task that was under way may have been carried out in part.
    pub fn kill(&mut self, rng: &mut Rng) {
        if let Some((_, id, task)) = self.queue.pop_front() {
            self.steps_left = Some(rng.below(7));
            self.carry_out(id, task);
            self.steps_left = None;
        }
        self.queue.clear();
        self.done.clear();
        self.open.clear();
        self.own.clear();
        self.busy_until = Instant::ZERO;
    }

    /// Returns a file's content as a reader sees it.
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        self.names.file(path).map(|inode| self.inodes[inode].content())
    }

    /// Returns the paths of all files, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.names.files()
    }

    /// Puts a file on the disk as if it had always been there.
    pub fn place(&mut self, path: &str, bytes: &[u8]) {
        let inode = self.create_inode(path);
        self.inodes[inode].append(bytes);
        self.inodes[inode].sync();
        self.names.sync_all();
    }

    /// Flips the bits of `mask` in one byte of a file, as a bad disk does, and says whether there is such a byte.
    pub fn flip(&mut self, path: &str, at: usize, mask: u8) -> bool {
        self.names.file(path).is_some_and(|inode| self.inodes[inode].flip(at, mask))
    }

    /// Carries out what is due.
    fn work(&mut self, now: Instant) {
        while let Some((_, id, task)) = self.queue.pop_front_if(|(due, ..)| *due <= now) {
            self.carry_out(id, task);
        }
    }

    fn latency(&mut self, task: &Task) -> Duration {
        let most = match task {
            Task::Append { .. } | Task::Close { .. } => self.speed.write,
            _ => self.speed.sync,
        };
        // Drawn twice, the shorter holds: most tasks are quick.
        let most = most.as_micros() as u64 + 1;
        let latency = Duration::from_micros(self.rng.below(most).min(self.rng.below(most)));
        let stalls = self.speed.stall > 0 && self.rng.below(self.speed.stall) == 0;
        if stalls && !matches!(task, Task::Append { .. } | Task::Close { .. }) {
            latency * 100
        } else {
            latency
        }
    }

    fn carry_out(&mut self, id: TaskId, task: Task) {
        let result = match self.try_carry_out(task) {
            Ok(()) => Ok(()),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Cut) => return,
        };
        self.done.push((id, result));
    }

    fn try_carry_out(&mut self, task: Task) -> Outcome {
        match task {
            Task::MakeDir { path } => {
                self.step(Step::MakeDir, &path)?;
                if self.names.file(&path).is_some() {
                    return Err(Stop::Error(error(Step::MakeDir, "File exists")));
                }
                if !self.names.has_parent(&path) {
                    return Err(Stop::Error(error(Step::MakeDir, NOT_FOUND)));
                }
                self.names.make_dir(&path);
                self.sync_parent(&path)
            }
            Task::Create { file, path } => self.open_as(file, &path, |disk| {
                let inode = disk.create_log_file(&path)?;
                disk.sync_parent(&path)?;
                Ok(inode)
            }),
            Task::Open { file, path, len } => self.open_as(file, &path, |disk| disk.open(&path, len)),
            Task::Append { file, bytes } => self.append(file, &bytes),
            Task::Sync { file, ahead } => self.sync(file, ahead),
            Task::Close { file } => {
                if let Ok((inode, path, mut space)) = self.whole(file, Step::Cut) {
                    self.cut_filler(inode, &path, &mut space)?;
                }
                if !matches!(self.open.get(&file), Some(LogFile::Lost(_))) {
                    self.open.remove(&file);
                }
                Ok(())
            }
            Task::Replace { path, bytes } => {
                let (directory, name) = path.rsplit_once('/').map_or(("", path.as_str()), |parts| parts);
                let slash = if directory.is_empty() { "" } else { "/" };
                let temporary = format!("{directory}{slash}temp-{name}");
                let result = self.write_file(&temporary, Some(&path), &bytes);
                if let Err(Stop::Error(_)) = result {
                    self.names.unlink(&temporary);
                }
                result
            }
            Task::Rename { from, to } => self.rename(&from, &to),
            Task::Remove { path } => {
                self.step(Step::Remove, &path)?;
                if self.names.unlink(&path) { self.sync_parent(&path) } else { Ok(()) }
            }
        }
    }

    /// Comes before each step: fails it if that is due.
    fn step(&mut self, step: Step, path: &str) -> Outcome {
        if let Some(left) = &mut self.steps_left {
            *left = left.checked_sub(1).ok_or(Stop::Cut)?;
        }
        let hit = self.faults.iter().position(|fault| {
            fault.step == step && path.contains(&fault.path) && self.rng.below(fault.one_in.max(1)) == 0
        });
        let Some(hit) = hit else { return Ok(()) };
        let fault = &mut self.faults[hit];
        let full = fault.full;
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.faults.remove(hit);
        }
        *self.failures.entry(step).or_default() += 1;
        let reason = if full { FULL } else { "Input/output error" };
        Err(Stop::Error(DiskError { step, full, reason: reason.into() }))
    }

    fn open_as(
        &mut self,
        id: FileId,
        path: &str,
        open: impl FnOnce(&mut VirtualDisk) -> Outcome<usize>,
    ) -> Outcome {
        if let Some(LogFile::Lost(error)) = self.open.get(&id) {
            return Err(Stop::Error(error.clone()));
        }
        let (file, result) = match open(self) {
            Ok(inode) => {
                let space = Space::new(self.inodes[inode].content().len() as u64);
                (LogFile::Whole { inode, path: path.to_owned(), space }, Ok(()))
            }
            Err(Stop::Error(error)) if error.step == Step::Sync => {
                (LogFile::Lost(error.clone()), Err(Stop::Error(error)))
            }
            Err(Stop::Error(error)) => (LogFile::Broken(error.clone()), Err(Stop::Error(error))),
            Err(Stop::Cut) => return Err(Stop::Cut),
        };
        self.open.insert(id, file);
        result
    }

    fn create(&mut self, path: &str) -> Outcome<usize> {
        self.step(Step::Open, path)?;
        if !self.names.has_parent(path) {
            return Err(Stop::Error(error(Step::Open, NOT_FOUND)));
        }
        if self.names.is_dir(path) {
            return Err(Stop::Error(error(Step::Open, "Is a directory")));
        }
        Ok(self.create_inode(path))
    }

    /// Makes a log file, in place of an empty one or one that this process has made.
    fn create_log_file(&mut self, path: &str) -> Outcome<usize> {
        let filled = self.names.file(path).is_some_and(|inode| !self.inodes[inode].content().is_empty());
        if filled && !self.own.contains(path) {
            let reason = format!("{path} is there already, and is not empty");
            return Err(Stop::Error(error(Step::Open, &reason)));
        }
        let inode = self.create(path)?;
        self.own.insert(path.to_owned());
        self.sync_inode(inode, path)?;
        Ok(inode)
    }

    /// Makes an empty file, or makes one empty that is there.
    fn create_inode(&mut self, path: &str) -> usize {
        if let Some(inode) = self.names.file(path) {
            self.inodes[inode].cut(0);
            return inode;
        }
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.names.link(path, inode);
        inode
    }

    fn open(&mut self, path: &str, len: u64) -> Outcome<usize> {
        self.step(Step::Open, path)?;
        let inode = self.names.file(path).ok_or_else(|| Stop::Error(error(Step::Open, NOT_FOUND)))?;
        let there = self.inodes[inode].content().len() as u64;
        if there < len {
            let reason = format!("the file has {there} bytes, and should have {len} at least");
            return Err(Stop::Error(error(Step::Open, &reason)));
        }
        if there > len {
            self.step(Step::Cut, path)?;
            self.inodes[inode].cut(len as usize);
        }
        self.sync_inode(inode, path)?;
        self.sync_parent(path)?;
        if !names::parent(path).is_empty() {
            self.sync_parent(names::parent(path))?;
        }
        Ok(inode)
    }

    fn append(&mut self, id: FileId, bytes: &[u8]) -> Outcome {
        let (inode, path, mut space) = self.whole(id, Step::Write)?;
        let (at, count, behind) =
            (space.data() as usize, bytes.len() as u64, space.behind(bytes.len() as u64));
        let result = match behind {
            Behind::Mark => self.write(inode, &path, at, &[bytes, b"#"].concat()),
            Behind::Good | Behind::Last => self.write(inode, &path, at, bytes),
        };
        match result {
            Ok(()) => {
                space.append(count);
                if behind == Behind::Last {
                    self.cut_filler(inode, &path, &mut space)?;
                }
                self.open.insert(id, LogFile::Whole { inode, path, space });
                Ok(())
            }
            Err(Stop::Error(error)) => {
                // Should this fail as well, what was written stays until the file is opened again.
                if self.step(Step::Cut, &path).is_ok() {
                    self.inodes[inode].cut(at);
                }
                self.open.insert(id, LogFile::Broken(error.clone()));
                Err(Stop::Error(error))
            }
            Err(Stop::Cut) => Err(Stop::Cut),
        }
    }

    /// Writes at a place in the file or behind it; on failure any part of it may have been written.
    fn write(&mut self, inode: usize, path: &str, at: usize, bytes: &[u8]) -> Outcome {
        // What takes the place of something needs no room.
        let there = (self.inodes[inode].content().len() - at).min(bytes.len());
        let most = usize::try_from(self.room).unwrap_or(usize::MAX).saturating_add(there).min(bytes.len());
        let failed = match self.step(Step::Write, path) {
            Err(Stop::Cut) => {
                let taken = self.rng.below(most as u64 + 1) as usize;
                self.inodes[inode].write(at, &bytes[..taken]);
                return Err(Stop::Cut);
            }
            Err(Stop::Error(error)) => Some(error),
            Ok(()) if most < bytes.len() => {
                Some(DiskError { step: Step::Write, full: true, reason: FULL.into() })
            }
            Ok(()) => None,
        };
        let taken = match &failed {
            None => bytes.len(),
            Some(error) if error.full => most,
            Some(_) => self.rng.below(most as u64 + 1) as usize,
        };
        self.inodes[inode].write(at, &bytes[..taken]);
        match failed {
            // What a cut gives back is not counted: a full disk stays full until there is room again.
            Some(error) => Err(Stop::Error(error)),
            None => {
                let grown = (taken - there) as u64;
                self.room = self.room.saturating_sub(if self.room == u64::MAX { 0 } else { grown });
                Ok(())
            }
        }
    }

    fn sync(&mut self, id: FileId, ahead: u64) -> Outcome {
        let (inode, path, mut space) = self.whole(id, Step::Sync)?;
        match space.plan(ahead) {
            Plan::Nothing => {}
            Plan::Cut => self.cut_filler(inode, &path, &mut space)?,
            Plan::Fill(part) => {
                let filler = space.filler(part.clone());
                match self.write(inode, &path, part.start as usize, &filler) {
                    Ok(()) => space.fill(part.end),
                    Err(Stop::Error(_)) => {
                        space.pause();
                        self.cut_filler(inode, &path, &mut space)?;
                    }
                    Err(Stop::Cut) => return Err(Stop::Cut),
                }
            }
        }
        let result = self.sync_inode(inode, &path);
        match &result {
            Ok(()) => {
                space.sync();
                self.open.insert(id, LogFile::Whole { inode, path, space });
            }
            Err(Stop::Error(error)) => {
                self.open.insert(id, LogFile::Lost(error.clone()));
            }
            Err(Stop::Cut) => {}
        }
        result
    }

    /// Cuts a file to its data, unless that fails.
    fn cut_filler(&mut self, inode: usize, path: &str, space: &mut Space) -> Outcome {
        let len = space.data() as usize;
        if self.inodes[inode].content().len() > len {
            match self.step(Step::Cut, path) {
                Ok(()) => {
                    self.inodes[inode].cut(len);
                    space.cut();
                }
                Err(Stop::Error(_)) => {}
                Err(Stop::Cut) => return Err(Stop::Cut),
            }
        }
        Ok(())
    }

    fn sync_inode(&mut self, inode: usize, path: &str) -> Outcome {
        let result = self.step(Step::Sync, path);
        match &result {
            Ok(()) => self.inodes[inode].sync(),
            Err(Stop::Error(_)) => self.inodes[inode].forget(),
            Err(Stop::Cut) => {}
        }
        result
    }

    fn sync_parent(&mut self, path: &str) -> Outcome {
        self.step(Step::Sync, names::parent(path))?;
        self.names.sync(names::parent(path));
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Outcome {
        self.step(Step::Rename, from)?;
        if self.names.file(from).is_none() || !self.names.has_parent(to) {
            return Err(Stop::Error(error(Step::Rename, NOT_FOUND)));
        }
        if self.names.is_dir(to) {
            return Err(Stop::Error(error(Step::Rename, "Is a directory")));
        }
        self.names.rename(from, to);
        self.sync_parent(to)?;
        if names::parent(from) != names::parent(to) {
            self.sync_parent(from)?;
        }
        Ok(())
    }

    fn write_file(&mut self, temporary: &str, rename_to: Option<&str>, bytes: &[u8]) -> Outcome {
        let inode = self.create(temporary)?;
        let at = self.inodes[inode].content().len();
        self.write(inode, temporary, at, bytes)?;
        self.sync_inode(inode, temporary)?;
        match rename_to {
            Some(path) => self.rename(temporary, path),
            None => self.sync_parent(temporary),
        }
    }

    /// Returns an open file that is neither broken nor lost.
    fn whole(&self, id: FileId, step: Step) -> Outcome<(usize, String, Space)> {
        match self.open.get(&id) {
            Some(LogFile::Whole { inode, path, space }) => Ok((*inode, path.clone(), *space)),
            Some(LogFile::Broken(error) | LogFile::Lost(error)) => Err(Stop::Error(error.clone())),
            None => Err(Stop::Error(error(step, "the file is not open"))),
        }
    }
}

const NOT_FOUND: &str = "No such file or directory";
const FULL: &str = "No space left on device";

fn error(step: Step, reason: &str) -> DiskError {
    DiskError { step, full: false, reason: reason.into() }
}

#[cfg(test)]
mod tests;
