//! oom-score-adj: telling the kernel how readily to kill this process when memory runs out.

use std::fs;

use config::{OomScoreAdj, Values};

use crate::log;
use crate::text::reason;

const FILE: &str = "/proc/self/oom_score_adj";

/// Returns the score that the process has now, to return to later.
pub(crate) fn current() -> i32 {
    fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Sets the score that the configuration asks for; `initial` is the one from the process' start.
pub(crate) fn adjust(values: &Values, initial: i32) -> Result<(), ()> {
    let master = values.oom_score_adj_values[0];
    let score = match values.oom_score_adj {
        OomScoreAdj::No => initial,
        OomScoreAdj::Relative => initial.saturating_add(master),
        OomScoreAdj::Absolute => master,
    };
    if score == current() {
        return Ok(());
    }
    fs::write(FILE, score.clamp(-1000, 1000).to_string()).map_err(|error| {
        log::warning(&format!("Unable to write oom_score_adj: {}", reason(&error)));
    })
}
