//! [`Block`]: the memory under a listpack, one thin pointer with slack at both ends.
//!
//! ```text
//! pointer → | size class (1) | gap length (3) | gap … | content … | spare … |
//!                                                     ^ begins with its own length, 4 bytes little-endian
//! ```
//!
//! [`Block::splice`] is the only way content changes size. It moves whichever side of the edit is shorter, so
//! edits at either end cost hardly more than the bytes they write. What the content means is left to the listpack.

use std::alloc::{self, Layout};
use std::ptr::{self, NonNull};
use std::slice;

use crate::size_class;

/// Bytes in front of the gap.
const PREFIX: usize = 4;

/// The longest gap that its three bytes can tell.
const GAP_MAX: usize = (1 << 24) - 1;

/// So many bytes are moved out of the way at each edit, rather than all the others once for many.
const MOVED_GLADLY: usize = 128;

/// Content that begins with its own length, in memory it owns.
pub(super) struct Block {
    prefix: NonNull<u32>,
}

// SAFETY: a block owns its allocation exclusively, and shared access only reads.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// Returns a block holding `content`, with room to grow to `capacity` bytes.
    ///
    /// `content` must begin with its own length; everything here relies on that, so it is asserted.
    pub(super) fn new(content: &[u8], capacity: usize) -> Block {
        assert!(
            content.len() >= 4 && read_len(content) == content.len(),
            "a block's content begins with its length"
        );
        let mut block = Block::allocate(size_class::index_for(PREFIX + capacity.max(content.len())), 0);
        // SAFETY: the class was chosen to hold the content.
        unsafe { ptr::copy_nonoverlapping(content.as_ptr(), block.content(), content.len()) }
        block.set_gap(0);
        block
    }

    /// Returns the content.
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: the content is initialised and `len` bytes long.
        unsafe { slice::from_raw_parts(self.content(), self.len()) }
    }

    /// Returns the content's length.
    #[inline]
    pub(super) fn len(&self) -> usize {
        // SAFETY: the content is at least four bytes long and begins with its length.
        unsafe { u32::from_le(self.content().cast::<u32>().read_unaligned()) as usize }
    }

    /// Overwrites the two bytes at offset 4, which a listpack counts its elements in.
    #[inline]
    pub(super) fn set_count(&mut self, count: u16) {
        assert!(self.len() >= 6);
        // SAFETY: the content is at least six bytes long.
        unsafe { self.content().add(4).cast::<u16>().write_unaligned(count.to_le()) }
    }

    /// Returns the bytes of the allocation.
    #[inline]
    pub(super) fn heap_size(&self) -> usize {
        size_class::size_of(self.word() as u8)
    }

    /// Replaces the `old` bytes at offset `at` by `parts`, end to end, and updates the length.
    #[inline]
    pub(super) fn splice(&mut self, at: usize, old: usize, parts: [&[u8]; 3]) {
        let new = parts[0].len() + parts[1].len() + parts[2].len();
        let len = self.len();
        assert!(at >= 4 && at <= len && old <= len - at, "a splice lies within the content");
        let tail = len - at - old;
        let new_len = at + new + tail;

        if new > old {
            self.open(at, old, new, new_len);
        } else if new < old {
            let shrink = old - new;
            let gap = self.gap();
            let content = self.content();
            // SAFETY: both moves stay within the old content.
            unsafe {
                if at < tail && gap + shrink <= GAP_MAX {
                    ptr::copy(content, content.add(shrink), at);
                    self.set_gap(gap + shrink);
                } else {
                    ptr::copy(content.add(at + old), content.add(at + new), tail);
                }
            }
        }

        // SAFETY: the `new` bytes at offset `at` were made room for above, and the parts, being borrowed from
        // elsewhere while `self` is borrowed mutably, do not overlap them.
        unsafe {
            let content = self.content();
            let mut to = content.add(at);
            for part in parts {
                match part.len() {
                    // Heads and lengths mostly are one byte.
                    1 => *to = part[0],
                    len => ptr::copy_nonoverlapping(part.as_ptr(), to, len),
                }
                to = to.add(part.len());
            }
            content.cast::<u32>().write_unaligned((new_len as u32).to_le());
        }
        if new < old && (PREFIX + new_len) * 2 <= self.heap_size() {
            // Some slack stays, for a queue that is pushed to as often as it is popped from.
            self.shrink_to(new_len + new_len / 8);
        }
    }

    /// Gives back all slack that the allocator would take back.
    pub(super) fn shrink_to_fit(&mut self) {
        self.shrink_to(self.len());
    }

    fn shrink_to(&mut self, room: usize) {
        let class = size_class::index_for(PREFIX + room);
        if class < self.word() as u8 {
            self.relocate(class, 0, self.len(), 0, 0, 0);
        }
    }

    /// Gives up ownership of the memory as one word, for [`Block::from_raw`].
    pub(super) fn into_raw(self) -> NonNull<u8> {
        std::mem::ManuallyDrop::new(self).prefix.cast()
    }

    /// Takes back what [`Block::into_raw`] gave up.
    ///
    /// # Safety
    /// `raw` came from `into_raw` and is taken back only once.
    pub(super) unsafe fn from_raw(raw: NonNull<u8>) -> Block {
        Block { prefix: raw.cast() }
    }

    /// Widens the hole at `at` from `old` to `new` bytes; the length is left to the caller.
    #[inline]
    fn open(&mut self, at: usize, old: usize, new: usize, new_len: usize) {
        assert!(new_len <= u32::MAX as usize, "a listpack's length is told in four bytes");
        let grow = new - old;
        let len = new_len - grow;
        let tail = len - at - old;
        let gap = self.gap();
        let room = self.heap_size() - PREFIX;
        let content = self.content();
        let spare = room - gap - len;
        let (to_front, to_back) = match at < tail {
            true => (gap >= grow, spare >= grow && tail <= MOVED_GLADLY),
            false => (gap >= grow && at <= MOVED_GLADLY && spare < grow, spare >= grow),
        };
        // SAFETY: each move stays within the allocation: the gap or the spare room was checked to hold `grow`.
        unsafe {
            if to_front {
                ptr::copy(content, content.sub(grow), at);
                self.set_gap(gap - grow);
            } else if to_back {
                ptr::copy(content.add(at + old), content.add(at + new), tail);
            } else {
                self.make_room(at, old, new, new_len);
            }
        }
    }

    /// Does what [`Block::open`] does by moving everything, so that the edits to follow need not.
    #[cold]
    fn make_room(&mut self, at: usize, old: usize, new: usize, new_len: usize) {
        let tail = new_len - at - new;
        let room = self.heap_size() - PREFIX;
        if new_len > room {
            let class = size_class::index_for(PREFIX + new_len);
            let slack = size_class::size_of(class) - PREFIX - new_len;
            // Whoever pushes at one end will do so again, so that end gets all of the slack.
            let gap = if at < tail { slack.min(GAP_MAX) } else { 0 };
            self.relocate(class, gap, at, old, new, tail);
            return;
        }
        // Most of the slack goes to the end near the edit, some to the other one.
        let (slack, some) = (room - new_len, (room - new_len) / 8);
        let gap = if at < tail { (slack - some).min(GAP_MAX) } else { some.min(GAP_MAX) };
        let old_gap = self.gap();
        let content = self.content();
        // SAFETY: the new arrangement fits the room. The side that moves first moves away from the other one.
        unsafe {
            let target = self.base().add(gap);
            if gap < old_gap {
                ptr::copy(content, target, at);
                ptr::copy(content.add(at + old), target.add(at + new), tail);
            } else {
                ptr::copy(content.add(at + old), target.add(at + new), tail);
                ptr::copy(content, target, at);
            }
        }
        self.set_gap(gap);
    }

    /// Moves the content into a fresh allocation, leaving a hole of `new` for the `old` bytes after `head`.
    fn relocate(&mut self, class: u8, gap: usize, head: usize, old: usize, new: usize, tail: usize) {
        let size = size_class::size_of(class);
        assert!(PREFIX + gap + head + new + tail <= size, "the class holds the content");
        if gap == 0 && self.gap() == 0 && tail <= head {
            let old_layout = layout(self.heap_size());
            let shrinks = size < old_layout.size();
            // SAFETY: the block was allocated with `old_layout`. The tail is moved while the larger of the two
            // sizes is there; either way all moves stay within the content or the room asserted above.
            unsafe {
                let content = self.content();
                if shrinks {
                    ptr::copy(content.add(head + old), content.add(head + new), tail);
                }
                let block = alloc::realloc(self.prefix.as_ptr().cast(), old_layout, size);
                let block = NonNull::new(block).unwrap_or_else(|| alloc::handle_alloc_error(layout(size)));
                self.prefix = block.cast();
                self.set_word(u32::from(class));
                let content = self.content();
                if !shrinks {
                    ptr::copy(content.add(head + old), content.add(head + new), tail);
                }
            }
            return;
        }
        let fresh = Block::allocate(class, gap);
        // SAFETY: the fresh block has room for all parts, as asserted, and is distinct from this one.
        unsafe {
            let (from, to) = (self.content(), fresh.content());
            ptr::copy_nonoverlapping(from, to, head);
            ptr::copy_nonoverlapping(from.add(head + old), to.add(head + new), tail);
        }
        *self = fresh;
    }

    /// Returns a block whose content is not yet written.
    fn allocate(class: u8, gap: usize) -> Block {
        let layout = layout(size_class::size_of(class));
        // SAFETY: no class is empty, and each holds the prefix.
        unsafe {
            let block =
                NonNull::new(alloc::alloc(layout)).unwrap_or_else(|| alloc::handle_alloc_error(layout));
            let mut block = Block { prefix: block.cast() };
            block.set_word(u32::from(class) | (gap as u32) << 8);
            block
        }
    }

    #[inline]
    fn gap(&self) -> usize {
        (self.word() >> 8) as usize
    }

    #[inline]
    fn set_gap(&mut self, gap: usize) {
        debug_assert!(gap <= GAP_MAX);
        let class = self.word() & 0xff;
        // SAFETY: only the gap changes, and callers have moved the content there.
        unsafe { self.set_word(class | (gap as u32) << 8) }
    }

    #[inline]
    fn word(&self) -> u32 {
        // SAFETY: the prefix is initialised from allocation on.
        unsafe { self.prefix.read() }
    }

    /// # Safety
    /// The low byte is the class that the block was allocated with.
    #[inline]
    unsafe fn set_word(&mut self, word: u32) {
        // SAFETY: the prefix lies within the allocation.
        unsafe { self.prefix.write(word) }
    }

    #[inline]
    fn base(&self) -> *mut u8 {
        // SAFETY: the prefix is followed by the room, within the allocation.
        unsafe { self.prefix.as_ptr().cast::<u8>().add(PREFIX) }
    }

    #[inline]
    fn content(&self) -> *mut u8 {
        // SAFETY: the gap lies within the allocation.
        unsafe { self.base().add(self.gap()) }
    }
}

fn read_len(content: &[u8]) -> usize {
    u32::from_le_bytes([content[0], content[1], content[2], content[3]]) as usize
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, align_of::<u32>()).expect("classes are far below the address space")
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the block was allocated with the layout of its class.
        unsafe { alloc::dealloc(self.prefix.as_ptr().cast(), layout(self.heap_size())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::rng::Rng;

    /// Returns content as a block wants it, around `body`.
    fn content(body: &[u8]) -> Vec<u8> {
        let mut content = ((body.len() + 4) as u32).to_le_bytes().to_vec();
        content.extend_from_slice(body);
        content
    }

    #[test]
    fn splices_like_a_vec() {
        let mut rng = Rng::seeded(11);
        for round in 0..30 {
            let mut model: Vec<u8> = Vec::new();
            let mut block = Block::new(&content(&[]), (round % 3) * 500);
            for step in 0..1000u32 {
                let at = match rng.below(4) {
                    0 => 0,
                    1 => model.len(),
                    _ => rng.below(model.len() as u64 + 1) as usize,
                };
                let old = rng.below(40 + 60 * u64::from(step > 500)).min((model.len() - at) as u64) as usize;
                let fresh: Vec<u8> = (0..rng.below(90)).map(|i| (i as u32 + step) as u8).collect();
                let cut = rng.below(fresh.len() as u64 + 1) as usize;
                block.splice(4 + at, old, [&fresh[..cut], &fresh[cut..], &[]]);
                model.splice(at..at + old, fresh);
                assert_eq!(block.as_slice(), content(&model));
                assert!(block.gap() + block.len() + PREFIX <= block.heap_size());
                if step % 97 == 0 {
                    block.shrink_to_fit();
                    assert_eq!(block.heap_size(), size_class::round_up(PREFIX + block.len()));
                    assert_eq!(block.as_slice(), content(&model));
                }
            }
        }
    }

    #[test]
    fn a_queue_seldom_moves_its_content() {
        let mut block = Block::new(&content(&[7; 6000]), 8188);
        for _ in 0..10_000 {
            block.splice(4, 0, [&[1; 34], &[], &[]]);
            let end = block.len() - 34;
            block.splice(end, 34, [&[], &[], &[]]);
        }
        assert_eq!(block.len(), 6004);
        assert_eq!(block.heap_size(), 8192);
    }

    #[test]
    fn memory_follows_the_content_down() {
        let mut block = Block::new(&content(&[7; 100_000]), 0);
        while block.len() > 104 {
            block.splice(4, 50, [&[], &[], &[]]);
            assert!(block.heap_size() <= 2 * (block.len() + PREFIX), "{}", block.len());
        }
    }
}
