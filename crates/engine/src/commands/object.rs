//! OBJECT: how values are kept, and how they age.

use keyspace::Entry;
use keyspace::db::Aging;
use keyspace::evict::{idle_ms, lfu_counter};
use keyspace::keys::encoding_of;
use structures::Payload;

use super::help;
use crate::table::{self, Command, acl, at, command, container, key};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[container("OBJECT", OBJECT)
    .summary("Tells how values are kept.")
    .since("2.2.3")
    .complexity("Depends on subcommand.")];

const OBJECT: &[Command] = &[
    command("ENCODING", encoding)
        .summary("Returns the name of the encoding that a key's value is kept in.")
        .since("2.2.3")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(2, key::RO)])
        .tips(&["nondeterministic_output"]),
    command("FREQ", freq)
        .summary("Returns how often a key was used lately, on a logarithmic scale.")
        .since("4.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(2, key::RO)])
        .tips(&["nondeterministic_output"]),
    command("HELP", object_help)
        .summary("Lists the subcommands.")
        .since("6.2.0")
        .complexity("O(1)")
        .flags(&[table::LOADING, table::STALE])
        .acl(&[acl::KEYSPACE]),
    command("IDLETIME", idletime)
        .summary("Returns the seconds since a key was used last.")
        .since("2.2.3")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(2, key::RO)])
        .tips(&["nondeterministic_output"]),
    command("REFCOUNT", refcount)
        .summary("Returns how many references to a key's value there are.")
        .since("2.2.3")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(2, key::RO)])
        .tips(&["nondeterministic_output"]),
];

/// Integers below this one are shared objects in Redis, whose count of references says so.
const SHARED_INTEGERS: i64 = 10_000;

const NO_LFU: Error = Error::text(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
const LFU: Error = Error::text(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);

/// Finds a key without a trace but for the count of hits and misses.
fn find<'c>(cx: &'c mut Cx<'_>, args: &mut Args<'_>) -> Result<Option<&'c Entry>> {
    let key = args.key()?;
    let found = cx.keys.exists(key);
    let recorder = &mut cx.keys.space.recorder;
    *if found { &mut recorder.hits } else { &mut recorder.misses } += 1;
    Ok(cx.keys.live(key))
}

/// Returns the encoding of a value.
fn encoding(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    match find(cx, args)? {
        Some(entry) => out.bulk(encoding_of(entry).as_bytes()),
        None => out.null(),
    }
    Ok(())
}

/// Returns the access counter of a key, decayed up to now.
fn freq(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (aging, now_ms) = (cx.keys.space.aging, cx.now.unix_ms());
    match (find(cx, args)?, aging) {
        (None, _) => out.null(),
        (Some(_), Aging::Lru) => return Err(NO_LFU),
        (Some(entry), Aging::Lfu { decay_minutes, .. }) => {
            out.int(i64::from(lfu_counter(entry.age(), decay_minutes, now_ms)));
        }
    }
    Ok(())
}

/// Returns the seconds for which a key was not used.
fn idletime(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (aging, now_ms) = (cx.keys.space.aging, cx.now.unix_ms());
    match (find(cx, args)?, aging) {
        (None, _) => out.null(),
        (Some(_), Aging::Lfu { .. }) => return Err(LFU),
        (Some(entry), Aging::Lru) => out.int((idle_ms(entry, now_ms) / 1000) as i64),
    }
    Ok(())
}

/// Returns 1, or what Redis answers for the small integers that it shares.
fn refcount(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    // With a limit on memory, Redis shares no integers if it needs each one's age.
    let shares = cx.server.config.maxmemory == 0 || !crate::commands::config::ages(&cx.server.config);
    match find(cx, args)? {
        Some(entry) if shares && is_small_integer(entry) => out.int(i64::from(i32::MAX)),
        Some(_) => out.int(1),
        None => out.null(),
    }
    Ok(())
}

fn is_small_integer(entry: &Entry) -> bool {
    match entry.payload() {
        Payload::Word(word) => matches!(*word, keyspace::Value::Int(n) if (0..SHARED_INTEGERS).contains(&n)),
        Payload::Bytes(_) => false,
    }
}

fn object_help(cx: &mut Cx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    help(
        cx,
        out,
        &[
            (
                "ENCODING <key>",
                "Return the kind of internal representation used in order to store the value\nassociated with a <key>.",
            ),
            (
                "FREQ <key>",
                "Return the access frequency index of the <key>. The returned integer is\nproportional to the logarithm of the recent access frequency of the key.",
            ),
            (
                "IDLETIME <key>",
                "Return the idle time of the <key>, that is the approximated number of\nseconds elapsed since the last access to the key.",
            ),
            (
                "REFCOUNT <key>",
                "Return the number of references of the value associated with the specified\n<key>.",
            ),
        ],
    );
    Ok(())
}
