//! `cargo xtask lock stale`: a holder that sleeps three leases long, and then writes on.
//!
//! ```text
//! holder     granted t1 ─ writes ─ SIGSTOP ........................ SIGCONT ─ writes on with t1
//! successor                          waits ──── granted t2 ─ writes ─────────── reads what is there
//! ```
//!
//! With Redstart the holder's writes go through LOCK.GUARD and LOCK.FENCE, which must refuse all of them once it is
//! woken up. With redis-server the lock is a key set with NX and PX, and the same holder overwrites its successor: if
//! that is not seen, the test does not bite.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::{Reply, ServerProcess};

use super::{Answer, Options, acquire, open};
use crate::durability::clients::Connection;

const LEASE: Duration = Duration::from_millis(120);
/// How many writes a holder sends that was woken up.
const WRITES: u64 = 20;

/// How writes are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `LOCK.GUARD`, and `LOCK.FENCE` on another key.
    Guarded,
    /// SET NX PX, and nothing else.
    Plain,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Guarded => "guarded",
            Way::Plain => "plain",
        }
    }
}

/// What holders were answered after they had slept.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    rounds: u64,
    accepted: u64,
    refused: u64,
    /// Rounds in which the successor's data was overwritten.
    overwritten: u64,
}

/// Plays rounds with both servers; true when ours refused every stale write, and the other did not.
pub(super) fn run(words: impl Iterator<Item = String>) -> Result<bool, String> {
    let options = Options::parse(words, 300)?;
    let ours = play(&options.ours, Way::Guarded, options.rounds)?;
    println!(
        "redstart, LOCK.GUARD and LOCK.FENCE: {} rounds, {} stale writes, {} refused, {} accepted, data overwritten in {}",
        ours.rounds,
        ours.accepted + ours.refused,
        ours.refused,
        ours.accepted,
        ours.overwritten
    );
    let theirs = play(&["redis-server".into()], Way::Plain, options.rounds.div_ceil(10))?;
    println!(
        "redis-server, SET NX PX: {} rounds, {} stale writes, {} refused, {} accepted, data overwritten in {}",
        theirs.rounds,
        theirs.accepted + theirs.refused,
        theirs.refused,
        theirs.accepted,
        theirs.overwritten
    );
    let good = ours.accepted == 0 && ours.overwritten == 0 && ours.refused == ours.rounds * WRITES * 2;
    Ok(good && theirs.overwritten > 0)
}

fn play(server: &[String], way: Way, rounds: u64) -> Result<Tally, String> {
    let server = ServerProcess::start(server, &["--save", ""]).map_err(|error| error.to_string())?;
    let mut tally = Tally::default();
    for round in 0..rounds {
        let (accepted, refused, overwritten) = one_round(server.address(), way, round)?;
        tally.rounds += 1;
        tally.accepted += accepted;
        tally.refused += refused;
        tally.overwritten += u64::from(overwritten);
    }
    Ok(tally)
}

/// Returns how many writes of the woken holder were accepted and refused, and whether they are what is there.
fn one_round(address: SocketAddr, way: Way, round: u64) -> Result<(u64, u64, bool), String> {
    let key = format!("lock:{round}");
    let mut holder = Holder::start(address, way, &key)?;
    let first: u64 = holder.line()?.parse().map_err(|_| "the holder names no token".to_string())?;
    holder.signal("-STOP")?;
    let stopped = Instant::now();
    let mut successor = open(address)?;
    let second = take(&mut successor, way, &key, "successor", 4 * LEASE)?;
    if way == Way::Guarded && second <= first {
        return Err(format!("token {second} is granted after {first}"));
    }
    write(&mut successor, way, &key, second)?;
    std::thread::sleep((3 * LEASE).saturating_sub(stopped.elapsed()));
    holder.signal("-CONT")?;
    let line = holder.line()?;
    let counts: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [accepted, refused] = counts[..] else { return Err(format!("the holder says {line}")) };
    let found = successor.reply(&["GET", &format!("data:{key}")])?;
    Ok((accepted, refused, found.number() != Some(second)))
}

/// Takes a lock, and returns the token; of a plain lock it is a number that the caller draws.
fn take(
    connection: &mut Connection,
    way: Way,
    key: &str,
    owner: &str,
    patience: Duration,
) -> Result<u64, String> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match way {
            Way::Guarded => {
                if let Answer::Granted { token, .. } = acquire(connection, key, owner, LEASE, left, 0)? {
                    return Ok(token);
                }
            }
            Way::Plain => {
                let lease = LEASE.as_millis().to_string();
                let set = connection.reply(&["SET", key, owner, "NX", "PX", &lease])?;
                if set.text() == Some(b"OK") {
                    return connection.reply(&["INCR", "tokens"])?.number().ok_or("no token".to_string());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if left.is_zero() {
            return Err(format!("{key} is never granted to {owner}"));
        }
    }
}

/// Writes under the lock; returns whether each of the writes was accepted.
fn write(connection: &mut Connection, way: Way, key: &str, token: u64) -> Result<Vec<bool>, String> {
    let (data, token) = (format!("data:{key}"), token.to_string());
    let accepted = |reply: Reply| match reply.head() {
        head if head.starts_with("-FENCED") => Ok(false),
        head if head.starts_with('-') => Err(head),
        _ => Ok(true),
    };
    match way {
        Way::Plain => Ok(vec![accepted(connection.reply(&["SET", &data, &token])?)?]),
        Way::Guarded => {
            let guarded = accepted(connection.reply(&["LOCK.GUARD", key, &token, "SET", &data, &token])?)?;
            let fenced = accepted(connection.reply(&["LOCK.FENCE", &format!("fence:{key}"), &token])?)?;
            Ok(vec![guarded, fenced])
        }
    }
}

/// A process that holds a lock; killed with this value.
struct Holder {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Holder {
    fn start(address: SocketAddr, way: Way, key: &str) -> Result<Holder, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .args(["lock", "holder", &address.to_string(), way.name(), key])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let output = child.stdout.take().ok_or("the holder has no output")?;
        Ok(Holder { child, lines: BufReader::new(output) })
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(|error| error.to_string())?;
        match line.trim_end() {
            "" => Err("the holder has ended".into()),
            line => Ok(line.to_string()),
        }
    }

    fn signal(&self, signal: &str) -> Result<(), String> {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("kill {signal}: {other:?}")),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // One that has ended by itself needs no more than to be waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The holder's process: takes the lock, says its token, and writes until it finds that it has slept.
pub(super) fn hold(words: impl Iterator<Item = String>) -> Result<bool, String> {
    let words: Vec<String> = words.collect();
    let [address, way, key] = &words[..] else { return Err("holder ADDRESS WAY KEY".into()) };
    let address: SocketAddr = address.parse().map_err(|_| format!("{address} is no address"))?;
    let way = if way == "plain" { Way::Plain } else { Way::Guarded };
    let mut connection = open(address)?;
    let token = take(&mut connection, way, key, "holder", Duration::from_secs(5))?;
    // From here on it may be stopped at any moment.
    let mut last = Instant::now();
    println!("{token}");
    loop {
        // A task that is busy: it does not look at its clock between two writes.
        std::thread::sleep(Duration::from_millis(1));
        let before = std::mem::replace(&mut last, Instant::now());
        if last.duration_since(before) > 2 * LEASE {
            break;
        }
        write(&mut connection, way, key, token)?;
        if way == Way::Guarded {
            connection.reply(&["LOCK.RENEW", key, "holder", &token.to_string()])?;
        }
    }
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..WRITES {
        for written in write(&mut connection, way, key, token)? {
            *(if written { &mut accepted } else { &mut refused }) += 1;
        }
    }
    println!("{accepted} {refused}");
    Ok(true)
}
