//! Distributed locks: who holds which, for how long, and who waits.
//!
//! A held lock is an ordinary hash (see `keyspace::lock`), and what happens to it is propagated as ordinary commands: HSET
//! when it is granted, DEL when it ends. What only a master knows lies beside the keyspace: when leases end ([`index`]), who
//! waits ([`queue`]), the next token ([`token`]), what has happened lately ([`book`]). It is a hint that is checked against
//! the keyspace at each use, and made anew from that after a restart or a promotion; every lease begins again then, in full.

pub mod book;
pub mod graph;
pub mod index;
pub mod json;
mod places;
pub mod queue;
pub mod record;
pub mod serve;
pub mod token;

use base::hash::HashSeed;
use base::number::parse_u64;
use base::time::{Instant, Now};
use keyspace::{Entry, Guard, Hash, Keys, Keyspace, View, WrongType};

use book::{Book, Event, What};
use index::Index;
use record::Record;
use std::time::Duration;
use token::Tokens;

use crate::Server;

/// What a server knows of its locks beside their hashes.
#[derive(Debug)]
pub struct Locks {
    pub tokens: Tokens,
    pub index: Index,
    pub book: Book,
    /// Locks that were loaded from a snapshot; their leases begin when all is loaded.
    loaded: Vec<(usize, Box<[u8]>)>,
    /// Since when the client waits whose turn it is.
    pub(crate) serving: Option<Instant>,
    /// This server has become the master: all leases are to begin anew.
    restarts: bool,
    /// Grants whose clients left before they could be told.
    pub(crate) untold: Vec<Untold>,
    /// Locks that became free while writes were paused.
    pub(crate) put_off: Vec<(usize, Box<[u8]>)>,
}

/// What a client that asked for a lock waits for.
#[derive(Clone, Debug)]
pub enum LockWait {
    /// Its turn.
    Queued { key: Box<[u8]>, owner: Box<[u8]>, ticket: u64 },
    /// That its grant is where it is to be before it is told.
    Granted { key: Box<[u8]>, grant: Grant },
}

/// A grant that has not been told yet.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    pub token: u64,
    /// Milliseconds.
    pub lease: u64,
    pub waited: u64,
    /// Replicas that are to have it.
    pub replicas: u64,
    pub kind: Kind,
}

/// What is told with a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The lock was free: it is given back if this cannot be told.
    Fresh,
    /// The holder asked again, and goes on to hold what it held before if this cannot be told.
    Again,
    /// The holder's lease begins anew, which is all that it is told.
    Renewed,
}

/// A grant of which a client is being told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    pub(crate) db: usize,
    pub(crate) key: Box<[u8]>,
    pub(crate) token: u64,
    /// Bytes of output up to the end of the reply, over the life of the session.
    pub(crate) end: u64,
}

impl Locks {
    /// Returns the state of a server without locks.
    pub fn new(seed: HashSeed) -> Locks {
        Locks {
            tokens: Tokens::default(),
            index: Index::new(seed),
            book: Book::new(seed),
            loaded: Vec::new(),
            serving: None,
            restarts: false,
            untold: Vec::new(),
            put_off: Vec::new(),
        }
    }

    /// Notes that the leases of all locks are another server's to count from now on.
    pub(crate) fn stop(&mut self) {
        self.index.stop_all();
        self.restarts = false;
    }

    /// Notes that this server counts the leases from now on.
    pub(crate) fn start(&mut self) {
        self.tokens.end_epoch();
        self.restarts = true;
    }

    /// Forgets all locks: other data takes the place of theirs.
    pub(crate) fn forget_all(&mut self) {
        self.index.clear();
    }
}

/// Returns the end of a lease that begins now.
pub(crate) fn lease_end(now: Now, lease_ms: u64) -> Instant {
    now.instant + Duration::from_millis(lease_ms)
}

/// Returns the lock in an entry, if it is one.
fn record_of(entry: &Entry) -> Option<Record> {
    Record::of(&*View::<Hash>::of(entry).ok()?)
}

impl Server {
    /// Returns when the next lease ends here, or something else is to be done about locks.
    pub(crate) fn locks_due(&self) -> Option<Instant> {
        if !self.counts_leases() || self.pause.writes() {
            return None;
        }
        let waits = !self.locks.untold.is_empty() || !self.locks.put_off.is_empty();
        if waits { Some(Instant::ZERO) } else { self.locks.index.next_deadline() }
    }

    /// Returns whether leases are counted here: by a master that has all its data.
    pub(crate) fn counts_leases(&self) -> bool {
        !self.follows() && self.persistence.loading().is_none()
    }

    /// Returns the lock at a key, `None` if it is free; one whose lease has ended is deleted first.
    pub(crate) fn lock_at(
        &mut self,
        keys: &mut Keys<'_>,
        key: &[u8],
        now: Now,
    ) -> Result<Option<Record>, WrongType> {
        let db = keys.db;
        let found = keys.find(key).map(|found| record_of(found.get()));
        let Some(Some(record)) = found else {
            self.lock_is_gone(db, key, now);
            return if found.is_none() { Ok(None) } else { Err(WrongType) };
        };
        if self.counts_leases() {
            match self.locks.index.deadline(db, key) {
                Some(Some(at)) if at <= now.instant && !self.pause.writes() => {
                    self.expire_lock(keys.space, db, key, record, now);
                    return Ok(None);
                }
                Some(Some(_)) => {}
                _ => self.locks.index.set(db, key, Some(lease_end(now, record.lease))),
            }
        }
        Ok(Some(record))
    }

    /// Deletes a lock whose lease has ended.
    fn expire_lock(&mut self, space: &mut Keyspace, db: usize, key: &[u8], record: Record, now: Now) {
        space.expire_key(db, key);
        self.locks.index.remove(db, key);
        self.lock_ended(db, key, record, What::Expired, now);
    }

    /// Notes that a holder has no lock any more.
    pub(crate) fn lock_ended(&mut self, db: usize, key: &[u8], record: Record, what: What, now: Now) {
        let held = record.held_ms(now.unix_ms());
        let event = Event { at_ms: now.unix_ms(), what, owner: record.owner, token: record.token };
        self.locks.book.note(db, key, event, |figures| {
            match what {
                What::Released => figures.releases += 1,
                What::Expired => figures.expired += 1,
                _ => figures.forced += 1,
            }
            figures.held(held);
        });
    }

    /// Forgets a lock that is not in the keyspace any more: some command has deleted it, or put something in its place.
    fn lock_is_gone(&mut self, db: usize, key: &[u8], now: Now) {
        if !self.locks.index.remove(db, key) || !self.counts_leases() {
            return;
        }
        let page = self.locks.book.find(db, key);
        let last = page.and_then(|page| page.events.iter().find(|event| event.what == What::Granted));
        let (owner, token) = last.map(|event| (event.owner.clone(), event.token)).unwrap_or_default();
        let event = Event { at_ms: now.unix_ms(), what: What::Deleted, owner, token };
        self.locks.book.note(db, key, event, |figures| figures.forced += 1);
    }

    /// Takes note of an entry that is about to be at a key, if it is a lock or a fence: its token was seen, its lease begins.
    #[inline]
    pub(crate) fn note_entry(
        &mut self,
        space: &Keyspace,
        db: usize,
        key: &[u8],
        entry: &mut Entry,
        now: Now,
    ) {
        if let Some(guard) = Guard::of(entry) {
            record::repack(entry);
            let lease = record_of(entry).map(|record| record.lease);
            self.note_guard(space, db, key, guard, lease, now);
        }
    }

    /// Takes note of a lock, with its lease, or a fence, that is at a key or will be.
    #[cold]
    pub(crate) fn note_guard(
        &mut self,
        space: &Keyspace,
        db: usize,
        key: &[u8],
        guard: Guard,
        lease: Option<u64>,
        now: Now,
    ) {
        self.locks.tokens.see(guard.token());
        let Some(lease) = lease else { return };
        let deadline = self.counts_leases().then(|| lease_end(now, lease));
        self.forget_gone(space, now);
        self.locks.index.set(db, key, deadline);
    }

    /// Forgets a few locks that other commands have deleted, if there are any.
    ///
    /// Called with each new lock: a long lease, or one that nobody counts here, would keep them for long.
    pub(crate) fn forget_gone(&mut self, space: &Keyspace, now: Now) {
        for (db, key) in self.locks.index.some() {
            let entry = space.dbs.get(db).and_then(|db| db.table.get(&key));
            if !entry.is_some_and(|entry| matches!(Guard::of(entry), Some(Guard::Lock(_)))) {
                self.lock_is_gone(db, &key, now);
            }
        }
    }

    /// Takes note of an entry that was read from a snapshot.
    #[inline]
    pub(crate) fn note_loaded(&mut self, db: usize, entry: &mut Entry) {
        if let Some(guard) = Guard::of(entry) {
            record::repack(entry);
            self.locks.tokens.see(guard.token());
            if matches!(guard, Guard::Lock(_)) {
                self.locks.loaded.push((db, entry.key().into()));
            }
        }
    }

    /// Begins to count the leases of what was loaded, each in full.
    pub(crate) fn adopt_loaded(&mut self, space: &Keyspace, now: Now) {
        for (db, key) in std::mem::take(&mut self.locks.loaded) {
            self.locks.index.set(db, &key, None);
        }
        self.restart_leases(space, now);
    }

    /// Lets every lease begin anew in full, where this server has just begun to count them.
    pub(crate) fn restart_leases(&mut self, space: &Keyspace, now: Now) {
        if !std::mem::take(&mut self.locks.restarts) {
            return;
        }
        let known: Vec<_> = self.locks.index.iter().map(|(db, key)| (db, Box::from(key))).collect();
        for (db, key) in known {
            let entry = space.dbs.get(db).and_then(|db| db.table.get(&key));
            match entry.and_then(record_of) {
                Some(record) => self.locks.index.set(db, &key, Some(lease_end(now, record.lease))),
                None => {
                    self.locks.index.remove(db, &key);
                }
            }
        }
    }

    /// Takes note of what a snapshot says of itself, if that is the highest token.
    pub fn note_aux(&mut self, name: &[u8], value: &[u8]) {
        if name == TOKEN_AUX.as_bytes()
            && let Some(token) = parse_u64(value)
        {
            self.locks.tokens.see(token);
        }
    }

    /// Returns whether a grant is to be on the disk before it is told: the first of an epoch, where there is a log.
    pub(crate) fn grant_needs_log(&mut self) -> bool {
        let log = &self.persistence.log;
        if !log.enabled || self.config.appendfsync == config::AppendFsync::No {
            return false;
        }
        !self.locks.tokens.is_safe(|offset| self.has_logged(offset))
    }
}

/// The field of snapshots that holds the highest token.
pub const TOKEN_AUX: &str = "redstart-lock-token";
