//! Those who take locks, who hold them too long or while they sleep, and what must be true of locks.
//!
//! ```text
//! idle ─► asked ─► holding ─► idle            a locker believes that it holds a lock until `until`, by its own clock:
//!   ▲       │         │                       the moment before it asked, the time that it waited, and the lease
//!   │       ▼         ▼
//!   └── no answer   too late ─► writes with the token that it had
//! ```
//!
//! Always: a token that is granted is younger than all that were granted before it was asked for, by the master in office; a
//! guarded write or a fence with an older token than one that was accepted is refused. Where the grants wait for
//! replicas, clocks jump as well, and besides: nobody is granted a lock that another one believes to hold, and nobody loses
//! one before its time.

use std::time::Duration;

use base::time::Instant;
use testkit::{Reply, words};

use super::clients::{Expected, Kind};
use super::{Mutant, World};

/// How many locks there are, and how many who want them.
const LOCKS: usize = 2;
pub(super) const LOCKERS: usize = 6;

/// An answer that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(8);

/// The longest lease of a seed.
pub(super) const LEASE_MAX: Duration = Duration::from_millis(4_000);

/// Virtual clocks begin with the year from which tokens count: so much later nothing is special, in microseconds.
pub(super) const LATER: i64 = 500 * 86_400_000_000;

/// Somebody who wants a lock, has one or had one.
#[derive(Debug)]
pub(super) struct Locker {
    /// Its connection.
    client: usize,
    lock: usize,
    state: State,
    /// The last token that it was granted.
    token: u64,
    /// When it does something next.
    pub(super) due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Asked { at: Instant },
    Holding { until: Instant, release_at: Instant },
    Late { tries: u32 },
}

/// What a locker has asked, and what was known then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    what: What,
    at: Instant,
    token: u64,
    /// The newest token that had been granted or accepted.
    newest: u64,
    /// Until when it relied on the lock.
    until: Option<Instant>,
    /// Of the master in office, and how many had been so before.
    office: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Acquire,
    Renew,
    Release,
    Guard,
    Fence,
}

/// What was granted and accepted of a lock so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Newest {
    granted: u64,
    guarded: u64,
    fenced: u64,
}

/// What lockers came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockTally {
    pub grants: u64,
    pub busy: u64,
    pub renewed: u64,
    pub released: u64,
    /// Guarded writes and fences that were accepted, and those that were refused.
    pub accepted: u64,
    pub fenced: u64,
    /// How often somebody slept longer than its lease.
    pub late: u64,
    /// How often a wall clock jumped.
    pub jumps: u64,
}

impl LockTally {
    /// Adds another seed's figures.
    pub fn add(&mut self, other: &LockTally) {
        self.grants += other.grants;
        self.busy += other.busy;
        self.renewed += other.renewed;
        self.released += other.released;
        self.accepted += other.accepted;
        self.fenced += other.fenced;
        self.late += other.late;
        self.jumps += other.jumps;
    }
}

/// Returns those who want locks; their connections come after `clients` others.
pub(super) fn lockers(clients: usize) -> Vec<Locker> {
    let locker = |number| Locker {
        client: clients + number,
        lock: number % LOCKS,
        state: State::Idle,
        token: 0,
        due: Instant::ZERO,
    };
    (0..LOCKERS).map(locker).collect()
}

pub(super) fn newest() -> Vec<Newest> {
    vec![Newest::default(); LOCKS]
}

impl World {
    /// Returns when the next locker does something.
    pub(super) fn lockers_due(&self) -> Option<Instant> {
        self.lockers.iter().map(|locker| locker.due).min()
    }

    /// Lets those do something whose time has come.
    pub(super) fn lockers_act(&mut self) -> Result<(), String> {
        for number in 0..self.lockers.len() {
            let now = self.clock.now().instant;
            if self.lockers[number].due <= now {
                // Now and then a process sleeps, and does not know how long.
                let pause = match self.rng.below(30) {
                    0 => self.rng.below(3 * LEASE_MAX.as_micros() as u64),
                    _ => self.rng.below(self.plan.lease.as_micros() as u64 / 6),
                };
                self.lockers[number].due = now + Duration::from_micros(1 + pause);
                self.locker_acts(number)?;
            }
        }
        Ok(())
    }

    fn locker_acts(&mut self, number: usize) -> Result<(), String> {
        let now = self.clock.now().instant;
        let index = self.lockers[number].client;
        let moves = self.clients[index].member != self.root && self.rng.below(3) == 0;
        if moves || self.rng.below(40) == 0 {
            self.hang_up(index)?;
        }
        if self.clients[index].id.is_none() {
            if let State::Asked { .. } = self.lockers[number].state {
                // Nobody knows what became of that: it is asked for again, under the same name.
                self.lockers[number].state = State::Idle;
            }
            if !self.call(index, Kind::Locker(number))? {
                return Ok(());
            }
        }
        match self.lockers[number].state {
            State::Idle => self.acquire(number),
            State::Asked { at } if now.saturating_since(at) > PATIENCE => self.hang_up(index),
            State::Asked { .. } => Ok(()),
            State::Holding { until, .. } if until <= now => {
                self.tally.locks.late += 1;
                self.lockers[number].state = State::Late { tries: 1 + self.rng.below(3) as u32 };
                self.write_late(number)
            }
            State::Holding { release_at, .. } if release_at <= now => {
                self.lock_ask(number, What::Release)?;
                self.lockers[number].state = State::Idle;
                Ok(())
            }
            State::Holding { .. } => {
                let what = [What::Renew, What::Renew, What::Guard, What::Fence][self.rng.below(4) as usize];
                self.lock_ask(number, what)
            }
            State::Late { .. } => self.write_late(number),
        }
    }

    fn acquire(&mut self, number: usize) -> Result<(), String> {
        self.lockers[number].state = State::Asked { at: self.clock.now().instant };
        self.lock_ask(number, What::Acquire)
    }

    /// Writes with a token whose time is over, as one that does not look at its clock.
    fn write_late(&mut self, number: usize) -> Result<(), String> {
        let State::Late { tries } = self.lockers[number].state else { return Ok(()) };
        self.lockers[number].state = match tries {
            0 => return self.acquire(number),
            _ => State::Late { tries: tries - 1 },
        };
        let what = [What::Guard, What::Guard, What::Fence, What::Renew, What::Release];
        let what = what[self.rng.below(5) as usize];
        self.lock_ask(number, what)
    }

    fn lock_ask(&mut self, number: usize, what: What) -> Result<(), String> {
        let now = self.clock.now().instant;
        let Locker { client, lock, token, state, .. } = self.lockers[number];
        let newest = self.newest[lock];
        let newest = match what {
            What::Guard => newest.guarded,
            What::Fence => newest.fenced,
            _ => newest.granted,
        };
        let until = match state {
            State::Holding { until, .. } => Some(until),
            _ => None,
        };
        let office = (self.clients[client].member == self.root).then_some(self.offices);
        self.clients[client]
            .expect(Expected::Lock(number, Asked { what, at: now, token, newest, until, office }));
        let (key, owner) = (format!("lock{lock}"), format!("locker{number}"));
        let (token, lease) = (token.to_string(), self.plan.lease.as_millis().to_string());
        let (register, fence) = (format!("register{lock}"), format!("fence{lock}"));
        let (wait, replicas) = (self.rng.below(6_000).to_string(), self.plan.synchronous.to_string());
        let mut words = match what {
            What::Acquire => vec!["LOCK.ACQUIRE", &key, &owner, "LEASE", &lease],
            What::Renew => vec!["LOCK.RENEW", &key, &owner, &token],
            What::Release => vec!["LOCK.RELEASE", &key, &owner, &token],
            What::Guard => vec!["LOCK.GUARD", &key, &token, "SET", &register, &token],
            What::Fence => vec!["LOCK.FENCE", &fence, &token],
        };
        if what == What::Acquire {
            if self.rng.below(3) > 0 {
                words.extend(["WAIT", &wait]);
            }
            if self.plan.synchronous > 0 {
                words.extend(["REPLICAS", &replicas]);
            }
        }
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        self.note(|| format!("locker {number}: {}", words::quote(&words.join(&b' '))));
        self.ask(client, &words::encode(&words))
    }

    /// Judges an answer.
    pub(super) fn lock_told(&mut self, number: usize, asked: Asked, reply: &Reply) -> Result<(), String> {
        let now = self.clock.now().instant;
        self.note(|| format!("locker {number} is told {}", reply.lines().join(" ")));
        let problem = |what: String| Err(format!("locker {number}, lock {}: {what}", number % LOCKS));
        if reply.is_error() {
            let refused = ["-FENCED", "-NOTHELD"].iter().any(|word| reply.head().starts_with(word));
            if let Reply::Leaf(..) = reply
                && let State::Asked { .. } = self.lockers[number].state
                && asked.what == What::Acquire
            {
                self.lockers[number].state = State::Idle;
            }
            if refused {
                self.tally.locks.fenced += u64::from(matches!(asked.what, What::Guard | What::Fence));
                // An answer may be late as well: it was true when it was given, at the latest when the lease had ended.
                let still = matches!(self.lockers[number].state, State::Holding { until, .. } if now < until);
                let same = self.lockers[number].token == asked.token;
                if self.judges_holds() && asked.until.is_some() && still && same && asked.what != What::Fence
                {
                    return problem(format!("{:?} is refused to its holder", asked.what));
                }
                if still && same && asked.what != What::Fence {
                    self.lockers[number].state = State::Idle;
                }
            }
            return Ok(());
        }
        let number_in = |name: &str| reply.field(name).and_then(Reply::number);
        match asked.what {
            What::Acquire => {
                if reply.field("status").and_then(Reply::text) != Some(b"granted") {
                    self.tally.locks.busy += 1;
                    self.lockers[number].state = State::Idle;
                    return Ok(());
                }
                let (Some(token), Some(waited), Some(lease)) =
                    (number_in("token"), number_in("waited"), number_in("lease"))
                else {
                    return problem(format!("a grant says {}", reply.head()));
                };
                self.tally.locks.grants += 1;
                let own = token == asked.newest && token == self.lockers[number].token;
                let counts = self.judges_holds() || asked.office.is_some();
                if counts && token <= asked.newest && !own {
                    return problem(format!("token {token} is granted after {}", asked.newest));
                }
                let mut until = asked.at + Duration::from_millis(waited + lease);
                if self.mutant == Mutant::HoldsTooLong {
                    until = until + self.plan.lease;
                }
                if self.judges_holds()
                    && now < until
                    && let Some(other) = self.lockers.iter().position(|other| {
                        other.lock == number % LOCKS
                            && other.client != self.lockers[number].client
                            && matches!(other.state, State::Holding { until, .. } if now < until)
                    })
                {
                    return problem(format!("it is granted the lock that locker {other} holds"));
                }
                if self.judges_holds() || asked.office == Some(self.offices) {
                    let granted = &mut self.newest[number % LOCKS].granted;
                    *granted = token.max(*granted);
                }
                let release_at =
                    now + Duration::from_micros(self.rng.below(3 * LEASE_MAX.as_micros() as u64 / 2));
                let locker = &mut self.lockers[number];
                locker.token = token;
                locker.state = State::Holding { until, release_at };
            }
            What::Renew => {
                self.tally.locks.renewed += 1;
                let lease = reply.number().unwrap_or(0);
                let locker = &mut self.lockers[number];
                if let State::Holding { until, .. } = &mut locker.state
                    && asked.token == locker.token
                {
                    *until = (*until).max(asked.at + Duration::from_millis(lease));
                }
            }
            What::Release => {
                let released = reply.text() == Some(b"1");
                self.tally.locks.released += u64::from(released);
                if self.judges_holds() && asked.until.is_some_and(|until| now < until) && !released {
                    return problem(format!("token {} is not there to be released", asked.token));
                }
            }
            What::Guard | What::Fence => {
                self.tally.locks.accepted += 1;
                if !self.judges_holds() && asked.office != Some(self.offices) {
                    return Ok(());
                }
                if asked.token < asked.newest {
                    return problem(format!(
                        "{:?} of {} is accepted after {}",
                        asked.what, asked.token, asked.newest
                    ));
                }
                let newest = &mut self.newest[number % LOCKS];
                let newest = if asked.what == What::Guard { &mut newest.guarded } else { &mut newest.fenced };
                *newest = asked.token.max(*newest);
            }
        }
        Ok(())
    }

    /// Returns whether a lock is not granted twice, whatever happens.
    fn judges_holds(&self) -> bool {
        self.plan.synchronous > 0 || self.mutant == Mutant::DoesNotWait
    }

    /// Another server is the master now: what the last one had said alone is lost, unless it waited for replicas.
    pub(super) fn change_office(&mut self) {
        self.offices += 1;
        if !self.judges_holds() {
            for newest in &mut self.newest {
                (newest.guarded, newest.fenced) = (0, 0);
            }
        }
    }

    /// Lets a server's wall clock jump.
    pub(super) fn jump_clock(&mut self, member: usize) {
        let far = [1_000, 1_000_000, 3_600_000_000, 400 * 86_400_000_000][self.rng.below(4) as usize];
        let by = self.rng.below(2 * far) as i64 - far as i64;
        self.members[member].skew += by;
        self.tally.locks.jumps += 1;
        self.note(|| format!("the clock of server {member} jumps by {by} us"));
    }

    /// Checks, when nobody has renewed anything for long, that every lock can be had.
    pub(super) fn locks_are_free(&mut self) -> Result<(), String> {
        // A grant that waits for replicas and their disks may be told later than a short lease ends.
        self.plan.lease = LEASE_MAX;
        for number in 0..self.lockers.len().min(LOCKS) {
            let index = self.lockers[number].client;
            self.hang_up(index)?;
            if !self.call(index, Kind::Locker(number))? {
                return Err("nobody is there when all is quiet".into());
            }
            self.acquire(number)?;
        }
        self.pass(Duration::from_secs(4))?;
        for locker in self.lockers.iter().take(LOCKS) {
            if !matches!(locker.state, State::Holding { .. }) {
                return Err(format!(
                    "all is quiet, and lock {} cannot be had: {:?}",
                    locker.lock, locker.state
                ));
            }
        }
        Ok(())
    }
}
