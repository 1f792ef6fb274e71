//! A hash table of places: finds a record in a list by its key. The records, and what their keys are, are the caller's.
//!
//! ```text
//! heads  [place]   the first place of each bucket
//! next   [place]   at each place: the one behind it in its bucket
//! ```
//!
//! Each place that comes adds a bucket and splits another in two (linear hashing), so that nothing is ever moved at once.
//! Eight bytes a place; nothing depends on the order of buckets.

/// Where the records are, by the hashes of their keys.
#[derive(Debug, Default)]
pub(super) struct Places {
    heads: Vec<u32>,
    next: Vec<u32>,
    len: usize,
}

/// No place.
pub(super) const NOWHERE: u32 = u32::MAX;

impl Places {
    /// Returns how many places there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the place of the record that `is_it` knows, whose key has this hash.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut place = *self.heads.get(self.bucket(hash))?;
        while place != NOWHERE {
            if is_it(place) {
                return Some(place);
            }
            place = self.next[place as usize];
        }
        None
    }

    /// Adds the place of a record whose key has this hash; `hash_at` returns that of any place which is here.
    pub(super) fn insert(&mut self, hash: u64, place: u32, hash_at: impl Fn(u32) -> u64) {
        self.len += 1;
        let count = place as usize + 1;
        if self.next.len() < count {
            let more = count - self.next.len();
            reserve(&mut self.next, more);
            self.next.resize(count, NOWHERE);
        }
        if self.heads.len() < self.len {
            self.split(hash_at);
        }
        let bucket = self.bucket(hash);
        self.next[place as usize] = self.heads[bucket];
        self.heads[bucket] = place;
    }

    /// Takes away the place of a record whose key has this hash.
    pub(super) fn remove(&mut self, hash: u64, place: u32) {
        let bucket = self.bucket(hash);
        let behind = self.next[place as usize];
        if self.heads[bucket] == place {
            self.heads[bucket] = behind;
        } else {
            let mut before = self.heads[bucket];
            while self.next[before as usize] != place {
                before = self.next[before as usize];
            }
            self.next[before as usize] = behind;
        }
        self.len -= 1;
    }

    /// Adds a bucket, with what belongs there of the one that it was a part of.
    fn split(&mut self, hash_at: impl Fn(u32) -> u64) {
        let added = self.heads.len();
        reserve(&mut self.heads, 1);
        self.heads.push(NOWHERE);
        if added == 0 {
            return;
        }
        let parent = added - (added + 1).next_power_of_two() / 2;
        let mut place = std::mem::replace(&mut self.heads[parent], NOWHERE);
        while place != NOWHERE {
            let behind = self.next[place as usize];
            let bucket = self.bucket(hash_at(place));
            self.next[place as usize] = self.heads[bucket];
            self.heads[bucket] = place;
            place = behind;
        }
    }

    /// Returns the bucket of a hash: as many of its bits as name one, or one fewer where that bucket is still to come.
    #[inline]
    fn bucket(&self, hash: u64) -> usize {
        let count = self.heads.len();
        let mask = count.next_power_of_two() - 1;
        let bucket = hash as usize & mask;
        if bucket < count { bucket } else { bucket & (mask >> 1) }
    }
}

/// Makes room for some more, by an eighth at least: doubling would cost each record as much again.
pub(super) fn reserve<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(16).max(list.len() / 8));
    }
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;

    #[test]
    fn random_changes_agree_with_a_list() {
        let mut rng = Rng::seeded(5);
        for spread in [1, 7, u64::MAX] {
            let hash = |place: u32| u64::from(place).wrapping_mul(0x9e37_79b9_7f4a_7c15) % spread;
            let (mut places, mut model) = (Places::default(), vec![false; 300]);
            assert_eq!(places.find(3, |_| true), None);
            for _ in 0..5000 {
                let place = rng.below(300) as u32;
                let there = &mut model[place as usize];
                if *there {
                    places.remove(hash(place), place);
                } else {
                    places.insert(hash(place), place, hash);
                }
                *there = !*there;
                let probe = rng.below(300) as u32;
                let found = places.find(hash(probe), |place| place == probe);
                assert_eq!(found, model[probe as usize].then_some(probe));
                assert_eq!(places.len(), model.iter().filter(|there| **there).count());
            }
        }
    }
}
