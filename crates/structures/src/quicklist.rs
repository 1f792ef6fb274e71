//! [`Quicklist`]: a list of any length, in listpacks of limited size.
//!
//! ```text
//! nodes: [ packed 128 ][ packed 117 ][ plain ][ packed 90 ] …     16 bytes each, in one ring
//!              ↓             ↓           ↓          ↓
//!          listpack      listpack      bytes    listpack
//! ```
//!
//! An index is found by adding up the nodes' counts, which lie side by side, and then stepping through one
//! listpack. An element too large to share a listpack is a node of its own. Only the nodes at the two ends,
//! which are about to grow, keep slack. When a list becomes a quicklist and when it becomes a single listpack
//! again is left to the caller, who can ask its [`Fill`].

mod fill;
mod iter;
mod node;

use std::collections::VecDeque;
use std::fmt;
use std::mem;

use crate::buf::Buf;
use crate::listpack::{Item, Listpack};

use node::Node;

pub use fill::Fill;
pub use iter::Iter;
pub use node::NodeRef;

/// From this many nodes on, a new one at either end gets the memory of a full one at once.
const LONG: usize = 4;

/// A sequence of elements that is fast at both ends.
#[derive(Clone)]
pub struct Quicklist {
    /// No node is empty.
    nodes: VecDeque<Node>,
    len: usize,
    fill: Fill,
}

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

impl Quicklist {
    /// Returns an empty list whose nodes are limited by `fill`.
    pub fn new(fill: Fill) -> Quicklist {
        Quicklist { nodes: VecDeque::new(), len: 0, fill }
    }

    /// Returns the list of the elements of `pack`, which becomes its only node.
    pub fn from_listpack(pack: Listpack, fill: Fill) -> Quicklist {
        let mut list = Quicklist::new(fill);
        list.push_pack(pack);
        list
    }

    /// Returns the number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the limit on nodes.
    pub fn fill(&self) -> Fill {
        self.fill
    }

    /// Sets the limit on nodes; those that exceed it stay as they are.
    pub fn set_fill(&mut self, fill: Fill) {
        self.fill = fill;
    }

    /// Returns the heap bytes held, slack included.
    pub fn heap_size(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.nodes.iter().map(Node::heap_size).sum::<usize>()
    }

    /// Returns the number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the nodes in order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = NodeRef<'_>> + ExactSizeIterator {
        self.nodes.iter().map(|node| match node {
            Node::Packed { pack, .. } => NodeRef::Packed(pack),
            Node::Plain(text) => NodeRef::Plain(text),
        })
    }

    /// Returns the listpack that holds all elements, if there is only one node.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match self.nodes.front() {
            Some(Node::Packed { pack, .. }) if self.nodes.len() == 1 => Some(pack),
            _ => None,
        }
    }

    /// Turns the list into the one listpack that holds its elements, or gives it back if there are more nodes.
    pub fn into_listpack(mut self) -> Result<Listpack, Quicklist> {
        match self.nodes.len() {
            0 => Ok(Listpack::new()),
            1 => match self.nodes.pop_front() {
                Some(Node::Packed { pack, .. }) => Ok(pack),
                Some(plain) => {
                    self.nodes.push_front(plain);
                    Err(self)
                }
                None => unreachable!("there is one node"),
            },
            _ => Err(self),
        }
    }

    /// Appends the elements of `pack` as a node of their own.
    pub fn push_pack(&mut self, pack: Listpack) {
        if !pack.is_empty() {
            self.push_node(Node::packed(pack), End::Back);
        }
    }

    /// Appends one element as a node of its own.
    pub fn push_plain(&mut self, text: Buf) {
        self.push_node(Node::Plain(text), End::Back);
    }

    /// Appends `item` at the end.
    #[inline]
    pub fn push_back<'a>(&mut self, item: impl Into<Item<'a>>) {
        let item = item.into();
        if let Some(Node::Packed { count, pack }) = self.nodes.back_mut()
            && self.fill.allows_one_more(pack.byte_len(), *count as usize, item)
        {
            pack.push_back(item);
            *count += 1;
            self.len += 1;
        } else {
            self.push_in_new_node(item, End::Back);
        }
    }

    /// Puts `item` in front of all others.
    #[inline]
    pub fn push_front<'a>(&mut self, item: impl Into<Item<'a>>) {
        let item = item.into();
        if let Some(Node::Packed { count, pack }) = self.nodes.front_mut()
            && self.fill.allows_one_more(pack.byte_len(), *count as usize, item)
        {
            pack.push_front(item);
            *count += 1;
            self.len += 1;
        } else {
            self.push_in_new_node(item, End::Front);
        }
    }

    /// Returns the first element.
    pub fn front(&self) -> Option<Item<'_>> {
        self.nodes.front()?.items().next()
    }

    /// Returns the last element.
    pub fn back(&self) -> Option<Item<'_>> {
        self.nodes.back()?.items().next_back()
    }

    /// Removes the first element, if there is one, after showing it to `take`.
    #[inline]
    pub fn pop_front<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let taken = match self.nodes.front_mut()? {
            Node::Packed { count, pack } => {
                *count -= 1;
                let last = *count == 0;
                let taken = if last { pack.front().map(take) } else { pack.pop_front(take) };
                if last {
                    self.nodes.pop_front();
                }
                taken
            }
            Node::Plain(text) => {
                let taken = take(Item::Bytes(text));
                self.nodes.pop_front();
                Some(taken)
            }
        };
        self.len -= 1;
        taken
    }

    /// Removes the last element, if there is one, after showing it to `take`.
    #[inline]
    pub fn pop_back<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let taken = match self.nodes.back_mut()? {
            Node::Packed { count, pack } => {
                *count -= 1;
                let last = *count == 0;
                let taken = if last { pack.front().map(take) } else { pack.pop_back(take) };
                if last {
                    self.nodes.pop_back();
                }
                taken
            }
            Node::Plain(text) => {
                let taken = take(Item::Bytes(text));
                self.nodes.pop_back();
                Some(taken)
            }
        };
        self.len -= 1;
        taken
    }

    /// Returns element `index`; -1 is the last one.
    pub fn get(&self, index: isize) -> Option<Item<'_>> {
        let index = match index {
            ..0 => self.len.checked_sub(index.unsigned_abs())?,
            _ => index.unsigned_abs(),
        };
        let (node, offset) = self.locate(index)?;
        self.nodes[node].get(offset)
    }

    /// Returns the elements in order.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0, self.len)
    }

    /// Returns the elements from element `start` up to but not including element `end`.
    pub fn range(&self, start: usize, end: usize) -> Iter<'_> {
        Iter::new(self, start, end.min(self.len))
    }

    /// Returns the index of the first element whose text is `text`.
    pub fn position(&self, text: &[u8]) -> Option<usize> {
        self.iter().position(|item| item.is(text))
    }

    /// Inserts `item` so that it becomes element `index`, which is at most the number of elements.
    pub fn insert<'a>(&mut self, index: usize, item: impl Into<Item<'a>>) {
        let item = item.into();
        let Some((node, offset)) = self.locate(index) else { return self.push_back(item) };
        if index == 0 {
            return self.push_front(item);
        }
        let fill = self.fill;
        if let Node::Packed { count, pack } = &mut self.nodes[node]
            && fill.allows_one_more(pack.byte_len(), *count as usize, item)
        {
            pack.insert(offset, item);
            *count += 1;
            self.len += 1;
            return;
        }
        let before = match offset {
            0 => node,
            _ => self.split(node, offset),
        };
        // The element stands between two nodes now, neither of which is the first.
        let homes = [before.checked_sub(1), Some(before)];
        for (end, home) in [End::Back, End::Front].into_iter().zip(homes) {
            if let Some(Node::Packed { count, pack }) = home.and_then(|home| self.nodes.get_mut(home))
                && fill.allows_one_more(pack.byte_len(), *count as usize, item)
            {
                match end {
                    End::Back => pack.push_back(item),
                    End::Front => pack.push_front(item),
                }
                *count += 1;
                self.len += 1;
                return;
            }
        }
        let node =
            if fill.is_large(item) { Node::plain(item) } else { Node::packed(Listpack::from_iter([item])) };
        self.nodes.insert(before, node);
        self.len += 1;
    }

    /// Replaces element `index` by `item` and tells whether there is such an element.
    pub fn replace<'a>(&mut self, index: usize, item: impl Into<Item<'a>>) -> bool {
        let item = item.into();
        let Some((node, offset)) = self.locate(index) else { return false };
        let (fill, at) = (self.fill, self.nodes[node].seek(offset));
        match (&mut self.nodes[node], at) {
            (Node::Packed { count, pack }, Some(pos)) if !fill.is_large(item) => {
                let bytes = pack.byte_len() - pack.at(pos).stored_size();
                if *count == 1 || fill.allows_one_more(bytes, *count as usize - 1, item) {
                    pack.replace(pos, item);
                    return true;
                }
            }
            (Node::Plain(text), _) if fill.is_large(item) => {
                text.assign(item.text().as_bytes());
                return true;
            }
            _ => {}
        }
        self.remove_range(index, 1);
        self.insert(index, item);
        true
    }

    /// Removes up to `count` elements from element `start` on, and returns how many there were.
    pub fn remove_range(&mut self, start: usize, count: usize) -> usize {
        let count = count.min(self.len.saturating_sub(start));
        if count == 0 {
            return 0;
        }
        let Some((first, offset)) = self.locate(start) else { return 0 };
        let mut left = count;
        let mut whole = first;
        if offset > 0 {
            left -= self.remove_in(first, offset, left);
            whole += 1;
        }
        let mut end = whole;
        while left > 0 && self.nodes[end].count() <= left {
            left -= self.nodes[end].count();
            end += 1;
        }
        self.nodes.drain(whole..end);
        if left > 0 {
            self.remove_in(whole, 0, left);
        }
        self.len -= count;
        self.merge_at(whole);
        self.merge_at(whole.wrapping_sub(1));
        self.nodes.shrink_to(self.nodes.len() * 4);
        count
    }

    /// Removes up to `most` elements that are `text`, from the front or the back, and returns how many there were.
    pub fn remove_value(&mut self, text: &[u8], most: usize, from_back: bool) -> usize {
        let mut left = most;
        let mut remove = |node: &mut Node| {
            left -= node.remove_value(text, left, from_back);
            left > 0
        };
        // The search ends with the first node after which nothing is left to do.
        match from_back {
            true => self.nodes.iter_mut().rev().all(&mut remove),
            false => self.nodes.iter_mut().all(&mut remove),
        };
        let removed = most - left;
        if removed > 0 {
            self.len -= removed;
            self.tidy();
        }
        removed
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        *self = Quicklist::new(self.fill);
    }

    /// Returns the node that holds element `index`, and its place there.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index < self.len / 2 {
            let mut before = 0;
            for (number, node) in self.nodes.iter().enumerate() {
                if index < before + node.count() {
                    return Some((number, index - before));
                }
                before += node.count();
            }
        } else {
            let mut before = self.len;
            for (number, node) in self.nodes.iter().enumerate().rev() {
                before -= node.count();
                if index >= before {
                    return Some((number, index - before));
                }
            }
        }
        unreachable!("the counts of the nodes add up to the length")
    }

    #[cold]
    fn push_in_new_node(&mut self, item: Item<'_>, end: End) {
        if self.fill.is_large(item) {
            return self.push_node(Node::plain(item), end);
        }
        let room = match self.nodes.len() {
            0 => 0,
            1..LONG => self.room_of(end) / 4,
            _ => self.room_of(end),
        };
        let mut pack = Listpack::with_capacity(room);
        pack.push_back(item);
        self.push_node(Node::packed(pack), end);
    }

    /// Returns the room that the node now at `end` needed, as a guess for the next one.
    fn room_of(&self, end: End) -> usize {
        let neighbour = if end == End::Front { self.nodes.front() } else { self.nodes.back() };
        match (self.fill.limits(), neighbour) {
            ((usize::MAX, _), Some(Node::Packed { pack, .. })) => pack.byte_len().min(self.fill.full_size()),
            ((usize::MAX, _), _) => 0,
            _ => self.fill.full_size(),
        }
    }

    /// Puts a node at `end`; the one that was there is done growing and gives up its slack.
    fn push_node(&mut self, node: Node, end: End) {
        let settled = if end == End::Front { self.nodes.front_mut() } else { self.nodes.back_mut() };
        match settled {
            Some(Node::Packed { pack, .. }) => pack.shrink_to_fit(),
            Some(Node::Plain(text)) => text.shrink_to_fit(),
            None => {}
        }
        self.len += node.count();
        match end {
            End::Front => self.nodes.push_front(node),
            End::Back => self.nodes.push_back(node),
        }
    }

    /// Splits packed node `node` before its element `offset` and returns the number of the second half.
    fn split(&mut self, node: usize, offset: usize) -> usize {
        let pos = self.nodes[node].seek(offset).expect("only a packed node has an inside");
        if let Node::Packed { count, pack } = &mut self.nodes[node] {
            let rest = Node::Packed { count: *count - offset as u32, pack: pack.split_off(pos) };
            *count = offset as u32;
            self.nodes.insert(node + 1, rest);
        }
        node + 1
    }

    /// Removes up to `most` elements of packed node `node` from its element `offset` on, but never all of them.
    fn remove_in(&mut self, node: usize, offset: usize, most: usize) -> usize {
        let pos = self.nodes[node].seek(offset).expect("only a packed node loses some of its elements");
        let Node::Packed { count, pack } = &mut self.nodes[node] else { return 0 };
        let removed = pack.remove_range(pos, most);
        *count -= removed as u32;
        removed
    }

    /// Makes node `first` and the one after it one node if they are small.
    fn merge_at(&mut self, first: usize) {
        let Some(second) = first.checked_add(1) else { return };
        if let (Some(Node::Packed { count, pack }), Some(Node::Packed { count: count_2, pack: pack_2 })) =
            (self.nodes.get(first), self.nodes.get(second))
            && self.fill.allows_merge(pack.byte_len() + pack_2.byte_len(), (*count + *count_2) as usize)
            && let Some(Node::Packed { count: more, pack: rest }) = self.nodes.remove(second)
            && let Some(Node::Packed { count, pack }) = self.nodes.get_mut(first)
        {
            pack.append(&rest);
            *count += more;
        }
    }

    /// Drops empty nodes and makes small neighbours one.
    fn tidy(&mut self) {
        let fill = self.fill;
        let mut tidied = VecDeque::with_capacity(self.nodes.len());
        for node in mem::take(&mut self.nodes) {
            match (tidied.back_mut(), node) {
                (_, node) if node.count() == 0 => {}
                (Some(Node::Packed { count, pack }), Node::Packed { count: more, pack: rest })
                    if fill.allows_merge(pack.byte_len() + rest.byte_len(), (*count + more) as usize) =>
                {
                    pack.append(&rest);
                    *count += more;
                }
                (_, node) => tidied.push_back(node),
            }
        }
        tidied.shrink_to(tidied.len() * 2);
        self.nodes = tidied;
    }
}

impl PartialEq for Quicklist {
    /// Compares elements; the same ones may be spread over nodes differently.
    fn eq(&self, other: &Quicklist) -> bool {
        self.len == other.len && self.iter().eq(other)
    }
}

impl Eq for Quicklist {}

impl fmt::Debug for Quicklist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a, T: Into<Item<'a>>> Extend<T> for Quicklist {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push_back(item));
    }
}

impl<'a> IntoIterator for &'a Quicklist {
    type Item = Item<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
