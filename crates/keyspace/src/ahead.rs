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
    /// Expects that `key` of database `db` will be asked for; keys come in the order of their addresses.
    #[inline]
    pub fn expect(&mut self, db: usize, key: &[u8]) {
        if key.len() > KEY_MAX {
            return;
        }
        let hash = self.seed.hash(key);
        self.dbs[db].table.prefetch(hash);
        let address = key.as_ptr().addr();
        self.ahead.keys.push(Expected { address, len: key.len() as u32, db: db as u32, hash });
    }

    /// Asks for the entries of what is expected.
    pub fn fetch_expected(&mut self) {
        for expected in &self.ahead.keys[self.ahead.fetched..] {
            self.dbs[expected.db as usize].table.prefetch_entry(expected.hash);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keys;
    use crate::keys::Stamp;

    #[test]
    fn expected_and_unexpected_keys_are_found_alike() {
        let mut space = Keyspace::new(2, 7);
        let text = b"alpha beta gamma delta".to_vec();
        let keys: Vec<&[u8]> = text.split(|b| *b == b' ').collect();
        for key in &keys {
            space.expect(0, key);
        }
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
