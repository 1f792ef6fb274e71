//! Allocation size classes: how large a block the allocator hands out for a request.
//!
//! ```text
//! 16 32 48 64 | 80 96 112 128 | 160 192 224 256 | 320 384 448 512 | …   four steps to each doubling
//! ```
//!
//! jemalloc and its relatives round requests up to these sizes anyway, so a block that asks for the whole
//! class gets its slack for free, and growing from class to class is geometric growth.

/// Returns the number of the smallest class that holds `size` bytes.
#[inline]
pub(crate) fn index_for(size: usize) -> u8 {
    if size <= 64 {
        return (size.saturating_sub(1) >> 4) as u8;
    }
    let last = size - 1;
    let doubling = last.ilog2() as usize;
    (4 + (doubling - 6) * 4 + ((last >> (doubling - 2)) & 3)) as u8
}

/// Returns the bytes in a block of class `index`.
#[inline]
pub(crate) fn size_of(index: u8) -> usize {
    if index < 4 {
        return (usize::from(index) + 1) << 4;
    }
    let step = usize::from(index) - 4;
    (5 + (step & 3)) << (4 + (step >> 2))
}

/// Returns `size` rounded up to its class.
#[inline]
pub(crate) fn round_up(size: usize) -> usize {
    size_of(index_for(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_picture() {
        let sizes: Vec<usize> = (0..16).map(size_of).collect();
        assert_eq!(sizes, [16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512]);
        assert_eq!(round_up(8192), 8192);
        assert_eq!(round_up(8193), 10240);
    }

    #[test]
    fn the_class_of_a_size_is_the_smallest_that_holds_it() {
        for size in 0..100_000 {
            let index = index_for(size);
            assert!(size_of(index) >= size, "{size}");
            assert!(index == 0 || size_of(index - 1) < size, "{size}");
        }
    }
}
