//! The sorted set: members unique by their bytes, ordered by score and then by bytes.
//!
//! Owns the pairing of a hash table (bytes to member) with a counted tree (order to member), and turns bounds
//! into ranks. Leaves the two halves to `dict` and `ordered`, and commands to others.
//!
//! ```text
//!   dict ──owns──► Member [score | length | bytes] ◄──points── ordered: rank ⇄ (score, bytes)
//! ```
//!
//! Every range, be it by rank, score or bytes, is an interval of ranks: `range_by_*` finds it in O(log n), and
//! [`RankedSet::range`], [`RankedSet::remove_range`] or its length do the rest.

use std::cmp::Ordering;
use std::iter::FusedIterator;
use std::ops::Range;

use base::hash::HashSeed;
use base::rng::Rng;

use crate::dict::{Dict, Retired, Slot};
use crate::member::Member;
use crate::ordered::{Item, Ordered};

/// One end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    pub score: f64,
    /// Whether the score itself is outside of the range.
    pub exclusive: bool,
}

impl ScoreBound {
    /// Returns a bound that lets its own score in.
    pub const fn inclusive(score: f64) -> ScoreBound {
        ScoreBound { score, exclusive: false }
    }

    /// Returns a bound that keeps its own score out.
    pub const fn exclusive(score: f64) -> ScoreBound {
        ScoreBound { score, exclusive: true }
    }

    /// Returns whether `score` is on the inner side of this bound as a minimum.
    #[inline]
    pub fn admits_from(self, score: f64) -> bool {
        if self.exclusive { score > self.score } else { score >= self.score }
    }

    /// Returns whether `score` is on the inner side of this bound as a maximum.
    #[inline]
    pub fn admits_until(self, score: f64) -> bool {
        if self.exclusive { score < self.score } else { score <= self.score }
    }
}

/// One end of a range of members by their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before every member: `-`.
    Lowest,
    /// After every member: `+`.
    Highest,
    /// These bytes are in: `[`.
    Inclusive(&'a [u8]),
    /// These bytes are out: `(`.
    Exclusive(&'a [u8]),
}

impl LexBound<'_> {
    /// Returns whether `member` is on the inner side of this bound as a minimum.
    #[inline]
    pub fn admits_from(self, member: &[u8]) -> bool {
        match self {
            LexBound::Lowest => true,
            LexBound::Highest => false,
            LexBound::Inclusive(bound) => member >= bound,
            LexBound::Exclusive(bound) => member > bound,
        }
    }

    /// Returns whether `member` is on the inner side of this bound as a maximum.
    #[inline]
    pub fn admits_until(self, member: &[u8]) -> bool {
        match self {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Inclusive(bound) => member <= bound,
            LexBound::Exclusive(bound) => member < bound,
        }
    }
}

/// A set of members, each with a score, in order.
pub struct RankedSet {
    members: Dict<Member>,
    order: Ordered,
    member_bytes: usize,
}

impl RankedSet {
    /// Returns an empty set whose hash table is keyed with `seed`.
    pub fn new(seed: HashSeed) -> RankedSet {
        RankedSet { members: Dict::new(seed), order: Ordered::new(), member_bytes: 0 }
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes allocated for members, order and hash table.
    pub fn heap_size(&self) -> usize {
        self.member_bytes + self.order.heap_size() + self.members.bytes()
    }

    /// Takes the memory of a hash table that was replaced, to be freed elsewhere; see [`Dict::take_retired`].
    ///
    /// Kept until the next one is replaced, it would weigh eight bytes a member.
    #[inline]
    pub fn take_retired(&mut self) -> Option<Retired> {
        self.members.take_retired()
    }

    /// Returns the score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.members.get(member).map(Member::score)
    }

    /// Sets the score of a member, adding it if need be; returns the score it had.
    ///
    /// A score equal to the one it has changes nothing, so a zero keeps its sign.
    pub fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        self.update(member, |_| Some(score))
    }

    /// Sets the score of a member to what `decide` makes of the one it has, if any; returns the score it had.
    ///
    /// Deciding for `None` leaves the set as it is.
    #[inline]
    pub fn update(&mut self, member: &[u8], decide: impl FnOnce(Option<f64>) -> Option<f64>) -> Option<f64> {
        match self.members.entry(member) {
            Slot::Occupied(mut slot) => {
                let member = slot.get_mut();
                let old = member.score();
                if let Some(score) = decide(Some(old))
                    && old != score
                {
                    debug_assert!(!score.is_nan(), "NaN is refused before it gets here");
                    self.order.rescore(Item { score: old, member: member.pointer() }, score);
                    member.set_score(score);
                }
                Some(old)
            }
            Slot::Vacant(slot) => {
                let score = decide(None)?;
                debug_assert!(!score.is_nan(), "NaN is refused before it gets here");
                let member = Member::new(member, score);
                let item = Item { score, member: member.pointer() };
                self.member_bytes += member.heap_size();
                slot.insert(member);
                // SAFETY: `members` keeps the member; every method that takes one out takes its item out first.
                unsafe { self.order.insert(item) };
                None
            }
        }
    }

    /// Removes a member; returns the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let Slot::Occupied(slot) = self.members.entry(member) else { return None };
        let score = slot.get().score();
        self.order.remove(Item { score, member: slot.get().pointer() });
        self.member_bytes -= slot.get().heap_size();
        slot.remove();
        Some(score)
    }

    /// Returns how many members come before this one.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        self.rank_and_score(member).map(|(rank, _)| rank)
    }

    /// Returns how many members come before this one, and its score.
    pub fn rank_and_score(&self, member: &[u8]) -> Option<(usize, f64)> {
        let member = self.members.get(member)?;
        let score = member.score();
        Some((self.order.rank(Item { score, member: member.pointer() }), score))
    }

    /// Returns the member that `rank` others come before.
    pub fn get_by_rank(&self, rank: usize) -> Option<(&[u8], f64)> {
        let (items, place) = self.order.leaf_at(rank)?;
        Some(self.view(items[place]))
    }

    /// Returns the member with the lowest score.
    pub fn first(&self) -> Option<(&[u8], f64)> {
        self.get_by_rank(0)
    }

    /// Returns the member with the highest score.
    pub fn last(&self) -> Option<(&[u8], f64)> {
        self.get_by_rank(self.len().checked_sub(1)?)
    }

    /// Removes and returns the member with the lowest score.
    pub fn pop_first(&mut self) -> Option<Member> {
        self.take(0)
    }

    /// Removes and returns the member with the highest score.
    pub fn pop_last(&mut self) -> Option<Member> {
        self.take(self.len().checked_sub(1)?)
    }

    /// Returns a member picked evenly.
    pub fn random(&self, rng: &mut Rng) -> Option<(&[u8], f64)> {
        if self.is_empty() {
            return None;
        }
        self.get_by_rank(rng.below(self.len() as u64) as usize)
    }

    /// Returns all members in order.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len())
    }

    /// Returns the members from a rank to the end, in order.
    pub fn iter_from_rank(&self, rank: usize) -> Iter<'_> {
        self.range(rank..self.len())
    }

    /// Returns the members from a rank down to the first.
    pub fn rev_from_rank(&self, rank: usize) -> std::iter::Rev<Iter<'_>> {
        self.range(0..rank.saturating_add(1)).rev()
    }

    /// Returns the members of a range of ranks in order; `rev` on it goes backwards.
    pub fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        let end = ranks.end.min(self.len());
        Iter { set: self, start: ranks.start.min(end), end, front: &[], back: &[] }
    }

    /// Returns the ranks of the members whose scores are between two bounds.
    pub fn range_by_score(&self, min: ScoreBound, max: ScoreBound) -> Range<usize> {
        let start = self.order.partition_point(|item| !min.admits_from(item.score));
        let end = self.order.partition_point(|item| max.admits_until(item.score));
        start..end.max(start)
    }

    /// Returns the ranks of the members whose bytes are between two bounds, all scores being equal.
    ///
    /// With scores that differ this is some range, as the order is by score first.
    pub fn range_by_lex(&self, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
        let start = match min {
            LexBound::Lowest => 0,
            min => self.order.partition_point(|item| !min.admits_from(self.view(*item).0)),
        };
        let end = match max {
            LexBound::Highest => self.len(),
            max => self.order.partition_point(|item| max.admits_until(self.view(*item).0)),
        };
        start..end.max(start)
    }

    /// Removes the members of a range of ranks, showing each to `f` in order; returns how many there were.
    pub fn remove_range(&mut self, ranks: Range<usize>, mut f: impl FnMut(&[u8], f64)) -> usize {
        let end = ranks.end.min(self.len());
        let count = end.saturating_sub(ranks.start);
        let mut left = count;
        while left > 0 {
            left -= self.order.remove_some(ranks.start, left, |item| {
                // SAFETY: The dict still holds the member, whose item has just been removed from the order.
                let bytes = unsafe { item.member.bytes() };
                let member = self.members.remove(bytes).expect("what is ordered is also in the dict");
                self.member_bytes -= member.heap_size();
                f(member.bytes(), item.score);
            });
        }
        count
    }

    /// Shows some members to `f` and returns the cursor to go on with; 0 starts and ends a scan.
    ///
    /// Members present during a whole scan are shown at least once.
    pub fn scan(&self, cursor: u64, mut f: impl FnMut(&[u8], f64)) -> u64 {
        self.members.scan(cursor, |member| f(member.bytes(), member.score()))
    }

    /// Makes room in the hash table for so many more members at once.
    pub fn reserve(&mut self, additional: usize) {
        self.members.reserve(additional);
    }

    /// Says whether the hash table may be resized as it fills and empties.
    pub fn set_resize_allowed(&mut self, allowed: bool) {
        self.members.set_resize_allowed(allowed);
    }

    /// Goes on with a resizing of the hash table; returns whether there is more to do.
    pub fn rehash_step(&mut self, buckets: usize) -> bool {
        self.members.rehash_step(buckets)
    }

    fn take(&mut self, rank: usize) -> Option<Member> {
        let mut taken = None;
        self.order.remove_some(rank, 1, |item| taken = Some(item.member));
        // SAFETY: The dict still holds the member, whose item has just been removed from the order.
        let bytes = unsafe { taken?.bytes() };
        let member = self.members.remove(bytes).expect("what is ordered is also in the dict");
        self.member_bytes -= member.heap_size();
        Some(member)
    }

    /// Returns what an item of this set's own order stands for.
    #[inline]
    fn view(&self, item: Item) -> (&[u8], f64) {
        // SAFETY: Items in the order point to members in the dict, which cannot change while `self` is borrowed.
        (unsafe { item.member.bytes() }, item.score)
    }
}

impl Clone for RankedSet {
    fn clone(&self) -> RankedSet {
        let mut copy = RankedSet::new(self.members.seed());
        copy.members.reserve(self.len());
        // In order, each member goes to the end of the last leaf.
        for (member, score) in self.iter() {
            copy.insert(member, score);
        }
        copy
    }
}

/// A set that is built from members of which each comes once: quickest in the order of their ranks, or against it.
pub struct Builder {
    members: Dict<Member>,
    /// Members not yet in the table, which takes several at a time.
    fresh: Vec<Member>,
    /// An item for each member, whose memory `members` or `fresh` holds unless `repeated`.
    items: Vec<Item>,
    member_bytes: usize,
    repeated: bool,
}

/// Members that a builder puts into its table at a time.
const FRESH_MAX: usize = 32;

impl Builder {
    /// Returns the builder of a set that is expected to get so many members, keyed with `seed`.
    pub fn new(seed: HashSeed, expected: usize) -> Builder {
        let mut members = Dict::new(seed);
        members.reserve(expected);
        let (fresh, items) = (Vec::with_capacity(FRESH_MAX), Vec::with_capacity(expected));
        Builder { members, fresh, items, member_bytes: 0, repeated: false }
    }

    /// Adds a member, whose score is not NaN; one that was there before makes [`Builder::finish`] fail.
    pub fn push(&mut self, bytes: &[u8], score: f64) {
        if self.repeated {
            return;
        }
        let member = Member::new(bytes, score);
        self.member_bytes += member.heap_size();
        self.items.push(Item { score, member: member.pointer() });
        self.fresh.push(member);
        if self.fresh.len() == FRESH_MAX {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.repeated |= self.members.insert_all(&mut self.fresh).is_err();
    }

    /// Returns the set, or nothing if a member came twice.
    pub fn finish(mut self) -> Option<RankedSet> {
        self.settle();
        if self.repeated {
            return None;
        }
        // SAFETY: nothing was repeated, so the table holds the member of every item.
        let bytes = |item: &Item| unsafe { item.member.bytes() };
        let order = |a: &Item, b: &Item| {
            a.score.partial_cmp(&b.score).unwrap_or(Ordering::Equal).then_with(|| bytes(a).cmp(bytes(b)))
        };
        if self.items.is_sorted_by(|a, b| order(a, b).is_gt()) {
            self.items.reverse();
        } else if !self.items.is_sorted_by(|a, b| order(a, b).is_lt()) {
            self.items.sort_unstable_by(order);
        }
        // SAFETY: the table keeps the members; every method that takes one out takes its item out first.
        let order = unsafe { Ordered::from_sorted(&self.items) };
        Some(RankedSet { members: self.members, order, member_bytes: self.member_bytes })
    }
}

/// Members of a range of ranks, from both ends; made by [`RankedSet::range`].
pub struct Iter<'a> {
    set: &'a RankedSet,
    start: usize,
    end: usize,
    /// What is left of the leaf that holds `start`; it may reach beyond `end`.
    front: &'a [Item],
    /// What is left of the leaf that holds `end - 1`; it may begin before `start`.
    back: &'a [Item],
}

impl<'a> Iter<'a> {
    #[cold]
    fn enter_front(&mut self) {
        let (items, place) = self.set.order.leaf_at(self.start).expect("the range is within the set");
        self.front = &items[place..];
        // The members lie scattered; asked for together they arrive together.
        self.front.iter().take(self.end - self.start).for_each(|item| item.member.prefetch());
    }

    #[cold]
    fn enter_back(&mut self) {
        let (items, place) = self.set.order.leaf_at(self.end - 1).expect("the range is within the set");
        self.back = &items[..=place];
        self.back.iter().rev().take(self.end - self.start).for_each(|item| item.member.prefetch());
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.start == self.end {
            return None;
        }
        if self.front.is_empty() {
            self.enter_front();
        }
        let (item, rest) = self.front.split_first()?;
        self.front = rest;
        self.start += 1;
        Some(self.set.view(*item))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.start, Some(self.end - self.start))
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        let skipped = n.min(self.end - self.start);
        self.front = self.front.get(skipped..).unwrap_or_default();
        self.start += skipped;
        self.next()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.start == self.end {
            return None;
        }
        if self.back.is_empty() {
            self.enter_back();
        }
        let (item, rest) = self.back.split_last()?;
        self.back = rest;
        self.end -= 1;
        Some(self.set.view(*item))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests;
