//! Who waits for which lock, in the order in which they came.
//!
//! A place belongs to an owner: who asks again on another connection, having lost the first, takes their own place over.

use std::collections::BTreeMap;

use base::time::Instant;

use crate::session::SessionId;

/// One client in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub session: SessionId,
    pub owner: Box<[u8]>,
    pub since: Instant,
    pub until: Instant,
}

/// The queues of all locks that are waited for.
#[derive(Debug, Default)]
pub struct Queues {
    /// By database and key; none is empty.
    queues: BTreeMap<usize, BTreeMap<Box<[u8]>, Queue>>,
    /// Places given out so far.
    tickets: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiters: BTreeMap<u64, Waiter>,
    by_owner: BTreeMap<Box<[u8]>, u64>,
}

impl Queues {
    /// Puts a client at the end of a queue, or at its owner's place, if that has one: then whoever stood there is returned.
    pub fn join(&mut self, db: usize, key: &[u8], waiter: Waiter) -> (u64, Option<SessionId>) {
        let queue = self.queues.entry(db).or_default().entry(key.into()).or_default();
        if let Some(ticket) = queue.by_owner.get(&waiter.owner) {
            let place = queue.waiters.get_mut(ticket).expect("an owner's place is taken");
            let (since, before) = (place.since, place.session);
            *place = Waiter { since, ..waiter };
            return (*ticket, Some(before));
        }
        self.tickets += 1;
        queue.by_owner.insert(waiter.owner.clone(), self.tickets);
        queue.waiters.insert(self.tickets, waiter);
        (self.tickets, None)
    }

    /// Takes a client out of a queue, unless another has taken its place over.
    pub fn leave(&mut self, db: usize, key: &[u8], ticket: u64, session: SessionId) {
        let Some(queues) = self.queues.get_mut(&db) else { return };
        let Some(queue) = queues.get_mut(key) else { return };
        if queue.waiters.get(&ticket).is_some_and(|waiter| waiter.session == session)
            && let Some(waiter) = queue.waiters.remove(&ticket)
        {
            queue.by_owner.remove(&waiter.owner);
            if queue.waiters.is_empty() {
                queues.remove(key);
                if queues.is_empty() {
                    self.queues.remove(&db);
                }
            }
        }
    }

    /// Returns whether anybody waits for a lock.
    pub fn has(&self, db: usize, key: &[u8]) -> bool {
        self.queue(db, key).is_some()
    }

    /// Returns who is next.
    pub fn first(&self, db: usize, key: &[u8]) -> Option<&Waiter> {
        self.queue(db, key)?.waiters.values().next()
    }

    /// Returns how many wait.
    pub fn len(&self, db: usize, key: &[u8]) -> usize {
        self.queue(db, key).map_or(0, |queue| queue.waiters.len())
    }

    /// Returns how many wait for any lock.
    pub fn all(&self) -> usize {
        self.queues.values().flat_map(BTreeMap::values).map(|queue| queue.waiters.len()).sum()
    }

    /// Returns an owner's place: 1 is next.
    pub fn position(&self, db: usize, key: &[u8], owner: &[u8]) -> Option<usize> {
        let queue = self.queue(db, key)?;
        let ticket = queue.by_owner.get(owner)?;
        Some(queue.waiters.range(..=ticket).count())
    }

    /// Returns those who wait for a lock, first come first.
    pub fn waiters(&self, db: usize, key: &[u8]) -> impl Iterator<Item = &Waiter> {
        self.queue(db, key).into_iter().flat_map(|queue| queue.waiters.values())
    }

    /// Returns the locks of a database that are waited for, each with those who do.
    pub fn of_db(&self, db: usize) -> impl Iterator<Item = (&[u8], impl Iterator<Item = &Waiter>)> {
        let queues = self.queues.get(&db).into_iter().flatten();
        queues.map(|(key, queue)| (&**key, queue.waiters.values()))
    }

    fn queue(&self, db: usize, key: &[u8]) -> Option<&Queue> {
        self.queues.get(&db)?.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(session: u32, owner: &str) -> Waiter {
        let (owner, at) = (owner.as_bytes().into(), Instant::ZERO);
        Waiter { session: SessionId(session), owner, since: at, until: at }
    }

    #[test]
    fn first_come_first() {
        let mut queues = Queues::default();
        let tickets: Vec<_> =
            (0..5u32).map(|n| queues.join(0, b"k", waiter(n, &format!("o{n}"))).0).collect();
        assert_eq!(queues.position(0, b"k", b"o3"), Some(4));
        assert_eq!(queues.position(1, b"k", b"o3"), None);
        queues.leave(0, b"k", tickets[0], SessionId(0));
        queues.leave(0, b"k", tickets[2], SessionId(2));
        assert_eq!(queues.first(0, b"k").map(|waiter| waiter.session), Some(SessionId(1)));
        assert_eq!((queues.position(0, b"k", b"o3"), queues.len(0, b"k")), (Some(2), 3));
        for n in [1, 3, 4] {
            queues.leave(0, b"k", tickets[n], SessionId(n as u32));
        }
        assert!(!queues.has(0, b"k") && queues.queues.is_empty());
    }

    #[test]
    fn a_place_is_its_owners() {
        let mut queues = Queues::default();
        let (first, _) = queues.join(0, b"k", waiter(1, "a"));
        queues.join(0, b"k", waiter(2, "b"));
        assert_eq!(queues.join(0, b"k", waiter(3, "a")), (first, Some(SessionId(1))));
        // The connection that was lost does not take the place with it.
        queues.leave(0, b"k", first, SessionId(1));
        assert_eq!(queues.first(0, b"k").map(|waiter| waiter.session), Some(SessionId(3)));
        queues.leave(0, b"k", first, SessionId(3));
        assert_eq!((queues.len(0, b"k"), queues.position(0, b"k", b"a")), (1, None));
    }
}
