//! Commands that take from whichever list has something, move elements between lists, and wait for either.

use base::number::IntText;
use keyspace::list::{End, List};
use keyspace::{Class, Type};

use super::lists::{fill, pop_some, popped, pushed};
use super::reply_item;
use crate::blocking::OnTimeout;
use crate::cx::Mode;
use crate::{Args, Cx, Error, Reply, Result};

/// Reads which end of a list is meant.
fn end(args: &mut Args<'_>) -> Result<End> {
    if args.accept("LEFT") {
        Ok(End::Left)
    } else if args.accept("RIGHT") {
        Ok(End::Right)
    } else {
        Err(Error::Syntax)
    }
}

/// Returns the name of an end.
fn end_name(end: End) -> &'static [u8] {
    if end == End::Left { b"LEFT" } else { b"RIGHT" }
}

/// Returns the command that removes elements from an end.
fn pop_name(end: End) -> &'static [u8] {
    if end == End::Left { b"LPOP" } else { b"RPOP" }
}

/// Removes the first element of the first list that has any.
pub(super) fn blpop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    pop_or_wait(cx, args, End::Left, out)
}

/// Removes the last element of the first list that has any.
pub(super) fn brpop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    pop_or_wait(cx, args, End::Right, out)
}

fn pop_or_wait(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End, out: &mut Reply<'_>) -> Result<()> {
    let keys = args.rest().take(args.left() - 1);
    while args.left() > 1 {
        args.next()?;
    }
    let deadline = cx.deadline(args)?;
    let (fill, retry) = (fill(cx), cx.is_retry());
    for key in keys.clone() {
        let mut list = match cx.keys.edit::<List>(key) {
            Ok(Some(list)) => list,
            Ok(None) => continue,
            Err(_) if retry => continue,
            Err(error) => return Err(error.into()),
        };
        out.array(2);
        out.bulk(key);
        list.pop(end, |item| reply_item(item, out));
        list.shrink(fill);
        list.changed(popped(end));
        drop(list);
        cx.propagate(&[pop_name(end), key]);
        return Ok(());
    }
    cx.wait_for(keys, deadline, OnTimeout::NullArray, out);
    Ok(())
}

/// Removes elements from the first list that has any.
pub(super) fn lmpop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let request = PopMany::parse(args)?;
    if !request.pop(cx, out)? {
        out.null_array();
    }
    Ok(())
}

/// Removes elements from the first list that has any, or waits for one that does.
pub(super) fn blmpop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let mut timeout = *args;
    args.next()?;
    let request = PopMany::parse(args)?;
    let deadline = cx.deadline(&mut timeout)?;
    if !request.pop(cx, out)? {
        cx.wait_for(request.keys(), deadline, OnTimeout::NullArray, out);
    }
    Ok(())
}

/// What LMPOP and BLMPOP are asked for.
struct PopMany<'a> {
    /// The arguments from the first key on.
    keys: Args<'a>,
    key_count: usize,
    end: End,
    count: usize,
}

impl<'a> PopMany<'a> {
    /// Reads `numkeys key [key ...] <LEFT | RIGHT> [COUNT count]`.
    fn parse(args: &mut Args<'a>) -> Result<PopMany<'a>> {
        let positive = |args: &mut Args<'_>, error| args.int_in(1..=i64::MAX, Error::text(error));
        let key_count = positive(args, "ERR numkeys should be greater than 0")? as usize;
        let keys = *args;
        if key_count >= args.left() {
            return Err(Error::Syntax);
        }
        for _ in 0..key_count {
            args.next()?;
        }
        let end = end(args)?;
        let mut count = None;
        while !args.is_empty() {
            if count.is_some() || args.left() < 2 || !args.accept("COUNT") {
                return Err(Error::Syntax);
            }
            count = Some(positive(args, "ERR count should be greater than 0")? as usize);
        }
        Ok(PopMany { keys, key_count, end, count: count.unwrap_or(1) })
    }

    fn keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.keys.rest().take(self.key_count)
    }

    /// Removes and writes elements of the first list that has any, and tells whether one has.
    fn pop(&self, cx: &mut Cx<'_>, out: &mut Reply<'_>) -> Result<bool> {
        let (fill, retry) = (fill(cx), cx.is_retry());
        for key in self.keys() {
            let mut list = match cx.keys.edit::<List>(key) {
                Ok(Some(list)) => list,
                Ok(None) => continue,
                Err(_) if retry => continue,
                Err(error) => return Err(error.into()),
            };
            out.array(2);
            out.bulk(key);
            let count = pop_some(&mut list, self.end, self.count, fill, out);
            drop(list);
            cx.propagate(&[pop_name(self.end), key, IntText::new(count as i64).as_bytes()]);
            return Ok(true);
        }
        Ok(false)
    }
}

/// Moves an element from one list to another, or to the other end.
pub(super) fn lmove(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let route = Route { source: args.key()?, destination: args.key()?, from: end(args)?, to: end(args)? };
    if !route.travel(cx, out)? {
        out.null();
    }
    Ok(())
}

/// Moves the last element of one list to the front of another.
pub(super) fn rpoplpush(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let route = Route { source: args.key()?, destination: args.key()?, from: End::Right, to: End::Left };
    if !route.travel(cx, out)? {
        out.null();
    }
    Ok(())
}

/// Moves an element from one list to another, or waits for one.
pub(super) fn blmove(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let route = Route { source: args.key()?, destination: args.key()?, from: end(args)?, to: end(args)? };
    route.travel_or_wait(cx, args, out, |cx| {
        let Route { source, destination, from, to } = route;
        cx.propagate(&[b"LMOVE", source, destination, end_name(from), end_name(to)]);
    })
}

/// Moves the last element of one list to the front of another, or waits for one.
pub(super) fn brpoplpush(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let route = Route { source: args.key()?, destination: args.key()?, from: End::Right, to: End::Left };
    route.travel_or_wait(cx, args, out, |cx| cx.propagate(&[b"RPOPLPUSH", route.source, route.destination]))
}

/// Where an element is taken from and where it goes.
#[derive(Clone, Copy)]
struct Route<'a> {
    source: &'a [u8],
    destination: &'a [u8],
    from: End,
    to: End,
}

impl Route<'_> {
    /// Moves and writes one element, and tells whether there is one.
    fn travel(self, cx: &mut Cx<'_>, out: &mut Reply<'_>) -> Result<bool> {
        let Route { source, destination, from, to } = self;
        match cx.keys.type_of(source) {
            Some(Type::List) => {}
            Some(_) if !cx.is_retry() => return Err(Error::WrongType),
            _ => return Ok(false),
        }
        if cx.keys.type_of(destination).is_some_and(|there| there != Type::List) {
            return Err(Error::WrongType);
        }
        let fill = fill(cx);
        let Some(mut list) = cx.keys.edit::<List>(source)? else { return Ok(false) };
        let Some(element) = list.pop(from, |item| item.to_vec()) else { return Ok(false) };
        out.bulk(&element);
        let emptied = list.is_empty();
        if source == destination {
            // The list turns; it must not be deleted for having been empty in between.
            list.push(to, &element);
            list.changed(pushed(to));
            drop(list);
            cx.keys.event(Class::List, popped(from), source);
            return Ok(true);
        }
        list.shrink(fill);
        drop(list);
        let mut list = cx.keys.edit_or_create::<List>(destination)?;
        list.reserve(fill, element.len(), 1);
        list.push(to, &element);
        list.changed(pushed(to));
        drop(list);
        // Redis tells of what was taken after what became of it.
        cx.keys.event(Class::List, popped(from), source);
        if emptied {
            cx.keys.event(Class::Generic, "del", source);
        }
        Ok(true)
    }

    /// Moves an element, or reads the timeout and waits for one; `propagate` is called after a move.
    fn travel_or_wait(
        self,
        cx: &mut Cx<'_>,
        args: &mut Args<'_>,
        out: &mut Reply<'_>,
        propagate: impl FnOnce(&mut Cx<'_>),
    ) -> Result<()> {
        let deadline = cx.deadline(args)?;
        if self.travel(cx, out)? {
            propagate(cx);
        } else if cx.mode == Mode::Transaction {
            // Only those who really waited are answered with an array.
            out.null();
        } else {
            cx.wait_for([self.source], deadline, OnTimeout::NullArray, out);
        }
        Ok(())
    }
}
