//! Small immutable keys behind one thin pointer: a member of a set, a field with its value.
//!
//! ```text
//! Blob  ┌────────┬───────┐      Pair  ┌──────────────┬──────────────┬───────┬───────┐
//!       │ length │ bytes │            │ field length │ value length │ field │ value │
//!       └────────┴───────┘            └──────────────┴──────────────┴───────┴───────┘
//! ```
//!
//! Lengths take seven bits a byte, low bits first, with the top bit where more follow. Allocations are rounded up to
//! eight bytes.

use std::alloc::{self, Layout};
use std::fmt;
use std::ptr::NonNull;

use crate::dict::Entry;

/// Bytes in one allocation behind a thin pointer.
pub struct Blob(NonNull<u8>);

// SAFETY: a blob owns its bytes, and they do not change.
unsafe impl Send for Blob {}
// SAFETY: as above.
unsafe impl Sync for Blob {}

impl Blob {
    /// Returns a copy of `bytes`.
    #[inline]
    pub fn new(bytes: &[u8]) -> Self {
        let header = length_size(bytes.len());
        let start = allocate(header + bytes.len());
        // SAFETY: the allocation has room for the length and the bytes.
        unsafe {
            write_length(start.as_ptr(), bytes.len());
            start.as_ptr().add(header).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Blob(start)
    }

    /// Returns the bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: the allocation begins with the length, which that many bytes follow.
        unsafe {
            let (len, header) = read_length(self.0.as_ptr());
            std::slice::from_raw_parts(self.0.as_ptr().add(header), len)
        }
    }

    /// Returns the bytes of the allocation.
    #[inline]
    pub fn heap_size(&self) -> usize {
        let len = self.as_bytes().len();
        (length_size(len) + len).next_multiple_of(8)
    }
}

impl Drop for Blob {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: allocated with that size, and not used again.
        unsafe { alloc::dealloc(self.0.as_ptr(), layout(self.heap_size())) };
    }
}

impl Clone for Blob {
    fn clone(&self) -> Self {
        Blob::new(self.as_bytes())
    }
}

impl Entry for Blob {
    #[inline]
    fn key(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Blob {}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({})", self.as_bytes().escape_ascii())
    }
}

/// A field and its value in one allocation behind a thin pointer.
pub struct Pair(NonNull<u8>);

// SAFETY: a pair owns its bytes, which change through an exclusive reference only.
unsafe impl Send for Pair {}
// SAFETY: as above.
unsafe impl Sync for Pair {}

impl Pair {
    /// Returns copies of `field` and `value` side by side.
    #[inline]
    pub fn new(field: &[u8], value: &[u8]) -> Self {
        let start = allocate(pair_size(field.len(), value.len()));
        let header = length_size(field.len()) + length_size(value.len());
        // SAFETY: the allocation has room for both lengths and both texts.
        unsafe {
            let at = write_length(start.as_ptr(), field.len());
            write_length(start.as_ptr().add(at), value.len());
            start.as_ptr().add(header).copy_from_nonoverlapping(field.as_ptr(), field.len());
            start.as_ptr().add(header + field.len()).copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
        Pair(start)
    }

    /// Returns the field.
    #[inline]
    pub fn field(&self) -> &[u8] {
        let (header, field_len, _) = self.shape();
        // SAFETY: the field follows the lengths.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(header), field_len) }
    }

    /// Returns the value.
    #[inline]
    pub fn value(&self) -> &[u8] {
        let (header, field_len, value_len) = self.shape();
        // SAFETY: the value follows the field.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(header + field_len), value_len) }
    }

    /// Makes `value` the value: in place if it fits the same allocation, moving to another otherwise.
    pub fn set_value(&mut self, value: &[u8]) {
        let (header, field_len, value_len) = self.shape();
        if length_size(value.len()) != length_size(value_len) {
            *self = Pair::new(self.field(), value);
            return;
        }
        let (old_size, new_size) = (pair_size(field_len, value_len), pair_size(field_len, value.len()));
        // SAFETY: the allocation has its old size until it is moved, and the new one after; the value's length takes
        // as many bytes as before, so the field stays where it is. `value` cannot lie in what is borrowed exclusively.
        unsafe {
            if new_size != old_size {
                let start = alloc::realloc(self.0.as_ptr(), layout(old_size), new_size);
                self.0 = NonNull::new(start).unwrap_or_else(|| alloc::handle_alloc_error(layout(new_size)));
            }
            write_length(self.0.as_ptr().add(length_size(field_len)), value.len());
            let start = self.0.as_ptr().add(header + field_len);
            start.copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
    }

    /// Returns the bytes of the allocation.
    #[inline]
    pub fn heap_size(&self) -> usize {
        let (_, field_len, value_len) = self.shape();
        pair_size(field_len, value_len)
    }

    /// Returns the size of both lengths, and the lengths.
    #[inline]
    fn shape(&self) -> (usize, usize, usize) {
        // SAFETY: the allocation begins with the two lengths.
        unsafe {
            let (field_len, at) = read_length(self.0.as_ptr());
            let (value_len, more) = read_length(self.0.as_ptr().add(at));
            (at + more, field_len, value_len)
        }
    }
}

impl Drop for Pair {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: allocated with that size, and not used again.
        unsafe { alloc::dealloc(self.0.as_ptr(), layout(self.heap_size())) };
    }
}

impl Clone for Pair {
    fn clone(&self) -> Self {
        Pair::new(self.field(), self.value())
    }
}

impl Entry for Pair {
    #[inline]
    fn key(&self) -> &[u8] {
        self.field()
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.field() == other.field() && self.value() == other.value()
    }
}

impl Eq for Pair {}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({}: {})", self.field().escape_ascii(), self.value().escape_ascii())
    }
}

#[inline]
fn pair_size(field_len: usize, value_len: usize) -> usize {
    (length_size(field_len) + length_size(value_len) + field_len + value_len).next_multiple_of(8)
}

#[inline]
fn allocate(size: usize) -> NonNull<u8> {
    let layout = layout(size.next_multiple_of(8));
    // SAFETY: no size is zero, because there is always a length.
    let start = unsafe { alloc::alloc(layout) };
    NonNull::new(start).unwrap_or_else(|| alloc::handle_alloc_error(layout))
}

#[inline]
fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("texts in memory are shorter than half the address space")
}

/// Returns how many bytes a length takes.
#[inline]
pub(crate) fn length_size(len: usize) -> usize {
    if len < 0x80 { 1 } else { (len.ilog2() / 7 + 1) as usize }
}

/// Writes a length and returns how many bytes it took.
///
/// # Safety
/// `at` may be written for [`length_size`] bytes.
#[inline]
pub(crate) unsafe fn write_length(at: *mut u8, len: usize) -> usize {
    let (mut rest, mut size) = (len, 0);
    while rest >= 0x80 {
        // SAFETY: as promised by the caller.
        unsafe { at.add(size).write(rest as u8 | 0x80) };
        rest >>= 7;
        size += 1;
    }
    // SAFETY: as promised by the caller.
    unsafe { at.add(size).write(rest as u8) };
    size + 1
}

/// Returns a length and how many bytes it took.
///
/// # Safety
/// `write_length` wrote it there.
#[inline]
pub(crate) unsafe fn read_length(at: *const u8) -> (usize, usize) {
    let (mut len, mut size) = (0, 0);
    loop {
        // SAFETY: no byte before this one was the last.
        let byte = unsafe { at.add(size).read() };
        len |= usize::from(byte & 0x7f) << (7 * size);
        size += 1;
        if byte < 0x80 {
            return (len, size);
        }
    }
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;

    #[test]
    fn sizes_are_the_ones_promised() {
        assert_eq!(Blob::new(&[7; 17]).heap_size(), 24);
        assert_eq!(Pair::new(&[1; 16], &[2; 32]).heap_size(), 56);
        assert_eq!(size_of::<Option<Blob>>(), 8);
        assert_eq!(size_of::<Option<Pair>>(), 8);
    }

    #[test]
    fn bytes_of_every_length_come_back() {
        for len in (0..300).chain([16_383, 16_384, 16_385, 2_097_151, 2_097_152, 3_000_000]) {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let blob = Blob::new(&bytes);
            assert_eq!(blob.as_bytes(), bytes);
            assert_eq!(blob.clone(), blob);
            assert_eq!(blob.key(), bytes);
        }
    }

    #[test]
    fn values_change_in_place_and_out_of_it() {
        let mut rng = Rng::seeded(11);
        for field_len in [0, 1, 16, 127, 128, 300] {
            let field = vec![b'f'; field_len];
            let mut pair = Pair::new(&field, b"first");
            for round in 0..2_000u32 {
                let limit = [3, 40, 130, 20_000][round as usize % 4];
                let value = vec![round as u8; rng.below(limit) as usize];
                pair.set_value(&value);
                assert_eq!((pair.field(), pair.value()), (&field[..], &value[..]));
                assert_eq!(pair.heap_size(), Pair::new(&field, &value).heap_size());
            }
        }
    }
}
