//! [`Fill`]: how much one node of a quicklist may hold.

use crate::listpack::Item;

/// The most bytes in a node where only a count is set.
const SAFE_SIZE: usize = 8192;

/// The sizes that -1 to -5 stand for.
const SIZES: [usize; 5] = [4096, 8192, 16384, 32768, 65536];

/// The bytes of a node's allocation that are not the listpack's own.
const NODE_OVERHEAD: usize = 4;

/// A limit on nodes: so many elements, or so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill(i16);

impl Fill {
    /// Returns the limit that `number` stands for: that many elements, or from -1 to -5 doubling from 4 to 64 KiB.
    pub fn new(number: i64) -> Fill {
        match number {
            0 => Fill(1),
            _ => Fill(number.clamp(-(SIZES.len() as i64), i64::from(i16::MAX)) as i16),
        }
    }

    /// Returns the most bytes and the most elements; `usize::MAX` where there is no such limit.
    pub fn limits(self) -> (usize, usize) {
        match self.0 {
            number @ ..0 => (SIZES[usize::from(number.unsigned_abs()) - 1], usize::MAX),
            number => (usize::MAX, usize::from(number.unsigned_abs())),
        }
    }

    /// Tells whether a listpack of `bytes` and `count` elements is within the limit.
    #[inline]
    pub fn allows(self, bytes: usize, count: usize) -> bool {
        let (_, most) = self.limits();
        bytes <= self.byte_limit() && count <= most
    }

    /// Tells whether `item` is too large to lie in a listpack with others.
    #[inline]
    pub fn is_large(self, item: Item<'_>) -> bool {
        matches!(item, Item::Bytes(text) if text.len() > self.byte_limit())
    }

    /// Returns the most bytes in a node of several elements.
    #[inline]
    pub(super) fn byte_limit(self) -> usize {
        self.limits().0.min(if self.0 > 0 { SAFE_SIZE } else { usize::MAX })
    }

    /// Returns the bytes of a listpack whose allocation is just the byte limit.
    #[inline]
    pub(super) fn full_size(self) -> usize {
        self.byte_limit() - NODE_OVERHEAD
    }

    /// Tells whether a node of `bytes` and `count` elements may take in `item` as well.
    #[inline]
    pub(super) fn allows_one_more(self, bytes: usize, count: usize, item: Item<'_>) -> bool {
        // An upper bound does: it spares finding out whether the text will be stored as an integer.
        let size = match item {
            Item::Int(_) => 10,
            Item::Bytes(text) if text.len() < 64 => text.len() + 2,
            Item::Bytes(text) => text.len() + 10,
        };
        self.allows(bytes + size + NODE_OVERHEAD, count + 1)
    }

    /// Tells whether two nodes are so small together that they had better be one.
    pub(super) fn allows_merge(self, bytes: usize, count: usize) -> bool {
        self.allows(bytes.saturating_mul(2), count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_numbers_are_sizes_and_others_are_counts() {
        assert_eq!(Fill::new(-2).limits(), (8192, usize::MAX));
        assert_eq!(Fill::new(-9), Fill::new(-5));
        assert_eq!(Fill::new(0).limits(), (usize::MAX, 1));
        assert_eq!(Fill::new(1 << 40).limits(), (usize::MAX, 32767));
        assert!(Fill::new(-1).allows(4096, 100_000) && !Fill::new(-1).allows(4097, 1));
        assert!(Fill::new(128).allows(8192, 128) && !Fill::new(128).allows(8193, 2));
        assert!(!Fill::new(128).allows(800, 129));
        assert!(
            Fill::new(3).is_large(Item::Bytes(&[0; 8193])) && !Fill::new(3).is_large(Item::Bytes(&[0; 8192]))
        );
    }
}
