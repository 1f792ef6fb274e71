//! Entries of a dict by chance, and those that are marked.

use base::rng::Rng;

use super::{Dict, Entry, Occupied};

/// Random blocks looked at before taking the first entry after one of them.
const TRIES: usize = 100;

/// Buckets looked at together: they are neighbours in memory, so that they arrive together.
const BLOCK: usize = 2;

/// Words of the bitmap that count as one bucket when looking for marked entries.
const WORDS_PER_BUCKET: usize = 4;

impl<E: Entry> Dict<E> {
    /// Returns an entry by chance, each as likely as another.
    pub fn random(&self, rng: &mut Rng) -> Option<&E> {
        if self.len == 0 {
            return None;
        }
        let spread = self.spread();
        let blocks = spread.div_ceil(BLOCK);
        // A block is kept in proportion to its entries, or the lonely ones would come up too often. While entries are
        // being moved one table is denser than the other, at most as if it held them all. Few blocks have more than the
        // mean and three deviations; where one has, its entries come up a little less often.
        let mean = match &self.tables {
            [first, second] if second.has_buckets() => {
                (self.len * BLOCK).div_ceil(first.count().min(second.count()))
            }
            _ => self.len.div_ceil(blocks),
        };
        let most = if blocks == 1 { self.len } else { mean + 3 * mean.isqrt() + 2 };
        for _ in 0..TRIES {
            let start = rng.below(blocks as u64) as usize * BLOCK;
            let lens: [usize; BLOCK] = std::array::from_fn(|n| match start + n {
                at if at < spread => {
                    let (table, index) = self.spread_bucket(at);
                    self.tables[table].bucket(index).chain_len()
                }
                _ => 0,
            });
            let mut chosen = rng.below(most.max(lens.iter().sum()) as u64) as usize;
            for (n, len) in lens.into_iter().enumerate() {
                if chosen < len {
                    let (table, index) = self.spread_bucket(start + n);
                    return self.tables[table].entries(index).nth(chosen);
                }
                chosen -= len;
            }
        }
        let start = rng.below(spread as u64) as usize;
        let mut buckets = (start..start + spread).map(|at| self.spread_bucket(at % spread));
        let (table, index) = buckets.find(|&(table, index)| !self.tables[table].bucket(index).is_empty())?;
        let len = self.tables[table].bucket(index).chain_len();
        self.tables[table].entries(index).nth(rng.below(len as u64) as usize)
    }

    /// Takes an entry out by chance, each as likely as another.
    pub fn remove_random(&mut self, rng: &mut Rng) -> Option<E> {
        self.advance();
        let key = self.random(rng)?.key();
        let hash = self.hash(key);
        let place = self.locate(key, hash)?;
        Some(Occupied::new(self, place, hash).remove())
    }

    /// Calls `f` with up to `n` entries that lie together at a random place, and returns how many.
    ///
    /// Cheaper than as many random ones, and fewer than `n` where the table is sparse.
    pub fn sample(&self, n: usize, rng: &mut Rng, mut f: impl FnMut(&E)) -> usize {
        let wanted = n.min(self.len);
        if wanted == 0 {
            return 0;
        }
        let spread = self.spread();
        let start = rng.below(spread as u64) as usize;
        let mut given = 0;
        for at in (start..start + spread).take(wanted.saturating_mul(10)) {
            let (table, index) = self.spread_bucket(at % spread);
            for entry in self.tables[table].entries(index).take(wanted - given) {
                f(entry);
                given += 1;
            }
            if given == wanted {
                break;
            }
        }
        given
    }

    /// Calls `f` with the marked entries of up to `max_buckets` buckets, and returns the cursor to go on from.
    ///
    /// 0 begins and ends a round. A resizing in between may hide entries from the round, not from the next.
    pub fn scan_marked(&mut self, cursor: u64, max_buckets: usize, mut f: impl FnMut(&E)) -> u64 {
        let mut words = max_buckets.saturating_mul(WORDS_PER_BUCKET);
        let mut at = usize::try_from(cursor).unwrap_or(usize::MAX);
        while words > 0 {
            let Some((table, index)) = self.next_marked(&mut at, &mut words) else { break };
            self.visit_marked(table, index, &mut f);
            words = words.saturating_sub(WORDS_PER_BUCKET - 1);
            at += 1;
        }
        if self.marked == 0 || at >= self.buckets() { 0 } else { at as u64 }
    }

    /// Calls `f` with up to `n` marked entries from a random place on, and returns how many.
    pub fn sample_marked(&mut self, n: usize, rng: &mut Rng, mut f: impl FnMut(&E)) -> usize {
        let wanted = n.min(self.marked);
        if wanted == 0 {
            return 0;
        }
        let start = rng.below(self.buckets() as u64) as usize;
        let mut given = 0;
        // From the start to the end, then from the beginning to the start.
        for (from, to) in [(start, usize::MAX), (0, start)] {
            let (mut at, mut words) = (from, usize::MAX);
            while let Some((table, index)) = self.next_marked(&mut at, &mut words) {
                if at >= to {
                    break;
                }
                self.visit_marked(table, index, |entry| {
                    if given < wanted {
                        f(entry);
                        given += 1;
                    }
                });
                if given == wanted {
                    return given;
                }
                at += 1;
            }
        }
        given
    }

    /// Returns a marked entry by chance; those after a gap come up more often than others.
    pub fn random_marked(&mut self, rng: &mut Rng) -> Option<&E> {
        if self.marked == 0 {
            return None;
        }
        let start = rng.below(self.buckets() as u64) as usize;
        for from in [start, 0] {
            let (mut at, mut words) = (from, usize::MAX);
            while let Some((table, index)) = self.next_marked(&mut at, &mut words) {
                let count = self.visit_marked(table, index, |_| ());
                if count > 0 {
                    let chosen = rng.below(count as u64) as usize;
                    return self.tables[table].entries(index).filter(|entry| entry.marked()).nth(chosen);
                }
                at += 1;
            }
        }
        None
    }

    /// Moves `at` to the next bucket that may hold marked entries, and returns its table and index.
    ///
    /// Positions run through the first table and then the second. Returns nothing at the end, or when it has looked at
    /// `words` words of the bitmap; those it looked at are taken off.
    fn next_marked(&self, at: &mut usize, words: &mut usize) -> Option<(usize, usize)> {
        let first = self.tables[0].count();
        for (table, offset) in [(0, 0), (1, first)] {
            let end = offset + self.tables[table].count();
            if *at >= end {
                continue;
            }
            let (index, found, looked) = self.tables[table].next_mark(*at - offset, *words);
            *at = offset + index;
            *words -= looked;
            if found {
                return Some((table, index));
            }
            if *words == 0 {
                return None;
            }
        }
        None
    }

    /// Calls `f` with the marked entries of a bucket and returns how many; clears its bit if there are none.
    fn visit_marked(&mut self, table: usize, index: usize, mut f: impl FnMut(&E)) -> usize {
        let mut count = 0;
        for entry in self.tables[table].entries(index).filter(|entry| entry.marked()) {
            f(entry);
            count += 1;
        }
        if count == 0 {
            self.tables[table].clear_mark(index);
        }
        count
    }

    /// Returns how many buckets may hold entries: what is not moved of the first table, and what that has filled of the
    /// second.
    fn spread(&self) -> usize {
        let [first, second] = &self.tables;
        let filled = match second.count() / first.count() {
            0 => self.moved.min(second.count()),
            times => self.moved * times,
        };
        first.count() - self.moved + filled
    }

    /// Returns the table and the index of one of those buckets.
    fn spread_bucket(&self, at: usize) -> (usize, usize) {
        let [first, second] = &self.tables;
        let left = first.count() - self.moved;
        if at < left {
            (0, self.moved + at)
        } else if second.count() < first.count() {
            (1, at - left)
        } else {
            // A bucket of the first table has become several that lie as far apart as that table is long.
            (1, (at - left) % self.moved + (at - left) / self.moved * first.count())
        }
    }
}
