//! What the virtual disk promises, and everything that it does not.

use std::collections::BTreeSet;

use super::*;

const LATE: Instant = Instant::from_micros(u64::MAX);

/// A disk that numbers its tasks.
struct Bench {
    disk: VirtualDisk,
    next: u64,
}

impl Bench {
    fn new(seed: u64) -> Bench {
        Bench { disk: VirtualDisk::new(seed, Speed::default()), next: 0 }
    }

    /// A disk with the file 1 at `log`, which holds `synced`.
    fn with_log(seed: u64, synced: &[u8]) -> Bench {
        let mut bench = Bench::new(seed);
        for task in [create(1, "log"), append(1, synced), sync(1)] {
            bench.run(task).expect("a log");
        }
        bench
    }

    fn run(&mut self, task: Task) -> Result<(), DiskError> {
        self.disk.submit(Instant::ZERO, TaskId(self.next), task);
        self.next += 1;
        self.disk.settle();
        self.disk.take_done(LATE).pop().expect("a result").1
    }
}

fn create(file: u32, path: &str) -> Task {
    Task::Create { file: FileId(file), path: path.into() }
}

fn append(file: u32, bytes: &[u8]) -> Task {
    Task::Append { file: FileId(file), bytes: bytes.to_vec().into() }
}

fn sync(file: u32) -> Task {
    Task::Sync { file: FileId(file), ahead: 0 }
}

fn open(file: u32, path: &str, len: u64) -> Task {
    Task::Open { file: FileId(file), path: path.into(), len }
}

#[test]
fn a_disk_that_was_settled_is_not_busy() {
    let slow = Speed { sync: Duration::from_secs(1_000), ..Speed::default() };
    let mut disk = VirtualDisk::new(1, slow);
    disk.submit(Instant::ZERO, TaskId(0), create(1, "log"));
    disk.settle();
    disk.take_done(Instant::ZERO);
    disk.set_speed(Speed { sync: Duration::ZERO, ..Speed::default() });
    disk.submit(Instant::ZERO, TaskId(1), sync(1));
    assert_eq!(disk.poll_timeout(), Some(Instant::ZERO));
}

#[test]
fn tasks_take_their_time_and_keep_their_order() {
    let mut disk = VirtualDisk::new(1, Speed::default());
    for number in 0..20 {
        let task = if number == 0 { create(1, "log") } else { append(1, b"x") };
        disk.submit(Instant::ZERO, TaskId(number), task);
    }
    let mut reported = Vec::new();
    while let Some(at) = disk.poll_timeout() {
        reported.extend(disk.take_done(at));
    }
    assert!(reported.iter().map(|(id, _)| id.0).eq(0..20));
    assert!(reported.iter().all(|(_, result)| result.is_ok()));
    assert_eq!(disk.read("log"), Some(&[b'x'; 19][..]));

    // With nothing ahead of it an append takes no time.
    disk.submit(Instant::ZERO, TaskId(20), append(1, b"y"));
    assert_eq!(disk.read("log").map(<[u8]>::len), Some(20));
    assert_eq!(disk.take_done(Instant::ZERO), [(TaskId(20), Ok(()))]);
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    for seed in 0..200 {
        let mut bench = Bench::with_log(seed, b"safe");
        bench.run(append(1, &[b'x'; 3000])).expect("an append");
        bench.disk.crash(&mut Rng::seeded(seed));
        assert!(bench.disk.read("log").is_some_and(|content| content.starts_with(b"safe")));
        assert_eq!(bench.run(append(1, b"x")).unwrap_err().reason, "the file is not open");
    }
}

#[test]
fn what_was_not_synced_is_lost_torn_or_kept() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let mut bench = Bench::with_log(seed, b"");
        bench.run(append(1, &[b'x'; 2000])).expect("an append");
        bench.disk.crash(&mut Rng::seeded(seed));
        let content = bench.disk.read("log").expect("a file");
        let filled = content.iter().filter(|&&byte| byte == b'x').count();
        seen.insert(match (content.len(), filled) {
            (0, _) => "lost",
            (2000, 2000) => "kept",
            (length, filled) if length == filled => "the beginning",
            (_, 0) => "only zeros",
            _ if content.first() == Some(&0) => "a hole at the beginning",
            _ => "holes",
        });
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[test]
fn overwritten_sectors_are_old_or_new() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let mut bench = Bench::with_log(seed, b"safe");
        bench.run(Task::Sync { file: FileId(1), ahead: 3000 }).expect("a sync");
        let length = bench.disk.read("log").expect("a file").len();
        assert_eq!(length % 4096, 64);
        bench.run(append(1, &[b'x'; 2000])).expect("an append");
        bench.disk.crash(&mut Rng::seeded(seed));
        let content = bench.disk.read("log").expect("a file");
        assert_eq!(content.len(), length, "what was prepared is prepared");
        let filler = |at: usize| base::prepared::filler_at(at as u64);
        assert!((4..2004).all(|at| content[at] == b'x' || content[at] == filler(at)));
        assert!((2004..length).all(|at| content[at] == filler(at)));
        let sectors: Vec<bool> = [4, 512, 1024, 1536].map(|at| content[at] == b'x').into();
        assert!((4..2004).all(|at| sectors[at / 512] == (content[at] == b'x')));
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 16);

    // It is cut off with the last sync, by closing, and by what fails.
    for end in [Task::Sync { file: FileId(1), ahead: 0 }, Task::Close { file: FileId(1) }] {
        let mut bench = Bench::with_log(1, b"safe");
        bench.run(Task::Sync { file: FileId(1), ahead: 3000 }).expect("a sync");
        assert!(bench.disk.read("log").expect("a file").len() > 3000);
        bench.run(end).expect("an end");
        assert_eq!(bench.disk.read("log"), Some(&b"safe"[..]));
    }
    let mut bench = Bench::with_log(1, b"safe");
    bench.disk.set_room(100);
    bench.run(Task::Sync { file: FileId(1), ahead: 3000 }).expect("a sync without space");
    assert_eq!(bench.disk.read("log"), Some(&b"safe"[..]));
    bench.disk.set_room(4096);
    bench.run(Task::Sync { file: FileId(1), ahead: 3000 }).expect("a sync");
    assert_eq!(bench.disk.read("log"), Some(&b"safe"[..]), "not tried again at once");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let mut bench = Bench::with_log(seed, b"safe");
        bench.disk.inject(Fault { one_in: 3, times: 100, ..Fault::next(Step::Write) });
        let results: Vec<_> = (0..50)
            .map(|_| {
                let result = bench.run(append(1, &[b'x'; 100]));
                if result.is_err() {
                    let length = bench.disk.read("log").expect("a file").len() as u64;
                    bench.run(open(1, "log", length)).expect("an open file");
                }
                result
            })
            .collect();
        bench.disk.crash(&mut Rng::seeded(seed));
        (results, bench.disk.read("log").map(<[u8]>::to_vec))
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).1, run(6).1);
}

#[test]
fn a_failed_append_is_cut_back_and_breaks_the_file() {
    let mut bench = Bench::with_log(1, b"safe");
    bench.disk.set_room(3);
    let error = bench.run(append(1, b"more")).unwrap_err();
    assert!(error.full && error.step == Step::Write);
    assert_eq!(bench.disk.read("log"), Some(&b"safe"[..]));
    bench.disk.set_room(100);
    assert_eq!(bench.run(append(1, b"x")), Err(error.clone()));
    assert_eq!(bench.run(sync(1)), Err(error));
    bench.run(open(1, "log", 4)).expect("an open file");
    bench.run(append(1, b"more")).expect("an append");
    assert_eq!(bench.disk.read("log"), Some(&b"safemore"[..]));

    // Where the cut fails as well, opening makes up for it.
    bench.disk.set_room(3);
    bench.disk.inject(Fault::next(Step::Cut));
    bench.run(append(1, b"again")).unwrap_err();
    assert_eq!(bench.disk.read("log"), Some(&b"safemoreaga"[..]));
    bench.run(open(1, "log", 8)).expect("an open file");
    assert_eq!(bench.disk.read("log"), Some(&b"safemore"[..]));
    assert_eq!(bench.run(open(2, "log", 9)).unwrap_err().step, Step::Open);
}

#[test]
fn a_sync_that_failed_has_lost_what_a_later_one_calls_safe() {
    let mut lost = 0;
    for seed in 0..50 {
        let mut bench = Bench::with_log(seed, b"safe");
        bench.run(append(1, b"gone")).expect("an append");
        bench.disk.inject(Fault::next(Step::Sync));
        let error = bench.run(sync(1)).unwrap_err();
        assert_eq!(bench.run(open(1, "log", 8)), Err(error.clone()));
        bench.run(Task::Close { file: FileId(1) }).expect("a closed file");
        assert_eq!(bench.run(open(1, "log", 8)), Err(error));
        assert_eq!(bench.disk.failures(Step::Sync), 1);

        // Another name for the same file does not know better.
        bench.run(open(2, "log", 8)).expect("an open file");
        bench.run(append(2, b"kept")).expect("an append");
        bench.run(sync(2)).expect("a sync");
        assert_eq!(bench.disk.read("log"), Some(&b"safegonekept"[..]));
        bench.disk.crash(&mut Rng::seeded(seed));
        assert_eq!(bench.disk.read("log"), Some(&b"safe\0\0\0\0kept"[..]));
        lost += 1;
    }
    assert_eq!(lost, 50);
}

#[test]
fn replacing_is_all_or_nothing() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let mut bench = Bench::new(seed);
        let replace = |text: &str| Task::Replace { path: "dir/manifest".into(), bytes: text.into() };
        bench.run(Task::MakeDir { path: "dir".into() }).expect("a directory");
        bench.run(replace("old")).expect("a file");
        bench.disk.submit(Instant::ZERO, TaskId(100), replace("new"));
        bench.disk.crash(&mut Rng::seeded(seed));
        let content = bench.disk.read("dir/manifest").expect("a file").to_vec();
        assert!(content == b"old" || content == b"new");
        seen.insert(content);
    }
    assert_eq!(seen.len(), 2);

    for step in [Step::Open, Step::Write, Step::Sync, Step::Rename] {
        let mut bench = Bench::new(1);
        bench.run(Task::Replace { path: "manifest".into(), bytes: b"old".to_vec() }).expect("a file");
        bench.disk.inject(Fault::next(step));
        let error = bench.run(Task::Replace { path: "manifest".into(), bytes: b"new".to_vec() }).unwrap_err();
        assert_eq!(error.step, step);
        assert_eq!(bench.disk.files().collect::<Vec<_>>(), ["manifest"]);
        assert_eq!(bench.disk.read("manifest"), Some(&b"old"[..]));
    }
}

#[test]
fn names_last_once_their_directory_is_synced() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let mut bench = Bench::with_log(seed, b"x");
        // The rename is carried out, and the sync of the directory fails.
        bench.disk.inject(Fault::next(Step::Sync));
        let rename = Task::Rename { from: "log".into(), to: "renamed".into() };
        assert_eq!(bench.run(rename).unwrap_err().step, Step::Sync);
        assert_eq!(bench.disk.files().collect::<Vec<_>>(), ["renamed"]);
        bench.disk.crash(&mut Rng::seeded(seed));
        seen.insert(bench.disk.files().map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [["log"], ["renamed"]]);

    let mut bench = Bench::with_log(1, b"x");
    bench.run(Task::Rename { from: "log".into(), to: "renamed".into() }).expect("a renamed file");
    bench.run(Task::Remove { path: "log".into() }).expect("nothing to remove");
    bench.disk.crash(&mut Rng::seeded(1));
    assert_eq!(bench.disk.files().collect::<Vec<_>>(), ["renamed"]);
    bench.run(Task::Remove { path: "renamed".into() }).expect("a removed file");
    bench.disk.crash(&mut Rng::seeded(1));
    assert_eq!(bench.disk.files().count(), 0);
}

#[test]
fn the_task_under_way_is_cut_anywhere() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let mut bench = Bench::new(seed);
        bench.disk.submit(Instant::ZERO, TaskId(0), create(1, "log"));
        bench.disk.submit(Instant::ZERO, TaskId(1), append(1, b"x"));
        bench.disk.crash(&mut Rng::seeded(seed));
        assert!(bench.disk.take_done(LATE).is_empty() && bench.disk.poll_timeout().is_none());
        seen.insert(bench.disk.read("log").map(<[u8]>::to_vec));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [None, Some(Vec::new())]);
}

#[test]
fn snapshots_are_whole_or_leave_a_temporary_file() {
    let mut bench = Bench::new(1);
    bench.disk.save("temp.rdb", Some("dump.rdb"), b"data").expect("a snapshot");
    bench.disk.abandon("temp.rdb", b"da");
    assert_eq!(bench.disk.files().collect::<Vec<_>>(), ["dump.rdb", "temp.rdb"]);
    bench.disk.inject(Fault { full: true, path: "temp".into(), ..Fault::next(Step::Write) });
    assert!(bench.disk.save("temp.rdb", Some("dump.rdb"), b"more").is_err_and(|error| error.full));
    assert_eq!(bench.disk.files().collect::<Vec<_>>(), ["dump.rdb"]);
    bench.disk.crash(&mut Rng::seeded(1));
    assert_eq!(bench.disk.read("dump.rdb"), Some(&b"data"[..]));
    assert!(bench.disk.flip("dump.rdb", 1, 1) && !bench.disk.flip("dump.rdb", 4, 1));
    assert_eq!(bench.disk.read("dump.rdb"), Some(&b"d`ta"[..]));

    bench.disk.place("dir-less", b"placed");
    bench.disk.kill(&mut Rng::seeded(1));
    bench.disk.crash(&mut Rng::seeded(2));
    assert_eq!(bench.disk.read("dir-less"), Some(&b"placed"[..]));
}
