//! `cargo xtask promote`: the master is gone, its most advanced replica takes its place; what had been acknowledged is there.
//!
//! ```text
//! clients ──SET, one key each──► master ──links──► two replicas, whichever has the higher offset is promoted
//!    what was answered with OK      kill -9 or SIGSTOP; before it the links may have stood still
//! ```
//!
//! A master that was stopped goes on later, finds its links gone, and still has clients: what it acknowledges then counts,
//! too. With synchronous replication nothing acknowledged may be missing; without, the count shows what the links had.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use testkit::{Proxy, Random, Reply};

use super::station::Station;
use super::{Options, wait_for};
use crate::durability::Scratch;
use crate::durability::clients::Connection;

const CLIENTS: u64 = 48;
const SERVERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// A reply waits for one replica (`synchronous-replicas 1`).
    Synchronous,
    /// A write counts as acknowledged when WAIT says so, which redis-server has as well.
    Wait,
    /// A reply waits for nobody.
    None,
}

impl Promise {
    pub(super) fn parse(text: &str) -> Result<Promise, String> {
        match text {
            "yes" => Ok(Promise::Synchronous),
            "wait" => Ok(Promise::Wait),
            "no" => Ok(Promise::None),
            _ => Err(format!("--synchronous {text}: yes, no or wait")),
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Promise::Synchronous => "synchronous",
            Promise::Wait => "WAIT 1",
            Promise::None => "asynchronous",
        })
    }
}

/// What came of the rounds.
#[derive(Clone, Debug, Default)]
struct Tally {
    rounds: u64,
    kills: u64,
    stops: u64,
    acknowledged: u64,
    /// Answered that the outcome is not known, or not answered.
    unknown: u64,
    lost: u64,
    /// Rounds in which something was lost.
    losing: u64,
    partial: u64,
    full: u64,
    /// From the fault to the promotion, in milliseconds.
    promoted_ms: Vec<f64>,
    broken: Option<String>,
}

/// Promotes as often as asked; true when nothing was lost that was promised.
pub(crate) fn run(words: impl Iterator<Item = String>) -> Result<bool, String> {
    let options = Options::parse(words, 200)?;
    println!("promote --seed {} --rounds {}", options.seed, options.rounds);
    let mut kept = true;
    for &promise in &options.promises {
        let start = Instant::now();
        let mut tally = Tally::default();
        let scratch = Scratch::new("promote")?;
        let mut play = Play::start(&options, promise, &scratch)?;
        while tally.rounds < options.rounds {
            if let Err(error) = play.round(&mut tally) {
                let words: Vec<String> = play.servers.iter().map(Station::last_words).collect();
                tally.broken = Some(format!("round {}: {error}\n{}", tally.rounds, words.join("\n")));
                break;
            }
            if tally.rounds % 20 == 0 {
                eprintln!("… {promise}: {} rounds, {} lost", tally.rounds, tally.lost);
            }
        }
        let Tally { rounds, kills, stops, acknowledged, unknown, lost, losing, partial, full, .. } = tally;
        tally.promoted_ms.sort_by(f64::total_cmp);
        let at = |share: f64| {
            tally.promoted_ms.get(((rounds as f64) * share) as usize).copied().unwrap_or_default()
        };
        println!(
            "{promise}: {rounds} rounds ({kills} kill -9, {stops} SIGSTOP) in {:.0} s, {acknowledged} writes \
             acknowledged, {lost} of them lost (in {losing} rounds), {unknown} with unknown outcome; promoted after \
             {:.0} ms (99%: {:.0} ms); {partial} partial and {full} full resyncs",
            start.elapsed().as_secs_f64(),
            at(0.5),
            at(0.99)
        );
        if let Some(what) = &tally.broken {
            println!("BROKEN: {what}");
        }
        kept &= tally.broken.is_none() && (promise == Promise::None || lost == 0);
    }
    println!("{}", if kept { "every promise was kept" } else { "PROMISES WERE BROKEN" });
    Ok(kept)
}

struct Play {
    servers: Vec<Station>,
    /// `links[a][b]` leads from server a to server b.
    links: Vec<Vec<Proxy>>,
    master: usize,
    promise: Promise,
    random: Random,
}

impl Play {
    fn start(options: &Options, promise: Promise, scratch: &Scratch) -> Result<Play, String> {
        let mut servers = Vec::new();
        for number in 0..SERVERS {
            let mut station = Station::new(&format!("server{number}"), &options.ours, &scratch.0)?;
            station.start(settings(promise))?;
            servers.push(station);
        }
        let mut links = Vec::new();
        for _ in 0..SERVERS {
            let row: Result<Vec<Proxy>, _> =
                servers.iter().map(|server| Proxy::start(server.address())).collect();
            links.push(row.map_err(|error| error.to_string())?);
        }
        let play = Play { servers, links, master: 0, promise, random: Random(options.seed) };
        for replica in 1..SERVERS {
            play.follow(replica)?;
        }
        Ok(play)
    }

    fn follow(&self, replica: usize) -> Result<(), String> {
        self.servers[replica].follow(self.links[replica][self.master].address())
    }

    fn replicas(&self) -> Vec<usize> {
        (0..SERVERS).filter(|at| *at != self.master).collect()
    }

    fn round(&mut self, tally: &mut Tally) -> Result<(), String> {
        tally.rounds += 1;
        let old = self.master;
        let replicas = self.replicas();
        for &replica in &replicas {
            self.servers[replica].wait_for_link()?;
        }
        let mut connection = Connection::open(self.servers[old].address(), PATIENCE)?;
        wait_for("the master takes writes", PATIENCE, || {
            let reply = connection.reply(&["FLUSHALL"])?;
            if reply.is_error() { Err(reply.head()) } else { Ok(()) }
        })?;
        wait_for("both replicas have nothing", PATIENCE, || {
            for &replica in &replicas {
                let size = self.servers[replica].ask(&["DBSIZE"])?.head();
                if size != ":0" {
                    return Err(format!("{} has {size}", self.servers[replica].name));
                }
            }
            Ok(())
        })?;

        let clients = Clients::start(self.servers[old].address(), tally.rounds, self.promise);
        std::thread::sleep(Duration::from_millis(self.random.of(60..250)));
        // One of the links may fail first, then the other.
        let lagging = self.random.pick(&replicas);
        let trouble = self.random.of(0..4);
        if trouble > 0 {
            self.links[lagging][old].hold(true);
            std::thread::sleep(Duration::from_millis(self.random.of(0..30)));
        }
        if trouble > 1 {
            for &replica in &replicas {
                self.links[replica][old].hold(true);
            }
            std::thread::sleep(Duration::from_millis(self.random.of(0..20)));
        }
        let kills = self.random.of(0..2) == 0;
        let fault = Instant::now();
        if kills {
            self.servers[old].kill();
            tally.kills += 1;
        } else {
            self.servers[old].stop(true)?;
            tally.stops += 1;
        }
        // What a link has not delivered by now is lost with the machine.
        for &replica in &replicas {
            self.links[replica][old].cut();
        }

        let mut offsets = Vec::new();
        for &replica in &replicas {
            offsets.push((self.servers[replica].count("slave_repl_offset")?, replica));
        }
        let (_, best) = *offsets.iter().max().expect("there are replicas");
        self.servers[best].order(&["REPLICAOF", "NO", "ONE"])?;
        tally.promoted_ms.push(fault.elapsed().as_secs_f64() * 1000.0);
        self.master = best;
        let before = (self.servers[best].count("sync_partial_ok")?, self.servers[best].count("sync_full")?);
        for &replica in replicas.iter().filter(|replica| **replica != best) {
            self.follow(replica)?;
        }
        if !kills {
            // It wakes up as a master that knows nothing of all this.
            self.servers[old].stop(false)?;
            std::thread::sleep(Duration::from_millis(self.random.of(0..60)));
        }
        for &replica in &replicas {
            self.links[replica][old].hold(false);
        }
        if kills {
            self.servers[old].start(settings(self.promise))?;
        }
        self.follow(old)?;
        let (acknowledged, unknown) = clients.finish();
        tally.unknown += unknown;
        tally.acknowledged += acknowledged.len() as u64;
        let lost = missing(self.servers[best].address(), &acknowledged)?;
        tally.lost += lost;
        tally.losing += u64::from(lost > 0);
        for &replica in &self.replicas() {
            self.servers[replica].wait_for_link()?;
        }
        tally.partial += self.servers[best].count("sync_partial_ok")? - before.0;
        tally.full += self.servers[best].count("sync_full")? - before.1;
        Ok(())
    }
}

/// Returns the options that keep a promise.
fn settings(promise: Promise) -> &'static [&'static str] {
    match promise {
        Promise::Synchronous => &[
            "--repl-diskless-sync-delay",
            "0",
            "--synchronous-replicas",
            "1",
            "--synchronous-timeout",
            "1000",
        ],
        _ => &["--repl-diskless-sync-delay", "0"],
    }
}

/// Returns how many of the keys a server does not have.
fn missing(server: SocketAddr, keys: &[String]) -> Result<u64, String> {
    let mut connection = Connection::open(server, PATIENCE)?;
    let mut missing = 0;
    for part in keys.chunks(500) {
        let request: Vec<&str> = ["EXISTS"].into_iter().chain(part.iter().map(String::as_str)).collect();
        let found = connection.reply(&request)?;
        let count = found.text().and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
        missing += part.len() as u64 - count.ok_or_else(|| format!("EXISTS: {}", found.head()))?;
    }
    Ok(missing)
}

/// Clients that write keys nobody else does.
struct Clients {
    threads: Vec<JoinHandle<(Vec<String>, u64)>>,
    stop: Arc<AtomicBool>,
}

impl Clients {
    fn start(address: SocketAddr, round: u64, promise: Promise) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let ready = Arc::new(AtomicU64::new(0));
        let threads = (0..CLIENTS).map(|client| {
            let (stop, ready) = (Arc::clone(&stop), Arc::clone(&ready));
            std::thread::spawn(move || {
                let (mut acknowledged, mut unknown) = (Vec::new(), 0);
                let opened = Connection::open(address, Duration::from_secs(3));
                ready.fetch_add(1, Ordering::Relaxed);
                let Ok(mut connection) = opened else { return (acknowledged, unknown) };
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("{round}:{client}:{number}");
                    match write(&mut connection, &key, promise) {
                        Some(true) => acknowledged.push(key),
                        Some(false) => {
                            unknown += 1;
                            std::thread::sleep(Duration::from_millis(2));
                        }
                        None => {
                            unknown += 1;
                            break;
                        }
                    }
                }
                (acknowledged, unknown)
            })
        });
        let threads: Vec<_> = threads.collect();
        while ready.load(Ordering::Relaxed) < CLIENTS {
            std::thread::sleep(Duration::from_millis(1));
        }
        Clients { threads, stop }
    }

    /// Returns the keys whose writes were acknowledged, and the number of those with no or another answer.
    fn finish(self) -> (Vec<String>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut acknowledged, mut unknown) = (Vec::new(), 0);
        for thread in self.threads {
            let (keys, others) = thread.join().expect("a client does not panic");
            acknowledged.extend(keys);
            unknown += others;
        }
        (acknowledged, unknown)
    }
}

/// Writes a key: whether it was acknowledged, and nothing when the link ended.
fn write(connection: &mut Connection, key: &str, promise: Promise) -> Option<bool> {
    let ok = |reply: &Reply| reply.text() == Some(b"OK");
    let written = connection.reply(&["SET", key, "x"]).ok()?;
    if promise != Promise::Wait || !ok(&written) {
        return Some(ok(&written));
    }
    let reached = connection.reply(&["WAIT", "1", "100"]).ok()?;
    Some(matches!(reached.text(), Some(b"1" | b"2")))
}
