//! Sets: an intset or a listpack while small, a hash table when large.

use structures::{Blob, Dict, Intset, Listpack};

/// A set in one of its encodings.
#[derive(Clone)]
pub enum Set {
    Ints(Intset),
    Packed(Listpack),
    Table(Box<Dict<Blob>>),
}

impl Set {
    /// Returns an empty set.
    pub fn new() -> Set {
        Set::Ints(Intset::new())
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        match self {
            Set::Ints(ints) => ints.len(),
            Set::Packed(pack) => pack.len(),
            Set::Table(table) => table.len(),
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
            Set::Ints(ints) => ints.as_bytes().len(),
            Set::Packed(pack) => pack.byte_len(),
            Set::Table(table) => crate::value::table_size(table, samples, Blob::heap_size),
        }
    }
}
