//! Sets: an intset or a listpack while small, a hash table when large.
//!
//! ```text
//!         a text joins                  too many, or too long a text
//! intset ─────────────▶ listpack ──────────────────────────────────▶ hash table
//!    └─────────────────────────── too many integers ─────────────────────▲
//! ```
//!
//! Owns these conversions; none goes back. Sets of one keyspace hash with its seed.

use std::collections::BTreeSet;

use base::hash::HashSeed;
use base::number::{IntText, parse_i64};
use base::rng::Rng;
use structures::dict::{self, Slot};
use structures::{Blob, Dict, Intset, Item, Listpack, intset, listpack};

use crate::Limits;

/// A set in one of its encodings.
#[derive(Clone)]
pub enum Set {
    Ints(Intset),
    Packed(Listpack),
    Table(Box<Dict<Blob>>),
}

/// Beyond this many members an intset is not to grow, whatever is configured.
const INTS_MAX: usize = 1 << 30;

/// How many times as many members must go as stay for the set to be built anew from those that stay.
const REBUILD_FACTOR: usize = 5;

/// How many times as many members must be there as are wanted for these to be drawn one by one.
const DRAW_FACTOR: usize = 3;

/// The most bytes that an integer takes in a listpack.
const PACKED_INT_MAX: usize = 11;

impl Set {
    /// Returns an empty set.
    pub fn new() -> Set {
        Set::Ints(Intset::new())
    }

    /// Returns the number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Set::Ints(ints) => ints.len(),
            Set::Packed(pack) => pack.len(),
            Set::Table(table) => table.len(),
        }
    }

    /// Tells whether there are no members.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self {
            Set::Ints(ints) => ints.is_empty(),
            Set::Packed(pack) => pack.is_empty(),
            Set::Table(table) => table.is_empty(),
        }
    }

    /// Returns the name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            Set::Ints(_) => "intset",
            Set::Packed(_) => "listpack",
            Set::Table(_) => "hashtable",
        }
    }

    /// Returns roughly how many allocations freeing it takes.
    pub fn effort(&self) -> usize {
        match self {
            Set::Ints(_) | Set::Packed(_) => 1,
            Set::Table(table) => table.len(),
        }
    }

    /// Returns the bytes on the heap, estimating large tables from `samples` members (0 = all).
    pub fn heap_size(&self, samples: usize) -> usize {
        match self {
            Set::Ints(ints) => ints.heap_size(),
            Set::Packed(pack) => pack.heap_size(),
            Set::Table(table) => {
                size_of::<Dict<Blob>>() + crate::value::table_size(table, samples, Blob::heap_size)
            }
        }
    }

    /// Tells whether `member` is in the set.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self {
            Set::Ints(ints) => parse_i64(member).is_some_and(|value| ints.contains(value)),
            Set::Packed(pack) => pack.find(member, 0).is_some(),
            Set::Table(table) => table.contains(member),
        }
    }

    /// Tells whether a member of another set is in this one.
    #[inline]
    pub fn contains_item(&self, member: Item<'_>) -> bool {
        match (self, member) {
            (Set::Ints(ints), Item::Int(value)) => ints.contains(value),
            _ => self.contains(member.text().as_bytes()),
        }
    }

    /// Prepares for `count` members to be added, `first` among them: if they are too many for the encoding that they
    /// would begin with, the one that they end with is taken at once.
    #[inline]
    pub fn reserve(&mut self, first: &[u8], count: usize, limits: &Limits, seed: HashSeed) {
        match self {
            Set::Table(_) => {}
            // One member finds its encoding as it is added, unless an encoding is not wanted at all.
            _ if count == 1 && limits.set_ints > 0 && limits.set_entries > 0 => {}
            _ if !self.is_empty() => {
                let most = if let Set::Ints(_) = self { limits.set_ints } else { limits.set_entries };
                if count > most {
                    self.spread(count, seed);
                }
            }
            Set::Ints(_) if count <= limits.set_ints && parse_i64(first).is_some() => {}
            _ if count <= limits.set_entries => *self = Set::Packed(Listpack::new()),
            _ => self.spread(count, seed),
        }
    }

    /// Adds a member and tells whether it is new.
    #[inline]
    pub fn add(&mut self, member: &[u8], limits: &Limits, seed: HashSeed) -> bool {
        match self {
            Set::Table(table) => insert(table, member),
            Set::Packed(pack) => {
                if pack.find(member, 0).is_some() {
                    return false;
                }
                if pack.len() < limits.set_entries
                    && member.len() <= limits.set_value
                    && pack.has_room_for(member.len())
                {
                    pack.push_back(member);
                } else {
                    self.spread(1, seed);
                    self.add(member, limits, seed);
                }
                true
            }
            Set::Ints(ints) => {
                if let Some(value) = parse_i64(member) {
                    return self.add_int(value, limits, seed);
                }
                let digits =
                    |value: Option<i64>| value.map_or(0, |value| IntText::new(value).as_bytes().len());
                let longest = digits(ints.min()).max(digits(ints.max()));
                if ints.len() < limits.set_entries && member.len().max(longest) <= limits.set_value {
                    let mut pack = Listpack::with_capacity(ints.len() * PACKED_INT_MAX + member.len());
                    pack.extend(ints.iter());
                    pack.push_back(member);
                    pack.shrink_to_fit();
                    *self = Set::Packed(pack);
                } else {
                    self.spread(1, seed);
                    self.add(member, limits, seed);
                }
                true
            }
        }
    }

    /// Adds a member of another set and tells whether it is new.
    #[inline]
    pub fn add_item(&mut self, member: Item<'_>, limits: &Limits, seed: HashSeed) -> bool {
        match (&self, member) {
            (Set::Ints(_), Item::Int(value)) => self.add_int(value, limits, seed),
            _ => self.add(member.text().as_bytes(), limits, seed),
        }
    }

    /// Adds an integer to an intset, which becomes a table if it holds too many.
    fn add_int(&mut self, value: i64, limits: &Limits, seed: HashSeed) -> bool {
        let Set::Ints(ints) = self else { return false };
        let new = ints.add(value);
        if new && ints.len() > limits.set_ints.min(INTS_MAX) {
            self.spread(0, seed);
        }
        new
    }

    /// Removes a member and tells whether it was one.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Set::Ints(ints) => parse_i64(member).is_some_and(|value| ints.remove(value)),
            Set::Packed(pack) => match pack.find(member, 0) {
                Some(pos) => {
                    pack.remove(pos);
                    true
                }
                None => false,
            },
            Set::Table(table) => table.remove(member).is_some(),
        }
    }

    /// Returns the members in no particular order.
    pub fn iter(&self) -> Iter<'_> {
        match self {
            Set::Ints(ints) => Iter::Ints(ints.iter()),
            Set::Packed(pack) => Iter::Packed(pack.iter()),
            Set::Table(table) => Iter::Table(table.iter()),
        }
    }

    /// Returns a member by chance.
    pub fn random(&self, rng: &mut Rng) -> Option<Item<'_>> {
        match self {
            _ if self.is_empty() => None,
            Set::Ints(ints) => ints.get(rng.below(ints.len() as u64) as usize).map(Item::Int),
            Set::Packed(pack) => pack.get(rng.below(pack.len() as u64) as isize),
            Set::Table(table) => table.random(rng).map(|member| Item::Bytes(member.as_bytes())),
        }
    }

    /// Removes a member by chance, if there is one, after showing it to `take`.
    pub fn pop_random<R>(&mut self, rng: &mut Rng, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        match self {
            _ if self.is_empty() => None,
            Set::Ints(ints) => {
                let value = ints.remove_at(rng.below(ints.len() as u64) as usize);
                Some(take(Item::Int(value)))
            }
            Set::Packed(pack) => {
                let pos = pack.seek(rng.below(pack.len() as u64) as isize)?;
                let taken = take(pack.at(pos));
                pack.remove(pos);
                Some(taken)
            }
            Set::Table(table) => {
                let member = table.remove_random(rng)?;
                Some(take(Item::Bytes(member.as_bytes())))
            }
        }
    }

    /// Removes `count` members by chance, fewer than there are, after showing each to `take`.
    pub fn pop_many(
        &mut self,
        count: usize,
        rng: &mut Rng,
        limits: &Limits,
        seed: HashSeed,
        mut take: impl FnMut(Item<'_>),
    ) {
        let mut left = self.len();
        let staying = left.saturating_sub(count);
        if let Set::Packed(pack) = self {
            // Each member in turn, with the chance that leaves all choices equally likely.
            let mut wanted = count;
            pack.retain(|member| {
                let taken = rng.below(left as u64) < wanted as u64;
                left -= 1;
                if taken {
                    wanted -= 1;
                    take(member);
                }
                !taken
            });
        } else if staying.saturating_mul(REBUILD_FACTOR) > count {
            for _ in 0..count {
                self.pop_random(rng, &mut take);
            }
        } else {
            let mut rest = match self {
                Set::Ints(_) => Set::new(),
                _ => Set::Packed(Listpack::new()),
            };
            for _ in 0..staying {
                self.pop_random(rng, |member| rest.add_item(member, limits, seed));
            }
            std::mem::replace(self, rest).iter().for_each(take);
        }
    }

    /// Calls `f` with `count` distinct members by chance, or with all where there are no more.
    pub fn choose(&self, count: usize, rng: &mut Rng, mut f: impl FnMut(Item<'_>)) {
        let mut left = self.len();
        let mut wanted = count.min(left);
        if wanted.saturating_mul(DRAW_FACTOR) > left || matches!(self, Set::Packed(_)) {
            // Each member in turn, with the chance that leaves all choices equally likely.
            for member in self.iter() {
                if wanted == 0 {
                    return;
                }
                if rng.below(left as u64) < wanted as u64 {
                    f(member);
                    wanted -= 1;
                }
                left -= 1;
            }
        } else {
            let mut drawn = BTreeSet::new();
            while drawn.len() < wanted {
                let Some(member) = self.random(rng) else { return };
                if drawn.insert(member.to_vec()) {
                    f(member);
                }
            }
        }
    }

    /// Visits some members from `cursor` on and returns the next cursor, 0 at the end (see [`Dict::scan`]).
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Item<'_>)) -> u64 {
        match self {
            Set::Table(table) => table.scan(cursor, |member| visit(Item::Bytes(member.as_bytes()))),
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// Makes a hash table of the set, with room for `more` members.
    #[cold]
    fn spread(&mut self, more: usize, seed: HashSeed) {
        let mut table = Dict::new(seed);
        table.reserve(self.len().max(more));
        for member in self.iter() {
            table.insert(Blob::new(member.text().as_bytes()));
        }
        *self = Set::Table(Box::new(table));
    }
}

/// Adds a member to a table and tells whether it is new.
#[inline]
fn insert(table: &mut Dict<Blob>, member: &[u8]) -> bool {
    match table.entry(member) {
        Slot::Occupied(_) => return false,
        Slot::Vacant(vacant) => vacant.insert(Blob::new(member)),
    };
    true
}

/// The members of a set in no particular order.
pub enum Iter<'a> {
    Ints(intset::Iter<'a>),
    Packed(listpack::Iter<'a>),
    Table(dict::Iter<'a, Blob>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            Iter::Ints(ints) => ints.next().map(Item::Int),
            Iter::Packed(items) => items.next(),
            Iter::Table(members) => members.next().map(|member| Item::Bytes(member.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: HashSeed = HashSeed([1, 2]);

    fn set_of<'a>(members: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Set {
        let mut set = Set::new();
        for member in members {
            set.add(member, limits, SEED);
        }
        set
    }

    #[test]
    fn encodings_change_where_redis_changes_them() {
        let limits = Limits { set_ints: 4, set_entries: 3, set_value: 5, ..Limits::default() };
        let encoding = |text: &str| {
            let set = set_of(text.split(' ').map(str::as_bytes), &limits);
            assert_eq!(set.len(), text.split(' ').count());
            set.encoding()
        };
        assert_eq!(encoding("1 2 3 4"), "intset");
        assert_eq!(encoding("1 2 3 4 5"), "hashtable");
        assert_eq!(encoding("1 2 x"), "listpack");
        assert_eq!(encoding("1 2 3 x"), "hashtable");
        assert_eq!(encoding("1 x y 2"), "hashtable");
        assert_eq!(encoding("x 123456"), "hashtable");
        assert_eq!(encoding("123456 x"), "hashtable");
        assert_eq!(encoding("01"), "listpack");

        let reserved = |first: &str, count| {
            let mut set = Set::new();
            set.reserve(first.as_bytes(), count, &limits, SEED);
            set.encoding()
        };
        assert_eq!(
            [reserved("1", 4), reserved("x", 3), reserved("x", 4)],
            ["intset", "listpack", "hashtable"]
        );
        assert_eq!(reserved("1", 5), "hashtable");
    }

    #[test]
    fn behaves_as_a_set_of_texts() {
        let mut rng = Rng::seeded(5);
        for round in 0..60 {
            let limits = Limits {
                set_ints: round % 20,
                set_entries: round * 7 % 30,
                set_value: 6,
                ..Limits::default()
            };
            let (mut set, mut model) = (Set::new(), BTreeSet::new());
            for _ in 0..200 {
                let member = match rng.below(2) {
                    0 => rng.below(60).to_string().into_bytes(),
                    _ if round % 3 == 0 => rng.below(40).to_string().into_bytes(),
                    _ => format!("{:01$}", rng.below(60), rng.below(9) as usize).into_bytes(),
                };
                match rng.below(5) {
                    0 => assert_eq!(set.remove(&member), model.remove(&member)),
                    1 if rng.below(3) == 0 => {
                        let popped = set.pop_random(&mut rng, |item| item.to_vec());
                        assert_eq!(popped.is_none(), model.is_empty());
                        assert!(popped.is_none_or(|member| model.remove(&member)));
                    }
                    _ => {
                        let item = parse_i64(&member).map_or(Item::Bytes(&member), Item::Int);
                        let new = set.add_item(item, &limits, SEED);
                        assert_eq!(new, model.insert(member.clone()));
                        assert!(set.contains_item(item));
                    }
                }
                assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
                assert_eq!(set.contains(&member), model.contains(&member));
                assert_eq!(set.random(&mut rng).is_none(), model.is_empty());
            }
            assert_eq!(set.iter().map(|item| item.to_vec()).collect::<BTreeSet<_>>(), model);
            let (mut seen, mut cursor) = (BTreeSet::new(), 0);
            loop {
                cursor = set.scan(cursor, |item| {
                    seen.insert(item.to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(seen, model);
        }
    }

    #[test]
    fn several_members_are_distinct_and_each_as_likely() {
        let limits = Limits { set_ints: 30, set_entries: 30, ..Limits::default() };
        let mut rng = Rng::seeded(8);
        for (prefix, size) in [("", 20), ("t", 20), ("", 40), ("t", 40)] {
            let members: Vec<_> = (0..size).map(|n| format!("{prefix}{n}").into_bytes()).collect();
            for count in [1, 3, 15, size - 1] {
                let mut counts = std::collections::BTreeMap::new();
                for _ in 0..1000 {
                    let mut set = set_of(members.iter().map(Vec::as_slice), &limits);
                    let mut chosen = BTreeSet::new();
                    set.choose(count, &mut rng, |member| assert!(chosen.insert(member.to_vec())));
                    let mut popped = BTreeSet::new();
                    set.pop_many(count, &mut rng, &limits, SEED, |member| {
                        assert!(popped.insert(member.to_vec()));
                    });
                    assert_eq!((chosen.len(), popped.len(), set.len()), (count, count, size - count));
                    assert!(popped.iter().all(|member| !set.contains(member)));
                    for member in chosen.into_iter().chain(popped) {
                        *counts.entry(member).or_insert(0usize) += 1;
                    }
                }
                let mean = 2000 * count / size;
                assert!(counts.values().all(|n| n.abs_diff(mean) < 40 + mean / 4), "{count}: {counts:?}");
            }
        }
    }

    #[test]
    fn every_member_is_as_likely_as_another() {
        let limits = Limits::default();
        for prefix in ["", "t", "a text that is too long for a listpack, so that the set is a hash table "] {
            let members: Vec<_> = (0..20).map(|n| format!("{prefix}{n}").into_bytes()).collect();
            let set = set_of(members.iter().map(Vec::as_slice), &limits);
            let (mut rng, mut counts) = (Rng::seeded(6), std::collections::BTreeMap::new());
            for _ in 0..20_000 {
                *counts.entry(set.random(&mut rng).unwrap().to_vec()).or_insert(0) += 1;
            }
            assert_eq!(counts.len(), 20);
            assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
        }
    }
}
