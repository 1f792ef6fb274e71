//! Adding members and removing them: ZADD, ZINCRBY, ZREM, ZREMRANGEBY*.

use std::ops::Range;

use base::number::{IntText, parse_f64};
use keyspace::ZSet;

use super::bounds;
use crate::{Args, Cx, Error, Reply, Result};

/// Under which conditions members are added or get another score.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::commands) struct AddOptions {
    /// NX: only members that are not there yet.
    pub if_missing: bool,
    /// XX: only members that are there.
    pub if_there: bool,
    /// GT: only where the score grows.
    pub if_greater: bool,
    /// LT: only where the score shrinks.
    pub if_less: bool,
    /// CH: answer how many changed, not how many are new.
    pub count_changed: bool,
    /// INCR: add to the score.
    pub increment: bool,
}

impl AddOptions {
    /// Reads the options before the first score.
    fn parse(args: &mut Args<'_>) -> AddOptions {
        let mut options = AddOptions::default();
        // Nearly always a number follows, which none of the words can be.
        while args.peek().is_some_and(|arg| arg.first().is_some_and(u8::is_ascii_alphabetic)) {
            if args.accept("NX") {
                options.if_missing = true;
            } else if args.accept("XX") {
                options.if_there = true;
            } else if args.accept("GT") {
                options.if_greater = true;
            } else if args.accept("LT") {
                options.if_less = true;
            } else if args.accept("CH") {
                options.count_changed = true;
            } else if args.accept("INCR") {
                options.increment = true;
            } else {
                break;
            }
        }
        options
    }

    /// Returns an error for options that exclude each other.
    fn check(self) -> Result<()> {
        if self.if_missing && self.if_there {
            return Err(Error::text("ERR XX and NX options at the same time are not compatible"));
        }
        let exclusive = [self.if_greater, self.if_less, self.if_missing];
        if exclusive.into_iter().filter(|is_set| *is_set).count() > 1 {
            return Err(Error::text("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        Ok(())
    }

    /// Returns what becomes of a score, `None` where it is left as it is.
    #[inline]
    fn decide(self, old: Option<f64>, given: f64) -> Option<f64> {
        let Some(old) = old else { return (!self.if_there).then_some(given) };
        let new = if self.increment { old + given } else { given };
        let refused = self.if_missing || self.if_greater && new <= old || self.if_less && new >= old;
        (!refused).then_some(new)
    }
}

/// What an addition came to.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::commands) struct Added {
    pub new: u64,
    pub moved: u64,
    /// The last member's score, unless the options left that member as it was.
    pub score: Option<f64>,
}

/// Adds members to the sorted set at `key`, or gives them other scores.
#[inline]
pub(in crate::commands) fn add<'a>(
    cx: &mut Cx<'_>,
    key: &[u8],
    options: AddOptions,
    pairs: impl ExactSizeIterator<Item = (f64, &'a [u8])>,
) -> Result<Added> {
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let mut added = Added::default();
    let mut zset = if options.if_there {
        let Some(zset) = cx.keys.edit::<ZSet>(key)? else { return Ok(added) };
        zset
    } else {
        cx.keys.edit_or_create::<ZSet>(key)?
    };
    zset.expect(pairs.len(), &limits, seed);
    for (given, member) in pairs {
        let mut decided = None;
        let old = zset.update(member, &limits, seed, |old| {
            decided = options.decide(old, given);
            // Infinities of both signs make no sum.
            decided.filter(|score| !score.is_nan())
        });
        match (old, decided) {
            (_, Some(score)) if score.is_nan() => {
                return Err(Error::text("ERR resulting score is not a number (NaN)"));
            }
            (None, Some(_)) => added.new += 1,
            (Some(old), Some(score)) => added.moved += u64::from(score != old),
            (_, None) => {}
        }
        added.score = decided;
    }
    let changed = added.new + added.moved;
    if changed > 0 {
        zset.changed(if options.increment { "zincr" } else { "zadd" });
        zset.count(changed - 1);
    }
    Ok(added)
}

/// Adds members with their scores, or moves them.
pub(super) fn zadd(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let options = AddOptions::parse(args);
    if args.is_empty() || !args.left().is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    options.check()?;
    let added = if args.left() == 2 {
        let (score, member) = (args.float()?, args.next()?);
        add(cx, key, options, std::iter::once((score, member)))?
    } else if options.increment {
        return Err(Error::text("ERR INCR option supports a single increment-element pair"));
    } else {
        let (request, first) = (args.request(), args.request().len() - args.left());
        let pairs =
            (first..request.len()).step_by(2).map(|i| (parse_f64(request.arg(i)), request.arg(i + 1)));
        if pairs.clone().any(|(score, _)| score.is_none()) {
            return Err(Error::NotFloat);
        }
        add(cx, key, options, pairs.map(|(score, member)| (score.unwrap_or_default(), member)))?
    };
    match (options.increment, added.score) {
        (true, Some(score)) => out.double(score),
        (true, None) => out.null(),
        (false, _) if options.count_changed => out.int((added.new + added.moved) as i64),
        (false, _) => out.int(added.new as i64),
    }
    Ok(())
}

/// Adds to the score of a member, reading a missing one as 0.
pub(super) fn zincrby(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    // Redis reads ZADD's options here, too, and misses a pair of score and member behind one.
    if ["NX", "XX", "CH", "INCR", "GT", "LT"].iter().any(|option| args.accept(option)) {
        return Err(Error::Syntax);
    }
    let (increment, member) = (args.float()?, args.next()?);
    let options = AddOptions { increment: true, ..AddOptions::default() };
    let added = add(cx, key, options, std::iter::once((increment, member)))?;
    out.double(added.score.unwrap_or_default());
    Ok(())
}

/// Removes members.
pub(super) fn zrem(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let mut removed = 0;
    if let Some(mut zset) = cx.keys.edit::<ZSet>(key)? {
        for member in args.rest() {
            removed += u64::from(zset.remove(member).is_some());
        }
        if removed > 0 {
            zset.changed("zrem");
            zset.count(removed - 1);
        }
    }
    out.int(removed as i64);
    Ok(())
}

/// Removes the members in a range of ranks.
pub(super) fn zremrangebyrank(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, start, stop) = (args.key()?, args.int()?, args.int()?);
    remove_range(cx, key, "zremrangebyrank", out, |zset| bounds::ranks(start, stop, zset.len()))
}

/// Removes the members in a range of scores.
pub(super) fn zremrangebyscore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, (min, max)) = (args.key()?, bounds::scores(args)?);
    remove_range(cx, key, "zremrangebyscore", out, |zset| zset.range_by_score(min, max))
}

/// Removes the members in a range of bytes.
pub(super) fn zremrangebylex(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, (min, max)) = (args.key()?, bounds::lex(args)?);
    // With more than one score, which members lie in the range depends on how the set is kept: their ranks do not.
    let mut told = None;
    remove_range(cx, key, "zremrangebylex", out, |zset| {
        let ranks = zset.range_by_lex(min, max);
        let score = |rank| zset.get(rank).map(|(_, score)| score);
        if !ranks.is_empty() && score(0) != score(zset.len() - 1) {
            told = Some(ranks.clone());
        }
        ranks
    })?;
    if let Some(ranks) = told {
        let (first, last) = (IntText::new(ranks.start as i64), IntText::new(ranks.end as i64 - 1));
        cx.propagate(&[b"ZREMRANGEBYRANK", key, first.as_bytes(), last.as_bytes()]);
    }
    Ok(())
}

fn remove_range(
    cx: &mut Cx<'_>,
    key: &[u8],
    event: &'static str,
    out: &mut Reply<'_>,
    ranks: impl FnOnce(&ZSet) -> Range<usize>,
) -> Result<()> {
    let mut removed = 0;
    if let Some(mut zset) = cx.keys.edit::<ZSet>(key)? {
        let ranks = ranks(&zset);
        removed = zset.remove_range(ranks) as u64;
        if removed > 0 {
            zset.changed(event);
            zset.count(removed - 1);
        }
    }
    out.int(removed as i64);
    Ok(())
}
