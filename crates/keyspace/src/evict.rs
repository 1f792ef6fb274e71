//! Which key goes when memory is short: sampled LRU and LFU, TTL, random.

use base::rng::Rng;

use crate::change::Class;
use crate::db::Aging;
use crate::lock::Guard;
use crate::{Entry, Keyspace};

/// Keys that may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    /// Only keys with an expiry.
    Volatile,
}

/// The order in which keys are evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Lru,
    Lfu,
    Ttl,
    Random,
}

/// The best candidates seen so far, kept between evictions so that sampling few keys approximates the whole.
#[derive(Debug, Default)]
pub struct Evictor {
    /// Sorted by score, the best candidate last.
    pool: Vec<Candidate>,
    next_db: usize,
}

/// What an eviction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    pub db: usize,
    pub key: Box<[u8]>,
    /// Estimate of the bytes that will be free only after the value went elsewhere.
    pub deferred: usize,
}

#[derive(Debug)]
struct Candidate {
    score: u64,
    db: usize,
    key: Box<[u8]>,
}

const POOL: usize = 16;
/// Elements that the size of an evicted collection is estimated from.
const SIZE_SAMPLES: usize = 16;
const AGE_MASK: u32 = 0xff_ffff;
/// Counter that a new key starts with, so that it is not evicted before it could be used again.
const LFU_INIT: u8 = 5;

/// How often another key is drawn where those found are locks, which are never evicted.
const GUARDED_TRIES: usize = 100;
/// How often another sample is taken for the same reason, and by how much each is larger than the one before.
const GUARDED_ROUNDS: usize = 20;
const GUARDED_MORE: usize = 8;

/// Returns whether a key may be evicted: locks and fences may not, whatever the policy.
#[inline]
fn is_evictable(entry: &Entry) -> bool {
    Guard::of(entry).is_none()
}

/// Returns the clock that LRU ages are read from: seconds modulo 2^24.
fn lru_clock(now_ms: i64) -> u32 {
    (now_ms / 1000) as u32 & AGE_MASK
}

fn lfu_minutes(now_ms: i64) -> u32 {
    (now_ms / 60_000) as u32 & 0xffff
}

/// Returns the age of a key created now.
#[inline]
pub fn initial_age(aging: Aging, now_ms: i64) -> u32 {
    match aging {
        Aging::Lru => lru_clock(now_ms),
        Aging::Lfu { .. } => (lfu_minutes(now_ms) << 8) | u32::from(LFU_INIT),
    }
}

/// Returns the age of a key with age `age` that is used now.
#[inline]
pub(crate) fn touched_age(age: u32, aging: Aging, now_ms: i64, rng: &mut Rng) -> u32 {
    match aging {
        Aging::Lru => lru_clock(now_ms),
        Aging::Lfu { log_factor, decay_minutes } => {
            let counter = lfu_counter(age, decay_minutes, now_ms);
            (lfu_minutes(now_ms) << 8) | u32::from(lfu_increment(counter, log_factor, rng))
        }
    }
}

/// Returns the access counter after the decay due since it was last touched.
pub fn lfu_counter(age: u32, decay_minutes: u32, now_ms: i64) -> u8 {
    let counter = (age & 0xff) as u8;
    let elapsed = lfu_minutes(now_ms).wrapping_sub(age >> 8) & 0xffff;
    match elapsed.checked_div(decay_minutes) {
        Some(periods) => counter.saturating_sub(periods.min(255) as u8),
        None => counter,
    }
}

fn lfu_increment(counter: u8, log_factor: u32, rng: &mut Rng) -> u8 {
    if counter == 255 {
        return 255;
    }
    let base = f64::from(counter.saturating_sub(LFU_INIT));
    if rng.float() < 1.0 / (base * f64::from(log_factor) + 1.0) { counter + 1 } else { counter }
}

/// Returns the age of a key that was last used so many seconds ago; nothing where ages are not times.
pub fn age_of_idle(aging: Aging, seconds: u64, now_ms: i64) -> Option<u32> {
    let clock = i64::from(lru_clock(now_ms));
    let at = i64::try_from(seconds).map_or(-1, |seconds| clock - seconds);
    // What lies before the clock's beginning is as old as can be told.
    let age = if at < 0 { (clock + i64::from(AGE_MASK / 2)) % i64::from(AGE_MASK) } else { at };
    (aging == Aging::Lru).then_some(age as u32)
}

/// Returns the age of a key with that access counter, as of now; nothing where ages are no counters.
pub fn age_of_frequency(aging: Aging, frequency: u8, now_ms: i64) -> Option<u32> {
    matches!(aging, Aging::Lfu { .. }).then(|| (lfu_minutes(now_ms) << 8) | u32::from(frequency))
}

/// Returns the milliseconds since the entry was last used, with the one-second resolution of its age.
pub fn idle_ms(entry: &Entry, now_ms: i64) -> u64 {
    u64::from(lru_clock(now_ms).wrapping_sub(entry.age()) & AGE_MASK) * 1000
}

fn score(entry: &Entry, order: Order, aging: Aging, now_ms: i64) -> u64 {
    match order {
        Order::Lru => idle_ms(entry, now_ms),
        Order::Lfu => {
            let decay = if let Aging::Lfu { decay_minutes, .. } = aging { decay_minutes } else { 1 };
            255 - u64::from(lfu_counter(entry.age(), decay, now_ms))
        }
        Order::Ttl => entry.stamp().map_or(0, |at| u64::MAX - at.max(0) as u64),
        Order::Random => 0,
    }
}

impl Keyspace {
    /// Evicts one key by the policy and returns its database and name; `None` when there is no candidate.
    ///
    /// The event `evicted` is recorded; the caller goes on until memory suffices. Unless `lazy`, the memory is free when
    /// this returns: who measures it would evict more than needed while large values wait to be freed elsewhere.
    pub fn evict_one(
        &mut self,
        scope: Scope,
        order: Order,
        samples: usize,
        now_ms: i64,
        lazy: bool,
    ) -> Option<Evicted> {
        let (db, key) = match order {
            Order::Random => self.random_victim(scope)?,
            _ => self.best_victim(scope, order, samples, now_ms)?,
        };
        let mut entry = self.dbs[db].table.remove(&key)?;
        let mut deferred = 0;
        if let Some(value) = entry.take_word().filter(|_| lazy) {
            let (size, before) = (value.heap_size(SIZE_SAMPLES), self.recorder.garbage.len());
            self.recorder.discard(value);
            deferred = if self.recorder.garbage.len() > before { size } else { 0 };
        }
        self.recorder.evicted += 1;
        self.recorder.event(db, &key, Class::Evicted, "evicted");
        Some(Evicted { db, key, deferred })
    }

    fn random_victim(&mut self, scope: Scope) -> Option<(usize, Box<[u8]>)> {
        for _ in 0..self.dbs.len() {
            let db = self.evictor.next_db % self.dbs.len();
            self.evictor.next_db = db + 1;
            let table = &mut self.dbs[db].table;
            for _ in 0..GUARDED_TRIES {
                let found = match scope {
                    Scope::All => table.random(&mut self.rng),
                    Scope::Volatile => table.random_marked(&mut self.rng),
                };
                let Some(entry) = found else { break };
                if is_evictable(entry) {
                    return Some((db, entry.key().into()));
                }
            }
        }
        None
    }

    fn best_victim(
        &mut self,
        scope: Scope,
        order: Order,
        samples: usize,
        now_ms: i64,
    ) -> Option<(usize, Box<[u8]>)> {
        let Keyspace { dbs, rng, evictor, aging, .. } = self;
        // Candidates may have gone or been touched since they entered the pool: two refills suffice to find one if any is
        // left, unless what was looked at may not be evicted.
        let (mut rounds, mut guarded) = (0, false);
        while rounds < 3 || (guarded && rounds < GUARDED_ROUNDS) {
            // Locks stand in front of others that are then never seen in a small sample.
            let samples = if guarded { samples + GUARDED_MORE * rounds } else { samples };
            rounds += 1;
            guarded = false;
            for (db, this) in dbs.iter_mut().enumerate() {
                let mut consider = |entry: &Entry| {
                    if is_evictable(entry) {
                        evictor.offer(score(entry, order, *aging, now_ms), db, entry.key());
                    } else {
                        guarded = true;
                    }
                };
                match scope {
                    Scope::All if !this.table.is_empty() => {
                        this.table.sample(samples, rng, &mut consider);
                    }
                    Scope::Volatile if this.table.marked_len() > 0 => {
                        this.table.sample_marked(samples, rng, &mut consider);
                    }
                    _ => {}
                }
            }
            while let Some(Candidate { db, key, .. }) = evictor.pool.pop() {
                let Some(this) = dbs.get(db) else { continue };
                match this.table.get(&key) {
                    Some(entry)
                        if (scope == Scope::All || entry.stamp().is_some()) && is_evictable(entry) =>
                    {
                        return Some((db, key));
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

impl Evictor {
    /// Forgets all candidates (the policy changed, or a database was flushed or swapped).
    pub fn clear(&mut self) {
        self.pool.clear();
    }

    fn offer(&mut self, score: u64, db: usize, key: &[u8]) {
        if self.pool.len() == POOL && self.pool[0].score >= score {
            return;
        }
        if self.pool.iter().any(|c| c.db == db && *c.key == *key) {
            return;
        }
        if self.pool.len() == POOL {
            self.pool.remove(0);
        }
        let at = self.pool.partition_point(|c| c.score < score);
        self.pool.insert(at, Candidate { score, db, key: key.into() });
    }
}
