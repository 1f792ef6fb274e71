//! `redstart check rdb`: what is in a snapshot, and where it breaks.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use keyspace::Limits;
use rdb::check::{Checker, Report};

use super::input::Input;
use crate::text::{count, grouped, shown, size, table, time};

/// Returns what is in the snapshot of that name.
pub(crate) fn check(path: &Path) -> io::Result<(u64, Report)> {
    let mut input = Input::open(path)?;
    let mut checker = checker(&input);
    feed(&mut input, &mut checker)?;
    Ok((input.length(), checker.finish()))
}

/// Returns a checker for the input.
pub(crate) fn checker(input: &Input) -> Checker {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    Checker::new(Limits::default(), now, Some(input.length()))
}

/// Reads a snapshot up to its end, or to where it breaks.
pub(crate) fn feed(input: &mut Input, checker: &mut Checker) -> io::Result<()> {
    input.feed(|bytes| {
        let taken = if bytes.len() < checker.needs() { 0 } else { checker.feed(bytes) };
        (taken, checker.is_done())
    })
}

/// Returns a report, for people.
pub(crate) fn describe(report: &Report) -> String {
    let mut text = format!(
        "  version {}, {}{}{}\n",
        report.version,
        count(report.keys, "key"),
        match report.with_expiry {
            0 => String::new(),
            keys => format!(", {} with an expiry ({} expired)", grouped(keys), grouped(report.expired)),
        },
        match report.functions {
            0 => String::new(),
            functions => format!(", {}", count(functions, "function")),
        },
    );
    for (name, value) in &report.aux {
        let meaning = match (name.as_str(), value.parse::<i64>()) {
            ("ctime", Ok(secs)) => format!("   {}", time(secs)),
            ("used-mem", Ok(bytes)) if bytes > 0 => format!("   {}", size(bytes as u64)),
            _ => String::new(),
        };
        text += &format!("  {} {}{meaning}\n", shown(name.as_bytes()), shown(value.as_bytes()));
    }
    let heads = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    if report.databases.len() > 1 {
        let mut rows = vec![heads(&["database", "keys"])];
        rows.extend(report.databases.iter().map(|(db, keys)| vec![db.to_string(), grouped(*keys)]));
        text += &format!("\n{}", table(&rows, 1));
    }
    if !report.kinds.is_empty() {
        let mut rows = vec![heads(&["type", "encoding", "keys", "elements", "memory"])];
        rows.extend(report.kinds.iter().map(|((kind, encoding), tally)| {
            vec![
                (*kind).to_owned(),
                (*encoding).to_owned(),
                grouped(tally.keys),
                grouped(tally.elements),
                size(tally.memory),
            ]
        }));
        text += &format!("\n{}", table(&rows, 2));
    }
    if !report.largest.is_empty() {
        let mut rows = vec![heads(&["largest keys", "type", "encoding", "database", "elements", "memory"])];
        rows.extend(report.largest.iter().map(|large| {
            vec![
                shown(&large.key),
                large.kind.0.to_owned(),
                large.kind.1.to_owned(),
                large.db.to_string(),
                grouped(large.elements),
                size(large.memory),
            ]
        }));
        text += &format!("\n{}", table(&rows, 3));
    }
    if report.empty > 0 {
        text += &format!("  {} without elements, which loading leaves out\n", count(report.empty, "key"));
    }
    if report.error.is_none() {
        text += match report.checksum {
            Some(_) => "  the checksum is right\n",
            None => "  there is no checksum: what is inside values was not verified\n",
        };
    }
    text
}
