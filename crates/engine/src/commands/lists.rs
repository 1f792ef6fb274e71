//! Lists: elements by end, index and value. What moves between lists or waits for one is in `list_moves`.

use std::ops::Range;

use base::number::parse_i64;
use keyspace::list::{End, List};
use keyspace::{Class, Edit};
use structures::{Fill, Item};

use super::list_moves::{blmove, blmpop, blpop, brpop, brpoplpush, lmove, lmpop, rpoplpush};
use super::reply_item;
use crate::table::{self, Command, acl, at, command, counted, does, key, range};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("BLMOVE", blmove)
        .summary("Moves an element from one list to another, waiting for one if there is none.")
        .since("6.2.0")
        .complexity("O(1)")
        .syntax("source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout")
        .flags(&[table::WRITE, table::DENYOOM, table::BLOCKING])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::DELETE])), at(2, does(&[key::RW, key::INSERT]))]),
    command("BLMPOP", blmpop)
        .summary("Removes elements from the first list that has any, waiting for one that does.")
        .since("7.0.0")
        .complexity("O(N+M) where N is the number of provided keys and M is the number of elements returned.")
        .syntax("timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .flags(&[table::WRITE, table::BLOCKING])
        .acl(&[acl::LIST])
        .keys(&[counted(2, 0, 1, 1, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("BLPOP", blpop)
        .summary("Removes the first element of the first list that has any, waiting for one that does.")
        .since("2.0.0")
        .complexity("O(N) where N is the number of provided keys.")
        .syntax("key [key ...] timeout")
        .flags(&[table::WRITE, table::BLOCKING])
        .acl(&[acl::LIST])
        .keys(&[range(1, -2, 1, 0, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("BRPOP", brpop)
        .summary("Removes the last element of the first list that has any, waiting for one that does.")
        .since("2.0.0")
        .complexity("O(N) where N is the number of provided keys.")
        .syntax("key [key ...] timeout")
        .flags(&[table::WRITE, table::BLOCKING])
        .acl(&[acl::LIST])
        .keys(&[range(1, -2, 1, 0, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("BRPOPLPUSH", brpoplpush)
        .summary("Moves the last element of one list to the front of another, waiting for it (BLMOVE's older form).")
        .since("2.2.0")
        .complexity("O(1)")
        .syntax("source destination timeout")
        .flags(&[table::WRITE, table::DENYOOM, table::BLOCKING])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::DELETE])), at(2, does(&[key::RW, key::INSERT]))]),
    command("LINDEX", lindex)
        .summary("Returns the element of a list at an index.")
        .since("1.0.0")
        .complexity("O(N) where N is the number of elements to traverse to get to the element at index. This makes asking for the first or the last element of the list O(1).")
        .syntax("key index")
        .flags(&[table::READONLY])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("LINSERT", linsert)
        .summary("Inserts an element before or after another one of a list.")
        .since("2.2.0")
        .complexity("O(N) where N is the number of elements to traverse before seeing the value pivot. This means that inserting somewhere on the left end on the list (head) can be considered O(1) and inserting somewhere on the right end (tail) is O(N).")
        .syntax("key <BEFORE | AFTER> pivot element")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::INSERT]))]),
    command("LLEN", llen)
        .summary("Returns the number of elements in a list.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::LIST])
        .keys(&[at(1, key::RO)]),
    command("LMOVE", lmove)
        .summary("Moves an element from one list to another, or to the other end.")
        .since("6.2.0")
        .complexity("O(1)")
        .syntax("source destination <LEFT | RIGHT> <LEFT | RIGHT>")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::DELETE])), at(2, does(&[key::RW, key::INSERT]))]),
    command("LMPOP", lmpop)
        .summary("Removes elements from the first list that has any.")
        .since("7.0.0")
        .complexity("O(N+M) where N is the number of provided keys and M is the number of elements returned.")
        .syntax("numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .flags(&[table::WRITE])
        .acl(&[acl::LIST])
        .keys(&[counted(1, 0, 1, 1, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("LPOP", lpop)
        .summary("Removes elements from the front of a list and returns them.")
        .since("1.0.0")
        .complexity("O(N) where N is the number of elements returned")
        .syntax("key [count]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("LPOS", lpos)
        .summary("Returns the indexes at which an element stands in a list.")
        .since("6.0.6")
        .complexity("O(N) where N is the number of elements in the list, for the average case. When searching for elements near the head or the tail of the list, or when the MAXLEN option is provided, the command may run in constant time.")
        .syntax("key element [RANK rank] [COUNT num-matches] [MAXLEN len]")
        .flags(&[table::READONLY])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("LPUSH", lpush)
        .summary("Puts elements in front of a list, which is created if it is missing.")
        .since("1.0.0")
        .complexity("O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.")
        .syntax("key element [element ...]")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::INSERT]))]),
    command("LPUSHX", lpushx)
        .summary("Puts elements in front of a list that exists.")
        .since("2.2.0")
        .complexity("O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.")
        .syntax("key element [element ...]")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::INSERT]))]),
    command("LRANGE", lrange)
        .summary("Returns a range of elements of a list.")
        .since("1.0.0")
        .complexity("O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or TAIL) for large lists; and N is the number of elements in the specified range.")
        .syntax("key start stop")
        .flags(&[table::READONLY])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("LREM", lrem)
        .summary("Removes elements equal to a given one from a list.")
        .since("1.0.0")
        .complexity("O(N+M) where N is the length of the list and M is the number of elements removed.")
        .syntax("key count element")
        .flags(&[table::WRITE])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::DELETE]))]),
    command("LSET", lset)
        .summary("Replaces the element of a list at an index.")
        .since("1.0.0")
        .complexity("O(N) where N is the length of the list. Setting either the first or the last element of the list is O(1).")
        .syntax("key index element")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::UPDATE]))]),
    command("LTRIM", ltrim)
        .summary("Removes all elements of a list but those of a range.")
        .since("1.0.0")
        .complexity("O(N) where N is the number of elements to be removed by the operation.")
        .syntax("key start stop")
        .flags(&[table::WRITE])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::DELETE]))]),
    command("RPOP", rpop)
        .summary("Removes elements from the end of a list and returns them.")
        .since("1.0.0")
        .complexity("O(N) where N is the number of elements returned")
        .syntax("key [count]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("RPOPLPUSH", rpoplpush)
        .summary("Moves the last element of one list to the front of another (LMOVE's older form).")
        .since("1.2.0")
        .complexity("O(1)")
        .syntax("source destination")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::DELETE])), at(2, does(&[key::RW, key::INSERT]))]),
    command("RPUSH", rpush)
        .summary("Appends elements to a list, which is created if it is missing.")
        .since("1.0.0")
        .complexity("O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.")
        .syntax("key element [element ...]")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::INSERT]))]),
    command("RPUSHX", rpushx)
        .summary("Appends elements to a list that exists.")
        .since("2.2.0")
        .complexity("O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.")
        .syntax("key element [element ...]")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::LIST])
        .keys(&[at(1, does(&[key::RW, key::INSERT]))]),
];

pub(super) const NOT_POSITIVE: Error = Error::text("ERR value is out of range, must be positive");

/// Returns the limit on the nodes of lists.
pub(super) fn fill(cx: &Cx<'_>) -> Fill {
    Fill::new(i64::from(cx.keys.space.limits.list_size))
}

/// Removes up to `count` elements from one end, writing them as an array, and says so. Returns how many there were.
pub(super) fn pop_some(
    list: &mut Edit<'_, List>,
    end: End,
    count: usize,
    fill: Fill,
    out: &mut Reply<'_>,
) -> usize {
    let count = count.min(list.len());
    out.array(count);
    for _ in 0..count {
        list.pop(end, |item| reply_item(item, out));
    }
    list.shrink(fill);
    list.changed(popped(end));
    list.count(count as u64 - 1);
    count
}

/// Returns the event of removing elements from an end.
pub(super) fn popped(end: End) -> &'static str {
    if end == End::Left { "lpop" } else { "rpop" }
}

/// Returns the event of adding elements at an end.
pub(super) fn pushed(end: End) -> &'static str {
    if end == End::Left { "lpush" } else { "rpush" }
}

/// Returns the elements from `start` to `stop`, both included, negative indexes counted from the end.
fn bounds(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

/// Puts elements in front of a list, one after the other.
fn lpush(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (fill, key) = (fill(cx), args.key()?);
    push(cx.keys.edit_or_create(key)?, End::Left, fill, args, out);
    Ok(())
}

/// Appends elements to a list.
fn rpush(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (fill, key) = (fill(cx), args.key()?);
    push(cx.keys.edit_or_create(key)?, End::Right, fill, args, out);
    Ok(())
}

/// Puts elements in front of a list that exists.
fn lpushx(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    push_to_existing(cx, args, End::Left, out)
}

/// Appends elements to a list that exists.
fn rpushx(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    push_to_existing(cx, args, End::Right, out)
}

fn push_to_existing(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End, out: &mut Reply<'_>) -> Result<()> {
    let (fill, key) = (fill(cx), args.key()?);
    match cx.keys.edit(key)? {
        Some(list) => push(list, end, fill, args, out),
        None => out.int(0),
    }
    Ok(())
}

/// Adds the elements that are left of `args` at one end.
#[inline]
fn push(mut list: Edit<'_, List>, end: End, fill: Fill, args: &Args<'_>, out: &mut Reply<'_>) {
    list.reserve_for(fill, || args.rest().map(<[u8]>::len).sum(), args.left());
    for element in args.rest() {
        list.push(end, element);
    }
    list.changed(pushed(end));
    list.count(args.left() as u64 - 1);
    out.int(list.len() as i64);
}

/// Removes elements from the front of a list.
fn lpop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    pop(cx, args, End::Left, out)
}

/// Removes elements from the end of a list.
fn rpop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    pop(cx, args, End::Right, out)
}

fn pop(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End, out: &mut Reply<'_>) -> Result<()> {
    let (fill, key) = (fill(cx), args.key()?);
    let count = match args.left() {
        0 => None,
        1 => Some(args.int_in(0..=i64::MAX, NOT_POSITIVE)? as usize),
        _ => return Err(Error::Arity(cx.row.name.as_str().into())),
    };
    match (cx.keys.edit::<List>(key)?, count) {
        (None, None) => out.null(),
        (None, Some(_)) => out.null_array(),
        (Some(_), Some(0)) => out.array(0),
        (Some(mut list), Some(count)) => {
            pop_some(&mut list, end, count, fill, out);
        }
        (Some(mut list), None) => {
            list.pop(end, |item| reply_item(item, out));
            list.shrink(fill);
            list.changed(popped(end));
        }
    }
    Ok(())
}

/// Returns the number of elements.
fn llen(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let len = cx.keys.read::<List>(args.key()?)?.map_or(0, |list| list.len());
    out.int(len as i64);
    Ok(())
}

/// Returns the element at an index.
fn lindex(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let Some(list) = cx.keys.read::<List>(key)? else {
        out.null();
        return Ok(());
    };
    match list.get(args.int()?) {
        Some(item) => reply_item(item, out),
        None => out.null(),
    }
    Ok(())
}

/// Returns a range of elements.
fn lrange(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, start, stop) = (args.key()?, args.int()?, args.int()?);
    let Some(list) = cx.keys.read::<List>(key)? else {
        out.array(0);
        return Ok(());
    };
    let range = bounds(start, stop, list.len());
    out.array(range.len());
    list.each(range, |item| reply_item(item, out));
    Ok(())
}

/// Replaces the element at an index.
fn lset(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (fill, key) = (fill(cx), args.key()?);
    let mut list = cx.keys.edit::<List>(key)?.ok_or(Error::NoSuchKey)?;
    let (index, element) = (args.int()?, args.next()?);
    list.reserve(fill, element.len(), 1);
    if !list.set(index, element) {
        return Err(Error::IndexOutOfRange);
    }
    list.shrink(fill);
    list.changed("lset");
    out.ok();
    Ok(())
}

/// Inserts an element beside the first one that is the pivot.
fn linsert(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (fill, key) = (fill(cx), args.key()?);
    let side = if args.accept("AFTER") {
        End::Right
    } else if args.accept("BEFORE") {
        End::Left
    } else {
        return Err(Error::Syntax);
    };
    let (pivot, element) = (args.next()?, args.next()?);
    let Some(mut list) = cx.keys.edit::<List>(key)? else {
        out.int(0);
        return Ok(());
    };
    list.reserve(fill, element.len(), 1);
    if list.insert_beside(pivot, side, element) {
        list.changed("linsert");
        out.int(list.len() as i64);
    } else {
        out.int(-1);
    }
    Ok(())
}

/// Removes elements equal to a given one, as many as wanted, from the front or (a negative count) from the end.
fn lrem(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (fill, key) = (fill(cx), args.key()?);
    let (count, element) = (args.signed_count()?, args.next()?);
    let Some(mut list) = cx.keys.edit::<List>(key)? else {
        out.int(0);
        return Ok(());
    };
    let from = if count < 0 { End::Right } else { End::Left };
    let most = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let removed = list.remove_value(element, most, from);
    if removed > 0 {
        list.shrink(fill);
        list.changed("lrem");
        list.count(removed as u64 - 1);
    }
    out.int(removed as i64);
    Ok(())
}

/// Removes all elements but those of a range.
fn ltrim(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let fill = fill(cx);
    let (key, start, stop) = (args.key()?, args.int()?, args.int()?);
    out.ok();
    let Some(mut list) = cx.keys.edit::<List>(key)? else { return Ok(()) };
    let len = list.len();
    let kept = bounds(start, stop, len);
    if kept.len() == len {
        // Nothing changes, but for the event.
        drop(list);
        cx.keys.event(Class::List, "ltrim", key);
        return Ok(());
    }
    list.remove_range(kept.end..len);
    list.remove_range(0..kept.start);
    list.shrink(fill);
    list.changed("ltrim");
    list.count((len - kept.len()) as u64 - 1);
    Ok(())
}

/// Returns where an element stands: its first index, one further on, or several.
fn lpos(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, element) = (args.key()?, args.next()?);
    let (mut rank, mut count, mut most) = (1, None, usize::MAX);
    while !args.is_empty() {
        if args.left() < 2 {
            return Err(Error::Syntax);
        } else if args.accept("RANK") {
            rank = args.signed_count()?;
            if rank == 0 {
                return Err(Error::text(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
                ));
            }
        } else if args.accept("COUNT") {
            count = Some(args.int_in(0..=i64::MAX, Error::text("ERR COUNT can't be negative"))? as usize);
        } else if args.accept("MAXLEN") {
            let len = args.int_in(0..=i64::MAX, Error::text("ERR MAXLEN can't be negative"))?;
            most = if len == 0 { usize::MAX } else { len as usize };
        } else {
            return Err(Error::Syntax);
        }
    }
    let Some(list) = cx.keys.read::<List>(key)? else {
        match count {
            None => out.null(),
            Some(_) => out.array(0),
        }
        return Ok(());
    };
    let (int, last) = (parse_i64(element), list.len() as i64 - 1);
    let is_it = |item: Item<'_>| match item {
        Item::Int(value) => int == Some(value),
        Item::Bytes(bytes) => bytes == element,
    };
    let skip = rank.unsigned_abs() as usize - 1;
    // Both directions at once would make each step decide which way to go.
    let mut found: Box<dyn Iterator<Item = i64>> = if rank > 0 {
        let places = (0i64..).zip(list.iter()).take(most);
        Box::new(places.filter(|(_, item)| is_it(*item)).map(|(place, _)| place).skip(skip))
    } else {
        let places = (0i64..).zip(list.iter().rev()).take(most);
        Box::new(places.filter(|(_, item)| is_it(*item)).map(move |(place, _)| last - place).skip(skip))
    };
    match count {
        None => match found.next() {
            Some(index) => out.int(index),
            None => out.null(),
        },
        Some(count) => {
            let mark = out.defer();
            let mut matches = 0;
            for index in found.take(if count == 0 { usize::MAX } else { count }) {
                out.int(index);
                matches += 1;
            }
            out.finish_array(mark, matches);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_list() {
        assert_eq!(bounds(0, -1, 5), 0..5);
        assert_eq!(bounds(-3, -2, 5), 2..4);
        assert_eq!(bounds(-100, 100, 5), 0..5);
        assert_eq!(bounds(i64::MIN, i64::MAX, 5), 0..5);
        assert_eq!(bounds(5, 9, 5), 0..0);
        assert_eq!(bounds(3, 1, 5), 0..0);
        assert_eq!(bounds(0, i64::MIN, 5), 0..0);
        assert_eq!(bounds(0, -1, 0), 0..0);
    }
}
