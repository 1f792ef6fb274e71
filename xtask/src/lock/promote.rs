//! `cargo xtask lock promote`: the master is killed under those who hold locks on it, and a replica takes its place.
//!
//! ```text
//! clients ──LOCK.ACQUIRE, GUARD, FENCE, RENEW, RELEASE──► master ──► two replicas, the one with more is promoted
//!    │                                                      kill -9
//!    └── go to the new master, with the tokens that they have; some have slept longer than their lease
//! ```
//!
//! Tokens must not go back, and no guarded write may be accepted with an older token than one granted before it was asked. With
//! `REPLICAS 1` the history must be that of a mutex, through the promotion; without, the last grants may be lost with
//! the master, and are then granted again under newer tokens: how often is counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use testkit::{Random, Reply};

use super::history::{self, Hold, Moment, Write};
use super::{Answer, Options, acquire, open};
use crate::durability::Scratch;
use crate::durability::clients::Connection;
use crate::replication::station::Station;
use crate::replication::wait_for;

const CLIENTS: u64 = 16;
const LOCKS: u64 = 4;
const LEASE: Duration = Duration::from_millis(500);
const SERVERS: usize = 3;
const SETTINGS: &[&str] = &["--repl-diskless-sync-delay", "0"];

/// What came of the rounds with one kind of grant.
#[derive(Clone, Debug, Default)]
struct Tally {
    rounds: u64,
    grants: u64,
    /// Locks that were held over a promotion, and could be written under behind it.
    carried: u64,
    writes: u64,
    refused: u64,
    regressions: u64,
    stale: u64,
    double: u64,
    problems: Vec<String>,
}

/// Plays rounds with both kinds of grants; true when nothing was broken that is promised.
pub(super) fn run(words: impl Iterator<Item = String>) -> Result<bool, String> {
    let options = Options::parse(words, 100)?;
    println!("lock promote --seed {} --rounds {}", options.seed, options.rounds);
    let mut kept = true;
    for replicas in [1, 0] {
        let started = Instant::now();
        let tally = play(&options, replicas)?;
        let Tally { rounds, grants, carried, writes, refused, regressions, stale, double, problems } = tally;
        println!(
            "REPLICAS {replicas}: {rounds} rounds in {:.0} s, {grants} grants ({carried} carried over a promotion), \
             {writes} guarded writes and fences accepted, {refused} refused; {regressions} token regressions, \
             {stale} stale writes accepted, {double} double grants",
            started.elapsed().as_secs_f64()
        );
        problems.iter().take(5).for_each(|problem| println!("  {problem}"));
        kept &=
            regressions == 0 && stale == 0 && (replicas == 0 || double == 0) && carried > 0 && refused > 0;
    }
    println!("{}", if kept { "every promise was kept" } else { "PROMISES WERE BROKEN" });
    Ok(kept)
}

fn play(options: &Options, replicas: u64) -> Result<Tally, String> {
    let scratch = Scratch::new("lock-promote")?;
    let mut random = Random(options.seed);
    let mut servers = Vec::new();
    for number in 0..SERVERS {
        let mut station = Station::new(&format!("server{number}"), &options.ours, &scratch.0)?;
        station.start(SETTINGS)?;
        servers.push(station);
    }
    let mut master = 0;
    for replica in 1..SERVERS {
        servers[replica].follow(servers[master].address())?;
    }
    let mut tally = Tally::default();
    while tally.rounds < options.rounds {
        for replica in (0..SERVERS).filter(|at| *at != master) {
            servers[replica].wait_for_link()?;
        }
        tally.rounds += 1;
        let office = Arc::new(Office::new(servers[master].address()));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let office = Arc::clone(&office);
                let mut random = Random(random.number() | 1);
                let round = tally.rounds;
                std::thread::spawn(move || Client::new(client, round, replicas).run(&office, &mut random))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(random.of(300..900)));
        let old = master;
        servers[old].kill();
        let mut offsets = Vec::new();
        for replica in (0..SERVERS).filter(|at| *at != old) {
            offsets.push((servers[replica].count("slave_repl_offset")?, replica));
        }
        let (_, best) = *offsets.iter().max().expect("there are replicas");
        servers[best].order(&["REPLICAOF", "NO", "ONE"])?;
        master = best;
        for replica in (0..SERVERS).filter(|at| *at != old && *at != best) {
            servers[replica].follow(servers[best].address())?;
        }
        wait_for("a replica follows the new master", Duration::from_secs(20), || {
            match servers[best].count("connected_slaves")? {
                0 => Err("nobody".into()),
                _ => Ok(()),
            }
        })?;
        office.change(servers[best].address());
        std::thread::sleep(Duration::from_millis(random.of(600..1_000)));
        office.closed.store(true, Ordering::SeqCst);
        let mut seen = Seen::default();
        for client in clients {
            seen.add(client.join().expect("a client does not panic")?);
        }
        judge(&seen, &mut tally);
        servers[old].start(SETTINGS)?;
        servers[old].follow(servers[best].address())?;
    }
    Ok(tally)
}

/// Adds what was wrong in a round.
fn judge(seen: &Seen, tally: &mut Tally) {
    tally.grants += seen.holds.values().map(|holds| holds.len() as u64).sum::<u64>();
    tally.carried += seen.carried;
    for (lock, holds) in &seen.holds {
        let nothing = Vec::new();
        let writes = seen.writes.get(lock).unwrap_or(&nothing);
        tally.writes += writes.iter().filter(|write| write.accepted).count() as u64;
        tally.refused += writes.iter().filter(|write| !write.accepted).count() as u64;
        let mut by_grant: Vec<&Hold> = holds.iter().collect();
        by_grant.sort_by_key(|hold| hold.granted);
        let mut newest: Vec<(Moment, u64)> = Vec::new();
        for hold in &by_grant {
            let known =
                newest.iter().take_while(|(granted, _)| *granted < hold.asked).map(|(_, token)| *token).max();
            if known.is_some_and(|known| known >= hold.token) {
                tally.regressions += 1;
                tally.problems.push(format!("lock {lock}: token {} after {known:?}", hold.token));
            }
            newest.push((hold.granted, hold.token));
        }
        for write in writes.iter().filter(|write| write.accepted) {
            if newest.iter().any(|(granted, token)| *granted < write.asked && *token > write.token) {
                tally.stale += 1;
                tally
                    .problems
                    .push(format!("lock {lock}: a write with token {} was accepted late", write.token));
            }
        }
        if let Err(problem) = history::check(holds, writes) {
            tally.double += 1;
            tally.problems.push(format!("lock {lock}: {problem}"));
        }
    }
}

/// Who is the master.
struct Office {
    master: Mutex<SocketAddr>,
    /// How often that changed.
    changes: AtomicUsize,
    closed: AtomicBool,
    start: Instant,
}

impl Office {
    fn new(master: SocketAddr) -> Office {
        let (changes, closed) = (AtomicUsize::new(0), AtomicBool::new(false));
        Office { master: Mutex::new(master), changes, closed, start: Instant::now() }
    }

    fn change(&self, master: SocketAddr) {
        *self.master.lock().unwrap_or_else(PoisonError::into_inner) = master;
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn is_open(&self) -> bool {
        !self.closed.load(Ordering::SeqCst)
    }

    fn now(&self) -> Moment {
        self.start.elapsed().as_nanos() as Moment
    }

    fn connect(&self) -> Result<Connection, String> {
        open(*self.master.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What clients saw, by lock.
#[derive(Default)]
struct Seen {
    holds: BTreeMap<u64, Vec<Hold>>,
    writes: BTreeMap<u64, Vec<Write>>,
    carried: u64,
}

impl Seen {
    fn add(&mut self, other: Seen) {
        for (lock, holds) in other.holds {
            self.holds.entry(lock).or_default().extend(holds);
        }
        for (lock, writes) in other.writes {
            self.writes.entry(lock).or_default().extend(writes);
        }
        self.carried += other.carried;
    }
}

/// One who takes locks until the round is over.
struct Client {
    number: u64,
    round: u64,
    replicas: u64,
    seen: Seen,
}

impl Client {
    fn new(number: u64, round: u64, replicas: u64) -> Client {
        Client { number, round, replicas, seen: Seen::default() }
    }

    fn run(mut self, office: &Office, random: &mut Random) -> Result<Seen, String> {
        let mut connection = office.connect().ok();
        while office.is_open() {
            let Some(open) = &mut connection else {
                std::thread::sleep(Duration::from_millis(3));
                connection = office.connect().ok();
                continue;
            };
            let lock = random.of(0..LOCKS);
            // Each attempt has its own name, so that one whose answer was lost is nobody's.
            let owner = format!("{}:{}:{}", self.round, self.number, random.number());
            let (key, wait) = (format!("{}:{lock}", self.round), Duration::from_millis(random.of(0..200)));
            let asked = office.now();
            match acquire(open, &key, &owner, LEASE, wait, self.replicas) {
                Ok(Answer::Granted { token, waited }) => {
                    let lease_end = asked + (waited + LEASE).as_nanos() as Moment;
                    let hold = Hold {
                        client: self.number,
                        token,
                        asked,
                        granted: office.now(),
                        relied_until: office.now(),
                        released: None,
                    };
                    if hold.granted >= lease_end {
                        continue;
                    }
                    self.hold(hold, lease_end, lock, &key, &owner, &mut connection, office, random);
                }
                Ok(Answer::Busy) => {}
                Ok(Answer::Refused) => std::thread::sleep(Duration::from_millis(2)),
                Err(_) => connection = None,
            }
        }
        Ok(self.seen)
    }

    /// Holds a lock for a while, writing under it, perhaps over the change of masters.
    #[allow(clippy::too_many_arguments)]
    fn hold(
        &mut self,
        mut hold: Hold,
        mut lease_end: Moment,
        lock: u64,
        key: &str,
        owner: &str,
        connection: &mut Option<Connection>,
        office: &Office,
        random: &mut Random,
    ) {
        let token = hold.token.to_string();
        let (data, fence) = (format!("data:{key}"), format!("fence:{key}"));
        let changes = office.changes.load(Ordering::SeqCst);
        let mut steps = if random.of(0..8) == 0 { 60 } else { random.of(1..6) };
        let mut carried = false;
        // A process that stands still, and does not know for how long.
        let oversleeps = random.of(0..6) == 0;
        while steps > 0 && office.is_open() {
            steps -= 1;
            std::thread::sleep(Duration::from_millis(random.of(0..12)));
            let asked = office.now();
            if asked >= lease_end {
                break;
            }
            hold.relied_until = asked;
            let Some(open) = connection else {
                *connection = office.connect().ok();
                continue;
            };
            let request = match random.of(0..4) {
                0 => vec!["LOCK.RENEW", key, owner, &token],
                1 => vec!["LOCK.FENCE", &fence, &token],
                _ => vec!["LOCK.GUARD", key, &token, "SET", &data, &token],
            };
            let Ok(reply) = open.reply(&request) else {
                *connection = None;
                continue;
            };
            let refused = ["-FENCED", "-NOTHELD"].iter().any(|word| reply.head().starts_with(word));
            if request[0] == "LOCK.GUARD" && (refused || !reply.is_error()) {
                let write = Write { token: hold.token, asked, answered: office.now(), accepted: !refused };
                self.seen.writes.entry(lock).or_default().push(write);
                carried |= !refused && office.changes.load(Ordering::SeqCst) > changes;
            }
            if refused {
                break;
            }
            if request[0] == "LOCK.RENEW" && !reply.is_error() {
                lease_end = asked + LEASE.as_nanos() as Moment;
            }
        }
        if oversleeps {
            std::thread::sleep(LEASE + LEASE / 2);
            self.write_late(&hold, lock, key, connection, office);
        } else if random.of(0..10) > 0
            && let Some(open) = connection
        {
            let asked = office.now();
            hold.relied_until = hold.relied_until.max(asked.min(lease_end));
            let reply = open.reply(&["LOCK.RELEASE", key, owner, &token]);
            if reply.is_ok_and(|reply: Reply| reply.text() == Some(b"1")) {
                hold.released = Some(office.now());
            }
        }
        self.seen.carried += u64::from(carried);
        self.seen.holds.entry(lock).or_default().push(hold);
    }

    /// Writes under a lock whose lease is over, to whoever is the master by now.
    fn write_late(
        &mut self,
        hold: &Hold,
        lock: u64,
        key: &str,
        connection: &mut Option<Connection>,
        office: &Office,
    ) {
        let token = hold.token.to_string();
        let data = format!("data:{key}");
        for _ in 0..3 {
            let asked = office.now();
            if connection.is_none() {
                *connection = office.connect().ok();
            }
            let Some(open) = connection else { continue };
            let Ok(reply) = open.reply(&["LOCK.GUARD", key, &token, "SET", &data, &token]) else {
                *connection = None;
                continue;
            };
            let refused = reply.head().starts_with("-FENCED");
            if refused || !reply.is_error() {
                let write = Write { token: hold.token, asked, answered: office.now(), accepted: !refused };
                self.seen.writes.entry(lock).or_default().push(write);
            }
        }
    }
}
