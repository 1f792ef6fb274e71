//! Random operations against a sorted vector, with the shape of the tree checked along the way.

use base::rng::Rng;

use super::*;
use crate::member::Member;

impl Ordered {
    /// Asserts everything that is believed about the shape: order, counts, first items, fill.
    pub(crate) fn check(&self) {
        let Some(root) = self.root else {
            assert_eq!((self.len, self.height, self.bytes), (0, 0, 0));
            return;
        };
        let mut items = Vec::new();
        let bytes = self.check_below(root, self.height, true, true, &mut items);
        assert_eq!(bytes, self.bytes);
        assert_eq!(items.len(), self.len);
        for pair in items.windows(2) {
            assert!(key(pair[0]) < key(pair[1]), "items ascend");
        }
    }

    fn check_below(
        &self,
        node: Node,
        height: usize,
        leftmost: bool,
        rightmost: bool,
        items: &mut Vec<Item>,
    ) -> usize {
        if height == 0 {
            let leaf = Leaf(node);
            assert!(leaf.len() <= leaf.capacity() && leaf.len() > 0);
            if self.height > 0 {
                assert_eq!(leaf.capacity(), LEAF_CAPACITY);
                assert!(leaf.len() >= LEAF_MIN || leftmost || rightmost, "inner leaves are filled");
            }
            items.extend_from_slice(leaf.items());
            return Leaf::layout(leaf.capacity()).size();
        }
        let inner = InnerNode(node).get();
        assert!((2..=INNER_CAPACITY).contains(&inner.len()));
        assert!(inner.len() >= INNER_MIN || leftmost || rightmost, "inner nodes are filled");
        let mut bytes = size_of::<Inner>();
        for index in 0..inner.len() {
            let start = items.len();
            let (leftmost, rightmost) = (leftmost && index == 0, rightmost && index + 1 == inner.len());
            bytes += self.check_below(inner.nodes[index], height - 1, leftmost, rightmost, items);
            assert_eq!(items.len() - start, inner.counts[index], "counts add up");
            if index > 0 {
                assert!(inner.first[index].member == items[start].member, "first items are known");
                assert_eq!(inner.first[index].score, items[start].score);
            }
        }
        bytes
    }

    fn to_vec(&self) -> Vec<Item> {
        let mut items = Vec::new();
        while let Some((leaf, place)) = self.leaf_at(items.len()) {
            assert_eq!(place, 0);
            items.extend_from_slice(leaf);
        }
        items
    }
}

/// Returns what an item is ordered by, in a form the standard library can compare.
fn key(item: Item) -> (i64, Vec<u8>) {
    let bits = (item.score + 0.0).to_bits() as i64;
    // SAFETY: The tests keep every member they insert.
    (bits ^ (((bits >> 63) as u64) >> 1) as i64, unsafe { item.member.bytes() }.to_vec())
}

/// A tree and the sorted vector it should equal.
struct Pair {
    tree: Ordered,
    model: Vec<Item>,
    owned: Vec<Member>,
}

impl Pair {
    fn new() -> Pair {
        Pair { tree: Ordered::new(), model: Vec::new(), owned: Vec::new() }
    }

    fn insert(&mut self, score: f64) {
        let member = Member::new(format!("member:{}", self.owned.len() * 7919 % 100_003).as_bytes(), score);
        let item = Item { score, member: member.pointer() };
        self.owned.push(member);
        // SAFETY: `owned` keeps the member until the end.
        unsafe { self.tree.insert(item) };
        let place = self.model.partition_point(|other| key(*other) < key(item));
        self.model.insert(place, item);
    }

    fn remove(&mut self, rank: usize) {
        self.tree.remove(self.model.remove(rank));
    }

    fn rescore(&mut self, rank: usize, score: f64) {
        let item = self.model.remove(rank);
        self.tree.rescore(item, score);
        let item = Item { score, member: item.member };
        let place = self.model.partition_point(|other| key(*other) < key(item));
        self.model.insert(place, item);
    }

    fn remove_range(&mut self, start: usize, count: usize) {
        let mut removed = Vec::new();
        while removed.len() < count {
            let limit = count - removed.len();
            let before = removed.len();
            let some = self.tree.remove_some(start, limit, |item| removed.push(key(item)));
            assert!(some > 0 && removed.len() == before + some);
        }
        let expected: Vec<_> = self.model.drain(start..start + count).map(key).collect();
        assert_eq!(removed, expected);
    }

    fn check(&self) {
        self.tree.check();
        let keys = |items: &[Item]| items.iter().map(|item| key(*item)).collect::<Vec<_>>();
        assert_eq!(keys(&self.tree.to_vec()), keys(&self.model));
    }

    fn check_searches(&self, rng: &mut Rng) {
        for _ in 0..20.min(self.model.len()) {
            let rank = rng.below(self.model.len() as u64) as usize;
            let item = self.model[rank];
            assert_eq!(self.tree.rank(item), rank);
            let (leaf, place) = self.tree.leaf_at(rank).unwrap();
            assert!(leaf[place].member == item.member);
            let below = self.model.partition_point(|other| other.score < item.score);
            assert_eq!(self.tree.partition_point(|other| other.score < item.score), below);
        }
        assert!(self.tree.leaf_at(self.model.len()).is_none());
    }
}

/// Grows, churns and shrinks a tree with scores drawn by `draw`.
fn churn(seed: u64, steps: usize, mut draw: impl FnMut(&mut Rng, usize) -> f64) {
    let mut rng = Rng::seeded(seed);
    let mut pair = Pair::new();
    for step in 0..steps {
        let len = pair.model.len() as u64;
        // The share of insertions goes from nearly all to few, so the tree grows and then empties.
        let growing = rng.float() > 0.9 * step as f64 / steps as f64;
        match rng.below(100) {
            _ if len == 0 || growing => {
                let score = draw(&mut rng, step);
                pair.insert(score);
            }
            0..30 => pair.rescore(rng.below(len) as usize, draw(&mut Rng::seeded(step as u64), step)),
            30..90 => pair.remove(rng.below(len) as usize),
            _ => {
                let start = rng.below(len);
                let count = rng.below((len - start).min(200)) as usize;
                pair.remove_range(start as usize, count);
            }
        }
        if step % 97 == 0 {
            pair.check();
            pair.check_searches(&mut rng);
        }
    }
    pair.check();
    let left = pair.model.len();
    pair.remove_range(0, left);
    pair.check();
}

#[test]
fn it_agrees_with_a_sorted_vector_when_scores_are_random() {
    for seed in 0..3 {
        churn(seed, 8_000, |rng, _| rng.float() * 2000.0 - 1000.0);
    }
}

#[test]
fn it_agrees_with_a_sorted_vector_when_scores_tie() {
    churn(10, 6_000, |rng, _| rng.below(5) as f64);
    churn(11, 6_000, |_, _| 0.0);
}

#[test]
fn it_agrees_with_a_sorted_vector_when_scores_ascend_or_descend() {
    churn(20, 6_000, |_, step| step as f64);
    churn(21, 6_000, |_, step| -(step as f64));
}

#[test]
fn zeros_and_infinities_find_their_place() {
    const SCORES: [f64; 6] = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, -f64::MAX];
    churn(30, 3_000, |rng, _| SCORES[rng.below(6) as usize]);
}

#[test]
fn a_queue_stays_well_filled() {
    let mut pair = Pair::new();
    for score in 0..5_000 {
        pair.insert(f64::from(score));
    }
    pair.check();
    let leaves = 5_000usize.div_ceil(LEAF_CAPACITY);
    assert!(pair.tree.heap_size() < leaves * 1100, "ascending scores fill leaves to the brim");
    for score in 5_000..20_000 {
        pair.insert(f64::from(score));
        pair.remove(0);
    }
    pair.check();
    assert!(pair.tree.heap_size() < leaves * 1200);
}

#[test]
fn random_insertion_fills_leaves_by_four_fifths() {
    let mut rng = Rng::seeded(7);
    let mut pair = Pair::new();
    for _ in 0..20_000 {
        pair.insert(rng.float());
    }
    pair.check();
    let per_item = pair.tree.heap_size() as f64 / 20_000.0;
    assert!(per_item < 20.5, "{per_item} bytes per item");
}

#[test]
fn a_small_tree_is_a_small_leaf() {
    let mut pair = Pair::new();
    for score in 0..8 {
        pair.insert(f64::from(score));
    }
    assert_eq!(pair.tree.heap_size(), 136);
    pair.insert(8.0);
    assert_eq!(pair.tree.heap_size(), 264);
    pair.check();
}

#[test]
fn a_tall_tree_grows_and_shrinks_again() {
    let mut rng = Rng::seeded(8);
    let mut pair = Pair::new();
    for _ in 0..60_000 {
        pair.insert(rng.float());
    }
    assert!(pair.tree.height >= 3);
    pair.check();
    pair.check_searches(&mut rng);
    // Ranges that span many leaves and whole inner nodes.
    while pair.model.len() > 20_000 {
        let start = rng.below(pair.model.len() as u64 - 3_000) as usize;
        pair.remove_range(start, rng.below(3_000) as usize);
        pair.tree.check();
    }
    while !pair.model.is_empty() {
        pair.remove(rng.below(pair.model.len() as u64) as usize);
        if pair.model.len().is_multiple_of(501) {
            pair.check();
            pair.check_searches(&mut rng);
        }
    }
    pair.tree.check();
}
