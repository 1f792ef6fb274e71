//! `failures ls`, `show`, `ack`, `renotify`: what failed, who was told, who looks after it.

use std::fmt::Write;
use std::time::Duration;

use notify::{AttemptResult, Exit, FailureRecord, StoreError, Ulid};
use serde_json::json;

use super::arguments::{Failures, Place, Records};
use super::desk::Desk;
use super::duration::show;
use super::exit;
use super::table::{printable, table};
use super::view::{line, wall};
use super::wire::Failure;

/// Returns what these commands print.
pub(crate) fn run(failures: &Failures) -> Result<String, Failure> {
    match failures {
        Failures::Ls { count, open, place, records } => ls(place, records, *count, *open),
        Failures::Show { id, place, records } => show_one(place, records, id),
        Failures::Ack { id, by, place, records } => {
            let by =
                by.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "unknown".to_owned());
            let id = parse(id)?;
            let known = store(place, records)?.ack(id, &by).map_err(|error| failure(&error))?;
            done(place, known, id, &format!("acknowledged by {}", printable(&by)))
        }
        Failures::Renotify { id, place, records } => {
            let id = parse(id)?;
            let known = store(place, records)?.renotify(id).map_err(|error| failure(&error))?;
            let text = done(place, known, id, "will be told again")?;
            let desk = desk(place, records);
            desk.is_urgent();
            desk.deliver_briefly();
            Ok(text)
        }
    }
}

fn desk(place: &Place, records: &Records) -> Desk {
    Desk::new(&place.server, records)
}

fn store(place: &Place, records: &Records) -> Result<notify::Store, Failure> {
    desk(place, records).store()
}

fn failure(error: &StoreError) -> Failure {
    let code = match error {
        StoreError::Unavailable(_) => exit::UNAVAILABLE,
        StoreError::Address(_) => exit::USAGE,
        StoreError::Disk(_) => exit::OS,
        StoreError::Refused(_) => exit::FAILURE,
    };
    Failure { code, reason: error.to_string() }
}

fn parse(id: &str) -> Result<Ulid, Failure> {
    let wrong = |_| Failure { code: exit::USAGE, reason: format!("{} is no id of a failure", printable(id)) };
    id.parse().map_err(wrong)
}

fn done(place: &Place, known: bool, id: Ulid, what: &str) -> Result<String, Failure> {
    if !known {
        return Err(Failure::plain(format!("there is no failure {id}")));
    }
    Ok(match place.json {
        true => line(&json!({"id": id.to_string(), "done": true})),
        false => format!("{id}: {what}\n"),
    })
}

/// Returns the newest failures; those on disk only, where the server cannot be reached.
fn ls(place: &Place, records: &Records, count: usize, open: bool) -> Result<String, Failure> {
    let store = store(place, records)?;
    let mut note = String::new();
    let mut list = match store.list(if open { usize::MAX } else { count }) {
        Ok(list) => list,
        Err(StoreError::Unavailable(reason)) => {
            note = format!("{reason}; these are on disk and go there later\n");
            let mut list = store.on_disk().map_err(|error| failure(&error))?;
            list.reverse();
            list
        }
        Err(error) => return Err(failure(&error)),
    };
    list.retain(|record| !open || record.acknowledged.is_none());
    list.truncate(count);
    if place.json {
        return Ok(list.iter().map(|record| line(&json!(record))).collect());
    }
    let row = |record: &FailureRecord| {
        [
            record.id.to_string(),
            wall(record.at_ms.0),
            record.kind.to_string(),
            record.key.clone(),
            record.task.clone().unwrap_or_default(),
            record.host.clone(),
            told(record),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    Ok(note + &table(["ID", "AT (UTC)", "KIND", "KEY", "TASK", "HOST", "TOLD"], &rows))
}

/// Returns who was told, in a word or two.
fn told(record: &FailureRecord) -> String {
    if let Some(acknowledged) = &record.acknowledged {
        return format!("acknowledged by {}", acknowledged.by);
    }
    let mut people: Vec<&str> = record
        .attempts
        .iter()
        .filter(|attempt| attempt.result.is_delivered())
        .map(|attempt| attempt.person.as_str())
        .collect();
    people.sort_unstable();
    people.dedup();
    if people.is_empty() { "nobody yet".to_owned() } else { people.join(", ") }
}

fn show_one(place: &Place, records: &Records, id: &str) -> Result<String, Failure> {
    let id = parse(id)?;
    let store = store(place, records)?;
    let record = match store.get(id) {
        Ok(record) => record,
        Err(StoreError::Unavailable(_)) => {
            let waiting = store.on_disk().map_err(|error| failure(&error))?;
            waiting.into_iter().find(|record| record.id == id)
        }
        Err(error) => return Err(failure(&error)),
    };
    let record = record.ok_or_else(|| Failure::plain(format!("there is no failure {id}")))?;
    Ok(if place.json { line(&json!(record)) } else { describe(&record) })
}

fn describe(record: &FailureRecord) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "{name:<13} {}", printable(value));
        }
    };
    row("id", &record.id.to_string());
    row("kind", record.kind.name());
    row("at (UTC)", &wall(record.at_ms.0));
    row("key", &record.key);
    row("task", record.task.as_deref().unwrap_or_default());
    row("arguments", &record.arguments.join(" "));
    row("error", &record.error);
    let exit = record.exit.map(|exit| match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    });
    row("ended by", &exit.unwrap_or_default());
    row("where", &format!("{}@{} (pid {}) in {}", record.user, record.host, record.pid, record.directory));
    let (interval, waited) =
        (Duration::from_millis(record.interval_ms), Duration::from_millis(record.waited_ms));
    row("checks", &format!("{} every {}, waited {}", record.checks, show(interval), show(waited)));
    if let Some(holder) = &record.holder {
        let token = holder.token.map(|token| format!(", token {token}")).unwrap_or_default();
        let time = |ms: u64| show(Duration::from_millis(ms));
        let held = holder.held_ms.map(|ms| format!(", held for {}", time(ms))).unwrap_or_default();
        row("held by", &format!("{}{token}{held}", holder.owner));
        row("holder's meta", &holder.meta.as_ref().map(|meta| meta.to_string()).unwrap_or_default());
    }
    row("own token", &record.token.map(|token| token.to_string()).unwrap_or_default());
    row("people", &record.people.join(", "));
    for attempt in &record.attempts {
        let result = match &attempt.result {
            AttemptResult::Delivered => "told".to_owned(),
            AttemptResult::DeliveredWith(other) => format!("told with {other}"),
            AttemptResult::Failed(why) => format!("not told: {why}"),
        };
        row(
            "attempt",
            &format!("{} {} over {}: {result}", wall(attempt.at_ms.0), attempt.person, attempt.channel),
        );
    }
    if let Some(acknowledged) = &record.acknowledged {
        row("acknowledged", &format!("{} by {}", wall(acknowledged.at_ms.0), acknowledged.by));
    }
    row("version", &record.version);
    if !record.stderr.is_empty() {
        out.push_str("standard error, its end:\n");
        for text in record.stderr.lines() {
            let _ = writeln!(out, "  {}", printable(text));
        }
    }
    out
}
