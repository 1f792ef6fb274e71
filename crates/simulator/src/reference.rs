//! Random requests given to a node and to a reference server: their replies must be the same.
//!
//! One client sends one request after the other, so that nothing depends on timing. What either server may choose, what
//! tells of the server itself, and what passes with time is left out; so are the few places where the reference's
//! version replies otherwise than the one that is followed.

use std::io;
use std::time::Duration;

use base::rng::Rng;
use engine::table::Table;
use testkit::{Arrival, Link, Reply, Target, words};

use crate::InProcess;
use crate::chaos::Chaos;
use crate::checkers::model::{Words, show};

/// How many batches of requests a seed sends.
const BATCHES: usize = 400;

/// How long a reply may take.
const WAIT: Duration = Duration::from_secs(5);

/// Families whose replies tell of the server, its clients or its subscriptions.
const GROUPS: [&str; 3] = ["server", "connection", "pubsub"];

/// Commands whose replies are drawn by chance or depend on time, or that wait.
const COMMANDS: [&str; 24] = [
    "object",
    "spop",
    "srandmember",
    "hrandfield",
    "zrandmember",
    "randomkey",
    "scan",
    "sscan",
    "hscan",
    "zscan",
    "keys",
    "pfdebug",
    "wait",
    "waitaof",
    "setex",
    "psetex",
    "getex",
    "multi",
    "exec",
    "migrate",
    "swapdb",
    "select",
    "save",
    "sort_ro",
];

/// Commands that list members in an order of the server's own.
const UNORDERED: [&str; 8] = ["smembers", "sinter", "sunion", "sdiff", "hgetall", "hkeys", "hvals", "sort"];

/// Sends a seed's requests to both; returns how many they were, or the first difference.
pub fn compare(seed: u64, reference: &mut dyn Target) -> io::Result<Result<u64, String>> {
    let mut rng = Rng::seeded(seed);
    let table = Table::standard();
    let chaos = Chaos::new(table, &mut rng);
    let mut ours = InProcess::new(seed);
    let (here, there) = (ours.connect()?, reference.connect()?);
    // Every other seed has collections outgrow their small encodings at once.
    let entries = if seed.is_multiple_of(2) { "2" } else { "128" };
    let mut prelude = vec![vec!["FLUSHALL"]];
    for name in ["hash-max-listpack-entries", "set-max-intset-entries", "zset-max-listpack-entries"] {
        prelude.push(vec!["CONFIG", "SET", name, entries]);
    }
    for request in prelude {
        let request: Words = request.iter().map(|word| word.as_bytes().to_vec()).collect();
        ask(&mut ours, here, &request)?;
        ask(reference, there, &request)?;
    }
    let mut count = 0;
    for _ in 0..BATCHES {
        for request in chaos.batch(&mut rng) {
            if !is_comparable(table, &request) {
                continue;
            }
            count += 1;
            let (mine, other) = (ask(&mut ours, here, &request)?, ask(reference, there, &request)?);
            let name = String::from_utf8_lossy(&request[0]).to_ascii_lowercase();
            if !is_same(&show(&mine), &show(&other), UNORDERED.contains(&name.as_str())) {
                let request: Vec<String> = request.iter().map(|word| words::quote(word)).collect();
                return Ok(Err(format!(
                    "seed {seed}: {}\n  ours:      {}\n  reference: {}",
                    request.join(" "),
                    show(&mine),
                    show(&other)
                )));
            }
        }
    }
    reference.disconnect(there);
    Ok(Ok(count))
}

fn ask(target: &mut dyn Target, link: Link, request: &[Vec<u8>]) -> io::Result<Reply> {
    target.send(link, &words::encode(request))?;
    let mut bytes = Vec::new();
    loop {
        if let Some((reply, _)) = Reply::parse(&bytes).map_err(io::Error::other)? {
            return Ok(reply);
        }
        match target.receive(link, &mut bytes, WAIT)? {
            Arrival::Bytes => {}
            Arrival::Nothing | Arrival::Closed => {
                let request = words::quote(&request.join(&b' '));
                return Err(io::Error::other(format!("{request} is not answered")));
            }
        }
    }
}

/// Returns whether both servers must answer a request alike.
fn is_comparable(table: &Table, request: &[Vec<u8>]) -> bool {
    let Some(row) = table.find(&request[0]) else { return false };
    let name = row.name.as_str();
    let has = |word: &str| request.iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let timed =
        name.contains("expire") || name.ends_with("ttl") || ["EX", "PX", "EXAT", "PXAT"].into_iter().any(has);
    let waits = row.flags.has(engine::table::BLOCKING);
    // Ranges by bytes mean nothing where members have different scores.
    let lexical = name.contains("lex") || has("BYLEX");
    // WITHSCORE came with 7.2, as did a range check of LREM's count; ZINCRBY takes its increment for an option of ZADD.
    let newer = matches!(name, "zrank" | "zrevrank") && request.len() != 3
        || matches!(name, "lrem" | "lpos") && has("-9223372036854775808")
        || name == "zincrby" && has("NX");
    !(GROUPS.contains(&row.group) || COMMANDS.contains(&name) || timed || waits || lexical || newer)
}

/// Compares replies as text; doubles may be written differently if they are the same number.
fn is_same(mine: &str, other: &str, unordered: bool) -> bool {
    let words = |text: &str| -> Vec<String> {
        let mut words: Vec<String> = text.split(' ').map(str::to_string).collect();
        if unordered {
            words.sort();
        }
        words
    };
    let number = |word: &str| word.trim_matches('"').parse::<f64>().ok();
    let (mine, other) = (words(mine), words(other));
    mine.len() == other.len()
        && mine.iter().zip(&other).all(|(a, b)| a == b || number(a).is_some_and(|n| number(b) == Some(n)))
}
