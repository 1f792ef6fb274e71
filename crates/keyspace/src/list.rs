//! Lists: one listpack while small, a quicklist of them when large.

use structures::{Listpack, Quicklist};

/// A list in one of its encodings.
pub enum List {
    Packed(Listpack),
    Quick(Box<Quicklist>),
}

impl List {
    /// Returns an empty list.
    pub fn new() -> List {
        List::Packed(Listpack::new())
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        match self {
            List::Packed(pack) => pack.len(),
            List::Quick(quick) => quick.len(),
        }
    }

    /// Returns the name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            List::Packed(_) => "listpack",
            List::Quick(_) => "quicklist",
        }
    }

    /// Returns roughly how many allocations freeing it takes.
    pub fn effort(&self) -> usize {
        match self {
            List::Packed(_) => 1,
            List::Quick(quick) => quick.node_count(),
        }
    }

    /// Returns the bytes on the heap.
    pub fn heap_size(&self) -> usize {
        match self {
            List::Packed(pack) => pack.byte_len(),
            List::Quick(quick) => quick.heap_size(),
        }
    }
}
