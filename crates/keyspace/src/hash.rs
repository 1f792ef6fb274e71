//! Hashes: a listpack of field-value pairs while small, a hash table when large.

use structures::{Dict, Listpack, Pair};

/// A hash in one of its encodings.
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
}
