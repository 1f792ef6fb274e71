//! Intersections, unions and differences of sets, returned or stored.

use base::hash::HashSeed;
use keyspace::{Class, Keys, Limits, Set, Stamp, Value, View};
use structures::Item;

use super::reply_item;
use super::sets::reply_set;
use crate::{Args, Cx, Error, Reply, Result};

/// Returns the sets at `keys`, `None` where there is none; all are read before any is looked into.
fn sets_at<'k, 'a>(
    keys: &'k mut Keys<'_>,
    names: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<Vec<Option<View<'k, Set>>>> {
    for name in names.clone() {
        keys.refresh(name);
    }
    names.map(|name| keys.view::<Set>(name).map_err(Error::from)).collect()
}

/// Calls `visit` with the members that all sets have, until it says no.
fn intersect(mut sets: Vec<View<'_, Set>>, mut visit: impl FnMut(Item<'_>) -> bool) {
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    for member in smallest.iter() {
        if others.iter().all(|other| other.contains_item(member)) && !visit(member) {
            return;
        }
    }
}

/// Calls `visit` with the members that the first set alone has.
fn subtract(mut sets: Vec<Option<View<'_, Set>>>, mut visit: impl FnMut(Item<'_>)) {
    if sets.is_empty() {
        return;
    }
    let Some(first) = sets.swap_remove(0) else { return };
    // The largest is the most likely to have a member.
    let mut others: Vec<_> = sets.into_iter().flatten().collect();
    others.sort_by_key(|set| std::cmp::Reverse(set.len()));
    for member in first.iter() {
        if !others.iter().any(|other| other.contains_item(member)) {
            visit(member);
        }
    }
}

/// Adds the members of all sets to `sum`.
fn unite(sets: &[Option<View<'_, Set>>], sum: &mut Set, limits: &Limits, seed: HashSeed) {
    for set in sets.iter().flatten() {
        for member in set.iter() {
            sum.add_item(member, limits, seed);
        }
    }
}

/// Returns the members that all sets have.
pub(super) fn sinter(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let sets = sets_at(&mut cx.keys, args.rest())?;
    let (mark, mut count) = (out.defer(), 0);
    // A set that is missing has nothing in common with others.
    intersect(sets.into_iter().collect::<Option<_>>().unwrap_or_default(), |member| {
        reply_item(member, out);
        count += 1;
        true
    });
    out.finish_set(mark, count);
    Ok(())
}

/// Returns how many members all sets have, counting up to a limit.
pub(super) fn sintercard(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let count = args.int_in(1..=i64::MAX, Error::text("ERR numkeys should be greater than 0"))? as usize;
    if count > args.left() {
        return Err(Error::text("ERR Number of keys can't be greater than number of args"));
    }
    let names = args.rest().take(count);
    for _ in 0..count {
        args.next()?;
    }
    let mut limit = 0;
    while !args.is_empty() {
        if args.left() < 2 || !args.accept("LIMIT") {
            return Err(Error::Syntax);
        }
        limit = args.int_in(0..=i64::MAX, Error::text("ERR LIMIT can't be negative"))?;
    }
    let sets = sets_at(&mut cx.keys, names)?;
    let mut common = 0;
    intersect(sets.into_iter().collect::<Option<_>>().unwrap_or_default(), |_| {
        common += 1;
        common != limit
    });
    out.int(common);
    Ok(())
}

/// Returns the members that the first set alone has.
pub(super) fn sdiff(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let sets = sets_at(&mut cx.keys, args.rest())?;
    let (mark, mut count) = (out.defer(), 0);
    subtract(sets, |member| {
        reply_item(member, out);
        count += 1;
    });
    out.finish_set(mark, count);
    Ok(())
}

/// Returns the members that any of the sets has.
pub(super) fn sunion(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let sets = sets_at(&mut cx.keys, args.rest())?;
    if let [Some(set)] = &sets[..] {
        reply_set(set, out);
        return Ok(());
    }
    let mut sum = Set::new();
    // At least as many as the largest set has; small sets of texts are added to a listpack, which is searched.
    let most = sets.iter().flatten().map(|set| set.len()).max().unwrap_or(0);
    let all_ints = sets.iter().flatten().all(|set| matches!(**set, Set::Ints(_)));
    sum.reserve(if all_ints { b"0" } else { b"" }, most, &limits, seed);
    unite(&sets, &mut sum, &limits, seed);
    reply_set(&sum, out);
    Ok(())
}

/// Stores the members that all sets have.
pub(super) fn sinterstore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let destination = args.key()?;
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let sets = sets_at(&mut cx.keys, args.rest())?;
    let mut common = Set::new();
    intersect(sets.into_iter().collect::<Option<_>>().unwrap_or_default(), |member| {
        common.add_item(member, &limits, seed);
        true
    });
    store(cx, destination, common, "sinterstore", out);
    Ok(())
}

/// Stores the members that the first set alone has.
pub(super) fn sdiffstore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let destination = args.key()?;
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let sets = sets_at(&mut cx.keys, args.rest())?;
    let mut difference = Set::new();
    subtract(sets, |member| {
        difference.add_item(member, &limits, seed);
    });
    store(cx, destination, difference, "sdiffstore", out);
    Ok(())
}

/// Stores the members that any of the sets has.
pub(super) fn sunionstore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let destination = args.key()?;
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let sets = sets_at(&mut cx.keys, args.rest())?;
    let mut sum = Set::new();
    unite(&sets, &mut sum, &limits, seed);
    drop(sets);
    store(cx, destination, sum, "sunionstore", out);
    Ok(())
}

/// Stores a result in place of whatever `destination` holds, or deletes the key if there is none.
fn store(cx: &mut Cx<'_>, destination: &[u8], result: Set, event: &'static str, out: &mut Reply<'_>) {
    out.int(result.len() as i64);
    if result.is_empty() {
        let lazy = cx.server.config.lazyfree_lazy_server_del;
        cx.keys.delete(destination, "del", lazy);
    } else {
        cx.keys.set_value(destination, Value::Set(result), Stamp::Clear);
        cx.keys.changed(Class::Set, event, destination);
    }
}
