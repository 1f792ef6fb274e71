//! Children that are really forked, and what their parent learns of them.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};

use mio::{Events, Poll};

use super::*;

/// A directory that goes when the test ends, and a loop.
struct Bench {
    directory: PathBuf,
    poll: Poll,
    config: Config,
}

type Out<'a> = &'a mut dyn Sink;
type Tell<'a> = &'a mut dyn FnMut(u64);

impl Bench {
    fn new() -> Bench {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("redstart-snapshot-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("a scratch directory");
        Bench { directory, poll: Poll::new().expect("a poll"), config: Config::default() }
    }

    fn start(&self, write: impl FnOnce(Out<'_>, Tell<'_>) -> Result<u64, SinkError>) -> Snapshot {
        let (temporary, path) = (self.directory.join("temp.rdb"), self.directory.join("dump.rdb"));
        let job = Job {
            in_pieces: false,
            target: Target { temporary: &temporary, rename_to: Some(&path), incremental_sync: true },
            name: "redis-rdb-bgsave",
            config: &self.config,
            config_file: "",
            oom_score: 0,
            key_delay: 0,
        };
        Snapshot::start(self.poll.registry(), Token(3), job, write).expect("a child")
    }

    /// Waits as the loop does until there is something other than `unlike`.
    fn wait(&mut self, snapshot: &mut Snapshot, unlike: &State) -> State {
        let mut events = Events::with_capacity(8);
        for _ in 0..100 {
            let state = snapshot.poll();
            if state != *unlike {
                return state;
            }
            if snapshot.is_leaving() {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            match self.poll.poll(&mut events, Some(Duration::from_secs(20))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.expect("a poll"),
            }
            assert!(!events.is_empty(), "the child says nothing");
        }
        panic!("the child does not end");
    }

    fn end(&mut self, snapshot: &mut Snapshot) -> Result<Progress, Failure> {
        let mut state = snapshot.poll();
        loop {
            match state {
                State::Done(result) => return result,
                State::Running(_) => state = self.wait(snapshot, &state),
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).expect("a directory");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn a_snapshot_is_of_the_moment_of_the_fork() {
    let mut bench = Bench::new();
    fs::write(bench.directory.join("dump.rdb"), b"old").expect("a file");
    let mut data = vec![1u8; 3 << 20];
    let mut snapshot = bench.start(|sink, _| {
        std::thread::sleep(Duration::from_millis(100));
        sink.write(&data).map(|()| 42)
    });
    data.fill(2);
    let progress = bench.end(&mut snapshot).expect("a snapshot");
    assert_eq!((progress.keys, progress.bytes), (42, 3 << 20));
    assert!(progress.copied > 0 && progress.copied_peak >= progress.copied);
    assert!(snapshot.fork_time() > Duration::ZERO);
    let written = fs::read(bench.directory.join("dump.rdb")).expect("a file");
    assert!(written.len() == 3 << 20 && written.iter().all(|&byte| byte == 1));
    assert_eq!(bench.names(), ["dump.rdb"]);
}

#[test]
fn a_child_tells_how_far_it_is_about_once_a_second() {
    let mut bench = Bench::new();
    let mut snapshot = bench.start(|sink, tell| {
        for key in 1..=260_000u64 {
            sink.write(b"x")?;
            tell(key);
            if key % 1000 == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(260_000)
    });
    let start = Instant::now();
    let first = bench.wait(&mut snapshot, &State::Running(Progress::default()));
    let State::Running(progress) = first else { panic!("{first:?}") };
    assert!((1..260_000).contains(&progress.keys) && progress.copied > 0, "{progress:?}");
    assert!(start.elapsed() > Duration::from_millis(900));
    assert_eq!(bench.end(&mut snapshot).map(|progress| progress.keys), Ok(260_000));
}

#[test]
fn a_reason_travels_to_the_parent() {
    let mut bench = Bench::new();
    let long = "no ".repeat(3000);
    let mut snapshot = bench.start(|sink, _| {
        sink.write(b"half")?;
        Err(SinkError { reason: long.clone() })
    });
    assert_eq!(bench.end(&mut snapshot), Err(Failure::Error(long)));
    assert!(bench.names().is_empty());

    fs::remove_dir(&bench.directory).expect("a removed directory");
    let mut snapshot = bench.start(|_, _| Ok(0));
    let reason = "opening failed: No such file or directory".to_owned();
    assert_eq!(bench.end(&mut snapshot), Err(Failure::Error(reason)));
}

#[test]
fn a_child_that_dies_leaves_nothing() {
    let mut bench = Bench::new();
    let die = |sink: Out<'_>| {
        sink.write(&vec![1; 1 << 20]).expect("a written piece");
        let number = std::process::id().to_string();
        std::process::Command::new("kill").args(["-11", &number]).status().expect("kill");
        std::thread::sleep(Duration::from_secs(20));
        Ok(0)
    };
    let mut snapshot = bench.start(|sink, _| die(sink));
    assert_eq!(bench.end(&mut snapshot), Err(Failure::Signal(11)));
    assert!(bench.names().is_empty());

    let mut snapshot = bench.start(|_, _| panic!("as a mistake of ours would (this is part of a test)"));
    assert_eq!(bench.end(&mut snapshot), Err(Failure::Error("the child ended with code 101".into())));
    assert!(bench.names().is_empty());
}

#[test]
fn a_snapshot_can_be_stopped() {
    let mut bench = Bench::new();
    let endless = |sink: Out<'_>, tell: Tell<'_>| {
        sink.write(&vec![1; 1 << 20])?;
        tell(1);
        std::thread::sleep(Duration::from_secs(60));
        Ok(0)
    };
    let mut snapshot = bench.start(endless);
    assert_eq!(snapshot.poll(), State::Running(Progress::default()));
    snapshot.kill();
    assert_eq!(bench.end(&mut snapshot), Err(Failure::Killed));
    assert!(bench.names().is_empty());

    // Or just let go of.
    let snapshot = bench.start(endless);
    let process = PathBuf::from(format!("/proc/{}", snapshot.pid()));
    assert!(process.exists());
    drop(snapshot);
    assert!(!process.exists() && bench.names().is_empty());
}

#[test]
fn connections_close_while_a_child_lives() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let mut client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a client");
    let (server, _) = listener.accept().expect("a connection");
    let snapshot = bench.start(|_, _| {
        std::thread::sleep(Duration::from_secs(60));
        Ok(0)
    });
    drop(server);
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    assert_eq!(client.read(&mut [0; 8]).expect("the end"), 0);
    drop(snapshot);
}
