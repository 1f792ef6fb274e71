//! Hashes: a listpack of field-value pairs while small, a hash table when large.

use base::hash::HashSeed;
use base::rng::Rng;
use structures::dict::Slot;
use structures::{Dict, Item, Listpack, Pair};

use crate::Limits;

/// A hash in one of its encodings.
#[derive(Clone)]
pub enum Hash {
    Packed(Listpack),
    Table(Box<Dict<Pair>>),
}

impl Hash {
    /// Returns an empty hash.
    pub fn new() -> Hash {
        Hash::Packed(Listpack::new())
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        match self {
            Hash::Packed(pack) => pack.len() / 2,
            Hash::Table(table) => table.len(),
        }
    }

    /// Returns whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            Hash::Packed(_) => "listpack",
            Hash::Table(_) => "hashtable",
        }
    }

    /// Returns roughly how many allocations freeing it takes.
    pub fn effort(&self) -> usize {
        match self {
            Hash::Packed(_) => 1,
            Hash::Table(table) => table.len(),
        }
    }

    /// Returns the bytes on the heap, estimating large tables from `samples` fields (0 = all).
    pub fn heap_size(&self, samples: usize) -> usize {
        match self {
            Hash::Packed(pack) => pack.byte_len(),
            Hash::Table(table) => crate::value::table_size(table, samples, Pair::heap_size),
        }
    }

    /// Returns the value of a field.
    pub fn get(&self, field: &[u8]) -> Option<Item<'_>> {
        match self {
            Hash::Packed(pack) => {
                let at = pack.find(field, 1)?;
                Some(pack.at(pack.next(at)?))
            }
            Hash::Table(table) => table.get(field).map(|pair| Item::Bytes(pair.value())),
        }
    }

    /// Returns whether a field is there.
    pub fn contains(&self, field: &[u8]) -> bool {
        match self {
            Hash::Packed(pack) => pack.find(field, 1).is_some(),
            Hash::Table(table) => table.contains(field),
        }
    }

    /// Makes a table of a listpack into which one of `texts`, or all of them together, would not fit.
    pub fn fit<'t>(&mut self, texts: impl IntoIterator<Item = &'t [u8]>, limits: &Limits, seed: HashSeed) {
        if let Hash::Packed(pack) = self {
            let mut total = 0;
            for text in texts {
                total += text.len();
                if text.len() > limits.hash_value {
                    return self.spread(seed);
                }
            }
            if !pack.has_room_for(total) {
                self.spread(seed);
            }
        }
    }

    /// Stores a value in a field; returns whether the field is new. Call [`Hash::fit`] before.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits, seed: HashSeed) -> bool {
        match self {
            Hash::Packed(pack) => {
                let place = pack.find(field, 1).and_then(|at| pack.next(at));
                match place {
                    Some(at) => {
                        pack.replace(at, value);
                    }
                    None => {
                        pack.push_back(field);
                        pack.push_back(value);
                    }
                }
                // The limit may have been lowered since, so that replacing a value can find it passed as well.
                if pack.len() / 2 > limits.hash_entries {
                    self.spread(seed);
                }
                place.is_none()
            }
            Hash::Table(table) => match table.entry(field) {
                Slot::Occupied(mut found) => {
                    found.get_mut().set_value(value);
                    false
                }
                Slot::Vacant(vacant) => {
                    vacant.insert(Pair::new(field, value));
                    true
                }
            },
        }
    }

    /// Removes a field; returns whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self {
            Hash::Packed(pack) => match pack.find(field, 1) {
                Some(at) => pack.remove_range(at, 2) > 0,
                None => false,
            },
            Hash::Table(table) => {
                let removed = table.remove(field).is_some();
                if removed {
                    table.shrink_if_sparse();
                }
                removed
            }
        }
    }

    /// Returns the fields and values in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
        let (packed, table) = match self {
            Hash::Packed(pack) => (Some(pack.pairs()), None),
            Hash::Table(table) => (None, Some(table.iter())),
        };
        let packed = packed.into_iter().flatten();
        let table = table.into_iter().flatten();
        packed.chain(table.map(|pair| (Item::Bytes(pair.field()), Item::Bytes(pair.value()))))
    }

    /// Returns a field and its value by chance.
    pub fn random(&self, rng: &mut Rng) -> Option<(Item<'_>, Item<'_>)> {
        match self {
            Hash::Packed(pack) => {
                let fields = pack.len() as u64 / 2;
                let at = if fields == 0 { return None } else { pack.seek(2 * rng.below(fields) as isize)? };
                Some((pack.at(at), pack.at(pack.next(at)?)))
            }
            Hash::Table(table) => {
                let pair = table.random(rng)?;
                Some((Item::Bytes(pair.field()), Item::Bytes(pair.value())))
            }
        }
    }

    /// Visits some fields from `cursor` on and returns the next cursor, 0 at the end (see [`Dict::scan`]).
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Item<'_>, Item<'_>)) -> u64 {
        match self {
            Hash::Packed(pack) => {
                pack.pairs().for_each(|(field, value)| visit(field, value));
                0
            }
            Hash::Table(table) => {
                table.scan(cursor, |pair| visit(Item::Bytes(pair.field()), Item::Bytes(pair.value())))
            }
        }
    }

    /// Makes a table of a listpack.
    fn spread(&mut self, seed: HashSeed) {
        let Hash::Packed(pack) = self else { return };
        let mut table = Dict::new(seed);
        table.reserve(pack.len() / 2);
        for (field, value) in pack.pairs() {
            table.insert(Pair::new(field.text().as_bytes(), value.text().as_bytes()));
        }
        *self = Hash::Table(Box::new(table));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn random_changes_agree_with_a_map() {
        let (mut rng, seed) = (Rng::seeded(7), HashSeed([1, 2]));
        for round in 0..60 {
            let limits = Limits { hash_entries: round % 40, hash_value: 12, ..Limits::default() };
            let (mut hash, mut model) = (Hash::new(), BTreeMap::new());
            for _ in 0..300 {
                let field = format!("f{}", rng.below(50)).into_bytes();
                if rng.below(4) == 0 {
                    assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                } else {
                    // Some values read as integers, some are too long for a listpack.
                    let value = format!("{}", rng.next_u64() >> rng.below(64)).into_bytes();
                    hash.fit([&field[..], &value], &limits, seed);
                    let new = hash.set(&field, &value, &limits, seed);
                    assert_eq!(new, model.insert(field, value).is_none());
                }
                assert_eq!(hash.len(), model.len());
                assert!(matches!(hash, Hash::Table(_)) || hash.len() <= limits.hash_entries);
            }
            let all: BTreeMap<_, _> = hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
            assert_eq!(all, model);
            for (field, value) in &model {
                assert_eq!(hash.get(field).map(|v| v.to_vec()).as_ref(), Some(value));
            }
            let (mut seen, mut cursor) = (BTreeMap::new(), 0);
            loop {
                cursor = hash.scan(cursor, |f, v| {
                    seen.insert(f.to_vec(), v.to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(seen, model);
            assert_eq!(hash.random(&mut rng).is_some(), !model.is_empty());
        }
    }
}
