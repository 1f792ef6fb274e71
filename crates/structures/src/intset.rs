//! [`Intset`]: a sorted set of integers in one run of bytes.
//!
//! ```text
//! | width (4) | members (4) | member … |      all little-endian; width is 2, 4 or 8 bytes per member
//! ```
//!
//! The bytes are those of Redis's intset. The width is that of the widest member there ever was; adding a wider
//! one widens them all, and nothing narrows them again. The memory is always the allocator's size class for
//! these bytes, so the pointer needs no capacity beside it. When to use an intset is left to the caller.

use std::alloc::{self, Layout};
use std::cmp::Ordering;
use std::fmt;
use std::iter::FusedIterator;
use std::ptr::{self, NonNull};
use std::slice;

use crate::size_class;

/// A sorted set of integers the size of one pointer.
pub struct Intset {
    header: NonNull<Header>,
}

/// The first eight bytes, each field little-endian.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Header {
    width: u32,
    len: u32,
}

const HEADER: usize = size_of::<Header>();

/// How many bytes a member takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Two = 2,
    Four = 4,
    Eight = 8,
}

// SAFETY: an intset owns its allocation exclusively, and shared access only reads.
unsafe impl Send for Intset {}
// SAFETY: as above.
unsafe impl Sync for Intset {}

impl Intset {
    /// Returns an empty set.
    pub fn new() -> Intset {
        Intset::allocate(Width::Two, 0)
    }

    /// Returns the set that `bytes` are, or nothing unless they are well-formed, sorted and distinct.
    pub fn from_bytes(bytes: &[u8]) -> Option<Intset> {
        let (header, members) = bytes.split_at_checked(HEADER)?;
        let width = match u32::from_le_bytes(header[..4].try_into().ok()?) {
            2 => Width::Two,
            4 => Width::Four,
            8 => Width::Eight,
            _ => return None,
        };
        let len = u32::from_le_bytes(header[4..].try_into().ok()?) as usize;
        if len.checked_mul(width as usize)? != members.len() {
            return None;
        }
        let set = Intset::allocate(width, len);
        // SAFETY: the set was allocated for as many bytes as there are members' bytes.
        unsafe { ptr::copy_nonoverlapping(members.as_ptr(), set.members(), members.len()) }
        set.iter().is_sorted_by(|a, b| a < b).then_some(set)
    }

    /// Returns the serialised form.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: header and members are initialised and contiguous.
        unsafe { slice::from_raw_parts(self.header.as_ptr().cast(), self.byte_len()) }
    }

    /// Returns the number of members.
    #[inline]
    pub fn len(&self) -> usize {
        u32::from_le(self.header().len) as usize
    }

    /// Tells whether there are no members.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the length of the serialised form.
    #[inline]
    pub fn byte_len(&self) -> usize {
        HEADER + self.len() * self.width() as usize
    }

    /// Returns the heap bytes held.
    pub fn heap_size(&self) -> usize {
        size_class::round_up(self.byte_len())
    }

    /// Tells whether `value` is a member.
    #[inline]
    pub fn contains(&self, value: i64) -> bool {
        self.position(value).is_ok()
    }

    /// Returns the index of `value` in order, or where it would go.
    pub fn position(&self, value: i64) -> Result<usize, usize> {
        let len = self.len();
        // Members are often added in order, and then beyond the last one.
        match self.max().map(|max| max.cmp(&value)) {
            None => return Err(0),
            Some(Ordering::Less) => return Err(len),
            Some(Ordering::Equal) => return Ok(len - 1),
            Some(Ordering::Greater) => {}
        }
        let (mut low, mut high) = (0, len - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).cmp(&value) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Returns the member at `index` in ascending order.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }

    /// Returns the smallest member.
    #[inline]
    pub fn min(&self) -> Option<i64> {
        self.get(0)
    }

    /// Returns the largest member.
    #[inline]
    pub fn max(&self) -> Option<i64> {
        self.get(self.len().wrapping_sub(1))
    }

    /// Returns the members in ascending order.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { set: self, front: 0, back: self.len() }
    }

    /// Adds `value` and tells whether it is new.
    pub fn add(&mut self, value: i64) -> bool {
        let width = Width::of(value);
        if width > self.width() {
            self.widen(width, value);
            return true;
        }
        let Err(index) = self.position(value) else { return false };
        let len = self.len();
        self.resize(len + 1);
        let width = self.width() as usize;
        // SAFETY: `resize` made room for one more member than the `len` that are initialised.
        unsafe {
            let hole = self.members().add(index * width);
            ptr::copy(hole, hole.add(width), (len - index) * width);
        }
        self.set_at(index, value);
        true
    }

    /// Removes `value` and tells whether it was a member.
    pub fn remove(&mut self, value: i64) -> bool {
        self.position(value).map(|index| self.remove_at(index)).is_ok()
    }

    /// Removes and returns the member at `index` in ascending order.
    ///
    /// Panics if there are not that many members, which is the caller's mistake.
    pub fn remove_at(&mut self, index: usize) -> i64 {
        let len = self.len();
        assert!(index < len, "only a member can be removed");
        let value = self.at(index);
        let width = self.width() as usize;
        // SAFETY: the members after `index` are initialised and move down by one.
        unsafe {
            let hole = self.members().add(index * width);
            ptr::copy(hole.add(width), hole, (len - index - 1) * width);
        }
        self.resize(len - 1);
        value
    }

    /// Gives up ownership of the memory as one word, for [`Intset::from_raw`].
    pub fn into_raw(self) -> NonNull<u8> {
        std::mem::ManuallyDrop::new(self).header.cast()
    }

    /// Takes back what [`Intset::into_raw`] gave up.
    ///
    /// # Safety
    /// `raw` came from `into_raw` and is taken back only once.
    pub unsafe fn from_raw(raw: NonNull<u8>) -> Intset {
        Intset { header: raw.cast() }
    }

    /// Gives every member `width` bytes and adds `value`, which needs that many and so lies beyond all others.
    fn widen(&mut self, width: Width, value: i64) {
        let len = self.len();
        let mut wide = Intset::allocate(width, len + 1);
        let first = usize::from(value < 0);
        for (index, member) in self.iter().enumerate() {
            wide.set_at(first + index, member);
        }
        wide.set_at(if value < 0 { 0 } else { len }, value);
        *self = wide;
    }

    #[inline]
    fn at(&self, index: usize) -> i64 {
        assert!(index < self.len());
        let members = self.members();
        // SAFETY: the index is below the number of members, and members are aligned behind the 8-byte header.
        unsafe {
            match self.width() {
                Width::Two => i64::from(i16::from_le(*members.cast::<i16>().add(index))),
                Width::Four => i64::from(i32::from_le(*members.cast::<i32>().add(index))),
                Width::Eight => i64::from_le(*members.cast::<i64>().add(index)),
            }
        }
    }

    /// Writes member `index`; `value` fits the width.
    #[inline]
    fn set_at(&mut self, index: usize, value: i64) {
        assert!(index < self.len());
        let members = self.members();
        // SAFETY: as in `at`.
        unsafe {
            match self.width() {
                Width::Two => *members.cast::<i16>().add(index) = (value as i16).to_le(),
                Width::Four => *members.cast::<i32>().add(index) = (value as i32).to_le(),
                Width::Eight => *members.cast::<i64>().add(index) = value.to_le(),
            }
        }
    }

    #[inline]
    fn header(&self) -> Header {
        // SAFETY: the header is initialised from allocation on.
        unsafe { self.header.read() }
    }

    #[inline]
    fn width(&self) -> Width {
        match u32::from_le(self.header().width) {
            2 => Width::Two,
            4 => Width::Four,
            _ => Width::Eight,
        }
    }

    #[inline]
    fn members(&self) -> *mut u8 {
        // SAFETY: the header is followed by the members, within the allocation.
        unsafe { self.header.as_ptr().add(1).cast() }
    }

    /// Returns a set that claims `len` members, which the caller writes at once.
    fn allocate(width: Width, len: usize) -> Intset {
        let layout = layout(width, len);
        // SAFETY: no class is empty, and each holds the header. Members are zeroed, hence initialised.
        unsafe {
            let block = alloc::alloc_zeroed(layout);
            let header = NonNull::new(block).unwrap_or_else(|| alloc::handle_alloc_error(layout)).cast();
            header.write(Header { width: (width as u32).to_le(), len: told(len) });
            Intset { header }
        }
    }

    /// Sets the number of members, of which the last, if it is new, is not yet meaningful.
    fn resize(&mut self, len: usize) {
        let (old, new) = (layout(self.width(), self.len()), layout(self.width(), len));
        // SAFETY: the block was allocated with `old`, the layout of its length. A new last member is zeroed, since
        // it may never have been written.
        unsafe {
            if old != new {
                let block = alloc::realloc(self.header.as_ptr().cast(), old, new.size());
                self.header = NonNull::new(block).unwrap_or_else(|| alloc::handle_alloc_error(new)).cast();
            }
            if len > self.len() {
                let width = self.width() as usize;
                ptr::write_bytes(self.members().add(self.len() * width), 0, (len - self.len()) * width);
            }
            (*self.header.as_ptr()).len = told(len);
        }
    }
}

impl Width {
    #[inline]
    fn of(value: i64) -> Width {
        match value {
            -0x8000..=0x7fff => Width::Two,
            -0x8000_0000..=0x7fff_ffff => Width::Four,
            _ => Width::Eight,
        }
    }
}

fn told(len: usize) -> u32 {
    u32::try_from(len).expect("an intset's length is told in four bytes").to_le()
}

fn layout(width: Width, len: usize) -> Layout {
    let size = size_class::round_up(HEADER + len * width as usize);
    Layout::from_size_align(size, align_of::<Header>()).expect("lengths are far below the address space")
}

impl Drop for Intset {
    fn drop(&mut self) {
        // SAFETY: the block was allocated with the layout of its length.
        unsafe { alloc::dealloc(self.header.as_ptr().cast(), layout(self.width(), self.len())) }
    }
}

impl Default for Intset {
    fn default() -> Intset {
        Intset::new()
    }
}

impl Clone for Intset {
    fn clone(&self) -> Intset {
        let copy = Intset::allocate(self.width(), self.len());
        // SAFETY: both sets have as many bytes of members, and they are distinct.
        unsafe { ptr::copy_nonoverlapping(self.members(), copy.members(), self.byte_len() - HEADER) }
        copy
    }
}

impl PartialEq for Intset {
    /// Compares members; the same ones may be stored in different widths.
    fn eq(&self, other: &Intset) -> bool {
        self.iter().eq(other)
    }
}

impl Eq for Intset {}

impl fmt::Debug for Intset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl Extend<i64> for Intset {
    fn extend<I: IntoIterator<Item = i64>>(&mut self, values: I) {
        for value in values {
            self.add(value);
        }
    }
}

impl FromIterator<i64> for Intset {
    fn from_iter<I: IntoIterator<Item = i64>>(values: I) -> Intset {
        let mut set = Intset::new();
        set.extend(values);
        set
    }
}

impl<'a> IntoIterator for &'a Intset {
    type Item = i64;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The members of an intset in ascending order.
#[derive(Clone)]
pub struct Iter<'a> {
    set: &'a Intset,
    front: usize,
    back: usize,
}

impl Iterator for Iter<'_> {
    type Item = i64;

    #[inline]
    fn next(&mut self) -> Option<i64> {
        (self.front < self.back).then(|| {
            self.front += 1;
            self.set.at(self.front - 1)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.back - self.front, Some(self.back - self.front))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<i64> {
        (self.front < self.back).then(|| {
            self.back -= 1;
            self.set.at(self.back)
        })
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base::rng::Rng;

    use super::*;

    fn from_hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// What `redis-server` 7.0.15 dumps for sets of these members.
    #[test]
    fn sets_are_stored_as_redis_stores_them() {
        let cases: [(&[i64], &str); 3] = [
            (&[5, -1, 32767, -32768, 0], "02000000050000000080ffff00000500ff7f"),
            (&[5, -1, 32768, -32769, 0], "0400000005000000ff7fffffffffffff000000000500000000800000"),
            (
                &[5, -1, 2147483648, -2147483649, 0, i64::MAX, i64::MIN],
                concat!(
                    "08000000070000000000000000000080ffffff7fffffffffffffffffffffffff00000000000000000500000000000000",
                    "0000008000000000ffffffffffffff7f",
                ),
            ),
        ];
        for (members, expected) in cases {
            let set: Intset = members.iter().copied().collect();
            assert_eq!(set.as_bytes(), from_hex(expected));
            assert_eq!(Intset::from_bytes(&from_hex(expected)), Some(set));
        }
        let mut set = Intset::from_iter([1, 70_000]);
        assert!(set.remove(70_000));
        assert_eq!(set.as_bytes(), from_hex("040000000100000001000000"));
        assert_eq!(set, Intset::from_iter([1]));
    }

    #[test]
    fn behaves_as_a_btree_set() {
        let mut rng = Rng::seeded(5);
        for round in 0..60u64 {
            let (mut set, mut model) = (Intset::new(), BTreeSet::new());
            // Small ranges make repetitions likely; each round reaches the wider ones at its own time.
            for step in 0..600 {
                let spread = if step > round * 10 { 63 - rng.below(64) } else { 56 };
                let value = rng.next_u64() as i64 >> spread;
                if rng.below(3) == 0 {
                    assert_eq!(set.remove(value), model.remove(&value));
                } else {
                    assert_eq!(set.add(value), model.insert(value));
                }
                if rng.below(20) == 0 && !model.is_empty() {
                    let index = rng.below(model.len() as u64) as usize;
                    let removed = set.remove_at(index);
                    assert_eq!(model.iter().nth(index), Some(&removed));
                    model.remove(&removed);
                }
                assert_eq!(set.len(), model.len());
                assert_eq!((set.min(), set.max()), (model.first().copied(), model.last().copied()));
                assert_eq!(set.contains(value), model.contains(&value));
                assert_eq!(set.is_empty(), model.is_empty());
            }
            assert!(set.iter().eq(model.iter().copied()));
            assert!(set.iter().rev().eq(model.iter().rev().copied()));
            assert_eq!(Intset::from_bytes(set.as_bytes()), Some(set.clone()));
            for (index, value) in model.iter().enumerate() {
                assert_eq!((set.get(index), set.position(*value)), (Some(*value), Ok(index)));
            }
            assert_eq!(set.get(model.len()), None);
        }
    }

    #[test]
    fn malformed_bytes_are_refused() {
        let set = Intset::from_iter([1, 2, 300]);
        let good = set.as_bytes();
        for len in 0..good.len() {
            assert_eq!(Intset::from_bytes(&good[..len]), None);
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            Intset::from_bytes(&bytes)
        };
        assert_eq!(with(0, 3), None, "no such width");
        assert_eq!(with(0, 4), None, "not that many members");
        assert_eq!(with(7, 0x80), None, "far from that many members");
        assert_eq!(with(8, 2), None, "a repeated member");
        assert_eq!(with(8, 3), None, "members out of order");
        assert_eq!(with(8, 0), Some(Intset::from_iter([0, 2, 300])));
    }

    #[test]
    fn a_raw_word_comes_back_whole() {
        let raw = Intset::from_iter([3, 1, 2]).into_raw();
        // SAFETY: taken back once.
        assert!(unsafe { Intset::from_raw(raw) }.iter().eq(1..=3));
        assert_eq!(size_of::<Option<Intset>>(), 8);
    }
}
