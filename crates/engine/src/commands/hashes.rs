//! Hashes: fields and their values under one key.

use base::number::LongDouble;
use keyspace::{Guard, Hash};
use structures::Item;

use super::reply_item;
use super::scan::{self, ScanOptions};
use crate::locks::{self, record::Record};
use crate::table::{self, Command, acl, at, command, does, key};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("HDEL", hdel)
        .summary("Removes fields from a hash.")
        .since("2.0.0")
        .complexity("O(N) where N is the number of fields to be removed.")
        .syntax("key field [field ...]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RW, key::DELETE]))]),
    command("HEXISTS", hexists)
        .summary("Returns whether a hash has a field.")
        .since("2.0.0")
        .complexity("O(1)")
        .syntax("key field")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::HASH])
        .keys(&[at(1, key::RO)]),
    command("HGET", hget)
        .summary("Returns the value of a field.")
        .since("2.0.0")
        .complexity("O(1)")
        .syntax("key field")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("HGETALL", hgetall)
        .summary("Returns all fields and values of a hash.")
        .since("2.0.0")
        .complexity("O(N) where N is the size of the hash.")
        .syntax("key")
        .flags(&[table::READONLY])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output_order"]),
    command("HINCRBY", hincrby)
        .summary("Adds a number to the integer in a field.")
        .since("2.0.0")
        .complexity("O(1)")
        .syntax("key field increment")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("HINCRBYFLOAT", hincrbyfloat)
        .summary("Adds a decimal number to the number in a field.")
        .since("2.6.0")
        .complexity("O(1)")
        .syntax("key field increment")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("HKEYS", hkeys)
        .summary("Returns all fields of a hash.")
        .since("2.0.0")
        .complexity("O(N) where N is the size of the hash.")
        .syntax("key")
        .flags(&[table::READONLY])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output_order"]),
    command("HLEN", hlen)
        .summary("Returns how many fields a hash has.")
        .since("2.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::HASH])
        .keys(&[at(1, key::RO)]),
    command("HMGET", hmget)
        .summary("Returns the values of several fields.")
        .since("2.0.0")
        .complexity("O(N) where N is the number of fields being requested.")
        .syntax("key field [field ...]")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("HMSET", hmset)
        .summary("Stores values in several fields.")
        .since("2.0.0")
        .complexity("O(N) where N is the number of fields being set.")
        .syntax("key field value [field value ...]")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RW, key::UPDATE]))]),
    command("HRANDFIELD", hrandfield)
        .summary("Returns fields of a hash by chance.")
        .since("6.2.0")
        .complexity("O(N) where N is the number of fields returned")
        .syntax("key [count [WITHVALUES]]")
        .flags(&[table::READONLY])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
    command("HSCAN", hscan)
        .summary("Iterates over the fields and values of a hash.")
        .since("2.8.0")
        .complexity("O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.")
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .flags(&[table::READONLY])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
    command("HSET", hset)
        .summary("Stores values in fields and returns how many are new.")
        .since("2.0.0")
        .complexity("O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with multiple field/value pairs.")
        .syntax("key field value [field value ...]")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RW, key::UPDATE]))]),
    command("HSETNX", hsetnx)
        .summary("Stores a value in a field that does not exist.")
        .since("2.0.0")
        .complexity("O(1)")
        .syntax("key field value")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RW, key::INSERT]))]),
    command("HSTRLEN", hstrlen)
        .summary("Returns the length of a field's value.")
        .since("3.2.0")
        .complexity("O(1)")
        .syntax("key field")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::HASH])
        .keys(&[at(1, key::RO)]),
    command("HVALS", hvals)
        .summary("Returns all values of a hash.")
        .since("2.0.0")
        .complexity("O(N) where N is the size of the hash.")
        .syntax("key")
        .flags(&[table::READONLY])
        .acl(&[acl::HASH])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output_order"]),
];

/// Stores values in fields.
fn hset(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let created = set_fields(cx, args)?;
    out.int(created as i64);
    Ok(())
}

/// Stores values in fields: HSET's old form.
fn hmset(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    set_fields(cx, args)?;
    out.ok();
    Ok(())
}

fn set_fields(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<usize> {
    let key = args.key()?;
    if !args.left().is_multiple_of(2) {
        return Err(Error::Arity(cx.row.name.clone().into()));
    }
    let (mut limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let pairs = args.left() / 2;
    let guard = args.peek().zip(args.peek_at(1)).and_then(|(field, value)| Guard::of_fields(field, value));
    if guard.is_some() {
        limits = locks::record::limits(limits);
    }
    let mut hash = cx.keys.edit_or_create::<Hash>(key)?;
    // One argument too long for a listpack makes a table of the hash before anything is stored.
    hash.fit(args.rest(), &limits, seed);
    let mut created = 0;
    for _ in 0..pairs {
        created += usize::from(hash.set(args.next()?, args.next()?, &limits, seed));
    }
    hash.changed("hset");
    hash.count(pairs as u64 - 1);
    if guard.is_some() {
        let record = Record::of(&hash);
        drop(hash);
        if let Some(guard) = guard {
            let lease = record.map(|record| record.lease);
            cx.server.note_guard(cx.keys.space, cx.keys.db, key, guard, lease, cx.now);
        }
    }
    Ok(created)
}

/// Stores a value in a field that does not exist.
fn hsetnx(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, field, value) = (args.key()?, args.next()?, args.next()?);
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let mut hash = cx.keys.edit_or_create::<Hash>(key)?;
    let missing = !hash.contains(field);
    if missing {
        hash.fit([field, value], &limits, seed);
        hash.set(field, value, &limits, seed);
        hash.changed("hset");
    }
    out.int(i64::from(missing));
    Ok(())
}

/// Returns the value of a field.
fn hget(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, field) = (args.key()?, args.next()?);
    let hash = cx.keys.read::<Hash>(key)?;
    match hash.as_ref().and_then(|hash| hash.get(field)) {
        Some(value) => reply_item(value, out),
        None => out.null(),
    }
    Ok(())
}

/// Returns the values of several fields.
fn hmget(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let hash = cx.keys.read::<Hash>(key)?;
    out.array(args.left());
    for field in args.rest() {
        match hash.as_ref().and_then(|hash| hash.get(field)) {
            Some(value) => reply_item(value, out),
            None => out.null(),
        }
    }
    Ok(())
}

/// Returns whether a field is there.
fn hexists(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, field) = (args.key()?, args.next()?);
    let there = cx.keys.read::<Hash>(key)?.is_some_and(|hash| hash.contains(field));
    out.int(i64::from(there));
    Ok(())
}

/// Returns how many fields there are.
fn hlen(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let len = cx.keys.read::<Hash>(args.key()?)?.map_or(0, |hash| hash.len());
    out.int(len as i64);
    Ok(())
}

/// Returns the length of a field's value.
fn hstrlen(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, field) = (args.key()?, args.next()?);
    let hash = cx.keys.read::<Hash>(key)?;
    let len = hash.as_ref().and_then(|hash| hash.get(field)).map_or(0, |value| value.text_len());
    out.int(len as i64);
    Ok(())
}

/// Removes fields.
fn hdel(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let mut removed = 0;
    if let Some(mut hash) = cx.keys.edit::<Hash>(key)? {
        removed = args.rest().filter(|field| hash.remove(field)).count();
        if removed > 0 {
            hash.changed("hdel");
            hash.count(removed as u64 - 1);
        }
    }
    out.int(removed as i64);
    Ok(())
}

/// Returns all fields and values.
fn hgetall(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let Some(hash) = cx.keys.read::<Hash>(args.key()?)? else {
        out.map(0);
        return Ok(());
    };
    out.map(hash.len());
    for (field, value) in hash.iter() {
        reply_item(field, out);
        reply_item(value, out);
    }
    Ok(())
}

/// Returns all fields.
fn hkeys(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let Some(hash) = cx.keys.read::<Hash>(args.key()?)? else {
        out.array(0);
        return Ok(());
    };
    out.array(hash.len());
    hash.iter().for_each(|(field, _)| reply_item(field, out));
    Ok(())
}

/// Returns all values.
fn hvals(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let Some(hash) = cx.keys.read::<Hash>(args.key()?)? else {
        out.array(0);
        return Ok(());
    };
    out.array(hash.len());
    hash.iter().for_each(|(_, value)| reply_item(value, out));
    Ok(())
}

/// Adds to the integer in a field, a missing one read as 0.
fn hincrby(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, field, delta) = (args.key()?, args.next()?, args.int()?);
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let mut hash = cx.keys.edit_or_create::<Hash>(key)?;
    let value = match hash.get(field) {
        None => 0,
        Some(value) => value.to_int().ok_or(Error::text("ERR hash value is not an integer"))?,
    };
    let sum = value.checked_add(delta).ok_or(Error::Overflow)?;
    let text = base::number::IntText::new(sum);
    hash.fit([field, text.as_bytes()], &limits, seed);
    hash.set(field, text.as_bytes(), &limits, seed);
    hash.changed("hincrby");
    out.int(sum);
    Ok(())
}

/// Adds a decimal number to the number in a field; what is propagated is the outcome.
fn hincrbyfloat(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, field, delta) = (args.key()?, args.next()?, args.next()?);
    let delta = LongDouble::parse(delta).ok_or(Error::NotFloat)?;
    if !delta.is_finite() {
        return Err(Error::text("ERR value is NaN or Infinity"));
    }
    let (limits, seed) = (cx.keys.space.limits, cx.keys.space.seed);
    let mut hash = cx.keys.edit_or_create::<Hash>(key)?;
    let value = match hash.get(field) {
        None => LongDouble::from(0),
        Some(value) => {
            LongDouble::parse(value.text().as_bytes()).ok_or(Error::text("ERR hash value is not a float"))?
        }
    };
    let sum = value + delta;
    if !sum.is_finite() {
        return Err(Error::NotFinite);
    }
    let mut text = Vec::new();
    sum.push_text(&mut text);
    hash.fit([field, text.as_slice()], &limits, seed);
    hash.set(field, &text, &limits, seed);
    hash.changed("hincrbyfloat");
    drop(hash);
    cx.propagate(&[b"HSET", key, field, &text]);
    out.bulk(&text);
    Ok(())
}

/// Returns a field by chance, or several: distinct ones, or any when the count is negative.
fn hrandfield(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    if args.is_empty() {
        let mut rng = cx.keys.space.rng.clone();
        match cx.keys.read::<Hash>(key)?.as_ref().and_then(|hash| hash.random(&mut rng)) {
            Some((field, _)) => reply_item(field, out),
            None => out.null(),
        }
        cx.keys.space.rng = rng;
        return Ok(());
    }
    let count = args.int()?;
    let with_values = !args.is_empty();
    if with_values && !(args.accept("WITHVALUES") && args.is_empty()) {
        return Err(Error::Syntax);
    }
    if count == i64::MIN {
        return Err(Error::from(format!(
            "ERR value is out of range, value must between {} and {}",
            -i64::MAX,
            i64::MAX
        )));
    }
    if with_values && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
        return Err(Error::OutOfRange);
    }
    let mut rng = cx.keys.space.rng.clone();
    let Some(hash) = cx.keys.read::<Hash>(key)? else {
        out.array(0);
        return Ok(());
    };
    super::check_draws(count)?;
    let nested = with_values && out.protocol == crate::Protocol::Resp3;
    let reply = |field: Item<'_>, value: Item<'_>, out: &mut Reply<'_>| {
        if nested {
            out.array(2);
        }
        reply_item(field, out);
        if with_values {
            reply_item(value, out);
        }
    };
    let per_field = if with_values && !nested { 2 } else { 1 };
    if count < 0 {
        let count = count.unsigned_abs() as usize;
        out.array(count * per_field);
        for _ in 0..count {
            if let Some((field, value)) = hash.random(&mut rng) {
                reply(field, value, out);
            }
        }
    } else {
        let mut wanted = (count as usize).min(hash.len());
        out.array(wanted * per_field);
        if wanted * 8 < hash.len() {
            // Few of many: draw until that many are distinct.
            let mut drawn = std::collections::BTreeSet::new();
            while drawn.len() < wanted {
                let Some((field, value)) = hash.random(&mut rng) else { break };
                if drawn.insert(field.to_vec()) {
                    reply(field, value, out);
                }
            }
        } else {
            // Each field in turn, with the chance that leaves all choices equally likely.
            let mut left = hash.len();
            for (field, value) in hash.iter() {
                if rng.below(left as u64) < wanted as u64 {
                    reply(field, value, out);
                    wanted -= 1;
                }
                left -= 1;
            }
        }
    }
    cx.keys.space.rng = rng;
    Ok(())
}

/// Iterates over fields and values.
fn hscan(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let cursor = scan::cursor(args)?;
    let Some(hash) = cx.keys.read::<Hash>(key)? else {
        scan::reply_nothing(out);
        return Ok(());
    };
    let options = ScanOptions::parse(args, false)?;
    let mut found: Vec<u8> = Vec::new();
    let mut elements = Reply::new(&mut found, out.protocol);
    let mut count = 0;
    let next = options.walk(cursor, |cursor| {
        let mut met = 0;
        let next = hash.scan(cursor, |field, value| {
            met += 1;
            if options.matches(field.text().as_bytes()) {
                reply_item(field, &mut elements);
                reply_item(value, &mut elements);
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
