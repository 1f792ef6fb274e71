//! The bucket array of a dict, the bitmap of buckets with marked entries, and memory on its way out.

use std::alloc::{self, Layout};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

use super::Entry;
use super::bucket::{At, NOTHING, Place, prefetch};

pub(super) const BUCKET: usize = 64;

/// Arrays up to this size are aligned by the allocator, larger ones by us (see [`array_layout`]).
const SMALL: usize = 4096;

/// Finished tables below this size are freed on the spot.
const RETIRED_MIN: usize = 64 << 10;

/// A power of two of buckets, or none.
pub(super) struct Table<E> {
    buckets: *mut u8,
    mask: usize,
    memory: Memory,
    /// A bit per bucket that may hold marked entries; no words while there never was one.
    marks: Box<[u64]>,
    entries: PhantomData<E>,
}

impl<E> Table<E> {
    /// Returns the table without buckets, whose only bucket is always empty.
    pub(super) fn empty() -> Self {
        let buckets = NOTHING.start();
        Table { buckets, mask: 0, memory: Memory::none(), marks: Box::default(), entries: PhantomData }
    }

    /// Returns `count` empty buckets whose memory is not touched yet; `count` is a power of two.
    pub(super) fn with_buckets(count: usize) -> Self {
        debug_assert!(count.is_power_of_two());
        let memory = Memory::zeroed(array_layout(count));
        let misaligned = memory.start.addr() % BUCKET;
        // SAFETY: a large array has a spare bucket's size less the allocator's alignment to move its start by.
        let buckets = unsafe { memory.start.add((BUCKET - misaligned) % BUCKET) };
        Table { buckets, mask: count - 1, memory, marks: Box::default(), entries: PhantomData }
    }

    #[inline(always)]
    pub(super) fn has_buckets(&self) -> bool {
        !self.memory.start.is_null()
    }

    /// Returns how many buckets there are.
    #[inline]
    pub(super) fn count(&self) -> usize {
        if self.has_buckets() { self.mask + 1 } else { 0 }
    }

    #[inline(always)]
    pub(super) fn mask(&self) -> usize {
        self.mask
    }

    /// Returns the bucket at `index`, which is reduced to the table.
    #[inline(always)]
    pub(super) fn bucket(&self, index: usize) -> At<E> {
        // SAFETY: the mask keeps the index in the array.
        At::new(unsafe { self.buckets.add((index & self.mask) * BUCKET) })
    }

    /// Returns the entries of the bucket at `index`.
    #[inline]
    pub(super) fn entries(&self, index: usize) -> impl Iterator<Item = &E> {
        let mut bucket = self.bucket(index);
        let mut occupied = bucket.occupied();
        std::iter::from_fn(move || {
            while occupied == 0 {
                bucket = bucket.next()?;
                occupied = bucket.occupied();
            }
            let place = Place { bucket, slot: occupied.trailing_zeros() as usize };
            occupied &= occupied - 1;
            // SAFETY: the slot is occupied, and the entry lives as long as the table is borrowed.
            Some(unsafe { &*place.entry().as_ptr() })
        })
    }

    /// Returns the bytes of the array and the bitmap.
    pub(super) fn bytes(&self) -> usize {
        self.memory.layout.size() + self.marks.len() * 8
    }

    /// Gives the array's memory up; the entries are gone.
    pub(super) fn into_memory(self) -> Memory {
        self.memory
    }

    /// Notes that the bucket may hold marked entries.
    #[inline]
    pub(super) fn set_mark(&mut self, index: usize) {
        if self.marks.is_empty() {
            self.marks = vec![0; (self.mask + 1).div_ceil(64)].into();
        }
        self.marks[index / 64] |= 1 << (index % 64);
    }

    /// Notes that the bucket holds no marked entries.
    pub(super) fn clear_mark(&mut self, index: usize) {
        if let Some(word) = self.marks.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    #[cfg(test)]
    pub(super) fn has_mark(&self, index: usize) -> bool {
        self.marks.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }

    /// Returns the first bucket from `index` on that may hold marked entries, and how many words were looked at.
    ///
    /// Looks at no more than `words` words; the index returned is where to go on if none was found.
    pub(super) fn next_mark(&self, index: usize, words: usize) -> (usize, bool, usize) {
        let count = self.count();
        if self.marks.is_empty() {
            return (count, false, 0);
        }
        let mut at = index;
        for looked in 0..words {
            if at >= count {
                return (count, false, looked);
            }
            let word = self.marks[at / 64] >> (at % 64);
            if word != 0 {
                return (at + word.trailing_zeros() as usize, true, looked + 1);
            }
            at = (at / 64 + 1) * 64;
        }
        (at.min(count), false, words)
    }
}

impl<E: Entry> Table<E> {
    /// Asks for what a walk from bucket to bucket will need: far ahead for a bucket, nearer for its entries, then for
    /// what these own. At the end of the table it asks for its beginning, in vain.
    #[inline]
    pub(super) fn look_ahead(&self, index: usize, [bucket, entries, values]: [usize; 3]) {
        prefetch(self.bucket(index + bucket).address());
        self.bucket(index + entries).prefetch_all();
        let near = self.bucket(index + values);
        let mut occupied = near.occupied();
        while occupied != 0 {
            let place = Place { bucket: near, slot: occupied.trailing_zeros() as usize };
            occupied &= occupied - 1;
            // SAFETY: the slot is occupied, and the table is borrowed.
            unsafe { place.entry().as_ref() }.prefetch_value();
        }
    }
}

/// The memory of a table that a dict no longer needs; dropping it, on any thread, frees it.
pub struct Retired(Memory);

impl Retired {
    /// Returns the memory as something to hand out, or frees it if it is small.
    pub(super) fn new(memory: Memory) -> Option<Retired> {
        (memory.layout.size() >= RETIRED_MIN).then(|| Retired(memory))
    }

    /// Returns the memory, whose content nobody needs: its pages may be given back piece by piece before it is freed.
    pub fn bytes(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the allocation is ours alone, of that size, and any content is fine.
        unsafe { std::slice::from_raw_parts_mut(self.0.start.cast(), self.0.layout.size()) }
    }
}

/// An allocation, or none.
pub(super) struct Memory {
    start: *mut u8,
    layout: Layout,
}

// SAFETY: an allocation may be freed on any thread.
unsafe impl Send for Memory {}

impl Memory {
    fn none() -> Memory {
        Memory { start: ptr::null_mut(), layout: Layout::new::<()>() }
    }

    fn zeroed(layout: Layout) -> Memory {
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        if start.is_null() {
            alloc::handle_alloc_error(layout);
        }
        Memory { start, layout }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if !self.start.is_null() {
            // SAFETY: allocated with that layout.
            unsafe { alloc::dealloc(self.start, self.layout) };
        }
    }
}

/// Returns the layout of an array of `count` buckets.
///
/// The system's allocator has zeroed memory for nothing only at its natural alignment: for a larger one it allocates
/// and then clears, touching every page. So large arrays ask for a spare bucket instead of an alignment.
fn array_layout(count: usize) -> Layout {
    let size = count.checked_mul(BUCKET).expect("tables fit memory");
    let layout = if size <= SMALL {
        Layout::from_size_align(size, BUCKET)
    } else {
        Layout::from_size_align(size + BUCKET, 16)
    };
    layout.expect("tables fit memory")
}
