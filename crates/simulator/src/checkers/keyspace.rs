//! A look at the whole keyspace through the commands that list it: they must agree with each other and with the model.

use std::collections::BTreeSet;

use base::time::Now;
use testkit::Reply;

use super::model::{Model, Value, show};

/// Asks the node something on a link of its own.
pub type Ask<'a> = dyn FnMut(&[&[u8]]) -> Result<Reply, String> + 'a;

/// Compares KEYS, DBSIZE, SCAN, types, lengths and encodings with each other.
pub fn is_consistent(ask: &mut Ask<'_>, dbs: usize) -> Result<(), String> {
    for db in 0..dbs {
        expect_ok(ask(&[b"SELECT", db.to_string().as_bytes()])?)?;
        let keys = texts(&ask(&[b"KEYS", b"*"])?);
        let unique: BTreeSet<&Vec<u8>> = keys.iter().collect();
        if unique.len() != keys.len() {
            return Err(format!("KEYS lists a key twice in database {db}"));
        }
        let scanned = scan(ask)?;
        if !unique.iter().all(|key| scanned.contains(*key)) {
            return Err(format!("SCAN misses a key that KEYS lists in database {db}"));
        }
        // Keys past their time may be counted until they are deleted.
        let size = number(&ask(&[b"DBSIZE"])?)?;
        if size < keys.len() as i64 {
            return Err(format!("DBSIZE says {size} for {} keys in database {db}", keys.len()));
        }
        for key in &keys {
            describe(ask, key)?;
        }
    }
    Ok(())
}

/// Compares every value with the model's.
pub fn agrees_with(model: &Model, now: Now, ask: &mut Ask<'_>, dbs: usize) -> Result<(), String> {
    for db in 0..dbs {
        expect_ok(ask(&[b"SELECT", db.to_string().as_bytes()])?)?;
        let actual: BTreeSet<Vec<u8>> = texts(&ask(&[b"KEYS", b"*"])?).into_iter().collect();
        let expected: BTreeSet<Vec<u8>> = model.live(now, db).map(|(key, _)| key.clone()).collect();
        if actual != expected {
            return Err(format!("database {db} holds {actual:?}, the model {expected:?}"));
        }
        for (key, entry) in model.live(now, db) {
            let key_text = format!("{} in database {db}", String::from_utf8_lossy(key));
            let reply = match &entry.value {
                Value::Text(_) => ask(&[b"GET", key])?,
                Value::List(_) => ask(&[b"LRANGE", key, b"0", b"-1"])?,
                Value::Set(_) => ask(&[b"SMEMBERS", key])?,
                Value::Hash(_) => ask(&[b"HGETALL", key])?,
                Value::ZSet(_) => ask(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"])?,
            };
            if !holds(&entry.value, &reply) {
                return Err(format!("{key_text} holds {}, the model {:?}", show(&reply), entry.value));
            }
            let encoding = ask(&[b"OBJECT", b"ENCODING", key])?;
            let name = String::from_utf8_lossy(encoding.text().unwrap_or_default()).into_owned();
            if !entry.encodings().contains(&name.as_str()) {
                return Err(format!("{key_text} is encoded as {name} instead of {:?}", entry.encodings()));
            }
            let expiry = number(&ask(&[b"PEXPIRETIME", key])?)?;
            if expiry != entry.expires.unwrap_or(-1) {
                return Err(format!("{key_text} expires at {expiry} instead of {:?}", entry.expires));
            }
        }
    }
    Ok(())
}

/// Compares two nodes key by key, by the digests of their values.
pub fn are_equal(ask: &mut Ask<'_>, ask_other: &mut Ask<'_>) -> Result<(), String> {
    for db in 0..4 {
        let select: [&[u8]; 2] = [b"SELECT", &db.to_string().into_bytes()];
        expect_ok(ask(&select)?)?;
        expect_ok(ask_other(&select)?)?;
        let all: [&[u8]; 2] = [b"KEYS", b"*"];
        let keys: BTreeSet<Vec<u8>> = texts(&ask(&all)?).into_iter().collect();
        let other: BTreeSet<Vec<u8>> = texts(&ask_other(&all)?).into_iter().collect();
        if let Some(key) = keys.symmetric_difference(&other).next() {
            let key = String::from_utf8_lossy(key);
            return Err(format!("{key} is missing on one side in database {db}: {keys:?} and {other:?}"));
        }
        for key in &keys {
            let requests: [&[&[u8]]; 2] = [&[b"DEBUG", b"DIGEST-VALUE", key], &[b"PEXPIRETIME", key]];
            for request in requests {
                let (here, there) = (ask(request)?, ask_other(request)?);
                if here != there {
                    let name = String::from_utf8_lossy(key);
                    let (here, there) = (show(&here), show(&there));
                    return Err(format!("a replica's {name} in database {db} differs: {here} and {there}"));
                }
            }
        }
    }
    Ok(())
}

/// Compares the length that a type's command tells with the number of elements that are listed.
fn describe(ask: &mut Ask<'_>, key: &[u8]) -> Result<(), String> {
    let kind = show(&ask(&[b"TYPE", key])?);
    let (length, listed): (&[u8], &[&[u8]]) = match kind.as_str() {
        "+list" => (b"LLEN", &[b"LRANGE", key, b"0", b"-1"]),
        "+set" => (b"SCARD", &[b"SMEMBERS", key]),
        "+hash" => (b"HLEN", &[b"HKEYS", key]),
        "+zset" => (b"ZCARD", &[b"ZRANGE", key, b"0", b"-1"]),
        // A key may pass its time between two questions only if time passes, and it does not.
        "+string" => (b"STRLEN", &[]),
        _ => return Err(format!("{:?} has the type {kind}", String::from_utf8_lossy(key))),
    };
    let length = number(&ask(&[length, key])?)?;
    if listed.is_empty() {
        return Ok(());
    }
    let elements = ask(listed)?.elements().len();
    if length != elements as i64 || length == 0 {
        return Err(format!(
            "{:?} has {elements} elements, its length is {length}",
            String::from_utf8_lossy(key)
        ));
    }
    let encoding = ask(&[b"OBJECT", b"ENCODING", key])?;
    if encoding.text().is_none() {
        return Err(format!("{:?} has no encoding: {}", String::from_utf8_lossy(key), show(&encoding)));
    }
    Ok(())
}

fn scan(ask: &mut Ask<'_>) -> Result<BTreeSet<Vec<u8>>, String> {
    let mut found = BTreeSet::new();
    let mut cursor = b"0".to_vec();
    for _ in 0..10_000 {
        let reply = ask(&[b"SCAN", &cursor])?;
        let [next, keys] = reply.elements() else { return Err(format!("SCAN answers {}", show(&reply))) };
        found.extend(texts(keys));
        cursor = next.text().unwrap_or_default().to_vec();
        if cursor == b"0" {
            return Ok(found);
        }
    }
    Err("SCAN does not come to an end".into())
}

fn holds(value: &Value, reply: &Reply) -> bool {
    let texts = texts(reply);
    match value {
        Value::Text(text) => reply.text() == Some(text),
        Value::List(list) => texts.iter().eq(list),
        Value::Set(set) => texts.len() == set.len() && texts.iter().all(|member| set.contains(member)),
        Value::Hash(hash) => {
            texts.len() == 2 * hash.len() && texts.chunks(2).all(|pair| hash.get(&pair[0]) == Some(&pair[1]))
        }
        Value::ZSet(zset) => {
            let score =
                |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
            texts.len() == 2 * zset.len()
                && texts.chunks(2).all(|pair| score(&pair[1]).is_some_and(|n| zset.get(&pair[0]) == Some(&n)))
        }
    }
}

fn texts(reply: &Reply) -> Vec<Vec<u8>> {
    reply.elements().iter().filter_map(|element| element.text()).map(<[u8]>::to_vec).collect()
}

fn number(reply: &Reply) -> Result<i64, String> {
    let text = String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned();
    text.parse().map_err(|_| format!("{} is no number", show(reply)))
}

fn expect_ok(reply: Reply) -> Result<(), String> {
    if show(&reply) == "+OK" { Ok(()) } else { Err(show(&reply)) }
}
