//! Members by chance and by cursor: ZRANDMEMBER and ZSCAN.

use std::collections::BTreeSet;

use base::rng::Rng;
use keyspace::ZSet;
use structures::Item;

use super::Layout;
use crate::commands::reply_item;
use crate::commands::scan::{self, ScanOptions};
use crate::{Args, Cx, Error, Reply, Result};

/// Fewer members than one in so many are drawn; more are picked on a walk over all.
const WALK_SHARE: usize = 8;

/// Returns members by chance: one, some that differ, or any number that may repeat.
pub(super) fn zrandmember(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let asked = if args.is_empty() { None } else { Some(parse_count(args)?) };
    let mut rng = cx.keys.space.rng.clone();
    match (cx.keys.read::<ZSet>(key)?, asked) {
        (None, None) => out.null(),
        (None, Some(_)) => out.array(0),
        (Some(zset), None) => {
            if let Some((member, _)) = zset.random(&mut rng) {
                reply_item(member, out);
            }
        }
        (Some(zset), Some((count, with_scores))) => {
            let layout = Layout::of(with_scores, out);
            let repeats = count < 0;
            let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            let count = if repeats { count } else { count.min(zset.len()) };
            layout.start(count, out);
            let reply = |(member, score): (Item<'_>, f64)| layout.member(member, score, out);
            if repeats {
                (0..count).filter_map(|_| zset.random(&mut rng)).for_each(reply);
            } else if count < zset.len() / WALK_SHARE {
                let mut drawn = BTreeSet::new();
                let ranks = std::iter::repeat_with(|| rng.below(zset.len() as u64) as usize);
                let ranks = ranks.filter(|rank| drawn.insert(*rank)).take(count);
                ranks.filter_map(|rank| zset.get(rank)).for_each(reply);
            } else {
                pick(&zset, count, &mut rng).for_each(reply);
            }
        }
    }
    cx.keys.space.rng = rng;
    Ok(())
}

/// Reads how many members are asked for, and whether with their scores.
fn parse_count(args: &mut Args<'_>) -> Result<(i64, bool)> {
    let count = args.int()?;
    if count == i64::MIN {
        let range = format!("{} and {}", -i64::MAX, i64::MAX);
        return Err(Error::from(format!("ERR value is out of range, value must between {range}")));
    }
    let with_scores = args.accept("WITHSCORES");
    args.end()?;
    if with_scores && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
        return Err(Error::OutOfRange);
    }
    Ok((count, with_scores))
}

/// Returns `count` members, in order; all choices are equally likely.
fn pick<'a>(zset: &'a ZSet, count: usize, rng: &'a mut Rng) -> impl Iterator<Item = (Item<'a>, f64)> {
    let (mut wanted, mut left) = (count as u64, zset.len() as u64);
    zset.iter().filter(move |_| {
        let picked = rng.below(left) < wanted;
        wanted -= u64::from(picked);
        left -= 1;
        picked
    })
}

/// Returns some members with their scores, and the cursor to go on with.
pub(super) fn zscan(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, cursor) = (args.key()?, scan::cursor(args)?);
    let Some(zset) = cx.keys.read::<ZSet>(key)? else {
        scan::reply_nothing(out);
        return Ok(());
    };
    let options = ScanOptions::parse(args, false)?;
    let (mut found, mut count) = (Vec::new(), 0);
    let mut elements = Reply::new(&mut found, out.protocol);
    let next = options.walk(cursor, |cursor| {
        let mut met = 0;
        let next = zset.scan(cursor, |member, score| {
            met += 1;
            if options.matches(member) {
                elements.bulk(member);
                elements.double(score);
                count += 2;
            }
        });
        (next, met)
    });
    scan::reply_cursor(next, out);
    out.array(count);
    out.raw(&found);
    Ok(())
}
