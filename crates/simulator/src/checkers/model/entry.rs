//! Keys and values of the model, and the encodings that the server should have chosen for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Model, maybe_int, wrong_type};
use crate::checkers::answer::Answer;

/// One database.
#[derive(Clone, Debug, Default)]
pub(super) struct Db {
    pub(super) keys: BTreeMap<Vec<u8>, Entry>,
    /// Keys that expired and that the server may not have deleted yet; DBSIZE counts those.
    pub(super) ghosts: BTreeSet<Vec<u8>>,
}

/// One key.
#[derive(Clone, Debug)]
pub struct Entry {
    pub value: Value,
    /// Unix time in milliseconds.
    pub expires: Option<i64>,
    pub encoding: Encoding,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    ZSet(BTreeMap<Vec<u8>, f64>),
}

/// How the server should store a value: collections only ever change to the larger encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Any that the value's type has: the way in which it came to be leaves the choice open.
    Open,
    Int,
    Embstr,
    Raw,
    Intset,
    Listpack,
    Hashtable,
    Skiplist,
}

/// The thresholds between encodings.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    hash_entries: i64,
    hash_value: i64,
    set_ints: i64,
    set_entries: i64,
    set_value: i64,
    zset_entries: i64,
    zset_value: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hash_entries: 128,
            hash_value: 64,
            set_ints: 512,
            set_entries: 128,
            set_value: 64,
            zset_entries: 128,
            zset_value: 64,
        }
    }
}

impl Limits {
    /// Sets the threshold that a parameter names; others do not concern the model.
    pub fn set(&mut self, name: &[u8], value: i64) {
        match name {
            b"hash-max-listpack-entries" => self.hash_entries = value,
            b"hash-max-listpack-value" => self.hash_value = value,
            b"set-max-intset-entries" => self.set_ints = value,
            b"set-max-listpack-entries" => self.set_entries = value,
            b"set-max-listpack-value" => self.set_value = value,
            b"zset-max-listpack-entries" => self.zset_entries = value,
            b"zset-max-listpack-value" => self.zset_value = value,
            _ => {}
        }
    }
}

impl Entry {
    /// Returns whether the key is past its time.
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expires.is_some_and(|at| at <= now_ms)
    }

    /// Returns a value with no expiry.
    pub fn new(value: Value, encoding: Encoding) -> Entry {
        Entry { value, expires: None, encoding }
    }

    /// Returns a string as SET stores it.
    pub fn text(text: &[u8]) -> Entry {
        Entry::new(Value::Text(text.to_vec()), text_encoding(text))
    }

    /// Returns what TYPE says.
    pub fn type_name(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "string",
            Value::List(_) => "list",
            Value::Set(_) => "set",
            Value::Hash(_) => "hash",
            Value::ZSet(_) => "zset",
        }
    }

    /// Returns what OBJECT ENCODING may say.
    pub fn encodings(&self) -> &'static [&'static str] {
        match (self.encoding, &self.value) {
            (Encoding::Int, _) => &["int"],
            (Encoding::Embstr, _) => &["embstr"],
            (Encoding::Raw, _) => &["raw"],
            (Encoding::Intset, _) => &["intset"],
            (Encoding::Listpack, _) => &["listpack"],
            (Encoding::Hashtable, _) => &["hashtable"],
            (Encoding::Skiplist, _) => &["skiplist"],
            (Encoding::Open, Value::Text(_)) => &["int", "embstr", "raw"],
            (Encoding::Open, Value::List(_)) => &["listpack", "quicklist"],
            (Encoding::Open, Value::Set(_)) => &["intset", "listpack", "hashtable"],
            (Encoding::Open, Value::Hash(_)) => &["listpack", "hashtable"],
            (Encoding::Open, Value::ZSet(_)) => &["listpack", "skiplist"],
        }
    }

    /// Returns how many elements the value has.
    pub fn len(&self) -> usize {
        match &self.value {
            Value::Text(_) => 1,
            Value::List(list) => list.len(),
            Value::Set(set) => set.len(),
            Value::Hash(hash) => hash.len(),
            Value::ZSet(zset) => zset.len(),
        }
    }

    /// Returns whether a collection has no elements, and so must not exist.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Returns the encoding that SET gives a text.
pub(super) fn text_encoding(text: &[u8]) -> Encoding {
    match text.len() {
        0..=20 if maybe_int(text).is_some() => Encoding::Int,
        0..=44 => Encoding::Embstr,
        _ => Encoding::Raw,
    }
}

macro_rules! typed {
    ($read:ident, $edit:ident, $variant:ident, $type:ty, $encoding:expr) => {
        /// Returns the value at `key` if there is one.
        pub(super) fn $read(&mut self, key: &[u8]) -> Result<Option<&$type>, Answer> {
            match self.look(key).map(|entry| &entry.value) {
                None => Ok(None),
                Some(Value::$variant(value)) => Ok(Some(value)),
                Some(_) => Err(wrong_type()),
            }
        }

        /// Returns the value at `key`, which is created if it is missing.
        pub(super) fn $edit(&mut self, key: &[u8]) -> Result<&mut $type, Answer> {
            self.look(key);
            let entry = self.dbs[self.db]
                .keys
                .entry(key.to_vec())
                .or_insert_with(|| Entry::new(Value::$variant(<$type>::default()), $encoding));
            match &mut entry.value {
                Value::$variant(value) => Ok(value),
                _ => Err(wrong_type()),
            }
        }
    };
}

impl Model {
    typed!(list, edit_list, List, VecDeque<Vec<u8>>, Encoding::Open);
    typed!(set, edit_set, Set, BTreeSet<Vec<u8>>, Encoding::Intset);
    typed!(hash, edit_hash, Hash, BTreeMap<Vec<u8>, Vec<u8>>, Encoding::Listpack);
    typed!(zset, edit_zset, ZSet, BTreeMap<Vec<u8>, f64>, Encoding::Listpack);

    /// Returns the text at `key` if there is one.
    pub(super) fn text(&mut self, key: &[u8]) -> Result<Option<&Vec<u8>>, Answer> {
        match self.look(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Text(value)) => Ok(Some(value)),
            Some(_) => Err(wrong_type()),
        }
    }

    /// Returns the live entry at `key`; one that is past its time is gone.
    pub(super) fn look(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.look_in(self.db, key)
    }

    /// Returns the live entry at `key` in another database.
    pub(super) fn look_in(&mut self, db: usize, key: &[u8]) -> Option<&mut Entry> {
        let now_ms = self.now.unix_ms();
        let space = &mut self.dbs[db];
        if space.keys.get(key)?.is_expired(now_ms) {
            space.keys.remove(key);
            space.ghosts.insert(key.to_vec());
        }
        space.keys.get_mut(key)
    }

    /// Puts an entry in the place of whatever was there.
    pub(super) fn put(&mut self, key: &[u8], entry: Entry) {
        self.put_in(self.db, key, entry);
    }

    /// Puts an entry into another database.
    pub(super) fn put_in(&mut self, db: usize, key: &[u8], entry: Entry) {
        self.look_in(db, key);
        self.dbs[db].keys.insert(key.to_vec(), entry);
        self.changed_in(db, key);
    }

    /// Removes a live key.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Entry> {
        self.look(key)?;
        let entry = self.dbs[self.db].keys.remove(key);
        self.touch(self.db, key);
        entry
    }

    /// Says that `key` was changed: an empty collection goes, those who watch or wait learn of it.
    pub(super) fn changed(&mut self, key: &[u8]) {
        self.changed_in(self.db, key);
    }

    fn changed_in(&mut self, db: usize, key: &[u8]) {
        let space = &mut self.dbs[db];
        space.ghosts.remove(key);
        if space.keys.get(key).is_some_and(Entry::is_empty) {
            space.keys.remove(key);
        }
        if space.keys.contains_key(key) {
            self.waiting.signal(db, key);
        }
        self.touch(db, key);
    }

    /// Removes an empty collection that a failed or idle edit left.
    pub(super) fn tidy(&mut self, key: &[u8]) {
        let space = &mut self.dbs[self.db];
        if space.keys.get(key).is_some_and(Entry::is_empty) {
            space.keys.remove(key);
        }
    }

    /// Turns a value into its larger encoding if what was added, or their number, is beyond a threshold.
    pub(super) fn grow(&mut self, key: &[u8], added: &[&[u8]]) {
        let limits = self.limits;
        let Some(entry) = self.dbs[self.db].keys.get_mut(key) else { return };
        let count = entry.len() as i64;
        let longest = added.iter().map(|text| text.len()).max().unwrap_or(0) as i64;
        match (&entry.value, entry.encoding) {
            (Value::Hash(_), Encoding::Listpack)
                if count > limits.hash_entries || longest > limits.hash_value =>
            {
                entry.encoding = Encoding::Hashtable;
            }
            (Value::ZSet(_), Encoding::Listpack)
                if count > limits.zset_entries || longest > limits.zset_value =>
            {
                entry.encoding = Encoding::Skiplist;
            }
            _ => {}
        }
    }

    /// Turns a sorted set into its larger encoding if more members are to be added than the smaller one takes.
    pub(super) fn reserve_scored(&mut self, key: &[u8], count: usize) {
        let limit = self.limits.zset_entries;
        if let Some(entry) = self.look(key)
            && entry.encoding == Encoding::Listpack
            && count as i64 > limit
        {
            entry.encoding = Encoding::Skiplist;
        }
    }

    /// Adds one member to the set at `key` as the server does, which decides the encoding member by member.
    pub(super) fn add_member(&mut self, key: &[u8], member: &[u8]) -> Result<bool, Answer> {
        let limits = self.limits;
        let set = self.edit_set(key)?;
        let added = set.insert(member.to_vec());
        if !added {
            return Ok(false);
        }
        let (count, longest) = (set.len() as i64, set.iter().map(Vec::len).max().unwrap_or(0) as i64);
        let Some(entry) = self.dbs[self.db].keys.get_mut(key) else { return Ok(added) };
        let integer = maybe_int(member).is_some();
        let packable = count <= limits.set_entries && longest <= limits.set_value;
        entry.encoding = match entry.encoding {
            Encoding::Intset if integer && count <= limits.set_ints => Encoding::Intset,
            Encoding::Intset if !integer && packable => Encoding::Listpack,
            Encoding::Intset => Encoding::Hashtable,
            Encoding::Listpack if count > limits.set_entries || member.len() as i64 > limits.set_value => {
                Encoding::Hashtable
            }
            encoding => encoding,
        };
        Ok(added)
    }

    /// Chooses the encoding with which a set begins, or goes on, when members are to be added to it.
    pub(super) fn reserve(&mut self, key: &[u8], members: &[&[u8]]) {
        let limits = self.limits;
        let count = members.len() as i64;
        let integer = members.first().is_some_and(|member| maybe_int(member).is_some());
        let fresh = self.look(key).is_none();
        if fresh && self.edit_set(key).is_err() {
            return;
        }
        let Some(entry) = self.look(key) else { return };
        entry.encoding = match entry.encoding {
            Encoding::Intset if fresh && integer && count <= limits.set_ints => Encoding::Intset,
            Encoding::Intset if fresh && count <= limits.set_entries => Encoding::Listpack,
            Encoding::Intset if fresh || count > limits.set_ints => Encoding::Hashtable,
            Encoding::Listpack if count > limits.set_entries => Encoding::Hashtable,
            encoding => encoding,
        };
    }
}
