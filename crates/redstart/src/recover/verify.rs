//! Whether two servers hold the same data: by digest, or as well as can be told where that is not allowed.

use std::collections::BTreeMap;

use resp::value::Value;

use super::client::{Client, Info};

/// What was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All of the data, by DEBUG DIGEST.
    Digest(String),
    /// The number of keys of each database, and the values of this many of them.
    Sample { keys: u64, compared: u64, why: String },
}

/// So many keys are compared by their values where there is no digest.
const SAMPLE: u64 = 1000;
/// Of a collection with more elements only their number is compared.
const ELEMENTS_MAX: i64 = 10_000;

/// Compares the data of both, while nobody writes; the error says what is different.
pub(crate) fn compare(from: &mut Client, to: &mut Client) -> Result<Verdict, String> {
    let why = match (digest(from)?, digest(to)?) {
        (Ok(one), Ok(other)) if one == other => return Ok(Verdict::Digest(one)),
        (Ok(one), Ok(other)) => {
            return Err(format!(
                "the data differs: DEBUG DIGEST is {one} on {} and {other} on {}",
                from.address, to.address
            ));
        }
        (Err(why), _) | (_, Err(why)) => why,
    };
    let (one, other) = (from.info()?, to.info()?);
    if one.keyspace() != other.keyspace() {
        return Err(format!("the numbers of keys differ: {} and {}", shown(&one), shown(&other)));
    }
    let compared = sample(from, to, &one.keyspace());
    // Later requests are about database 0 again, whatever has become of these.
    for client in [from, to] {
        client.tell(&["SELECT", "0"])?;
    }
    Ok(Verdict::Sample { keys: one.keys(), compared: compared?, why })
}

/// Returns the digest of all data, or why the server does not tell.
fn digest(client: &mut Client) -> Result<Result<String, String>, String> {
    Ok(match client.ask(&["DEBUG", "DIGEST"])? {
        Value::Simple(text) | Value::Bulk(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Value::Error(error) => Err(format!("{}: {}", client.address, String::from_utf8_lossy(&error))),
        _ => Err(format!("{} has no DEBUG DIGEST", client.address)),
    })
}

fn shown(info: &Info) -> String {
    let databases: Vec<_> =
        info.keyspace().iter().map(|(index, keys)| format!("db{index}: {keys}")).collect();
    if databases.is_empty() { "none".into() } else { databases.join(", ") }
}

/// Compares the values of some keys, chosen at random; returns how many.
fn sample(from: &mut Client, to: &mut Client, keyspace: &BTreeMap<u32, u64>) -> Result<u64, String> {
    let keys: u64 = keyspace.values().sum();
    let mut compared = 0;
    for (index, count) in keyspace {
        for client in [&mut *from, &mut *to] {
            client.tell(&["SELECT", &index.to_string()])?;
        }
        for _ in 0..(SAMPLE * count).div_ceil(keys.max(1)) {
            let Value::Bulk(key) = from.tell(&["RANDOMKEY"])? else { continue };
            let (one, other) = (read(from, &key)?, read(to, &key)?);
            if one != other {
                return Err(format!("the key '{}' of database {index} differs", key.escape_ascii()));
            }
            compared += 1;
        }
    }
    Ok(compared)
}

/// Returns what a key holds and when it expires, in an order that does not depend on how it is kept.
fn read(client: &mut Client, key: &[u8]) -> Result<Vec<Value>, String> {
    let kind = client.tell(&[b"TYPE", key])?;
    let expires = client.tell(&[b"PEXPIRETIME", key])?;
    let (length, all, pairs): (&[u8], &[&[u8]], bool) = match kind.as_bytes().unwrap_or_default() {
        b"string" => (b"STRLEN", &[b"GET"], false),
        b"list" => (b"LLEN", &[b"LRANGE", b"0", b"-1"], false),
        b"set" => (b"SCARD", &[b"SMEMBERS"], false),
        b"zset" => (b"ZCARD", &[b"ZRANGE", b"0", b"-1", b"WITHSCORES"], false),
        b"hash" => (b"HLEN", &[b"HGETALL"], true),
        b"stream" => (b"XLEN", &[b"XRANGE", b"-", b"+"], false),
        _ => return Ok(vec![kind, expires]),
    };
    let length = client.tell(&[length, key])?;
    let mut found = vec![kind.clone(), expires, length.clone()];
    let small = length.as_int().is_some_and(|length| length <= ELEMENTS_MAX);
    if small || kind.as_bytes() == Some(b"string") {
        let (name, rest) = all.split_first().expect("a command has a name");
        let request: Vec<&[u8]> = [*name, key].into_iter().chain(rest.iter().copied()).collect();
        found.push(ordered(client.tell(&request)?, kind.as_bytes() == Some(b"set"), pairs));
    }
    Ok(found)
}

/// Puts what has no order of its own into one.
fn ordered(value: Value, unordered: bool, pairs: bool) -> Value {
    let Value::Array(mut items) = value else { return value };
    let key = |item: &Value| item.as_bytes().map(<[u8]>::to_vec);
    if unordered {
        items.sort_by_key(key);
    } else if pairs {
        let mut fields: Vec<&[Value]> = items.chunks(2).collect();
        fields.sort_by_key(|pair| key(&pair[0]));
        items = fields.concat();
    }
    Value::Array(items)
}
