//! One member of a sorted set: its score and its bytes in a single thin allocation.
//!
//! Owns the layout below. Leaves ordering to `ordered` and finding by bytes to `dict`.
//!
//! ```text
//!  0        8                9..
//! ┌────────┬────────────────┬──────────────┬─────────┐
//! │ score  │ length, LEB128 │ member bytes │ padding │   rounded up to 8 bytes
//! └────────┴────────────────┴──────────────┴─────────┘
//! ```

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

use crate::dict::Entry;
use crate::thin::{length_size, read_length, write_length};

/// A member and its score, owned through one pointer.
pub struct Member(NonNull<u8>);

// SAFETY: A `Member` is the only owner of its allocation and holds nothing bound to a thread.
unsafe impl Send for Member {}
// SAFETY: Through a shared reference it can only be read.
unsafe impl Sync for Member {}

impl Member {
    /// Returns a new member holding a copy of `bytes`.
    pub(crate) fn new(bytes: &[u8], score: f64) -> Member {
        let prefix = length_size(bytes.len());
        let layout = layout(prefix, bytes.len());
        // SAFETY: The layout is never of size zero: it has room for a score.
        let Some(pointer) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: The allocation is aligned for an f64 and holds score, prefix and bytes, in that order.
        unsafe {
            pointer.cast::<f64>().write(score);
            write_length(pointer.add(8).as_ptr(), bytes.len());
            pointer.add(8 + prefix).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
        Member(pointer)
    }

    /// Returns the score.
    pub fn score(&self) -> f64 {
        // SAFETY: The allocation starts with an initialized f64.
        unsafe { self.0.cast::<f64>().read() }
    }

    /// Returns the bytes that name the member.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: The allocation lives as long as `self`, and its bytes never change.
        unsafe { MemberPointer(self.0).bytes() }
    }

    /// Returns the size of the allocation in bytes.
    pub fn heap_size(&self) -> usize {
        self.layout().size()
    }

    /// Returns an unowned copy of the pointer.
    pub(crate) fn pointer(&self) -> MemberPointer {
        MemberPointer(self.0)
    }

    /// Stores another score.
    pub(crate) fn set_score(&mut self, score: f64) {
        // SAFETY: The allocation starts with an f64, to which no reference is ever made.
        unsafe { self.0.cast::<f64>().write(score) }
    }

    fn layout(&self) -> Layout {
        // SAFETY: `new` wrote a complete prefix at offset 8.
        let (length, prefix) = unsafe { read_length(self.0.add(8).as_ptr()) };
        layout(prefix, length)
    }
}

impl Entry for Member {
    fn key(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let layout = self.layout();
        // SAFETY: `new` allocated with this very layout, which follows from the unchanged prefix.
        unsafe { dealloc(self.0.as_ptr(), layout) }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.score(), self.bytes().escape_ascii())
    }
}

/// A copyable pointer to a member that something else owns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemberPointer(NonNull<u8>);

// SAFETY: It is a plain address; what may be done with it is the business of its unsafe methods.
unsafe impl Send for MemberPointer {}

impl MemberPointer {
    /// Returns a pointer to nothing, for slots that are not in use.
    pub(crate) const fn dangling() -> MemberPointer {
        MemberPointer(NonNull::dangling())
    }

    /// Returns the bytes of the member.
    ///
    /// # Safety
    ///
    /// The member must stay allocated for `'a`.
    #[inline]
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: The caller vouches that the member is alive, so a prefix and that many bytes follow the score.
        unsafe {
            let (length, prefix) = read_length(self.0.add(8).as_ptr());
            std::slice::from_raw_parts(self.0.add(8 + prefix).as_ptr(), length)
        }
    }

    /// Asks the processor to fetch the member ahead of its use.
    #[inline]
    pub(crate) fn prefetch(self) {
        prefetch(self.0.as_ptr());
    }
}

/// Asks the processor to fetch the cache line at `address`, which need not be valid.
#[inline]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: A prefetch is a hint and never faults, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

fn layout(prefix: usize, length: usize) -> Layout {
    let size = (8 + prefix + length).next_multiple_of(8);
    Layout::from_size_align(size, 8).expect("a slice that exists fits an allocation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_bytes_of_any_length() {
        for length in [0, 1, 17, 127, 128, 129, 16_383, 16_384, 3_000_000] {
            let bytes: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut member = Member::new(&bytes, 1.5);
            assert_eq!(member.bytes(), bytes);
            assert_eq!(member.score(), 1.5);
            member.set_score(f64::NEG_INFINITY);
            assert_eq!(member.score(), f64::NEG_INFINITY);
            assert_eq!(member.bytes(), bytes);
            assert!(member.heap_size() - length <= 8 + 3 + 7);
        }
    }

    #[test]
    fn a_member_of_17_bytes_takes_32() {
        assert_eq!(Member::new(&[7; 17], 0.0).heap_size(), 32);
    }
}
