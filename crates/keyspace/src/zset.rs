//! Sorted sets: a listpack of member-score pairs in order while small, a ranked set when large.
//!
//! Owns the choice between the two and how scores are stored in a listpack. Ranges of any kind are intervals of
//! ranks, counted from the lowest score. Leaves the large encoding to `structures::ranked`.
//!
//! ```text
//! listpack   member 1 | score 1 | member 2 | score 2 | …      by score, then by bytes
//! score      an integer where it is one, else its shortest text
//! ```

use std::ops::Range;

use base::hash::HashSeed;
use base::number::{parse_f64, push_f64};
use base::rng::Rng;
use structures::listpack::{self, Pos};
use structures::{Item, LexBound, Listpack, RankedSet, ScoreBound, ranked};

use crate::Limits;

/// A sorted set in one of its encodings.
#[derive(Clone)]
pub enum ZSet {
    Packed(Listpack),
    Ranked(Box<RankedSet>),
}

impl ZSet {
    /// Returns an empty sorted set.
    pub fn new() -> ZSet {
        ZSet::Packed(Listpack::new())
    }

    /// Returns the number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            ZSet::Packed(pack) => pack.len() / 2,
            ZSet::Ranked(ranked) => ranked.len(),
        }
    }

    /// Returns whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            ZSet::Packed(_) => "listpack",
            ZSet::Ranked(_) => "skiplist",
        }
    }

    /// Returns roughly how many allocations freeing it takes.
    pub fn effort(&self) -> usize {
        match self {
            ZSet::Packed(_) => 1,
            ZSet::Ranked(ranked) => ranked.len(),
        }
    }

    /// Returns the bytes on the heap.
    pub fn heap_size(&self) -> usize {
        match self {
            ZSet::Packed(pack) => pack.byte_len(),
            ZSet::Ranked(ranked) => ranked.heap_size(),
        }
    }

    /// Returns the score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            ZSet::Packed(pack) => {
                let at = pack.find(member, 1)?;
                Some(score_after(pack, at))
            }
            ZSet::Ranked(ranked) => ranked.score(member),
        }
    }

    /// Returns how many members come before this one, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            ZSet::Packed(pack) => {
                let mut pairs = pack.pairs().enumerate();
                pairs.find_map(|(rank, (item, score))| item.is(member).then(|| (rank, score_of(score))))
            }
            ZSet::Ranked(ranked) => ranked.rank_and_score(member),
        }
    }

    /// Gives up the listpack at once if `additional` members, added one by one, would anyway.
    pub fn expect(&mut self, additional: usize, limits: &Limits, seed: HashSeed) {
        if additional > limits.zset_entries && matches!(self, ZSet::Packed(_)) {
            self.spread(additional, seed);
        }
    }

    /// Sets the score of a member, adding it if need be; returns the score it had.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &Limits, seed: HashSeed) -> Option<f64> {
        self.update(member, limits, seed, |_| Some(score))
    }

    /// Sets the score of a member to what `decide` makes of the one it has, if any; returns the score it had.
    ///
    /// Deciding for `None` leaves the sorted set as it is.
    #[inline]
    pub fn update(
        &mut self,
        member: &[u8],
        limits: &Limits,
        seed: HashSeed,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Option<f64> {
        let ranked = match self {
            ZSet::Ranked(ranked) => ranked,
            ZSet::Packed(pack) => {
                if let Some(at) = pack.find(member, 1) {
                    let old = score_after(pack, at);
                    if let Some(score) = decide(Some(old))
                        && score != old
                    {
                        rescore(pack, at, member, score);
                    }
                    return Some(old);
                }
                let score = decide(None)?;
                if pack.len() / 2 < limits.zset_entries
                    && member.len() <= limits.zset_value
                    && pack.has_room_for(member.len())
                {
                    let first = pack.first();
                    place(pack, first, member, score);
                } else {
                    self.spread(1, seed).insert(member, score);
                }
                return None;
            }
        };
        ranked.update(member, decide)
    }

    /// Removes a member; returns the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self {
            ZSet::Packed(pack) => {
                let at = pack.find(member, 1)?;
                let score = score_after(pack, at);
                pack.remove_range(at, 2);
                Some(score)
            }
            ZSet::Ranked(ranked) => ranked.remove(member),
        }
    }

    /// Removes the members of an interval of ranks; returns how many there were.
    pub fn remove_range(&mut self, ranks: Range<usize>) -> usize {
        match self {
            ZSet::Packed(pack) => {
                let count = ranks.end.saturating_sub(ranks.start);
                pack.remove_indexes(2 * ranks.start as isize, 2 * count) / 2
            }
            ZSet::Ranked(ranked) => ranked.remove_range(ranks, |_, _| {}),
        }
    }

    /// Removes the member with the lowest or the highest score after showing it to `take`.
    pub fn pop<R>(&mut self, end: End, take: impl FnOnce(&[u8], f64) -> R) -> Option<R> {
        match self {
            ZSet::Packed(pack) => {
                let at = match end {
                    End::Lowest => pack.first()?,
                    End::Highest => pack.prev(pack.last()?)?,
                };
                let taken = take(pack.at(at).text().as_bytes(), score_after(pack, at));
                pack.remove_range(at, 2);
                Some(taken)
            }
            ZSet::Ranked(ranked) => {
                let member = match end {
                    End::Lowest => ranked.pop_first()?,
                    End::Highest => ranked.pop_last()?,
                };
                Some(take(member.bytes(), member.score()))
            }
        }
    }

    /// Returns all members from the lowest score to the highest.
    pub fn iter(&self) -> Members<'_> {
        self.range(0..self.len(), End::Lowest)
    }

    /// Returns the members of an interval of ranks, beginning at one of its ends.
    pub fn range(&self, ranks: Range<usize>, from: End) -> Members<'_> {
        let ranks = ranks.start..ranks.end.min(self.len());
        let left = ranks.len();
        let walk = match (self, from) {
            _ if left == 0 => return Members { walk: Walk::Nothing, left },
            (ZSet::Packed(pack), End::Lowest) => {
                let at = pack.seek(2 * ranks.start as isize).expect("the range is within the set");
                Walk::Packed(pack.iter_from(at))
            }
            (ZSet::Packed(pack), End::Highest) => {
                let at = pack.seek(2 * ranks.end as isize - 1).expect("the range is within the set");
                Walk::PackedBack(pack.iter_through(at))
            }
            (ZSet::Ranked(ranked), End::Lowest) => Walk::Ranked(ranked.range(ranks)),
            (ZSet::Ranked(ranked), End::Highest) => Walk::RankedBack(ranked.range(ranks)),
        };
        Members { walk, left }
    }

    /// Returns the member that `rank` others come before.
    pub fn get(&self, rank: usize) -> Option<(Item<'_>, f64)> {
        match self {
            ZSet::Packed(pack) => {
                let at = pack.seek(2 * rank as isize)?;
                Some((pack.at(at), score_after(pack, at)))
            }
            ZSet::Ranked(ranked) => {
                ranked.get_by_rank(rank).map(|(member, score)| (Item::Bytes(member), score))
            }
        }
    }

    /// Returns a member by chance.
    pub fn random(&self, rng: &mut Rng) -> Option<(Item<'_>, f64)> {
        match self.len() {
            0 => None,
            len => self.get(rng.below(len as u64) as usize),
        }
    }

    /// Returns the ranks of the members whose scores are between two bounds.
    pub fn range_by_score(&self, min: ScoreBound, max: ScoreBound) -> Range<usize> {
        match self {
            ZSet::Packed(pack) => {
                let scores = pack.pairs().map(|(_, score)| score_of(score));
                interval(scores, |score| min.admits_from(*score), |score| max.admits_until(*score))
            }
            ZSet::Ranked(ranked) => ranked.range_by_score(min, max),
        }
    }

    /// Returns the ranks of the members whose bytes are between two bounds, all scores being equal.
    pub fn range_by_lex(&self, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
        match self {
            ZSet::Packed(pack) => {
                let members = pack.pairs().map(|(member, _)| member.text());
                interval(
                    members,
                    |text| min.admits_from(text.as_bytes()),
                    |text| max.admits_until(text.as_bytes()),
                )
            }
            ZSet::Ranked(ranked) => ranked.range_by_lex(min, max),
        }
    }

    /// Visits some members from `cursor` on and returns the next cursor, 0 at the end.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        match self {
            ZSet::Packed(pack) => {
                pack.pairs().for_each(|(member, score)| visit(member.text().as_bytes(), score_of(score)));
                0
            }
            ZSet::Ranked(ranked) => ranked.scan(cursor, visit),
        }
    }

    /// Returns a set that was built as a large one in the encoding that fits its members.
    pub fn settled(ranked: RankedSet, limits: &Limits) -> ZSet {
        let fits = ranked.len() <= limits.zset_entries
            && ranked.iter().all(|(member, _)| member.len() <= limits.zset_value);
        let bytes = if fits { ranked.iter().map(|(member, _)| member.len()).sum() } else { 0 };
        let mut pack = Listpack::new();
        if !fits || !pack.has_room_for(bytes) {
            return ZSet::Ranked(Box::new(ranked));
        }
        for (member, score) in ranked.iter() {
            pack.push_back(member);
            with_score_item(score, |item| pack.push_back(item));
        }
        ZSet::Packed(pack)
    }

    /// Makes a ranked set of a listpack, with room for `additional` members.
    fn spread(&mut self, additional: usize, seed: HashSeed) -> &mut RankedSet {
        if let ZSet::Packed(pack) = self {
            let mut ranked = RankedSet::new(seed);
            ranked.reserve(pack.len() / 2 + additional);
            for (member, score) in pack.pairs() {
                ranked.insert(member.text().as_bytes(), score_of(score));
            }
            *self = ZSet::Ranked(Box::new(ranked));
        }
        match self {
            ZSet::Ranked(ranked) => ranked,
            ZSet::Packed(_) => unreachable!("spread above"),
        }
    }
}

/// One of the ends of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Lowest,
    Highest,
}

/// Members with their scores, made by [`ZSet::range`].
pub struct Members<'a> {
    walk: Walk<'a>,
    left: usize,
}

enum Walk<'a> {
    Nothing,
    Packed(listpack::Iter<'a>),
    PackedBack(listpack::Iter<'a>),
    Ranked(ranked::Iter<'a>),
    RankedBack(ranked::Iter<'a>),
}

impl<'a> Iterator for Members<'a> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, f64)> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.walk {
            Walk::Nothing => None,
            Walk::Packed(items) => Some((items.next()?, score_of(items.next()?))),
            Walk::PackedBack(items) => {
                let score = score_of(items.next_back()?);
                Some((items.next_back()?, score))
            }
            Walk::Ranked(members) => members.next().map(|(member, score)| (Item::Bytes(member), score)),
            Walk::RankedBack(members) => {
                members.next_back().map(|(member, score)| (Item::Bytes(member), score))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Members<'_> {}

/// Returns which of some ordered things are within two bounds.
fn interval<T>(
    mut things: impl Iterator<Item = T>,
    above_min: impl Fn(&T) -> bool,
    below_max: impl Fn(&T) -> bool,
) -> Range<usize> {
    let (mut start, mut next) = (0, things.next());
    while let Some(thing) = &next
        && !above_min(thing)
    {
        start += 1;
        next = things.next();
    }
    let mut end = start;
    while let Some(thing) = &next
        && below_max(thing)
    {
        end += 1;
        next = things.next();
    }
    start..end
}

/// Returns the score that an element of a listpack stands for.
#[inline]
fn score_of(item: Item<'_>) -> f64 {
    match item {
        Item::Int(score) => score as f64,
        Item::Bytes(text) => parse_f64(text).unwrap_or_default(),
    }
}

/// Returns the score of the member at `at`.
#[inline]
fn score_after(pack: &Listpack, at: Pos) -> f64 {
    score_of(pack.at(pack.next(at).expect("each member is followed by its score")))
}

/// Shows `store` the element that a score is stored as; the sign of a zero is lost, as it is in Redis.
fn with_score_item<R>(score: f64, store: impl FnOnce(Item<'_>) -> R) -> R {
    /// Half of the `i64` range: beyond it a cast to an integer is not trusted.
    const SAFE: f64 = (1i64 << 62) as f64;
    if (-SAFE..=SAFE).contains(&score) && score as i64 as f64 == score {
        return store(Item::Int(score as i64));
    }
    let mut text = Vec::with_capacity(32);
    push_f64(&mut text, score);
    store(Item::Bytes(&text))
}

/// Puts a new member where it belongs; all members before `from` come before it.
fn place(pack: &mut Listpack, from: Option<Pos>, member: &[u8], score: f64) {
    match from.and_then(|from| successor(pack, from, member, score)) {
        None => {
            pack.push_back(member);
            with_score_item(score, |item| pack.push_back(item));
        }
        Some(at) => {
            let at = pack.insert_before(at, member);
            with_score_item(score, |item| pack.insert_after(at, item));
        }
    }
}

/// Returns where the first member from `from` on begins that comes after a new one; `None` when all come before it.
fn successor(pack: &Listpack, from: Pos, member: &[u8], score: f64) -> Option<Pos> {
    // Scores often grow, and then the place is at the end.
    if score_of(pack.back()?) < score {
        return None;
    }
    let mut items = pack.iter_from(from);
    while let Some(at) = items.pos() {
        items.skip_forward(1);
        let other_score = score_of(items.next()?);
        if other_score > score || other_score == score && pack.at(at).text().as_bytes() > member {
            return Some(at);
        }
    }
    None
}

/// Gives the member at `at` another score, moving it if that changes the order.
fn rescore(pack: &mut Listpack, at: Pos, member: &[u8], score: f64) {
    let score_at = pack.next(at).expect("each member is followed by its score");
    let above = |other: Item<'_>, other_score: f64| {
        other_score < score || other_score == score && other.text().as_bytes() < member
    };
    let below = |other: Item<'_>, other_score: f64| {
        other_score > score || other_score == score && other.text().as_bytes() > member
    };
    let stays_above = pack.prev(at).is_none_or(|before| {
        let other = pack.prev(before).expect("each score follows its member");
        above(pack.at(other), score_of(pack.at(before)))
    });
    let stays_below = pack.next(score_at).is_none_or(|after| below(pack.at(after), score_after(pack, after)));
    if stays_above && stays_below {
        with_score_item(score, |item| pack.replace(score_at, item));
    } else {
        let moves_up = score > score_of(pack.at(score_at));
        pack.remove_range(at, 2);
        let last = pack.last();
        let from =
            if moves_up { Some(at).filter(|at| last.is_some_and(|last| *at < last)) } else { pack.first() };
        place(pack, from, member, score);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: HashSeed = HashSeed([1, 2]);

    /// Sorted pairs, the plainest way to hold the same.
    #[derive(Default)]
    struct Model(Vec<(f64, Vec<u8>)>);

    impl Model {
        fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
            let old = self.remove(member);
            self.0.push((old.filter(|old| *old == score).unwrap_or(score), member.to_vec()));
            self.0.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap().then_with(|| a.1.cmp(&b.1)));
            old
        }

        fn remove(&mut self, member: &[u8]) -> Option<f64> {
            let at = self.0.iter().position(|(_, other)| other == member)?;
            Some(self.0.remove(at).0)
        }
    }

    fn members(members: Members<'_>) -> Vec<(f64, Vec<u8>)> {
        members.map(|(member, score)| (score, member.to_vec())).collect()
    }

    #[test]
    fn random_changes_agree_with_a_sorted_vector() {
        let mut rng = Rng::seeded(7);
        for round in 0..80 {
            let limits = Limits { zset_entries: round % 40, zset_value: 3, ..Limits::default() };
            let (mut zset, mut model) = (ZSet::new(), Model::default());
            for _ in 0..250 {
                let bits = rng.below(9);
                let member = rng.below(1 << bits).to_string().into_bytes();
                let score = match rng.below(8) {
                    0 => f64::INFINITY,
                    1 => rng.float() * 10.0,
                    2 => -1e300,
                    _ => rng.below(20) as f64 - 10.0,
                };
                match rng.below(10) {
                    0 => {
                        let end = if rng.below(2) == 0 { End::Lowest } else { End::Highest };
                        let popped = zset.pop(end, |member, score| (score, member.to_vec()));
                        let at = if end == End::Lowest { 0 } else { model.0.len().saturating_sub(1) };
                        let expected = (!model.0.is_empty()).then(|| model.0.remove(at));
                        assert_eq!(popped, expected);
                    }
                    1 | 2 => assert_eq!(zset.remove(&member), model.remove(&member)),
                    3 => {
                        let start = rng.below(model.0.len() as u64 + 1) as usize;
                        let end = start + rng.below(3) as usize;
                        let removed = model.0.drain(start..end.min(model.0.len())).count();
                        assert_eq!(zset.remove_range(start..end), removed);
                    }
                    4 => {
                        let old = zset.update(&member, &limits, SEED, |old| old.map(|old| old + 1.0));
                        assert_eq!(old, zset.score(&member).map(|_| old.unwrap()));
                        if let Some(old) = old {
                            model.insert(&member, old + 1.0);
                        }
                    }
                    _ => {
                        let old = zset.insert(&member, score, &limits, SEED);
                        assert_eq!(old, model.insert(&member, score));
                    }
                }
                assert!(matches!(zset, ZSet::Ranked(_)) || zset.len() <= limits.zset_entries);
            }
            assert_eq!(members(zset.iter()), model.0);
            let len = model.0.len();
            for _ in 0..20 {
                let start = rng.below(len as u64 + 1) as usize;
                let ranks = start..start + rng.below((len - start) as u64 + 1) as usize;
                assert_eq!(members(zset.range(ranks.clone(), End::Lowest)), model.0[ranks.clone()]);
                let mut backwards = members(zset.range(ranks.clone(), End::Highest));
                backwards.reverse();
                assert_eq!(backwards, model.0[ranks.clone()]);
                let (min, max) =
                    (ScoreBound::exclusive(rng.below(9) as f64 - 9.0), ScoreBound::inclusive(3.0));
                let within = model.0.iter().filter(|(s, _)| min.admits_from(*s) && max.admits_until(*s));
                assert_eq!(zset.range_by_score(min, max).len(), within.count());
            }
            for (rank, (score, member)) in model.0.iter().enumerate() {
                assert_eq!(zset.rank(member), Some((rank, *score)));
                assert_eq!(zset.score(member), Some(*score));
                let (found, found_score) = zset.get(rank).unwrap();
                assert_eq!((found.to_vec(), found_score), (member.clone(), *score));
            }
            assert_eq!(zset.get(len).map(|(_, score)| score), None);
            assert_eq!(zset.random(&mut rng).is_some(), len > 0);
            let mut ranked = RankedSet::new(SEED);
            model.0.iter().for_each(|(score, member)| {
                ranked.insert(member, *score);
            });
            let settled = ZSet::settled(ranked, &Limits::default());
            assert_eq!(settled.encoding(), if len <= 128 { "listpack" } else { "skiplist" });
            assert_eq!(members(settled.iter()), model.0);
        }
    }

    #[test]
    fn members_of_one_score_are_found_by_their_bytes() {
        for zset_entries in [0, 128] {
            let limits = Limits { zset_entries, ..Limits::default() };
            let mut zset = ZSet::new();
            for member in ["a", "b", "10", "9", "c"] {
                zset.insert(member.as_bytes(), 0.0, &limits, SEED);
            }
            let range = |min, max| zset.range_by_lex(min, max);
            assert_eq!(range(LexBound::Lowest, LexBound::Highest), 0..5);
            assert_eq!(range(LexBound::Inclusive(b"9"), LexBound::Exclusive(b"c")), 1..4);
            assert_eq!(range(LexBound::Exclusive(b"b"), LexBound::Highest), 4..5);
            assert!(range(LexBound::Highest, LexBound::Lowest).is_empty());
            assert!(range(LexBound::Inclusive(b"c"), LexBound::Inclusive(b"a")).is_empty());
        }
    }

    #[test]
    fn a_listpack_stores_scores_as_redis_does() {
        let mut zset = ZSet::new();
        for (member, score) in [("a", -0.0), ("b", 1.5), ("c", 3.0), ("d", 1e20), ("e", f64::INFINITY)] {
            zset.insert(member.as_bytes(), score, &Limits::default(), SEED);
        }
        let ZSet::Packed(pack) = &zset else { panic!("five members are few") };
        let stored: Vec<_> = pack.pairs().map(|(_, score)| score).collect();
        let text = |text: &'static str| Item::Bytes(text.as_bytes());
        assert_eq!(stored, [Item::Int(0), text("1.5"), Item::Int(3), text("1e+20"), text("inf")]);
    }

    #[test]
    fn many_at_once_are_not_packed_first() {
        let mut zset = ZSet::new();
        zset.expect(128, &Limits::default(), SEED);
        assert_eq!(zset.encoding(), "listpack");
        zset.expect(129, &Limits::default(), SEED);
        assert_eq!(zset.encoding(), "skiplist");
    }
}
