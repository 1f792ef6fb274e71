//! DEBUG: what test suites and developers ask of a server.

use base::number::{parse_f64, parse_i64};
use config::parse_memory;
use keyspace::keys::encoding_of;
use keyspace::{Class, Entry, Keys, List, Stamp, Value};
use structures::Payload;

use crate::effect::{Effect, LogLevel};
use crate::{Args, Cx, Error, Protocol, Reply, Result};

use super::debug_digest::{Digest, digest_of};

/// Runs a subcommand; they are no commands of their own, as in Redis.
pub(super) fn debug(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let word = args.next()?.to_ascii_lowercase();
    match (word.as_slice(), args.left()) {
        (b"help", 0) => help(cx, out),
        (b"sleep", 1) => sleep(cx, args, out),
        (b"set-active-expire", 1) => {
            cx.server.active_expiry = leading_int(args.next()?) != 0;
            out.ok();
            Ok(())
        }
        (b"object", 1) => object(cx, args, out),
        (b"populate", 1..=3) => populate(cx, args, out),
        (b"digest", 0) => {
            out.simple(digest_of(cx.keys.space).to_hex());
            Ok(())
        }
        (b"digest-value", _) => digest_value(cx, args, out),
        (b"protocol", 1) => protocol(cx, args, out),
        (b"error", 1) => {
            out.error(args.next()?);
            Ok(())
        }
        (b"log", 1) => {
            let message = String::from_utf8_lossy(args.next()?);
            cx.server.log(LogLevel::Warning, format!("DEBUG LOG: {message}"));
            out.ok();
            Ok(())
        }
        (b"htstats", 1 | 2) => htstats(cx, args, out),
        (b"htstats-key", 1 | 2) => htstats_key(cx, args, out),
        (b"listpack", 1) => listpack(cx, args, out),
        (b"quicklist", 1 | 2) => quicklist(cx, args, out),
        (b"quicklist-packed-threshold", 1) => packed_threshold(args, out),
        (b"change-repl-id", 0) => {
            cx.server.replication.primary.change_id();
            out.ok();
            Ok(())
        }
        (b"reload", _) => super::debug_reload::reload(cx, args, out),
        (b"segfault" | b"panic" | b"assert", 0) => {
            let word = String::from_utf8_lossy(&word);
            cx.server.effects.push(Effect::Crash(format!("DEBUG {}", word.to_uppercase())));
            Ok(())
        }
        _ => Err(super::unknown_form(cx)),
    }
}

/// Returns the integer at the start of a text, 0 if there is none, as C's atoi does.
fn leading_int(text: &[u8]) -> i64 {
    let digits = text.iter().enumerate().take_while(|(i, b)| b.is_ascii_digit() || (*i == 0 && **b == b'-'));
    parse_i64(&text[..digits.count()]).unwrap_or(0)
}

/// Stops the whole server for a while; the time counts as this command's.
fn sleep(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    // What is no number is no time.
    let seconds = parse_f64(args.next()?).filter(|seconds| *seconds > 0.0).unwrap_or(0.0);
    let stall = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    if !stall.is_zero() {
        cx.server.stalled_us += stall.as_micros() as u64;
        cx.server.effects.push(Effect::Stall(stall));
    }
    out.ok();
    Ok(())
}

/// Returns the entry at `key`, without counting or touching it.
fn entry<'a>(keys: &'a mut Keys<'_>, key: &[u8]) -> Result<&'a Entry> {
    keys.peek(key).ok_or(Error::NoSuchKey)
}

/// Describes how a value is held.
fn object(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let now_ms = cx.now.unix_ms();
    let entry = entry(&mut cx.keys, args.key()?)?;
    let mut text = format!(
        "Value at:{entry:p} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        encoding_of(entry),
        rdb::serialized_len(entry, rdb::VERSION),
        entry.age(),
        keyspace::evict::idle_ms(entry, now_ms) / 1000,
    );
    if let Payload::Word(word) = entry.payload()
        && let Value::List(list @ List::Quick(quick)) = &*word
    {
        let nodes = quick.node_count();
        text += &format!(
            " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:0 ql_uncompressed_size:{}",
            list.len() as f64 / nodes.max(1) as f64,
            cx.server.config.list_max_listpack_size,
            list.heap_size(),
        );
    }
    out.simple(text);
    Ok(())
}

/// Creates strings `key:0`, `key:1` and so on, where they are missing.
fn populate(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let positive = |text: &[u8]| {
        let number = parse_i64(text).and_then(|number| usize::try_from(number).ok());
        number.ok_or(Error::text("ERR value is out of range, must be positive"))
    };
    let count = positive(args.next()?)?;
    let prefix = args.next().unwrap_or(b"key");
    let size = args.next().map_or(Ok(0), positive)?;
    if size > cx.server.config.proto_max_bulk_len as usize {
        return Err(Error::text("ERR value is out of range, must be positive"));
    }
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for number in 0..count {
        key.clear();
        key.extend_from_slice(prefix);
        key.extend_from_slice(format!(":{number}").as_bytes());
        if cx.keys.exists(&key) {
            continue;
        }
        value.clear();
        value.extend_from_slice(format!("value:{number}").as_bytes());
        if size > 0 {
            value.resize(size, 0);
        }
        cx.keys.set_text(&key, &value, Stamp::Clear);
        cx.keys.event(Class::Generic, "debug-populate", &key);
    }
    out.ok();
    Ok(())
}

/// Returns a digest of each named key's value, zeros for a missing one.
fn digest_value(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    out.array(args.left());
    for key in args.rest() {
        let mut digest = Digest::default();
        if let Some(entry) = cx.keys.live(key) {
            digest.add_value(entry);
        }
        out.simple(digest.to_hex());
    }
    Ok(())
}

/// Answers a value of the kind asked for, so that clients can try their decoders.
fn protocol(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    match args.next()?.to_ascii_lowercase().as_slice() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double_text(b"3.141"),
        b"bignum" => out.big_number(b"1234567999999999999999999999999999999"),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|number| out.int(number));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|number| out.int(number));
        }
        b"map" => {
            out.map(3);
            for number in 0..3 {
                out.int(number);
                out.boolean(number == 1);
            }
        }
        b"attrib" => {
            if out.protocol == Protocol::Resp3 {
                out.attribute(1);
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.int(90);
            }
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" if out.protocol == Protocol::Resp2 => {
            return Err(Error::text("ERR RESP2 is not supported by this command"));
        }
        b"push" => {
            out.bulk(b"Some real reply following the push reply");
            // What a client is sent besides stands behind its reply.
            cx.server.sessions.write(cx.session.id, |out| {
                out.push(2);
                out.bulk(b"server-cpu-usage");
                out.int(42);
            });
        }
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => out.boolean(true),
        b"false" => out.boolean(false),
        _ => {
            return Err(Error::text(
                "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|\
                 array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

/// Describes a database's table.
fn htstats(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let index = args.int()?;
    let db = usize::try_from(index).ok().and_then(|index| cx.keys.space.dbs.get(index));
    let Some(db) = db else { return Err(Error::text("ERR Out of range database")) };
    let (slots, keys) = (db.table.buckets() * 7, db.len());
    // Keys with an expiry are marked in the same table.
    let text = format!(
        "[Dictionary HT]\n{}[Expires HT]\n{}",
        table_stats(slots, keys),
        table_stats(slots, db.table.marked_len())
    );
    out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Describes the table of a collection.
fn htstats_key(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let entry = entry(&mut cx.keys, args.key()?)?;
    let size = match entry.payload() {
        Payload::Word(word) => match &*word {
            Value::Set(set) if set.encoding() == "hashtable" => Some(set.len()),
            Value::Hash(hash) if hash.encoding() == "hashtable" => Some(hash.len()),
            Value::ZSet(zset) if zset.encoding() == "skiplist" => Some(zset.len()),
            _ => None,
        },
        Payload::Bytes(_) => None,
    };
    let Some(size) = size else {
        return Err(Error::text(
            "ERR The value stored at the specified key is not represented using an hash table",
        ));
    };
    // A table doubles when its buckets of seven hold six and a half on average.
    let slots = (size * 2).div_ceil(13).next_power_of_two() * 7;
    out.verbatim("txt", table_stats(slots, size).as_bytes());
    Ok(())
}

/// Returns a table's figures under the names that test suites look for.
fn table_stats(slots: usize, entries: usize) -> String {
    let head = "Hash table 0 stats (main hash table):\n";
    match entries {
        0 => format!("{head}No stats available for empty dictionaries\n"),
        _ => format!("{head} table size: {slots}\n number of elements: {entries}\n"),
    }
}

/// Says whether a value is one listpack; its bytes are not shown.
fn listpack(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    match encoding_of(entry(&mut cx.keys, args.key()?)?) {
        "listpack" => out.simple("Listpack structure printed on stdout"),
        _ => return Err(Error::text("ERR Not a listpack encoded object.")),
    }
    Ok(())
}

/// Says whether a value is a quicklist; its nodes are not shown.
fn quicklist(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    match encoding_of(entry(&mut cx.keys, args.key()?)?) {
        "quicklist" => out.simple("Quicklist structure printed on stdout"),
        _ => return Err(Error::text("ERR Not a quicklist encoded object.")),
    }
    Ok(())
}

/// Takes a threshold for elements with a node of their own; ours depends on `list-max-listpack-size` alone.
fn packed_threshold(args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let most = (1 << 32) - (1 << 20);
    match parse_memory(args.next()?) {
        Some(bytes) if bytes <= most => out.ok(),
        _ => {
            return Err(Error::text(
                "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
            ));
        }
    }
    Ok(())
}

/// Returns what the subcommands do.
fn help(cx: &mut Cx<'_>, out: &mut Reply<'_>) -> Result<()> {
    super::help(
        cx,
        out,
        &[
            ("ASSERT", "End the process as a failed assertion would."),
            ("CHANGE-REPL-ID", "Give the history of the data a new name."),
            ("DIGEST", "Return a digest of all data."),
            ("DIGEST-VALUE <key> [<key> ...]", "Return a digest of each value."),
            ("ERROR <string>", "Answer an error with this text."),
            ("HTSTATS <dbid>", "Describe the table of a database."),
            ("HTSTATS-KEY <key>", "Describe the table of a collection."),
            ("LISTPACK <key>", "Say whether a value is one listpack."),
            ("LOG <message>", "Write a message to the log."),
            ("OBJECT <key>", "Describe how a value is held."),
            ("PANIC", "End the process as a panic would."),
            ("POPULATE <count> [<prefix>] [<size>]", "Create strings named <prefix>:<number>."),
            ("PROTOCOL <type>", "Answer a value of this type."),
            ("QUICKLIST <key>", "Say whether a value is a quicklist."),
            ("QUICKLIST-PACKED-THRESHOLD <size>", "Check a size; lists do not depend on it."),
            (
                "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
                "Save the data and load it again; or load, replace or add what was saved.",
            ),
            ("SEGFAULT", "End the process as an access violation would."),
            ("SET-ACTIVE-EXPIRE <0|1>", "Switch the deletion of expired keys that nobody reads off or on."),
            ("SLEEP <seconds>", "Stop the server for a while."),
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_integer_is_read_as_c_reads_it() {
        assert_eq!([&b"1"[..], b"0", b"12x", b"-3", b"x", b""].map(leading_int), [1, 0, 12, -3, 0, 0]);
    }
}
