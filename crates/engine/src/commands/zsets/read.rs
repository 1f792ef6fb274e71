//! Looking at single members and counting them: ZSCORE, ZMSCORE, Z[REV]RANK, ZCARD, ZCOUNT, ZLEXCOUNT.

use keyspace::ZSet;

use super::bounds;
use crate::{Args, Cx, Error, Reply, Result};

/// Returns the number of members.
pub(super) fn zcard(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    out.int(cx.keys.read::<ZSet>(key)?.map_or(0, |zset| zset.len() as i64));
    Ok(())
}

/// Returns the score of a member.
pub(super) fn zscore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, member) = (args.key()?, args.next()?);
    reply_score(cx.keys.read::<ZSet>(key)?.and_then(|zset| zset.score(member)), out);
    Ok(())
}

/// Returns the scores of several members.
pub(super) fn zmscore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let zset = cx.keys.read::<ZSet>(key)?;
    out.array(args.left());
    for member in args.rest() {
        reply_score(zset.as_ref().and_then(|zset| zset.score(member)), out);
    }
    Ok(())
}

fn reply_score(score: Option<f64>, out: &mut Reply<'_>) {
    match score {
        Some(score) => out.double(score),
        None => out.null(),
    }
}

/// Returns how many members come before one.
pub(super) fn zrank(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_rank(cx, args, out, |rank, _| rank)
}

/// Returns how many members come after one.
pub(super) fn zrevrank(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_rank(cx, args, out, |rank, len| len - 1 - rank)
}

fn reply_rank(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    out: &mut Reply<'_>,
    counted: impl FnOnce(usize, usize) -> usize,
) -> Result<()> {
    let (key, member) = (args.key()?, args.next()?);
    if args.left() > 1 {
        return Err(Error::Arity(cx.row.name.as_str().into()));
    }
    let with_score = !args.is_empty();
    if with_score && !args.accept("WITHSCORE") {
        return Err(Error::Syntax);
    }
    let found = cx.keys.read::<ZSet>(key)?.and_then(|zset| Some((zset.rank(member)?, zset.len())));
    match found {
        Some(((rank, score), len)) => {
            if with_score {
                out.array(2);
            }
            out.int(counted(rank, len) as i64);
            if with_score {
                out.double(score);
            }
        }
        None if with_score => out.null_array(),
        None => out.null(),
    }
    Ok(())
}

/// Counts the members in a range of scores.
pub(super) fn zcount(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, (min, max)) = (args.key()?, bounds::scores(args)?);
    out.int(cx.keys.read::<ZSet>(key)?.map_or(0, |zset| zset.range_by_score(min, max).len() as i64));
    Ok(())
}

/// Counts the members in a range of bytes.
pub(super) fn zlexcount(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, (min, max)) = (args.key()?, bounds::lex(args)?);
    out.int(cx.keys.read::<ZSet>(key)?.map_or(0, |zset| zset.range_by_lex(min, max).len() as i64));
    Ok(())
}
