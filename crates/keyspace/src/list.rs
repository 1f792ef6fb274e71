//! Lists: one listpack while small, a quicklist of them when large.
//!
//! Owns when a list changes its encoding: to a quicklist before it would exceed the limit of one node, back when one
//! node of at most half that limit holds it all. How nodes are kept is left to [`Quicklist`].

use std::ops::Range;

use structures::quicklist::Fill;
use structures::{Item, Listpack, Quicklist, listpack, quicklist};

/// A list in one of its encodings.
#[derive(Clone)]
pub enum List {
    Packed(Listpack),
    Quick(Box<Quicklist>),
}

/// One of the two ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Left,
    Right,
}

impl List {
    /// Returns an empty list.
    pub fn new() -> List {
        List::Packed(Listpack::new())
    }

    /// Returns the number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            List::Packed(pack) => pack.len(),
            List::Quick(quick) => quick.len(),
        }
    }

    /// Tells whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self {
            List::Packed(pack) => pack.is_empty(),
            List::Quick(quick) => quick.is_empty(),
        }
    }

    /// Returns the name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            List::Packed(_) => "listpack",
            List::Quick(_) => "quicklist",
        }
    }

    /// Returns roughly how many allocations freeing it takes.
    pub fn effort(&self) -> usize {
        match self {
            List::Packed(_) => 1,
            List::Quick(quick) => quick.node_count(),
        }
    }

    /// Returns the bytes on the heap.
    pub fn heap_size(&self) -> usize {
        match self {
            List::Packed(pack) => pack.heap_size(),
            List::Quick(quick) => size_of::<Quicklist>() + quick.heap_size(),
        }
    }

    /// Prepares for `count` more elements of `bytes` bytes in all: becomes a quicklist if they would exceed one node.
    #[inline]
    pub fn reserve(&mut self, fill: Fill, bytes: usize, count: usize) {
        self.reserve_for(fill, || bytes, count);
    }

    /// Does the same, and asks for the bytes only where they matter.
    #[inline]
    pub fn reserve_for(&mut self, fill: Fill, bytes: impl FnOnce() -> usize, count: usize) {
        if let List::Packed(pack) = self
            && !fill.allows(pack.byte_len() + bytes(), pack.len() + count)
        {
            let pack = std::mem::take(pack);
            *self = List::Quick(Box::new(Quicklist::from_listpack(pack, fill)));
        }
    }

    /// Becomes a listpack again if one node of at most half the limit holds all elements; for after removals.
    #[inline]
    pub fn shrink(&mut self, fill: Fill) {
        if let List::Quick(quick) = self
            && let Some(pack) = quick.as_listpack()
        {
            let (bytes, count) = fill.limits();
            if pack.byte_len() <= bytes / 2 && quick.len() <= count / 2 {
                self.pack();
            }
        }
    }

    #[cold]
    fn pack(&mut self) {
        let List::Quick(quick) = self else { return };
        let fill = quick.fill();
        match std::mem::replace(&mut **quick, Quicklist::new(fill)).into_listpack() {
            Ok(mut pack) => {
                pack.shrink_to_fit();
                *self = List::Packed(pack);
            }
            Err(whole) => **quick = whole,
        }
    }

    /// Adds an element at one end; [`List::reserve`] comes first.
    #[inline]
    pub fn push<'a>(&mut self, end: End, item: impl Into<Item<'a>>) {
        match (self, end) {
            (List::Packed(pack), End::Left) => pack.push_front(item),
            (List::Packed(pack), End::Right) => pack.push_back(item),
            (List::Quick(quick), End::Left) => quick.push_front(item),
            (List::Quick(quick), End::Right) => quick.push_back(item),
        }
    }

    /// Removes the element at one end, if there is one, after showing it to `take`; [`List::shrink`] follows.
    #[inline]
    pub fn pop<R>(&mut self, end: End, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        match (self, end) {
            (List::Packed(pack), End::Left) => pack.pop_front(take),
            (List::Packed(pack), End::Right) => pack.pop_back(take),
            (List::Quick(quick), End::Left) => quick.pop_front(take),
            (List::Quick(quick), End::Right) => quick.pop_back(take),
        }
    }

    /// Returns the element at one end.
    pub fn peek(&self, end: End) -> Option<Item<'_>> {
        match (self, end) {
            (List::Packed(pack), End::Left) => pack.front(),
            (List::Packed(pack), End::Right) => pack.back(),
            (List::Quick(quick), End::Left) => quick.front(),
            (List::Quick(quick), End::Right) => quick.back(),
        }
    }

    /// Returns element `index`; -1 is the last one.
    pub fn get(&self, index: i64) -> Option<Item<'_>> {
        let index = isize::try_from(index).ok()?;
        match self {
            List::Packed(pack) => pack.get(index),
            List::Quick(quick) => quick.get(index),
        }
    }

    /// Replaces element `index` (-1 is the last one) and tells whether there is one; [`List::reserve`] comes first.
    pub fn set<'a>(&mut self, index: i64, item: impl Into<Item<'a>>) -> bool {
        let len = self.len();
        let index = match index {
            ..0 => match usize::try_from(index.unsigned_abs()) {
                Ok(from_end) if from_end <= len => len - from_end,
                _ => return false,
            },
            _ => match usize::try_from(index) {
                Ok(index) if index < len => index,
                _ => return false,
            },
        };
        match self {
            List::Packed(pack) => match pack.seek(index as isize) {
                Some(pos) => pack.replace(pos, item),
                None => return false,
            },
            List::Quick(quick) => return quick.replace(index, item),
        }
        true
    }

    /// Inserts an element before or after the first one that is `pivot`, and tells whether there is one; after
    /// [`List::reserve`].
    pub fn insert_beside<'a>(&mut self, pivot: &[u8], side: End, item: impl Into<Item<'a>>) -> bool {
        match self {
            List::Packed(pack) => {
                let Some(pos) = pack.find(pivot, 0) else { return false };
                match side {
                    End::Left => pack.insert_before(pos, item),
                    End::Right => pack.insert_after(pos, item),
                };
            }
            List::Quick(quick) => {
                let Some(index) = quick.position(pivot) else { return false };
                quick.insert(index + usize::from(side == End::Right), item);
            }
        }
        true
    }

    /// Removes up to `most` elements that are `text`, beginning at one end, and returns how many there were.
    pub fn remove_value(&mut self, text: &[u8], most: usize, from: End) -> usize {
        let pack = match self {
            List::Packed(pack) => pack,
            List::Quick(quick) => return quick.remove_value(text, most, from == End::Right),
        };
        let mut removed = 0;
        match from {
            End::Left => {
                let mut next = pack.find(text, 0);
                while let Some(pos) = next
                    && removed < most
                {
                    removed += 1;
                    next = pack.remove(pos).and_then(|pos| pack.find_from(pos, text, 0));
                }
            }
            End::Right => {
                let mut next = pack.last();
                while let Some(pos) = next
                    && removed < most
                {
                    next = pack.prev(pos);
                    if pack.at(pos).is(text) {
                        pack.remove(pos);
                        removed += 1;
                    }
                }
            }
        }
        removed
    }

    /// Removes the elements of `range`, which lies within the list.
    pub fn remove_range(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        match self {
            List::Packed(pack) => pack.remove_indexes(range.start as isize, range.len()),
            List::Quick(quick) => quick.remove_range(range.start, range.len()),
        };
    }

    /// Calls `f` with the elements of `range` in order.
    #[inline]
    pub fn each(&self, range: Range<usize>, f: impl FnMut(Item<'_>)) {
        if range.is_empty() {
            return;
        }
        match self {
            List::Packed(pack) => {
                if let Some(pos) = pack.seek(range.start as isize) {
                    pack.iter_from(pos).take(range.len()).for_each(f);
                }
            }
            List::Quick(quick) => quick.range(range.start, range.end).for_each(f),
        }
    }

    /// Calls `f` with the elements of `range`, the last one first.
    pub fn each_back(&self, range: Range<usize>, f: impl FnMut(Item<'_>)) {
        if range.is_empty() {
            return;
        }
        match self {
            List::Packed(pack) => {
                if let Some(pos) = pack.seek(range.end as isize - 1) {
                    pack.iter_through(pos).rev().take(range.len()).for_each(f);
                }
            }
            List::Quick(quick) => quick.range(range.start, range.end).rev().for_each(f),
        }
    }

    /// Returns the elements in order.
    pub fn iter(&self) -> Iter<'_> {
        match self {
            List::Packed(pack) => Iter::Packed(pack.iter()),
            List::Quick(quick) => Iter::Quick(quick.iter()),
        }
    }
}

/// The elements of a list, from either end.
#[derive(Clone)]
pub enum Iter<'a> {
    Packed(listpack::Iter<'a>),
    Quick(quicklist::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            Iter::Packed(items) => items.next(),
            Iter::Quick(items) => items.next(),
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Iter::Packed(items) => items.next_back(),
            Iter::Quick(items) => items.next_back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use base::rng::Rng;

    use super::*;

    fn texts(list: &List) -> Vec<Vec<u8>> {
        list.iter().map(|item| item.to_vec()).collect()
    }

    #[test]
    fn encodings_change_where_redis_changes_them() {
        let fill = Fill::new(4);
        let mut list = List::new();
        for n in 0..4 {
            list.reserve(fill, 1, 1);
            list.push(End::Right, n);
        }
        assert_eq!(list.encoding(), "listpack");
        list.reserve(fill, 1, 1);
        assert_eq!(list.encoding(), "quicklist");
        list.push(End::Right, 4);
        for left in (3..5).rev() {
            list.pop(End::Right, |_| ());
            list.shrink(fill);
            assert_eq!((list.encoding(), list.len()), ("quicklist", left));
        }
        list.pop(End::Right, |_| ());
        list.shrink(fill);
        assert_eq!((list.encoding(), texts(&list)), ("listpack", vec![b"0".to_vec(), b"1".to_vec()]));
        // Large elements need a quicklist at once.
        list.reserve(Fill::new(-1), 5000, 1);
        assert_eq!(list.encoding(), "quicklist");
    }

    #[test]
    fn behaves_as_a_deque() {
        let mut rng = Rng::seeded(3);
        for round in 0..30 {
            let fill = Fill::new([-1, -2, 1, 3, 16][round % 5]);
            let (mut list, mut model) = (List::new(), VecDeque::<Vec<u8>>::new());
            for _ in 0..400 {
                let text = match rng.below(4) {
                    0 => rng.below(50).to_string().into_bytes(),
                    1 => vec![b'x'; rng.below(200) as usize],
                    2 if rng.below(10) == 0 => vec![b'y'; 5000],
                    _ => format!("t{}", rng.below(20)).into_bytes(),
                };
                let end = if rng.below(2) == 0 { End::Left } else { End::Right };
                let len = model.len();
                let within = |rng: &mut Rng| rng.below(len as u64 + 1) as usize;
                match rng.below(9) {
                    0..3 => {
                        list.reserve(fill, text.len(), 1);
                        list.push(end, &text);
                        match end {
                            End::Left => model.push_front(text),
                            End::Right => model.push_back(text),
                        }
                    }
                    3 => {
                        let popped = list.pop(end, |item| item.to_vec());
                        let expected = if end == End::Left { model.pop_front() } else { model.pop_back() };
                        assert_eq!(popped, expected);
                    }
                    4 => {
                        let index = within(&mut rng) as i64 - len as i64 / 2;
                        let place = if index < 0 { index + len as i64 } else { index };
                        list.reserve(fill, text.len(), 1);
                        let there = (0..len as i64).contains(&place);
                        assert_eq!(list.set(index, &text), there);
                        if there {
                            model[place as usize] = text;
                        }
                    }
                    5 => {
                        let pivot = format!("t{}", rng.below(20)).into_bytes();
                        list.reserve(fill, text.len(), 1);
                        let at = model.iter().position(|other| *other == pivot);
                        assert_eq!(list.insert_beside(&pivot, end, &text), at.is_some());
                        if let Some(at) = at {
                            model.insert(at + usize::from(end == End::Right), text);
                        }
                    }
                    6 => {
                        let most = 1 + rng.below(3) as usize;
                        let mut removed = 0;
                        for _ in 0..most {
                            let mut places = model.iter().enumerate().filter(|(_, other)| **other == text);
                            let place = if end == End::Left { places.next() } else { places.next_back() };
                            let Some((place, _)) = place else { break };
                            model.remove(place);
                            removed += 1;
                        }
                        assert_eq!(list.remove_value(&text, most, end), removed);
                    }
                    7 if rng.below(5) == 0 => {
                        let (a, b) = (within(&mut rng), within(&mut rng));
                        let range = a.min(b)..a.max(b);
                        list.remove_range(range.clone());
                        model.drain(range);
                    }
                    _ => {
                        let (a, b) = (within(&mut rng), within(&mut rng));
                        let range = a.min(b)..a.max(b);
                        let expected: Vec<_> = model.range(range.clone()).cloned().collect();
                        let (mut forth, mut back) = (Vec::new(), Vec::new());
                        list.each(range.clone(), |item| forth.push(item.to_vec()));
                        list.each_back(range, |item| back.insert(0, item.to_vec()));
                        assert_eq!((&forth, &back), (&expected, &expected));
                        assert_eq!(list.get(a as i64).map(|item| item.to_vec()), model.get(a).cloned());
                    }
                }
                list.shrink(fill);
                assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
                assert_eq!(list.peek(End::Left).map(|item| item.to_vec()), model.front().cloned());
            }
            assert_eq!(texts(&list), Vec::from(model));
        }
    }
}
