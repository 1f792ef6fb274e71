//! Sorted sets: a listpack of member-score pairs in order while small, a ranked set when large.

use structures::{Listpack, RankedSet};

/// A sorted set in one of its encodings.
#[derive(Clone)]
pub enum ZSet {
    Packed(Listpack),
    Ranked(Box<RankedSet>),
}

impl ZSet {
    /// Returns an empty sorted set.
    pub fn new() -> ZSet {
        ZSet::Packed(Listpack::new())
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        match self {
            ZSet::Packed(pack) => pack.len() / 2,
            ZSet::Ranked(ranked) => ranked.len(),
        }
    }

    /// Returns the name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            ZSet::Packed(_) => "listpack",
            ZSet::Ranked(_) => "skiplist",
        }
    }

    /// Returns roughly how many allocations freeing it takes.
    pub fn effort(&self) -> usize {
        match self {
            ZSet::Packed(_) => 1,
            ZSet::Ranked(ranked) => ranked.len(),
        }
    }

    /// Returns the bytes on the heap.
    pub fn heap_size(&self) -> usize {
        match self {
            ZSet::Packed(pack) => pack.byte_len(),
            ZSet::Ranked(ranked) => ranked.heap_size(),
        }
    }
}
