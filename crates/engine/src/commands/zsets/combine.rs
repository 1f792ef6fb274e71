//! Unions, intersections and differences of sets and sorted sets: replied, counted or stored.

use keyspace::keys::type_of;
use keyspace::{Set, Type, View, ZSet};
use structures::{Item, RankedSet};

use super::Layout;
use super::range::store;
use crate::{Args, Cx, Error, Reply, Result};

/// How several sets become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combination {
    Union,
    Intersection,
    Difference,
}

/// How the scores that a member has in several sets become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, score: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            _ => score,
        }
    }
}

/// Returns 0 for what infinities of both signs, or an infinity times 0, come to.
fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What is done with the outcome, which decides about the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Reply,
    Count,
    Store,
}

/// The arguments of any of these commands.
struct Request<'a> {
    combination: Combination,
    keys: Vec<&'a [u8]>,
    /// As many as keys.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Counting may stop here; 0 is no limit.
    limit: usize,
}

impl<'a> Request<'a> {
    /// Reads the keys, of which each must hold a set of either kind, and the options.
    fn parse(
        cx: &mut Cx<'_>,
        args: &mut Args<'a>,
        combination: Combination,
        usage: Use,
    ) -> Result<Request<'a>> {
        let count = args.int()?;
        if count < 1 {
            let name = &cx.row.name;
            return Err(Error::from(format!("ERR at least 1 input key is needed for '{name}' command")));
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > args.left() {
            return Err(Error::Syntax);
        }
        let keys: Vec<&[u8]> = args.rest().take(count).collect();
        for key in &keys {
            args.next()?;
            if !matches!(cx.keys.lookup(key).map(type_of), None | Some(Type::Set | Type::ZSet)) {
                return Err(Error::WrongType);
            }
        }
        let mut request = Request {
            combination,
            weights: vec![1.0; keys.len()],
            keys,
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
        };
        let aggregates = combination != Combination::Difference && usage != Use::Count;
        while !args.is_empty() {
            if aggregates && args.left() > count && args.accept("WEIGHTS") {
                for weight in &mut request.weights {
                    let given = base::number::parse_f64(args.next()?);
                    *weight = given.ok_or(Error::text("ERR weight value is not a float"))?;
                }
            } else if aggregates && args.left() > 1 && args.accept("AGGREGATE") {
                request.aggregate = if args.accept("SUM") {
                    Aggregate::Sum
                } else if args.accept("MIN") {
                    Aggregate::Min
                } else if args.accept("MAX") {
                    Aggregate::Max
                } else {
                    return Err(Error::Syntax);
                };
            } else if usage == Use::Reply && args.accept("WITHSCORES") {
                request.with_scores = true;
            } else if usage == Use::Count && args.left() > 1 && args.accept("LIMIT") {
                let limit = args.int_in(0..=i64::MAX, Error::text("ERR LIMIT can't be negative"))?;
                request.limit = usize::try_from(limit).unwrap_or(usize::MAX);
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(request)
    }

    /// Returns the sets, in the order in which they are combined.
    fn sources<'k>(&self, cx: &'k Cx<'_>) -> Result<Vec<Source<'k>>> {
        let mut sources = Vec::with_capacity(self.keys.len());
        for (key, weight) in self.keys.iter().zip(&self.weights) {
            let members = match cx.keys.live(key).map(|entry| (type_of(entry), entry)) {
                None => Members::None,
                Some((Type::Set, entry)) => Members::Set(View::of(entry)?),
                Some((_, entry)) => Members::ZSet(View::of(entry)?),
            };
            sources.push(Source { members, weight: *weight });
        }
        // The order decides how sums round, so it is that of Redis: the smallest first.
        match self.combination {
            Combination::Difference => sources[1..].sort_by_key(|source| std::cmp::Reverse(source.len())),
            _ => sources.sort_by_key(Source::len),
        }
        Ok(sources)
    }

    /// Returns the members of the outcome.
    fn combine(&self, cx: &Cx<'_>) -> Result<RankedSet> {
        let mut outcome = RankedSet::new(cx.keys.space.seed);
        let sources = self.sources(cx)?;
        match self.combination {
            Combination::Union => {
                outcome.reserve(sources.last().map_or(0, Source::len));
                for source in &sources {
                    source.for_each(|member, score| {
                        let score = number_or_zero(score * source.weight);
                        outcome.update(member, |sum| {
                            Some(sum.map_or(score, |sum| self.aggregate.of(sum, score)))
                        });
                        true
                    });
                }
            }
            Combination::Intersection => self.intersect(&sources, |member, score| {
                outcome.insert(member, score);
                true
            }),
            Combination::Difference => {
                let (first, others) = sources.split_first().expect("at least one key is given");
                first.for_each(|member, score| {
                    if others.iter().all(|other| other.score(member).is_none()) {
                        outcome.insert(member, score);
                    }
                    true
                });
            }
        }
        Ok(outcome)
    }

    /// Shows `take` the members that all sources have, until it returns false.
    fn intersect(&self, sources: &[Source<'_>], mut take: impl FnMut(&[u8], f64) -> bool) {
        let (first, others) = sources.split_first().expect("at least one key is given");
        first.for_each(|member, score| {
            let mut sum = number_or_zero(score * first.weight);
            for other in others {
                let Some(score) = other.score(member) else { return true };
                sum = self.aggregate.of(sum, score * other.weight);
            }
            take(member, sum)
        });
    }
}

/// One of the sets that are combined.
struct Source<'a> {
    members: Members<'a>,
    weight: f64,
}

enum Members<'a> {
    None,
    /// The score of each member is 1.
    Set(View<'a, Set>),
    ZSet(View<'a, ZSet>),
}

impl Source<'_> {
    fn len(&self) -> usize {
        match &self.members {
            Members::None => 0,
            Members::Set(set) => set.len(),
            Members::ZSet(zset) => zset.len(),
        }
    }

    /// Returns the score of a member, before the weight is applied.
    fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.members {
            Members::None => None,
            Members::Set(set) => set.contains(member).then_some(1.0),
            Members::ZSet(zset) => zset.score(member),
        }
    }

    /// Shows `take` the members, with scores before the weight is applied, until it returns false.
    fn for_each(&self, mut take: impl FnMut(&[u8], f64) -> bool) {
        match &self.members {
            Members::None => {}
            Members::Set(set) => {
                set.iter().all(|member| take(member.text().as_bytes(), 1.0));
            }
            Members::ZSet(zset) => {
                zset.iter().all(|(member, score)| take(member.text().as_bytes(), score));
            }
        }
    }
}

/// Returns the members that any of the sets has.
pub(super) fn zunion(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply(cx, args, out, Combination::Union)
}

/// Returns the members that all sets have.
pub(super) fn zinter(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply(cx, args, out, Combination::Intersection)
}

/// Returns the members of the first set that no other has.
pub(super) fn zdiff(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply(cx, args, out, Combination::Difference)
}

fn reply(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>, combination: Combination) -> Result<()> {
    let request = Request::parse(cx, args, combination, Use::Reply)?;
    let outcome = request.combine(cx)?;
    let layout = Layout::of(request.with_scores, out);
    layout.start(outcome.len(), out);
    outcome.iter().for_each(|(member, score)| layout.member(Item::Bytes(member), score, out));
    Ok(())
}

/// Stores the members that any of the sets has.
pub(super) fn zunionstore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    combine_into(cx, args, out, Combination::Union, "zunionstore")
}

/// Stores the members that all sets have.
pub(super) fn zinterstore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    combine_into(cx, args, out, Combination::Intersection, "zinterstore")
}

/// Stores the members of the first set that no other has.
pub(super) fn zdiffstore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    combine_into(cx, args, out, Combination::Difference, "zdiffstore")
}

fn combine_into(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    out: &mut Reply<'_>,
    combination: Combination,
    event: &'static str,
) -> Result<()> {
    let destination = args.key()?;
    let request = Request::parse(cx, args, combination, Use::Store)?;
    let outcome = request.combine(cx)?;
    out.int(outcome.len() as i64);
    store(cx, destination, ZSet::settled(outcome, &cx.keys.space.limits), event);
    Ok(())
}

/// Counts the members that all sets have.
pub(super) fn zintercard(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let request = Request::parse(cx, args, Combination::Intersection, Use::Count)?;
    let mut count = 0;
    request.intersect(&request.sources(cx)?, |_, _| {
        count += 1;
        count != request.limit
    });
    out.int(count as i64);
    Ok(())
}
