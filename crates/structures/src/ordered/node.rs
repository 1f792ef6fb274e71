//! The two kinds of node of a counted B+tree, and the search within one.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::NonNull;

use crate::member::{MemberPointer, prefetch};

/// Items in a full leaf.
pub(super) const LEAF_CAPACITY: usize = 63;
/// Children of a full inner node.
pub(super) const INNER_CAPACITY: usize = 31;

/// A score and the member that has it.
#[derive(Clone, Copy)]
pub(crate) struct Item {
    pub(crate) score: f64,
    pub(crate) member: MemberPointer,
}

impl Item {
    pub(super) const NONE: Item = Item { score: 0.0, member: MemberPointer::dangling() };
}

/// Returns how many items come before `item`; a member is not before itself.
#[inline]
pub(super) fn count_below(items: &[Item], item: Item) -> usize {
    let below = items.partition_point(|other| other.score < item.score);
    if items.get(below).is_none_or(|other| other.score > item.score) {
        return below;
    }
    below + count_ties_below(&items[below..], item, false)
}

/// Returns how many of the first items, whose scores tie with `item`, have smaller bytes (or equal ones).
#[cold]
fn count_ties_below(items: &[Item], item: Item, or_equal: bool) -> usize {
    let ties = items.partition_point(|other| other.score <= item.score);
    // SAFETY: The member is alive, as whoever inserted it or asks about it vouches.
    let bytes = unsafe { item.member.bytes() };
    items[..ties].partition_point(|other| {
        // SAFETY: Members stay alive while they are in the tree, as promised to `insert`.
        let other = unsafe { other.member.bytes() };
        if or_equal { other <= bytes } else { other < bytes }
    })
}

/// A node of either kind; how deep it lies says which.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Node(NonNull<u8>);

/// A child as its parent knows it.
#[derive(Clone, Copy)]
pub(super) struct Child {
    pub(super) first: Item,
    pub(super) node: Node,
    pub(super) count: usize,
}

/// An inner node; the arrays are in use up to `len`.
#[repr(C)]
pub(super) struct Inner {
    len: u32,
    pub(super) first: [Item; INNER_CAPACITY],
    pub(super) nodes: [Node; INNER_CAPACITY],
    pub(super) counts: [usize; INNER_CAPACITY],
}

const _: () = assert!(size_of::<Inner>() <= 1024);

impl Inner {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns the first items of all children but the leftmost.
    #[inline]
    pub(super) fn firsts(&self) -> &[Item] {
        &self.first[1..self.len()]
    }

    /// Returns the child below which `item` is or belongs.
    #[inline]
    pub(super) fn child_of(&self, item: Item) -> usize {
        let firsts = self.firsts();
        let below = firsts.partition_point(|first| first.score < item.score);
        if firsts.get(below).is_none_or(|first| first.score > item.score) {
            return below;
        }
        below + count_ties_below(&firsts[below..], item, true)
    }

    /// Returns the child that holds the item at `rank`, and takes from `rank` what lies to its left.
    #[inline]
    pub(super) fn child_at(&self, rank: &mut usize) -> usize {
        let last = self.len() - 1;
        for index in 0..last {
            if *rank < self.counts[index] {
                return index;
            }
            *rank -= self.counts[index];
        }
        last
    }

    pub(super) fn total(&self) -> usize {
        self.counts[..self.len()].iter().sum()
    }

    pub(super) fn insert(&mut self, index: usize, child: Child) {
        let len = self.len();
        self.first.copy_within(index..len, index + 1);
        self.nodes.copy_within(index..len, index + 1);
        self.counts.copy_within(index..len, index + 1);
        self.first[index] = child.first;
        self.nodes[index] = child.node;
        self.counts[index] = child.count;
        self.len += 1;
    }

    pub(super) fn remove(&mut self, index: usize) {
        let len = self.len();
        self.first.copy_within(index + 1..len, index);
        self.nodes.copy_within(index + 1..len, index);
        self.counts.copy_within(index + 1..len, index);
        self.len -= 1;
    }

    /// Moves the children from `index` on to the empty `right`; returns the first item below it.
    pub(super) fn split_off(&mut self, index: usize, right: &mut Inner) -> Item {
        right.prepend(Item::NONE, self, index)
    }

    /// Takes the first `count` children of `right`, below which `first` comes first.
    ///
    /// Returns what then comes first below `right`, if anything is left there.
    pub(super) fn append(&mut self, first: Item, right: &mut Inner, count: usize) -> Item {
        let (len, right_len) = (self.len(), right.len());
        right.first[0] = first;
        self.first[len..len + count].copy_from_slice(&right.first[..count]);
        self.nodes[len..len + count].copy_from_slice(&right.nodes[..count]);
        self.counts[len..len + count].copy_from_slice(&right.counts[..count]);
        right.first.copy_within(count..right_len, 0);
        right.nodes.copy_within(count..right_len, 0);
        right.counts.copy_within(count..right_len, 0);
        self.len += count as u32;
        right.len -= count as u32;
        right.first[0]
    }

    /// Takes the children of `left` from `index` on, before its own, below which `first` comes first.
    ///
    /// Returns what then comes first below itself.
    pub(super) fn prepend(&mut self, first: Item, left: &mut Inner, index: usize) -> Item {
        let (len, left_len) = (self.len(), left.len());
        let count = left_len - index;
        self.first[0] = first;
        self.first.copy_within(..len, count);
        self.nodes.copy_within(..len, count);
        self.counts.copy_within(..len, count);
        self.first[..count].copy_from_slice(&left.first[index..left_len]);
        self.nodes[..count].copy_from_slice(&left.nodes[index..left_len]);
        self.counts[..count].copy_from_slice(&left.counts[index..left_len]);
        self.len += count as u32;
        left.len -= count as u32;
        self.first[0]
    }
}

/// A pointer to an inner node, made by `new` and good until `free`.
///
/// The tree reaches every node by one way only, and no method of it that holds a mutable reference makes another
/// one to the same node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct InnerNode(pub(super) Node);

impl InnerNode {
    pub(super) fn new() -> InnerNode {
        let inner = Box::new(Inner {
            len: 0,
            first: [Item::NONE; INNER_CAPACITY],
            nodes: [Node::dangling(); INNER_CAPACITY],
            counts: [0; INNER_CAPACITY],
        });
        InnerNode(Node(NonNull::from(Box::leak(inner)).cast()))
    }

    #[inline]
    pub(super) fn get<'a>(self) -> &'a Inner {
        // SAFETY: The node lives, as only the tree frees nodes and forgets their pointers when it does.
        unsafe { self.0.0.cast::<Inner>().as_ref() }
    }

    pub(super) fn get_mut<'a>(self) -> &'a mut Inner {
        // SAFETY: The node lives, as only the tree frees nodes and forgets their pointers when it does.
        unsafe { self.0.0.cast::<Inner>().as_mut() }
    }

    pub(super) fn free(self) {
        // SAFETY: `new` made it from a box, and the tree no longer has a pointer to it.
        drop(unsafe { Box::from_raw(self.0.0.cast::<Inner>().as_ptr()) });
    }
}

/// A pointer to a leaf, made by `new` and good until `free` or `grow`.
///
/// ```text
/// ┌─────────┬──────────────┬────────────────────────────────┐
/// │ len u32 │ capacity u32 │ items, `len` of `capacity` used │
/// └─────────┴──────────────┴────────────────────────────────┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf(pub(super) Node);

const LEAF_HEADER: usize = 8;

impl Node {
    /// Returns a pointer to nothing, for slots that are not in use.
    pub(super) const fn dangling() -> Node {
        Node(NonNull::dangling())
    }
}

impl Leaf {
    pub(super) fn new(capacity: usize) -> Leaf {
        let layout = Leaf::layout(capacity);
        // SAFETY: The layout is never of size zero: it has room for a header.
        let Some(pointer) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: The allocation starts with room for the two words of the header.
        unsafe {
            pointer.cast::<u32>().write(0);
            pointer.cast::<u32>().add(1).write(capacity as u32);
        }
        Leaf(Node(pointer))
    }

    pub(super) fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(LEAF_HEADER + capacity * size_of::<Item>(), 8).expect("a leaf is small")
    }

    pub(super) fn node(self) -> Node {
        self.0
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        // SAFETY: The leaf lives and starts with its length.
        unsafe { self.0.0.cast::<u32>().read() as usize }
    }

    #[inline]
    pub(super) fn capacity(self) -> usize {
        // SAFETY: The leaf lives and has its capacity as second word.
        unsafe { self.0.0.cast::<u32>().add(1).read() as usize }
    }

    fn set_len(self, len: usize) {
        debug_assert!(len <= self.capacity());
        // SAFETY: The leaf lives and starts with its length.
        unsafe { self.0.0.cast::<u32>().write(len as u32) }
    }

    #[inline]
    fn start(self) -> NonNull<Item> {
        // SAFETY: The items follow the header within the allocation.
        unsafe { self.0.0.add(LEAF_HEADER).cast() }
    }

    #[inline]
    pub(super) fn items<'a>(self) -> &'a [Item] {
        // SAFETY: The first `len` items are initialized; the tree lends no slice past a change of the leaf.
        unsafe { std::slice::from_raw_parts(self.start().as_ptr(), self.len()) }
    }

    pub(super) fn items_mut<'a>(self) -> &'a mut [Item] {
        // SAFETY: As for `items`; the tree is borrowed mutably by whoever calls this.
        unsafe { std::slice::from_raw_parts_mut(self.start().as_ptr(), self.len()) }
    }

    /// Asks for a leaf's cache lines at once, as a search would ask for one after the other.
    #[inline]
    pub(super) fn prefetch(self) {
        for line in (0..LEAF_HEADER + LEAF_CAPACITY * size_of::<Item>()).step_by(64) {
            prefetch(self.0.0.as_ptr().wrapping_add(line));
        }
    }

    pub(super) fn insert(self, position: usize, item: Item) {
        let len = self.len();
        assert!(position <= len && len < self.capacity(), "the leaf has room at the place given");
        // SAFETY: There is room for one more item, and the place is within the items or right behind them.
        unsafe {
            let place = self.start().add(position);
            place.copy_to(place.add(1), len - position);
            place.write(item);
        }
        self.set_len(len + 1);
    }

    /// Adds items behind those that are there.
    pub(super) fn extend(self, items: &[Item]) {
        let len = self.len();
        assert!(len + items.len() <= self.capacity(), "the leaf has room for the items");
        // SAFETY: There is room for the items behind those that are there.
        unsafe { self.start().add(len).copy_from_nonoverlapping(NonNull::from(items).cast(), items.len()) };
        self.set_len(len + items.len());
    }

    pub(super) fn remove(self, position: usize, count: usize) {
        let len = self.len();
        assert!(position + count <= len, "the leaf has the items to be removed");
        self.items_mut().copy_within(position + count.., position);
        self.set_len(len - count);
    }

    /// Moves `count` items from a place in this leaf to a place in another one.
    pub(super) fn move_to(self, position: usize, other: Leaf, place: usize, count: usize) {
        let (len, other_len) = (self.len(), other.len());
        assert!(self != other && position + count <= len, "the items are there and go elsewhere");
        assert!(place <= other_len && other_len + count <= other.capacity(), "the other leaf has room");
        // SAFETY: Source and destination are different leaves, and the asserts keep both within their bounds.
        unsafe {
            let destination = other.start().add(place);
            destination.copy_to(destination.add(count), other_len - place);
            self.start().add(position).copy_to_nonoverlapping(destination, count);
        }
        other.set_len(other_len + count);
        self.remove(position, count);
    }

    pub(super) fn grow(self, capacity: usize) -> Leaf {
        let old = Leaf::layout(self.capacity());
        let new = Leaf::layout(capacity);
        // SAFETY: The leaf was allocated with the old layout; both layouts share their alignment.
        let pointer = unsafe { realloc(self.0.0.as_ptr(), old, new.size()) };
        let Some(pointer) = NonNull::new(pointer) else { handle_alloc_error(new) };
        // SAFETY: The second word of the header is the capacity.
        unsafe { pointer.cast::<u32>().add(1).write(capacity as u32) };
        Leaf(Node(pointer))
    }

    pub(super) fn free(self) {
        let layout = Leaf::layout(self.capacity());
        // SAFETY: The leaf was allocated with this layout, and the tree no longer has a pointer to it.
        unsafe { dealloc(self.0.0.as_ptr(), layout) }
    }
}
