//! A key with its value in one allocation behind one thin pointer: what a keyspace holds a million of.
//!
//! Owns the layout, the growing and shrinking in place, and the ownership of the word. What the word means, when a
//! stamp has passed and how the age is reckoned are left to the caller.
//!
//! ```text
//! byte  0     1      2..5  5           6..8
//!      ┌─────┬───────┬─────┬────────────┬────────────────┐ ┌─────────┐ ┌──────────────┐ ┌─────┐ ┌───────────────┐
//!      │ tag │ flags │ age │ key length │ payload length │ │ stamp 8 │ │ key length 4 │ │ key │ │ bytes or word │
//!      └─────┴───────┴─────┴────────────┴────────────────┘ └─────────┘ └──────────────┘ └─────┘ └───────────────┘
//!       0: bytes                                            if flagged  if over 255
//! ```
//!
//! The whole is rounded up to eight bytes. A word counts as eight payload bytes and is the last eight of the whole, so
//! that it is aligned; the size never depends on the tag.

#[cfg(test)]
mod tests;

use std::alloc::{self, Layout};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use crate::dict::Entry;
use crate::member::prefetch;

/// The most value bytes a record holds inline; longer ones belong behind a word.
pub const INLINE_MAX: usize = u16::MAX as usize;

/// The longest key a record holds.
pub const KEY_MAX: usize = u32::MAX as usize;

/// The largest age a record remembers; it has 24 bits for it.
pub const AGE_MAX: u32 = (1 << 24) - 1;

/// An owned value that fits a tag and eight bytes.
///
/// # Safety
/// `split` returns a tag in `1..=31`. `join` of what `split` returned is the same value. A bitwise copy of the value
/// reads as the value does while the original is neither changed nor dropped: nothing in the eight bytes themselves
/// may change through a shared reference.
pub unsafe trait Word: Sized {
    /// Gives the value up as its tag and its eight bytes.
    fn split(self) -> (u8, u64);

    /// Returns the value that `split` gave up.
    ///
    /// # Safety
    /// `tag` and `bits` come from one call of `split`, and at most one of the values joined from them is dropped or
    /// changed.
    unsafe fn join(tag: u8, bits: u64) -> Self;
}

/// A key, its value (bytes, or one word), an optional stamp, an age and six flags of the owner's.
pub struct Record<W: Word> {
    start: NonNull<u8>,
    word: PhantomData<W>,
}

/// What a record holds beside its key.
pub enum Payload<'a, W: Word> {
    Bytes(&'a [u8]),
    Word(WordRef<'a, W>),
}

const HEADER: usize = 8;
const HAS_STAMP: u8 = 1;
const LONG_KEY: u8 = 2;
const USER_SHIFT: u32 = 2;
const WORD: usize = 8;
const BYTES_TAG: u8 = 0;

// SAFETY: a record owns its allocation and its word, and shares neither.
unsafe impl<W: Word + Send> Send for Record<W> {}
// SAFETY: a shared record only gives out shared views of the word.
unsafe impl<W: Word + Sync> Sync for Record<W> {}

impl<W: Word> Record<W> {
    /// Returns a record of `key` that holds `bytes` inline.
    ///
    /// # Panics
    /// If `bytes` are more than [`INLINE_MAX`] or `key` is longer than [`KEY_MAX`].
    #[inline]
    pub fn with_bytes(key: &[u8], bytes: &[u8], stamp: Option<i64>) -> Self {
        let mut record = Self::allocate(key, bytes.len(), stamp);
        record.write_payload(bytes);
        record
    }

    /// Returns a record of `key` that owns `word`.
    #[inline]
    pub fn with_word(key: &[u8], word: W, stamp: Option<i64>) -> Self {
        let mut record = Self::allocate(key, WORD, stamp);
        record.write_word(word);
        record
    }

    /// Returns the key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let (at, len) = self.key_range();
        // SAFETY: the key lies initialised at that range of the allocation and does not change.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), len) }
    }

    /// Returns what the record holds.
    #[inline]
    pub fn payload(&self) -> Payload<'_, W> {
        match self.tag() {
            BYTES_TAG => Payload::Bytes(self.payload_bytes()),
            tag => {
                // SAFETY: the tag and the bits were written together by `write_word`. The copy lives no longer than
                // the borrow that keeps the record from changing, and is never dropped.
                let word = ManuallyDrop::new(unsafe { W::join(tag, self.bits()) });
                Payload::Word(WordRef { word, record: PhantomData })
            }
        }
    }

    /// Returns the inline bytes, or nothing if the record holds a word.
    #[inline]
    pub fn bytes(&self) -> Option<&[u8]> {
        (self.tag() == BYTES_TAG).then(|| self.payload_bytes())
    }

    /// Returns the inline bytes for change in place, or nothing if the record holds a word.
    #[inline]
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        if self.tag() != BYTES_TAG {
            return None;
        }
        // SAFETY: the payload lies initialised at that range, and the record is borrowed exclusively.
        Some(unsafe { std::slice::from_raw_parts_mut(self.payload_start(), self.payload_len()) })
    }

    /// Takes the word out, leaving empty bytes; nothing if the record holds bytes.
    pub fn take_word(&mut self) -> Option<W> {
        let word = self.disown_word()?;
        self.reshape(self.has_stamp(), 0);
        Some(word)
    }

    /// Returns the word of a record that is no longer needed; nothing if it holds bytes.
    pub fn into_word(mut self) -> Option<W> {
        self.disown_word()
    }

    /// Makes `bytes` the value, and returns the word that was.
    ///
    /// # Panics
    /// If `bytes` are more than [`INLINE_MAX`].
    #[inline]
    pub fn set_bytes(&mut self, bytes: &[u8]) -> Option<W> {
        check_payload_len(bytes.len());
        let old = self.disown_word();
        self.reshape(self.has_stamp(), bytes.len());
        self.write_payload(bytes);
        old
    }

    /// Makes `word` the value, and returns the word that was.
    #[inline]
    pub fn set_word(&mut self, word: W) -> Option<W> {
        let old = self.disown_word();
        if old.is_some() {
            // One word fits where another was.
            self.put_word(word);
        } else {
            self.reshape(self.has_stamp(), WORD);
            self.write_word(word);
        }
        old
    }

    /// Takes the word out for change; nothing if the record holds bytes.
    ///
    /// The record holds eight meaningless bytes until [`Record::put_word`] gives it a word again.
    #[inline]
    pub fn lend_word(&mut self) -> Option<W> {
        self.disown_word()
    }

    /// Makes `word` the value of a record whose word was lent.
    ///
    /// # Panics
    /// If the record does not hold eight bytes.
    #[inline]
    pub fn put_word(&mut self, word: W) {
        assert!(self.tag() == BYTES_TAG && self.payload_len() == WORD, "the place of a word is free");
        let (tag, bits) = word.split();
        debug_assert!((1..=31).contains(&tag), "a word's tag is 1 to 31");
        // SAFETY: with eight bytes of payload the allocation ends with a word's aligned place. Only those eight bytes
        // change, so that all of the payload stays initialised.
        unsafe { self.word_start().write(bits) };
        self.set_tag(tag);
    }

    /// Makes `bytes` the value and `stamp` the stamp in one move, and returns the word that was.
    ///
    /// # Panics
    /// If `bytes` are more than [`INLINE_MAX`].
    #[inline]
    pub fn assign_bytes(&mut self, bytes: &[u8], stamp: Option<i64>) -> Option<W> {
        check_payload_len(bytes.len());
        let old = self.disown_word();
        self.reshape(stamp.is_some(), bytes.len());
        self.write_payload(bytes);
        self.write_stamp(stamp);
        old
    }

    /// Makes `word` the value and `stamp` the stamp in one move, and returns the word that was.
    #[inline]
    pub fn assign_word(&mut self, word: W, stamp: Option<i64>) -> Option<W> {
        let old = self.disown_word();
        self.reshape(stamp.is_some(), WORD);
        self.write_word(word);
        self.write_stamp(stamp);
        old
    }

    /// Cuts the inline bytes to `len`, or extends them with zeros; returns them, or nothing if there is a word.
    ///
    /// # Panics
    /// If `len` is more than [`INLINE_MAX`].
    pub fn resize_bytes(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.tag() != BYTES_TAG {
            return None;
        }
        check_payload_len(len);
        let old = self.payload_len();
        self.reshape(self.has_stamp(), len);
        if len > old {
            // SAFETY: the payload is now `len` long, and what lies after the old bytes is ours to initialise.
            unsafe { self.payload_start().add(old).write_bytes(0, len - old) };
        }
        self.bytes_mut()
    }

    /// Returns the stamp.
    #[inline]
    pub fn stamp(&self) -> Option<i64> {
        // SAFETY: a flagged record has an initialised stamp after the header, which is eight-aligned.
        self.has_stamp().then(|| unsafe { self.start.as_ptr().add(HEADER).cast::<i64>().read() })
    }

    /// Sets or removes the stamp. In a dict, `update_mark` must follow.
    #[inline]
    pub fn set_stamp(&mut self, stamp: Option<i64>) {
        self.reshape(stamp.is_some(), self.payload_len());
        self.write_stamp(stamp);
    }

    /// Returns the age, a number of 24 bits.
    #[inline]
    pub fn age(&self) -> u32 {
        // SAFETY: the header is initialised; the three bytes are read as the top of the four that start at the flags.
        let word = unsafe { self.start.as_ptr().add(1).cast::<[u8; 4]>().read() };
        u32::from_le_bytes(word) >> 8
    }

    /// Sets the age; only its low 24 bits are kept.
    #[inline]
    pub fn set_age(&mut self, age: u32) {
        let [a, b, c, _] = age.to_le_bytes();
        // SAFETY: bytes 2, 3 and 4 of the header.
        unsafe { self.start.as_ptr().add(2).cast::<[u8; 3]>().write([a, b, c]) };
    }

    /// Returns the owner's six flags, clear in a new record.
    #[inline]
    pub fn flags(&self) -> u8 {
        self.raw_flags() >> USER_SHIFT
    }

    /// Sets the owner's flags; only the low six bits are kept.
    #[inline]
    pub fn set_flags(&mut self, flags: u8) {
        let own = self.raw_flags() & (HAS_STAMP | LONG_KEY);
        self.set_raw_flags(own | flags << USER_SHIFT);
    }

    /// Returns the bytes of the record's own allocation, without what the word owns.
    #[inline]
    pub fn heap_size(&self) -> usize {
        self.size_with(self.has_stamp(), self.payload_len())
    }

    fn allocate(key: &[u8], payload_len: usize, stamp: Option<i64>) -> Self {
        check_payload_len(payload_len);
        assert!(key.len() <= KEY_MAX, "keys are at most {KEY_MAX} bytes");
        let long = key.len() > usize::from(u8::MAX);
        let key_at = key_offset(stamp.is_some(), long);
        let layout = layout((key_at + key.len() + payload_len).next_multiple_of(8));
        // SAFETY: the size is at least the header's, hence not zero.
        let start = unsafe { alloc::alloc(layout) };
        let Some(start) = NonNull::new(start) else { alloc::handle_alloc_error(layout) };
        let flags = if stamp.is_some() { HAS_STAMP } else { 0 } | if long { LONG_KEY } else { 0 };
        let short_len = if long { 0 } else { key.len() as u8 };
        let [low, high] = (payload_len as u16).to_le_bytes();
        // SAFETY: header, stamp, long length and key all lie within the allocation, in that order; the allocation is
        // eight-aligned and `key_at` minus four is four-aligned.
        unsafe {
            let p = start.as_ptr();
            p.cast::<[u8; HEADER]>().write([BYTES_TAG, flags, 0, 0, 0, short_len, low, high]);
            if long {
                p.add(key_at - 4).cast::<u32>().write(key.len() as u32);
            }
            p.add(key_at).copy_from_nonoverlapping(key.as_ptr(), key.len());
        }
        let mut record = Record { start, word: PhantomData };
        record.write_stamp(stamp);
        record
    }

    /// Gives the record room for a stamp or none and for `payload_len` bytes; key and common bytes stay.
    ///
    /// The caller initialises a new stamp and the bytes that are added.
    #[inline]
    fn reshape(&mut self, stamp: bool, payload_len: usize) {
        let (old_len, old_stamp) = (self.payload_len(), self.has_stamp());
        if stamp == old_stamp {
            if payload_len == old_len {
                return;
            }
            let (old_size, new_size) = (self.heap_size(), self.size_with(stamp, payload_len));
            if old_size == new_size {
                self.set_payload_len(payload_len);
                return;
            }
        }
        self.reshape_slowly(stamp, payload_len);
    }

    #[inline(never)]
    fn reshape_slowly(&mut self, stamp: bool, payload_len: usize) {
        let (old_len, old_stamp) = (self.payload_len(), self.has_stamp());
        let (old_size, new_size) = (self.heap_size(), self.size_with(stamp, payload_len));
        if new_size > old_size {
            self.reallocate(old_size, new_size);
        }
        if stamp != old_stamp {
            let (key_at, key_len) = self.key_range();
            let from = HEADER + if old_stamp { 8 } else { 0 };
            let to = HEADER + if stamp { 8 } else { 0 };
            // To the rounded end, because that is where a word lies.
            let count = (key_at + key_len + old_len.min(payload_len)).next_multiple_of(8) - from;
            // SAFETY: the allocation is now as large as the larger of both shapes, and both ranges end within theirs.
            unsafe { ptr::copy(self.start.as_ptr().add(from), self.start.as_ptr().add(to), count) };
            let flags = self.raw_flags() & !HAS_STAMP;
            self.set_raw_flags(flags | if stamp { HAS_STAMP } else { 0 });
        }
        self.set_payload_len(payload_len);
        if new_size < old_size {
            self.reallocate(old_size, new_size);
        }
    }

    fn reallocate(&mut self, old_size: usize, new_size: usize) {
        // SAFETY: the record was allocated with the layout of its size, and no size is zero.
        let start = unsafe { alloc::realloc(self.start.as_ptr(), layout(old_size), new_size) };
        match NonNull::new(start) {
            Some(start) => self.start = start,
            None => alloc::handle_alloc_error(layout(new_size)),
        }
    }

    /// Takes the word as the caller's, leaving its eight bytes as plain bytes.
    #[inline]
    fn disown_word(&mut self) -> Option<W> {
        let tag = self.tag();
        if tag == BYTES_TAG {
            return None;
        }
        self.set_tag(BYTES_TAG);
        // SAFETY: the tag and the bits were written together, and the tag is gone: this is the only owner.
        Some(unsafe { W::join(tag, self.bits()) })
    }

    /// Copies `bytes` over a payload of the same length.
    #[inline]
    fn write_payload(&mut self, bytes: &[u8]) {
        debug_assert_eq!(bytes.len(), self.payload_len());
        // SAFETY: the payload has the length of `bytes`, which cannot lie in it: the record is borrowed exclusively.
        unsafe { self.payload_start().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Writes `word` over a payload of eight bytes.
    #[inline]
    fn write_word(&mut self, word: W) {
        debug_assert_eq!(self.payload_len(), WORD);
        let (tag, bits) = word.split();
        debug_assert!((1..=31).contains(&tag), "a word's tag is 1 to 31");
        // SAFETY: the payload has eight bytes, and rounding adds those between its start and the aligned word. They
        // are zeroed so that the payload is initialised even if it is read as bytes, while the word is lent.
        unsafe {
            self.payload_start().cast::<u64>().write_unaligned(0);
            self.word_start().write(bits);
        }
        self.set_tag(tag);
    }

    /// Writes the stamp where the shape already has room for one.
    #[inline]
    fn write_stamp(&mut self, stamp: Option<i64>) {
        debug_assert_eq!(stamp.is_some(), self.has_stamp());
        if let Some(stamp) = stamp {
            // SAFETY: the shape has eight aligned bytes after the header for it.
            unsafe { self.start.as_ptr().add(HEADER).cast::<i64>().write(stamp) };
        }
    }

    #[inline]
    fn key_range(&self) -> (usize, usize) {
        let flags = self.raw_flags();
        let at = HEADER + 8 * usize::from(flags & HAS_STAMP);
        // SAFETY: byte 5 is the key length; a long key has its length in the four aligned bytes before it.
        unsafe {
            match flags & LONG_KEY {
                0 => (at, usize::from(*self.start.as_ptr().add(5))),
                _ => (at + 4, self.start.as_ptr().add(at).cast::<u32>().read() as usize),
            }
        }
    }

    #[inline]
    fn payload_start(&self) -> *mut u8 {
        let (at, len) = self.key_range();
        // SAFETY: the payload starts where the key ends.
        unsafe { self.start.as_ptr().add(at + len) }
    }

    #[inline]
    fn word_start(&self) -> *mut u64 {
        let (at, len) = self.key_range();
        // SAFETY: with eight bytes of payload the rounded size ends eight bytes after the rounded end of the key.
        unsafe { self.start.as_ptr().add((at + len).next_multiple_of(8)).cast() }
    }

    #[inline]
    fn payload_bytes(&self) -> &[u8] {
        // SAFETY: the payload lies initialised there and does not change while the record is borrowed.
        unsafe { std::slice::from_raw_parts(self.payload_start(), self.payload_len()) }
    }

    #[inline]
    fn bits(&self) -> u64 {
        debug_assert_eq!(self.payload_len(), WORD);
        // SAFETY: only called while (or just after) the payload was a word, which `write_word` put there.
        unsafe { self.word_start().read() }
    }

    #[inline]
    fn payload_len(&self) -> usize {
        // SAFETY: bytes 6 and 7 of the header.
        usize::from(u16::from_le_bytes(unsafe { self.start.as_ptr().add(6).cast::<[u8; 2]>().read() }))
    }

    #[inline]
    fn set_payload_len(&mut self, len: usize) {
        // SAFETY: bytes 6 and 7 of the header.
        unsafe { self.start.as_ptr().add(6).cast::<[u8; 2]>().write((len as u16).to_le_bytes()) };
    }

    #[inline]
    fn size_with(&self, stamp: bool, payload_len: usize) -> usize {
        let (at, len) = self.key_range();
        let long = at & 4 != 0;
        (key_offset(stamp, long) + len + payload_len).next_multiple_of(8)
    }

    #[inline]
    fn tag(&self) -> u8 {
        // SAFETY: byte 0 of the header.
        unsafe { *self.start.as_ptr() }
    }

    #[inline]
    fn set_tag(&mut self, tag: u8) {
        // SAFETY: byte 0 of the header.
        unsafe { *self.start.as_ptr() = tag };
    }

    #[inline]
    fn has_stamp(&self) -> bool {
        self.raw_flags() & HAS_STAMP != 0
    }

    #[inline]
    fn raw_flags(&self) -> u8 {
        // SAFETY: byte 1 of the header.
        unsafe { *self.start.as_ptr().add(1) }
    }

    #[inline]
    fn set_raw_flags(&mut self, flags: u8) {
        // SAFETY: byte 1 of the header.
        unsafe { *self.start.as_ptr().add(1) = flags };
    }
}

impl<W: Word> Drop for Record<W> {
    #[inline]
    fn drop(&mut self) {
        let layout = layout(self.heap_size());
        drop(self.disown_word());
        // SAFETY: allocated with this layout, and not used again.
        unsafe { alloc::dealloc(self.start.as_ptr(), layout) };
    }
}

impl<W: Word> Entry for Record<W> {
    #[inline]
    fn key(&self) -> &[u8] {
        Record::key(self)
    }

    /// A record with a stamp is marked.
    #[inline]
    fn marked(&self) -> bool {
        self.has_stamp()
    }

    #[inline]
    fn prefetch_value(&self) {
        if self.tag() != BYTES_TAG {
            // Most words are addresses; what is not one is asked for in vain.
            let address = self.bits() as *const u8;
            prefetch(address);
            prefetch(address.wrapping_add(64));
        }
    }
}

impl<W: Word + fmt::Debug> fmt::Debug for Record<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Record");
        out.field("key", &self.key().escape_ascii().to_string());
        match self.payload() {
            Payload::Bytes(bytes) => out.field("bytes", &bytes.escape_ascii().to_string()),
            Payload::Word(word) => out.field("word", &*word),
        };
        out.field("stamp", &self.stamp()).finish()
    }
}

/// A shared view of a record's word.
pub struct WordRef<'a, W> {
    word: ManuallyDrop<W>,
    record: PhantomData<&'a W>,
}

impl<'a, W> Deref for WordRef<'a, W> {
    type Target = W;

    #[inline]
    fn deref(&self) -> &W {
        &self.word
    }
}

#[inline]
fn check_payload_len(len: usize) {
    assert!(len <= INLINE_MAX, "inline values are at most {INLINE_MAX} bytes");
}

#[inline]
fn key_offset(stamp: bool, long: bool) -> usize {
    HEADER + if stamp { 8 } else { 0 } + if long { 4 } else { 0 }
}

#[inline]
fn layout(size: usize) -> Layout {
    debug_assert!(size.is_multiple_of(8) && size <= isize::MAX as usize - 7);
    // SAFETY: eight is a power of two, and keys and payloads are far too short for the size to overflow.
    unsafe { Layout::from_size_align_unchecked(size, 8) }
}
