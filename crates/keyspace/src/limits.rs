//! The sizes at which a value changes its encoding.

/// Encoding thresholds, as the `*-max-listpack-*` family of parameters sets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub hash_entries: usize,
    pub hash_value: usize,
    pub set_ints: usize,
    pub set_entries: usize,
    pub set_value: usize,
    pub zset_entries: usize,
    pub zset_value: usize,
    /// `list-max-listpack-size`: items when positive, -1..-5 for 4 KB..64 KB nodes.
    pub list_size: i32,
    /// `hll-sparse-max-bytes`.
    pub hll_sparse: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hash_entries: 128,
            hash_value: 64,
            set_ints: 512,
            set_entries: 128,
            set_value: 64,
            zset_entries: 128,
            zset_value: 64,
            list_size: -2,
            hll_sparse: 3000,
        }
    }
}
