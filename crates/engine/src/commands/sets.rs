//! Sets: members one by one, by chance, and in turn. What combines several sets is in `set_algebra`.

use keyspace::{Listening, Set, Type, Value};

use super::lists::NOT_POSITIVE;
use super::reply_item;
use super::scan::{self, ScanOptions};
use super::set_algebra::{sdiff, sdiffstore, sinter, sintercard, sinterstore, sunion, sunionstore};
use crate::table::{self, Command, acl, at, command, counted, does, key, range};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("SADD", sadd)
        .summary("Adds members to a set, which is created if it is missing.")
        .since("1.0.0")
        .complexity("O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.")
        .syntax("key member [member ...]")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::SET])
        .keys(&[at(1, does(&[key::RW, key::INSERT]))]),
    command("SCARD", scard)
        .summary("Returns the number of members in a set.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::SET])
        .keys(&[at(1, key::RO)]),
    command("SDIFF", sdiff)
        .summary("Returns the members of the first set that are in none of the others.")
        .since("1.0.0")
        .complexity("O(N) where N is the total number of elements in all given sets.")
        .syntax("key [key ...]")
        .flags(&[table::READONLY])
        .acl(&[acl::SET])
        .keys(&[range(1, -1, 1, 0, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output_order"]),
    command("SDIFFSTORE", sdiffstore)
        .summary("Stores the members of the first set that are in none of the others at a key.")
        .since("1.0.0")
        .complexity("O(N) where N is the total number of elements in all given sets.")
        .syntax("destination key [key ...]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::SET])
        .keys(&[at(1, does(&[key::OW, key::UPDATE])), range(2, -1, 1, 0, does(&[key::RO, key::ACCESS]))]),
    command("SINTER", sinter)
        .summary("Returns the members that all sets have.")
        .since("1.0.0")
        .complexity("O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.")
        .syntax("key [key ...]")
        .flags(&[table::READONLY])
        .acl(&[acl::SET])
        .keys(&[range(1, -1, 1, 0, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output_order"]),
    command("SINTERCARD", sintercard)
        .summary("Returns how many members all sets have.")
        .since("7.0.0")
        .complexity("O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.")
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .flags(&[table::READONLY])
        .acl(&[acl::SET])
        .keys(&[counted(1, 0, 1, 1, does(&[key::RO, key::ACCESS]))]),
    command("SINTERSTORE", sinterstore)
        .summary("Stores the members that all sets have at a key.")
        .since("1.0.0")
        .complexity("O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.")
        .syntax("destination key [key ...]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::SET])
        .keys(&[at(1, does(&[key::RW, key::UPDATE])), range(2, -1, 1, 0, does(&[key::RO, key::ACCESS]))]),
    command("SISMEMBER", sismember)
        .summary("Tells whether a member is in a set.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key member")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::SET])
        .keys(&[at(1, key::RO)]),
    command("SMEMBERS", smembers)
        .summary("Returns all members of a set.")
        .since("1.0.0")
        .complexity("O(N) where N is the set cardinality.")
        .syntax("key")
        .flags(&[table::READONLY])
        .acl(&[acl::SET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output_order"]),
    command("SMISMEMBER", smismember)
        .summary("Tells of several members whether they are in a set.")
        .since("6.2.0")
        .complexity("O(N) where N is the number of elements being checked for membership")
        .syntax("key member [member ...]")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::SET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("SMOVE", smove)
        .summary("Moves a member from one set to another.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("source destination member")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::SET])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::DELETE])), at(2, does(&[key::RW, key::INSERT]))]),
    command("SPOP", spop)
        .summary("Removes members by chance from a set and returns them.")
        .since("1.0.0")
        .complexity("Without the count argument O(1), otherwise O(N) where N is the value of the passed count.")
        .syntax("key [count]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::SET])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::DELETE]))])
        .tips(&["nondeterministic_output"]),
    command("SRANDMEMBER", srandmember)
        .summary("Returns members of a set by chance.")
        .since("1.0.0")
        .complexity("Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.")
        .syntax("key [count]")
        .flags(&[table::READONLY])
        .acl(&[acl::SET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
    command("SREM", srem)
        .summary("Removes members from a set.")
        .since("1.0.0")
        .complexity("O(N) where N is the number of members to be removed.")
        .syntax("key member [member ...]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::SET])
        .keys(&[at(1, does(&[key::RW, key::DELETE]))]),
    command("SSCAN", sscan)
        .summary("Iterates over the members of a set.")
        .since("2.8.0")
        .complexity("O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.")
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .flags(&[table::READONLY])
        .acl(&[acl::SET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
    command("SUNION", sunion)
        .summary("Returns the members that any of the sets has.")
        .since("1.0.0")
        .complexity("O(N) where N is the total number of elements in all given sets.")
        .syntax("key [key ...]")
        .flags(&[table::READONLY])
        .acl(&[acl::SET])
        .keys(&[range(1, -1, 1, 0, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output_order"]),
    command("SUNIONSTORE", sunionstore)
        .summary("Stores the members that any of the sets has at a key.")
        .since("1.0.0")
        .complexity("O(N) where N is the total number of elements in all given sets.")
        .syntax("destination key [key ...]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::SET])
        .keys(&[at(1, does(&[key::OW, key::UPDATE])), range(2, -1, 1, 0, does(&[key::RO, key::ACCESS]))]),
];

/// Members named in one propagated SREM.
const SREM_BATCH: usize = 1024;

/// Adds members.
fn sadd(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let mut set = cx.keys.edit_or_create::<Set>(key)?;
    if let Some(first) = args.peek() {
        set.reserve(first, args.left(), &limits, seed);
    }
    let added = args.rest().filter(|member| set.add(member, &limits, seed)).count();
    if added > 0 {
        set.changed("sadd");
        set.count(added as u64 - 1);
    }
    out.int(added as i64);
    Ok(())
}

/// Removes members.
fn srem(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let mut removed = 0;
    if let Some(mut set) = cx.keys.edit::<Set>(key)? {
        removed = args.rest().filter(|member| set.remove(member)).count();
        if removed > 0 {
            set.changed("srem");
            set.count(removed as u64 - 1);
        }
    }
    out.int(removed as i64);
    Ok(())
}

/// Moves a member from one set to another.
fn smove(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (source, destination, member) = (args.key()?, args.key()?, args.next()?);
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let destination_type = cx.keys.type_of(destination);
    let Some(mut set) = cx.keys.edit::<Set>(source)? else {
        out.int(0);
        return Ok(());
    };
    if destination_type.is_some_and(|there| there != Type::Set) {
        return Err(Error::WrongType);
    }
    if source == destination {
        out.int(i64::from(set.contains(member)));
        return Ok(());
    }
    if !set.remove(member) {
        out.int(0);
        return Ok(());
    }
    set.changed("srem");
    drop(set);
    let mut set = cx.keys.edit_or_create::<Set>(destination)?;
    if set.add(member, &limits, seed) {
        set.changed("sadd");
    }
    out.int(1);
    Ok(())
}

/// Tells whether a member is in a set.
fn sismember(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, member) = (args.key()?, args.next()?);
    let is_member = cx.keys.read::<Set>(key)?.is_some_and(|set| set.contains(member));
    out.int(i64::from(is_member));
    Ok(())
}

/// Tells of several members whether they are in a set.
fn smismember(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let set = cx.keys.read::<Set>(args.key()?)?;
    out.array(args.left());
    for member in args.rest() {
        out.int(i64::from(set.as_ref().is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

/// Returns the number of members.
fn scard(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let len = cx.keys.read::<Set>(args.key()?)?.map_or(0, |set| set.len());
    out.int(len as i64);
    Ok(())
}

/// Returns all members.
fn smembers(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    match cx.keys.read::<Set>(args.key()?)? {
        Some(set) => reply_set(&set, out),
        None => out.set(0),
    }
    Ok(())
}

/// Writes a set.
pub(super) fn reply_set(set: &Set, out: &mut Reply<'_>) {
    out.set(set.len());
    set.iter().for_each(|member| reply_item(member, out));
}

/// Removes one member by chance, or as many as wanted.
fn spop(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let count = match args.left() {
        0 => None,
        1 => Some(args.int_in(0..=i64::MAX, NOT_POSITIVE)? as usize),
        _ => return Err(Error::Syntax),
    };
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    // What is propagated names the members, so they are kept; with nobody listening none are.
    let listening = cx.keys.space.recorder.listening.any(Listening::PROPAGATE);
    let Some(mut set) = cx.keys.edit::<Set>(key)? else {
        match count {
            None => out.null(),
            Some(_) => out.set(0),
        }
        return Ok(());
    };
    match count {
        Some(0) => out.set(0),
        Some(count) if count >= set.len() => {
            reply_set(&set, out);
            set.changed("spop");
            set.count(set.len() as u64 - 1);
            let popped = set.take();
            drop(set);
            cx.keys.space.recorder.discard(Value::Set(popped));
            let lazy = cx.server.config.lazyfree_lazy_server_del;
            cx.propagate(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
        }
        Some(count) => {
            out.set(count);
            let mut popped = Vec::new();
            set.pop_many(count, &mut cx.server.rng, &limits, seed, |member| {
                reply_item(member, out);
                if listening {
                    popped.push(member.to_vec());
                }
            });
            set.changed("spop");
            set.count(count as u64 - 1);
            drop(set);
            for batch in popped.chunks(SREM_BATCH) {
                let mut argv: Vec<&[u8]> = vec![b"SREM", key];
                argv.extend(batch.iter().map(Vec::as_slice));
                cx.propagate(&argv);
            }
        }
        None => {
            let popped = set.pop_random(&mut cx.server.rng, |member| {
                reply_item(member, out);
                listening.then(|| member.to_vec())
            });
            set.changed("spop");
            drop(set);
            if let Some(Some(member)) = popped {
                cx.propagate(&[b"SREM", key, &member]);
            }
        }
    }
    Ok(())
}

/// Returns one member by chance, or several: distinct ones, or any when the count is negative.
fn srandmember(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let rng = &mut cx.server.rng;
    let count = match args.left() {
        0 => None,
        1 => Some(args.signed_count()?),
        _ => return Err(Error::Syntax),
    };
    let Some(set) = cx.keys.read::<Set>(key)? else {
        match count {
            None => out.null(),
            Some(_) => out.array(0),
        }
        return Ok(());
    };
    super::check_draws(count.unwrap_or(0))?;
    let mut draw = |out: &mut Reply<'_>| {
        if let Some(member) = set.random(rng) {
            reply_item(member, out);
        }
    };
    match count {
        None => draw(out),
        Some(count) if count < 0 => {
            let count = count.unsigned_abs() as usize;
            out.array(count);
            (0..count).for_each(|_| draw(out));
        }
        Some(count) => {
            let count = (count as usize).min(set.len());
            out.array(count);
            set.choose(count, rng, |member| reply_item(member, out));
        }
    }
    Ok(())
}

/// Iterates over the members.
fn sscan(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let cursor = scan::cursor(args)?;
    let Some(set) = cx.keys.read::<Set>(key)? else {
        scan::reply_nothing(out);
        return Ok(());
    };
    let options = ScanOptions::parse(args, false)?;
    let mut found: Vec<u8> = Vec::new();
    let mut members = Reply::new(&mut found, out.protocol);
    let mut count = 0;
    let next = options.walk(cursor, |cursor| {
        let mut met = 0;
        let next = set.scan(cursor, |member| {
            met += 1;
            if options.matches(member.text().as_bytes()) {
                reply_item(member, &mut members);
                count += 1;
            }
        });
        (next, met)
    });
    scan::reply_cursor(next, out);
    out.array(count);
    out.raw(&found);
    Ok(())
}
