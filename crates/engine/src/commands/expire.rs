//! When keys end: setting, reading and clearing expiries.

use base::number::{IntText, parse_i64};
use keyspace::Class;

use crate::table::{self, Command, acl, at, command, does, key};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("EXPIRE", expire)
        .summary("Lets a key expire after some seconds.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key seconds [NX | XX | GT | LT]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RW, key::UPDATE]))]),
    command("EXPIREAT", expireat)
        .summary("Lets a key expire at a unix time in seconds.")
        .since("1.2.0")
        .complexity("O(1)")
        .syntax("key unix-time-seconds [NX | XX | GT | LT]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RW, key::UPDATE]))]),
    command("EXPIRETIME", expiretime)
        .summary("Returns the unix time in seconds at which a key expires.")
        .since("7.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("PERSIST", persist)
        .summary("Lets a key expire no more.")
        .since("2.2.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RW, key::UPDATE]))]),
    command("PEXPIRE", pexpire)
        .summary("Lets a key expire after some milliseconds.")
        .since("2.6.0")
        .complexity("O(1)")
        .syntax("key milliseconds [NX | XX | GT | LT]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RW, key::UPDATE]))]),
    command("PEXPIREAT", pexpireat)
        .summary("Lets a key expire at a unix time in milliseconds.")
        .since("2.6.0")
        .complexity("O(1)")
        .syntax("key unix-time-milliseconds [NX | XX | GT | LT]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RW, key::UPDATE]))]),
    command("PEXPIRETIME", pexpiretime)
        .summary("Returns the unix time in milliseconds at which a key expires.")
        .since("7.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("PTTL", pttl)
        .summary("Returns the milliseconds until a key expires.")
        .since("2.6.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
    command("TTL", ttl)
        .summary("Returns the seconds until a key expires.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::KEYSPACE])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
];

/// How an expiry is written.
#[derive(Clone, Copy)]
struct Unit {
    ms: i64,
    /// Counted from 1970 rather than from now.
    absolute: bool,
}

/// Conditions under which an expiry is set.
#[derive(Clone, Copy, Default)]
struct Conditions {
    if_none: bool,
    if_any: bool,
    if_later: bool,
    if_earlier: bool,
}

impl Conditions {
    /// Reads all that is left.
    fn parse(args: &mut Args<'_>) -> Result<Conditions> {
        let mut conditions = Conditions::default();
        while let Some(word) = args.peek() {
            if args.accept("NX") {
                conditions.if_none = true;
            } else if args.accept("XX") {
                conditions.if_any = true;
            } else if args.accept("GT") {
                conditions.if_later = true;
            } else if args.accept("LT") {
                conditions.if_earlier = true;
            } else {
                return Err(Error::from(format!("ERR Unsupported option {}", String::from_utf8_lossy(word))));
            }
        }
        let Conditions { if_none, if_any, if_later, if_earlier } = conditions;
        if if_none && (if_any || if_later || if_earlier) {
            return Err(Error::text("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if if_later && if_earlier {
            return Err(Error::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Returns whether an expiry may be replaced by `at`; none at all counts as the latest.
    fn allow(self, current: Option<i64>, at: i64) -> bool {
        match current {
            None => !self.if_any && !self.if_later,
            Some(_) if self.if_none => false,
            Some(current) if self.if_later => at > current,
            Some(current) if self.if_earlier => at < current,
            Some(_) => true,
        }
    }
}

/// Sets an expiry in seconds from now.
fn expire(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    set_expiry(cx, args, out, Unit { ms: 1000, absolute: false })
}

/// Sets an expiry in milliseconds from now.
fn pexpire(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    set_expiry(cx, args, out, Unit { ms: 1, absolute: false })
}

/// Sets an expiry as a unix time in seconds.
fn expireat(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    set_expiry(cx, args, out, Unit { ms: 1000, absolute: true })
}

/// Sets an expiry as a unix time in milliseconds.
fn pexpireat(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    set_expiry(cx, args, out, Unit { ms: 1, absolute: true })
}

fn set_expiry(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>, unit: Unit) -> Result<()> {
    let (key, time) = (args.key()?, args.next()?);
    let conditions = Conditions::parse(args)?;
    let at = moment(cx, time, unit)?;
    let due_ms = cx.keys.due_ms;
    let Some(mut found) = cx.keys.find_touched(key) else {
        out.int(0);
        return Ok(());
    };
    if !conditions.allow(found.get().stamp(), at) {
        out.int(0);
        return Ok(());
    }
    if at <= due_ms {
        let lazy = cx.server.config.lazyfree_lazy_expire;
        cx.keys.delete(key, "del", lazy);
        cx.propagate(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
    } else {
        found.get_mut().set_stamp(Some(at));
        found.update_mark();
        cx.keys.changed(Class::Generic, "expire", key);
        cx.propagate(&[b"PEXPIREAT", key, IntText::new(at).as_bytes()]);
    }
    out.int(1);
    Ok(())
}

/// Returns the unix time in milliseconds that is meant; it may be past.
fn moment(cx: &Cx<'_>, time: &[u8], unit: Unit) -> Result<i64> {
    let time = parse_i64(time).ok_or(Error::NotInteger)?;
    let from = if unit.absolute { 0 } else { cx.now.unix_ms() };
    let at = time.checked_mul(unit.ms).and_then(|ms| ms.checked_add(from));
    at.ok_or_else(|| Error::from(format!("ERR invalid expire time in '{}' command", cx.row.name)))
}

/// Clears the expiry.
fn persist(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let found = cx.keys.find_touched(key).filter(|found| found.get().stamp().is_some());
    let persists = found.map(|mut found| {
        found.get_mut().set_stamp(None);
        found.update_mark();
    });
    if persists.is_some() {
        cx.keys.changed(Class::Generic, "persist", key);
    }
    out.int(i64::from(persists.is_some()));
    Ok(())
}

/// Returns the seconds that a key has left, rounded.
fn ttl(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let now_ms = cx.now.unix_ms();
    reply_expiry(cx, args, out, |at| in_seconds(at - now_ms))
}

/// Returns the milliseconds that a key has left.
fn pttl(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let now_ms = cx.now.unix_ms();
    reply_expiry(cx, args, out, |at| at - now_ms)
}

/// Returns the unix time in seconds at which a key expires, rounded.
fn expiretime(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_expiry(cx, args, out, in_seconds)
}

/// Returns the unix time in milliseconds at which a key expires.
fn pexpiretime(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_expiry(cx, args, out, |at| at)
}

fn in_seconds(ms: i64) -> i64 {
    // Half a second more, without overflow at the end of time.
    ms / 1000 + i64::from(ms % 1000 >= 500)
}

/// Writes what `f` makes of a key's expiry: -2 without the key, -1 without an expiry.
fn reply_expiry(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    out: &mut Reply<'_>,
    f: impl FnOnce(i64) -> i64,
) -> Result<()> {
    out.int(match cx.keys.inspect(args.key()?).map(|entry| entry.stamp()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => f(at),
    });
    Ok(())
}
