//! [`Listpack`]: a sequence of short texts and integers packed into one run of bytes.
//!
//! ```text
//! | total bytes (4) | elements (2) | element … | element … | … | 0xff |
//! ```
//!
//! The bytes are those of Redis's listpack, so they can be dumped and restored as they are; an element count of
//! 65535 means "count them". Elements are laid out as `entry.rs` draws them and lie in memory as `block.rs`
//! draws it: pushing and popping at either end moves nothing. When to use a listpack and when to stop is left
//! to the caller, who can ask for [`Listpack::byte_len`] and [`Item::stored_size`].

mod block;
mod entry;

use std::fmt;
use std::iter::FusedIterator;
use std::ptr::NonNull;

use base::number::parse_i64;

use block::Block;
use entry::{END, Encoded};

pub use entry::{Item, ItemText};

/// Bytes before the first element.
const HEADER: usize = 6;

/// The element count from which on the header no longer tells it.
const UNCOUNTED: u16 = u16::MAX;

/// The bytes of a listpack without elements.
const EMPTY: [u8; 7] = [7, 0, 0, 0, 0, 0, END];

/// A packed sequence of elements the size of one pointer.
pub struct Listpack {
    block: Block,
}

/// Where an element of a listpack begins; valid until an edit at or before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(u32);

impl Listpack {
    /// The size beyond which a listpack is not to grow, see [`Listpack::has_room_for`].
    pub const SAFE_SIZE: usize = 1 << 30;

    /// Returns an empty listpack.
    pub fn new() -> Listpack {
        Listpack::with_capacity(0)
    }

    /// Returns an empty listpack that can grow to `bytes` without another allocation.
    pub fn with_capacity(bytes: usize) -> Listpack {
        Listpack { block: Block::new(&EMPTY, bytes) }
    }

    /// Returns the listpack that `bytes` are, or nothing if any part of them is malformed.
    pub fn from_bytes(bytes: &[u8]) -> Option<Listpack> {
        let (header, elements) = bytes.split_at_checked(HEADER)?;
        let total = u32::from_le_bytes(header[..4].try_into().ok()?);
        if elements.last() != Some(&END) || total as usize != bytes.len() {
            return None;
        }
        let (mut at, mut count) = (HEADER, 0usize);
        while at < bytes.len() - 1 {
            at = entry::validate(bytes, at)?;
            count += 1;
        }
        let claimed = u16::from_le_bytes([header[4], header[5]]);
        if at != bytes.len() - 1 || (claimed != UNCOUNTED && usize::from(claimed) != count) {
            return None;
        }
        Some(Listpack { block: Block::new(bytes, 0) })
    }

    /// Returns the serialised form.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.block.as_slice()
    }

    /// Returns the number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self.count() {
            UNCOUNTED => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// Tells whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.byte_len() == EMPTY.len()
    }

    /// Returns the length of the serialised form.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.block.len()
    }

    /// Returns the heap bytes held, slack included.
    pub fn heap_size(&self) -> usize {
        self.block.heap_size()
    }

    /// Tells whether `additional` bytes can be added without growing to an unreasonable size.
    #[inline]
    pub fn has_room_for(&self, additional: usize) -> bool {
        self.byte_len().saturating_add(additional) <= Listpack::SAFE_SIZE
    }

    /// Gives back all slack that the allocator would take back.
    pub fn shrink_to_fit(&mut self) {
        self.block.shrink_to_fit();
    }

    /// Appends `item` at the end.
    #[inline]
    pub fn push_back<'a>(&mut self, item: impl Into<Item<'a>>) {
        self.insert_at(self.end(), item.into());
    }

    /// Puts `item` in front of all others.
    #[inline]
    pub fn push_front<'a>(&mut self, item: impl Into<Item<'a>>) {
        self.insert_at(HEADER, item.into());
    }

    /// Returns the first element.
    #[inline]
    pub fn front(&self) -> Option<Item<'_>> {
        Some(entry::read(self.as_bytes(), HEADER)?.0)
    }

    /// Returns the last element.
    #[inline]
    pub fn back(&self) -> Option<Item<'_>> {
        Some(self.at(self.last()?))
    }

    /// Removes the first element, if there is one, after showing it to `take`.
    #[inline]
    pub fn pop_front<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let (item, end) = entry::read(self.as_bytes(), HEADER)?;
        let taken = take(item);
        self.cut(HEADER, end, 1);
        Some(taken)
    }

    /// Removes the last element, if there is one, after showing it to `take`.
    #[inline]
    pub fn pop_back<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let pos = self.last()?;
        let taken = take(self.at(pos));
        self.cut(pos.offset(), self.end(), 1);
        Some(taken)
    }

    /// Returns where the first element begins.
    #[inline]
    pub fn first(&self) -> Option<Pos> {
        (!self.is_empty()).then_some(Pos(HEADER as u32))
    }

    /// Returns where the last element begins.
    #[inline]
    pub fn last(&self) -> Option<Pos> {
        self.before(self.end())
    }

    /// Returns where the element after the one at `pos` begins.
    #[inline]
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        let next = entry::skip(self.as_bytes(), pos.offset())?;
        (next < self.end()).then_some(Pos(next as u32))
    }

    /// Returns where the element before the one at `pos` begins.
    #[inline]
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        self.before(pos.offset())
    }

    /// Returns where element `index` begins; -1 is the last one.
    pub fn seek(&self, index: isize) -> Option<Pos> {
        let backwards = match (self.count(), index) {
            (_, ..0) => Some(index.unsigned_abs() - 1),
            (UNCOUNTED, _) => None,
            (count, _) => {
                let from_end = usize::from(count).checked_sub(index.unsigned_abs() + 1)?;
                (from_end < usize::from(count) / 2).then_some(from_end)
            }
        };
        match backwards {
            Some(steps) => (0..steps).try_fold(self.last()?, |pos, _| self.prev(pos)),
            None => (0..index).try_fold(self.first()?, |pos, _| self.next(pos)),
        }
    }

    /// Returns the element at `pos`.
    ///
    /// Panics if no element begins there, which is the caller's mistake.
    #[inline]
    pub fn at(&self, pos: Pos) -> Item<'_> {
        entry::read(self.as_bytes(), pos.offset()).expect("an element begins at this position").0
    }

    /// Returns element `index`; -1 is the last one.
    pub fn get(&self, index: isize) -> Option<Item<'_>> {
        Some(self.at(self.seek(index)?))
    }

    /// Returns the elements in order.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: self.as_bytes(), front: HEADER, back: self.end() }
    }

    /// Returns the elements in order, beginning with the one at `pos`.
    #[inline]
    pub fn iter_from(&self, pos: Pos) -> Iter<'_> {
        Iter { bytes: self.as_bytes(), front: pos.offset(), back: self.end() }
    }

    /// Returns the elements up to and including the one at `pos`, for reading them backwards from there.
    #[inline]
    pub fn iter_through(&self, pos: Pos) -> Iter<'_> {
        let bytes = self.as_bytes();
        Iter { bytes, front: HEADER, back: entry::skip(bytes, pos.offset()).unwrap_or(self.end()) }
    }

    /// Returns the elements two by two, as field and value or member and score.
    #[inline]
    pub fn pairs(&self) -> Pairs<'_> {
        Pairs { items: self.iter() }
    }

    /// Returns where the first element whose text is `text` begins, looking at every `skip + 1`th one.
    #[inline]
    pub fn find(&self, text: &[u8], skip: usize) -> Option<Pos> {
        self.find_from(self.first()?, text, skip)
    }

    /// Returns what [`Listpack::find`] does, beginning with the element at `pos`.
    pub fn find_from(&self, pos: Pos, text: &[u8], skip: usize) -> Option<Pos> {
        let bytes = self.as_bytes();
        let value = parse_i64(text);
        let mut at = pos.offset();
        loop {
            let (item, mut next) = entry::read(bytes, at)?;
            let found = match item {
                // Texts of one listpack tend to differ at their ends rather than at their beginnings.
                Item::Bytes(bytes) => {
                    bytes.len() == text.len() && bytes.last() == text.last() && bytes == text
                }
                Item::Int(int) => value == Some(int),
            };
            if found {
                return Some(Pos(at as u32));
            }
            for _ in 0..skip {
                next = entry::skip(bytes, next)?;
            }
            at = next;
        }
    }

    /// Inserts `item` before the element at `pos` and returns its position, which is `pos`.
    pub fn insert_before<'a>(&mut self, pos: Pos, item: impl Into<Item<'a>>) -> Pos {
        self.assert_boundary(pos);
        self.insert_at(pos.offset(), item.into());
        pos
    }

    /// Inserts `item` after the element at `pos` and returns its position.
    pub fn insert_after<'a>(&mut self, pos: Pos, item: impl Into<Item<'a>>) -> Pos {
        let next = self.end_of(pos);
        self.insert_at(next, item.into());
        Pos(next as u32)
    }

    /// Inserts `item` so that it becomes element `index`, which is at most the number of elements.
    pub fn insert<'a>(&mut self, index: usize, item: impl Into<Item<'a>>) {
        match self.seek(index as isize) {
            Some(pos) => self.insert_at(pos.offset(), item.into()),
            None => self.push_back(item),
        }
    }

    /// Replaces the element at `pos` by `item`, which then stands at `pos`.
    pub fn replace<'a>(&mut self, pos: Pos, item: impl Into<Item<'a>>) {
        let old = self.end_of(pos) - pos.offset();
        self.block.splice(pos.offset(), old, Encoded::new(item.into()).parts());
    }

    /// Removes the element at `pos` and returns the position of the one that followed, which is again `pos`.
    pub fn remove(&mut self, pos: Pos) -> Option<Pos> {
        self.remove_range(pos, 1);
        (pos.offset() < self.end()).then_some(pos)
    }

    /// Removes up to `count` elements from the one at `pos` on, and returns how many there were.
    pub fn remove_range(&mut self, pos: Pos, count: usize) -> usize {
        let bytes = self.as_bytes();
        let (mut end, mut removed) = (pos.offset(), 0);
        while removed < count
            && let Some(next) = entry::skip(bytes, end)
        {
            end = next;
            removed += 1;
        }
        self.cut(pos.offset(), end, removed);
        removed
    }

    /// Removes up to `count` elements from element `start` on (-1 is the last), and returns how many there were.
    pub fn remove_indexes(&mut self, start: isize, count: usize) -> usize {
        self.seek(start).map_or(0, |pos| self.remove_range(pos, count))
    }

    /// Removes all elements for which `keep` says no; it sees each once, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(Item<'_>) -> bool) {
        let mut next = self.first();
        while let Some(pos) = next {
            next = if keep(self.at(pos)) { self.next(pos) } else { self.remove(pos) };
        }
    }

    /// Removes all elements, and gives the memory back.
    pub fn clear(&mut self) {
        *self = Listpack::new();
    }

    /// Appends all elements of `other`.
    pub fn append(&mut self, other: &Listpack) {
        self.add_count(other.count());
        self.block.splice(self.end(), 0, [other.elements(), &[], &[]]);
    }

    /// Puts all elements of `other` in front.
    pub fn prepend(&mut self, other: &Listpack) {
        self.add_count(other.count());
        self.block.splice(HEADER, 0, [other.elements(), &[], &[]]);
    }

    /// Cuts off the element at `pos` and all that follow, and returns them.
    pub fn split_off(&mut self, pos: Pos) -> Listpack {
        self.assert_boundary(pos);
        let tail = &self.as_bytes()[pos.offset()..self.end()];
        let mut rest = Listpack::with_capacity(EMPTY.len() + tail.len());
        rest.block.splice(HEADER, 0, [tail, &[], &[]]);
        let moved = rest.iter().count();
        rest.set_count(moved);
        self.cut(pos.offset(), self.end(), moved);
        rest
    }

    /// Gives up ownership of the memory as one word, for [`Listpack::from_raw`].
    pub fn into_raw(self) -> NonNull<u8> {
        self.block.into_raw()
    }

    /// Takes back what [`Listpack::into_raw`] gave up.
    ///
    /// # Safety
    /// `raw` came from `into_raw` and is taken back only once.
    pub unsafe fn from_raw(raw: NonNull<u8>) -> Listpack {
        // SAFETY: the caller's promise is the one asked for.
        Listpack { block: unsafe { Block::from_raw(raw) } }
    }

    /// Returns the offset of the end mark.
    #[inline]
    fn end(&self) -> usize {
        self.block.len() - 1
    }

    #[inline]
    fn end_of(&self, pos: Pos) -> usize {
        entry::skip(self.as_bytes(), pos.offset()).expect("an element begins at this position")
    }

    #[inline]
    fn before(&self, at: usize) -> Option<Pos> {
        if at <= HEADER {
            return None;
        }
        Some(Pos(entry::skip_back(self.as_bytes(), at)? as u32))
    }

    #[inline]
    fn elements(&self) -> &[u8] {
        &self.as_bytes()[HEADER..self.end()]
    }

    fn assert_boundary(&self, pos: Pos) {
        assert!((HEADER..self.end()).contains(&pos.offset()), "an element begins at this position");
    }

    #[inline]
    fn insert_at(&mut self, at: usize, item: Item<'_>) {
        self.block.splice(at, 0, Encoded::new(item).parts());
        self.add_count(1);
    }

    /// Removes the `count` elements that lie in `at..end`.
    #[inline]
    fn cut(&mut self, at: usize, end: usize, count: usize) {
        assert!(at >= HEADER && end <= self.end());
        self.block.splice(at, end - at, [&[], &[], &[]]);
        match self.count() {
            _ if self.is_empty() => self.set_count(0),
            UNCOUNTED => {}
            known => self.set_count(usize::from(known).saturating_sub(count)),
        }
    }

    /// Returns the element count as the header tells it.
    #[inline]
    fn count(&self) -> u16 {
        let bytes = self.as_bytes();
        u16::from_le_bytes([bytes[4], bytes[5]])
    }

    #[inline]
    fn add_count(&mut self, more: u16) {
        // Saturation makes the count "unknown", and unknown it stays.
        self.block.set_count(self.count().saturating_add(more));
    }

    fn set_count(&mut self, count: usize) {
        self.block.set_count(u16::try_from(count).unwrap_or(UNCOUNTED));
    }
}

impl Pos {
    #[inline]
    fn offset(self) -> usize {
        self.0 as usize
    }
}

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl Clone for Listpack {
    fn clone(&self) -> Listpack {
        Listpack { block: Block::new(self.as_bytes(), 0) }
    }
}

impl PartialEq for Listpack {
    fn eq(&self, other: &Listpack) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Listpack {}

impl fmt::Debug for Listpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a, T: Into<Item<'a>>> Extend<T> for Listpack {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push_back(item));
    }
}

impl<'a, T: Into<Item<'a>>> FromIterator<T> for Listpack {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Listpack {
        let mut pack = Listpack::new();
        pack.extend(items);
        pack
    }
}

impl<'a> IntoIterator for &'a Listpack {
    type Item = Item<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The elements of a listpack, from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> Iter<'a> {
    /// Returns where the next element begins, if there is one.
    #[inline]
    pub fn pos(&self) -> Option<Pos> {
        (self.front < self.back).then_some(Pos(self.front as u32))
    }

    /// Steps over `count` elements without reading them.
    #[inline]
    pub fn skip_forward(&mut self, count: usize) {
        for _ in 0..count {
            if self.front >= self.back {
                return;
            }
            self.front = entry::skip(self.bytes, self.front).unwrap_or(self.back);
        }
    }

    /// Steps over `count` elements from the end without reading them.
    #[inline]
    pub fn skip_backward(&mut self, count: usize) {
        for _ in 0..count {
            if self.front >= self.back {
                return;
            }
            self.back = entry::skip_back(self.bytes, self.back).unwrap_or(self.front);
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (item, next) = entry::read(self.bytes, self.front)?;
        self.front = next;
        Some(item)
    }

    #[inline]
    fn nth(&mut self, n: usize) -> Option<Item<'a>> {
        self.skip_forward(n);
        self.next()
    }

    fn count(mut self) -> usize {
        let mut count = 0;
        while self.front < self.back {
            self.skip_forward(1);
            count += 1;
        }
        count
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        self.back = entry::skip_back(self.bytes, self.back)?;
        Some(entry::read(self.bytes, self.back)?.0)
    }

    #[inline]
    fn nth_back(&mut self, n: usize) -> Option<Item<'a>> {
        self.skip_backward(n);
        self.next_back()
    }
}

impl FusedIterator for Iter<'_> {}

/// The elements of a listpack two by two, from either end.
#[derive(Clone)]
pub struct Pairs<'a> {
    items: Iter<'a>,
}

impl<'a> Pairs<'a> {
    /// Returns where the next pair begins, if there is one.
    #[inline]
    pub fn pos(&self) -> Option<Pos> {
        self.items.pos()
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, Item<'a>)> {
        Some((self.items.next()?, self.items.next()?))
    }

    #[inline]
    fn nth(&mut self, n: usize) -> Option<(Item<'a>, Item<'a>)> {
        self.items.skip_forward(n.saturating_mul(2));
        self.next()
    }
}

impl<'a> DoubleEndedIterator for Pairs<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<(Item<'a>, Item<'a>)> {
        let second = self.items.next_back()?;
        Some((self.items.next_back()?, second))
    }
}

impl FusedIterator for Pairs<'_> {}

#[cfg(test)]
mod tests;
