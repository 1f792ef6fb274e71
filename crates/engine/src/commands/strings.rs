//! Strings: whole values, ranges of them, and counters.

use base::number::{LongDouble, push_i64};
use keyspace::{Class, Stamp, Text};
use resp::decode::Request;

use crate::table::{self, Command, KeyFlags, acl, at, command, does, key, range};
use crate::{Args, Cx, Error, Reply, Result};

pub(super) const COMMANDS: &[Command] = &[
    command("APPEND", append)
        .summary("Appends to the string at a key, a missing one read as empty.")
        .since("2.0.0")
        .complexity("O(1). The amortized time complexity is O(1) assuming the appended value is small and the already present value is of any size, since the dynamic string library used by the server will double the free space available on every reallocation.")
        .syntax("key value")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::INSERT]))]),
    command("DECR", decr)
        .summary("Subtracts one from the integer at a key.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("DECRBY", decrby)
        .summary("Subtracts a number from the integer at a key.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key decrement")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("GET", get)
        .summary("Returns the string at a key.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("GETDEL", getdel)
        .summary("Returns the string at a key and deletes the key.")
        .since("6.2.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("GETEX", getex)
        .summary("Returns the string at a key and sets or clears the key's expiry.")
        .since("6.2.0")
        .complexity("O(1)")
        .syntax("key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("GETRANGE", getrange)
        .summary("Returns part of the string at a key.")
        .since("2.4.0")
        .complexity("O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.")
        .syntax("key start end")
        .flags(&[table::READONLY])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("GETSET", getset)
        .summary("Stores a string at a key and returns the one before it.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key value")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("INCR", incr)
        .summary("Adds one to the integer at a key.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("INCRBY", incrby)
        .summary("Adds a number to the integer at a key.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key increment")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("INCRBYFLOAT", incrbyfloat)
        .summary("Adds a decimal number to the number at a key.")
        .since("2.6.0")
        .complexity("O(1)")
        .syntax("key increment")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("LCS", lcs)
        .summary("Returns the longest common subsequence of the strings at two keys.")
        .since("7.0.0")
        .complexity("O(N*M) where N and M are the lengths of s1 and s2, respectively")
        .syntax("key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]")
        .flags(&[table::READONLY])
        .acl(&[acl::STRING])
        .keys(&[range(1, 1, 1, 0, does(&[key::RO, key::ACCESS]))]),
    command("MGET", mget)
        .summary("Returns the strings at several keys.")
        .since("1.0.0")
        .complexity("O(N) where N is the number of keys to retrieve.")
        .syntax("key [key ...]")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[range(1, -1, 1, 0, does(&[key::RO, key::ACCESS]))])
        .tips(&["request_policy:multi_shard"]),
    command("MSET", mset)
        .summary("Stores strings at several keys at once.")
        .since("1.0.1")
        .complexity("O(N) where N is the number of keys to set.")
        .syntax("key value [key value ...]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::STRING])
        .keys(&[range(1, -1, 2, 0, does(&[key::OW, key::UPDATE]))])
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
    command("MSETNX", msetnx)
        .summary("Stores strings at several keys, if none of them exists.")
        .since("1.0.1")
        .complexity("O(N) where N is the number of keys to set.")
        .syntax("key value [key value ...]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::STRING])
        .keys(&[range(1, -1, 2, 0, does(&[key::OW, key::INSERT]))]),
    command("PSETEX", psetex)
        .summary("Stores a string at a key with an expiry in milliseconds.")
        .since("2.6.0")
        .complexity("O(1)")
        .syntax("key milliseconds value")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::OW, key::UPDATE]))]),
    command("SET", set)
        .summary("Stores a string at a key, whatever it held before.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE, key::VARIABLE_FLAGS]))])
        .find_keys(set_keys),
    command("SETEX", setex)
        .summary("Stores a string at a key with an expiry in seconds.")
        .since("2.0.0")
        .complexity("O(1)")
        .syntax("key seconds value")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::OW, key::UPDATE]))]),
    command("SETNX", setnx)
        .summary("Stores a string at a key that does not exist.")
        .since("1.0.0")
        .complexity("O(1)")
        .syntax("key value")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::OW, key::INSERT]))]),
    command("SETRANGE", setrange)
        .summary("Overwrites part of the string at a key, from an offset on.")
        .since("2.2.0")
        .complexity("O(1), not counting the time taken to copy the new string in place. Usually, this string is very small so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being the length of the value argument.")
        .syntax("key offset value")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RW, key::UPDATE]))]),
    command("STRLEN", strlen)
        .summary("Returns the length of the string at a key.")
        .since("2.2.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::STRING])
        .keys(&[at(1, key::RO)]),
    command("SUBSTR", substr)
        .summary("Returns part of the string at a key (GETRANGE's old name).")
        .since("1.0.0")
        .complexity("O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.")
        .syntax("key start end")
        .flags(&[table::READONLY])
        .acl(&[acl::STRING])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
];

const TOO_LONG: Error = Error::text("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

/// Writes a string, or null for a missing one.
fn reply_text(text: Option<Text<'_>>, out: &mut Reply<'_>) {
    match text {
        None => out.null(),
        Some(Text::Int(n)) => out.bulk_int(n),
        Some(Text::Bytes(bytes)) => out.bulk(bytes),
    }
}

/// How a command names an expiry.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Unit {
    ms: i64,
    absolute: bool,
}

const SECONDS: Unit = Unit { ms: 1000, absolute: false };
const MILLISECONDS: Unit = Unit { ms: 1, absolute: false };

/// What SET and GETEX do to the expiry.
#[derive(Clone, Copy)]
enum Expiry<'a> {
    None,
    Keep,
    Persist,
    At(Unit, &'a [u8]),
}

impl<'a> Expiry<'a> {
    /// Reads past an option that sets the expiry, if one is next.
    fn accept(&mut self, args: &mut Args<'a>) -> Result<bool> {
        const UNITS: [(&str, Unit); 4] = [
            ("EX", SECONDS),
            ("PX", MILLISECONDS),
            ("EXAT", Unit { ms: 1000, absolute: true }),
            ("PXAT", Unit { ms: 1, absolute: true }),
        ];
        for (word, unit) in UNITS {
            if args.left() > 1 && args.accept(word) {
                // The same option twice is fine, and the last one stands; different ones exclude each other.
                match self {
                    Expiry::None => {}
                    Expiry::At(before, _) if *before == unit => {}
                    _ => return Err(Error::Syntax),
                }
                *self = Expiry::At(unit, args.next()?);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the unix time in milliseconds, or `None` where there is no expiry to set.
    fn at(self, cx: &Cx<'_>) -> Result<Option<i64>> {
        match self {
            Expiry::At(unit, text) => expiry(cx, unit, text).map(Some),
            _ => Ok(None),
        }
    }
}

/// Returns the unix time in milliseconds that an expiry argument means; it must be positive and fit.
fn expiry(cx: &Cx<'_>, unit: Unit, text: &[u8]) -> Result<i64> {
    let value = base::number::parse_i64(text).ok_or(Error::NotInteger)?;
    let invalid = || Error::from(format!("ERR invalid expire time in '{}' command", cx.row.name));
    if value <= 0 {
        return Err(invalid());
    }
    let ms = value.checked_mul(unit.ms).ok_or_else(invalid)?;
    if unit.absolute { Ok(ms) } else { ms.checked_add(cx.now.unix_ms()).ok_or_else(invalid) }
}

/// Stores a string and says so; with an expiry, the absolute time is what is propagated.
fn store(cx: &mut Cx<'_>, key: &[u8], value: &[u8], at: Option<i64>) {
    cx.keys.set_text(key, value, at.map_or(Stamp::Clear, Stamp::At));
    cx.keys.changed(Class::String, "set", key);
    if let Some(at) = at {
        cx.keys.event(Class::Generic, "expire", key);
        let mut text = Vec::new();
        push_i64(&mut text, at);
        cx.propagate(&[b"SET", key, value, b"PXAT", &text]);
    }
}

/// Returns the string at a key.
fn get(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    reply_text(cx.keys.text(args.key()?)?, out);
    Ok(())
}

/// Stores a string, under conditions and with an expiry if asked for.
fn set(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, value) = (args.key()?, args.next()?);
    if args.is_empty() {
        store(cx, key, value, None);
        out.ok();
        return Ok(());
    }
    let (mut if_missing, mut if_there, mut want_old, mut expiry) = (false, false, false, Expiry::None);
    while !args.is_empty() {
        if !if_there && args.accept("NX") {
            if_missing = true;
        } else if !if_missing && args.accept("XX") {
            if_there = true;
        } else if args.accept("GET") {
            want_old = true;
        } else if matches!(expiry, Expiry::None | Expiry::Keep) && args.accept("KEEPTTL") {
            expiry = Expiry::Keep;
        } else if !expiry.accept(args)? {
            return Err(Error::Syntax);
        }
    }
    let at = expiry.at(cx)?;
    if want_old {
        reply_text(cx.keys.text(key)?, out);
    }
    if (if_missing || if_there) && cx.keys.exists(key) != if_there {
        if !want_old {
            out.null();
        }
        return Ok(());
    }
    if let Expiry::Keep = expiry {
        cx.keys.set_text(key, value, Stamp::Keep);
        cx.keys.changed(Class::String, "set", key);
    } else {
        store(cx, key, value, at);
    }
    if want_old && at.is_none() {
        // Nobody asks for the old value where this goes.
        let request = args.request();
        let words = request.iter().enumerate();
        let words: Vec<&[u8]> = words
            .filter(|(i, word)| *i < 3 || !word.eq_ignore_ascii_case(b"GET"))
            .map(|(_, word)| word)
            .collect();
        cx.propagate(&words);
    }
    if !want_old {
        out.ok();
    }
    Ok(())
}

/// Tells what SET does to its key: it only reads what it overwrites when asked to.
fn set_keys(request: Request<'_>, found: &mut Vec<(usize, KeyFlags)>) {
    let reads = request.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"GET"));
    let flags = match reads {
        true => does(&[key::RW, key::ACCESS, key::UPDATE]),
        false => does(&[key::OW, key::UPDATE]),
    };
    found.push((1, flags));
}

/// Stores a string at a key that does not exist.
fn setnx(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, value) = (args.key()?, args.next()?);
    let missing = !cx.keys.exists(key);
    if missing {
        store(cx, key, value, None);
    }
    out.int(i64::from(missing));
    Ok(())
}

/// Stores a string with an expiry in seconds.
fn setex(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    set_expiring(cx, args, out, SECONDS)
}

/// Stores a string with an expiry in milliseconds.
fn psetex(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    set_expiring(cx, args, out, MILLISECONDS)
}

fn set_expiring(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>, unit: Unit) -> Result<()> {
    let (key, time, value) = (args.key()?, args.next()?, args.next()?);
    let at = expiry(cx, unit, time)?;
    store(cx, key, value, Some(at));
    out.ok();
    Ok(())
}

/// Stores a string and returns the one before it.
fn getset(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, value) = (args.key()?, args.next()?);
    reply_text(cx.keys.text(key)?, out);
    store(cx, key, value, None);
    cx.propagate(&[b"SET", key, value]);
    Ok(())
}

/// Returns a string and deletes its key.
fn getdel(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let text = cx.keys.text(key)?;
    let there = text.is_some();
    reply_text(text, out);
    if there {
        let lazy = cx.server.config.lazyfree_lazy_user_del;
        cx.keys.delete(key, "del", lazy);
        cx.propagate(&[b"DEL", key]);
    }
    Ok(())
}

/// Returns a string and sets or clears its expiry.
fn getex(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let mut expiry = Expiry::None;
    while !args.is_empty() {
        if matches!(expiry, Expiry::None | Expiry::Persist) && args.accept("PERSIST") {
            expiry = Expiry::Persist;
        } else if !expiry.accept(args)? {
            return Err(Error::Syntax);
        }
    }
    let Some(text) = cx.keys.text(key)? else {
        out.null();
        return Ok(());
    };
    // The value goes out before the expiry is looked at; the error, if any, takes its place.
    reply_text(Some(text), out);
    let at = expiry.at(cx)?;
    match at {
        Some(at) if at <= cx.keys.due_ms => {
            cx.keys.delete(key, "del", cx.server.config.lazyfree_lazy_expire);
            cx.propagate(&[b"DEL", key]);
        }
        Some(at) => {
            cx.keys.set_stamp(key, Some(at));
            cx.keys.changed(Class::Generic, "expire", key);
            let mut text = Vec::new();
            push_i64(&mut text, at);
            cx.propagate(&[b"PEXPIREAT", key, &text]);
        }
        None if matches!(expiry, Expiry::Persist) && cx.keys.stamp(key).flatten().is_some() => {
            cx.keys.set_stamp(key, None);
            cx.keys.changed(Class::Generic, "persist", key);
            cx.propagate(&[b"PERSIST", key]);
        }
        None => {}
    }
    Ok(())
}

/// Returns the strings at several keys; what is not a string counts as missing.
fn mget(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.array(args.left());
    for key in args.rest() {
        reply_text(cx.keys.text(key).unwrap_or(None), out);
    }
    Ok(())
}

/// Stores strings at several keys.
fn mset(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if !args.left().is_multiple_of(2) {
        return Err(Error::Arity("mset".into()));
    }
    while !args.is_empty() {
        let (key, value) = (args.key()?, args.next()?);
        store(cx, key, value, None);
    }
    out.ok();
    Ok(())
}

/// Stores strings at several keys if none of them exists.
fn msetnx(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    if !args.left().is_multiple_of(2) {
        return Err(Error::Arity("msetnx".into()));
    }
    if args.rest().step_by(2).any(|key| cx.keys.exists(key)) {
        out.int(0);
        return Ok(());
    }
    while !args.is_empty() {
        let (key, value) = (args.key()?, args.next()?);
        store(cx, key, value, None);
    }
    out.int(1);
    Ok(())
}

/// Returns the length of a string.
fn strlen(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let len = cx.keys.text(args.key()?)?.map_or(0, Text::len);
    out.int(len as i64);
    Ok(())
}

/// Appends to a string.
fn append(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, tail) = (args.key()?, args.next()?);
    let max = cx.server.config.proto_max_bulk_len;
    let mut text = cx.keys.edit_text(key)?;
    let len = match text.text().map(Text::len) {
        None => {
            text.set_bytes(tail);
            tail.len()
        }
        Some(len) if (len + tail.len()) as u64 > max => return Err(TOO_LONG),
        Some(_) => text.grow(|buf| {
            buf.push_slice(tail);
            buf.len()
        }),
    };
    text.changed("append");
    out.int(len as i64);
    Ok(())
}

/// Overwrites part of a string, filling a gap before it with zeros.
fn setrange(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, offset, patch) = (args.key()?, args.int()?, args.next()?);
    let offset = usize::try_from(offset).map_err(|_| Error::text("ERR offset is out of range"))?;
    let max = cx.server.config.proto_max_bulk_len;
    let mut text = cx.keys.edit_text(key)?;
    if patch.is_empty() {
        out.int(text.text().map_or(0, Text::len) as i64);
        return Ok(());
    }
    let end = offset.checked_add(patch.len()).filter(|end| *end as u64 <= max).ok_or(TOO_LONG)?;
    let len = text.grow(|buf| {
        if buf.len() < end {
            buf.zero_extend(end);
        }
        buf.as_mut_slice()[offset..end].copy_from_slice(patch);
        buf.len()
    });
    text.changed("setrange");
    out.int(len as i64);
    Ok(())
}

/// Returns part of a string, both ends included, negative indexes counted from the end.
fn getrange(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, start, end) = (args.key()?, args.int()?, args.int()?);
    match cx.keys.text(key)? {
        None => out.bulk(b""),
        Some(text) => text.with(|bytes| out.bulk(slice(bytes, start, end))),
    }
    Ok(())
}

/// Returns part of a string: GETRANGE's old name.
fn substr(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    getrange(cx, args, out)
}

/// Returns the bytes from `start` to `end`, both included; negative ones count from the end.
fn slice(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    let len = bytes.len() as i64;
    // Both behind the end in the wrong order: nothing, before they are moved inside.
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let from = |i: i64| if i < 0 { (len + i.max(-len)).max(0) } else { i };
    let (start, end) = (from(start), from(end).min(len - 1));
    if len == 0 || start > end { b"" } else { &bytes[start as usize..=end as usize] }
}

/// Adds one to the integer at a key, a missing one read as 0.
fn incr(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    add(cx, args.key()?, 1, out)
}

/// Subtracts one from the integer at a key.
fn decr(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    add(cx, args.key()?, -1, out)
}

/// Adds to the integer at a key.
fn incrby(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, delta) = (args.key()?, args.int()?);
    add(cx, key, delta, out)
}

/// Subtracts from the integer at a key.
fn decrby(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, delta) = (args.key()?, args.int()?);
    let delta = delta.checked_neg().ok_or(Error::text("ERR decrement would overflow"))?;
    add(cx, key, delta, out)
}

fn add(cx: &mut Cx<'_>, key: &[u8], delta: i64, out: &mut Reply<'_>) -> Result<()> {
    let mut text = cx.keys.edit_text(key)?;
    let value = text.text().map_or(Some(0), Text::int).ok_or(Error::NotInteger)?;
    let sum = value.checked_add(delta).ok_or(Error::Overflow)?;
    text.set_int(sum);
    text.changed("incrby"); // WATCH, notification, log and replicas all follow from this.
    out.int(sum);
    Ok(())
}

/// Adds a decimal number with 64 bits of precision, as Redis does with C's `long double`.
fn incrbyfloat(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (key, delta) = (args.key()?, args.next()?);
    let mut text = cx.keys.edit_text(key)?;
    let value = match text.text() {
        None => Some(LongDouble::from(0)),
        Some(old) => old.with(LongDouble::parse),
    };
    let value = value.ok_or(Error::NotFloat)?;
    let delta = LongDouble::parse(delta).ok_or(Error::NotFloat)?;
    let sum = value + delta;
    if !sum.is_finite() {
        return Err(Error::NotFinite);
    }
    let mut bytes = Vec::new();
    sum.push_text(&mut bytes);
    text.set_literal(&bytes);
    text.changed("incrbyfloat");
    cx.propagate(&[b"SET", key, &bytes, b"KEEPTTL"]);
    out.bulk(&bytes);
    Ok(())
}

/// Returns the longest common subsequence of two strings, its length, or where its parts lie.
fn lcs(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let (first, second) = (args.key()?, args.key()?);
    let not_strings = |_| Error::text("ERR The specified keys must contain string values");
    let a = cx.keys.text(first).map_err(not_strings)?.map(Text::to_vec).unwrap_or_default();
    let b = cx.keys.text(second).map_err(not_strings)?.map(Text::to_vec).unwrap_or_default();
    let (mut want_len, mut want_idx, mut with_len, mut min_len) = (false, false, false, 0);
    while !args.is_empty() {
        if args.accept("IDX") {
            want_idx = true;
        } else if args.accept("LEN") {
            want_len = true;
        } else if args.accept("WITHMATCHLEN") {
            with_len = true;
        } else if args.left() > 1 && args.accept("MINMATCHLEN") {
            min_len = args.int()?.max(0) as usize;
        } else {
            return Err(Error::Syntax);
        }
    }
    if want_idx && want_len {
        return Err(Error::text("ERR If you want both the length and indexes, please just use IDX."));
    }
    if a.len() >= u32::MAX as usize - 1 || b.len() >= u32::MAX as usize - 1 {
        return Err(Error::text("ERR String too long for LCS"));
    }
    let cells = (a.len() as u128 + 1) * (b.len() as u128 + 1);
    if cells * 4 > u128::from(cx.server.config.proto_max_bulk_len) {
        return Err(Error::text(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let table = lengths(&a, &b);
    let width = b.len() + 1;
    let total = table[a.len() * width + b.len()];
    if want_len {
        out.int(i64::from(total));
        return Ok(());
    }
    let (common, matches) = trace(&a, &b, &table);
    if !want_idx {
        out.bulk(&common);
        return Ok(());
    }
    let matches: Vec<_> = matches.into_iter().filter(|m| m.len >= min_len).collect();
    out.map(2);
    out.bulk(b"matches");
    out.array(matches.len());
    for found in matches {
        out.array(if with_len { 3 } else { 2 });
        for start in [found.a, found.b] {
            out.array(2);
            out.int(start as i64);
            out.int((start + found.len - 1) as i64);
        }
        if with_len {
            out.int(found.len as i64);
        }
    }
    out.bulk(b"len");
    out.int(i64::from(total));
    Ok(())
}

/// A stretch that stands in both strings.
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

/// Returns, row by row, the length of the longest common subsequence of every two prefixes.
fn lengths(a: &[u8], b: &[u8]) -> Vec<u32> {
    let width = b.len() + 1;
    let mut table = vec![0u32; (a.len() + 1) * width];
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            table[i * width + j] = if a[i - 1] == b[j - 1] {
                table[(i - 1) * width + j - 1] + 1
            } else {
                table[(i - 1) * width + j].max(table[i * width + j - 1])
            };
        }
    }
    table
}

/// Walks the table back from its end: the subsequence, and its stretches from last to first.
fn trace(a: &[u8], b: &[u8], table: &[u32]) -> (Vec<u8>, Vec<Match>) {
    let width = b.len() + 1;
    let (mut i, mut j) = (a.len(), b.len());
    let (mut common, mut matches): (Vec<u8>, Vec<Match>) = (Vec::new(), Vec::new());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            common.push(a[i]);
            match matches.last_mut() {
                Some(last) if last.a == i + 1 && last.b == j + 1 => {
                    *last = Match { a: i, b: j, len: last.len + 1 };
                }
                _ => matches.push(Match { a: i, b: j, len: 1 }),
            }
        } else if table[(i - 1) * width + j] > table[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    common.reverse();
    (common, matches)
}
