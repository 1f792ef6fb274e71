//! A lock as its hash says it, and the fields that make one.

use base::number::{IntText, parse_i64, parse_u64};
use keyspace::lock::{FENCE_FIELD, LOCK_FIELD};
use keyspace::{Entry, Guard, Hash, Limits, Value, View};
use structures::Listpack;

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
/// The longest name of an owner.
pub const OWNER_MAX: usize = 512;

impl Record {
    /// Returns the lock that a hash is, if it is one.
    pub fn of(hash: &Hash) -> Option<Record> {
        let Guard::Lock(token) = Guard::of_hash(hash)? else { return None };
        let bytes = |field: &[u8]| hash.get(field).map(|value| value.to_vec());
        let number = |field: &[u8]| bytes(field).and_then(|text| parse_u64(&text));
        Some(Record {
            token,
            owner: bytes(b"owner").unwrap_or_default().into(),
            lease: number(b"lease").filter(|lease| (1..=LEASE_MAX).contains(lease)).unwrap_or(LEASE_UNSAID),
            since: bytes(b"since").and_then(|text| parse_i64(&text)).unwrap_or(0),
            replicas: number(b"replicas").unwrap_or(0),
            meta: bytes(b"meta").map(Into::into),
        })
    }

    /// Calls `use_words` with the fields and values that make the lock's hash.
    pub fn with_fields<R>(&self, use_words: impl FnOnce(&[&[u8]]) -> R) -> R {
        let number = |number: u64| IntText::new(number as i64);
        let (token, lease, since) = (number(self.token), number(self.lease), IntText::new(self.since));
        let replicas = number(self.replicas);
        let mut words: Vec<&[u8]> = vec![LOCK_FIELD, token.as_bytes(), b"owner", &self.owner];
        words.extend([b"lease", lease.as_bytes(), b"since", since.as_bytes()]);
        if self.replicas > 0 {
            words.extend([&b"replicas"[..], replicas.as_bytes()]);
        }
        if let Some(meta) = &self.meta {
            words.extend([&b"meta"[..], meta]);
        }
        use_words(&words)
    }

    /// Returns the milliseconds for which the lock has been held; a clock that was set back does not make them negative.
    pub fn held_ms(&self, unix_ms: i64) -> u64 {
        u64::try_from(unix_ms.saturating_sub(self.since)).unwrap_or(0)
    }
}

/// Returns the hash that these fields and values make, as one listpack, whatever the limits for other hashes.
pub fn packed(words: &[&[u8]]) -> Value {
    // A word takes at most ten bytes beside its text.
    let mut pack = Listpack::with_capacity(words.iter().map(|word| word.len() + 10).sum());
    words.iter().for_each(|word| pack.push_back(*word));
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
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    entry.set_word(packed(&words));
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
            let Value::Hash(hash) = record.with_fields(packed) else { panic!("a hash") };
            assert_eq!(Record::of(&hash), Some(record));
        }
    }

    #[test]
    fn a_lock_that_says_little_ends_all_the_same() {
        let Value::Hash(hash) = packed(&[LOCK_FIELD, b"5", b"lease", b"-3"]) else { panic!("a hash") };
        let record = Record::of(&hash).expect("a lock");
        assert_eq!((record.lease, record.owner.len(), record.since), (LEASE_UNSAID, 0, 0));
    }

    #[test]
    fn a_table_is_packed_again() {
        let (small, seed) = (Limits { hash_entries: 0, ..Limits::default() }, base::hash::HashSeed([1, 2]));
        let record =
            Record { token: 9, owner: b"me".as_slice().into(), lease: 5, since: 6, ..Record::default() };
        let mut table = Hash::new();
        record.with_fields(|words| {
            for pair in words.chunks(2) {
                table.set(pair[0], pair[1], &small, seed);
            }
        });
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
