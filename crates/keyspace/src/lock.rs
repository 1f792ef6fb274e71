//! Which hashes are locks and fences, told by their first field. Leaves what that means to the engine.
//!
//! ```text
//! lock    redstart-lock  TOKEN  owner OWNER  lease MS  since UNIX-MS  [replicas N]  [meta JSON]
//! fence   redstart-fence TOKEN
//! ```
//!
//! They are ordinary hashes otherwise, so that every server that speaks of hashes can hold and pass them on.

use structures::Item;

use crate::edit::View;
use crate::{Entry, Hash};

/// The first field of a hash that is a lock; its value is the holder's token.
pub const LOCK_FIELD: &[u8] = b"redstart-lock";
/// The first field of a hash that fences a resource; its value is the newest token that was seen.
pub const FENCE_FIELD: &[u8] = b"redstart-fence";

/// Tokens are below this, so that every client can hold one in a double.
pub const TOKENS_END: u64 = 1 << 53;

/// What a hash is, beside a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A lock, with its holder's token.
    Lock(u64),
    /// A fence, with the newest token.
    Fence(u64),
}

impl Guard {
    /// Returns the token.
    pub fn token(self) -> u64 {
        match self {
            Guard::Lock(token) | Guard::Fence(token) => token,
        }
    }

    /// Returns what a hash is whose first field and value are these.
    #[inline]
    pub fn of_fields(field: &[u8], value: &[u8]) -> Option<Guard> {
        // Lengths differ from nearly every other field's.
        if field.len() != LOCK_FIELD.len() && field.len() != FENCE_FIELD.len() {
            return None;
        }
        Guard::of_token(field, base::number::parse_u64(value)?)
    }

    fn of_token(field: &[u8], token: u64) -> Option<Guard> {
        if !(1..TOKENS_END).contains(&token) {
            return None;
        }
        match field {
            LOCK_FIELD => Some(Guard::Lock(token)),
            FENCE_FIELD => Some(Guard::Fence(token)),
            _ => None,
        }
    }

    /// Returns what a hash is. A table has no first field: there it may stand anywhere.
    pub fn of_hash(hash: &Hash) -> Option<Guard> {
        match hash {
            Hash::Packed(pack) => {
                let first = pack.first()?;
                let Item::Bytes(field) = pack.at(first) else { return None };
                // Numbers are stored as such.
                match pack.at(pack.next(first)?) {
                    Item::Int(token) => Guard::of_token(field, u64::try_from(token).ok()?),
                    Item::Bytes(_) => None,
                }
            }
            Hash::Table(table) => [LOCK_FIELD, FENCE_FIELD]
                .into_iter()
                .find_map(|field| table.get(field).and_then(|pair| Guard::of_fields(field, pair.value()))),
        }
    }

    /// Returns what the value of an entry is.
    #[inline]
    pub fn of(entry: &Entry) -> Option<Guard> {
        Guard::of_hash(&*View::<Hash>::of(entry).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use base::hash::HashSeed;

    fn hash(pairs: &[(&str, &str)], entries: usize) -> Hash {
        let (limits, seed) = (Limits { hash_entries: entries, ..Limits::default() }, HashSeed([1, 2]));
        let mut hash = Hash::new();
        for (field, value) in pairs {
            hash.fit([field.as_bytes(), value.as_bytes()], &limits, seed);
            hash.set(field.as_bytes(), value.as_bytes(), &limits, seed);
        }
        hash
    }

    #[test]
    fn the_first_field_tells() {
        for entries in [0, 100] {
            let lock = hash(&[("redstart-lock", "7"), ("owner", "me")], entries);
            assert_eq!(Guard::of_hash(&lock), Some(Guard::Lock(7)));
            assert_eq!(Guard::of_hash(&hash(&[("redstart-fence", "9")], entries)), Some(Guard::Fence(9)));
            assert_eq!(Guard::of_hash(&hash(&[("redstart-lick", "9")], entries)), None);
            for token in ["0", "-1", "x", "9007199254740992", ""] {
                assert_eq!(Guard::of_hash(&hash(&[("redstart-lock", token)], entries)), None, "{token}");
            }
        }
        assert_eq!(Guard::of_hash(&hash(&[("a", "b"), ("redstart-lock", "7")], 100)), None);
        assert_eq!(Guard::of_hash(&Hash::new()), None);
    }
}
