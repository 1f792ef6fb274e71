//! A hash table of thin entries that costs two cache lines a lookup and never stops to rebuild itself.
//!
//! Buckets are cache lines (see `bucket.rs`). Growing and shrinking allocate the new table untouched and move a few
//! buckets with each change; no call takes time in proportion to the size, but iterating and dropping.
//!
//! While two tables exist, the old one's buckets below `moved` are in the new one and the others are not, new entries
//! included. So every key has one bucket where it can be, and a lookup looks at one table:
//!
//! ```text
//!   old  ░░░░░░░░████████████      ░ moved   █ entries
//!                ^ moved
//!   new  ████████            ████████
//! ```
//!
//! Entries may be marked (keys that expire). A bitmap of the buckets with marked entries lies beside each table, so
//! that they are found among many others. Its bits may outlive the last marked entry of a bucket; looking clears them.
//!
//! Owns the entries. What they are, where their hash seed comes from and who frees a finished table are left to others.

mod bucket;
mod sample;
mod table;
#[cfg(test)]
mod tests;

use std::mem;

use base::hash::HashSeed;

use bucket::{At, Place, prefetch};
pub use table::Retired;
use table::Table;

/// What a [`Dict`] holds: one thin pointer that knows its key.
///
/// The key of an entry must not change while the entry is in a dict, or it will not be found; nor may its mark, except
/// as [`Occupied::update_mark`] says.
pub trait Entry {
    /// Returns the key.
    fn key(&self) -> &[u8];

    /// Returns whether the entry is one of those that the dict finds by their mark.
    #[inline]
    fn marked(&self) -> bool {
        false
    }

    /// Asks for the memory that the entry's value owns elsewhere, if any, as a walk will come to it soon.
    #[inline]
    fn prefetch_value(&self) {}
}

/// A hash table of entries, unique by key.
pub struct Dict<E: Entry> {
    /// The table, and the one it is being moved to.
    tables: [Table<E>; 2],
    /// How many buckets of the first table have been moved to the second.
    moved: usize,
    len: usize,
    marked: usize,
    seed: HashSeed,
    /// Bytes of the buckets that chains are made of.
    chained: usize,
    resize_allowed: bool,
    retired: Option<Retired>,
}

/// Entries per bucket, in halves, above which a table grows.
const GROW_HALVES: usize = 13;
/// Entries per bucket above which a table grows even if resizing is not allowed.
const CROWDED: usize = 28;
/// Buckets moved with each change while growing; about seven entries each.
const GROW_STEP: usize = 1;
/// Buckets moved with each change while shrinking; less than an entry each.
const SHRINK_STEP: usize = 4;
/// Empty buckets passed over for each bucket that was to be moved.
const EMPTY_PER_BUCKET: usize = 8;
/// Entries whose buckets are asked for together when many are put in.
const BATCH: usize = 32;
/// How many buckets before its turn a walk asks for a bucket, then for its entries, then for what those own.
const AHEAD: [usize; 3] = [10, 6, 3];
/// Tables of so many buckets and fewer are near enough to be walked without asking.
const WALK_MIN: usize = 32;

// SAFETY: a dict owns its tables and entries, and shares neither.
unsafe impl<E: Entry + Send> Send for Dict<E> {}
// SAFETY: a shared dict only gives out shared entries.
unsafe impl<E: Entry + Sync> Sync for Dict<E> {}

impl<E: Entry> Dict<E> {
    /// Returns an empty dict, which has not allocated anything.
    pub fn new(seed: HashSeed) -> Self {
        Dict {
            tables: [Table::empty(), Table::empty()],
            moved: 0,
            len: 0,
            marked: 0,
            seed,
            chained: 0,
            resize_allowed: true,
            retired: None,
        }
    }

    /// Returns how many entries there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns how many entries are marked.
    #[inline]
    pub fn marked_len(&self) -> usize {
        self.marked
    }

    /// Returns the seed that keys are hashed with.
    #[inline]
    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// Returns the hash of `key`, for the functions that take one.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash(key)
    }

    /// Returns the entry of `key`.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&E> {
        self.get_hashed(key, self.hash(key))
    }

    /// Returns the entry of `key`, whose hash is `hash`.
    #[inline]
    pub fn get_hashed(&self, key: &[u8], hash: u64) -> Option<&E> {
        // SAFETY: the entry lives as long as the dict is borrowed.
        self.locate(key, hash).map(|place| unsafe { place.entry().as_ref() })
    }

    /// Returns whether there is an entry of `key`.
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Returns the entry of `key` for change. Its mark must stay as it is; [`Dict::find`] is for changing that.
    #[inline]
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut E> {
        self.get_mut_hashed(key, self.hash(key))
    }

    /// Returns the entry of `key`, whose hash is `hash`, for change; see [`Dict::get_mut`].
    #[inline]
    pub fn get_mut_hashed(&mut self, key: &[u8], hash: u64) -> Option<&mut E> {
        self.advance();
        // SAFETY: the entry lives as long as the dict is borrowed, which is exclusively.
        self.locate(key, hash).map(|place| unsafe { place.entry().as_mut() })
    }

    /// Returns the entry of `key` with its place, to change or remove it.
    #[inline]
    pub fn find(&mut self, key: &[u8]) -> Option<Occupied<'_, E>> {
        self.find_hashed(key, self.hash(key))
    }

    /// Returns the entry of `key`, whose hash is `hash`, with its place.
    #[inline]
    pub fn find_hashed(&mut self, key: &[u8], hash: u64) -> Option<Occupied<'_, E>> {
        self.advance();
        let place = self.locate(key, hash)?;
        Some(Occupied::new(self, place, hash))
    }

    /// Returns the place of `key`, with its entry or without.
    #[inline]
    pub fn entry(&mut self, key: &[u8]) -> Slot<'_, E> {
        self.entry_hashed(key, self.hash(key))
    }

    /// Returns the place of `key`, whose hash is `hash`, with its entry or without.
    #[inline]
    pub fn entry_hashed(&mut self, key: &[u8], hash: u64) -> Slot<'_, E> {
        self.advance();
        match self.locate(key, hash) {
            Some(place) => Slot::Occupied(Occupied::new(self, place, hash)),
            None => Slot::Vacant(Vacant { dict: self, hash }),
        }
    }

    /// Puts an entry in, and returns the one of the same key that was.
    #[inline]
    pub fn insert(&mut self, entry: E) -> Option<E> {
        let hash = self.hash(entry.key());
        match self.entry_hashed(entry.key(), hash) {
            Slot::Occupied(mut occupied) => Some(occupied.replace(entry)),
            Slot::Vacant(vacant) => {
                vacant.insert(entry);
                None
            }
        }
    }

    /// Puts entries in whose keys are all new, in order; ends with the first whose key is there, which is returned.
    ///
    /// Quicker than one by one, as the waits for their buckets overlap. The list is empty afterwards.
    pub fn insert_all(&mut self, entries: &mut Vec<E>) -> Result<(), E> {
        let mut rest = entries.drain(..);
        while rest.len() > 0 {
            let mut hashes = [0; BATCH];
            let batch = rest.len().min(BATCH);
            for (hash, entry) in hashes.iter_mut().zip(rest.as_slice()) {
                *hash = self.hash(entry.key());
                self.prefetch(*hash);
            }
            for (hash, entry) in hashes.into_iter().zip(rest.by_ref().take(batch)) {
                match self.entry_hashed(entry.key(), hash) {
                    Slot::Vacant(vacant) => vacant.insert(entry),
                    Slot::Occupied(_) => return Err(entry),
                };
            }
        }
        Ok(())
    }

    /// Takes the entry of `key` out.
    #[inline]
    pub fn remove(&mut self, key: &[u8]) -> Option<E> {
        self.remove_hashed(key, self.hash(key))
    }

    /// Takes the entry of `key`, whose hash is `hash`, out.
    #[inline]
    pub fn remove_hashed(&mut self, key: &[u8], hash: u64) -> Option<E> {
        self.find_hashed(key, hash).map(Occupied::remove)
    }

    /// Returns an iterator over all entries, in no particular order.
    pub fn iter(&self) -> Iter<'_, E> {
        let bucket = self.tables[0].bucket(0);
        Iter { dict: self, table: 0, index: 0, bucket, occupied: bucket.occupied(), left: self.len }
    }

    /// Calls `f` with the entries of a few buckets, and returns the cursor to go on from; 0 begins and ends.
    ///
    /// Every entry that is in the dict from beginning to end is seen at least once, however the table is resized in
    /// between.
    ///
    /// The cursor counts bucket indexes from the top bit down. The buckets that an index splits into or is joined from
    /// when tables grow or shrink differ in upper bits only, so those counted before are the same set in every size.
    pub fn scan(&self, cursor: u64, mut f: impl FnMut(&E)) -> u64 {
        if self.len == 0 {
            return 0;
        }
        let mut emit = |table: &Table<E>, cursor: u64| table.entries(cursor as usize).for_each(&mut f);
        let [first, second] = &self.tables;
        if !second.has_buckets() {
            emit(first, cursor);
            return next_cursor(cursor, first.mask());
        }
        let (small, large) = if first.mask() < second.mask() { (first, second) } else { (second, first) };
        emit(small, cursor);
        // Then all that this bucket becomes, or came from, in the larger table.
        let mut cursor = cursor;
        loop {
            emit(large, cursor);
            cursor = next_cursor(cursor, large.mask());
            if cursor & (small.mask() ^ large.mask()) as u64 == 0 {
                return cursor;
            }
        }
    }

    /// Asks for the bucket of `hash` to be brought near, for a lookup that will follow.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        let (table, index) = self.home(hash);
        prefetch(self.tables[table].bucket(index).address());
    }

    /// Asks for the entry of `hash` to be brought near; its bucket is read, so [`Dict::prefetch`] goes before.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        let (table, index) = self.home(hash);
        self.tables[table].bucket(index).prefetch_hits(tag(hash));
    }

    /// Returns the bytes of the tables, without the entries.
    pub fn bytes(&self) -> usize {
        self.tables[0].bytes() + self.tables[1].bytes() + self.chained
    }

    /// Returns how many buckets there are, those of a table being filled included.
    pub fn buckets(&self) -> usize {
        self.tables[0].count() + self.tables[1].count()
    }

    /// Returns whether entries are being moved to a table of another size.
    #[inline]
    pub fn is_rehashing(&self) -> bool {
        self.tables[1].has_buckets()
    }

    /// Moves up to so many buckets to the new table, and returns whether there are more to move.
    pub fn rehash_step(&mut self, buckets: usize) -> bool {
        if self.is_rehashing() {
            self.migrate(buckets);
        }
        self.is_rehashing()
    }

    /// Says whether the table may be resized as it fills and empties; a resizing in progress goes on.
    ///
    /// A table that is several times too small grows all the same.
    pub fn set_resize_allowed(&mut self, allowed: bool) {
        self.resize_allowed = allowed;
    }

    /// Makes room for so many more entries at once.
    ///
    /// Does nothing while entries are being moved.
    pub fn reserve(&mut self, additional: usize) {
        let buckets = self.len.saturating_add(additional).saturating_mul(2).div_ceil(GROW_HALVES);
        let buckets = buckets.checked_next_power_of_two().expect("tables fit memory");
        if additional > 0 && !self.is_rehashing() && buckets > self.tables[0].count() {
            self.resize(buckets);
        }
    }

    /// Shrinks a table that is too large for its entries, as removing does; for when resizing is allowed again.
    pub fn shrink_if_sparse(&mut self) {
        let count = self.tables[0].count();
        if self.len == 0 && count > 1 {
            // Chains end with the eighth entry, so there is nothing but the arrays.
            debug_assert_eq!(self.chained, 0);
            let [first, second] = mem::replace(&mut self.tables, [Table::empty(), Table::empty()]);
            self.moved = 0;
            let larger = if first.count() > second.count() { first } else { second };
            self.retire(larger);
        } else if !self.is_rehashing() && self.len.saturating_mul(5) < count.saturating_mul(4) && count > 1 {
            self.resize((self.len / 4 + 1).next_power_of_two());
        }
    }

    /// Takes the memory of a table whose entries have all been moved, to be freed elsewhere.
    ///
    /// What is not taken is freed when the next table is finished.
    #[inline]
    pub fn take_retired(&mut self) -> Option<Retired> {
        self.retired.take()
    }

    /// Returns the table and the index of the only bucket where an entry of that hash can be.
    #[inline(always)]
    fn home(&self, hash: u64) -> (usize, usize) {
        let index = hash as usize & self.tables[0].mask();
        if index >= self.moved { (0, index) } else { (1, hash as usize & self.tables[1].mask()) }
    }

    #[inline(always)]
    fn locate(&self, key: &[u8], hash: u64) -> Option<Place<E>> {
        let (table, index) = self.home(hash);
        // SAFETY: the buckets of a table are live, and borrowed with the dict.
        unsafe { self.tables[table].bucket(index).find(tag(hash), key) }
    }

    /// Goes on with the resizing, if there is one.
    #[inline(always)]
    fn advance(&mut self) {
        if self.is_rehashing() {
            self.advance_rehash();
        }
    }

    #[cold]
    #[inline(never)]
    fn advance_rehash(&mut self) {
        let growing = self.tables[0].mask() < self.tables[1].mask();
        self.migrate(if growing { GROW_STEP } else { SHRINK_STEP });
    }

    fn migrate(&mut self, buckets: usize) {
        let [from, to] = &mut self.tables;
        let (mut buckets, mut empty) = (buckets, buckets.saturating_mul(EMPTY_PER_BUCKET));
        while self.moved < from.count() && buckets > 0 && empty > 0 {
            let bucket = from.bucket(self.moved);
            if bucket.is_empty() {
                empty -= 1;
                self.moved += 1;
                continue;
            }
            let (seed, mut grown) = (self.seed, 0);
            // SAFETY: the buckets of both tables are live and borrowed exclusively; the tables do not share any.
            let freed = unsafe {
                bucket.drain(|entry| {
                    let hash = seed.hash(entry.key());
                    let index = hash as usize & to.mask();
                    if entry.marked() {
                        to.set_mark(index);
                    }
                    grown += to.bucket(index).put(tag(hash), entry).1;
                })
            };
            self.chained = self.chained + grown - freed;
            self.moved += 1;
            buckets -= 1;
        }
        if self.moved == from.count() {
            let finished = mem::replace(from, mem::replace(to, Table::empty()));
            self.moved = 0;
            self.retire(finished);
        } else {
            // By the next change the entries to move will be near, and the bucket after them.
            from.bucket(self.moved).prefetch_all();
            prefetch(from.bucket(self.moved + 1).address());
        }
    }

    fn retire(&mut self, table: Table<E>) {
        self.retired = Retired::new(table.into_memory());
    }

    /// Grows the table if another entry would make it too full.
    #[inline]
    fn grow_if_full(&mut self) {
        let table = &self.tables[0];
        if (self.len + 1) * 2 > (table.mask() + 1) * GROW_HALVES || !table.has_buckets() {
            self.grow();
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let count = self.tables[0].count();
        if count == 0 {
            self.tables[0] = Table::with_buckets(1);
        } else if !self.is_rehashing() && (self.resize_allowed || self.len > count * CROWDED) {
            self.resize(((self.len + 1) * 2 / GROW_HALVES + 1).next_power_of_two());
        }
    }

    /// Begins to move the entries to a table of that many buckets.
    fn resize(&mut self, buckets: usize) {
        debug_assert!(!self.is_rehashing());
        if buckets == self.tables[0].count() {
            return;
        }
        let table = Table::with_buckets(buckets);
        if self.len == 0 {
            let old = mem::replace(&mut self.tables[0], table);
            self.retire(old);
        } else {
            self.tables[1] = table;
            self.moved = 0;
        }
    }

    fn place(&mut self, hash: u64, entry: E) -> Place<E> {
        self.grow_if_full();
        let (table, index) = self.home(hash);
        let table = &mut self.tables[table];
        if entry.marked() {
            table.set_mark(index);
            self.marked += 1;
        }
        // SAFETY: the table has buckets after `grow_if_full`, and is borrowed exclusively.
        let (place, grown) = unsafe { table.bucket(index).put(tag(hash), entry) };
        self.chained += grown;
        self.len += 1;
        place
    }
}

impl<E: Entry + Clone> Clone for Dict<E> {
    /// Returns a dict of copies of all entries, in a table of the right size.
    fn clone(&self) -> Self {
        let mut copy = Dict::new(self.seed);
        copy.reserve(self.len);
        for entry in self {
            copy.place(self.hash(entry.key()), entry.clone());
        }
        copy
    }
}

impl<E: Entry> Drop for Dict<E> {
    fn drop(&mut self) {
        for table in &self.tables {
            for index in 0..table.count() {
                // SAFETY: the table is not used again.
                unsafe { table.bucket(index).drain(drop) };
            }
        }
    }
}

impl<'a, E: Entry> IntoIterator for &'a Dict<E> {
    type Item = &'a E;
    type IntoIter = Iter<'a, E>;

    fn into_iter(self) -> Iter<'a, E> {
        self.iter()
    }
}

/// The place of a key in a dict.
pub enum Slot<'a, E: Entry> {
    Occupied(Occupied<'a, E>),
    Vacant(Vacant<'a, E>),
}

/// The place of an entry.
pub struct Occupied<'a, E: Entry> {
    dict: &'a mut Dict<E>,
    place: Place<E>,
    hash: u64,
    was_marked: bool,
}

impl<'a, E: Entry> Occupied<'a, E> {
    #[inline(always)]
    fn new(dict: &'a mut Dict<E>, place: Place<E>, hash: u64) -> Self {
        // SAFETY: the place holds an entry of the dict.
        let was_marked = unsafe { place.entry().as_ref() }.marked();
        Occupied { dict, place, hash, was_marked }
    }

    /// Returns the entry.
    #[inline]
    pub fn get(&self) -> &E {
        // SAFETY: the place holds an entry until the guard gives it up.
        unsafe { self.place.entry().as_ref() }
    }

    /// Returns the entry for change; [`Occupied::update_mark`] must follow if that may have changed its mark.
    #[inline]
    pub fn get_mut(&mut self) -> &mut E {
        // SAFETY: as for `get`, and the dict is borrowed exclusively.
        unsafe { self.place.entry().as_mut() }
    }

    /// Returns the entry for as long as the dict is borrowed. Its mark must stay as it is.
    #[inline]
    pub fn into_mut(self) -> &'a mut E {
        // SAFETY: as for `get_mut`; the guard, and with it the borrow, is given up.
        unsafe { &mut *self.place.entry().as_ptr() }
    }

    /// Returns the hash of the key.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Takes note of a change of the entry's mark.
    #[inline]
    pub fn update_mark(&mut self) {
        let marked = self.get().marked();
        if marked == self.was_marked {
            return;
        }
        self.was_marked = marked;
        if marked {
            let (table, index) = self.dict.home(self.hash);
            self.dict.tables[table].set_mark(index);
            self.dict.marked += 1;
        } else {
            self.dict.marked = self.dict.marked.saturating_sub(1);
        }
    }

    /// Puts another entry of the same key in its place, and returns the one that was.
    #[inline]
    pub fn replace(&mut self, entry: E) -> E {
        debug_assert!(entry.key() == self.get().key(), "an entry is replaced by one of the same key");
        let old = mem::replace(self.get_mut(), entry);
        self.update_mark();
        old
    }

    /// Takes the entry out.
    #[inline]
    pub fn remove(self) -> E {
        self.vacate().0
    }

    /// Takes the entry out, and returns its place as well.
    #[inline]
    pub fn vacate(self) -> (E, Vacant<'a, E>) {
        let Occupied { dict, place, hash, was_marked } = self;
        let (table, index) = dict.home(hash);
        // SAFETY: the place holds an entry of the bucket's chain, and the dict is borrowed exclusively.
        let (entry, freed) = unsafe { dict.tables[table].bucket(index).take(place) };
        dict.chained -= freed;
        dict.len -= 1;
        // A change of the mark that was never reported would make the count wrong, which must not make it wrap.
        dict.marked = dict.marked.saturating_sub(usize::from(was_marked));
        if dict.resize_allowed {
            dict.shrink_if_sparse();
        }
        (entry, Vacant { dict, hash })
    }
}

/// The place where an entry of a key would be.
pub struct Vacant<'a, E: Entry> {
    dict: &'a mut Dict<E>,
    hash: u64,
}

impl<'a, E: Entry> Vacant<'a, E> {
    /// Returns the hash of the key.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Puts an entry of the key in its place.
    #[inline]
    pub fn insert(self, entry: E) -> Occupied<'a, E> {
        debug_assert_eq!(
            self.dict.hash(entry.key()),
            self.hash,
            "the entry is of the key that was looked for"
        );
        let was_marked = entry.marked();
        let place = self.dict.place(self.hash, entry);
        Occupied { dict: self.dict, place, hash: self.hash, was_marked }
    }
}

/// All entries of a dict, in no particular order.
pub struct Iter<'a, E: Entry> {
    dict: &'a Dict<E>,
    table: usize,
    index: usize,
    bucket: At<E>,
    /// The slots of the bucket still to come.
    occupied: u8,
    left: usize,
}

impl<'a, E: Entry> Iterator for Iter<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        if self.left == 0 {
            return None;
        }
        while self.occupied == 0 {
            self.bucket = match self.bucket.next() {
                Some(next) => next,
                None => {
                    self.index += 1;
                    if self.index >= self.dict.tables[self.table].count() {
                        (self.table, self.index) = (self.table + 1, 0);
                    }
                    let table = &self.dict.tables[self.table];
                    if table.count() > WALK_MIN {
                        table.look_ahead(self.index, AHEAD);
                    }
                    table.bucket(self.index)
                }
            };
            self.occupied = self.bucket.occupied();
        }
        let place = Place { bucket: self.bucket, slot: self.occupied.trailing_zeros() as usize };
        self.occupied &= self.occupied - 1;
        self.left -= 1;
        // SAFETY: the slot is occupied, and the entry lives as long as the dict is borrowed.
        Some(unsafe { &*place.entry().as_ptr() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<E: Entry> ExactSizeIterator for Iter<'_, E> {}

/// Returns the part of a hash that a bucket keeps; the bucket's index is taken from the other end.
#[inline(always)]
fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// Returns the cursor after this one: an increment that carries downwards, in a table of that mask.
fn next_cursor(cursor: u64, mask: usize) -> u64 {
    (cursor | !(mask as u64)).reverse_bits().wrapping_add(1).reverse_bits()
}
