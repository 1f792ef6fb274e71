//! Random operations against a map and a sorted set of the standard library.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A score as the standard library can order it; both zeros are one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Score(f64);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Score) -> std::cmp::Ordering {
        self.0.partial_cmp(&other.0).expect("no score is NaN")
    }
}

#[derive(Default)]
struct Model {
    scores: BTreeMap<Vec<u8>, f64>,
    order: BTreeSet<(Score, Vec<u8>)>,
}

impl Model {
    fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let old = self.remove(member);
        // As in the set itself, an equal score is not stored over the old one.
        let score = old.filter(|old| *old == score).unwrap_or(score);
        self.scores.insert(member.to_vec(), score);
        self.order.insert((Score(score), member.to_vec()));
        old
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let old = self.scores.remove(member)?;
        self.order.remove(&(Score(old), member.to_vec()));
        Some(old)
    }

    fn to_vec(&self) -> Vec<(Vec<u8>, f64)> {
        self.order.iter().map(|(score, member)| (member.clone(), score.0)).collect()
    }

    fn nth(&self, rank: usize) -> (Vec<u8>, f64) {
        let (score, member) = self.order.iter().nth(rank).unwrap();
        (member.clone(), score.0)
    }
}

fn owned((member, score): (&[u8], f64)) -> (Vec<u8>, f64) {
    (member.to_vec(), score)
}

fn set() -> RankedSet {
    RankedSet::new(HashSeed([1, 2]))
}

fn member(rng: &mut Rng) -> Vec<u8> {
    let n = rng.below(3000);
    match n % 50 {
        0 => vec![b'x'; n as usize],
        1 => n.to_be_bytes().to_vec(),
        _ => n.to_string().into_bytes(),
    }
}

fn check(set: &RankedSet, model: &Model, rng: &mut Rng) {
    set.order.check();
    let expected = model.to_vec();
    assert_eq!(set.len(), expected.len());
    assert_eq!(set.members.len(), expected.len());
    assert_eq!(set.iter().map(owned).collect::<Vec<_>>(), expected);
    let backwards: Vec<_> = set.iter().rev().map(owned).collect();
    assert!(backwards.iter().eq(expected.iter().rev()));
    let bytes: usize = set.members.iter().map(Member::heap_size).sum();
    assert_eq!(set.member_bytes, bytes);
    assert_eq!(set.first().map(owned), expected.first().cloned());
    assert_eq!(set.last().map(owned), expected.last().cloned());
    assert_eq!(set.get_by_rank(set.len()), None);

    for _ in 0..50 {
        let start = rng.below(set.len() as u64 + 1) as usize;
        let end = rng.below(set.len() as u64 + 2) as usize;
        let range = expected.get(start..end.min(expected.len())).unwrap_or_default();
        assert_eq!(set.range(start..end).map(owned).collect::<Vec<_>>(), range);
        assert!(set.range(start..end).rev().map(owned).eq(range.iter().rev().cloned()));
        assert!(set.iter_from_rank(start).map(owned).eq(expected[start..].iter().cloned()));
        assert!(set.rev_from_rank(start).map(owned).eq(expected.iter().take(start + 1).rev().cloned()));
        assert_eq!(set.iter().nth(start).map(owned), expected.get(start).cloned());
        if let Some((member, score)) = expected.get(start) {
            assert_eq!(set.rank_and_score(member), Some((start, *score)));
            assert_eq!(set.score(member).map(f64::to_bits), Some(score.to_bits()));
            assert_eq!(set.get_by_rank(start), Some((&member[..], *score)));
        }

        let mut bound = || ScoreBound { score: rng.below(40) as f64 - 20.0, exclusive: rng.below(2) == 0 };
        let (min, max) = (bound(), bound());
        let ranks = set.range_by_score(min, max);
        let inside = |score: f64| min.admits_from(score) && max.admits_until(score);
        assert_eq!(ranks.len(), expected.iter().filter(|(_, score)| inside(*score)).count());
        assert!(set.range(ranks).all(|(_, score)| inside(score)));
    }
}

fn churn(seed: u64, steps: usize, draw: fn(&mut Rng) -> f64) {
    let mut rng = Rng::seeded(seed);
    let (mut set, mut model) = (set(), Model::default());
    for step in 0..steps {
        let name = member(&mut rng);
        match rng.below(100) {
            0..55 => {
                let score = draw(&mut rng);
                assert_eq!(set.insert(&name, score), model.insert(&name, score));
            }
            55..80 => assert_eq!(set.remove(&name), model.remove(&name)),
            80..85 => {
                assert_eq!(set.score(&name), model.scores.get(&name).copied());
                let rank = model.order.iter().position(|(_, member)| *member == name);
                assert_eq!(set.rank(&name), rank);
            }
            85..90 if !set.is_empty() => {
                let expected = model.nth(0);
                let popped = set.pop_first().unwrap();
                assert_eq!((popped.bytes().to_vec(), popped.score()), expected);
                model.remove(&expected.0);
            }
            90..95 if !set.is_empty() => {
                let expected = model.nth(set.len() - 1);
                let popped = set.pop_last().unwrap();
                assert_eq!((popped.bytes().to_vec(), popped.score()), expected);
                model.remove(&expected.0);
            }
            95..96 => {
                let start = rng.below(set.len() as u64 + 1) as usize;
                let end = start + rng.below(150) as usize;
                let mut removed = Vec::new();
                let count =
                    set.remove_range(start..end, |member, score| removed.push((member.to_vec(), score)));
                let all = model.to_vec();
                assert_eq!(removed, all[start..end.min(all.len())]);
                assert_eq!(removed.len(), count);
                removed.iter().for_each(|(member, _)| assert!(model.remove(member).is_some()));
            }
            _ => {}
        }
        if step % 499 == 0 {
            check(&set, &model, &mut rng);
        }
    }
    check(&set, &model, &mut rng);
    set.remove_range(0..usize::MAX, |_, _| {});
    assert!(set.is_empty() && set.member_bytes == 0);
}

#[test]
fn it_agrees_with_the_model_when_scores_vary() {
    churn(1, 12_000, |rng| rng.float() * 40.0 - 20.0);
}

#[test]
fn it_agrees_with_the_model_when_scores_tie() {
    churn(2, 12_000, |rng| rng.below(10) as f64 - 5.0);
    churn(3, 12_000, |_| 1.0);
}

#[test]
fn it_agrees_with_the_model_on_zeros_and_infinities() {
    churn(4, 6_000, |rng| [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1e300][rng.below(5) as usize]);
}

#[test]
fn a_zero_keeps_its_sign_when_the_other_zero_is_set() {
    let mut set = set();
    set.insert(b"a", -0.0);
    assert_eq!(set.insert(b"a", 0.0), Some(-0.0));
    assert!(set.score(b"a").unwrap().is_sign_negative());
}

#[test]
fn ranges_by_bytes_hold_when_scores_are_equal() {
    let mut set = set();
    for n in 0..1000 {
        set.insert(format!("{n:03}").as_bytes(), 0.0);
    }
    let range = |min, max| set.range_by_lex(min, max);
    assert_eq!(range(LexBound::Lowest, LexBound::Highest), 0..1000);
    assert_eq!(range(LexBound::Highest, LexBound::Lowest).len(), 0);
    assert_eq!(range(LexBound::Lowest, LexBound::Lowest).len(), 0);
    assert_eq!(range(LexBound::Inclusive(b"100"), LexBound::Inclusive(b"200")), 100..201);
    assert_eq!(range(LexBound::Exclusive(b"100"), LexBound::Exclusive(b"200")), 101..200);
    assert_eq!(range(LexBound::Inclusive(b"5"), LexBound::Exclusive(b"6")), 500..600);
    assert_eq!(range(LexBound::Inclusive(b"6"), LexBound::Inclusive(b"5")).len(), 0);
    assert_eq!(range(LexBound::Exclusive(b""), LexBound::Inclusive(b"\xff")), 0..1000);
}

#[test]
fn ranges_by_score_respect_exclusive_and_infinite_bounds() {
    let mut set = set();
    for n in 0..10 {
        set.insert(&[b'a' + n], f64::from(n / 2));
    }
    set.insert(b"low", f64::NEG_INFINITY);
    set.insert(b"high", f64::INFINITY);
    let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
    let inclusive = ScoreBound::inclusive;
    let exclusive = ScoreBound::exclusive;
    assert_eq!(set.range_by_score(inclusive(low), inclusive(high)), 0..12);
    assert_eq!(set.range_by_score(exclusive(low), exclusive(high)), 1..11);
    assert_eq!(set.range_by_score(inclusive(1.0), inclusive(2.0)), 3..7);
    assert_eq!(set.range_by_score(exclusive(1.0), inclusive(2.0)), 5..7);
    assert_eq!(set.range_by_score(inclusive(1.0), exclusive(2.0)), 3..5);
    assert_eq!(set.range_by_score(exclusive(1.0), exclusive(1.0)).len(), 0);
    assert_eq!(set.range_by_score(inclusive(2.0), inclusive(1.0)).len(), 0);
    assert_eq!(set.range_by_score(inclusive(-0.0), inclusive(0.0)), 1..3);
}

#[test]
fn a_set_may_be_freed_on_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&set());
}

#[test]
fn a_scan_shows_every_member_and_random_picks_reach_them_all() {
    let mut set = set();
    for n in 0..500 {
        set.insert(n.to_string().as_bytes(), f64::from(n));
    }
    let mut seen = BTreeSet::new();
    let mut cursor = 0;
    loop {
        cursor = set.scan(cursor, |member, score| {
            assert_eq!(member, score.to_string().as_bytes());
            seen.insert(member.to_vec());
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), 500);
    let mut rng = Rng::seeded(5);
    for _ in 0..10_000 {
        seen.remove(set.random(&mut rng).unwrap().0);
    }
    assert!(seen.is_empty());
}

#[test]
fn a_copy_has_all_members_and_its_own() {
    let mut set = RankedSet::new(HashSeed([1, 2]));
    for n in 0..3000u32 {
        set.insert(format!("member {n}").as_bytes(), f64::from(n % 100));
    }
    let mut copy = set.clone();
    assert!(copy.iter().eq(set.iter()));
    copy.insert(b"member 1", 7.5);
    copy.remove(b"member 2");
    assert_eq!((set.score(b"member 1"), set.score(b"member 2")), (Some(1.0), Some(2.0)));
    assert_eq!((copy.len(), set.len()), (2999, 3000));
}

#[test]
fn a_set_built_at_once_is_the_one_built_step_by_step() {
    let mut rng = Rng::seeded(5);
    for count in [0, 1, 7, 8, 9, 60, 61, 64, 65, 500, 1680, 1681, 1700, 60_000] {
        let mut members: Vec<_> = (0..count)
            .map(|n| (format!("m{n}").into_bytes(), (rng.below(1 + count as u64 / 3)) as f64 - 5.0))
            .collect();
        for order in 0..3 {
            members.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
            match order {
                0 => members.reverse(),
                1 => {}
                _ => members.sort_by_key(|(member, _)| base::hash::HashSeed([1, 2]).hash(member)),
            }
            let mut builder = Builder::new(HashSeed([3, 4]), count / 2);
            members.iter().for_each(|(member, score)| builder.push(member, *score));
            let mut built = builder.finish().expect("no member comes twice");
            built.order.check();
            let mut step_by_step = RankedSet::new(HashSeed([3, 4]));
            for (member, score) in &members {
                step_by_step.insert(member, *score);
            }
            assert!(built.iter().eq(step_by_step.iter()));
            assert_eq!(built.member_bytes, step_by_step.member_bytes);
            // And it can be changed as any other.
            for (member, _) in members.iter().step_by(2) {
                assert!(built.remove(member).is_some());
                built.insert(format!("{member:?}").as_bytes(), rng.below(100) as f64);
            }
            built.order.check();
        }
    }
    for twice in [1, 31, 32, 33, 100] {
        let mut builder = Builder::new(HashSeed([3, 4]), 0);
        for n in (0..200).chain([twice]).chain(300..400) {
            builder.push(format!("{n}").as_bytes(), f64::from(n));
        }
        assert!(builder.finish().is_none());
    }
}
