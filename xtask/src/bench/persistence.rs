//! Persistence: snapshots, the log, loading them, and what clients notice of either.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Contest;
use super::load::Loader;
use super::machine::CLIENT_CPU;
use super::pauses::ping;
use super::report::{Goal, Line, Section, Table};
use super::server::Server;
use super::speed::{Pairs, rate};

/// Measures everything that is selected.
pub(super) fn section(contest: &Contest) -> Section {
    let selects = |name: &str| contest.selects("persistence", name);
    let (mut times, mut rates, mut waits) = (Vec::new(), Vec::new(), Vec::new());

    let snapshot = ["SAVE", "start and load of the same dump", "size of the dump, MB"];
    if snapshot.iter().any(|name| selects(name)) {
        let scale = contest.scaled(1_000_000);
        let pairs = contest.pairs("SAVE and load", |command| saving(command, scale));
        let goals = [0.5, 0.5, 1.02];
        for (index, (name, goal)) in snapshot.iter().zip(goals).enumerate() {
            let pairs = pick(&pairs, |figures| figures[index]);
            times.push(Line::new(name, Goal::RatioAtMost(goal), pairs));
        }
    }
    let logged = ["SET, everysec, pipeline 16", "replay of a log of 2,000,000 commands"];
    if logged.iter().any(|name| selects(name)) {
        let requests = contest.scaled(2_000_000);
        let pairs = contest.pairs(logged[0], |command| logging(command, "everysec", 16, requests));
        rates.push(Line::new(logged[0], Goal::RatioAtLeast(1.5), pick(&pairs, |run| run.rate)));
        times.push(Line::new(logged[1], Goal::RatioAtMost(0.5), pick(&pairs, |run| run.replay)));
    }
    if selects("SET, always, no pipeline") {
        let requests = contest.scaled(100_000);
        let pairs = contest.pairs("SET, always", |command| logging(command, "always", 1, requests));
        let name = "SET, always, no pipeline";
        rates.push(Line::new(name, Goal::RatioAtLeast(1.2), pick(&pairs, |run| run.rate)));
    }
    if selects("while 2,000,000 keys are saved under load") {
        let name = "while 2,000,000 keys are saved under load: 99.9 % of PINGs";
        let keys = contest.scaled(2_000_000);
        let pairs = contest.pairs(name, |command| saving_under_load(command, keys));
        waits.push(Line::new(name, Goal::RatioAtMost(1.0), pairs));
    }
    for policy in ["everysec", "always"] {
        let name = format!("while each fsync takes 500 ms, {policy}: 99 % of GETs");
        if selects(&name) {
            let pairs = contest.pairs(&name, |command| slow_disk(command, policy));
            waits.push(Line::new(&name, Goal::AtMost(5.0), pairs));
        }
    }
    Section {
        title: "Persistence",
        method: "SAVE and load: 1,000,000 strings (32 B), 200,000 hashes of 8 fields and a sorted set of 1,000,000. Log: \
            redis-benchmark, 50 connections, values of 64 B; then kill -9, and the time from the start to the first \
            answer. Waits: one client in a closed loop beside a redis-benchmark of 20 connections that SET, which gives \
            way to it; slow syncs are made by strace, which delays fsync and fdatasync.",
        tables: vec![
            Table::new("time, s", times),
            Table::new("throughput with the log, thousand requests per second", rates),
            Table::new("wait, ms", waits),
        ],
    }
}

/// Returns one part of what both servers came to.
pub(super) fn pick<T>(pairs: &Result<Vec<(T, T)>, String>, part: impl Fn(&T) -> f64) -> Pairs {
    let pairs = pairs.as_ref().map_err(String::clone)?;
    Ok(pairs.iter().map(|(theirs, ours)| (part(theirs), part(ours))).collect())
}

/// Saves a data set and loads it again: seconds, seconds, megabytes.
fn saving(command: &[String], scale: u64) -> io::Result<[f64; 3]> {
    let directory = Scratch::new()?;
    let server = Server::start(command, &["--dir", directory.path()])?;
    let mut loader = Loader::connect(server.address(), 1000)?;
    let value = "x".repeat(32);
    (0..scale).try_for_each(|i| loader.request(&["SET", &format!("key:{i:012}"), &value]))?;
    for i in 0..scale / 5 {
        let mut words = vec!["HSET".to_string(), format!("h:{i:010}")];
        words.extend((0..8).flat_map(|j| [format!("f{j}"), format!("value{:010}", i + j)]));
        loader.request(&words)?;
    }
    for i in 0..scale {
        let score = i.wrapping_mul(7919) % 1_000_003;
        loader.request(&["ZADD", "bz", &score.to_string(), &format!("member:{i:010}")])?;
    }
    loader.finish()?;
    let started = Instant::now();
    server.ask(&["SAVE"])?;
    let save = started.elapsed().as_secs_f64();
    drop(server);
    let size = std::fs::metadata(directory.0.join("dump.rdb"))?.len() as f64 / 1e6;
    let server = Server::start(command, &["--dir", directory.path()])?;
    Ok([save, server.start_time().as_secs_f64(), size])
}

/// What a run with the log came to.
struct Logged {
    /// Thousands of requests a second.
    rate: f64,
    /// Seconds from the start to the first answer, after a kill.
    replay: f64,
}

fn logging(command: &[String], policy: &str, pipeline: u32, requests: u64) -> io::Result<Logged> {
    let directory = Scratch::new()?;
    let options = [
        "--dir",
        directory.path(),
        "--appendonly",
        "yes",
        "--appendfsync",
        policy,
        "--auto-aof-rewrite-percentage",
        "0",
    ];
    let server = Server::start(command, &options)?;
    let port = server.address().port().to_string();
    let mut benchmark = Command::new("taskset");
    benchmark.args([
        "-c",
        CLIENT_CPU,
        "redis-benchmark",
        "-p",
        &port,
        "--csv",
        "-t",
        "set",
        "-c",
        "50",
        "-d",
        "64",
    ]);
    benchmark.args(["-n", &requests.to_string(), "-r", "1000000", "-P", &pipeline.to_string()]);
    let output = benchmark.output()?;
    server.no_errors()?;
    let per_second = rate(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| io::Error::other("redis-benchmark printed no rate"))?;
    drop(server);
    let server = Server::start(command, &options)?;
    Ok(Logged { rate: per_second / 1000.0, replay: server.start_time().as_secs_f64() })
}

/// Returns the 99.9th percentile of waits for PING while a snapshot is written under load, in milliseconds.
fn saving_under_load(command: &[String], keys: u64) -> io::Result<f64> {
    let directory = Scratch::new()?;
    let server = Server::start(command, &["--dir", directory.path()])?;
    let mut loader = Loader::connect(server.address(), 1000)?;
    let value = "x".repeat(64);
    (0..keys).try_for_each(|i| loader.request(&["SET", &format!("key:{i:012}"), &value]))?;
    loader.finish()?;
    let _load = Load::start(server.address(), keys)?;
    thread::sleep(Duration::from_millis(500));
    server.ask(&["BGSAVE"])?;
    let mut stream = connect(server.address())?;
    let mut waits = Vec::new();
    let mut asked = Instant::now();
    loop {
        waits.push(ping(&mut stream)?);
        if asked.elapsed() > Duration::from_millis(100) {
            let info = server.ask(&["INFO", "persistence"])?;
            let text = String::from_utf8_lossy(info.text().unwrap_or_default()).into_owned();
            if text.contains("rdb_bgsave_in_progress:0") {
                return Ok(percentile(waits, 0.999));
            }
            asked = Instant::now();
        }
    }
}

/// Returns the 99th percentile of waits for GET of a key that nobody writes, in milliseconds.
fn slow_disk(command: &[String], policy: &str) -> io::Result<f64> {
    let directory = Scratch::new()?;
    let options = ["--dir", directory.path(), "--appendonly", "yes", "--appendfsync", policy];
    // With -D the server itself is our child; with --seccomp-bpf nothing but the syncs is slowed down.
    let strace =
        ["strace", "-D", "-f", "-q", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"];
    let inject = ["-e", "inject=fsync,fdatasync:delay_enter=500000"];
    let slow: Vec<String> =
        strace.iter().chain(&inject).map(|word| (*word).to_string()).chain(command.iter().cloned()).collect();
    let server = Server::start(&slow, &options)?;
    server.ask(&["SET", "quiet", "value"])?;
    let _load = Load::start(server.address(), 100_000)?;
    thread::sleep(Duration::from_secs(1));
    let mut stream = connect(server.address())?;
    let (started, mut waits) = (Instant::now(), Vec::new());
    while started.elapsed() < Duration::from_secs(5) {
        waits.push(get(&mut stream)?);
    }
    Ok(percentile(waits, 0.99))
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn get(stream: &mut TcpStream) -> io::Result<Duration> {
    use std::io::{Read, Write};
    let start = Instant::now();
    stream.write_all(b"*2\r\n$3\r\nGET\r\n$5\r\nquiet\r\n")?;
    let mut answer = [0; 11];
    stream.read_exact(&mut answer)?;
    if &answer == b"$5\r\nvalue\r\n" {
        Ok(start.elapsed())
    } else {
        Err(io::Error::other("GET without its value"))
    }
}

/// Returns the wait that so large a share of waits does not exceed, in milliseconds.
pub(super) fn percentile(mut waits: Vec<Duration>, share: f64) -> f64 {
    waits.sort_unstable();
    let at = ((waits.len() as f64 * share).ceil() as usize).clamp(1, waits.len().max(1)) - 1;
    waits.get(at).map_or(f64::NAN, |wait| wait.as_secs_f64() * 1000.0)
}

/// A redis-benchmark that writes until it is dropped, and gives way to everybody else.
struct Load(Child);

impl Load {
    fn start(address: SocketAddr, keys: u64) -> io::Result<Load> {
        let port = address.port().to_string();
        let child = Command::new("nice")
            .args(["-n", "19", "taskset", "-c", CLIENT_CPU, "redis-benchmark", "-p", &port, "-t", "set"])
            .args(["-c", "20", "-d", "64", "-n", "1000000000", "-r", &keys.to_string(), "-q"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Load(child))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory that several servers use one after the other, removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Scratch> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("redstart-bench-{}-{number}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Scratch(path))
    }

    fn path(&self) -> &str {
        Path::to_str(&self.0).expect("a path of our own making")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => eprintln!("{}: {error}", self.0.display()),
            _ => {}
        }
    }
}
