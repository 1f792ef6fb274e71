//! The biggest keys of each type, in elements or memory, and those that are used most: samples of the whole keyspace.

use std::io::{self, Write};
use std::time::Duration;

use super::client::Client;
use super::interrupt;
use super::render;
use super::reply::{LinkError, Reply};
use super::scan::{Pages, failed};
use super::session::{Session, Stop};

/// How many pages there are between two pauses.
const PAGES_PER_PAUSE: u64 = 100;

/// How often it is said how far the scan is.
const KEYS_PER_REPORT: u64 = 1_000_000;

/// How many keys the list of those used most has.
const HOT_KEYS: usize = 16;

/// What the size of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Elements,
    /// Bytes, from so many samples of the elements; 0 means the server's default.
    Memory {
        samples: i64,
    },
}

/// What was seen of one type.
#[derive(Debug)]
struct TypeTotals {
    name: String,
    /// The command that tells the size, none for types that others have added.
    size_command: Option<&'static str>,
    unit: &'static str,
    biggest: u64,
    biggest_key: Option<String>,
    count: u64,
    total: u64,
}

impl TypeTotals {
    fn new(name: &str, size_command: Option<&'static str>, unit: &'static str) -> TypeTotals {
        let name = name.to_string();
        TypeTotals { name, size_command, unit, biggest: 0, biggest_key: None, count: 0, total: 0 }
    }
}

/// Prints the biggest key of each type while it goes through all of them, and then what there is of each.
pub(crate) fn biggest(session: &mut Session, measure: Measure) -> Result<u8, Stop> {
    let mut types = vec![
        TypeTotals::new("list", Some("LLEN"), "items"),
        TypeTotals::new("hash", Some("HLEN"), "fields"),
        TypeTotals::new("string", Some("STRLEN"), "bytes"),
        TypeTotals::new("stream", Some("XLEN"), "entries"),
        TypeTotals::new("set", Some("SCARD"), "members"),
        TypeTotals::new("zset", Some("ZCARD"), "members"),
    ];
    let mut walk = Walk::begin(session, "biggest keys")?;
    let mut key_bytes = 0;
    while let Some(keys) = walk.next()? {
        let kinds = key_types(walk.client, &keys, &mut types)?;
        let sizes = key_sizes(walk.client, &keys, &kinds, &types, measure)?;
        for ((key, kind), size) in keys.iter().zip(kinds).zip(sizes) {
            // Keys may go between one question and the next.
            let Some(kind) = kind else { continue };
            let totals = &mut types[kind];
            totals.total += size;
            totals.count += 1;
            key_bytes += key.len();
            walk.sampled += 1;
            if size > totals.biggest {
                let name = quoted(key);
                let unit = unit(totals, measure);
                let line = format!("Biggest {:<6} found so far '{name}' with {size} {unit}", totals.name);
                walk.say(&line)?;
                totals.biggest = size;
                totals.biggest_key = Some(name);
            }
            walk.report()?;
        }
    }
    let sampled = walk.sampled;
    walk.end()?;

    let mut out = io::stdout();
    let average = if sampled == 0 { 0.0 } else { key_bytes as f64 / sampled as f64 };
    write!(out, "Total key length in bytes is {key_bytes} (avg len {average:.2})\n\n")?;
    for totals in &types {
        if let Some(key) = &totals.biggest_key {
            let unit = unit(totals, measure);
            writeln!(out, "Biggest {:>6} found '{key}' has {} {unit}", totals.name, totals.biggest)?;
        }
    }
    writeln!(out)?;
    for totals in &types {
        let TypeTotals { name, count, total, .. } = totals;
        let part = if sampled == 0 { 0.0 } else { 100.0 * *count as f64 / sampled as f64 };
        let average = if *count == 0 { 0.0 } else { *total as f64 / *count as f64 };
        let unit = unit(totals, measure);
        writeln!(out, "{count} {name}s with {total} {unit} ({part:05.2}% of keys, avg size {average:.2})")?;
    }
    Ok(0)
}

/// Prints the keys that are used most; the server must count uses for that.
pub(crate) fn hottest(session: &mut Session) -> Result<u8, Stop> {
    let mut walk = Walk::begin(session, "hot keys")?;
    // The rarest used first.
    let mut hot: Vec<(u64, String)> = Vec::new();
    while let Some(keys) = walk.next()? {
        let uses = key_uses(walk.client, &keys)?;
        for (key, uses) in keys.iter().zip(uses) {
            walk.sampled += 1;
            walk.report()?;
            let full = hot.len() == HOT_KEYS;
            if uses == 0 || (full && uses <= hot[0].0) {
                continue;
            }
            if full {
                hot.remove(0);
            }
            let name = quoted(key);
            walk.say(&format!("Hot key '{name}' found so far with counter {uses}"))?;
            let place = hot.partition_point(|(other, _)| *other < uses);
            hot.insert(place, (uses, name));
        }
    }
    walk.end()?;
    for (uses, name) in hot.iter().rev() {
        writeln!(io::stdout(), "hot key found with counter: {uses}\tkeyname: {name}")?;
    }
    Ok(0)
}

/// A walk through all keys, and how far it is.
struct Walk<'a> {
    client: &'a mut Client,
    pages: Pages,
    interval: Duration,
    page_count: u64,
    key_count: u64,
    sampled: u64,
    /// How much of the keyspace was seen when the page was asked for.
    percent: f64,
}

impl Walk<'_> {
    fn begin<'a>(session: &'a mut Session, sought: &str) -> Result<Walk<'a>, Stop> {
        interrupt::install();
        interrupt::raise_flag();
        let pages = Pages::new(session.options.pattern.clone());
        let interval = session.options.interval;
        let Some(client) = session.client.as_mut() else { return Err(Stop::Code(1)) };
        let key_count = match client.call(&["DBSIZE"]) {
            Ok(Reply::Int(count)) => u64::try_from(count).unwrap_or(0),
            Ok(Reply::Error(text)) => {
                return Err(failed(&format!(
                    "Couldn't determine DBSIZE: {}",
                    String::from_utf8_lossy(&text)
                )));
            }
            Ok(_) => return Err(failed("Non INTEGER response from DBSIZE!")),
            Err(_) => return Err(failed("\nI/O error")),
        };
        write!(
            io::stdout(),
            "\n# Scanning the entire keyspace to find {sought} as well as\n\
             # average sizes per key type.  You can use -i 0.1 to sleep 0.1 sec\n\
             # per 100 SCAN commands (not usually needed).\n\n"
        )?;
        Ok(Walk { client, pages, interval, page_count: 0, key_count, sampled: 0, percent: 0.0 })
    }

    fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, Stop> {
        if !self.interval.is_zero() && self.page_count > 0 && self.page_count.is_multiple_of(PAGES_PER_PAUSE)
        {
            std::thread::sleep(self.interval);
        }
        self.page_count += 1;
        if self.key_count > 0 {
            self.percent = 100.0 * self.sampled as f64 / self.key_count as f64;
        }
        self.pages.next(self.client)
    }

    fn say(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout(), "[{:05.2}%] {text}", self.percent)
    }

    fn report(&self) -> io::Result<()> {
        if self.sampled.is_multiple_of(KEYS_PER_REPORT) {
            self.say(&format!("Sampled {} keys so far", self.sampled))?;
        }
        Ok(())
    }

    fn end(self) -> io::Result<()> {
        let mut out = io::stdout();
        write!(out, "\n-------- summary -------\n\n")?;
        if interrupt::raised() {
            write!(out, "[{:05.2}%] ", self.percent)?;
        }
        writeln!(out, "Sampled {} keys in the keyspace!", self.sampled)
    }
}

fn unit(totals: &TypeTotals, measure: Measure) -> &'static str {
    match measure {
        Measure::Elements => totals.unit,
        Measure::Memory { .. } => "bytes",
    }
}

fn quoted(key: &[u8]) -> String {
    let mut out = Vec::new();
    render::quote(&mut out, key);
    String::from_utf8_lossy(&out).into_owned()
}

/// Returns the place in `types` of each key's type, nothing for keys that have gone.
fn key_types(
    client: &mut Client,
    keys: &[Vec<u8>],
    types: &mut Vec<TypeTotals>,
) -> Result<Vec<Option<usize>>, Stop> {
    send_all(client, keys.iter().map(|key| vec![&b"TYPE"[..], key]))?;
    let mut kinds = Vec::new();
    for key in keys {
        let name = match client.read_answer() {
            Ok(Reply::Status(name)) => String::from_utf8_lossy(&name).into_owned(),
            Ok(Reply::Error(text)) => {
                return Err(failed(&format!("TYPE returned an error: {}", String::from_utf8_lossy(&text))));
            }
            Ok(_) => {
                return Err(failed(&format!(
                    "Invalid reply for TYPE on key '{}'!",
                    String::from_utf8_lossy(key)
                )));
            }
            Err(error) => return Err(lost("type", key, &error)),
        };
        let known = types.iter().position(|totals| totals.name == name);
        kinds.push(match known {
            None if name == "none" => None,
            None => {
                types.push(TypeTotals::new(&name, None, "?"));
                Some(types.len() - 1)
            }
            known => known,
        });
    }
    Ok(kinds)
}

fn key_sizes(
    client: &mut Client,
    keys: &[Vec<u8>],
    kinds: &[Option<usize>],
    types: &[TypeTotals],
    measure: Measure,
) -> Result<Vec<u64>, Stop> {
    let command = |kind: &Option<usize>| match (kind, measure) {
        (None, _) => None,
        (Some(kind), Measure::Elements) => types[*kind].size_command,
        (Some(_), Measure::Memory { .. }) => Some("MEMORY USAGE"),
    };
    let samples = match measure {
        Measure::Memory { samples } if samples != 0 => samples.to_string(),
        _ => String::new(),
    };
    let requests = keys.iter().zip(kinds).filter_map(|(key, kind)| {
        let mut words: Vec<&[u8]> = command(kind)?.split(' ').map(str::as_bytes).collect();
        words.push(key);
        if !samples.is_empty() {
            words.extend([&b"SAMPLES"[..], samples.as_bytes()]);
        }
        Some(words)
    });
    send_all(client, requests)?;
    let mut sizes = Vec::new();
    for (key, kind) in keys.iter().zip(kinds) {
        let Some(command) = command(kind) else {
            sizes.push(0);
            continue;
        };
        sizes.push(match client.read_answer() {
            Ok(Reply::Int(size)) => u64::try_from(size).unwrap_or(0),
            Ok(_) => {
                let key = String::from_utf8_lossy(key);
                complain!("Warning:  {command} on '{key}' failed (may have changed type)");
                0
            }
            Err(error) => return Err(lost("size", key, &error)),
        });
    }
    Ok(sizes)
}

fn key_uses(client: &mut Client, keys: &[Vec<u8>]) -> Result<Vec<u64>, Stop> {
    send_all(client, keys.iter().map(|key| vec![&b"OBJECT"[..], b"FREQ", key]))?;
    let mut uses = Vec::new();
    for key in keys {
        uses.push(match client.read_answer() {
            Ok(Reply::Int(count)) => u64::try_from(count).unwrap_or(0),
            Ok(Reply::Error(text)) => {
                return Err(failed(&format!("Error: {}", String::from_utf8_lossy(&text))));
            }
            Ok(_) => {
                complain!("Warning: OBJECT freq on '{}' failed (may have been deleted)", quoted(key));
                0
            }
            Err(error) => return Err(lost("freq", key, &error)),
        });
    }
    Ok(uses)
}

/// Sends requests without waiting for replies in between.
fn send_all<'a>(client: &mut Client, requests: impl Iterator<Item = Vec<&'a [u8]>>) -> Result<(), Stop> {
    let mut bytes = Vec::new();
    requests.for_each(|request| resp::encode::request(&mut bytes, request));
    client.send_bytes(&bytes).map_err(|error| failed(&format!("Error: {error}")))
}

fn lost(asked: &str, key: &[u8], error: &LinkError) -> Stop {
    failed(&format!("Error getting {asked} for key '{}' ({error})", String::from_utf8_lossy(key)))
}
