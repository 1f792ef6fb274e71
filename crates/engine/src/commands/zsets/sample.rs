//! Members by chance and by cursor: ZRANDMEMBER and ZSCAN.

use std::collections::BTreeSet;

use base::number::push_f64;
use base::rng::Rng;
use keyspace::ZSet;
use structures::Item;

use super::Layout;
use crate::commands::scan::{self, ScanOptions};
use crate::commands::{check_draws, reply_item};
use crate::{Args, Cx, Error, Protocol, Reply, Result};

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
            check_draws(count)?;
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
    // Here scores are strings in RESP3, too.
    let mut elements = Reply::new(&mut found, Protocol::Resp2);
    let packed = matches!(&*zset, ZSet::Packed(_));
    let next = options.walk(cursor, |cursor| {
        let mut met = 0;
        let next = zset.scan(cursor, |member, score| {
            met += 1;
            if options.matches(member) {
                elements.bulk(member);
                if packed {
                    elements.double(score);
                } else {
                    elements.bulk(&seventeen_digits(score));
                }
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

/// Returns the text of a score as C's `%.17g` prints it, which is what Redis scans large sorted sets with.
fn seventeen_digits(score: f64) -> Vec<u8> {
    if score == 0.0 || !score.is_finite() {
        let mut text = Vec::new();
        push_f64(&mut text, score);
        return text;
    }
    let scientific = format!("{score:.16e}");
    let (digits, exponent) = scientific.split_once('e').expect("that is what `e` formats");
    let exponent: i32 = exponent.parse().expect("that is what `e` formats");
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let text = match exponent {
        -4..17 => trimmed(&format!("{score:.*}", (16 - exponent) as usize)),
        _ => format!("{}e{}{:02}", trimmed(digits), if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    };
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanned_scores_have_seventeen_digits() {
        for (score, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (0.1, "0.10000000000000001"),
            (2.5, "2.5"),
            (-1234567.891, "-1234567.8910000001"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(seventeen_digits(score), text.as_bytes(), "{score}");
        }
    }
}
