//! Ranges of members: ZRANGE, what it replaced, and ZRANGESTORE.

use std::ops::Range;

use keyspace::zset::End;
use keyspace::{Class, Stamp, Value, ZSet};
use structures::{LexBound, ScoreBound};

use super::{Layout, bounds};
use crate::{Args, Cx, Error, Reply, Result};

/// What a range is a range of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The bounds of a range, the lower one first.
#[derive(Clone, Copy, Debug)]
enum Span<'a> {
    /// Counted from the end where the range begins.
    Ranks(i64, i64),
    Scores(ScoreBound, ScoreBound),
    Members(LexBound<'a>, LexBound<'a>),
}

/// Which members are wanted, and in which order.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    span: Span<'a>,
    from: End,
    offset: i64,
    /// At most as many; all if negative.
    limit: i64,
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// Reads bounds and options; what the command's name settles has no option.
    fn parse(args: &mut Args<'a>, by: Option<By>, from: Option<End>, stores: bool) -> Result<Query<'a>> {
        // The options say how to read the bounds before them.
        let mut span = *args;
        args.next()?;
        args.next()?;
        let (mut asked_by, mut asked_from) = (by, from);
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        while !args.is_empty() {
            if !stores && args.accept("WITHSCORES") {
                with_scores = true;
            } else if args.left() > 2 && args.accept("LIMIT") {
                (offset, limit) = (args.int()?, args.int()?);
            } else if from.is_none() && asked_from.is_none() && args.accept("REV") {
                asked_from = Some(End::Highest);
            } else if asked_by.is_none() && args.accept("BYLEX") {
                asked_by = Some(By::Lex);
            } else if asked_by.is_none() && args.accept("BYSCORE") {
                asked_by = Some(By::Score);
            } else {
                return Err(Error::Syntax);
            }
        }
        let (by, from) = (asked_by.unwrap_or(By::Rank), asked_from.unwrap_or(End::Lowest));
        if limit != -1 && by == By::Rank {
            return Err(Error::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(Error::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let span = match by {
            By::Rank => Span::Ranks(span.int()?, span.int()?),
            By::Score => {
                let (first, second) = bounds::scores(&mut span)?;
                let (min, max) = ordered(first, second, from);
                Span::Scores(min, max)
            }
            By::Lex => {
                let (first, second) = bounds::lex(&mut span)?;
                let (min, max) = ordered(first, second, from);
                Span::Members(min, max)
            }
        };
        Ok(Query { span, from, offset, limit, with_scores })
    }

    /// Returns the ranks of the members wanted, counted from the lowest score.
    fn ranks(&self, zset: &ZSet) -> Range<usize> {
        let ranks = match self.span {
            Span::Ranks(start, stop) => {
                let ranks = bounds::ranks(start, stop, zset.len());
                return match self.from {
                    End::Lowest => ranks,
                    End::Highest => zset.len() - ranks.end..zset.len() - ranks.start,
                };
            }
            Span::Scores(min, max) => zset.range_by_score(min, max),
            Span::Members(min, max) => zset.range_by_lex(min, max),
        };
        // Nothing comes at a negative offset.
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX).min(ranks.len());
        let count = usize::try_from(self.limit).unwrap_or(usize::MAX).min(ranks.len() - offset);
        match self.from {
            End::Lowest => ranks.start + offset..ranks.start + offset + count,
            End::Highest => ranks.end - offset - count..ranks.end - offset,
        }
    }
}

/// Returns two bounds with the lower one first: they are given in the order of the reply.
fn ordered<T>(first: T, second: T, from: End) -> (T, T) {
    match from {
        End::Lowest => (first, second),
        End::Highest => (second, first),
    }
}

/// Returns the members in a range of whatever the options say.
pub(super) fn zrange(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_range(cx, args, out, None, None)
}

/// Returns the members in a range of ranks from the highest score.
pub(super) fn zrevrange(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_range(cx, args, out, Some(By::Rank), Some(End::Highest))
}

/// Returns the members in a range of scores.
pub(super) fn zrangebyscore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_range(cx, args, out, Some(By::Score), Some(End::Lowest))
}

/// Returns the members in a range of scores, the highest first.
pub(super) fn zrevrangebyscore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_range(cx, args, out, Some(By::Score), Some(End::Highest))
}

/// Returns the members in a range of bytes.
pub(super) fn zrangebylex(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_range(cx, args, out, Some(By::Lex), Some(End::Lowest))
}

/// Returns the members in a range of bytes, the last first.
pub(super) fn zrevrangebylex(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_range(cx, args, out, Some(By::Lex), Some(End::Highest))
}

fn reply_range(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    out: &mut Reply<'_>,
    by: Option<By>,
    from: Option<End>,
) -> Result<()> {
    let (key, query) = (args.key()?, Query::parse(args, by, from, false)?);
    match cx.keys.read::<ZSet>(key)? {
        Some(zset) => {
            let members = zset.range(query.ranks(&zset), query.from);
            Layout::of(query.with_scores, out).reply(members, out);
        }
        None => out.array(0),
    }
    Ok(())
}

/// Stores the members in a range of whatever the options say.
pub(super) fn zrangestore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (destination, source) = (args.key()?, args.key()?);
    let query = Query::parse(args, None, None, true)?;
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let mut stored = ZSet::new();
    if let Some(zset) = cx.keys.read::<ZSet>(source)? {
        let members = zset.range(query.ranks(&zset), End::Lowest);
        stored.expect(members.len(), &limits, seed);
        for (member, score) in members {
            stored.insert(member.text().as_bytes(), score, &limits, seed);
        }
    }
    out.int(stored.len() as i64);
    store(cx, destination, stored, "zrangestore");
    Ok(())
}

/// Puts a computed sorted set in the place of what `key` holds; an empty one deletes the key.
pub(in crate::commands) fn store(cx: &mut Cx<'_>, key: &[u8], zset: ZSet, event: &'static str) {
    if zset.is_empty() {
        let lazy = cx.server.config.lazyfree_lazy_server_del;
        cx.keys.delete(key, "del", lazy);
    } else {
        cx.keys.set_value(key, Value::ZSet(zset), Stamp::Clear);
        cx.keys.changed(Class::ZSet, event, key);
    }
}
