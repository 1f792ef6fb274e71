//! The way in for keys that were saved: no command, no event, no expiry, no eviction.
//!
//! Leaves reading the bytes to others, and what to do with keys that are past their expiry.

use structures::dict::Slot;

use crate::keys::new_text;
use crate::{Entry, Keyspace};

/// The key was loaded before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    pub key: Box<[u8]>,
}

impl Keyspace {
    /// Makes room for so many more keys in database `db`. The number is trusted: it must not be a mere claim.
    pub fn reserve(&mut self, db: usize, keys: usize) {
        self.dbs[db].table.reserve(keys);
    }

    /// Puts an entry into database `db`, which must not have its key yet.
    pub fn load(&mut self, db: usize, entry: Entry) -> Result<(), Duplicate> {
        let table = &mut self.dbs[db].table;
        match table.entry(entry.key()) {
            Slot::Vacant(vacant) => vacant.insert(entry),
            Slot::Occupied(_) => return Err(Duplicate { key: entry.key().into() }),
        };
        drop(table.take_retired());
        Ok(())
    }

    /// Puts entries into database `db`, which must have none of their keys yet, and empties the list.
    ///
    /// Quicker than one by one from some thirty entries on, as the waits for memory overlap.
    pub fn load_all(&mut self, db: usize, entries: &mut Vec<Entry>) -> Result<(), Duplicate> {
        let table = &mut self.dbs[db].table;
        let loaded = table.insert_all(entries);
        // Nobody waits for a command meanwhile, so a table that was outgrown is freed here.
        drop(table.take_retired());
        loaded.map_err(|entry| Duplicate { key: entry.key().into() })
    }
}

/// Returns an entry that holds a string in its best encoding.
#[inline]
pub fn text_entry(key: &[u8], bytes: &[u8], stamp: Option<i64>) -> Entry {
    new_text(key, bytes, stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_loaded_once() {
        let mut keyspace = Keyspace::new(2, 1);
        keyspace.reserve(1, 100);
        let buckets = keyspace.dbs[1].table.buckets();
        let entries = |range: std::ops::Range<i64>| -> Vec<Entry> {
            range.map(|n| text_entry(n.to_string().as_bytes(), b"v", (n % 2 == 0).then_some(n))).collect()
        };
        assert_eq!(keyspace.load_all(1, &mut entries(0..100)), Ok(()));
        assert_eq!(keyspace.dbs[1].table.buckets(), buckets);
        assert_eq!((keyspace.dbs[1].len(), keyspace.dbs[1].table.marked_len()), (100, 50));
        assert_eq!(keyspace.load(0, text_entry(b"7", b"v", None)), Ok(()));
        assert_eq!(keyspace.load(0, text_entry(b"7", b"v", None)), Err(Duplicate { key: (*b"7").into() }));
        assert_eq!(keyspace.load_all(1, &mut entries(99..200)), Err(Duplicate { key: (*b"99").into() }));
    }
}
