//! [`Buf`]: a growable byte string behind one thin pointer, for large values.
//!
//! ```text
//! pointer → | length (8) | capacity (8) | bytes … | spare … |
//! ```
//!
//! Growth is amortised, zero-filling a large extension leaves the pages untouched until they are written,
//! and an empty `Buf` owns no memory. What the bytes mean is left to the caller.

use std::alloc::{self, Layout};
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;

use crate::size_class;

/// A growable byte string the size of one pointer.
pub struct Buf {
    header: NonNull<Header>,
}

#[repr(C)]
struct Header {
    len: usize,
    capacity: usize,
}

const HEADER: usize = mem::size_of::<Header>();

/// What every empty `Buf` points at; its capacity of zero marks it as neither writable nor freeable.
static EMPTY: Header = Header { len: 0, capacity: 0 };

/// Below this many bytes the capacity doubles; above, it grows by a quarter.
const DOUBLING_BELOW: usize = 1 << 20;

/// An extension of at least this many bytes is left to the allocator to zero.
const LAZY_ZERO_FROM: usize = 64 << 10;

// SAFETY: a `Buf` owns its allocation exclusively, or points at the immutable `EMPTY`.
unsafe impl Send for Buf {}
// SAFETY: a shared `Buf` allows only reads.
unsafe impl Sync for Buf {}

impl Buf {
    /// Returns an empty string that owns no memory.
    pub const fn new() -> Buf {
        // SAFETY: the address of a static is not null.
        Buf { header: unsafe { NonNull::new_unchecked(&raw const EMPTY as *mut Header) } }
    }

    /// Returns an empty string with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Buf {
        let mut buf = Buf::new();
        buf.reserve_exact(capacity);
        buf
    }

    /// Returns the number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: `header` always points at an initialised header.
        unsafe { self.header.as_ref().len }
    }

    /// Tells whether there are no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many bytes fit without another allocation.
    #[inline]
    pub fn capacity(&self) -> usize {
        // SAFETY: `header` always points at an initialised header.
        unsafe { self.header.as_ref().capacity }
    }

    /// Returns the heap bytes held, header and spare room included.
    pub fn heap_size(&self) -> usize {
        match self.capacity() {
            0 => 0,
            capacity => HEADER + capacity,
        }
    }

    /// Returns the bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the first `len` bytes after the header are initialised and live as long as `self`.
        unsafe { slice::from_raw_parts(self.start(), self.len()) }
    }

    /// Returns the bytes for writing.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; for `EMPTY` the slice has no bytes to write.
        unsafe { slice::from_raw_parts_mut(self.start(), self.len()) }
    }

    /// Appends `bytes`.
    pub fn push_slice(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.reserve(bytes.len());
        let len = self.len();
        // SAFETY: `reserve` made room for `bytes` after the first `len`; `bytes` cannot alias our spare room.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start().add(len), bytes.len());
            self.set_len(len + bytes.len());
        }
    }

    /// Replaces the whole content with `bytes`.
    pub fn assign(&mut self, bytes: &[u8]) {
        self.truncate(0);
        self.push_slice(bytes);
    }

    /// Extends the string with zero bytes until it is `len` long; a longer one is left alone.
    pub fn zero_extend(&mut self, len: usize) {
        let old_len = self.len();
        if len <= old_len {
            return;
        }
        if len > self.capacity() && len - old_len >= LAZY_ZERO_FROM {
            let mut grown = Buf::allocate(self.grown_capacity(len), true);
            // SAFETY: `grown` has room for `len` zeroed bytes, of which the first `old_len` are written over.
            unsafe {
                ptr::copy_nonoverlapping(self.start(), grown.start(), old_len);
                grown.set_len(len);
            }
            *self = grown;
            return;
        }
        self.reserve(len - old_len);
        // SAFETY: `reserve` made room up to `len`.
        unsafe {
            ptr::write_bytes(self.start().add(old_len), 0, len - old_len);
            self.set_len(len);
        }
    }

    /// Drops everything after the first `len` bytes, keeping the memory.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            // SAFETY: a shorter prefix of initialised bytes; a non-empty `Buf` owns its header.
            unsafe { self.set_len(len) }
        }
    }

    /// Drops the first `count` bytes (at most all of them), keeping the memory.
    pub fn drop_front(&mut self, count: usize) {
        let keep_from = count.min(self.len());
        let rest = self.len() - keep_from;
        self.as_mut_slice().copy_within(keep_from.., 0);
        self.truncate(rest);
    }

    /// Makes room for `additional` more bytes, growing geometrically.
    pub fn reserve(&mut self, additional: usize) {
        let needed = self.len().checked_add(additional).expect("a string's length fits in memory");
        if needed > self.capacity() {
            self.reallocate(self.grown_capacity(needed));
        }
    }

    /// Makes room for `additional` more bytes and hardly more.
    pub fn reserve_exact(&mut self, additional: usize) {
        let needed = self.len().checked_add(additional).expect("a string's length fits in memory");
        if needed > self.capacity() {
            self.reallocate(capacity_for(needed));
        }
    }

    /// Gives back the spare room.
    pub fn shrink_to_fit(&mut self) {
        if self.is_empty() {
            *self = Buf::new();
        } else if capacity_for(self.len()) < self.capacity() {
            self.reallocate(capacity_for(self.len()));
        }
    }

    /// Gives up ownership of the memory as one word, for [`Buf::from_raw`].
    pub fn into_raw(self) -> NonNull<u8> {
        mem::ManuallyDrop::new(self).header.cast()
    }

    /// Takes back what [`Buf::into_raw`] gave up.
    ///
    /// # Safety
    /// `raw` came from `into_raw` and is taken back only once.
    pub unsafe fn from_raw(raw: NonNull<u8>) -> Buf {
        Buf { header: raw.cast() }
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: a header is followed by its bytes, or for `EMPTY` by the end of its object.
        unsafe { self.header.as_ptr().add(1).cast() }
    }

    /// # Safety
    /// The first `len` bytes are initialised, and `self` is not `EMPTY`.
    unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.capacity());
        // SAFETY: the caller says the header is ours.
        unsafe { (*self.header.as_ptr()).len = len }
    }

    fn grown_capacity(&self, needed: usize) -> usize {
        let capacity = self.capacity();
        let step = if capacity < DOUBLING_BELOW { capacity } else { capacity / 4 };
        capacity_for(needed.max(capacity.saturating_add(step)))
    }

    fn allocate(capacity: usize, zeroed: bool) -> Buf {
        let layout = layout(capacity);
        // SAFETY: the layout holds a header, so it is not empty; both parts of the header are written.
        unsafe {
            let block = if zeroed { alloc::alloc_zeroed(layout) } else { alloc::alloc(layout) };
            let header = NonNull::new(block).unwrap_or_else(|| alloc::handle_alloc_error(layout)).cast();
            header.write(Header { len: 0, capacity });
            Buf { header }
        }
    }

    fn reallocate(&mut self, capacity: usize) {
        if self.capacity() == 0 {
            *self = Buf::allocate(capacity, false);
            return;
        }
        let new_layout = layout(capacity);
        // SAFETY: a capacity above zero means that the block was allocated with that layout, and the new one
        // holds at least a header; callers never go below the length.
        unsafe {
            let block =
                alloc::realloc(self.header.as_ptr().cast(), layout(self.capacity()), new_layout.size());
            self.header = NonNull::new(block).unwrap_or_else(|| alloc::handle_alloc_error(new_layout)).cast();
            (*self.header.as_ptr()).capacity = capacity;
        }
    }
}

/// Returns the capacity that fills the size class in which `needed` bytes and the header lie.
fn capacity_for(needed: usize) -> usize {
    assert!(needed < isize::MAX as usize / 2, "a string's length fits in memory");
    size_class::round_up(needed + HEADER) - HEADER
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(HEADER + capacity, mem::align_of::<Header>()).expect("capacities are bounded")
}

impl Drop for Buf {
    fn drop(&mut self) {
        let capacity = self.capacity();
        if capacity != 0 {
            // SAFETY: a capacity above zero means that the block was allocated with that layout.
            unsafe { alloc::dealloc(self.header.as_ptr().cast(), layout(capacity)) }
        }
    }
}

impl From<&[u8]> for Buf {
    fn from(bytes: &[u8]) -> Buf {
        let mut buf = Buf::with_capacity(bytes.len());
        buf.push_slice(bytes);
        buf
    }
}

impl Clone for Buf {
    fn clone(&self) -> Buf {
        Buf::from(self.as_slice())
    }
}

impl Default for Buf {
    fn default() -> Buf {
        Buf::new()
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl PartialEq for Buf {
    fn eq(&self, other: &Buf) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Buf {}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({})", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_string_owns_nothing() {
        let mut buf = Buf::new();
        assert_eq!((buf.len(), buf.capacity(), buf.heap_size()), (0, 0, 0));
        assert_eq!(buf.as_mut_slice(), b"");
        buf.push_slice(b"");
        buf.zero_extend(0);
        buf.truncate(0);
        buf.drop_front(3);
        buf.shrink_to_fit();
        assert_eq!(buf.heap_size(), 0);
        assert_eq!(mem::size_of::<Option<Buf>>(), 8);
    }

    #[test]
    fn behaves_as_a_vec_of_bytes() {
        let mut rng = base::rng::Rng::seeded(7);
        let mut random = move |below: usize| rng.below(below as u64) as usize;
        let (mut buf, mut model) = (Buf::new(), Vec::new());
        for _ in 0..20_000 {
            match random(8) {
                0..=2 => {
                    let bytes = vec![random(256) as u8; random(300)];
                    buf.push_slice(&bytes);
                    model.extend_from_slice(&bytes);
                }
                3 => {
                    let most = if random(50) == 0 { 200_000 } else { 100 };
                    let len = model.len() + random(most);
                    buf.zero_extend(len);
                    model.resize(len, 0);
                }
                4 => {
                    let len = random(model.len() + 10);
                    buf.truncate(len);
                    model.truncate(len);
                }
                5 => {
                    let count = random(200).min(model.len());
                    buf.drop_front(count);
                    model.drain(..count);
                }
                6 => buf.shrink_to_fit(),
                _ => {
                    let bytes = vec![3; random(50)];
                    buf.assign(&bytes);
                    model = bytes;
                }
            }
            assert_eq!(buf.as_slice(), model);
            assert!(buf.capacity() >= buf.len());
            if let Some(last) = buf.as_mut_slice().last_mut() {
                *last ^= 1;
                *model.last_mut().unwrap() ^= 1;
            }
        }
        assert_eq!(buf.clone(), buf);
    }

    #[test]
    fn a_raw_word_comes_back_whole() {
        let raw = Buf::from(&b"hello"[..]).into_raw();
        // SAFETY: taken back once.
        assert_eq!(unsafe { Buf::from_raw(raw) }.as_slice(), b"hello");
    }
}
