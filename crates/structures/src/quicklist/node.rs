//! [`Node`]: one link of a quicklist, a listpack of several elements or a single large one.

use crate::buf::Buf;
use crate::listpack::{self, Item, Listpack};

/// A listpack with its element count at hand, or one element too large for a listpack.
#[derive(Clone)]
pub(super) enum Node {
    Packed { count: u32, pack: Listpack },
    Plain(Buf),
}

const _: () = assert!(size_of::<Node>() == 16);

/// What a node of a quicklist holds.
#[derive(Clone, Copy, Debug)]
pub enum NodeRef<'a> {
    /// Several elements.
    Packed(&'a Listpack),
    /// One large element.
    Plain(&'a [u8]),
}

impl Node {
    /// Returns the node for `pack`, which is not empty.
    pub(super) fn packed(pack: Listpack) -> Node {
        let count = u32::try_from(pack.len()).expect("a node has fewer elements than bytes");
        Node::Packed { count, pack }
    }

    /// Returns the node for one large element.
    pub(super) fn plain(item: Item<'_>) -> Node {
        Node::Plain(Buf::from(item.text().as_bytes()))
    }

    /// Returns the number of elements.
    #[inline]
    pub(super) fn count(&self) -> usize {
        match self {
            Node::Packed { count, .. } => *count as usize,
            Node::Plain(_) => 1,
        }
    }

    /// Returns the heap bytes held.
    pub(super) fn heap_size(&self) -> usize {
        match self {
            Node::Packed { pack, .. } => pack.heap_size(),
            Node::Plain(text) => text.heap_size(),
        }
    }

    /// Returns the elements in order.
    #[inline]
    pub(super) fn items(&self) -> Items<'_> {
        match self {
            Node::Packed { pack, .. } => Items::Packed(pack.iter()),
            Node::Plain(text) => Items::Plain(Some(text)),
        }
    }

    /// Returns the elements from element `offset` on.
    pub(super) fn items_from(&self, offset: usize) -> Items<'_> {
        match self {
            Node::Packed { pack, .. } if offset > 0 => match self.seek(offset) {
                Some(pos) => Items::Packed(pack.iter_from(pos)),
                None => Items::Plain(None),
            },
            Node::Plain(_) if offset > 0 => Items::Plain(None),
            _ => self.items(),
        }
    }

    /// Returns the first `count` elements, `count` being at least 1.
    pub(super) fn items_until(&self, count: usize) -> Items<'_> {
        match self {
            Node::Packed { pack, .. } if count < self.count() => match self.seek(count - 1) {
                Some(pos) => Items::Packed(pack.iter_through(pos)),
                None => Items::Plain(None),
            },
            _ => self.items(),
        }
    }

    /// Returns element `offset`.
    pub(super) fn get(&self, offset: usize) -> Option<Item<'_>> {
        match self {
            Node::Packed { pack, .. } => Some(pack.at(self.seek(offset)?)),
            Node::Plain(text) => (offset == 0).then_some(Item::Bytes(text)),
        }
    }

    /// Removes up to `most` elements that are `text`, from the front or the back, and returns how many.
    pub(super) fn remove_value(&mut self, text: &[u8], most: usize, from_back: bool) -> usize {
        // A large element's node stays as an empty one; the list drops it.
        match self {
            Node::Plain(own) if own.as_slice() == text && most > 0 => {
                *self = Node::Packed { count: 0, pack: Listpack::new() };
                1
            }
            Node::Plain(_) => 0,
            Node::Packed { count, pack } => {
                let mut removed = 0;
                if from_back {
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
                } else {
                    let mut next = pack.find(text, 0);
                    while let Some(pos) = next
                        && removed < most
                    {
                        removed += 1;
                        next = pack.remove(pos).and_then(|pos| pack.find_from(pos, text, 0));
                    }
                }
                *count -= removed as u32;
                removed
            }
        }
    }

    /// Returns where element `offset` of a packed node begins, coming from the nearer end.
    pub(super) fn seek(&self, offset: usize) -> Option<listpack::Pos> {
        let Node::Packed { count, pack } = self else { return None };
        let count = *count as usize;
        match offset {
            _ if offset >= count => None,
            _ if offset > count / 2 => pack.seek(offset as isize - count as isize),
            _ => pack.seek(offset as isize),
        }
    }
}

/// The elements of a node, from either end.
#[derive(Clone)]
pub(super) enum Items<'a> {
    Packed(listpack::Iter<'a>),
    Plain(Option<&'a [u8]>),
}

impl<'a> Items<'a> {
    #[inline]
    pub(super) fn next(&mut self) -> Option<Item<'a>> {
        match self {
            Items::Packed(items) => items.next(),
            Items::Plain(text) => text.take().map(Item::Bytes),
        }
    }

    #[inline]
    pub(super) fn next_back(&mut self) -> Option<Item<'a>> {
        match self {
            Items::Packed(items) => items.next_back(),
            Items::Plain(text) => text.take().map(Item::Bytes),
        }
    }
}
