//! Strings: whole values, ranges of them, and counters.

use keyspace::{Class, Keys, Stamp};

use crate::table::{self, Command, acl, at, command, does, key};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("GET", get)
        .summary("Returns the string at a key.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("INCR", incr)
        .summary("Adds one to the integer at a key.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("SET", set)
        .summary("Stores a string at a key, whatever it held before.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE, key::VARIABLE_FLAGS]))]),
];

/// Writes a string, or null for a missing one.
fn reply_text(keys: &mut Keys<'_>, key: &[u8], out: &mut Reply<'_>) -> Result<()> {
    match keys.text(key)? {
        None => out.null(),
        Some(keyspace::Text::Int(n)) => out.bulk_int(n),
        Some(keyspace::Text::Bytes(bytes)) => out.bulk(bytes),
    }
    Ok(())
}

/// Returns the string at a key.
fn get(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_text(&mut cx.keys, args.key()?, out)
}

/// Stores a string, under conditions and with an expiry if asked for.
fn set(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, value) = (args.key()?, args.next()?);
    if args.is_empty() {
        cx.keys.set_text(key, value, Stamp::Clear);
        cx.keys.changed(Class::String, "set", key);
        out.ok();
        return Ok(());
    }
    Err(Error::Syntax)
}

/// Adds one to the integer at a key, a missing one read as 0.
fn incr(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    add(cx, args.key()?, 1, out)
}

/// Adds `delta` to the integer at a key.
fn add(cx: &mut Cx<'_>, key: &[u8], delta: i64, out: &mut Reply<'_>) -> Result<()> {
    let mut text = cx.keys.edit_text(key)?;
    let value = text.text().map_or(Some(0), |t| t.int()).ok_or(Error::NotInteger)?;
    let sum = value.checked_add(delta).ok_or(Error::Overflow)?;
    text.set_int(sum);
    text.changed("incrby");
    out.int(sum);
    Ok(())
}
