//! When each lock's lease ends. A hint beside the keyspace: what the key holds decides, and is looked at each time.
//!
//! ```text
//! places  {hash of key: place}       to find a lock by its key
//! slots   [key, db, deadline, rank]  at their places, which are used again
//! heap    [place]                    by deadline; a slot knows its rank
//! ```
//!
//! A lock takes some hundred bytes here, its key included.

use base::hash::HashSeed;
use base::time::Instant;

use super::places::{Places, reserve};

/// The leases of all locks of a server.
#[derive(Debug)]
pub struct Index {
    seed: HashSeed,
    places: Places,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Places of slots whose deadline is known, the earliest in front.
    heap: Vec<u32>,
    /// Where the next look at old entries goes on.
    swept: usize,
}

#[derive(Debug)]
struct Slot {
    key: Box<[u8]>,
    /// [`FREE`] when nobody has the slot.
    db: u32,
    /// Place in the heap; [`NEVER`] without a deadline.
    rank: u32,
    deadline: Instant,
    /// Whether the holder has spoken since the grant, and so has heard of it.
    heard: bool,
}

/// Slots that are kept where no lock is left: the next one may come at once.
const KEPT: usize = 64;
const FREE: u32 = u32::MAX;
const NEVER: u32 = u32::MAX;

impl Index {
    /// Returns an index of no locks.
    pub fn new(seed: HashSeed) -> Index {
        let (places, slots, free, heap) = Default::default();
        Index { seed, places, slots, free, heap, swept: 0 }
    }

    /// Returns how many locks there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns a lock's deadline: `None` if it is not known here, `Some(None)` if its lease does not run.
    pub fn deadline(&self, db: usize, key: &[u8]) -> Option<Option<Instant>> {
        let slot = &self.slots[self.find(db, key)? as usize];
        Some((slot.rank != NEVER).then_some(slot.deadline))
    }

    /// Sets the moment at which a lease ends, or that it does not run.
    pub fn set(&mut self, db: usize, key: &[u8], deadline: Option<Instant>) {
        let place = self.find_or_add(db, key);
        self.set_at(place, deadline);
    }

    fn set_at(&mut self, place: u32, deadline: Option<Instant>) {
        let rank = self.slots[place as usize].rank;
        match deadline {
            None if rank != NEVER => self.leave_heap(rank as usize),
            None => {}
            Some(at) => {
                self.slots[place as usize].deadline = at;
                let rank = if rank == NEVER {
                    reserve(&mut self.heap, 1);
                    self.heap.push(place);
                    self.heap.len() - 1
                } else {
                    rank as usize
                };
                self.settle(rank);
            }
        }
    }

    /// Sets the moment at which a lease ends whose holder asked for that.
    pub fn renew(&mut self, db: usize, key: &[u8], deadline: Instant) {
        let place = self.find_or_add(db, key);
        self.set_at(place, Some(deadline));
        self.slots[place as usize].heard = true;
    }

    /// Returns whether the holder of a lock has spoken since the grant.
    pub fn is_heard(&self, db: usize, key: &[u8]) -> bool {
        self.find(db, key).is_some_and(|place| self.slots[place as usize].heard)
    }

    /// Forgets a lock; returns whether it was known.
    pub fn remove(&mut self, db: usize, key: &[u8]) -> bool {
        let hash = self.hash(key);
        let place = self.find_hashed(db, key, hash);
        place.map(|place| self.remove_at(place, hash)).is_some()
    }

    fn remove_at(&mut self, place: u32, hash: u64) {
        self.places.remove(hash, place);
        let rank = self.slots[place as usize].rank;
        if rank != NEVER {
            self.leave_heap(rank as usize);
        }
        let slot = &mut self.slots[place as usize];
        (slot.db, slot.key) = (FREE, Box::default());
        if self.places.is_empty() && self.slots.len() > KEPT {
            self.clear();
        } else {
            self.free.push(place);
        }
    }

    /// Forgets all locks.
    pub fn clear(&mut self) {
        *self = Index::new(self.seed);
    }

    /// Returns the earliest deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.heap.first().map(|place| self.slots[*place as usize].deadline)
    }

    /// Returns a lock whose deadline has passed.
    pub fn overdue(&self, now: Instant) -> Option<(usize, Box<[u8]>)> {
        let slot = &self.slots[*self.heap.first()? as usize];
        (slot.deadline <= now).then(|| (slot.db as usize, slot.key.clone()))
    }

    /// Stops all leases: nobody counts them on a replica.
    pub fn stop_all(&mut self) {
        self.heap = Vec::new();
        self.slots.iter_mut().for_each(|slot| slot.rank = NEVER);
    }

    /// Returns all locks, each with its database, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.slots.iter().filter(|slot| slot.db != FREE).map(|slot| (slot.db as usize, &*slot.key))
    }

    /// Returns a few locks, others each time, so that those which are gone from the keyspace can be forgotten.
    ///
    /// Of a handful none is worth the look.
    pub fn some(&mut self) -> Vec<(usize, Box<[u8]>)> {
        if self.slots.len() < KEPT {
            return Vec::new();
        }
        let count = SWEPT.min(self.slots.len());
        let from = self.swept % self.slots.len().max(1);
        self.swept = from + count;
        let places = (from..from + count).map(|at| at % self.slots.len());
        let slots = places.map(|at| &self.slots[at]).filter(|slot| slot.db != FREE);
        slots.map(|slot| (slot.db as usize, slot.key.clone())).collect()
    }

    /// Forgets the locks of a database.
    pub fn clear_db(&mut self, db: usize) {
        if self.slots.iter().all(|slot| slot.db == db as u32 || slot.db == FREE) {
            return self.clear();
        }
        for place in 0..self.slots.len() as u32 {
            if self.slots.get(place as usize).is_some_and(|slot| slot.db == db as u32) {
                self.remove_at(place, self.hash(&self.slots[place as usize].key));
            }
        }
    }

    /// Lets the locks of two databases trade places.
    pub fn swap_dbs(&mut self, first: usize, second: usize) {
        for slot in self.slots.iter_mut().filter(|slot| slot.db != FREE) {
            slot.db = match slot.db as usize {
                db if db == first => second as u32,
                db if db == second => first as u32,
                db => db as u32,
            };
        }
    }

    fn find(&self, db: usize, key: &[u8]) -> Option<u32> {
        self.find_hashed(db, key, self.hash(key))
    }

    fn find_or_add(&mut self, db: usize, key: &[u8]) -> u32 {
        let hash = self.hash(key);
        self.find_hashed(db, key, hash).unwrap_or_else(|| self.add(db, key, hash))
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash(key)
    }

    #[inline]
    fn find_hashed(&self, db: usize, key: &[u8], hash: u64) -> Option<u32> {
        self.places.find(hash, |place| {
            let slot = &self.slots[place as usize];
            slot.db as usize == db && *slot.key == *key
        })
    }

    fn add(&mut self, db: usize, key: &[u8], hash: u64) -> u32 {
        let slot =
            Slot { key: key.into(), db: db as u32, rank: NEVER, deadline: Instant::ZERO, heard: false };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                reserve(&mut self.slots, 1);
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        let (seed, slots) = (self.seed, &self.slots);
        self.places.insert(hash, place, |place| seed.hash(&slots[place as usize].key));
        place
    }

    /// Takes the place at a rank out of the heap.
    fn leave_heap(&mut self, rank: usize) {
        let place = self.heap.swap_remove(rank);
        self.slots[place as usize].rank = NEVER;
        if rank < self.heap.len() {
            self.settle(rank);
        }
    }

    /// Moves the place at a rank to where its deadline belongs.
    fn settle(&mut self, mut rank: usize) {
        let place = self.heap[rank];
        let deadline = self.slots[place as usize].deadline;
        let at = |index: &Index, rank: usize| index.slots[index.heap[rank] as usize].deadline;
        while rank > 0 && at(self, (rank - 1) / 2) > deadline {
            self.put(rank, self.heap[(rank - 1) / 2]);
            rank = (rank - 1) / 2;
        }
        loop {
            let mut child = 2 * rank + 1;
            if child + 1 < self.heap.len() && at(self, child + 1) < at(self, child) {
                child += 1;
            }
            if child >= self.heap.len() || at(self, child) >= deadline {
                break;
            }
            self.put(rank, self.heap[child]);
            rank = child;
        }
        self.put(rank, place);
    }

    fn put(&mut self, rank: usize, place: u32) {
        self.heap[rank] = place;
        self.slots[place as usize].rank = rank as u32;
    }
}

/// Locks that are looked at each time for whether they are still there: twice as many as come in between.
const SWEPT: usize = 2;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::rng::Rng;

    use super::*;

    #[test]
    fn random_changes_agree_with_a_map() {
        let mut rng = Rng::seeded(3);
        for _ in 0..50 {
            let mut index = Index::new(HashSeed([1, 2]));
            let mut model: BTreeMap<(usize, Vec<u8>), Option<Instant>> = BTreeMap::new();
            for _ in 0..400 {
                let (db, key) = (rng.below(3) as usize, format!("k{}", rng.below(40)).into_bytes());
                let at = (rng.below(4) > 0).then(|| Instant::from_micros(rng.below(100)));
                match rng.below(20) {
                    0..12 => {
                        index.set(db, &key, at);
                        model.insert((db, key), at);
                    }
                    19 if rng.below(2) == 0 => {
                        let at = Instant::from_micros(rng.below(100));
                        index.renew(db, &key, at);
                        assert!(index.is_heard(db, &key));
                        model.insert((db, key), Some(at));
                    }
                    12..18 => {
                        let there = model.remove(&(db, key.clone())).is_some();
                        assert_eq!(index.remove(db, &key), there);
                    }
                    18 => {
                        index.swap_dbs(0, 2);
                        let swapped = |db: usize| if db == 1 { 1 } else { 2 - db };
                        model = model.into_iter().map(|((db, key), at)| ((swapped(db), key), at)).collect();
                    }
                    _ if rng.below(8) == 0 => {
                        index.clear_db(db);
                        model.retain(|(other, _), _| *other != db);
                    }
                    _ => {}
                }
                assert_eq!(index.len(), model.len());
                let first = model.values().flatten().min().copied();
                assert_eq!(index.next_deadline(), first);
                assert_eq!(
                    index.overdue(Instant::from_micros(50)).is_some(),
                    first.is_some_and(|at| at.micros() <= 50)
                );
                for ((db, key), at) in &model {
                    assert_eq!(index.deadline(*db, key), Some(*at));
                }
                assert!(index.iter().all(|(db, key)| model.contains_key(&(db, key.to_vec()))));
            }
            index.stop_all();
            assert_eq!(index.next_deadline(), None);
            assert_eq!(index.len(), model.len());
        }
    }

    #[test]
    fn a_new_lock_has_a_holder_who_has_not_been_heard() {
        let mut index = Index::new(HashSeed([1, 2]));
        index.set(0, b"k", Some(Instant::ZERO));
        assert!(!index.is_heard(0, b"k"));
        index.renew(0, b"k", Instant::ZERO);
        assert!(index.is_heard(0, b"k") && !index.is_heard(1, b"k"));
        index.remove(0, b"k");
        index.set(0, b"k", Some(Instant::ZERO));
        assert!(!index.is_heard(0, b"k"));
    }

    #[test]
    fn every_lock_is_looked_at_in_time() {
        let mut index = Index::new(HashSeed([1, 2]));
        (0..100u8).for_each(|n| index.set(0, &[n], None));
        let seen: std::collections::BTreeSet<_> = (0..50).flat_map(|_| index.some()).collect();
        assert_eq!(seen.len(), 100);
    }
}
