//! One cache line of a table: seven entries, their tags, and the chains that overfull buckets grow.
//!
//! ```text
//! byte 0      1..8           8..16    16..24   …   56..64
//!     ┌──────┬──────────────┬────────┬────────┬───┬────────────────────┐
//!     │ meta │ tag 0..tag 6 │ slot 0 │ slot 1 │ … │ slot 6 or the next │
//!     └──────┴──────────────┴────────┴────────┴───┴────────────────────┘
//! meta: bit 0..6 slot occupied, bit 7 slot 6 is the address of the next bucket of the chain
//! ```
//!
//! Most overflows are of one or two entries, so the last bucket of a chain may be cut off after three slots. Bit 0 of
//! the address says so. Only the last bucket of a chain has free slots, and any bucket but the first has two entries
//! or more.

use std::alloc::{self, Layout};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use super::Entry;

pub(super) const SLOTS: usize = 7;
const CHAINED: u8 = 0x80;
const OCCUPIED: u8 = 0x7f;
const LAST: usize = SLOTS - 1;

/// Where the end of a small entry lies that may have crossed into another cache line.
const VALUE_OFFSET: usize = 48;

const SHORT_SLOTS: u32 = 3;
const SHORT_SIZE: usize = 32;
const SHORT_BIT: usize = 1;
const FULL_SIZE: usize = 64;

#[repr(C)]
struct Bucket<E> {
    meta: u8,
    tags: [u8; SLOTS],
    slots: [Slot<E>; SLOTS],
}

#[repr(C)]
union Slot<E> {
    entry: ManuallyDrop<E>,
    next: *mut u8,
}

/// The address of a bucket, which may be a short one.
pub(super) struct At<E>(NonNull<Bucket<E>>);

impl<E> Clone for At<E> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for At<E> {}

/// Where an entry lies.
pub(super) struct Place<E> {
    pub(super) bucket: At<E>,
    pub(super) slot: usize,
}

impl<E> Clone for Place<E> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Place<E> {}

impl<E> Place<E> {
    /// Returns the address of the entry.
    #[inline(always)]
    pub(super) fn entry(self) -> NonNull<E> {
        // SAFETY: a place is within its bucket.
        unsafe { NonNull::new_unchecked(self.bucket.slot(self.slot).cast()) }
    }
}

/// A bucket that is always empty: what a table without memory points at.
#[repr(align(64))]
pub(super) struct Nothing([u64; 8]);

pub(super) static NOTHING: Nothing = Nothing([0; 8]);

/// The functions of this block take addresses of live buckets: those of a table's array, and those linked from them.
impl<E: Entry> At<E> {
    /// Returns the place of `key` in the chain that starts here.
    ///
    /// # Safety
    /// The bucket is live, and no other thread changes it.
    #[inline(always)]
    pub(super) unsafe fn find(self, tag: u8, key: &[u8]) -> Option<Place<E>> {
        let mut bucket = self;
        loop {
            let mut hits = bucket.hits(tag);
            while hits != 0 {
                let slot = hits.trailing_zeros() as usize;
                bucket.prefetch_value(slot);
                // SAFETY: an occupied slot holds an entry.
                if same(unsafe { &*bucket.slot(slot).cast::<E>() }.key(), key) {
                    return Some(Place { bucket, slot });
                }
                hits &= hits - 1;
            }
            bucket = bucket.next()?;
        }
    }

    /// Prefetches the entries of the chain's first bucket whose tag is `tag`.
    #[inline(always)]
    pub(super) fn prefetch_hits(self, tag: u8) {
        let mut hits = self.hits(tag);
        while hits != 0 {
            self.prefetch_slot(hits.trailing_zeros() as usize);
            hits &= hits - 1;
        }
    }

    /// Prefetches every entry of the chain's first bucket.
    #[inline(always)]
    pub(super) fn prefetch_all(self) {
        let mut occupied = self.occupied();
        while occupied != 0 {
            self.prefetch_slot(occupied.trailing_zeros() as usize);
            occupied &= occupied - 1;
        }
    }

    #[inline(always)]
    fn prefetch_slot(self, slot: usize) {
        const { assert!(size_of::<E>() == 8, "a dict's entry is one thin pointer") };
        // SAFETY: an occupied slot holds eight initialised bytes; that they are an address is only hoped for.
        prefetch(unsafe { self.slot(slot).cast::<*const u8>().read() });
        self.prefetch_value(slot);
    }

    /// Prefetches what usually follows the key of an entry, often on the next line, while the key is compared.
    #[inline(always)]
    fn prefetch_value(self, slot: usize) {
        // SAFETY: as above.
        prefetch(unsafe { self.slot(slot).cast::<*const u8>().read() }.wrapping_add(VALUE_OFFSET));
    }
}

impl<E> At<E> {
    #[inline(always)]
    pub(super) fn new(start: *mut u8) -> Self {
        const {
            assert!(size_of::<E>() == 8, "a dict's entry is one thin pointer");
            assert!(align_of::<E>() <= 8);
            assert!(size_of::<Bucket<E>>() == FULL_SIZE);
        };
        debug_assert!(!start.is_null());
        // SAFETY: the callers give addresses of buckets.
        At(unsafe { NonNull::new_unchecked(start.cast()) })
    }

    /// Returns the address itself, to prefetch it.
    #[inline(always)]
    pub(super) fn address(self) -> *const u8 {
        self.start()
    }

    /// Returns the occupied slots, a bit each.
    #[inline(always)]
    pub(super) fn occupied(self) -> u8 {
        self.meta() & OCCUPIED
    }

    /// Returns whether neither this bucket nor a next one holds anything.
    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.meta() == 0
    }

    /// Returns the next bucket of the chain.
    #[inline(always)]
    pub(super) fn next(self) -> Option<At<E>> {
        self.link().map(|(next, _)| next)
    }

    /// Returns how many entries the chain holds from here.
    pub(super) fn chain_len(self) -> usize {
        let mut count = 0;
        let mut bucket = Some(self);
        while let Some(at) = bucket {
            count += at.occupied().count_ones() as usize;
            bucket = at.next();
        }
        count
    }

    /// Puts an entry into the first free slot of the chain; also returns the bytes allocated for it.
    ///
    /// # Safety
    /// This is the first bucket of a live chain that nobody else refers to, and not [`NOTHING`].
    #[inline]
    pub(super) unsafe fn put(self, tag: u8, entry: E) -> (Place<E>, usize) {
        let mut bucket = self;
        let mut parent = None;
        while let Some((next, short)) = bucket.link() {
            parent = short.then_some(bucket);
            bucket = next;
        }
        let mut grown = 0;
        let free = !bucket.meta() & if parent.is_some() { (1 << SHORT_SLOTS) - 1 } else { OCCUPIED };
        let place = if free != 0 {
            Place { bucket, slot: free.trailing_zeros() as usize }
        } else if let Some(parent) = parent {
            grown = FULL_SIZE - SHORT_SIZE;
            // SAFETY: the bucket is the short one that the parent links.
            Place { bucket: unsafe { parent.lengthen_next() }, slot: SHORT_SLOTS as usize }
        } else {
            grown = SHORT_SIZE;
            // SAFETY: the bucket is full and the last of its chain.
            Place { bucket: unsafe { bucket.push_next() }, slot: 1 }
        };
        // SAFETY: the slot is within its bucket, and free.
        unsafe { place.bucket.fill(place.slot, tag, entry) };
        (place, grown)
    }

    /// Takes an entry out of the chain that starts here; also returns the bytes freed.
    ///
    /// # Safety
    /// `place` holds an entry of this live chain, and nobody else refers to the chain.
    #[inline]
    pub(super) unsafe fn take(self, place: Place<E>) -> (E, usize) {
        // SAFETY: the slot is occupied; it is vacated right here.
        let entry = unsafe { place.bucket.vacate(place.slot).1 };
        if self.meta() & CHAINED == 0 {
            return (entry, 0);
        }
        // SAFETY: as promised by the caller.
        let freed = unsafe { self.close_gap(place) };
        (entry, freed)
    }

    /// Fills a gap in the chain from its end, and drops a last bucket with one entry only.
    unsafe fn close_gap(self, gap: Place<E>) -> usize {
        let mut parent = self;
        let (mut last, mut short) = self.link().expect("the chain has a second bucket");
        while let Some((next, next_short)) = last.link() {
            (parent, last, short) = (last, next, next_short);
        }
        // SAFETY: slots are vacated only where occupied, which the last bucket is at least twice before a gap in it;
        // slot 6 of the parent is free as soon as it is no longer a link; the last bucket is empty when it is freed.
        unsafe {
            if gap.bucket.0 != last.0 {
                let (tag, entry) = last.vacate(last.occupied().ilog2() as usize);
                gap.bucket.fill(gap.slot, tag, entry);
            }
            if last.occupied().count_ones() > 1 {
                return 0;
            }
            let (tag, entry) = last.vacate(last.occupied().trailing_zeros() as usize);
            parent.set_meta(parent.meta() & !CHAINED);
            parent.fill(LAST, tag, entry);
            last.free(short)
        }
    }

    /// Asserts what is believed of the chain that starts here, and returns the bytes allocated for it.
    #[cfg(test)]
    pub(super) fn check_chain(self, mut check: impl FnMut(u8, Place<E>)) -> usize {
        let (mut size, mut bucket, mut short) = (0, self, false);
        loop {
            let count = bucket.occupied().count_ones();
            if bucket.0 != self.0 {
                assert!(count >= 2, "a chained bucket has two entries or more");
                size += chained_layout(short).size();
            }
            if short {
                assert!(bucket.meta() < 1 << SHORT_SLOTS, "a short bucket is the last");
            }
            for slot in (0..SLOTS).filter(|slot| bucket.occupied() >> slot & 1 != 0) {
                // SAFETY: within the bucket.
                check(unsafe { bucket.start().add(1 + slot).read() }, Place { bucket, slot });
            }
            let Some(link) = bucket.link() else { return size };
            assert_eq!(count, 6, "only the last bucket has free slots");
            (bucket, short) = link;
        }
    }

    /// Empties the chain, giving each entry to `f`, and returns the bytes freed.
    ///
    /// # Safety
    /// This is the first bucket of a live chain that nobody else refers to.
    #[inline]
    pub(super) unsafe fn drain(self, mut f: impl FnMut(E)) -> usize {
        let mut freed = 0;
        // Unlinked before it is freed, so that the chain is sound even if `f` panics.
        let mut vacate_all = |at: At<E>| {
            while at.occupied() != 0 {
                // SAFETY: the slot is occupied.
                f(unsafe { at.vacate(at.occupied().trailing_zeros() as usize).1 });
            }
        };
        vacate_all(self);
        while let Some((next, short)) = self.link() {
            vacate_all(next);
            // SAFETY: a chained bucket's slot 6 is the link; the next bucket is empty and no longer linked.
            unsafe {
                if next.meta() & CHAINED != 0 {
                    (*self.slot(LAST)).next = (*next.slot(LAST)).next;
                }
                self.set_meta(next.meta());
                freed += next.free(short);
            }
        }
        freed
    }

    /// Replaces the short bucket linked from here by a full one with the same entries.
    #[cold]
    unsafe fn lengthen_next(self) -> At<E> {
        let (old, _) = self.link().expect("there is a short bucket to lengthen");
        // SAFETY: a short bucket is an allocation of that layout.
        let start = unsafe { alloc::realloc(old.start(), chained_layout(true), FULL_SIZE) };
        if start.is_null() {
            alloc::handle_alloc_error(chained_layout(false));
        }
        // SAFETY: slot 6 of a chained bucket is the link.
        unsafe { (*self.slot(LAST)).next = start };
        At::new(start)
    }

    /// Moves the last entry of this full bucket to a new short one, linked from here, and returns that.
    #[cold]
    unsafe fn push_next(self) -> At<E> {
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc::alloc(chained_layout(true)) };
        if start.is_null() {
            alloc::handle_alloc_error(chained_layout(true));
        }
        // SAFETY: the header is the new bucket's; slot 6 of a full bucket is occupied, and free after that.
        unsafe {
            start.cast::<u64>().write(0);
            let next = At::new(start);
            let (tag, entry) = self.vacate(LAST);
            next.fill(0, tag, entry);
            (*self.slot(LAST)).next = start.map_addr(|addr| addr | SHORT_BIT);
            self.set_meta(self.meta() | CHAINED);
            next
        }
    }

    unsafe fn free(self, short: bool) -> usize {
        let layout = chained_layout(short);
        // SAFETY: linked buckets are allocated with this layout.
        unsafe { alloc::dealloc(self.start(), layout) };
        layout.size()
    }

    /// # Safety
    /// The slot is within the bucket and free.
    #[inline(always)]
    unsafe fn fill(self, slot: usize, tag: u8, entry: E) {
        debug_assert!(self.meta() & 1 << slot == 0);
        // SAFETY: the slot is within the bucket; what is overwritten is no entry.
        unsafe {
            self.slot(slot).cast::<E>().write(entry);
            self.start().add(1 + slot).write(tag);
        }
        self.set_meta(self.meta() | 1 << slot);
    }

    /// # Safety
    /// The slot is occupied.
    #[inline(always)]
    unsafe fn vacate(self, slot: usize) -> (u8, E) {
        debug_assert!(self.occupied() & 1 << slot != 0);
        self.set_meta(self.meta() & !(1 << slot));
        // SAFETY: the slot held an entry, and no longer says so.
        unsafe { (self.start().add(1 + slot).read(), self.slot(slot).cast::<E>().read()) }
    }

    /// Returns the next bucket of the chain and whether it is a short one.
    #[inline(always)]
    fn link(self) -> Option<(At<E>, bool)> {
        if self.meta() & CHAINED == 0 {
            return None;
        }
        // SAFETY: slot 6 of a chained bucket is the link.
        let next = unsafe { (*self.slot(LAST)).next };
        Some((At::new(next.map_addr(|addr| addr & !SHORT_BIT)), next.addr() & SHORT_BIT != 0))
    }

    #[inline(always)]
    fn slot(self, slot: usize) -> *mut Slot<E> {
        debug_assert!(slot < SLOTS);
        // SAFETY: within the bucket; no reference is made, because a short bucket ends early.
        unsafe { (&raw mut (*self.0.as_ptr()).slots).cast::<Slot<E>>().add(slot) }
    }

    #[inline(always)]
    fn start(self) -> *mut u8 {
        self.0.as_ptr().cast()
    }

    #[inline(always)]
    fn meta(self) -> u8 {
        // SAFETY: byte 0 of a live bucket.
        unsafe { (*self.0.as_ptr()).meta }
    }

    #[inline(always)]
    fn set_meta(self, meta: u8) {
        // SAFETY: byte 0 of a live bucket; never called on `NOTHING`, which holds no entry and gets none.
        unsafe { (*self.0.as_ptr()).meta = meta };
    }

    /// Returns the occupied slots with that tag, a bit each.
    #[inline(always)]
    fn hits(self, tag: u8) -> u8 {
        // SAFETY: the first eight bytes of a live bucket are initialised.
        let head = unsafe { self.start().cast::<u64>().read() };
        #[cfg(target_arch = "x86_64")]
        {
            equal_tags_sse2(head, tag) & head as u8 & OCCUPIED
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            equal_tags(u64::from_le(head), tag) & u64::from_le(head) as u8 & OCCUPIED
        }
    }
}

fn chained_layout(short: bool) -> Layout {
    let size = if short { SHORT_SIZE } else { FULL_SIZE };
    // SAFETY: a small size and a power of two.
    unsafe { Layout::from_size_align_unchecked(size, 8) }
}

/// Returns a bit for each of bytes 1..8 of `head` that equals `tag`; bit 7 is arbitrary.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn equal_tags_sse2(head: u64, tag: u8) -> u8 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_cvtsi64_si128, _mm_movemask_epi8, _mm_set1_epi8};

    // SAFETY: SSE2 is part of x86-64.
    let equal = unsafe {
        _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_cvtsi64_si128(head as i64), _mm_set1_epi8(tag as i8)))
    };
    (equal >> 1) as u8
}

/// Returns a bit for each of bytes 1..8 of `head` that equals `tag`; bit 7 is clear.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline(always)]
fn equal_tags(head: u64, tag: u8) -> u8 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let differences = head ^ u64::from_ne_bytes([tag; 8]);
    // The top bit of each byte says that the byte is zero; no carry leaves a byte.
    let zero = !(((differences & LOW) + LOW) | differences | LOW);
    // Gathers the eight top bits in one byte, lowest byte first.
    let gathered = (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    (gathered >> 1) as u8
}

/// Compares two keys; short ones without a call.
#[inline(always)]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let len = a.len();
    if len != b.len() {
        return false;
    }
    let (a_start, b_start) = (a.as_ptr(), b.as_ptr());
    // SAFETY: both are `len` bytes long, and every read ends at `len` or before.
    unsafe {
        let word = |start: *const u8, at: usize| start.add(at).cast::<u64>().read_unaligned();
        let half = |start: *const u8, at: usize| start.add(at).cast::<u32>().read_unaligned();
        match len {
            0 => true,
            1..4 => {
                *a_start == *b_start
                    && *a_start.add(len / 2) == *b_start.add(len / 2)
                    && *a_start.add(len - 1) == *b_start.add(len - 1)
            }
            4..8 => half(a_start, 0) == half(b_start, 0) && half(a_start, len - 4) == half(b_start, len - 4),
            8..=16 => {
                word(a_start, 0) == word(b_start, 0) && word(a_start, len - 8) == word(b_start, len - 8)
            }
            17..=64 => {
                let mut at = 0;
                while at < len - 8 {
                    if word(a_start, at) != word(b_start, at) {
                        return false;
                    }
                    at += 8;
                }
                word(a_start, len - 8) == word(b_start, len - 8)
            }
            _ => a == b,
        }
    }
}

/// Asks for the cache line at `address`, which need not be valid.
#[inline(always)]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

impl Nothing {
    pub(super) fn start(&self) -> *mut u8 {
        ptr::from_ref(&self.0).cast::<u8>().cast_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_exactly() {
        let mut state = 1u64;
        for round in 0..20_000u32 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let mut bytes = (state ^ state >> 29).to_le_bytes();
            // Few different values, and the neighbours that a sloppy zero test confuses.
            bytes.iter_mut().for_each(|byte| *byte = [0, 1, 0x7f, 0x80, 0x81, 0xff][usize::from(*byte % 6)]);
            let tag = [0, 1, 0x80, 0xff, 0x7f][round as usize % 5];
            let expected = (0..7).fold(0, |bits, i| bits | u8::from(bytes[1 + i] == tag) << i);
            assert_eq!(equal_tags(u64::from_le_bytes(bytes), tag) & OCCUPIED, expected);
            #[cfg(target_arch = "x86_64")]
            assert_eq!(equal_tags_sse2(u64::from_le_bytes(bytes), tag) & OCCUPIED, expected);
        }
    }

    #[test]
    fn keys_of_every_length_are_compared_whole() {
        let text: Vec<u8> = (0..=200).collect();
        for len in 0..=130 {
            let mut other = text[..len].to_vec();
            assert!(same(&text[..len], &other));
            assert!(!same(&text[..len + 1], &other));
            for at in 0..len {
                other[at] ^= 0x40;
                assert!(!same(&text[..len], &other), "length {len}, byte {at}");
                other[at] ^= 0x40;
            }
        }
    }
}
