//! `cargo xtask diskfaults`: each system call on the disk's path fails once, while clients write.
//!
//! A first run, watched by strace, tells which calls there are: their name, the file, and which of several in a row.
//! Then, for each of them, a server of its own gets that one call refused (`strace -e inject`) in the middle of writes,
//! a rewrite of the log and a snapshot. What came of it is told in a line of a table. In the end the server is killed and
//! started again, and must have everything that it acknowledged.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::clients::{Clients, Connection, Manner, Record};
use super::image::{Image, enclosed};
use super::process::Server;
use super::sequence::State;
use super::tally::{Cut, Tally};
use super::{Options, Policy, Random, Scratch};

const CLIENTS: u64 = 2;

/// Servers that are hurt at the same time: most of the time they wait.
const AT_ONCE: usize = 4;

/// How long a server may take until it accepts writes again.
const RECOVERY: Duration = Duration::from_secs(20);

/// A client that got no answer for so long has noticed that something was wrong.
const WAITED: Duration = Duration::from_millis(500);

/// Of equal calls on the same file so many are tried.
const IN_A_ROW: usize = 8;

const CALLS: [&str; 12] = [
    "openat",
    "write",
    "pwrite64",
    "writev",
    "fsync",
    "fdatasync",
    "rename",
    "unlink",
    "ftruncate",
    "mkdir",
    "mkdirat",
    "sync_file_range",
];

/// A call that is to fail: the `occurrence`-th of its name on this file, in each thread and process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    name: String,
    /// Relative to the server's directory.
    path: String,
    occurrence: usize,
}

/// What is done to one server.
#[derive(Clone, Debug)]
struct Fault {
    calls: Vec<Call>,
    error: &'static str,
    policy: Policy,
    /// There is so much data that a snapshot is brought to the device part by part.
    large: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: Vec<String> = self
            .calls
            .iter()
            .map(|call| format!("{} {} #{}", call.name, title(&call.path), call.occurrence))
            .collect();
        write!(f, "{:8} {:6} {}", self.policy.to_string(), self.error, calls.join(" + "))
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
struct Outcome {
    injected: usize,
    /// Writes refused, the longest time without an answered write, and the words of the refusal.
    refused: usize,
    silence: Duration,
    refusal: String,
    /// The first warnings in the server's log.
    warnings: Vec<String>,
    rewrite_failed: bool,
    save_failed: bool,
    /// Everything works again, without a restart.
    recovered: bool,
    acknowledged: u64,
    lost: u64,
    problems: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if self.injected == 0 {
            words.push("the call was not made".to_string());
        }
        if self.refused > 0 {
            words.push(format!("refused {} writes ({})", self.refused, self.refusal));
        }
        if self.rewrite_failed {
            words.push("rewrite failed, the next succeeded".into());
        }
        if self.save_failed {
            words.push("snapshot failed, the next succeeded".into());
        }
        if self.silence > WAITED {
            words.push("writes waited".into());
        }
        if self.injected > 0 && words.is_empty() {
            words.push("clients noticed nothing".into());
        }
        if !self.recovered {
            words.push("DID NOT RECOVER".into());
        }
        let silence = self.silence.as_millis();
        write!(
            f,
            "{}; longest silence {silence} ms; lost {} of {}",
            words.join(", "),
            self.lost,
            self.acknowledged
        )?;
        self.warnings.iter().try_for_each(|line| write!(f, "\n    logged: {line}"))?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n    PROBLEM: {problem}"))
    }
}

/// Lets every call fail, and fills a disk; true when nothing was lost and every server recovered.
pub(crate) fn run(words: impl Iterator<Item = String>) -> Result<bool, String> {
    if let Some(done) = enclosed()? {
        return Ok(done);
    }
    let options = Options::parse(words, 1)?;
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if !strace.is_ok_and(|status| status.success()) {
        return Err("CANNOT BE DONE HERE: strace is not installed".into());
    }
    let scratch = Scratch::new("diskfaults")?;
    let faults: Vec<Fault> = plan(&options, &scratch.0)?
        .into_iter()
        .filter(|fault| {
            options.only.is_empty() || options.only.iter().any(|word| fault.to_string().contains(word))
        })
        .collect();
    println!("{} faults", faults.len());
    let outcomes = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(fault) = faults.get(index) else { return };
                    let outcome = suffer(&options, &scratch.0.join(index.to_string()), fault);
                    let outcome = outcome
                        .unwrap_or_else(|problem| Outcome { problems: vec![problem], ..Outcome::default() });
                    outcomes.lock().expect("no thread panics").insert(index, outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no thread panicked");
    let (mut kept, mut acknowledged, mut lost) = (true, 0, 0);
    for (fault, outcome) in faults.iter().zip(outcomes.values()) {
        println!("{fault}: {outcome}");
        kept &= outcome.recovered && outcome.lost == 0 && outcome.problems.is_empty();
        acknowledged += outcome.acknowledged;
        lost += outcome.lost;
    }
    for &policy in options.policies.iter().filter(|_| options.only.is_empty()) {
        let outcome = fill(&options, &scratch.0, policy)?;
        println!("{policy}: a full disk: {outcome}");
        kept &= outcome.recovered && outcome.lost == 0 && outcome.problems.is_empty();
        acknowledged += outcome.acknowledged;
        lost += outcome.lost;
    }
    println!("{} faults, {acknowledged} writes acknowledged, {lost} of them lost", faults.len());
    println!("{}", if kept { "every promise was kept" } else { "PROMISES WERE BROKEN" });
    Ok(kept)
}

/// Returns what a file is for.
fn title(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        "." => "the directory".into(),
        "appendonlydir" => "the log's directory".into(),
        "temp-appendonly.aof.manifest" => "the new manifest".into(),
        "appendonly.aof.1.incr.aof" => "the increment in use".into(),
        "appendonly.aof.2.incr.aof" => "the next increment".into(),
        "appendonly.aof.1.base.rdb" => "the old base".into(),
        name if name.starts_with("temp-rewriteaof") => "the new base".into(),
        name if name.starts_with("temp-bgsave") => "the snapshot".into(),
        name => name.into(),
    }
}

/// Finds out which calls there are, and returns every fault to be tried.
fn plan(options: &Options, scratch: &Path) -> Result<Vec<Fault>, String> {
    let directory = scratch.join("plan");
    let watch = Fault { calls: Vec::new(), error: "", policy: Policy::Always, large: false };
    let mut patient = Patient::new(options, &directory, &watch)?;
    let manner = Manner { batch: 1, insist: true };
    let starts = [0; CLIENTS as usize];
    let clients = Clients::start(patient.server.address(), &starts, manner, &mut Random(options.seed));
    patient.work()?;
    clients.finish();
    patient.stop();
    let calls = calls(&fs::read_to_string(directory.join("trace")).map_err(|e| e.to_string())?, &directory);
    let call = |name: &str, path: &str, occurrence| Call { name: name.into(), path: path.into(), occurrence };
    let increment = "appendonlydir/appendonly.aof.1.incr.aof";
    let mut sets: Vec<(Vec<Call>, bool)> = calls.into_iter().map(|call| (vec![call], false)).collect();
    // What is done only after a failure, and what only a large snapshot needs.
    sets.push((vec![call("pwrite64", increment, 2), call("ftruncate", increment, 1)], false));
    sets.push((vec![call("pwrite64", increment, 2), call("openat", increment, 1)], false));
    sets.push((vec![call("pwrite64", increment, 2), call("fsync", increment, 1)], false));
    sets.push((vec![call("sync_file_range", "temp-rewriteaof-bg-RUN-1.aof", 1)], true));
    sets.push((vec![call("sync_file_range", "temp-bgsave-RUN-1.rdb", 1)], true));
    let mut faults = Vec::new();
    for &policy in &options.policies {
        for error in ["EIO", "ENOSPC"] {
            for (calls, large) in &sets {
                faults.push(Fault { calls: calls.clone(), error, policy, large: *large });
            }
        }
    }
    Ok(faults)
}

/// Returns the calls in a trace that concern files below `directory`.
fn calls(trace: &str, directory: &Path) -> Vec<Call> {
    let mut counts: BTreeMap<(String, String), BTreeMap<String, usize>> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else { continue };
        let between = |start: char, end: char| {
            let (_, rest) = arguments.split_once(start)?;
            rest.split_once(end).map(|(inner, _)| inner.to_string())
        };
        let path = match name {
            "openat" | "mkdir" | "mkdirat" | "rename" | "unlink" => between('"', '"'),
            _ => between('<', '>'),
        };
        let Some(path) = path.filter(|_| CALLS.contains(&name)) else { continue };
        let path = match Path::new(&path).strip_prefix(directory) {
            Ok(path) if path.as_os_str().is_empty() => ".".to_string(),
            Ok(path) => path.display().to_string(),
            Err(_) if path.starts_with('/') || path.contains(':') => continue,
            Err(_) => path,
        };
        *counts
            .entry((name.to_string(), hide_run(&path)))
            .or_default()
            .entry(thread.to_string())
            .or_default() += 1;
    }
    let mut calls = Vec::new();
    for ((name, path), threads) in counts {
        let most = threads.into_values().max().unwrap_or(0);
        // One write is like the other; what is done to a directory or a manifest is another step each time.
        let most = most.min(if path.contains("incr") { 2 } else { IN_A_ROW });
        calls.extend((1..=most).map(|occurrence| Call {
            name: name.clone(),
            path: path.clone(),
            occurrence,
        }));
    }
    calls
}

/// Stands for the part of temporary names that is another in each run of a server.
const RUN: &str = "RUN";

/// Returns a path as it is in every run: `temp-bgsave-1f2e3d4c-1.rdb` is `temp-bgsave-RUN-1.rdb`.
fn hide_run(path: &str) -> String {
    let is_run = |part: &&str| part.len() == RUN_DIGITS && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = path.split('-').map(|part| if is_run(&part) { RUN } else { part }).collect();
    parts.join("-")
}

/// So many digits of its `run_id` does a server put into such names.
const RUN_DIGITS: usize = 8;

/// A server that suffers, its clients, and strace beside it.
struct Patient {
    server: Server,
    strace: Child,
    connection: Connection,
}

impl Patient {
    fn new(options: &Options, directory: &Path, fault: &Fault) -> Result<Patient, String> {
        fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        let server = start(options, directory, fault.policy, "log")?;
        let mut connection = Connection::open(server.address(), Duration::from_secs(30))?;
        if fault.large {
            connection.ask(&["CONFIG", "SET", "rdbcompression", "no"])?;
            let value = "v".repeat(1 << 20);
            for key in 0..80 {
                connection.ask(&["SET", &format!("large{key}"), &value])?;
            }
        }
        let run = connection.info("run_id")?;
        let strace = inject(&server, directory, fault, run.get(..RUN_DIGITS).ok_or("a short run_id")?)?;
        Ok(Patient { server, strace, connection })
    }

    /// Has the log rewritten and a snapshot taken; returns whether each succeeded.
    fn work(&mut self) -> Result<(bool, bool), String> {
        let before = self.connection.info("aof_rewrites")?;
        // Refused while one runs or the log does not work: then one follows by itself.
        let _ = self.connection.reply(&["BGREWRITEAOF"])?;
        // It may have to wait for a sync before it begins.
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.connection.info("aof_rewrites")? == before && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.wait("aof_rewrite_in_progress")?;
        let rewritten = self.connection.info("aof_last_bgrewrite_status")? == "ok"
            && self.connection.info("aof_rewrites")? != before;
        let _ = self.connection.reply(&["BGSAVE"])?;
        self.wait("rdb_bgsave_in_progress")?;
        let saved = self.connection.info("rdb_last_bgsave_status")? == "ok";
        Ok((rewritten, saved))
    }

    /// Waits until INFO says 0, or for long.
    fn wait(&mut self, field: &str) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(5);
        std::thread::sleep(Duration::from_millis(20));
        while self.connection.info(field)? != "0" && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends strace, and leaves the server to itself.
    fn release(&mut self) -> Result<(), String> {
        let pid = self.strace.id().to_string();
        let told = Command::new("kill").args(["-s", "TERM", &pid]).status();
        told.and_then(|_| self.strace.wait()).map(|_| ()).map_err(|error| format!("strace: {error}"))
    }

    /// Kills the server, and with it strace.
    fn stop(&mut self) {
        self.server.kill();
        let _ = self.strace.wait();
    }
}

fn start(options: &Options, directory: &Path, policy: Policy, log: &str) -> Result<Server, String> {
    let policy = policy.to_string();
    let log = directory.with_extension(log);
    let arguments = ["--appendonly", "yes", "--appendfsync", &policy, "--auto-aof-rewrite-percentage", "0"];
    // A snapshot that fails makes writes be refused only where snapshots were asked for.
    let arguments = [&arguments[..], &["--save", "3600 100000000"]].concat();
    Server::start(&options.ours, directory, &log, &arguments)
}

/// Attaches strace to a server, and returns when it is there.
fn inject(server: &Server, directory: &Path, fault: &Fault, run: &str) -> Result<Child, String> {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "0", "-o"]).arg(directory.join("trace"));
    if fault.calls.is_empty() {
        command.arg("-e").arg(format!("trace={}", CALLS.join(",")));
    } else {
        let names: Vec<&str> = fault.calls.iter().map(|call| call.name.as_str()).collect();
        command.arg("-e").arg(format!("trace={}", names.join(",")));
    }
    for Call { name, path, occurrence } in &fault.calls {
        command.arg("-e").arg(format!("inject={name}:error={}:when={occurrence}", fault.error));
        // As the server names it, and as its descriptors show it.
        let path = &path.replace(RUN, run);
        let full = if path == "." { directory.to_path_buf() } else { directory.join(path) };
        command.arg("-P").arg(path).arg("-P").arg(full);
    }
    command.arg("-p").arg(server.pid().to_string());
    let strace = command
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("strace: {error}"))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !traced(server.pid()) {
        if Instant::now() > deadline {
            return Err("CANNOT BE DONE HERE: strace may not attach to a process".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(strace)
}

/// Returns whether every thread of a process is traced.
fn traced(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().all(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
    })
}

/// Lets one server suffer a fault.
fn suffer(options: &Options, directory: &Path, fault: &Fault) -> Result<Outcome, String> {
    let mut patient = Patient::new(options, directory, fault)?;
    let manner = Manner { batch: 1, insist: true };
    let clients =
        Clients::start(patient.server.address(), &[0; CLIENTS as usize], manner, &mut Random(options.seed));
    std::thread::sleep(Duration::from_millis(150));
    let (rewritten, saved) = patient.work()?;
    let started = Instant::now();
    let mut outcome = Outcome { rewrite_failed: !rewritten, save_failed: !saved, ..Outcome::default() };
    // What failed once succeeds the next time that it is asked for, without strace: it would let each new child fail.
    patient.release()?;
    let mut again = (false, false);
    while again != (true, true) && started.elapsed() < RECOVERY {
        again = patient.work()?;
    }
    outcome.recovered = again == (true, true) && recover(&mut patient.connection, &clients)?;
    conclude(options, &mut patient.server, clients, directory, fault.policy, &mut outcome)?;
    let trace = fs::read_to_string(directory.join("trace")).unwrap_or_default();
    outcome.injected = trace.lines().filter(|line| line.contains("(INJECTED)")).count();
    let _ = fs::remove_dir_all(directory);
    Ok(outcome)
}

/// Waits until writes are answered again.
fn recover(connection: &mut Connection, clients: &Clients) -> Result<bool, String> {
    let started = Instant::now();
    while started.elapsed() < RECOVERY {
        let before = clients.answered();
        std::thread::sleep(Duration::from_millis(200));
        if clients.answered() > before + 1 && connection.info("aof_last_write_status")? == "ok" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ends the clients, kills the server, starts it again, and counts what is lost.
fn conclude(
    options: &Options,
    server: &mut Server,
    clients: Clients,
    directory: &Path,
    policy: Policy,
    outcome: &mut Outcome,
) -> Result<(), String> {
    if !server.is_alive() {
        outcome.problems.push(format!("the server ended by itself:\n{}", server.log()));
    }
    let records = clients.finish();
    let log = server.log();
    let warnings = log.lines().filter_map(|line| line.split_once(" # ")).map(|(_, words)| words.to_string());
    outcome.warnings = warnings.filter(|words| !words.starts_with("Warning: no config")).take(2).collect();
    if policy == Policy::EverySecond {
        // What waits behind a running sync is lost with the process, as the policy says: that is not what is tried here.
        let mut connection = Connection::open(server.address(), Duration::from_secs(30))?;
        let deadline = Instant::now() + RECOVERY;
        while connection.info("aof_unsynced_age_ms")? != "0" && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let cut = Cut::now();
    server.kill();
    for record in &records {
        outcome.refused += record.refused.len();
        outcome.silence = outcome.silence.max(silence(record));
        if let Some((_, words)) = record.refused.first() {
            outcome.refusal = words.chars().take(100).collect();
        }
    }
    let server = start(options, directory, policy, "log2")?;
    let mut tally = Tally::default();
    let mut states: Vec<State> = (0..CLIENTS).map(State::new).collect();
    tally.check(&server, &mut states, &records, policy, cut)?;
    (outcome.acknowledged, outcome.lost) = (tally.acknowledged, tally.lost);
    outcome.problems.append(&mut tally.broken);
    Ok(())
}

/// Returns the longest time between two answered writes, beginning with the first that was refused.
fn silence(record: &Record) -> Duration {
    let answered = record.acknowledged.iter().map(|(_, at)| *at);
    let mut times: Vec<Instant> = answered.chain(record.refused.iter().map(|(at, _)| *at).take(1)).collect();
    times.sort();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Fills a small disk under a server, and makes room again.
fn fill(options: &Options, scratch: &Path, policy: Policy) -> Result<Outcome, String> {
    let image = Image::new(scratch, 48)?;
    let directory = image.path().join("data");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let mut server = start(options, &directory, policy, "log")?;
    let mut connection = Connection::open(server.address(), Duration::from_secs(30))?;
    let manner = Manner { batch: 1, insist: true };
    let clients = Clients::start(server.address(), &[0; CLIENTS as usize], manner, &mut Random(options.seed));
    // What was prepared before the disk was full is used up first; it is to be little.
    connection.ask(&["CONFIG", "SET", "aof-prepared-space", "65536"])?;
    std::thread::sleep(Duration::from_millis(300));
    let filler = image.path().join("filler");
    // More than there is room for: it ends when nothing is left.
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=4k", "oflag=append", "conv=notrunc"])
        .arg(format!("of={}", filler.display()))
        .stderr(Stdio::null())
        .status();
    let mut outcome = Outcome { injected: 1, ..Outcome::default() };
    let deadline = Instant::now() + RECOVERY;
    while connection.info("aof_last_write_status")? == "ok" {
        if Instant::now() > deadline {
            outcome.problems.push("the disk was full, and no write failed".into());
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let refusal = connection.reply(&["SET", "other", "1"])?.head();
    if !refusal.contains("MISCONF") {
        outcome.problems.push(format!("a write on a full disk came to {refusal}"));
    }
    // Reads go on; a rewrite has no room either, and leaves things as they are.
    connection.ask(&["GET", "0:s0"])?;
    let _ = connection.reply(&["BGREWRITEAOF"])?;
    std::thread::sleep(Duration::from_secs(2));
    outcome.rewrite_failed = connection.info("aof_last_bgrewrite_status")? != "ok";
    fs::remove_file(&filler).map_err(|error| error.to_string())?;
    outcome.recovered = recover(&mut connection, &clients)?;
    connection.reply(&["BGREWRITEAOF"])?;
    std::thread::sleep(Duration::from_millis(500));
    outcome.recovered &= connection.info("aof_last_bgrewrite_status")? == "ok";
    drop(connection);
    conclude(options, &mut server, clients, &directory, policy, &mut outcome)?;
    Ok(outcome)
}
