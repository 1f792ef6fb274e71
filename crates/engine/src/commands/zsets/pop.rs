//! Taking members from the ends: ZPOPMIN, ZPOPMAX, ZMPOP and those that wait.

use base::number::{IntText, parse_i64};
use keyspace::zset::End;
use keyspace::{Edit, ZSet};

use super::Layout;
use crate::blocking::OnTimeout;
use crate::{Args, Cx, Error, Reply, Result};
use structures::Item;

/// Removes members with the lowest scores.
pub(super) fn zpopmin(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    zpop(cx, args, out, End::Lowest)
}

/// Removes members with the highest scores.
pub(super) fn zpopmax(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    zpop(cx, args, out, End::Highest)
}

fn zpop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>, end: End) -> Result<()> {
    let key = args.key()?;
    if args.left() > 1 {
        return Err(Error::Syntax);
    }
    let count = match args.peek() {
        None => None,
        Some(count) => Some(
            parse_i64(count)
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(Error::text("ERR value is out of range, must be positive"))?,
        ),
    };
    match cx.keys.edit::<ZSet>(key)? {
        Some(mut zset) if count != Some(0) => {
            let layout = if count.is_some() { Layout::of(true, out) } else { Layout::Flat };
            let count = count.unwrap_or(1).min(zset.len());
            layout.start(count, out);
            pop(&mut zset, end, count, layout, out);
        }
        _ => out.array(0),
    }
    Ok(())
}

/// Removes `count` members, of which there are as many, and writes them without a header.
fn pop(zset: &mut Edit<'_, ZSet>, end: End, count: usize, layout: Layout, out: &mut Reply<'_>) {
    if count == 1 {
        zset.pop(end, |member, score| layout.member(Item::Bytes(member), score, out));
    } else {
        let ranks = match end {
            End::Lowest => 0..count,
            End::Highest => zset.len() - count..zset.len(),
        };
        zset.range(ranks.clone(), end).for_each(|(member, score)| layout.member(member, score, out));
        zset.remove_range(ranks);
    }
    zset.changed(match end {
        End::Lowest => "zpopmin",
        End::Highest => "zpopmax",
    });
    zset.count(count as u64 - 1);
}

/// Removes the member with the lowest score from the first sorted set that is there, or waits.
pub(super) fn bzpopmin(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    bzpop(cx, args, out, End::Lowest)
}

/// Removes the member with the highest score from the first sorted set that is there, or waits.
pub(super) fn bzpopmax(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    bzpop(cx, args, out, End::Highest)
}

fn bzpop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>, end: End) -> Result<()> {
    let keys = args.rest().take(args.left() - 1);
    while args.left() > 1 {
        args.next()?;
    }
    let deadline = cx.deadline(args)?;
    for key in keys.clone() {
        let Some(mut zset) = first_there(cx, key)? else { continue };
        out.array(3);
        out.bulk(key);
        pop(&mut zset, end, 1, Layout::Flat, out);
        drop(zset);
        cx.propagate(&[command_name(end), key]);
        return Ok(());
    }
    cx.wait_for(keys, deadline, OnTimeout::NullArray, out);
    Ok(())
}

/// Removes members from the first sorted set that is there.
pub(super) fn zmpop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let request = MultiPop::parse(args)?;
    if !request.pop(cx, out)? {
        out.null_array();
    }
    Ok(())
}

/// Removes members from the first sorted set that is there, or waits.
pub(super) fn bzmpop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let mut timeout = *args;
    args.next()?;
    let request = MultiPop::parse(args)?;
    let deadline = cx.deadline(&mut timeout)?;
    if !request.pop(cx, out)? {
        cx.wait_for(request.keys(), deadline, OnTimeout::NullArray, out);
    }
    Ok(())
}

/// The arguments of ZMPOP.
struct MultiPop<'a> {
    /// Starts at the first key.
    args: Args<'a>,
    keys: usize,
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    fn parse(args: &mut Args<'a>) -> Result<MultiPop<'a>> {
        let keys = args.int_in(1..=i64::MAX, Error::text("ERR numkeys should be greater than 0"))?;
        let keys = usize::try_from(keys).unwrap_or(usize::MAX);
        let first_key = *args;
        if keys >= args.left() {
            return Err(Error::Syntax);
        }
        for _ in 0..keys {
            args.next()?;
        }
        let end = if args.accept("MIN") {
            End::Lowest
        } else if args.accept("MAX") {
            End::Highest
        } else {
            return Err(Error::Syntax);
        };
        let mut count = None;
        while !args.is_empty() {
            if count.is_some() || args.left() < 2 || !args.accept("COUNT") {
                return Err(Error::Syntax);
            }
            count = Some(args.int_in(1..=i64::MAX, Error::text("ERR count should be greater than 0"))?);
        }
        let count = usize::try_from(count.unwrap_or(1)).unwrap_or(usize::MAX);
        Ok(MultiPop { args: first_key, keys, end, count })
    }

    fn keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.args.rest().take(self.keys)
    }

    /// Removes and writes members of the first sorted set that is there; returns whether there was one.
    fn pop(&self, cx: &mut Cx<'_>, out: &mut Reply<'_>) -> Result<bool> {
        for key in self.keys() {
            let Some(mut zset) = first_there(cx, key)? else { continue };
            let count = self.count.min(zset.len());
            out.array(2);
            out.bulk(key);
            out.array(count);
            pop(&mut zset, self.end, count, Layout::Nested, out);
            drop(zset);
            cx.propagate(&[command_name(self.end), key, IntText::new(count as i64).as_bytes()]);
            return Ok(true);
        }
        Ok(false)
    }
}

/// Opens the sorted set at `key`; when a client that waited tries again, other types count as not there.
fn first_there<'k>(cx: &'k mut Cx<'_>, key: &[u8]) -> Result<Option<Edit<'k, ZSet>>> {
    let is_retry = cx.is_retry();
    match cx.keys.edit::<ZSet>(key) {
        Err(_) if is_retry => Ok(None),
        found => Ok(found?),
    }
}

fn command_name(end: End) -> &'static [u8] {
    match end {
        End::Lowest => b"ZPOPMIN",
        End::Highest => b"ZPOPMAX",
    }
}
