//! Chores that try the lock for longer than a test may take: `cargo xtask lock linearizable | stale | promote |
//! races | run-cut`.
//!
//! ```text
//! linearizable   20 clients, one lock, every trouble that there is; what they saw must be the history of a fenced mutex
//! stale          a holder sleeps three leases long, wakes up and writes: refused, where SET NX PX lets it through
//! promote        the master is killed under its holders, a replica takes its place
//! races          acquire, abort, drop, panic, a hundred thousand times; nothing may stay locked
//! run-cut        the network of `redstart lock run` is cut, its processes are killed: its command never outlives the lock
//! ```

mod history;
mod linearizable;
mod promote;
mod races;
mod run_cut;
mod stale;

use std::net::SocketAddr;
use std::time::Duration;

use testkit::Reply;

use crate::durability::clients::Connection;
use crate::durability::{build, now_ns, number};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the chores are told.
#[derive(Clone, Debug)]
struct Options {
    rounds: u64,
    minutes: f64,
    /// Words that select what is played.
    only: Vec<String>,
    seed: u64,
    /// The server's program and leading arguments.
    ours: Vec<String>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>, rounds: u64) -> Result<Options, String> {
        let mut options =
            Options { rounds, minutes: 10.0, only: Vec::new(), seed: now_ns() % 1_000_000, ours: Vec::new() };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
            match word.as_str() {
                "--rounds" => options.rounds = number(&value()?)?,
                "--minutes" => {
                    options.minutes = value()?.parse().map_err(|_| "--minutes takes a number".to_string())?
                }
                "--only" => options.only = value()?.split_whitespace().map(str::to_string).collect(),
                "--seed" => options.seed = number(&value()?)?,
                "--ours" => options.ours = value()?.split_whitespace().map(str::to_string).collect(),
                _ => return Err(format!("unknown option {word}")),
            }
        }
        if options.ours.is_empty() {
            options.ours = build()?;
        }
        Ok(options)
    }
}

/// Runs one of the chores; true when every promise was kept.
pub(crate) fn run(mut words: impl Iterator<Item = String>) -> Result<bool, String> {
    match words.next().unwrap_or_default().as_str() {
        "linearizable" => linearizable::run(words),
        "stale" => stale::run(words),
        "promote" => promote::run(words),
        "races" => races::run(words),
        "run-cut" => run_cut::run(words),
        // What `stale` starts, stops and wakes up.
        "holder" => stale::hold(words),
        other => Err(format!("cargo xtask lock {other}: linearizable, stale, promote, races or run-cut")),
    }
}

/// What a server says of an attempt to take a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Granted {
        token: u64,
        waited: Duration,
    },
    Busy,
    /// An error was answered.
    Refused,
}

/// Asks for a lock on a connection.
fn acquire(
    connection: &mut Connection,
    key: &str,
    owner: &str,
    lease: Duration,
    wait: Duration,
    replicas: u64,
) -> Result<Answer, String> {
    let (lease, wait) = (lease.as_millis().to_string(), wait.as_millis().to_string());
    let replicas = replicas.to_string();
    let mut request = vec!["LOCK.ACQUIRE", key, owner, "LEASE", &lease, "WAIT", &wait];
    if replicas != "0" {
        request.extend(["REPLICAS", &replicas]);
    }
    let reply = connection.reply(&request)?;
    if reply.is_error() {
        return Ok(Answer::Refused);
    }
    match reply.field("status").and_then(Reply::text) {
        Some(b"granted") => {
            let number = |name: &str| reply.field(name)?.number();
            match (number("token"), number("waited")) {
                (Some(token), Some(waited)) => {
                    Ok(Answer::Granted { token, waited: Duration::from_millis(waited) })
                }
                _ => Err(format!("a grant says {}", reply.lines().join(" "))),
            }
        }
        _ => Ok(Answer::Busy),
    }
}

fn open(address: SocketAddr) -> Result<Connection, String> {
    Connection::open(address, PATIENCE)
}
