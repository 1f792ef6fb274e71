//! `redstart lock top`: the locks and who waits, drawn anew until it is interrupted.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use redis::cmd;
use serde_json::json;

use super::arguments::Place;
use super::held::{self, Lock};
use super::view::{line, locks_table, pairs};
use super::wire::{Failure, Server};

/// The shortest pause between two pictures: faster than anyone reads.
const SHORTEST: Duration = Duration::from_millis(50);

/// Moves the cursor to the upper left; what is drawn then is what was there, line by line.
const HOME: &str = "\x1b[H";
/// Clears the rest of a line, and of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Shows locks until nobody reads any more; once, if that is all that is wanted.
pub(crate) fn top(place: &Place, pattern: &str, once: bool, interval: Duration) -> Result<(), Failure> {
    let mut server = Server::connect(&place.server)?;
    let redraw = !once && !place.json && io::stdout().is_terminal();
    loop {
        let picture = match picture(&mut server, place, pattern) {
            Ok(picture) => picture,
            Err(failure) if once => return Err(failure),
            Err(failure) => {
                // A server that restarts is waited for: whoever watches wants to see it come back.
                if let Ok(again) = Server::connect(&place.server) {
                    server = again;
                }
                if place.json { String::new() } else { format!("{}\n", failure.reason) }
            }
        };
        let frame = if redraw {
            format!("{HOME}{}{CLEAR_BELOW}", picture.replace('\n', &format!("{CLEAR_LINE}\n")))
        } else {
            picture
        };
        let mut out = io::stdout().lock();
        if out.write_all(frame.as_bytes()).and_then(|()| out.flush()).is_err() || once {
            return Ok(());
        }
        drop(out);
        std::thread::sleep(interval.max(SHORTEST));
    }
}

fn picture(server: &mut Server, place: &Place, pattern: &str) -> Result<String, Failure> {
    let mut locks = held::list(server, pattern)?;
    // What most wait for comes first, then what has been held longest.
    let rank = |lock: &Lock| std::cmp::Reverse((lock.waiters.unwrap_or(0), lock.held_ms.unwrap_or(0)));
    locks.sort_by_key(rank);
    let stats = match server.is_native() {
        true => pairs(&server.ask(&cmd("LOCK.STATS"))?),
        false => Vec::new(),
    };
    if place.json {
        let stats: serde_json::Map<_, _> =
            stats.into_iter().map(|(name, value)| (name, json!(value))).collect();
        return Ok(line(&json!({"locks": locks, "stats": stats})));
    }
    let mut text = String::new();
    let _ = write!(text, "{} held", locks.len());
    for (name, value) in stats.iter().filter(|(name, _)| !name.contains('-') && name != "held") {
        let _ = write!(text, ", {value} {name}");
    }
    text.push('\n');
    for what in ["hold", "wait"] {
        let time = |end: &str| {
            let name = format!("{what}-{end}");
            stats.iter().find(|(of, _)| *of == name).map_or(0, |(_, ms)| *ms)
        };
        if !stats.is_empty() {
            let (p50, p90, p99, max) = (time("p50"), time("p90"), time("p99"), time("max"));
            let _ = writeln!(text, "{what} ms: p50 {p50}, p90 {p90}, p99 {p99}, max {max}");
        }
    }
    let _ = writeln!(text, "\n{}", locks_table(&locks));
    Ok(text)
}
