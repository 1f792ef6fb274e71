//! `ls`, `show`, `graph`, `history`, `waiters`, `stats`, `force-unlock`: one question, printed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use base::calendar::utc;
use redis::{Value, cmd};
use serde_json::json;

use super::arguments::Place;
use super::duration::show;
use super::held::{self, Lock};
use super::table::{printable, table};
use super::wire::{Failure, Server, field, number, parts, text};

/// Returns what `ls` prints.
pub(crate) fn ls(place: &Place, pattern: &str) -> Result<String, Failure> {
    let locks = held::list(&mut Server::connect(&place.server)?, pattern)?;
    Ok(if place.json { lines(&locks) } else { locks_table(&locks) })
}

/// Returns what `show` prints.
pub(crate) fn show_one(place: &Place, key: &str) -> Result<String, Failure> {
    let mut server = Server::connect(&place.server)?;
    let Some(lock) = held::find(&mut server, key)? else {
        return Err(Failure::plain(format!("nobody holds a lock on {key}")));
    };
    if place.json {
        return Ok(line(&json!(lock)));
    }
    let unknown = || "unknown".to_owned();
    let time = |ms: Option<u64>| ms.map_or_else(unknown, |ms| show(Duration::from_millis(ms)));
    let count = |count: Option<u64>| count.map_or_else(unknown, |count| count.to_string());
    let mut out = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<10} {}", printable(value));
    };
    row("key", &lock.key);
    row("owner", &lock.owner);
    row("token", &count(lock.token));
    row("held for", &time(lock.held_ms));
    row("lease", &time(lock.lease_ms));
    row("remaining", &time(lock.remaining_ms));
    row("waiters", &count(lock.waiters));
    row("replicas", &count(lock.replicas));
    if let Some(meta) = &lock.meta {
        row("meta", &meta.to_string());
    }
    Ok(out)
}

/// Returns what `graph` prints.
pub(crate) fn graph(place: &Place) -> Result<String, Failure> {
    let mut server = Server::connect(&place.server)?;
    server.require_native("who waits for whom")?;
    let graph = server.ask(&cmd("LOCK.GRAPH"))?;
    let lists = |name: &str| -> Vec<Vec<String>> {
        let lists = field(&graph, name).map(parts).unwrap_or_default();
        lists.iter().map(|list| parts(list).iter().filter_map(text).collect()).collect()
    };
    let (edges, cycles) = (lists("edges"), lists("cycles"));
    if place.json {
        let edge =
            |edge: &Vec<String>| json!({"waiter": edge.first(), "key": edge.get(1), "holder": edge.get(2)});
        let edges: Vec<_> = edges.iter().map(edge).collect();
        return Ok(line(&json!({"edges": edges, "cycles": cycles})));
    }
    let mut out = String::new();
    for edge in &edges {
        if let [waiter, key, holder] = edge.as_slice() {
            let _ = writeln!(out, "{} --[{}]--> {}", printable(waiter), printable(key), printable(holder));
        }
    }
    for cycle in &cycles {
        let around: Vec<String> = cycle.iter().chain(cycle.first()).map(|owner| printable(owner)).collect();
        let _ = writeln!(out, "DEADLOCK: {}", around.join(" -> "));
    }
    if edges.is_empty() {
        out.push_str("nobody waits\n");
    }
    Ok(out)
}

/// Returns what `history` prints.
pub(crate) fn history(place: &Place, key: &str, count: u64) -> Result<String, Failure> {
    let mut server = Server::connect(&place.server)?;
    server.require_native("what happened to a lock")?;
    let events = server.ask(cmd("LOCK.HISTORY").arg(key).arg("COUNT").arg(count))?;
    let of = |event: &Value, name: &str| field(event, name).and_then(text).unwrap_or_default();
    if place.json {
        let event = |event: &Value| {
            json!({
                "at_ms": field(event, "at").and_then(number),
                "event": of(event, "event"),
                "owner": of(event, "owner"),
                "token": field(event, "token").and_then(number),
            })
        };
        return Ok(lines(&parts(&events).iter().map(event).collect::<Vec<_>>()));
    }
    let row = |event: &Value| {
        let at = field(event, "at").and_then(number).unwrap_or(0);
        [wall(at), of(event, "event"), of(event, "owner"), of(event, "token")]
    };
    let rows: Vec<_> = parts(&events).iter().map(row).collect();
    Ok(table(["AT (UTC)", "EVENT", "OWNER", "TOKEN"], &rows))
}

/// Returns what `waiters` prints.
pub(crate) fn waiters(place: &Place, key: &str) -> Result<String, Failure> {
    let mut server = Server::connect(&place.server)?;
    server.require_native("who waits")?;
    let waiters = server.ask(cmd("LOCK.WAITERS").arg(key))?;
    let of = |waiter: &Value, name: &str| field(waiter, name).and_then(text).unwrap_or_default();
    let ms = |waiter: &Value, name: &str| field(waiter, name).and_then(number);
    if place.json {
        let waiter = |(at, waiter): (usize, &Value)| {
            json!({
                "position": at + 1,
                "owner": of(waiter, "owner"),
                "client_id": ms(waiter, "client-id"),
                "address": of(waiter, "addr"),
                "waiting_ms": ms(waiter, "waiting"),
                "wait_left_ms": ms(waiter, "wait-left"),
            })
        };
        return Ok(lines(&parts(&waiters).iter().enumerate().map(waiter).collect::<Vec<_>>()));
    }
    let time = |ms: Option<u64>| show(Duration::from_millis(ms.unwrap_or(0)));
    let row = |(at, waiter): (usize, &Value)| {
        let (waiting, left) = (ms(waiter, "waiting"), ms(waiter, "wait-left"));
        [(at + 1).to_string(), of(waiter, "owner"), of(waiter, "addr"), time(waiting), time(left)]
    };
    let rows: Vec<_> = parts(&waiters).iter().enumerate().map(row).collect();
    Ok(table(["PLACE", "OWNER", "ADDRESS", "WAITING", "GIVES UP IN"], &rows))
}

/// Returns what `stats` prints.
pub(crate) fn stats(place: &Place, key: Option<&str>) -> Result<String, Failure> {
    let mut server = Server::connect(&place.server)?;
    server.require_native("how contended locks are")?;
    let mut question = cmd("LOCK.STATS");
    if let Some(key) = key {
        question.arg(key);
    }
    let stats = pairs(&server.ask(&question)?);
    if place.json {
        let stats: BTreeMap<String, u64> = stats.into_iter().collect();
        return Ok(line(&json!(stats)));
    }
    let mut out = String::new();
    for (name, value) in stats {
        // Names with a dash are times in milliseconds, by place in the order of all times.
        let value = if name.contains('-') { show(Duration::from_millis(value)) } else { value.to_string() };
        let _ = writeln!(out, "{:<10} {value}", printable(&name));
    }
    Ok(out)
}

/// Returns what `force-unlock` prints.
pub(crate) fn force_unlock(place: &Place, key: &str, token: u64) -> Result<String, Failure> {
    let mut server = Server::connect(&place.server)?;
    if !held::force(&mut server, key, token)? {
        return Err(Failure::plain(match held::find(&mut server, key)? {
            Some(Lock { token: Some(now), .. }) => format!("{key} is held with the token {now}, not {token}"),
            Some(_) => format!("{key} is not held with the token {token}"),
            None => format!("nobody holds a lock on {key}"),
        }));
    }
    Ok(match place.json {
        true => line(&json!({"key": key, "token": token, "released": true})),
        false => format!("{} is released; its holder is told when it next renews\n", printable(key)),
    })
}

/// Returns locks as a table.
pub(crate) fn locks_table(locks: &[Lock]) -> String {
    let time = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| show(Duration::from_millis(ms)));
    let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let row = |lock: &Lock| {
        [
            lock.key.clone(),
            lock.owner.clone(),
            count(lock.token),
            time(lock.held_ms),
            time(lock.remaining_ms),
            count(lock.waiters),
            lock.task().unwrap_or("-").to_owned(),
        ]
    };
    let rows: Vec<_> = locks.iter().map(row).collect();
    table(["KEY", "OWNER", "TOKEN", "HELD", "REMAINING", "WAITERS", "TASK"], &rows)
}

/// Returns a map's names and numbers, in its order.
pub(crate) fn pairs(map: &Value) -> Vec<(String, u64)> {
    let pair = |name: &Value, value: &Value| Some((text(name)?, number(value)?));
    match map {
        Value::Map(pairs) => pairs.iter().filter_map(|(name, value)| pair(name, value)).collect(),
        map => parts(map).chunks_exact(2).filter_map(|two| pair(&two[0], &two[1])).collect(),
    }
}

/// Returns one value as a line of JSON.
pub(crate) fn line(value: &serde_json::Value) -> String {
    format!("{value}\n")
}

/// Returns values as JSON, one a line.
fn lines(values: &[impl serde::Serialize]) -> String {
    values.iter().map(|value| line(&json!(value))).collect()
}

/// Returns a moment of the wall clock, in UTC: `2026-11-23 04:25:01.123`.
pub(crate) fn wall(unix_ms: u64) -> String {
    format!("{}.{:03}", utc((unix_ms / 1_000) as i64), unix_ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_dates() {
        for (ms, date) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400_000, "2000-02-29 00:00:00.000"),
            (1_795_407_901_123, "2026-11-23 04:25:01.123"),
            (4_107_542_399_999, "2100-02-28 23:59:59.999"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000"),
        ] {
            assert_eq!(wall(ms), date);
        }
    }
}
