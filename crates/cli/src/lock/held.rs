//! The locks that a server holds: as `LOCK.*` commands tell of them, or as the keys of a plain server show them.
//!
//! On a plain server a lock is a string with its owner, which expires with the lease, beside a counter of its tokens;
//! where the server is a replica of a Redstart server, a lock is a hash whose field `redstart-lock` is its token.

use std::collections::BTreeSet;

use base::glob::glob_match;
use redis::{Value, cmd};
use serde::Serialize;

use super::wire::{Failure, Server, field, number, parts, text};

/// What the counters of tokens begin with, and the channels on which releases are told.
const COUNTER: &str = "redstart:token:";
const CHANNEL: &str = "redstart:lock:";

/// Deletes a lock whose newest token is the given one, and wakes those who wait.
const FORCE: &str = "\
if redis.call('get', KEYS[2]) ~= ARGV[1] or redis.call('del', KEYS[1]) == 0 then return 0 end
redis.pcall('publish', ARGV[2], '1')
return 1";

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Lock {
    pub(crate) key: String,
    pub(crate) owner: String,
    pub(crate) token: Option<u64>,
    pub(crate) lease_ms: Option<u64>,
    pub(crate) remaining_ms: Option<u64>,
    pub(crate) held_ms: Option<u64>,
    pub(crate) waiters: Option<u64>,
    pub(crate) replicas: Option<u64>,
    pub(crate) meta: Option<serde_json::Value>,
}

impl Lock {
    /// Reads one map of LOCK.INFO or LOCK.LIST.
    fn from_info(info: &Value) -> Option<Lock> {
        let of = |name: &str| field(info, name).and_then(number);
        Some(Lock {
            key: field(info, "key").and_then(text)?,
            owner: field(info, "owner").and_then(text)?,
            token: of("token"),
            lease_ms: of("lease"),
            remaining_ms: of("remaining"),
            held_ms: of("since"),
            waiters: of("waiters"),
            replicas: of("replicas"),
            meta: field(info, "meta").and_then(text).map(json),
        })
    }

    /// Returns the task's name, if the holder told one.
    pub(crate) fn task(&self) -> Option<&str> {
        self.meta.as_ref()?.get("task")?.as_str()
    }
}

fn json(text: String) -> serde_json::Value {
    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
}

/// Returns the lock on a key, if it is held.
pub(crate) fn find(server: &mut Server, key: &str) -> Result<Option<Lock>, Failure> {
    if server.is_native() {
        let info = server.ask(cmd("LOCK.INFO").arg(key))?;
        return Ok(Lock::from_info(&info));
    }
    let kind = server.ask(cmd("TYPE").arg(key))?;
    match text(&kind).as_deref() {
        Some("string") => plain(server, key),
        Some("hash") => replicated(server, key),
        _ => Ok(None),
    }
}

/// Returns the locks whose keys match a pattern, sorted by key.
pub(crate) fn list(server: &mut Server, pattern: &str) -> Result<Vec<Lock>, Failure> {
    if server.is_native() {
        let list = server.ask(cmd("LOCK.LIST").arg(pattern))?;
        return Ok(parts(&list).iter().filter_map(Lock::from_info).collect());
    }
    // Every lock has a counter, though not every counter a lock.
    let mut keys = BTreeSet::new();
    for counter in scan(server, &format!("{COUNTER}*"), "string")? {
        keys.extend(keys_of(&counter));
    }
    let mut locks = Vec::new();
    for key in keys {
        if glob_match(pattern.as_bytes(), key.as_bytes(), false)
            && let Some(lock) = find(server, &key)?
        {
            locks.push(lock);
        }
    }
    let role = server.ask(&cmd("ROLE"))?;
    if parts(&role).first().and_then(text).as_deref() == Some("slave") {
        for key in scan(server, pattern, "hash")? {
            locks.extend(replicated(server, &key)?);
        }
    }
    locks.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(locks)
}

/// Takes a lock away from its holder, if its token is the given one; true when it was.
pub(crate) fn force(server: &mut Server, key: &str, token: u64) -> Result<bool, Failure> {
    let forced = if server.is_native() {
        server.ask(cmd("LOCK.FORCE").arg(key).arg("TOKEN").arg(token))?
    } else {
        let script = cmd("EVAL")
            .arg(FORCE)
            .arg(2)
            .arg(&[key, &beside(COUNTER, key)])
            .arg(token)
            .arg(beside(CHANNEL, key))
            .take();
        server.ask(&script)?
    };
    Ok(number(&forced) == Some(1))
}

/// Reads a lock of a plain server.
fn plain(server: &mut Server, key: &str) -> Result<Option<Lock>, Failure> {
    let owner = server.ask(cmd("GET").arg(key))?;
    let remaining = server.ask(cmd("PTTL").arg(key))?;
    let token = server.ask(cmd("GET").arg(beside(COUNTER, key)))?;
    let (Some(owner), Some(remaining)) = (text(&owner), number(&remaining)) else { return Ok(None) };
    Ok(Some(Lock {
        key: key.to_owned(),
        owner,
        token: number(&token),
        lease_ms: None,
        remaining_ms: Some(remaining),
        held_ms: None,
        waiters: None,
        replicas: None,
        meta: None,
    }))
}

/// Reads a lock that a Redstart server has replicated to this one.
fn replicated(server: &mut Server, key: &str) -> Result<Option<Lock>, Failure> {
    let names = ["redstart-lock", "owner", "lease", "replicas", "meta"];
    let fields = server.ask(cmd("HMGET").arg(key).arg(&names))?;
    let [token, owner, lease, replicas, meta] = parts(&fields) else { return Ok(None) };
    let (Some(token), Some(owner)) = (number(token), text(owner)) else { return Ok(None) };
    Ok(Some(Lock {
        key: key.to_owned(),
        owner,
        token: Some(token),
        lease_ms: number(lease),
        remaining_ms: None,
        held_ms: None,
        waiters: None,
        replicas: number(replicas),
        meta: text(meta).map(json),
    }))
}

/// Returns all keys of a type that match.
fn scan(server: &mut Server, pattern: &str, kind: &str) -> Result<BTreeSet<String>, Failure> {
    let (mut keys, mut cursor) = (BTreeSet::new(), "0".to_owned());
    loop {
        let page = cmd("SCAN")
            .arg(&cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(1000)
            .arg("TYPE")
            .arg(kind)
            .take();
        let page = server.ask(&page)?;
        let [next, found] = parts(&page) else { return Ok(keys) };
        keys.extend(parts(found).iter().filter_map(text));
        cursor = text(next).unwrap_or_default();
        if cursor.is_empty() || cursor == "0" {
            return Ok(keys);
        }
    }
}

/// Returns what stands beside a key under a prefix, in the same slot of a cluster.
fn beside(prefix: &str, key: &str) -> String {
    let tagged = key.split_once('{').is_some_and(|(_, rest)| rest.find('}').is_some_and(|end| end > 0));
    if tagged { format!("{prefix}{key}") } else { format!("{prefix}{{{key}}}") }
}

/// Returns the keys that a counter may belong to.
fn keys_of(counter: &str) -> Vec<String> {
    let rest = counter.strip_prefix(COUNTER).unwrap_or_default();
    let inner = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let candidates = inner.into_iter().chain(Some(rest));
    candidates.filter(|key| !key.is_empty() && beside(COUNTER, key) == counter).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_leads_back_to_its_key() {
        assert_eq!(beside(COUNTER, "jobs"), "redstart:token:{jobs}");
        assert_eq!(beside(COUNTER, "{jobs}:a"), "redstart:token:{jobs}:a");
        assert_eq!(keys_of("redstart:token:{jobs}"), ["jobs", "{jobs}"]);
        assert_eq!(keys_of("redstart:token:{jobs}:a"), ["{jobs}:a"]);
        assert_eq!(keys_of("redstart:token:{}"), [""; 0]);
    }
}
