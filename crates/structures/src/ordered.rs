//! A counted B+tree of sorted-set members, ordered by score and then by bytes.
//!
//! Owns the nodes and the order; the members belong to whoever inserted them (`ranked`), which must keep each
//! one allocated while its pointer is in here.
//!
//! ```text
//!                 ┌───────────────────────────────┐
//!   inner         │ first items │ nodes │ counts  │   counts: members below each child, so ranks are sums
//!                 └──────┬──────────┬─────────────┘
//!             ┌──────────┘          └─────────┐
//!   ┌─────────┴───────────┐       ┌───────────┴─────────┐
//!   │ (score, member ptr)…│ leaf  │ (score, member ptr)…│   a score lies beside its pointer, so that member
//!   └─────────────────────┘       └─────────────────────┘   bytes are read only when scores tie
//! ```
//!
//! `first[i]` is the smallest item below child `i`, except that `first[0]` means nothing: the parent knows it.
//! Nodes fit size class 1024. A lone leaf starts smaller and grows, as most sorted sets are small.
//! A full leaf gives to a neighbour, and two full ones become three; at the end of the set (or its front) a new leaf
//! starts empty. All of this keeps leaves fuller than halving would.

mod node;
#[cfg(test)]
mod tests;

pub(crate) use node::Item;
use node::{Child, INNER_CAPACITY, Inner, InnerNode, LEAF_CAPACITY, Leaf, Node, count_below};

/// Items a leaf away from the ends keeps, or else it leans on a neighbour.
const LEAF_MIN: usize = 16;
/// Items in the leaves, and children in the inner nodes, of a tree built at once: nearly full, but not to be split
/// by the first insertion.
const BUILT_LEAF: usize = 60;
const BUILT_INNER: usize = 28;
/// Items a leaf that is the whole tree has room for at first.
const LEAF_START: usize = 8;
/// A neighbour takes items from a full leaf if it has room for this many, or else both make a third leaf.
const LEAF_ROOM: usize = 6;
/// Children an inner node away from the ends keeps.
const INNER_MIN: usize = 8;
/// Two nodes become one if that leaves this share (in quarters) of it used, so that it need not split right away.
const MERGE_QUARTERS: usize = 3;
/// Levels above the leaves that no tree reaches: 16 · 8^15 items do not fit an address space.
const HEIGHT_MAX: usize = 16;

/// The tree.
pub(crate) struct Ordered {
    root: Option<Node>,
    /// Levels of inner nodes above the leaves.
    height: usize,
    len: usize,
    /// Size of all nodes.
    bytes: usize,
}

// SAFETY: The tree is the only owner of its nodes and holds nothing bound to a thread.
unsafe impl Send for Ordered {}

impl Ordered {
    /// Returns an empty tree, which has no nodes.
    pub(crate) const fn new() -> Ordered {
        Ordered { root: None, height: 0, len: 0, bytes: 0 }
    }

    /// Returns the tree of items that are in order, in time proportional to their number.
    ///
    /// # Safety
    ///
    /// As for [`Ordered::insert`]: each member must stay allocated until its item is removed or the tree is dropped.
    pub(crate) unsafe fn from_sorted(items: &[Item]) -> Ordered {
        let mut tree = Ordered::new();
        tree.len = items.len();
        let leaves = items.len().div_ceil(BUILT_LEAF);
        let mut level = Vec::with_capacity(leaves);
        for run in shares(items.len(), leaves) {
            let capacity = match leaves {
                1 => items.len().next_power_of_two().clamp(LEAF_START, LEAF_CAPACITY),
                _ => LEAF_CAPACITY,
            };
            let (leaf, run) = (tree.new_leaf(capacity), &items[run]);
            leaf.extend(run);
            level.push(Child { first: run[0], node: leaf.node(), count: run.len() });
        }
        while level.len() > 1 {
            let nodes = level.len().div_ceil(BUILT_INNER);
            let above = shares(level.len(), nodes).map(|run| {
                let (node, run) = (tree.new_inner(), &level[run]);
                for (index, child) in run.iter().enumerate() {
                    let first = if index == 0 { Item::NONE } else { child.first };
                    node.get_mut().insert(index, Child { first, ..*child });
                }
                Child { first: run[0].first, node: node.0, count: node.get().total() }
            });
            level = above.collect();
            tree.height += 1;
        }
        tree.root = level.first().map(|child| child.node);
        tree
    }

    /// Returns the number of items.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the size of the nodes in bytes.
    pub(crate) fn heap_size(&self) -> usize {
        self.bytes
    }

    /// Adds an item; no member with the same bytes may be present.
    ///
    /// # Safety
    ///
    /// The member must stay allocated until its item is removed or the tree is dropped.
    pub(crate) unsafe fn insert(&mut self, item: Item) {
        debug_assert!(!item.score.is_nan(), "NaN has no place in an order");
        self.len += 1;
        let Some(root) = self.root else {
            let leaf = self.new_leaf(LEAF_START);
            leaf.insert(0, item);
            self.root = Some(leaf.node());
            return;
        };

        let (path, leaf) = self.descend(root, |inner| inner.child_of(item));
        for (inner, index) in path.steps(self.height) {
            inner.get_mut().counts[index] += 1;
        }
        let position = count_below(leaf.items(), item);
        if leaf.len() < leaf.capacity() {
            leaf.insert(position, item);
        } else if leaf.capacity() < LEAF_CAPACITY {
            let leaf = self.grow_leaf(leaf);
            leaf.insert(position, item);
            self.root = Some(leaf.node());
        } else {
            self.insert_into_full(path, leaf, position, item);
        }
    }

    /// Removes the item of `member`, whose score is `score`.
    pub(crate) fn remove(&mut self, item: Item) {
        let (path, leaf, position) = self.find(item);
        self.remove_run(&path, leaf, position, 1);
    }

    /// Moves the item of a member from its score to another one.
    pub(crate) fn rescore(&mut self, item: Item, score: f64) {
        debug_assert!(!score.is_nan(), "NaN has no place in an order");
        let (path, leaf, position) = self.find(item);
        let items = leaf.items_mut();
        // Most updates move a member a little; between its neighbours in a leaf nothing but the score changes.
        if position > 0 && position + 1 < items.len() {
            let fits_after = items[position - 1].score < score;
            let fits_before = items[position + 1].score > score;
            if fits_after && fits_before {
                items[position].score = score;
                return;
            }
        }
        self.remove_run(&path, leaf, position, 1);
        // SAFETY: The member was in the tree until now, so whoever inserted it vouches for it still.
        unsafe { self.insert(Item { score, member: item.member }) };
    }

    /// Removes up to `limit` items from rank `rank` on, as many as share a leaf, and hands them to `f`.
    pub(crate) fn remove_some(&mut self, rank: usize, limit: usize, mut f: impl FnMut(Item)) -> usize {
        let Some(root) = self.root else { return 0 };
        if rank >= self.len || limit == 0 {
            return 0;
        }
        let mut rest = rank;
        let (path, leaf) = self.descend(root, |inner| inner.child_at(&mut rest));
        let run = &leaf.items()[rest..];
        let count = run.len().min(limit);
        let mut removed = [Item::NONE; LEAF_CAPACITY];
        removed[..count].copy_from_slice(&run[..count]);
        // What is removed is about to be used, and what lies beside it if one removal follows the other.
        leaf.items()[rest.saturating_sub(1)..].iter().take(count + 2).for_each(|item| item.member.prefetch());
        self.remove_run(&path, leaf, rest, count);
        // Only now, as `f` may free the members and every pointer to them had to be gone before.
        removed[..count].iter().copied().for_each(&mut f);
        count
    }

    /// Returns the rank of the item of `member`, whose score is `score`.
    pub(crate) fn rank(&self, item: Item) -> usize {
        let Some(root) = self.root else { return 0 };
        let mut rank = 0;
        let (_, leaf) = self.descend(root, |inner| {
            let index = inner.child_of(item);
            rank += inner.counts[..index].iter().sum::<usize>();
            index
        });
        rank + count_below(leaf.items(), item)
    }

    /// Returns how many items `before` holds for, which must be true up to some item and false from there on.
    pub(crate) fn partition_point(&self, mut before: impl FnMut(&Item) -> bool) -> usize {
        let Some(root) = self.root else { return 0 };
        let mut rank = 0;
        let (_, leaf) = self.descend(root, |inner| {
            let index = inner.firsts().partition_point(&mut before);
            rank += inner.counts[..index].iter().sum::<usize>();
            index
        });
        rank + leaf.items().partition_point(before)
    }

    /// Returns the leaf that holds the item at `rank`, and the item's place in it.
    pub(crate) fn leaf_at(&self, rank: usize) -> Option<(&[Item], usize)> {
        let root = self.root.filter(|_| rank < self.len)?;
        let mut rest = rank;
        let (_, leaf) = self.descend(root, |inner| inner.child_at(&mut rest));
        Some((leaf.items(), rest))
    }

    /// Walks from the root to a leaf, asking `choose` for the way at each inner node.
    #[inline]
    fn descend(&self, root: Node, mut choose: impl FnMut(&Inner) -> usize) -> (Path, Leaf) {
        let mut path = Path::new();
        let mut node = root;
        for level in 0..self.height {
            let inner = InnerNode(node);
            let index = choose(inner.get());
            path.0[level] = (inner, index);
            node = inner.get().nodes[index];
        }
        let leaf = Leaf(node);
        if self.height > 0 {
            leaf.prefetch();
        }
        (path, leaf)
    }

    /// Returns the leaf and the place in it of an item that is present.
    fn find(&self, item: Item) -> (Path, Leaf, usize) {
        let root = self.root.expect("the item is present");
        let (path, leaf) = self.descend(root, |inner| inner.child_of(item));
        let position = count_below(leaf.items(), item);
        let found = leaf.items().get(position).is_some_and(|found| found.member == item.member);
        assert!(found, "the item is present, at the score given");
        (path, leaf, position)
    }

    /// Inserts into a leaf that has no room.
    #[cold]
    #[inline(never)]
    fn insert_into_full(&mut self, path: Path, leaf: Leaf, position: usize, item: Item) {
        let (right, bias) = if position == leaf.len() && path.is_last(self.height) {
            let right = self.new_leaf(LEAF_CAPACITY);
            right.insert(0, item);
            (right, Bias::End)
        } else if position == 0 && path.is_first(self.height) {
            let right = self.new_leaf(LEAF_CAPACITY);
            leaf.move_to(0, right, 0, leaf.len());
            leaf.insert(0, item);
            (right, Bias::Start)
        } else if self.height == 0 {
            let right = self.new_leaf(LEAF_CAPACITY);
            let half = leaf.len() / 2;
            leaf.move_to(half, right, 0, leaf.len() - half);
            insert_into_either(&[leaf, right], position, item);
            (right, Bias::None)
        } else {
            return self.insert_with_neighbour(path, leaf, position, item);
        };
        self.add_leaf(&path, leaf, right, bias);
    }

    /// Inserts into a full leaf with the help of the emptier of its neighbours: both share, with a third if need be.
    fn insert_with_neighbour(&mut self, mut path: Path, leaf: Leaf, position: usize, item: Item) {
        let (node, index) = path.0[self.height - 1];
        let parent = node.get_mut();
        let left_len = if index > 0 { parent.counts[index - 1] } else { usize::MAX };
        let right_len = if index + 1 < parent.len() { parent.counts[index + 1] } else { usize::MAX };
        let pair = if left_len < right_len { index - 1 } else { index };
        let (left, right) = (Leaf(parent.nodes[pair]), Leaf(parent.nodes[pair + 1]));
        let position = if leaf == right { position + left.len() } else { position };
        let total = left.len() + right.len();

        if left_len.min(right_len) <= LEAF_CAPACITY - LEAF_ROOM {
            share_leaves(left, right, total / 2);
            insert_into_either(&[left, right], position, item);
            parent.first[pair + 1] = right.items()[0];
            parent.counts[pair] = left.len();
            parent.counts[pair + 1] = right.len();
            return;
        }
        let middle = self.new_leaf(LEAF_CAPACITY);
        let third = total / 3;
        left.move_to(third, middle, 0, left.len() - third);
        right.move_to(0, middle, middle.len(), right.len() - third);
        insert_into_either(&[left, middle, right], position, item);
        parent.first[pair + 1] = right.items()[0];
        parent.counts[pair + 1] = right.len();
        path.0[self.height - 1].1 = pair;
        self.add_leaf(&path, left, middle, Bias::None);
    }

    /// Adds a leaf to the right of the one that the path leads to.
    fn add_leaf(&mut self, path: &Path, leaf: Leaf, right: Leaf, bias: Bias) {
        let child = Child { first: right.items()[0], node: right.node(), count: right.len() };
        self.add_child(path, self.height, leaf.node(), leaf.len(), child, bias);
    }

    /// Adds `child` to the right of `sibling`, the node at depth `depth` of the path, which now counts `count`.
    fn add_child(
        &mut self,
        path: &Path,
        depth: usize,
        sibling: Node,
        count: usize,
        child: Child,
        bias: Bias,
    ) {
        if depth == 0 {
            assert!(self.height < HEIGHT_MAX, "no tree outgrows the address space");
            let root = self.new_inner();
            let inner = root.get_mut();
            inner.insert(0, Child { first: Item::NONE, node: sibling, count });
            inner.insert(1, child);
            self.root = Some(root.0);
            self.height += 1;
            return;
        }
        let (node, index) = path.0[depth - 1];
        let inner = node.get_mut();
        inner.counts[index] = count;
        let place = index + 1;
        if inner.len() < INNER_CAPACITY {
            inner.insert(place, child);
            return;
        }
        // Either side is left with at least two children, whatever the bias.
        let split = match bias {
            Bias::None => INNER_CAPACITY / 2,
            Bias::End => INNER_CAPACITY - 1,
            Bias::Start => 1,
        };
        let right = self.new_inner();
        let first = inner.split_off(split, right.get_mut());
        if place <= split {
            inner.insert(place, child);
        } else {
            right.get_mut().insert(place - split, child);
        }
        let count = inner.total();
        let child = Child { first, node: right.0, count: right.get().total() };
        self.add_child(path, depth - 1, node.0, count, child, bias);
    }

    /// Removes `count` items at a place in a leaf, and evens out what that leaves behind.
    fn remove_run(&mut self, path: &Path, leaf: Leaf, position: usize, count: usize) {
        self.len -= count;
        leaf.remove(position, count);
        for (inner, index) in path.steps(self.height) {
            inner.get_mut().counts[index] -= count;
        }
        if self.height == 0 {
            if leaf.len() == 0 {
                self.free_leaf(leaf);
                self.root = None;
            }
            return;
        }

        let (parent, index) = path.0[self.height - 1];
        let mend = leaf.len() < LEAF_MIN;
        let (changed, mut merged) =
            if mend { self.mend_leaf(parent.get_mut(), index) } else { (index, false) };
        if mend || position == 0 {
            // The leftmost leaf concerned may start with another item now. The lowest node in which the path is
            // not leftmost keeps a copy of it.
            let first = Leaf(parent.get().nodes[changed]).items()[0];
            if changed > 0 {
                parent.get_mut().first[changed] = first;
            } else if let Some((inner, index)) = path.steps(self.height - 1).rev().find(|step| step.1 > 0) {
                inner.get_mut().first[index] = first;
            }
        }
        for level in (1..self.height).rev() {
            if !merged || path.0[level].0.get().len() >= INNER_MIN {
                break;
            }
            let (parent, index) = path.0[level - 1];
            merged = self.mend_inner(parent.get_mut(), index);
        }
        while self.height > 0
            && let Some(root) = self.root.map(InnerNode)
            && root.get().len() == 1
        {
            self.root = Some(root.get().nodes[0]);
            self.height -= 1;
            self.free_inner(root);
        }
    }

    /// Joins an underfull leaf with a neighbour or shares with it; returns the left one's place and whether they joined.
    fn mend_leaf(&mut self, parent: &mut Inner, index: usize) -> (usize, bool) {
        let pair = index.saturating_sub(1);
        let (left, right) = (Leaf(parent.nodes[pair]), Leaf(parent.nodes[pair + 1]));
        let total = left.len() + right.len();
        if total <= LEAF_CAPACITY * MERGE_QUARTERS / 4 {
            right.move_to(0, left, left.len(), right.len());
            self.free_leaf(right);
            parent.remove(pair + 1);
            parent.counts[pair] = total;
            return (pair, true);
        }
        share_leaves(left, right, total / 2);
        parent.first[pair + 1] = right.items()[0];
        parent.counts[pair] = left.len();
        parent.counts[pair + 1] = right.len();
        (pair, false)
    }

    /// Joins an underfull inner node with a neighbour or shares with it; returns whether they joined.
    fn mend_inner(&mut self, parent: &mut Inner, index: usize) -> bool {
        let pair = index.saturating_sub(1);
        let (left, right) = (InnerNode(parent.nodes[pair]), InnerNode(parent.nodes[pair + 1]));
        let (left_inner, right_inner) = (left.get_mut(), right.get_mut());
        let total = left_inner.len() + right_inner.len();
        let first = parent.first[pair + 1];
        if total <= INNER_CAPACITY * MERGE_QUARTERS / 4 {
            left_inner.append(first, right_inner, right_inner.len());
            self.free_inner(right);
            parent.remove(pair + 1);
            parent.counts[pair] = left_inner.total();
            return true;
        }
        let half = total / 2;
        if left_inner.len() < half {
            let first = left_inner.append(first, right_inner, half - left_inner.len());
            parent.first[pair + 1] = first;
        } else {
            parent.first[pair + 1] = right_inner.prepend(first, left_inner, half);
        }
        parent.counts[pair] = left_inner.total();
        parent.counts[pair + 1] = right_inner.total();
        false
    }

    fn new_leaf(&mut self, capacity: usize) -> Leaf {
        self.bytes += Leaf::layout(capacity).size();
        Leaf::new(capacity)
    }

    fn grow_leaf(&mut self, leaf: Leaf) -> Leaf {
        let capacity = (leaf.capacity() * 2).min(LEAF_CAPACITY);
        self.bytes += Leaf::layout(capacity).size() - Leaf::layout(leaf.capacity()).size();
        leaf.grow(capacity)
    }

    fn free_leaf(&mut self, leaf: Leaf) {
        self.bytes -= Leaf::layout(leaf.capacity()).size();
        leaf.free();
    }

    fn new_inner(&mut self) -> InnerNode {
        self.bytes += size_of::<Inner>();
        InnerNode::new()
    }

    fn free_inner(&mut self, inner: InnerNode) {
        self.bytes -= size_of::<Inner>();
        inner.free();
    }

    fn free_below(&mut self, node: Node, height: usize) {
        if height == 0 {
            return self.free_leaf(Leaf(node));
        }
        let inner = InnerNode(node);
        for index in 0..inner.get().len() {
            self.free_below(inner.get().nodes[index], height - 1);
        }
        self.free_inner(inner);
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        if let Some(root) = self.root.take() {
            self.free_below(root, self.height);
        }
    }
}

/// Where a split may leave one side nearly empty, because what follows will fill it.
#[derive(Clone, Copy)]
enum Bias {
    None,
    End,
    Start,
}

/// The inner nodes from the root to the parent of a leaf, and which child was taken at each.
struct Path([(InnerNode, usize); HEIGHT_MAX]);

impl Path {
    fn new() -> Path {
        Path([(InnerNode(Node::dangling()), 0); HEIGHT_MAX])
    }

    fn steps(&self, height: usize) -> impl DoubleEndedIterator<Item = (InnerNode, usize)> {
        self.0[..height].iter().copied()
    }

    /// Returns whether the path keeps to the right edge of the tree.
    fn is_last(&self, height: usize) -> bool {
        self.steps(height).all(|(inner, index)| index + 1 == inner.get().len())
    }

    /// Returns whether the path keeps to the left edge of the tree.
    fn is_first(&self, height: usize) -> bool {
        self.steps(height).all(|(_, index)| index == 0)
    }
}

/// Returns `count` things in so many runs of about the same length.
fn shares(count: usize, runs: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..runs).map(move |run| run * count / runs..(run + 1) * count / runs)
}

/// Inserts at a place counted through neighbouring leaves, of which the first to reach that far has room.
fn insert_into_either(leaves: &[Leaf], mut position: usize, item: Item) {
    for leaf in leaves {
        // At a seam the left one takes it, so that the first item of the right one stays first.
        if position <= leaf.len() {
            return leaf.insert(position, item);
        }
        position -= leaf.len();
    }
    unreachable!("the place is within the leaves");
}

/// Moves items over the seam between two neighbours so that the left one has `left_len`.
fn share_leaves(left: Leaf, right: Leaf, left_len: usize) {
    let len = left.len();
    if len < left_len {
        right.move_to(0, left, len, left_len - len);
    } else {
        left.move_to(left_len, right, 0, len - left_len);
    }
}
