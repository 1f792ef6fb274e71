//! A lock as its hash says it, and the fields that make one.

use keyspace::lock::{FENCE_FIELD, LOCK_FIELD};
use keyspace::{Entry, Guard, Hash, Limits, Value, View};
use structures::{Item, Listpack};

/// What the hash of a held lock says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub token: u64,
    pub owner: Box<[u8]>,
    /// Milliseconds.
    pub lease: u64,
    /// Unix time in milliseconds at which it was granted.
    pub since: i64,
    /// How many replicas had to have it before the grant was told.
    pub replicas: u64,
    pub meta: Option<Box<[u8]>>,
}

/// The longest lease, in milliseconds.
pub const LEASE_MAX: u64 = i32::MAX as u64 * 1000;
/// The lease of a lock whose hash does not say any, in milliseconds.
const LEASE_UNSAID: u64 = 30_000;
/// The largest META.
pub const META_MAX: usize = 64 * 1024;
/// The most fields of a lock; what has more was made by somebody else.
const FIELDS_MAX: usize = 16;
/// What the fields are called, but for the first.
const FIELDS: [&[u8]; 5] = [b"owner", b"lease", b"since", b"replicas", b"meta"];
/// The longest name of an owner.
pub const OWNER_MAX: usize = 512;

impl Record {
    /// Returns the lock that a hash is, if it is one.
    pub fn of(hash: &Hash) -> Option<Record> {
        let Guard::Lock(token) = Guard::of_hash(hash)? else { return None };
        let mut record = Record { token, lease: LEASE_UNSAID, ..Record::default() };
        match hash {
            Hash::Packed(pack) => pack.pairs().for_each(|(field, value)| record.read(field, value)),
            // Anybody's table with such a field is a lock, however large it is.
            Hash::Table(_) => {
                for field in FIELDS {
                    if let Some(value) = hash.get(field) {
                        record.read(Item::Bytes(field), value);
                    }
                }
            }
        }
        Some(record)
    }

    /// Takes over what a field says.
    fn read(&mut self, field: Item<'_>, value: Item<'_>) {
        let Item::Bytes(field) = field else { return };
        let number = || value.to_int().and_then(|number| u64::try_from(number).ok());
        match field {
            b"owner" => self.owner = value.text().as_bytes().into(),
            b"lease" => {
                self.lease = number().filter(|ms| (1..=LEASE_MAX).contains(ms)).unwrap_or(LEASE_UNSAID)
            }
            b"since" => self.since = value.to_int().unwrap_or(0),
            b"replicas" => self.replicas = number().unwrap_or(0),
            b"meta" => self.meta = Some(value.text().as_bytes().into()),
            _ => {}
        }
    }

    /// Calls `use_items` with the fields and values that make the lock's hash.
    pub fn with_items<R>(&self, use_items: impl FnOnce(&[Item<'_>]) -> R) -> R {
        let number = |number: u64| Item::Int(number as i64);
        let pairs = [
            (LOCK_FIELD, Some(number(self.token))),
            (b"owner", Some(Item::Bytes(&self.owner))),
            (b"lease", Some(number(self.lease))),
            (b"since", Some(Item::Int(self.since))),
            (b"replicas", (self.replicas > 0).then(|| number(self.replicas))),
            (b"meta", self.meta.as_deref().map(Item::Bytes)),
        ];
        let (mut items, mut count) = ([Item::Int(0); 2 * 6], 0);
        for (field, value) in pairs {
            if let Some(value) = value {
                items[count..count + 2].copy_from_slice(&[Item::Bytes(field), value]);
                count += 2;
            }
        }
        use_items(&items[..count])
    }

    /// Returns the milliseconds for which the lock has been held; a clock that was set back does not make them negative.
    pub fn held_ms(&self, unix_ms: i64) -> u64 {
        u64::try_from(unix_ms.saturating_sub(self.since)).unwrap_or(0)
    }
}

/// Returns the hash that these fields and values make, as one listpack, whatever the limits for other hashes.
pub fn packed(items: &[Item<'_>]) -> Value {
    // Seven bytes make a listpack, and at most ten an item beside its text; short ones take two.
    let size = |item: &Item<'_>| match item {
        Item::Bytes(text) if text.len() >= 64 => text.len() + 10,
        Item::Bytes(text) => text.len() + 2,
        number => number.stored_size(),
    };
    let mut pack = Listpack::with_capacity(7 + items.iter().map(size).sum::<usize>());
    items.iter().for_each(|item| pack.push_back(*item));
    pack.shrink_to_fit();
    Value::Hash(Hash::Packed(pack))
}

/// Makes a listpack of the table that holds a lock with a long value, its first field in front again.
///
/// Snapshots are loaded by the limits for all hashes; and tables know no order.
pub fn repack(entry: &mut Entry) {
    let words = match View::<Hash>::of(entry).as_deref() {
        Ok(hash @ Hash::Table(table)) if table.len() <= FIELDS_MAX => match Guard::of_hash(hash) {
            Some(_) => words_of(hash),
            None => return,
        },
        _ => return,
    };
    let items: Vec<_> = words.iter().map(Item::from).collect();
    entry.set_word(packed(&items));
}

/// Returns the fields and values of a lock or fence, that which says so first.
fn words_of(hash: &Hash) -> Vec<Vec<u8>> {
    let is_first = |field: &[u8]| field == LOCK_FIELD || field == FENCE_FIELD;
    let mut pairs: Vec<_> = hash.iter().map(|(field, value)| [field.to_vec(), value.to_vec()]).collect();
    pairs.sort_by_key(|[field, _]| !is_first(field));
    pairs.into_iter().flatten().collect()
}

/// Returns the limits of the hashes of locks, given those of others: they hold what is longer in one listpack, too.
pub fn limits(limits: Limits) -> Limits {
    Limits {
        hash_value: limits.hash_value.max(META_MAX),
        hash_entries: limits.hash_entries.max(FIELDS_MAX),
        ..limits
    }
}

/// Returns whether this can be the name of an owner.
pub fn is_owner(name: &[u8]) -> bool {
    (1..=OWNER_MAX).contains(&name.len()) && !name.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let meta: Box<[u8]> = br#"{"task":"nightly"}"#.as_slice().into();
        for (replicas, meta) in [(0, None), (2, Some(meta))] {
            let record = Record {
                token: 1 << 50,
                owner: b"12345".as_slice().into(),
                lease: 30_000,
                since: 1_700_000_000_123,
                replicas,
                meta,
            };
            let Value::Hash(hash) = record.with_items(packed) else { panic!("a hash") };
            assert_eq!(Record::of(&hash), Some(record));
        }
    }

    #[test]
    fn a_lock_that_says_little_ends_all_the_same() {
        let Value::Hash(hash) = packed(&[LOCK_FIELD, b"5", b"lease", b"-3"].map(Item::Bytes)) else {
            panic!("a hash")
        };
        let record = Record::of(&hash).expect("a lock");
        assert_eq!((record.lease, record.owner.len(), record.since), (LEASE_UNSAID, 0, 0));
    }

    #[test]
    fn a_table_is_packed_again() {
        let (small, seed) = (Limits { hash_entries: 0, ..Limits::default() }, base::hash::HashSeed([1, 2]));
        let record =
            Record { token: 9, owner: b"me".as_slice().into(), lease: 5, since: 6, ..Record::default() };
        let mut table = Hash::new();
        record.with_items(|items| {
            for pair in items.chunks(2) {
                table.set(pair[0].text().as_bytes(), pair[1].text().as_bytes(), &small, seed);
            }
        });
        assert_eq!(Record::of(&table).as_ref(), Some(&record));
        let mut entry = Entry::with_word(b"k", Value::Hash(table.clone()), None);
        repack(&mut entry);
        let hash = View::<Hash>::of(&entry).expect("a hash");
        assert!(matches!(&*hash, Hash::Packed(_)));
        assert_eq!(Record::of(&hash), Some(record));
        // Others stay as they are.
        table.remove(LOCK_FIELD);
        let mut entry = Entry::with_word(b"k", Value::Hash(table), None);
        repack(&mut entry);
        assert!(matches!(&*View::<Hash>::of(&entry).expect("a hash"), Hash::Table(_)));
    }

    #[test]
    fn owners_have_names_of_one_line() {
        assert!(is_owner(b"host:1:2") && is_owner(&[b'x'; OWNER_MAX]));
        for name in [&b""[..], b"a\nb", b"a\rb", b"\0", &[b'x'; OWNER_MAX + 1]] {
            assert!(!is_owner(name));
        }
    }
}
