//! Replication: full syncs, what feeding and following cost, slow replicas, the synchronous mode.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Contest;
use super::load::Loader;
use super::machine::CLIENT_CPU;
use super::pauses::ping;
use super::persistence::{percentile, pick};
use super::report::{Goal, Line, Section, Table};
use super::server::{Server, pinned, pinned_to_server_cpu};
use super::speed::{Pairs, rate};

/// How long anything may take: what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// The time between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(10);

const SYNCED_KEYS: u64 = 1_000_000;

/// The writes per second beside a full sync.
const WRITES: u64 = 50_000;

/// The writes that are sent at a time: one batch a millisecond.
const BATCH: u64 = WRITES / 1000;

const NO_DELAY: [&str; 2] = ["--repl-diskless-sync-delay", "0"];

const SLOW_REPLICAS: usize = 8;

/// Measures everything that is selected.
pub(super) fn section(contest: &Contest) -> Section {
    let title = |title, lines: Vec<Option<Line>>| Table::new(title, lines.into_iter().flatten().collect());
    Section {
        title: "Replication",
        method: "Full syncs: 1,000,000 strings of 200 B, master and replica of one kind on one processor, from REPLICAOF \
            until the link is up; beside writes, 50 SETs are sent each millisecond, and the replica must have what had \
            been written when its link came up. The replicas of a master whose cost is measured are redis-servers, as \
            is the master of such a replica: redis-benchmark, 50 connections, values of 64 B, until all has arrived. \
            Slow replicas take the snapshot and then nothing; memory is what the master grows by 100 MB of writes, with \
            a backlog of 64 MB and no output limit. PING: one client in a closed loop, the replica on its processor. \
            Synchronous: redis-benchmark, 200 connections without a pipeline.",
        tables: vec![
            title(
                "time, s",
                vec![
                    full_sync(contest, "full sync, defaults of both", &[], 0.35),
                    full_sync(contest, "full sync, without repl-diskless-sync-delay", &NO_DELAY, 0.6),
                ],
            ),
            Table::new("full sync under 50,000 writes per second", under_writes(contest)),
            title(
                "processor time per SET, ns",
                vec![
                    cost(contest, "of a master with two replicas, pipeline 16", 0.7, feeding),
                    cost(contest, "of a replica, pipeline 16", 0.6, following),
                ],
            ),
            title("memory", vec![slow_replicas(contest)]),
            title("wait, ms", vec![waits(contest)]),
            title("synchronous mode, thousand requests per second", vec![synchronous(contest)])
                .between("asynchronous", "synchronous"),
        ],
    }
}

/// Measures both servers if the line is selected.
fn line(
    contest: &Contest,
    name: &str,
    goal: Goal,
    measure: impl Fn(&[String]) -> io::Result<f64>,
) -> Option<Line> {
    let selected = contest.selects("replication", name);
    selected.then(|| Line::new(name, goal, contest.pairs(name, measure)))
}

fn full_sync(contest: &Contest, name: &str, options: &[&str], goal: f64) -> Option<Line> {
    let keys = contest.scaled(SYNCED_KEYS);
    line(contest, name, Goal::RatioAtMost(goal), |command| {
        let master = filled(command, options, keys)?;
        let replica = Server::start(command, options)?;
        let started = Instant::now();
        follow(&replica, &master)?;
        wait_for_link(&replica)?;
        let time = started.elapsed().as_secs_f64();
        holds(&replica, keys)?;
        Ok(time)
    })
}

/// What a full sync beside writes came to.
struct UnderWrites {
    seconds: f64,
    full_syncs: f64,
    /// Thousands a second that the master took meanwhile.
    writes: f64,
}

fn under_writes(contest: &Contest) -> Vec<Line> {
    let names =
        ["full sync under writes, s", "full syncs until it was done", "thousand writes per second meanwhile"];
    if !names.iter().any(|name| contest.selects("replication", name)) {
        return Vec::new();
    }
    let keys = contest.scaled(SYNCED_KEYS);
    let pairs = contest.pairs(names[0], |command| sync_under_writes(command, keys));
    vec![
        Line::new(names[0], Goal::None, pick(&pairs, |run| run.seconds)),
        Line::new(names[1], Goal::AtMost(1.0), pick(&pairs, |run| run.full_syncs)),
        Line::new(names[2], Goal::None, pick(&pairs, |run| run.writes)),
    ]
}

fn sync_under_writes(command: &[String], keys: u64) -> io::Result<UnderWrites> {
    let master = filled(command, &NO_DELAY, keys)?;
    let replica = Server::start(command, &NO_DELAY)?;
    let (seconds, writes) = beside_writes(master.address(), keys, || {
        let started = Instant::now();
        follow(&replica, &master)?;
        wait_for_link(&replica)?;
        wait_for_offset(&replica, offset(&master)?)?;
        Ok(started.elapsed().as_secs_f64())
    })?;
    holds(&replica, keys)?;
    let full_syncs = master.info("stats", "sync_full")?;
    Ok(UnderWrites { seconds, full_syncs: number(&full_syncs)? as f64, writes: writes / 1000.0 })
}

/// Does some work while writes go on: returns what comes of it, and the writes per second.
fn beside_writes<T>(
    address: SocketAddr,
    keys: u64,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<(T, f64)> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(address, keys, &done));
        let result = work();
        done.store(true, Ordering::Release);
        let rate = writer.join().map_err(|_| io::Error::other("the writing thread panicked"))??;
        Ok((result?, rate))
    })
}

/// Writes a batch each millisecond, and catches up when one took longer; returns the writes per second.
fn write_until(address: SocketAddr, keys: u64, done: &AtomicBool) -> io::Result<f64> {
    let mut loader = Loader::connect(address, BATCH as usize)?;
    let value = "z".repeat(200);
    let (started, mut batches) = (Instant::now(), 0_u64);
    while !done.load(Ordering::Acquire) {
        for i in 0..BATCH {
            // The product scatters the keys: neighbours in time are none in memory.
            let key = (batches * BATCH + i).wrapping_mul(7_919_317) % keys;
            loader.request(&["SET", &format!("key:{key:012}"), &value])?;
        }
        batches += 1;
        let due = started + Duration::from_millis(batches);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok((batches * BATCH) as f64 / started.elapsed().as_secs_f64())
}

type Cost = fn(&Contest, &[String], u64) -> io::Result<f64>;

fn cost(contest: &Contest, name: &str, goal: f64, measure: Cost) -> Option<Line> {
    let requests = contest.scaled(2_000_000);
    line(contest, name, Goal::RatioAtMost(goal), |command| measure(contest, command, requests))
}

/// Returns the nanoseconds that a master with two replicas spends on a SET.
fn feeding(contest: &Contest, command: &[String], requests: u64) -> io::Result<f64> {
    // The replicas share a processor with the clients: they may be late, but must not be cut off for it.
    let options = [&NO_DELAY[..], &["--client-output-buffer-limit", "replica", "0", "0", "0"]].concat();
    let master = Server::start(command, &options)?;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let replica = Server::start(&pinned(&contest.theirs, CLIENT_CPU), &[])?;
        follow(&replica, &master)?;
        wait_for_link(&replica)?;
        replicas.push(replica);
    }
    let before = (master.cpu_ns()?, master.info("stats", "sync_full")?);
    set(master.address(), 50, 16, requests)?;
    let end = offset(&master)?;
    replicas.iter().try_for_each(|replica| wait_for_offset(replica, end))?;
    let spent = master.cpu_ns()? - before.0;

    master.no_errors()?;
    if master.info("stats", "sync_full")? != before.1 {
        return Err(io::Error::other("a replica had to sync again"));
    }
    Ok(spent as f64 / requests as f64)
}

/// Returns the nanoseconds that a replica spends on a SET.
fn following(contest: &Contest, command: &[String], requests: u64) -> io::Result<f64> {
    let options = [&NO_DELAY[..], &["--client-output-buffer-limit", "replica", "0", "0", "0"]].concat();
    let master = Server::start(&pinned(&contest.theirs, CLIENT_CPU), &options)?;
    let replica = Server::start(command, &[])?;
    follow(&replica, &master)?;
    wait_for_link(&replica)?;
    let before = replica.cpu_ns()?;
    set(master.address(), 50, 16, requests)?;
    wait_for_offset(&replica, offset(&master)?)?;
    let spent = replica.cpu_ns()? - before;

    master.no_errors()?;
    if master.info("stats", "sync_full")? != "1" {
        return Err(io::Error::other("the replica had to sync again"));
    }
    Ok(spent as f64 / requests as f64)
}

fn slow_replicas(contest: &Contest) -> Option<Line> {
    let bytes = contest.scaled(100_000_000);
    let name = "growth with 8 slow replicas, for each byte written";
    line(contest, name, Goal::AtMost(1.5), |command| growth(command, bytes))
}

/// Returns the bytes by which a master grows for each byte that is written and that its replicas do not take.
fn growth(command: &[String], bytes: u64) -> io::Result<f64> {
    let options = ["--repl-backlog-size", "64mb", "--client-output-buffer-limit", "replica", "0", "0", "0"];
    let master = Server::start(command, &[&NO_DELAY[..], &options].concat())?;
    // The same keys again and again, so that what grows is not the data.
    let value = "x".repeat(1000);
    let mut loader = Loader::connect(master.address(), 100)?;
    let mut write = |count: u64| {
        (0..count).try_for_each(|i| loader.request(&["SET", &format!("key:{:04}", i % 100), &value]))?;
        loader.finish()
    };
    write(1000)?;
    let replicas =
        (0..SLOW_REPLICAS).map(|_| slow_replica(master.address())).collect::<io::Result<Vec<_>>>()?;
    let before = (master.resident_bytes()?, offset(&master)?);
    write(bytes / 1000)?;
    let grown = master.resident_bytes()?.saturating_sub(before.0);
    let written = offset(&master)? - before.1;

    if master.info("replication", "connected_slaves")? != replicas.len().to_string() {
        return Err(io::Error::other("a slow replica was cut off"));
    }
    Ok(grown as f64 / written as f64)
}

/// Returns the link of a replica that has taken its snapshot and is going to take nothing else.
fn slow_replica(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n")?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut next = || -> io::Result<String> {
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            // Empty lines keep the link alive.
            if !line.trim_end().is_empty() {
                return Ok(line.trim_end().to_string());
            }
        }
    };
    let (answer, head) = (next()?, next()?);
    if !answer.starts_with("+FULLRESYNC") {
        return Err(io::Error::other(format!("PSYNC: {answer}")));
    }
    // Who does not announce that it knows of end marks is sent a length.
    let length = number(head.trim_start_matches('$'))?;
    if io::copy(&mut reader.take(length), &mut io::sink())? < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(stream)
}

fn waits(contest: &Contest) -> Option<Line> {
    let keys = contest.scaled(SYNCED_KEYS);
    let name = "while a full sync is fed: 99 % of PINGs";
    line(contest, name, Goal::RatioAtMost(1.0), |command| wait_while_feeding(contest, command, keys))
}

/// Returns the 99th percentile of waits for PING from REPLICAOF until the link is up, in milliseconds.
fn wait_while_feeding(contest: &Contest, command: &[String], keys: u64) -> io::Result<f64> {
    let master = filled(command, &NO_DELAY, keys)?;
    // The replica gives way to the client that measures.
    let command = if command.ends_with(&contest.theirs) { &contest.theirs } else { &contest.ours };
    let yielding = ["nice", "-n", "19"].into_iter().map(str::to_string);
    let replica = Server::start(&yielding.chain(pinned(command, CLIENT_CPU)).collect::<Vec<_>>(), &NO_DELAY)?;
    let mut stream = TcpStream::connect(master.address())?;
    stream.set_nodelay(true)?;
    follow(&replica, &master)?;
    let (started, mut asked, mut waits) = (Instant::now(), Instant::now(), Vec::new());
    while started.elapsed() < PATIENCE {
        waits.push(ping(&mut stream)?);
        if asked.elapsed() > LOOK {
            if is_up(&replica)? {
                return Ok(percentile(waits, 0.99));
            }
            asked = Instant::now();
        }
    }
    Err(io::Error::other("no full sync in time"))
}

/// Measures ours alone: there is no such mode elsewhere.
fn synchronous(contest: &Contest) -> Option<Line> {
    let name = "SET, 200 clients, one replica";
    if !contest.selects("replication", name) {
        return None;
    }
    eprintln!("… {name}");
    let requests = contest.scaled(300_000);
    let measure = || -> io::Result<(f64, f64)> {
        let master = Server::start(&pinned_to_server_cpu(&contest.ours), &[])?;
        let replica = Server::start(&pinned(&contest.ours, CLIENT_CPU), &[])?;
        follow(&replica, &master)?;
        wait_for_link(&replica)?;
        // Neither run is to be the one that makes the keys.
        set(master.address(), 50, 16, contest.scaled(2_000_000))?;
        let rate = |replicas: &str| {
            master.ask(&["CONFIG", "SET", "synchronous-replicas", replicas])?;
            set(master.address(), 200, 1, requests)
        };
        let figures = (rate("0")?, rate("1")?);
        master.no_errors()?;
        Ok(figures)
    };
    let pairs: Pairs = (0..contest.rounds).map(|_| measure().map_err(|error| error.to_string())).collect();
    Some(Line::new(name, Goal::RatioAtLeast(0.6), pairs))
}

/// Starts a master with so many strings of 200 bytes.
fn filled(command: &[String], options: &[&str], keys: u64) -> io::Result<Server> {
    let server = Server::start(command, options)?;
    let value = "y".repeat(200);
    let mut loader = Loader::connect(server.address(), 1000)?;
    (0..keys).try_for_each(|i| loader.request(&["SET", &format!("key:{i:012}"), &value]))?;
    loader.finish()?;
    Ok(server)
}

/// Lets redis-benchmark SET; returns thousands of requests a second.
fn set(address: SocketAddr, clients: u32, pipeline: u32, requests: u64) -> io::Result<f64> {
    let port = address.port();
    let arguments = format!(
        "-c {CLIENT_CPU} redis-benchmark -p {port} --csv -t set -c {clients} -P {pipeline} -n {requests} -r 1000000 -d 64"
    );
    let output = Command::new("taskset").args(arguments.split(' ')).output()?;
    let per_second = rate(&String::from_utf8_lossy(&output.stdout));
    per_second.map(|rate| rate / 1000.0).ok_or_else(|| io::Error::other("redis-benchmark printed no rate"))
}

fn follow(replica: &Server, master: &Server) -> io::Result<()> {
    let port = master.address().port().to_string();
    replica.ask(&["REPLICAOF", "127.0.0.1", &port]).map(|_| ())
}

fn is_up(replica: &Server) -> io::Result<bool> {
    Ok(replica.info("replication", "master_link_status")? == "up")
}

fn wait_for_link(replica: &Server) -> io::Result<()> {
    wait_until("the link is not up", || is_up(replica))
}

/// Returns how far the stream of a server has come.
fn offset(server: &Server) -> io::Result<u64> {
    number(&server.info("replication", "master_repl_offset")?)
}

fn wait_for_offset(replica: &Server, end: u64) -> io::Result<()> {
    wait_until("the replica has not caught up", || Ok(offset(replica)? >= end))
}

fn holds(server: &Server, keys: u64) -> io::Result<()> {
    let size = server.ask(&["DBSIZE"])?;
    let expected = format!(":{keys}");
    if size.head() == expected { Ok(()) } else { Err(io::Error::other(format!("DBSIZE is {}", size.head()))) }
}

fn wait_until(failure: &str, mut reached: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let started = Instant::now();
    while !reached()? {
        if started.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("{failure} after {} s", PATIENCE.as_secs())));
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| io::Error::other(format!("not a number: {text}")))
}
