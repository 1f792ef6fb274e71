//! Keys whatever they hold: deleting, copying, moving, renaming, listing.

use base::glob::glob_match;
use base::number::parse_i64;
use keyspace::keys::{duplicate, rename as with_key, type_of};
use keyspace::{Class, Entry};

use super::scan::{self, ScanOptions, Wanted};
use crate::table::{self, Command, acl, at, command, does, key, range};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("COPY", copy)
        .summary("Copies a key's value and expiry to another key.")
        .since("6.2.0")
        .complexity("O(N) worst case for collections, where N is the number of nested items. O(1) for string values.")
        .syntax("source destination [DB destination-db] [REPLACE]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RO, key::ACCESS])), at(2, does(&[key::OW, key::UPDATE]))]),
    command("DEL", del)
        .summary("Deletes keys.")
        .since("1.0.0")
        .complexity("O(N) where N is the number of keys that will be removed. When a key to remove holds a value other than a string, the individual complexity for this key is O(M) where M is the number of elements in the list, set, sorted set or hash. Removing a single key that holds a string value is O(1).")
        .syntax("key [key ...]")
        .flags(&[table::WRITE])
        .acl(&[acl::KEYSPACE])
        .keys(&[range(1, -1, 1, 0, does(&[key::RM, key::DELETE]))])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
    command("EXISTS", exists)
        .summary("Counts those of the given keys that exist.")
        .since("1.0.0")
        .complexity("O(N) where N is the number of keys to check.")
        .syntax("key [key ...]")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[range(1, -1, 1, 0, key::RO)])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
    command("KEYS", keys)
        .summary("Returns all keys that match a pattern.")
        .since("1.0.0")
        .complexity("O(N) with N being the number of keys in the database, under the assumption that the key names in the database and the given pattern have limited length.")
        .syntax("pattern")
        .flags(&[table::READONLY])
        .acl(&[acl::KEYSPACE, acl::DANGEROUS])
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"]),
    command("MOVE", move_to)
        .summary("Moves a key to another database.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key db")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("RANDOMKEY", randomkey)
        .summary("Returns a random key.")
        .since("1.0.0")
        .complexity("O(1)")
        .flags(&[table::READONLY])
        .acl(&[acl::KEYSPACE])
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"]),
    command("RENAME", rename)
        .summary("Gives a key another name, whatever was there before.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key newkey")
        .flags(&[table::WRITE])
        .acl(&[acl::KEYSPACE])
        .keys(&[
            at(1, does(&[key::RW, key::ACCESS, key::DELETE])),
            at(2, does(&[key::OW, key::UPDATE])),
        ]),
    command("RENAMENX", renamenx)
        .summary("Gives a key another name, if that is free.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key newkey")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[
            at(1, does(&[key::RW, key::ACCESS, key::DELETE])),
            at(2, does(&[key::OW, key::INSERT])),
        ]),
    command("SCAN", scan)
        .summary("Returns some of the keys, and the cursor with which to ask for more.")
        .since("2.8.0")
        .complexity("O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.")
        .syntax("cursor [MATCH pattern] [COUNT count] [TYPE type]")
        .flags(&[table::READONLY])
        .acl(&[acl::KEYSPACE])
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"]),
    command("TOUCH", touch)
        .summary("Counts those of the given keys that exist, and marks them as just used.")
        .since("3.2.1")
        .complexity("O(N) where N is the number of keys that will be touched.")
        .syntax("key [key ...]")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[range(1, -1, 1, 0, key::RO)])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
    command("TYPE", type_name)
        .summary("Returns the type of the value at a key.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, key::RO)]),
    command("UNLINK", unlink)
        .summary("Deletes keys and frees what they held in the background.")
        .since("4.0.0")
        .complexity("O(1) for each key removed regardless of its size. Then the command does O(N) work in a different thread in order to reclaim memory, where N is the number of allocations the deleted objects where composed of.")
        .syntax("key [key ...]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[range(1, -1, 1, 0, does(&[key::RM, key::DELETE]))])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
];

const SAME_OBJECT: Error = Error::text("ERR source and destination objects are the same");

/// Random keys looked at before one past its expiry is returned, where such keys may not be deleted.
const RANDOM_TRIES: usize = 100;

/// Reads the number of a database.
pub(super) fn database(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<usize> {
    const RANGE: Error =
        Error::text("ERR value is out of range, value must between -2147483648 and 2147483647");
    let number = parse_i64(args.next()?).ok_or(Error::NotInteger)?;
    if i32::try_from(number).is_err() {
        return Err(RANGE);
    }
    let known = usize::try_from(number).ok().filter(|db| *db < cx.keys.space.dbs.len());
    known.ok_or(Error::DbIndex)
}

/// Deletes keys, freeing them on the spot unless configured otherwise.
fn del(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let lazy = cx.server.config.lazyfree_lazy_user_del;
    delete_all(cx, args, lazy, out)
}

/// Deletes keys, leaving it to the background to free what is large.
fn unlink(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    delete_all(cx, args, true, out)
}

fn delete_all(cx: &mut Cx<'_>, args: &mut Args<'_>, lazy: bool, out: &mut Reply<'_>) -> Result<()> {
    let mut deleted = 0;
    for key in args.rest() {
        deleted += i64::from(cx.keys.delete(key, "del", lazy));
    }
    out.int(deleted);
    Ok(())
}

/// Counts the keys that exist, as often as they are named.
fn exists(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let count = args.rest().filter(|key| cx.keys.inspect(key).is_some()).count();
    out.int(count as i64);
    Ok(())
}

/// Counts the keys that exist and marks them as just used, even where the client asked for reads to leave no trace.
fn touch(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    cx.keys.no_touch = false;
    let count = args.rest().filter(|key| cx.keys.lookup(key).is_some()).count();
    out.int(count as i64);
    Ok(())
}

/// Returns the name of the type at a key.
fn type_name(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.simple(cx.keys.inspect(args.key()?).map_or("none", |entry| type_of(entry).name()));
    Ok(())
}

/// Copies a value and its expiry, here or to another database.
fn copy(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (source, destination) = (args.key()?, args.key()?);
    let (mut db, mut replace) = (cx.keys.db, false);
    while !args.is_empty() {
        if args.accept("REPLACE") {
            replace = true;
        } else if args.left() > 1 && args.accept("DB") {
            db = database(cx, args)?;
        } else {
            return Err(Error::Syntax);
        }
    }
    if db == cx.keys.db && source == destination {
        return Err(SAME_OBJECT);
    }
    if !cx.keys.refresh(source) || (cx.keys.other(db).exists(destination) && !replace) {
        out.int(0);
        return Ok(());
    }
    let original = cx.keys.live(source).expect("just refreshed");
    let mut copy = duplicate(original, destination, original.stamp());
    copy.set_age(cx.keys.initial_age());
    cx.server.note_entry(cx.keys.space, db, destination, &mut copy, cx.now);
    let mut there = cx.keys.other(db);
    put_over(&mut there, copy, true);
    there.changed(Class::Generic, "copy_to", destination);
    out.int(1);
    Ok(())
}

/// Puts an entry in the place of another of its key, if there is one.
fn put_over(keys: &mut keyspace::Keys<'_>, entry: Entry, lazy: bool) {
    if let Some(old) = keys.take(entry.key()) {
        keys.release(old, lazy);
    }
    keys.put(entry);
}

/// Moves a key to another database that does not have it.
fn move_to(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let db = database(cx, args)?;
    if db == cx.keys.db {
        return Err(SAME_OBJECT);
    }
    if !cx.keys.exists(key) || cx.keys.other(db).exists(key) {
        out.int(0);
        return Ok(());
    }
    let mut entry = cx.keys.take(key).expect("just looked at");
    cx.server.note_entry(cx.keys.space, db, key, &mut entry, cx.now);
    cx.keys.other(db).put(entry);
    cx.keys.changed(Class::Generic, "move_from", key);
    cx.keys.other(db).event(Class::Generic, "move_to", key);
    out.int(1);
    Ok(())
}

/// Gives a key another name.
fn rename(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    rename_key(cx, args, false)?;
    out.ok();
    Ok(())
}

/// Gives a key another name unless that is taken.
fn renamenx(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let renamed = rename_key(cx, args, true)?;
    out.int(i64::from(renamed));
    Ok(())
}

/// Renames a key and returns whether it was; where the names are the same there is nothing to do.
fn rename_key(cx: &mut Cx<'_>, args: &mut Args<'_>, if_free: bool) -> Result<bool> {
    let (old, new) = (args.key()?, args.key()?);
    if !cx.keys.exists(old) {
        return Err(Error::NoSuchKey);
    }
    if old == new || (cx.keys.exists(new) && if_free) {
        return Ok(false);
    }
    let mut entry = cx.keys.take(old).expect("just looked at");
    cx.server.note_entry(cx.keys.space, cx.keys.db, new, &mut entry, cx.now);
    put_over(&mut cx.keys, with_key(entry, new), true);
    cx.keys.changed(Class::Generic, "rename_from", old);
    cx.keys.event(Class::Generic, "rename_to", new);
    Ok(true)
}

/// Returns a random key that is not past its expiry.
fn randomkey(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let db = cx.keys.db;
    let mut tries = 0;
    loop {
        let space = &mut *cx.keys.space;
        let Some(entry) = space.dbs[db].table.random(&mut space.rng) else { break out.null() };
        tries += 1;
        if entry.stamp().is_none_or(|at| at > cx.now.unix_ms())
            || (space.keep_expired && tries == RANDOM_TRIES)
        {
            break out.bulk(entry.key());
        }
        let expired: Box<[u8]> = entry.key().into();
        cx.keys.exists(&expired);
    }
    Ok(())
}

/// Returns all keys that match a pattern.
fn keys(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let pattern = args.next()?;
    let (mark, mut count) = (out.defer(), 0);
    let table = &cx.keys.space.dbs[cx.keys.db].table;
    for entry in table {
        let matches = pattern == b"*" || glob_match(pattern, entry.key(), false);
        if matches && entry.stamp().is_none_or(|at| at > cx.now.unix_ms()) {
            out.bulk(entry.key());
            count += 1;
        }
    }
    out.finish_array(mark, count);
    Ok(())
}

/// Returns the keys of some buckets and the cursor to go on from; expired ones are deleted on the way.
fn scan(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let cursor = scan::cursor(args)?;
    let options = ScanOptions::parse(args, true)?;
    let (now_ms, table) = (cx.now.unix_ms(), &cx.keys.space.dbs[cx.keys.db].table);
    // The cursor goes out before the keys but is known only after them.
    let mut found = Vec::new();
    let mut names = Reply::new(&mut found, out.protocol);
    let (mut count, mut expired) = (0, Vec::new());
    let next = options.walk(cursor, |cursor| {
        let mut met = 0;
        let next = table.scan(cursor, |entry| {
            met += 1;
            let wanted = match options.wanted {
                Wanted::Any => true,
                Wanted::Only(wanted) => type_of(entry) == wanted,
                Wanted::Nothing => false,
            };
            if !options.matches(entry.key()) {
                return;
            }
            if entry.stamp().is_some_and(|at| at <= now_ms) {
                expired.push(Box::<[u8]>::from(entry.key()));
            } else if wanted {
                names.bulk(entry.key());
                count += 1;
            }
        });
        (next, met)
    });
    for key in expired {
        cx.keys.exists(&key);
    }
    scan::reply_cursor(next, out);
    out.array(count);
    out.out.extend_from_slice(&found);
    Ok(())
}
