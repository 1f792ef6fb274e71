//! The log machine over a scripted disk: whatever fails, nothing that left is lost, and the log recovers with the disk.
//!
//! Writes are numbered; the dataset is how many there were. A snapshot is that number, and a log replays when the numbers
//! follow each other without a gap or a repetition.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use aof::read::{Reader, Replay, Verdict};
use aof::{Check, Fsync, Log, Manifest, Mark, Output, Place, Settings, Sizes, Start, Started};
use base::disk::{DiskError, FileId, Step, Task, TaskId};
use base::rng::Rng;
use base::time::{Instant, Now};
use resp::Request;

/// A file: what reading it gives, and how much of that survives the power.
#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    synced: usize,
}

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<String, File>,
    open: BTreeMap<FileId, Opened>,
}

#[derive(Debug)]
struct Opened {
    path: String,
    broken: Option<DiskError>,
    dead: bool,
}

/// How a task fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing has happened.
    Before,
    /// It has happened, but that is not known.
    After,
}

impl Disk {
    fn perform(&mut self, task: Task, fault: Option<Fault>) -> Result<(), DiskError> {
        let error = |step| DiskError { step, full: true, reason: "No space left on device".into() };
        let fail = |step| if fault.is_some() { Err(error(step)) } else { Ok(()) };
        let happens = fault != Some(Fault::Before);
        match task {
            Task::MakeDir { .. } => fail(Step::MakeDir),
            Task::Create { file, path } => {
                assert!(!self.open.contains_key(&file), "{file:?} was chosen before");
                if happens {
                    self.files.insert(path.clone(), File::default());
                }
                fail(Step::Open)?;
                self.open.insert(file, Opened { path, broken: None, dead: false });
                Ok(())
            }
            Task::Open { file, path, len } => {
                let dead = self.open.get(&file).is_some_and(|opened| opened.dead);
                let found = self.files.get_mut(&path).filter(|found| found.bytes.len() as u64 >= len);
                let Some(found) = found.filter(|_| !dead) else { return Err(error(Step::Open)) };
                fail(Step::Open)?;
                found.bytes.truncate(len as usize);
                found.synced = found.bytes.len();
                self.open.insert(file, Opened { path, broken: None, dead: false });
                Ok(())
            }
            Task::Append { file, bytes } => {
                let opened = self.open.get_mut(&file).expect("an open file");
                if let Some(error) = &opened.broken {
                    return Err(error.clone());
                }
                if fault.is_some() {
                    opened.broken = Some(error(Step::Write));
                    return Err(error(Step::Write));
                }
                self.files.get_mut(&opened.path).expect("its file").bytes.extend_from_slice(&bytes);
                Ok(())
            }
            Task::Sync { file, .. } => {
                let opened = self.open.get_mut(&file).expect("an open file");
                if let Some(error) = &opened.broken {
                    return Err(error.clone());
                }
                if fault.is_some() {
                    (opened.broken, opened.dead) = (Some(error(Step::Sync)), true);
                    return Err(error(Step::Sync));
                }
                let file = self.files.get_mut(&opened.path).expect("its file");
                file.synced = file.bytes.len();
                Ok(())
            }
            Task::Close { file } => {
                self.open.remove(&file);
                Ok(())
            }
            Task::Replace { path, bytes } => {
                if happens {
                    self.files.insert(path, File { synced: bytes.len(), bytes });
                }
                fail(Step::Rename)
            }
            Task::Rename { from, to } => {
                fail(Step::Rename)?;
                let file = self.files.remove(&from).expect("a file to rename");
                self.files.insert(to, file);
                Ok(())
            }
            Task::Remove { path } => {
                fail(Step::Remove)?;
                self.files.remove(&path);
                Ok(())
            }
        }
    }

    /// Loads what is left when of unsynced bytes `kept` of 4 parts are: how many writes it holds.
    fn load(&self, kept: usize) -> u64 {
        let read = |name: &str| {
            let file = self.files.get(&format!("dir/{name}")).unwrap_or_else(|| panic!("{name} is missing"));
            file.bytes[..file.synced + (file.bytes.len() - file.synced) * kept / 4].to_vec()
        };
        let Some(manifest) = self.files.get("dir/aof.manifest") else { return 0 };
        let manifest = Manifest::parse(&manifest.bytes).expect("a whole manifest");
        let mut count = Count(0);
        if let Some(base) = &manifest.base {
            let bytes = read(&base.name);
            count.0 = String::from_utf8(bytes[9..].to_vec()).unwrap().parse().expect("a whole base");
        }
        let files: Vec<_> = manifest.increments.iter().map(|file| read(&file.name)).collect();
        let last = files.iter().rposition(|file| !file.is_empty()).unwrap_or(0);
        for (index, bytes) in files.iter().enumerate() {
            let mut reader = Reader::new(0);
            let taken = reader.read(bytes, &mut count).expect("numbers follow each other");
            match reader.finish(&bytes[taken..]) {
                Verdict::Complete => {}
                Verdict::TornTail { .. } if index == last => {}
                verdict => panic!("file {index} of {}: {verdict:?}", files.len()),
            }
        }
        count.0
    }
}

struct Count(u64);

impl Replay for Count {
    type Error = String;

    fn request(&mut self, request: Request<'_>, _: u64) -> Result<(), String> {
        if request.arg(0) == b"SELECT" {
            return Ok(());
        }
        let number: u64 = std::str::from_utf8(request.arg(1)).unwrap().parse().unwrap();
        if number != self.0 + 1 {
            return Err(format!("{number} follows {}", self.0));
        }
        self.0 = number;
        Ok(())
    }
}

/// A server around the machine.
struct World {
    log: Log,
    disk: Disk,
    micros: u64,
    /// Tasks that wait for the disk, and when the one in front is done.
    queue: VecDeque<(TaskId, Task)>,
    done_at: u64,
    sync_micros: u64,
    /// Whether other tasks than syncs take time, too.
    queue_all: bool,
    /// How many writes there were, and of how many the replies left.
    writes: u64,
    released: u64,
    /// The same without those that left while nothing was promised.
    promised: u64,
    /// Replies that left and when, for the window of `everysec`.
    history: VecDeque<(u64, u64)>,
    snapshot: Option<(u64, String, u64)>,
    fault: Box<dyn FnMut(u64, &Task) -> Option<Fault>>,
    performed: u64,
    fsync: Fsync,
    syncs: u64,
    lines: Vec<String>,
    snapshots: u64,
    snapshot_fails: bool,
}

impl World {
    fn new(
        settings: Settings,
        start: Start,
        fault: impl FnMut(u64, &Task) -> Option<Fault> + 'static,
    ) -> World {
        let fsync = settings.fsync;
        let log = Log::new(settings, Manifest::default(), Sizes::default(), start, 0, at(0));
        World::over(log, Disk::default(), 0, fsync, fault)
    }

    fn over(
        log: Log,
        disk: Disk,
        writes: u64,
        fsync: Fsync,
        fault: impl FnMut(u64, &Task) -> Option<Fault> + 'static,
    ) -> World {
        World {
            log,
            disk,
            micros: 0,
            queue: VecDeque::new(),
            done_at: 0,
            sync_micros: 3_000,
            queue_all: false,
            writes,
            released: writes,
            promised: writes,
            history: VecDeque::new(),
            snapshot: None,
            fault: Box::new(fault),
            performed: 0,
            fsync,
            syncs: 0,
            lines: Vec::new(),
            snapshots: 0,
            snapshot_fails: false,
        }
    }

    fn now(&self) -> Now {
        at(self.micros)
    }

    fn perform(&mut self, id: TaskId, task: Task) {
        self.performed += 1;
        self.syncs += u64::from(matches!(task, Task::Sync { .. }));
        let fault = (self.fault)(self.performed, &task);
        let result = self.disk.perform(task, fault);
        self.log.task_done(self.now(), id, result);
    }

    /// Does what the log asks for, and lets replies leave.
    fn turn(&mut self) {
        while let Some(output) = self.log.poll_output() {
            match output {
                Output::Task(id, task) => {
                    let inline =
                        !self.queue_all && self.queue.is_empty() && !matches!(task, Task::Sync { .. });
                    if inline {
                        self.perform(id, task);
                    } else {
                        if self.queue.is_empty() {
                            self.done_at = self.micros + self.sync_micros;
                        }
                        self.queue.push_back((id, task));
                    }
                }
                Output::Snapshot { path, snapshot } => {
                    assert!(snapshot && self.snapshot.is_none(), "one snapshot at a time");
                    self.snapshots += 1;
                    self.snapshot = Some((self.writes, path, self.micros + 400_000));
                }
                Output::StopSnapshot => assert!(self.snapshot.take().is_some(), "a snapshot is under way"),
                Output::Line(_, line) => self.lines.push(line),
            }
        }
        let released = self.log.releasable().min(self.writes);
        self.released = self.released.max(released);
        if released > self.promised && !self.log.figures().starting {
            self.promised = released;
            self.history.push_back((self.micros, released));
        }
    }

    /// Lets time pass until `micros`, doing what is due on the way.
    fn pass(&mut self, micros: u64) {
        let until = self.micros + micros;
        let mut rounds = 0;
        self.turn();
        loop {
            rounds += 1;
            assert!(rounds < 10_000, "time does not go on: {:?}", self.log);
            let disk = (!self.queue.is_empty()).then_some(self.done_at);
            let snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.2);
            let timeout = self.log.poll_timeout().map(Instant::micros);
            let next = [disk, snapshot, timeout].into_iter().flatten().min().filter(|next| *next <= until);
            let Some(next) = next else { break };
            self.micros = self.micros.max(next);
            if disk.is_some_and(|at| at <= self.micros) {
                let (id, task) = self.queue.pop_front().expect("not empty");
                self.perform(id, task);
                let sync = matches!(self.queue.front(), Some((_, Task::Sync { .. })));
                self.done_at = self.micros + if sync { self.sync_micros } else { 10 };
            }
            if snapshot.is_some_and(|at| at <= self.micros)
                && let Some((count, path, _)) = self.snapshot.take()
            {
                let bytes = format!("REDIS0010{count}").into_bytes();
                let result = match self.snapshot_fails {
                    true => Err("the child was killed".to_owned()),
                    false => Ok(bytes.len() as u64),
                };
                self.disk.files.insert(path, File { synced: bytes.len(), bytes });
                self.log.snapshot_done(self.now(), result);
            }
            self.log.handle_timeout(self.now());
            self.turn();
        }
        self.micros = until;
        self.log.handle_timeout(self.now());
        self.turn();
    }

    fn write(&mut self) {
        if self.log.refusal().is_some() {
            return;
        }
        self.writes += 1;
        let number = self.writes.to_string();
        let unit = format!("*2\r\n$1\r\nN\r\n${}\r\n{number}\r\n", number.len());
        self.log.append(self.now(), self.writes, 0, unit.as_bytes());
    }

    /// Says where in a history the log stands.
    fn mark(&mut self, offset: u64) {
        self.log.mark(self.now(), Mark { offset, database: 0, id: [b'a'; 40] });
    }

    /// Returns the marked offset that the last increment ends with, and how long the file is.
    fn last_mark(&self) -> (Option<u64>, u64) {
        let manifest = Manifest::parse(&self.disk.files["dir/aof.manifest"].bytes).expect("a whole manifest");
        let name = &manifest.increments.last().expect("an increment").name;
        let bytes = &self.disk.files[&format!("dir/{name}")].bytes;
        let mut check = Check::new(0, None);
        let taken = check.read(bytes);
        (check.finish(&bytes[taken..]).mark.map(|mark| mark.offset), bytes.len() as u64)
    }

    /// Whatever the power leaves of unsynced bytes, the log loads, and holds all that the policy promised.
    fn check(&mut self) {
        for kept in 0..=4 {
            let count = self.disk.load(kept);
            assert!(count <= self.writes);
            match self.fsync {
                Fsync::Always => {
                    assert!(count >= self.promised, "{count} of {} with {kept}/4", self.promised)
                }
                Fsync::EverySecond => {
                    // However long the disk hangs, what left and may be lost left within 1.5 s.
                    let last = self.history.back().map_or(0, |(at, _)| *at);
                    let old = self.history.iter().rev().find(|(at, _)| at + 1_500_000 <= last);
                    let old = old.map_or(0, |(_, count)| *count);
                    assert!(count >= old, "{count} of {old} that left 1.5 s before the last");
                }
                Fsync::No => {}
            }
            assert!(kept < 4 || count >= self.log.durable());
        }
    }

    /// Plays a fixed day: writes, a rewrite, more writes.
    fn play(&mut self) {
        for step in 0..40 {
            if step == 10 || step == 25 {
                let _ = self.log.rewrite(self.now());
            }
            for _ in 0..step % 4 {
                self.write();
            }
            // Every other step something goes by that is not logged, and on some days nobody follows.
            if step % 2 == 0 && self.fsync != Fsync::No {
                self.mark(self.writes);
            }
            self.turn();
            self.check();
            self.pass(77_000);
            self.check();
        }
    }

    /// Everything works again: the log must be whole, and keep all that it took.
    fn heal(&mut self) {
        self.fault = Box::new(|_, _| None);
        self.snapshot_fails = false;
        for _ in 0..300 {
            self.pass(1_000_000);
            self.check();
        }
        assert_eq!(self.log.refusal(), None, "{:?} {:#?}", self.log, self.lines);
        self.write();
        self.log.shutdown(self.now());
        self.pass(10_000_000);
        assert_eq!(self.log.flushed(), Some(true), "{:?}", self.log);
        assert_eq!((self.log.durable(), self.disk.load(0)), (self.writes, self.writes));
        let manifest = Manifest::parse(&self.disk.files["dir/aof.manifest"].bytes).unwrap();
        assert!(manifest.history.is_empty());
        let temporary = |name: &&String| name.starts_with("temp-");
        assert_eq!(self.disk.files.keys().find(temporary), None, "temporary files are removed");
        assert!(self.disk.open.len() <= 1, "files stay open: {:?}", self.disk.open);
    }
}

fn at(micros: u64) -> Now {
    Now { instant: Instant::from_micros(micros), unix_us: 1_700_000_000_000_000 + micros as i64 }
}

fn settings(fsync: Fsync) -> Settings {
    Settings { name: "aof".into(), dir: "dir".into(), fsync, timestamps: true, ..Settings::default() }
}

fn empty() -> Start {
    Start::Empty { base: b"REDIS00100".to_vec() }
}

const POLICIES: [Fsync; 3] = [Fsync::Always, Fsync::EverySecond, Fsync::No];

#[test]
fn a_day_without_faults() {
    for fsync in POLICIES {
        let mut world = World::new(settings(fsync), empty(), |_, _| None);
        world.play();
        assert_eq!(world.snapshots, 2);
        assert_eq!(world.log.figures().rewrites, 2);
        world.heal();
        let names: Vec<_> = world.disk.files.keys().cloned().collect();
        assert_eq!(names, ["dir/aof.3.base.rdb", "dir/aof.3.incr.aof", "dir/aof.manifest"]);
    }
}

#[test]
fn the_log_ends_with_where_it_stands() {
    for fsync in POLICIES {
        let mut world = World::new(settings(fsync), empty(), |_, _| None);
        world.pass(5_000_000);
        world.write();
        world.mark(100);
        world.turn();
        assert_eq!(world.last_mark().0, Some(100), "{fsync:?}: behind what was written");
        world.write();
        world.turn();
        world.pass(100_000);
        assert_eq!(world.last_mark().0, None, "{fsync:?}: nobody says where this is");
        // What goes by says so a second after the last time, and then no more.
        for offset in 200..230 {
            world.mark(offset);
            world.pass(100_000);
        }
        let (mark, length) = world.last_mark();
        assert!((216..229).contains(&mark.unwrap()), "{fsync:?}: {mark:?}");
        world.pass(2_000_000);
        let (mark, grown) = world.last_mark();
        assert!(mark == Some(229) && grown - length < 200, "{fsync:?}: {mark:?}");
        let syncs = world.syncs;
        world.pass(20_000_000);
        assert_eq!((world.last_mark().1, world.syncs), (grown, syncs), "{fsync:?}: nothing more is said");
        // A rewrite ends the old file with it; what stops says it at once.
        world.mark(300);
        world.log.rewrite(world.now()).unwrap();
        world.pass(5_000_000);
        world.write();
        world.mark(301);
        world.turn();
        world.mark(302);
        world.log.shutdown(world.now());
        world.pass(1_000_000);
        assert_eq!((world.last_mark().0, world.log.flushed()), (Some(302), Some(true)));
    }
}

#[test]
fn every_task_fails_once_at_every_point() {
    for fsync in POLICIES {
        for fault in [Fault::Before, Fault::After] {
            for start in [empty(), Start::Dataset] {
                let mut number = 1;
                loop {
                    let mut world = World::new(settings(fsync), start.clone(), move |n, _| {
                        (n == number).then_some(fault)
                    });
                    world.play();
                    let more = world.performed >= number;
                    world.heal();
                    if !more {
                        break;
                    }
                    number += 1;
                }
                assert!(number > 30, "{number}");
            }
        }
    }
}

#[test]
fn any_tasks_fail_at_any_rate() {
    for seed in 0..400 {
        let mut rng = Rng::seeded(seed);
        let fsync = POLICIES[rng.below(3) as usize];
        let start = if rng.below(3) == 0 { Start::Dataset } else { empty() };
        let (rate, mut faults) = (1 + rng.below(40), Rng::seeded(seed + 1_000));
        let mut world = World::new(settings(fsync), start, move |_, _| {
            (faults.below(100) < rate)
                .then(|| if faults.below(2) == 0 { Fault::Before } else { Fault::After })
        });
        world.sync_micros = [100, 3_000, 600_000, 2_500_000][rng.below(4) as usize];
        for _ in 0..60 {
            match rng.below(12) {
                0 => drop(world.log.rewrite(world.now())),
                1 => world.snapshot_fails = rng.below(2) == 0,
                2 => {
                    let now = world.now();
                    world.log.set_snapshot_busy(now, rng.below(3) == 0);
                }
                _ => (0..rng.below(4)).for_each(|_| world.write()),
            }
            world.turn();
            world.check();
            world.pass(rng.below(400_000));
            world.check();
        }
        let now = world.now();
        world.log.set_snapshot_busy(now, false);
        world.heal();
    }
}

#[test]
fn a_full_disk_costs_nothing_and_is_noticed_when_it_has_room() {
    for fsync in [Fsync::Always, Fsync::EverySecond] {
        let mut world = World::new(settings(fsync), empty(), |_, _| None);
        world.write();
        world.pass(10_000);
        world.fault = Box::new(|_, task| matches!(task, Task::Append { .. }).then_some(Fault::Before));
        world.write();
        world.pass(100_000);
        let refusal = world.log.refusal();
        assert_eq!(
            refusal.as_deref(),
            Some("MISCONF Errors writing to the AOF file: No space left on device")
        );
        if fsync == Fsync::Always {
            assert_eq!(world.released, 1, "the reply waits");
        }
        world.pass(5_000_000);
        assert!(world.log.refusal().is_some());
        world.fault = Box::new(|_, _| None);
        world.pass(1_100_000);
        assert_eq!((world.log.refusal(), world.log.durable(), world.released), (None, 2, 2));
        assert_eq!(world.snapshots, 0, "the same file goes on");
        assert!(world.lines.iter().any(|line| line.contains("looks solved")));
    }
}

#[test]
fn a_file_whose_sync_failed_is_never_written_again() {
    let mut world = World::new(settings(Fsync::Always), empty(), |_, _| None);
    world.write();
    world.pass(10_000);
    world.fault = Box::new(|_, task| matches!(task, Task::Sync { .. }).then_some(Fault::Before));
    world.write();
    world.pass(10_000);
    assert!(world.log.refusal().is_some());
    assert_eq!((world.log.durable(), world.released), (1, 1));
    let before = world.disk.files["dir/aof.1.incr.aof"].bytes.clone();
    world.pass(300_000);
    assert!(world.log.refusal().is_some(), "the new base is not finished");
    world.fault = Box::new(|_, _| None);
    world.pass(200_000);
    assert_eq!((world.log.refusal(), world.log.durable(), world.released), (None, 2, 2));
    assert_eq!(
        world.disk.files.get("dir/aof.1.incr.aof").map(|file| &file.bytes).unwrap_or(&before),
        &before
    );
    world.heal();
}

#[test]
fn attempts_to_recover_are_spaced() {
    let mut world = World::new(settings(Fsync::Always), empty(), |_, _| None);
    world.fault =
        Box::new(|_, task| matches!(task, Task::Sync { .. } | Task::Rename { .. }).then_some(Fault::Before));
    world.write();
    world.pass(120_000_000);
    // At once and after 1, 2, 4, 8, 16, 32 seconds, each attempt taking 0.4.
    assert!((6..=8).contains(&world.snapshots), "{}", world.snapshots);
    world.heal();
}

#[test]
fn always_shares_one_sync_among_all_that_comes_meanwhile() {
    let mut world = World::new(settings(Fsync::Always), empty(), |_, _| None);
    world.sync_micros = 100_000;
    for _ in 0..1_000 {
        world.write();
        world.turn();
        world.pass(1_000);
    }
    world.pass(200_000);
    assert_eq!(world.log.durable(), 1_000);
    assert!(world.syncs <= 12, "{} syncs", world.syncs);
}

#[test]
fn always_syncs_for_all_clients_that_come_again_together() {
    let mut world = World::new(settings(Fsync::Always), empty(), |_, _| None);
    world.sync_micros = 5_000;
    world.pass(100_000);
    let (syncs, micros) = (world.syncs, world.micros);
    while world.micros < micros + 500_000 {
        // One of twenty comes every 50 microseconds, but not before its last write is on the disk.
        if world.writes - world.released < 20 {
            world.write();
            world.log.set_waiting((world.writes - world.released) as usize);
        }
        world.turn();
        world.pass(50);
    }
    let syncs = world.syncs - syncs;
    // In two halves it would be ten a sync.
    assert!(world.writes > 17 * syncs && syncs > 60, "{} writes in {syncs} syncs", world.writes);
    // Nobody is waited for once they are gone.
    world.pass(100_000);
    assert_eq!(world.log.durable(), world.writes);
}

#[test]
fn everysec_lets_replies_wait_when_the_disk_is_slow() {
    let mut world = World::new(settings(Fsync::EverySecond), empty(), |_, _| None);
    world.sync_micros = 5_000_000;
    let mut held = false;
    for _ in 0..600 {
        world.write();
        world.turn();
        let age = world.log.figures().unsynced_age.unwrap_or_default();
        held |= age > Duration::from_secs(1) && world.released < world.writes;
        world.check();
        world.pass(10_000);
    }
    assert!(held);
    assert!(world.log.figures().delayed_syncs >= 1);
    // A disk that takes half a second is fast enough.
    let mut world = World::new(settings(Fsync::EverySecond), empty(), |_, _| None);
    world.sync_micros = 490_000;
    for _ in 0..600 {
        world.write();
        world.turn();
        assert_eq!(world.released, world.writes);
        world.pass(10_000);
    }
    assert!((6..=14).contains(&world.syncs), "{}", world.syncs);
}

#[test]
fn nothing_is_synced_during_a_rewrite_if_so_configured() {
    let settings = Settings { no_fsync_on_rewrite: true, ..settings(Fsync::Always) };
    let mut world = World::new(settings, empty(), |_, _| None);
    world.write();
    world.pass(100_000);
    assert_eq!(world.log.rewrite(world.now()), Ok(Started::Started));
    world.pass(100_000);
    let syncs = world.syncs;
    world.write();
    world.turn();
    assert_eq!((world.released, world.log.durable(), world.syncs), (2, 1, syncs));
    world.pass(400_000);
    assert_eq!((world.log.durable(), world.syncs), (2, syncs + 1));
}

#[test]
fn a_log_that_has_grown_is_rewritten_by_itself_and_failures_space_it() {
    let settings = Settings { rewrite_min_size: 1_000, ..settings(Fsync::EverySecond) };
    let mut world = World::new(settings, empty(), |_, _| None);
    world.snapshot_fails = true;
    for _ in 0..600 {
        world.write();
        world.pass(1_000_000);
    }
    let failed = world.snapshots;
    // Three at once, then after 1, 2, 4 minutes.
    assert!((5..=8).contains(&failed), "{failed}");
    assert_eq!(world.log.figures().consecutive_failures, failed);
    world.snapshot_fails = false;
    assert!(world.log.rewrite(world.now()).is_ok());
    world.pass(1_000_000);
    let figures = world.log.figures();
    assert_eq!((figures.consecutive_failures, figures.last_rewrite_ok), (0, true));
    assert!(figures.current_size < 500);
}

#[test]
fn a_rewrite_waits_for_another_snapshot_and_respects_the_budget() {
    let mut world = World::new(settings(Fsync::EverySecond), empty(), |_, _| None);
    world.pass(10_000);
    let now = world.now();
    world.log.set_snapshot_busy(now, true);
    assert_eq!(world.log.rewrite(now), Ok(Started::Scheduled));
    assert!(world.log.figures().rewrite_scheduled);
    world.pass(1_000_000);
    assert_eq!(world.snapshots, 0);
    let now = world.now();
    world.log.set_snapshot_busy(now, false);
    world.pass(1_000_000);
    assert_eq!(world.snapshots, 1);
    let now = world.now();
    world.log.configure(now, Settings { disk_budget: 12, ..settings(Fsync::EverySecond) });
    assert_eq!(
        world.log.rewrite(now),
        Err("Can't rewrite the append only file: it would exceed aof-disk-budget")
    );
    world.turn();
    assert!(world.lines.iter().any(|line| line.contains("aof-disk-budget")));
    world.log.configure(now, Settings { disk_budget: 1_000, ..settings(Fsync::EverySecond) });
    assert_eq!(world.log.rewrite(now), Ok(Started::Started));
    assert_eq!(world.log.rewrite(now), Err("Background append only file rewriting already in progress"));
}

#[test]
fn the_log_is_turned_on_and_off_at_run_time() {
    let mut world = World::new(settings(Fsync::Always), Start::Off, |_, _| None);
    world.write();
    world.turn();
    assert_eq!((world.released, world.disk.files.len()), (1, 0));
    world.log.enable(world.now());
    world.turn();
    world.write();
    world.turn();
    assert_eq!(world.released, 2, "nothing is promised yet");
    assert!(world.log.figures().starting);
    world.pass(500_000);
    assert!(!world.log.figures().starting);
    assert_eq!((world.log.durable(), world.disk.load(0)), (2, 2));
    world.write();
    world.log.disable(world.now());
    world.pass(100_000);
    assert_eq!(world.disk.load(0), 3);
    assert!(world.disk.open.is_empty());
    world.write();
    world.turn();
    assert_eq!(world.released, 4);
    // A rewrite without a log leaves a base.
    assert_eq!(world.log.rewrite(world.now()), Ok(Started::Started));
    world.pass(500_000);
    assert_eq!(world.disk.load(0), 4);
    assert!(world.disk.files.keys().all(|name| !name.contains("incr")));
    world.log.enable(world.now());
    world.pass(500_000);
    world.write();
    world.heal();
}

#[test]
fn turning_the_log_on_keeps_what_lies_there_until_it_is_replaced() {
    let manifest = Manifest::parse(b"file aof.4.base.rdb seq 4 type b\nfile aof.7.incr.aof seq 7 type i\n");
    let names = ["aof.4.base.rdb", "aof.7.incr.aof", "aof.9.incr.aof", "aof.manifest", "notes"];
    for listed in [true, false] {
        let mut world = World::new(settings(Fsync::Always), Start::Off, |_, _| None);
        for name in names {
            world.disk.files.insert(format!("here/dir/{name}"), File::default());
        }
        let manifest = if listed { manifest.clone().unwrap() } else { Manifest::default() };
        let place = Place { manifest, names: names.map(str::to_owned).to_vec() };
        world.log.settle_in("here/".into(), place);
        world.log.enable(world.now());
        // It does not follow when the server moves on.
        world.log.configure(world.now(), Settings { root: "there/".into(), ..settings(Fsync::Always) });
        world.write();
        world.pass(1_000_000);
        let mut left: Vec<_> = world.disk.files.keys().map(String::as_str).collect();
        left.retain(|name| listed || !names.iter().any(|old| name.ends_with(old)));
        let mut expected = vec!["here/dir/aof.10.incr.aof", "here/dir/aof.5.base.rdb"];
        if listed {
            expected.extend(["here/dir/aof.manifest", "here/dir/notes"]);
        }
        assert_eq!(left, expected);
    }
}

#[test]
fn a_restart_goes_on_with_the_last_file_unless_another_server_wrote_it() {
    for checked in [true, false] {
        let mut world = World::new(settings(Fsync::Always), empty(), |_, _| None);
        (0..5).for_each(|_| world.write());
        world.pass(10_000);
        let disk = std::mem::take(&mut world.disk);
        let manifest = Manifest::parse(&disk.files["dir/aof.manifest"].bytes).unwrap();
        let len = disk.files["dir/aof.1.incr.aof"].bytes.len() as u64;
        let sizes = Sizes { base: 10, increments: len, history: 0 };
        let filled = Some(("dir/aof.1.incr.aof".to_owned(), len));
        let start = Start::Loaded { last: Some(aof::Tail { len, checked }), filled };
        let disk = Disk { open: BTreeMap::new(), ..disk };
        let log = Log::new(settings(Fsync::Always), manifest, sizes, start, 5, at(0));
        let mut world = World::over(log, disk, 5, Fsync::Always, |_, _| None);
        world.write();
        world.pass(100_000);
        assert_eq!((world.log.durable(), world.disk.load(0)), (6, 6));
        assert_eq!(world.disk.files.contains_key("dir/aof.2.incr.aof"), !checked);
        world.heal();
    }
}

#[test]
fn a_torn_tail_is_cut_before_another_file_is_begun() {
    // The tail is that of the last file, which another server wrote; or an empty file follows.
    for empty_follows in [false, true] {
        for failures in [0, 2] {
            let mut world = World::new(settings(Fsync::Always), empty(), |_, _| None);
            (0..5).for_each(|_| world.write());
            world.pass(10_000);
            let mut disk = std::mem::take(&mut world.disk);
            let mut manifest = Manifest::parse(&disk.files["dir/aof.manifest"].bytes).unwrap();
            let file = disk.files.get_mut("dir/aof.1.incr.aof").unwrap();
            let len = file.bytes.len() as u64;
            file.bytes.extend_from_slice(b"*2\r\n$1\r\nN\r\n");
            file.synced = file.bytes.len();
            let mut tail = aof::Tail { len, checked: false };
            if empty_follows {
                let next = manifest.next_increment("aof", 1);
                disk.files.insert(format!("dir/{}", next.name), File { bytes: Vec::new(), synced: 0 });
                manifest.increments.push(next);
                tail = aof::Tail { len: 0, checked: true };
            }
            let sizes = Sizes { base: 10, increments: len, history: 0 };
            let filled = Some(("dir/aof.1.incr.aof".to_owned(), len));
            let start = Start::Loaded { last: Some(tail), filled };
            let disk = Disk { open: BTreeMap::new(), ..disk };
            let log = Log::new(settings(Fsync::Always), manifest, sizes, start, 5, at(0));
            let mut left = failures;
            let mut world = World::over(log, disk, 5, Fsync::Always, move |_, task| {
                let fails = left > 0 && matches!(task, Task::Open { .. });
                left -= i32::from(fails);
                fails.then_some(Fault::Before)
            });
            world.write();
            world.pass(10_000_000);
            assert_eq!(world.disk.files["dir/aof.1.incr.aof"].bytes.len() as u64, len);
            assert_eq!((world.log.durable(), world.disk.load(0)), (6, 6));
        }
    }
}

#[test]
fn empty_files_are_opened_before_another_is_begun() {
    // What a failed append left in them may have been cut off without a sync, by a process that was killed.
    let mut manifest = Manifest::default();
    for _ in 0..2 {
        let next = manifest.next_increment("aof", 0);
        manifest.increments.push(next);
    }
    let start = Start::Loaded { last: Some(aof::Tail { len: 0, checked: true }), filled: None };
    let mut log = Log::new(settings(Fsync::Always), manifest, Sizes::default(), start, 0, at(0));
    let mut opened = Vec::new();
    while let Some(output) = log.poll_output() {
        if let Output::Task(_, Task::Open { path, len: 0, .. }) = output {
            opened.push(path);
        }
    }
    assert_eq!(opened, ["dir/aof.1.incr.aof", "dir/aof.2.incr.aof"]);
}

#[test]
fn space_is_prepared_where_rewrites_were_never_on() {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let off = Settings { rewrite_percentage: 0, ..settings(Fsync::Always) };
    let mut world = World::new(off.clone(), empty(), {
        let asked = Rc::clone(&asked);
        move |_, task| {
            if let Task::Sync { ahead, .. } = task {
                asked.borrow_mut().push(*ahead);
            }
            None
        }
    });
    world.pass(1_000_000);
    for settings in [off.clone(), Settings { rewrite_min_size: 1, ..off }] {
        world.log.configure(world.now(), settings);
        world.write();
        world.pass(100_000);
        assert_eq!(asked.borrow_mut().pop(), Some(1 << 20));
    }
}

#[test]
fn space_is_prepared_only_while_each_write_is_synced() {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let mut world = World::new(settings(Fsync::Always), empty(), {
        let asked = Rc::clone(&asked);
        move |_, task| {
            if let Task::Sync { ahead, .. } = task {
                asked.borrow_mut().push(*ahead);
            }
            None
        }
    });
    let step = |world: &mut World| {
        world.write();
        world.pass(100_000);
        std::mem::take(&mut *asked.borrow_mut())
    };
    world.pass(1_000_000);
    assert_eq!(step(&mut world), [1 << 20]);
    world.log.configure(world.now(), Settings { prepared_space: 5000, ..settings(Fsync::Always) });
    assert_eq!(step(&mut world), [5000]);
    // What is prepared is cut off once, though there be nothing to sync.
    for other in [
        Settings { rewrite_percentage: 0, ..settings(Fsync::Always) },
        Settings { prepared_space: 0, ..settings(Fsync::Always) },
        settings(Fsync::EverySecond),
        settings(Fsync::No),
    ] {
        world.log.configure(world.now(), other);
        world.pass(100_000);
        assert_eq!(std::mem::take(&mut *asked.borrow_mut()), [0]);
        world.pass(3_000_000);
        assert!(asked.borrow().iter().all(|ahead| *ahead == 0));
        asked.borrow_mut().clear();
        world.log.configure(world.now(), settings(Fsync::Always));
        assert_eq!(step(&mut world), [1 << 20]);
    }
    // So it is in a file that another follows, and at the end.
    world.log.rewrite(world.now()).unwrap();
    world.pass(2_000_000);
    assert_eq!(std::mem::take(&mut *asked.borrow_mut()), [0]);
    assert_eq!(step(&mut world), [1 << 20]);
    // Rewrites stay off for a copy, whatever else is set meanwhile.
    for min_size in [1 << 20, 1 << 21] {
        let off = Settings { rewrite_percentage: 0, rewrite_min_size: min_size, ..settings(Fsync::Always) };
        world.log.configure(world.now(), off);
        assert!(step(&mut world).iter().all(|ahead| *ahead == 0));
    }
    world.log.configure(world.now(), settings(Fsync::Always));
    assert_eq!(step(&mut world), [1 << 20]);
    world.log.shutdown(world.now());
    world.turn();
    assert_eq!(world.log.flushed(), None, "the file is still to be cut");
    world.pass(1_000_000);
    assert_eq!((&asked.borrow()[..], world.log.flushed()), (&[0][..], Some(true)));
}

#[test]
fn nothing_is_flushed_before_the_file_is_open() {
    let mut manifest = Manifest::default();
    let next = manifest.next_increment("aof", 0);
    manifest.increments.push(next);
    let start = Start::Loaded {
        last: Some(aof::Tail { len: 7, checked: true }),
        filled: Some(("dir/aof.1.incr.aof".to_owned(), 7)),
    };
    let mut log = Log::new(settings(Fsync::Always), manifest, Sizes::default(), start, 0, at(0));
    log.shutdown(at(0));
    assert_eq!(log.flushed(), None, "what was loaded may not be on the disk");
    let id = std::iter::from_fn(|| log.poll_output()).find_map(|output| match output {
        Output::Task(id, Task::Open { .. }) => Some(id),
        _ => None,
    });
    log.task_done(at(1), id.expect("the file is opened"), Ok(()));
    assert_eq!(log.flushed(), Some(true));
}

#[test]
fn a_log_that_is_turned_off_has_no_gap() {
    // The last sync of the old file fails while bytes wait for the new one, or it does not.
    for fails in [false, true] {
        for writes in [0, 1, 3] {
            let mut world = World::new(settings(Fsync::EverySecond), empty(), |_, _| None);
            (0..5).for_each(|_| world.write());
            world.pass(2_000_000);
            world.write();
            world.log.rewrite(world.now()).expect("nothing is in the way");
            world.sync_micros = 1_000_000;
            world.pass(100);
            assert!(world.snapshot.is_some(), "the new file is there, and waits for the old one");
            (0..writes).for_each(|_| world.write());
            world.fault = Box::new(move |_, task| {
                let last = matches!(task, Task::Append { .. } | Task::Sync { .. });
                (fails && last).then_some(Fault::Before)
            });
            world.log.disable(world.now());
            world.pass(10_000_000);
            (0..=4).for_each(|kept| assert!(world.disk.load(kept) >= 5));
        }
    }
}

#[test]
fn numbers_are_not_used_again_while_they_may_be_listed() {
    for micros in 0..60 {
        let mut world = World::new(settings(Fsync::Always), empty(), |_, _| None);
        (0..5).for_each(|_| world.write());
        world.pass(100_000);
        world.log.rewrite(world.now()).expect("nothing is in the way");
        // Whatever is under way is given up, and begun anew.
        world.queue_all = true;
        world.pass(micros);
        world.log.disable(world.now());
        world.log.enable(world.now());
        world.pass(10_000_000);
        world.write();
        world.pass(10_000_000);
        assert_eq!((0..=4).map(|kept| world.disk.load(kept)).min(), Some(6), "given up after {micros} µs");
    }
}

#[test]
fn a_quiet_log_says_that_it_is_on_the_disk() {
    let mut world = World::new(settings(Fsync::Always), empty(), |_, _| None);
    world.write();
    world.pass(10_000);
    let len = world.disk.files["dir/aof.1.incr.aof"].bytes.len();
    world.pass(10_000_000);
    let bytes = world.disk.files["dir/aof.1.incr.aof"].bytes.clone();
    assert!(bytes.len() > len && bytes[len..].starts_with(format!("#RC1:{len}:0000000:0:").as_bytes()));
    world.pass(10_000_000);
    assert_eq!(world.disk.files["dir/aof.1.incr.aof"].bytes.len(), bytes.len(), "once is enough");
    // From then on damage before it is no torn tail.
    let mut damaged = bytes.clone();
    damaged[len - 3] ^= 1;
    let mut reader = Reader::new(0);
    let taken = reader.read(&damaged, &mut Count(0)).unwrap();
    assert!(matches!(reader.finish(&damaged[taken..]), Verdict::Corrupt { offset: 0, .. }));
    world.write();
    world.heal();
}

#[test]
fn databases_and_times_are_said_at_the_front_of_a_file() {
    let mut world = World::new(settings(Fsync::Always), empty(), |_, _| None);
    world.writes = 1;
    world.log.append(world.now(), 1, 3, b"*2\r\n$1\r\nN\r\n$1\r\n1\r\n");
    world.pass(10_000);
    let bytes = &world.disk.files["dir/aof.1.incr.aof"].bytes;
    let text = String::from_utf8_lossy(bytes);
    assert!(text.contains("\r\n#TS:1700000000\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*2\r\n$1\r\nN"), "{text}");
}

#[test]
fn a_log_that_was_on_from_the_start_promises_nothing_before_its_base_is_there() {
    let settings = settings(Fsync::Always);
    let mut log =
        Log::new(settings, Manifest::default(), Sizes::default(), Start::Dataset, 0, Now::default());
    log.append(Now::default(), 10, 0, b"*1\r\n$4\r\nPING\r\n");
    assert_eq!(log.releasable(), 0);
    // Once a second may be late by as much as ever, and no more.
    let settings = self::settings(Fsync::EverySecond);
    let mut log =
        Log::new(settings, Manifest::default(), Sizes::default(), Start::Dataset, 0, Now::default());
    log.append(Now::default(), 10, 0, b"*1\r\n$4\r\nPING\r\n");
    assert_eq!(log.releasable(), u64::MAX);
    let later = Now { instant: Now::default().instant + Duration::from_millis(1100), ..Now::default() };
    log.append(later, 20, 0, b"*1\r\n$4\r\nPING\r\n");
    assert!(log.releasable() < 20);
    // Turned on while the server runs, it has a base to write first that nobody waits for.
    let off = Start::Off;
    let mut log = Log::new(
        self::settings(Fsync::Always),
        Manifest::default(),
        Sizes::default(),
        off,
        0,
        Now::default(),
    );
    log.enable(Now::default());
    log.append(Now::default(), 10, 0, b"*1\r\n$4\r\nPING\r\n");
    assert_eq!(log.releasable(), u64::MAX);
}
