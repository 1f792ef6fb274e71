//! Chores that hurt a server while clients write to it, and count what it lost: `powercut`, `kill9`, `diskfaults`.
//!
//! ```text
//! Clients ── numbered writes ──► server ── disk that fails
//!    │ what was sent, what was answered when       │
//!    └────────────► Verdict ◄── State::read ◄── server, started again
//! ```
//!
//! Every client writes a sequence of its own that follows from its number alone, so what must be there after a restart
//! is known exactly: the state after one of its writes, and no earlier one than was promised.

pub(crate) mod clients;
pub(crate) mod diskfaults;
mod image;
pub(crate) mod kill9;
mod power;
pub(crate) mod powercut;
mod process;
mod sequence;
mod tally;

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `appendfsync` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Always,
    EverySecond,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Always => "always",
            Policy::EverySecond => "everysec",
        })
    }
}

/// What the three chores are told.
#[derive(Clone, Debug)]
struct Options {
    rounds: u64,
    policies: Vec<Policy>,
    /// The server's program and leading arguments.
    ours: Vec<String>,
    seed: u64,
    /// Words that select rows of a table.
    only: Vec<String>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>, rounds: u64) -> Result<Options, String> {
        let mut options = Options {
            rounds,
            policies: vec![Policy::Always, Policy::EverySecond],
            ours: Vec::new(),
            seed: now_ns() % 1_000_000,
            only: Vec::new(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
            match word.as_str() {
                "--rounds" => options.rounds = number(&value()?)?,
                "--seed" => options.seed = number(&value()?)?,
                "--only" => options.only = value()?.split_whitespace().map(str::to_string).collect(),
                "--ours" => options.ours = value()?.split_whitespace().map(str::to_string).collect(),
                "--fsync" => {
                    options.policies = match value()?.as_str() {
                        "always" => vec![Policy::Always],
                        "everysec" => vec![Policy::EverySecond],
                        other => return Err(format!("--fsync {other}: always or everysec")),
                    }
                }
                _ => return Err(format!("unknown option {word}")),
            }
        }
        if options.ours.is_empty() {
            options.ours = build()?;
        }
        Ok(options)
    }
}

pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}

pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

/// Builds our server as it is released and returns its command.
pub(crate) fn build() -> Result<Vec<String>, String> {
    let root = crate::arguments::root();
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--release", "-p", "redstart"])
        .current_dir(&root)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !built.success() {
        return Err(format!("cargo build ended with {built}"));
    }
    let program = std::path::absolute(root.join("target/release/redstart")).map_err(|e| e.to_string())?;
    Ok(vec![program.display().to_string(), "server".to_string()])
}

/// A directory of this process, removed with this value.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Result<Scratch, String> {
        // Process ids are no names here: in a world of its own each run has the same.
        let path = std::env::temp_dir().join(format!("redstart-{name}-{}", now_ns()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A sequence of numbers that looks random and is the same for each seed (SplitMix64).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number of `from..to`.
    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from).max(1)
    }
}
