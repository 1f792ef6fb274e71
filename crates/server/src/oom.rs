//! oom-score-adj: telling the kernel how readily to kill this process when memory runs out.

use std::fs;
use std::io;

use config::{OomScoreAdj, Values};

use crate::log;
use crate::text::reason;

const FILE: &str = "/proc/self/oom_score_adj";

/// Returns the score that the process has now, to return to later.
pub(crate) fn current() -> i32 {
    fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Sets the score that the configuration asks for in the server's role; `initial` is the one from the process' start.
pub(crate) fn adjust(values: &Values, initial: i32) -> Result<(), ()> {
    let role = usize::from(values.replicaof.is_some());
    let score = score(values, initial, values.oom_score_adj_values[role]);
    if score == current() {
        return Ok(());
    }
    write(score).map_err(|error| {
        log::warning(&format!("Unable to write oom_score_adj: {}", reason(&error)));
    })
}

/// Sets the score of a child that writes a snapshot: with it the kernel loses least. There is no log to complain to.
pub(crate) fn adjust_child(values: &Values, initial: i32) {
    if values.oom_score_adj != OomScoreAdj::No {
        let _ = write(score(values, initial, values.oom_score_adj_values[2]));
    }
}

fn score(values: &Values, initial: i32, value: i32) -> i32 {
    match values.oom_score_adj {
        OomScoreAdj::No => initial,
        OomScoreAdj::Relative => initial.saturating_add(value),
        OomScoreAdj::Absolute => value,
    }
}

fn write(score: i32) -> io::Result<()> {
    fs::write(FILE, score.clamp(-1000, 1000).to_string())
}
