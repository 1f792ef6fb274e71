//! DUMP and RESTORE: single values as bytes, for other servers as well.

use base::number::{IntText, parse_i64};
use keyspace::Class;
use keyspace::evict::{age_of_frequency, age_of_idle};
use rdb::Context;

use crate::table::{self, Command, acl, at, command, does, key};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("DUMP", dump)
        .summary("Returns the value at a key as bytes that RESTORE takes.")
        .since("2.6.0")
        .complexity("O(1) to access the key and additional O(N*M) to serialize it, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1).")
        .syntax("key")
        .flags(&[table::READONLY])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
    command("RESTORE", restore)
        .summary("Creates a key from the bytes that DUMP gave.")
        .since("2.6.0")
        .complexity("O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).")
        .syntax("key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::KEYSPACE, acl::DANGEROUS])
        .keys(&[at(1, does(&[key::OW, key::UPDATE]))]),
];

const BUSY: Error = Error::text("BUSYKEY Target key name already exists.");
const WRONG_FOOTER: Error = Error::text("ERR DUMP payload version or checksum are wrong");
const BAD_VALUE: Error = Error::text("ERR Bad data format");

/// Returns the value at a key as RESTORE takes it.
fn dump(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    match cx.keys.lookup(args.key()?) {
        Some(entry) => out.bulk(&rdb::dump(entry, rdb::VERSION)),
        None => out.null(),
    }
    Ok(())
}

/// What RESTORE is asked for beside the value.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    /// Reads all that is left.
    fn parse(args: &mut Args<'_>) -> Result<Options> {
        const IDLE: Error = Error::text("ERR Invalid IDLETIME value, must be >= 0");
        const FREQUENCY: Error = Error::text("ERR Invalid FREQ value, must be >= 0 and <= 255");
        let mut options = Options::default();
        while !args.is_empty() {
            if args.accept("REPLACE") {
                options.replace = true;
            } else if args.accept("ABSTTL") {
                options.absolute = true;
            } else if args.left() > 1 && options.frequency.is_none() && args.accept("IDLETIME") {
                options.idle = Some(u64::try_from(args.int()?).map_err(|_| IDLE)?);
            } else if args.left() > 1 && options.idle.is_none() && args.accept("FREQ") {
                options.frequency = Some(u8::try_from(args.int()?).map_err(|_| FREQUENCY)?);
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(options)
    }
}

/// Creates a key from what DUMP gave.
fn restore(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    const TTL: Error = Error::text("ERR Invalid TTL value, must be >= 0");
    let (key, ttl, payload) = (args.key()?, args.next()?, args.next()?);
    let options = Options::parse(args)?;
    if !options.replace && cx.keys.exists(key) {
        return Err(BUSY);
    }
    let ttl = parse_i64(ttl).ok_or(Error::NotInteger)?;
    let (now_ms, aging) = (cx.now.unix_ms(), cx.keys.space.aging);
    let stamp = match ttl {
        ..0 => return Err(TTL),
        0 => None,
        at if options.absolute => Some(at),
        after => Some(after.saturating_add(now_ms)),
    };
    let context = Context { limits: cx.keys.space.limits, seed: cx.keys.space.seed };
    let mut entry = rdb::restore(payload, key, stamp, &context).map_err(|error| match error {
        rdb::RestoreError::Checksum => WRONG_FOOTER,
        rdb::RestoreError::Value(_) => BAD_VALUE,
    })?;

    let lazy = cx.server.config.lazyfree_lazy_server_del;
    let replaced = cx.keys.take(key).map(|old| cx.keys.release(old, lazy)).is_some();
    // Where expired keys are kept, whoever deletes them has yet to say so.
    if stamp.is_some_and(|at| at <= now_ms) && !cx.keys.space.keep_expired {
        if replaced {
            cx.keys.changed(Class::Generic, "del", key);
            cx.propagate(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
        }
        out.ok();
        return Ok(());
    }
    let idle = options.idle.and_then(|seconds| age_of_idle(aging, seconds, now_ms));
    let frequency = options.frequency.and_then(|frequency| age_of_frequency(aging, frequency, now_ms));
    entry.set_age(idle.or(frequency).unwrap_or_else(|| cx.keys.initial_age()));
    cx.server.note_entry(cx.keys.space, cx.keys.db, key, &mut entry, cx.now);
    cx.keys.put(entry);
    cx.keys.changed(Class::Generic, "restore", key);
    if let (Some(at), false) = (stamp, options.absolute) {
        // The same request, but with the moment instead of the time from now.
        let moment = IntText::new(at);
        let mut words: Vec<&[u8]> = args.request().iter().collect();
        words[2] = moment.as_bytes();
        words.push(b"ABSTTL");
        cx.propagate(&words);
    }
    out.ok();
    Ok(())
}
