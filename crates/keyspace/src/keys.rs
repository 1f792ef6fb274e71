//! One command's view of the keyspace: a selected database at a moment in time.

use structures::dict::{Occupied, Slot};
use structures::{Buf, Payload};

use crate::change::Class;
use crate::db::Aging;
use crate::edit::{Edit, TextEdit, View};
use crate::text::{INLINE_MAX, as_int};
use crate::{Entry, Keyspace, Kind, Text, Type, Value, evict};

/// The key holds a value of another type than the command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// What a write does to the key's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    Clear,
    Keep,
    /// Unix time in milliseconds.
    At(i64),
}

/// The keyspace as one command sees it.
pub struct Keys<'a> {
    pub space: &'a mut Keyspace,
    pub db: usize,
    pub now_ms: i64,
    /// Keys whose stamp is this or less are past their expiry; none is while the data set is being loaded.
    pub due_ms: i64,
    /// Reads leave access ages as they are (CLIENT NO-TOUCH).
    pub no_touch: bool,
}

impl<'a> Keys<'a> {
    /// Returns the view of database `db` at `now_ms`.
    pub fn new(space: &'a mut Keyspace, db: usize, now_ms: i64, no_touch: bool) -> Keys<'a> {
        let due_ms = if space.loading { i64::MIN } else { now_ms };
        Keys { space, db, now_ms, due_ms, no_touch }
    }

    /// Returns the same view of another database.
    pub fn other(&mut self, db: usize) -> Keys<'_> {
        let Keys { now_ms, due_ms, no_touch, .. } = *self;
        Keys { space: self.space, db, now_ms, due_ms, no_touch }
    }

    /// Finds a live key for writing; a key past its expiry is deleted first, and that is recorded.
    #[inline]
    pub fn find(&mut self, key: &[u8]) -> Option<Occupied<'_, Entry>> {
        let Keyspace { dbs, recorder, keep_expired, ahead, seed, .. } = &mut *self.space;
        let found = dbs[self.db].table.find_hashed(key, ahead.hash(seed, key))?;
        match found.get().stamp() {
            Some(at) if at <= self.due_ms => {
                if !*keep_expired {
                    let entry = found.remove();
                    recorder.expire(self.db, key, entry);
                }
                None
            }
            _ => Some(found),
        }
    }

    /// Finds a live key for writing, as [`Keys::find`] does, and updates its access age.
    #[inline]
    pub fn find_touched(&mut self, key: &[u8]) -> Option<Occupied<'_, Entry>> {
        let no_touch = self.no_touch;
        let Keyspace { dbs, recorder, keep_expired, rng, aging, ahead, seed, .. } = &mut *self.space;
        let mut found = dbs[self.db].table.find_hashed(key, ahead.hash(seed, key))?;
        match found.get().stamp() {
            Some(at) if at <= self.due_ms => {
                if !*keep_expired {
                    let entry = found.remove();
                    recorder.expire(self.db, key, entry);
                }
                None
            }
            _ => {
                if !no_touch {
                    touch(found.get_mut(), *aging, self.now_ms, rng);
                }
                Some(found)
            }
        }
    }

    /// Finds a live key without counting or touching it (OBJECT, and commands that look at several keys).
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        self.find(key).map(|found| &*found.into_mut())
    }

    /// Finds a live key for reading: counts a hit or a miss and updates its access age.
    #[inline]
    pub fn lookup(&mut self, key: &[u8]) -> Option<&Entry> {
        let touches = !self.no_touch;
        self.look(key, touches)
    }

    /// Finds a live key for reading as [`Keys::lookup`] does, but leaves its access age as it is (TYPE, TTL, EXISTS).
    #[inline]
    pub fn inspect(&mut self, key: &[u8]) -> Option<&Entry> {
        self.look(key, false)
    }

    #[inline]
    fn look(&mut self, key: &[u8], touches: bool) -> Option<&Entry> {
        let Keyspace { dbs, recorder, keep_expired, rng, aging, ahead, seed, .. } = &mut *self.space;
        let Some(mut found) = dbs[self.db].table.find_hashed(key, ahead.hash(seed, key)) else {
            recorder.miss(self.db, key);
            return None;
        };
        match found.get().stamp() {
            Some(at) if at <= self.due_ms => {
                if !*keep_expired {
                    let entry = found.remove();
                    recorder.expire(self.db, key, entry);
                }
                recorder.miss(self.db, key);
                None
            }
            _ => {
                recorder.hits += 1;
                if touches {
                    touch(found.get_mut(), *aging, self.now_ms, rng);
                }
                Some(found.into_mut())
            }
        }
    }

    /// Expires, counts and touches `key` as a read would, so that [`Keys::view`] may follow.
    pub fn refresh(&mut self, key: &[u8]) -> bool {
        self.lookup(key).is_some()
    }

    /// Returns whether the key is there and alive, without touching it.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// Returns the type of the live value at `key`.
    pub fn type_of(&mut self, key: &[u8]) -> Option<Type> {
        self.peek(key).map(type_of)
    }

    /// Returns the string at `key`.
    #[inline]
    pub fn text(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, WrongType> {
        self.lookup(key).map(Text::of).transpose()
    }

    /// Returns the collection at `key` for reading.
    pub fn read<T: Kind>(&mut self, key: &[u8]) -> Result<Option<View<'_, T>>, WrongType> {
        self.lookup(key).map(View::of).transpose()
    }

    /// Returns the collection at `key` if it is there, without expiry, counting or touching: call [`Keys::refresh`] first.
    ///
    /// Several views may be held at once.
    pub fn view<T: Kind>(&self, key: &[u8]) -> Result<Option<View<'_, T>>, WrongType> {
        self.live(key).map(View::of).transpose()
    }

    /// Returns the live entry at `key` through a shared borrow, changing nothing.
    pub fn live(&self, key: &[u8]) -> Option<&Entry> {
        let entry = self.space.dbs[self.db].table.get(key)?;
        match entry.stamp() {
            Some(at) if at <= self.due_ms => None,
            _ => Some(entry),
        }
    }

    /// Opens the collection at `key` for change; a missing key gives `None`.
    pub fn edit<T: Kind>(&mut self, key: &[u8]) -> Result<Option<Edit<'_, T>>, WrongType> {
        let db = self.db;
        match self.slot(key) {
            (Slot::Occupied(found), recorder) => Edit::open(found, recorder, db, false).map(Some),
            (Slot::Vacant(_), _) => Ok(None),
        }
    }

    /// Opens the collection at `key` for change, creating an empty one if the key is missing.
    pub fn edit_or_create<T: Kind>(&mut self, key: &[u8]) -> Result<Edit<'_, T>, WrongType> {
        let (db, aging, now_ms) = (self.db, self.space.aging, self.now_ms);
        match self.slot(key) {
            (Slot::Occupied(found), recorder) => Edit::open(found, recorder, db, false),
            (Slot::Vacant(vacant), recorder) => {
                let mut entry = Entry::with_word(key, T::empty().wrap(), None);
                entry.set_age(evict::initial_age(aging, now_ms));
                Edit::open(vacant.insert(entry), recorder, db, true)
            }
        }
    }

    /// Opens the string at `key` for change, there or not.
    #[inline]
    pub fn edit_text<'k>(&'k mut self, key: &'k [u8]) -> Result<TextEdit<'k>, WrongType> {
        let (db, age) = (self.db, self.initial_age());
        let (slot, recorder) = self.slot(key);
        TextEdit::open(slot, recorder, db, key, age)
    }

    /// Finds the place of `key`, expired entries counting as absent, and updates its age.
    #[inline]
    fn slot(&mut self, key: &[u8]) -> (Slot<'_, Entry>, &mut crate::Recorder) {
        let Keyspace { dbs, recorder, rng, aging, ahead, seed, .. } = &mut *self.space;
        let table = &mut dbs[self.db].table;
        let slot = match table.entry_hashed(key, ahead.hash(seed, key)) {
            Slot::Occupied(found) if matches!(found.get().stamp(), Some(at) if at <= self.due_ms) => {
                let (entry, vacant) = found.vacate();
                recorder.expire(self.db, key, entry);
                Slot::Vacant(vacant)
            }
            Slot::Occupied(mut found) => {
                if !self.no_touch {
                    touch(found.get_mut(), *aging, self.now_ms, rng);
                }
                Slot::Occupied(found)
            }
            vacant => vacant,
        };
        (slot, recorder)
    }

    /// Stores a string at `key`, whatever it held before; the caller records the event.
    #[inline]
    pub fn set_text(&mut self, key: &[u8], bytes: &[u8], stamp: Stamp) {
        let (db, age) = (self.db, self.initial_age());
        let (slot, recorder) = self.slot(key);
        let at = match stamp {
            Stamp::At(ms) => Some(ms),
            _ => None,
        };
        match slot {
            Slot::Occupied(mut found) => {
                let entry = found.get_mut();
                let before = entry.stamp();
                let at = if stamp == Stamp::Keep { before } else { at };
                let old = assign_text(entry, bytes, at);
                if before != at {
                    found.update_mark();
                }
                if let Some(old) = old {
                    recorder.discard(old);
                }
            }
            Slot::Vacant(vacant) => {
                let mut entry = new_text(key, bytes, at);
                entry.set_age(age);
                vacant.insert(entry);
                recorder.created(db, key);
            }
        }
    }

    /// Stores `value` at `key`, whatever it held before; the caller records the event.
    pub fn set_value(&mut self, key: &[u8], mut value: Value, stamp: Stamp) {
        let (db, age) = (self.db, self.initial_age());
        let (slot, recorder) = self.slot(key);
        recorder.retire(&mut value);
        let at = match stamp {
            Stamp::At(ms) => Some(ms),
            _ => None,
        };
        match slot {
            Slot::Occupied(mut found) => {
                let entry = found.get_mut();
                let at = if stamp == Stamp::Keep { entry.stamp() } else { at };
                let old = entry.assign_word(value, at);
                found.update_mark();
                if let Some(old) = old {
                    recorder.discard(old);
                }
            }
            Slot::Vacant(vacant) => {
                let mut entry = Entry::with_word(key, value, at);
                entry.set_age(age);
                vacant.insert(entry);
                recorder.created(db, key);
            }
        }
    }

    /// Removes a live key and returns its entry; the caller records the event.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        self.find(key).map(Occupied::remove)
    }

    /// Deletes a live key: records `event` (`del`), frees large values elsewhere when `lazy`. Returns whether it was there.
    pub fn delete(&mut self, key: &[u8], event: &'static str, lazy: bool) -> bool {
        let Some(entry) = self.take(key) else { return false };
        self.release(entry, lazy);
        self.changed(Class::Generic, event, key);
        true
    }

    /// Frees an entry that left the keyspace, elsewhere when that may take long and `lazy` is asked for.
    pub fn release(&mut self, mut entry: Entry, lazy: bool) {
        if lazy && let Some(value) = entry.take_word() {
            self.space.recorder.discard(value);
        }
    }

    /// Puts an entry whose key is not in the database, or there only as an expired one that is kept.
    pub fn put(&mut self, entry: Entry) {
        let Keyspace { dbs, recorder, .. } = &mut *self.space;
        recorder.created(self.db, entry.key());
        if let Some(mut expired) = dbs[self.db].table.insert(entry)
            && let Some(value) = expired.take_word()
        {
            recorder.discard(value);
        }
    }

    /// Returns the expiry of a live key: `None` if the key is missing, `Some(None)` if it has none.
    pub fn stamp(&mut self, key: &[u8]) -> Option<Option<i64>> {
        self.peek(key).map(Entry::stamp)
    }

    /// Sets or clears the expiry of a live key (unix ms). Returns whether the key is there.
    pub fn set_stamp(&mut self, key: &[u8], at: Option<i64>) -> bool {
        match self.find(key) {
            Some(mut found) => {
                found.get_mut().set_stamp(at);
                found.update_mark();
                true
            }
            None => false,
        }
    }

    /// Records that a write changed `key`.
    #[inline]
    pub fn changed(&mut self, class: Class, event: &'static str, key: &[u8]) {
        self.space.recorder.changed(self.db, key, class, event);
    }

    /// Records an event on `key` that counts no further change.
    pub fn event(&mut self, class: Class, event: &'static str, key: &[u8]) {
        self.space.recorder.event(self.db, key, class, event);
    }

    /// Returns the age that a key gets when it is created.
    #[inline]
    pub fn initial_age(&self) -> u32 {
        evict::initial_age(self.space.aging, self.now_ms)
    }
}

/// Returns a deep copy of an entry under another key, with another expiry; its access age is for the caller to set.
pub fn duplicate(entry: &Entry, key: &[u8], at: Option<i64>) -> Entry {
    match entry.payload() {
        Payload::Bytes(bytes) => Entry::with_bytes(key, bytes, at),
        Payload::Word(word) => Entry::with_word(key, Value::clone(&word), at),
    }
}

/// Returns an entry's value under another key; expiry and access age go with it.
pub fn rename(mut entry: Entry, key: &[u8]) -> Entry {
    let at = entry.stamp();
    let mut renamed = match entry.bytes() {
        Some(bytes) => Entry::with_bytes(key, bytes, at),
        None => Entry::with_word(key, entry.take_word().expect("what is not inline is a word"), at),
    };
    renamed.set_age(entry.age());
    renamed
}

/// Returns the type of an entry's value.
pub fn type_of(entry: &Entry) -> Type {
    match entry.payload() {
        Payload::Bytes(_) => Type::String,
        Payload::Word(word) => word.type_of(),
    }
}

/// Returns the name that `OBJECT ENCODING` prints for an entry.
pub fn encoding_of(entry: &Entry) -> &'static str {
    match entry.payload() {
        Payload::Bytes(bytes) => Text::inline_encoding(bytes),
        Payload::Word(word) => word.encoding(),
    }
}

/// Returns the bytes that an entry takes, estimating large collections from `samples` elements (0 = all).
pub fn memory_of(entry: &Entry, samples: usize) -> usize {
    entry.heap_size()
        + match entry.payload() {
            Payload::Bytes(_) => 0,
            Payload::Word(word) => word.heap_size(samples),
        }
}

#[inline]
fn touch(entry: &mut Entry, aging: Aging, now_ms: i64, rng: &mut base::rng::Rng) {
    let age = evict::touched_age(entry.age(), aging, now_ms, rng);
    if age != entry.age() {
        entry.set_age(age);
    }
}

/// Writes a string and the expiry into an existing entry; returns the value it replaced, if that was not inline.
#[inline]
pub(crate) fn assign_text(entry: &mut Entry, bytes: &[u8], at: Option<i64>) -> Option<Value> {
    if let Some(n) = as_int(bytes) {
        entry.assign_word(Value::Int(n), at)
    } else if bytes.len() <= INLINE_MAX {
        entry.assign_bytes(bytes, at)
    } else {
        entry.assign_word(Value::Text(Buf::from(bytes)), at)
    }
}

/// Returns a new entry that holds a string in its best encoding.
#[inline]
pub(crate) fn new_text(key: &[u8], bytes: &[u8], at: Option<i64>) -> Entry {
    if let Some(n) = as_int(bytes) {
        return Entry::with_word(key, Value::Int(n), at);
    }
    if bytes.len() <= INLINE_MAX {
        return Entry::with_bytes(key, bytes, at);
    }
    Entry::with_word(key, Value::Text(Buf::from(bytes)), at)
}

impl crate::Recorder {
    /// Records that `entry` was found past its expiry and removed.
    #[cold]
    pub(crate) fn expire(&mut self, db: usize, key: &[u8], mut entry: Entry) {
        self.expired += 1;
        if let Some(value) = entry.take_word() {
            self.discard(value);
        }
        self.event(db, key, Class::Expired, "expired");
    }

    #[inline]
    pub(crate) fn miss(&mut self, db: usize, key: &[u8]) {
        self.misses += 1;
        if self.listening.any(crate::Listening::RARE) {
            self.event(db, key, Class::KeyMiss, "keymiss");
        }
    }

    #[inline]
    pub(crate) fn created(&mut self, db: usize, key: &[u8]) {
        if self.listening.any(crate::Listening::RARE) {
            self.event(db, key, Class::New, "new");
        }
    }
}
