//! Keys that requests at hand will ask for: their entries are brought near together, and hashed once.
//!
//! A lookup among millions of keys waits for memory twice, for the bucket and for the entry. Lookups that are known in
//! advance can wait at the same time:
//!
//! ```text
//! expect(a) expect(b) expect(c)   hash each, ask for its bucket
//! fetch                           ask for each entry, as the buckets have come
//! … commands run …                find hash and entry ready
//! ```
//!
//! What was expected is known by where its bytes lie, so it must be forgotten before they change.

use base::hash::HashSeed;

use crate::Keyspace;

/// What is expected.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// By ascending address.
    keys: Vec<Expected>,
    /// Those before this one were passed already.
    next: usize,
    /// Those before this one have been fetched.
    fetched: usize,
}

#[derive(Clone, Copy, Debug)]
struct Expected {
    address: usize,
    len: u32,
    db: u32,
    hash: u64,
}

/// Keys beyond this length are not worth it: comparing them takes longer than waiting for them.
const KEY_MAX: usize = 512;

impl Ahead {
    /// Returns the hash of `key`, which is known if it was expected.
    #[inline]
    pub(crate) fn hash(&mut self, seed: &HashSeed, key: &[u8]) -> u64 {
        let address = key.as_ptr().addr();
        while let Some(expected) = self.keys.get(self.next) {
            if expected.address == address && expected.len as usize == key.len() {
                return expected.hash;
            }
            // A key from elsewhere (one that was queued, or made up) does not count as passing what lies before it.
            if expected.address >= address || self.keys[self.keys.len() - 1].address < address {
                break;
            }
            self.next += 1;
        }
        seed.hash(key)
    }
}

impl Keyspace {
    /// Expects that `keys` of database `db` will be asked for; they come in the order of their addresses.
    #[inline]
    pub fn expect<'k>(&mut self, db: usize, keys: impl Iterator<Item = &'k [u8]>) {
        let table = &self.dbs[db].table;
        let (mut last, mut hash) = (&b""[..], None);
        for key in keys {
            if key.len() > KEY_MAX {
                continue;
            }
            // Commands on one and the same key often come together.
            let hash = match hash {
                Some(hash) if is_same(key, last) => hash,
                _ => {
                    last = key;
                    let new = self.seed.hash(key);
                    table.prefetch(new);
                    *hash.insert(new)
                }
            };
            let address = key.as_ptr().addr();
            self.ahead.keys.push(Expected { address, len: key.len() as u32, db: db as u32, hash });
        }
    }

    /// Asks for the entries of what is expected.
    pub fn fetch_expected(&mut self) {
        let mut last = None;
        for expected in &self.ahead.keys[self.ahead.fetched..] {
            if last != Some((expected.hash, expected.db)) {
                self.dbs[expected.db as usize].table.prefetch_entry(expected.hash);
            }
            last = Some((expected.hash, expected.db));
        }
        self.ahead.fetched = self.ahead.keys.len();
    }

    /// Forgets what was expected: the requests' bytes are about to change.
    #[inline]
    pub fn expect_nothing(&mut self) {
        self.ahead.keys.clear();
        (self.ahead.next, self.ahead.fetched) = (0, 0);
    }
}

/// Returns whether two keys are the same; most that differ do so at their ends.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.last() == b.last() && a == b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keys;
    use crate::keys::Stamp;

    #[test]
    fn a_key_that_comes_again_is_hashed_as_itself() {
        let mut space = Keyspace::new(1, 7);
        let long = [b'x'; KEY_MAX + 1];
        let keys = [&b"one"[..], b"one", &long, b"one", b"two", b"", b"", b"one"];
        let text = keys.concat();
        let mut at = 0;
        let keys = keys.map(|key| {
            at += key.len();
            &text[at - key.len()..at]
        });
        space.expect(0, keys.into_iter());
        space.fetch_expected();
        for key in keys {
            let seed = space.seed;
            assert_eq!(space.ahead.hash(&seed, key), seed.hash(key));
        }
    }

    #[test]
    fn expected_and_unexpected_keys_are_found_alike() {
        let mut space = Keyspace::new(2, 7);
        let text = b"alpha beta gamma delta".to_vec();
        let keys: Vec<&[u8]> = text.split(|b| *b == b' ').collect();
        space.expect(0, keys.iter().copied());
        space.fetch_expected();
        // One after the other, one of them twice, one never, and some that nobody expected.
        for (key, value) in
            [(keys[0], "1"), (keys[0], "2"), (&b"else"[..], "3"), (keys[2], "4"), (&text[..3], "5")]
        {
            Keys::new(&mut space, 0, 0, false).set_text(key, value.as_bytes(), Stamp::Clear);
        }
        space.expect_nothing();
        for (key, value) in [
            ("alpha", Some("2")),
            ("else", Some("3")),
            ("gamma", Some("4")),
            ("alp", Some("5")),
            ("beta", None),
        ] {
            let mut keys = Keys::new(&mut space, 0, 0, false);
            let found = keys.text(key.as_bytes()).ok().flatten().map(|text| text.to_vec());
            assert_eq!(found.as_deref(), value.map(str::as_bytes), "{key}");
        }
    }
}
