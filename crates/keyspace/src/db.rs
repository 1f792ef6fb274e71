//! The databases and what they share.

use base::hash::HashSeed;
use base::rng::Rng;
use structures::{Dict, Record};

use crate::ahead::Ahead;
use crate::change::Garbage;
use crate::evict::Evictor;
use crate::{Limits, Recorder, Value};

/// A key with its value, expiry and access age, in one allocation.
pub type Entry = Record<Value>;

/// One database.
pub struct Db {
    pub table: Dict<Entry>,
    /// Running estimate of the mean time to live in milliseconds, as `INFO keyspace` prints it.
    pub avg_ttl: i64,
    /// Where the active expiry cycle goes on.
    pub expiry_cursor: u64,
}

impl Db {
    /// Returns an empty database.
    pub fn new(seed: HashSeed) -> Db {
        Db { table: Dict::new(seed), avg_ttl: 0, expiry_cursor: 0 }
    }

    /// Returns the number of keys, expired ones that nobody has met yet included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns whether the database has no keys.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }
}

/// How access to a key is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aging {
    /// Seconds of last access, modulo 2^24.
    Lru,
    /// Logarithmic access counter (8 bits) with the minute of its last decay (16 bits).
    Lfu { log_factor: u32, decay_minutes: u32 },
}

/// All databases, and what their commands share.
pub struct Keyspace {
    pub dbs: Vec<Db>,
    pub limits: Limits,
    pub recorder: Recorder,
    pub rng: Rng,
    pub seed: HashSeed,
    pub aging: Aging,
    pub evictor: Evictor,
    /// Expired keys are hidden but not deleted (a replica, or writes are paused).
    pub keep_expired: bool,
    /// The data set is being read back from what was logged: no key expires by itself, as its deletion was logged too.
    pub loading: bool,
    pub(crate) ahead: Ahead,
}

impl Keyspace {
    /// Returns `databases` empty databases; `seed` drives hashing and sampling.
    pub fn new(databases: usize, seed: u64) -> Keyspace {
        let mut rng = Rng::seeded(seed);
        let seed = HashSeed([rng.next_u64(), rng.next_u64()]);
        Keyspace {
            dbs: (0..databases).map(|_| Db::new(seed)).collect(),
            limits: Limits::default(),
            recorder: Recorder::default(),
            rng,
            seed,
            aging: Aging::Lru,
            evictor: Evictor::default(),
            keep_expired: false,
            loading: false,
            ahead: Ahead::default(),
        }
    }

    /// Returns the number of keys of all databases, as [`Db::len`] counts them.
    pub fn len(&self) -> usize {
        self.dbs.iter().map(Db::len).sum()
    }

    /// Returns whether no database has a key.
    pub fn is_empty(&self) -> bool {
        self.dbs.iter().all(Db::is_empty)
    }

    /// Empties database `db` and returns how many keys it had; the old one is handed out as garbage when `lazy`.
    pub fn flush(&mut self, db: usize, lazy: bool) -> usize {
        let old = std::mem::replace(&mut self.dbs[db], Db::new(self.seed));
        let removed = old.len();
        if lazy && removed > 0 {
            self.recorder.garbage.push(Garbage::Db(Box::new(old)));
        }
        removed
    }

    /// Moves every table that is being rehashed on by up to `buckets` buckets; returns whether work remains.
    pub fn rehash(&mut self, buckets: usize) -> bool {
        let mut more = false;
        for db in &mut self.dbs {
            more |= db.table.rehash_step(buckets);
        }
        self.retire();
        more
    }

    /// Hands out the memory of tables that were outgrown.
    pub fn retire(&mut self) {
        for db in 0..self.dbs.len() {
            self.retire_table(db);
        }
    }

    /// Hands out the memory of the table that database `db` has outgrown, so that it is not freed on the command path.
    #[inline]
    pub fn retire_table(&mut self, db: usize) {
        if let Some(retired) = self.dbs[db].table.take_retired() {
            self.recorder.garbage.push(Garbage::Table(retired));
        }
    }
}
