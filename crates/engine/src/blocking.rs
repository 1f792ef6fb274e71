//! Clients that wait for a key: who waits for what, in which order, until when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::time::Instant;

use crate::acks::Acks;
use crate::locks::LockWait;
use crate::locks::queue::Queues;
use crate::session::{OwnedRequest, SessionId};

/// What a blocked client is told when its time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    NullArray,
    Null,
    Int(i64),
    /// What WAITAOF counts: here, and on replicas.
    Counts(i64, i64),
    /// An empty answer is not possible: nothing is sent.
    Silent,
}

/// A command that waits, with what it takes to try it again.
#[derive(Debug)]
pub struct Blocked {
    pub db: usize,
    pub keys: Vec<Box<[u8]>>,
    pub request: OwnedRequest,
    pub row: usize,
    pub deadline: Option<Instant>,
    pub on_timeout: OnTimeout,
    /// What replicas and the log are to have (WAIT, WAITAOF).
    pub acks: Option<Acks>,
    /// The lock that was asked for (LOCK.ACQUIRE).
    pub lock: Option<LockWait>,
}

/// A key that changed, with those who wait for it in order of arrival.
#[derive(Debug)]
pub struct Ready {
    pub db: usize,
    pub key: Box<[u8]>,
    pub waiting: Vec<SessionId>,
}

/// All waiting clients, by key in order of arrival, and by deadline.
#[derive(Debug, Default)]
pub struct Waiting {
    /// By database; none is empty, nor is any queue.
    queues: BTreeMap<usize, BTreeMap<Box<[u8]>, VecDeque<SessionId>>>,
    deadlines: BTreeSet<(Instant, SessionId)>,
    /// Those who wait for a lock: they are served when its key goes, not when it comes.
    pub(crate) locks: Queues,
    /// Those who wait for replicas, or for the log.
    acks: BTreeSet<SessionId>,
    /// Keys that changed while somebody waits for them, in order, and the same by database.
    ready: VecDeque<(usize, Box<[u8]>)>,
    is_ready: BTreeMap<usize, BTreeSet<Box<[u8]>>>,
    count: usize,
}

impl Waiting {
    /// Returns how many clients wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns how many keys are waited for.
    pub fn keys(&self) -> usize {
        self.queues.values().map(BTreeMap::len).sum()
    }

    /// Returns how many clients do not wait for ever.
    pub fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    /// Queues a client at the end of each of its keys' queues.
    pub fn add(&mut self, id: SessionId, blocked: &Blocked) {
        self.count += 1;
        for key in &blocked.keys {
            let queues = self.queues.entry(blocked.db).or_default();
            let queue = queues.entry(key.clone()).or_default();
            if !queue.contains(&id) {
                queue.push_back(id);
            }
        }
        if let Some(at) = blocked.deadline {
            self.deadlines.insert((at, id));
        }
    }

    /// Notes that a client waits for replicas or the log.
    pub(crate) fn await_acks(&mut self, id: SessionId) {
        self.acks.insert(id);
    }

    /// Returns whether anybody waits for replicas or the log.
    #[inline]
    pub(crate) fn has_acks(&self) -> bool {
        !self.acks.is_empty()
    }

    /// Returns those who wait for replicas or the log.
    pub(crate) fn awaiting_acks(&self) -> Vec<SessionId> {
        self.acks.iter().copied().collect()
    }

    /// Takes a client out of all queues.
    pub fn remove(&mut self, id: SessionId, blocked: &Blocked) {
        self.count -= 1;
        if blocked.acks.is_some() {
            self.acks.remove(&id);
        }
        if let Some(LockWait::Queued { key, ticket, .. }) = &blocked.lock {
            self.locks.leave(blocked.db, key, *ticket, id);
        }
        if let Some(queues) = self.queues.get_mut(&blocked.db) {
            for key in &blocked.keys {
                if let Some(queue) = queues.get_mut(key) {
                    queue.retain(|other| *other != id);
                    if queue.is_empty() {
                        queues.remove(key);
                    }
                }
            }
            if queues.is_empty() {
                self.queues.remove(&blocked.db);
            }
        }
        if let Some(at) = blocked.deadline {
            self.deadlines.remove(&(at, id));
        }
    }

    /// Notes that a key changed; does nothing when nobody waits for it.
    pub fn signal(&mut self, db: usize, key: &[u8]) {
        // Every write comes here while anybody waits for anything: what nobody waits for costs no allocation.
        let waited = self.queues.get(&db).is_some_and(|queues| queues.contains_key(key));
        if waited || self.locks.has(db, key) {
            let is_ready = self.is_ready.entry(db).or_default();
            if !is_ready.contains(key) {
                is_ready.insert(key.into());
                self.ready.push_back((db, key.into()));
            }
        }
    }

    /// Notes that any key of a database may have changed (SWAPDB).
    pub fn signal_db(&mut self, db: usize) {
        let keys: Vec<_> = self.queues.get(&db).into_iter().flat_map(BTreeMap::keys).cloned().collect();
        for key in keys {
            self.signal(db, &key);
        }
        self.signal_locks(db);
    }

    /// Notes that any lock of a database may have gone (FLUSHDB).
    pub(crate) fn signal_locks(&mut self, db: usize) {
        let keys: Vec<Box<[u8]>> = self.locks.of_db(db).map(|(key, _)| key.into()).collect();
        for key in keys {
            self.signal(db, &key);
        }
    }

    /// Returns whether a key that somebody waits for has changed.
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns the next changed key with those who wait for it, first come first.
    pub fn next_ready(&mut self) -> Option<Ready> {
        let (db, key) = self.ready.pop_front()?;
        if let Some(is_ready) = self.is_ready.get_mut(&db) {
            is_ready.remove(&key);
        }
        let queue = self.queues.get(&db).and_then(|queues| queues.get(&key));
        let waiting = queue.map(|queue| queue.iter().copied().collect()).unwrap_or_default();
        Some(Ready { db, key, waiting })
    }

    /// Returns the earliest deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Returns a client whose deadline has passed.
    pub fn overdue(&self, now: Instant) -> Option<SessionId> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }
}
