//! [`Iter`]: the elements of a quicklist or of a range of it, from either end.

use std::iter::FusedIterator;

use super::Quicklist;
use super::node::Items;
use crate::listpack::Item;

/// The elements of a range of a quicklist.
#[derive(Clone)]
pub struct Iter<'a> {
    list: &'a Quicklist,
    /// How many elements are still to come; the two ends never meet within a node otherwise.
    left: usize,
    front: Items<'a>,
    front_node: usize,
    /// Found only when it is asked for.
    back: Option<(Items<'a>, usize)>,
    end: usize,
}

impl<'a> Iter<'a> {
    pub(super) fn new(list: &'a Quicklist, start: usize, end: usize) -> Iter<'a> {
        let left = end.saturating_sub(start);
        let (front, front_node) = match list.locate(start) {
            Some((node, offset)) if left > 0 => (list.nodes[node].items_from(offset), node),
            _ => (Items::Plain(None), 0),
        };
        Iter { list, left, front, front_node, back: None, end }
    }

    fn find_back(&self) -> Option<(Items<'a>, usize)> {
        let (node, offset) = self.list.locate(self.end.checked_sub(1)?)?;
        Some((self.list.nodes[node].items_until(offset + 1), node))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        loop {
            if let Some(item) = self.front.next() {
                return Some(item);
            }
            self.front_node += 1;
            self.front = self.list.nodes.get(self.front_node)?.items();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }

    /// Goes through whole nodes, so that what kind of node it is in is not asked for each element.
    fn fold<B, F: FnMut(B, Item<'a>) -> B>(mut self, init: B, mut f: F) -> B {
        let mut sum = init;
        while self.left > 0 {
            match &mut self.front {
                Items::Packed(items) => {
                    while self.left > 0
                        && let Some(item) = items.next()
                    {
                        sum = f(sum, item);
                        self.left -= 1;
                    }
                }
                Items::Plain(text) => {
                    if let Some(text) = text.take() {
                        sum = f(sum, Item::Bytes(text));
                        self.left -= 1;
                    }
                }
            }
            self.front_node += 1;
            match self.list.nodes.get(self.front_node) {
                Some(node) => self.front = node.items(),
                None => break,
            }
        }
        sum
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Item<'a>> {
        if self.left == 0 {
            return None;
        }
        if self.back.is_none() {
            self.back = self.find_back();
        }
        let (items, node) = self.back.as_mut()?;
        self.left -= 1;
        loop {
            if let Some(item) = items.next_back() {
                return Some(item);
            }
            *node = node.checked_sub(1)?;
            *items = self.list.nodes.get(*node)?.items();
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}
