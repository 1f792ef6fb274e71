//! Chores that play replication for longer than a test may take: `replicate`, `sentinel`, `promote`.
//!
//! ```text
//! replicate   writers ──► server ──proxy──► server ──proxy──► server      links cut, processes killed; digests equal
//! sentinel    writer ──► whom Sentinel names, of three servers           master killed or stopped; always a new one
//! promote     clients ──► master ──► two replicas                        master gone, best promoted; nothing lost
//! ```

pub(crate) mod promote;
pub(crate) mod replicate;
pub(crate) mod sentinel;
pub(crate) mod station;

use std::time::{Duration, Instant};

use crate::durability::{build, now_ns, number};

/// What the three chores are told.
#[derive(Clone, Debug)]
struct Options {
    minutes: f64,
    rounds: u64,
    seed: u64,
    /// The server's program and leading arguments.
    ours: Vec<String>,
    /// Words that select topologies.
    only: Vec<String>,
    /// Under which promises `promote` plays.
    promises: Vec<promote::Promise>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>, rounds: u64) -> Result<Options, String> {
        let mut options = Options {
            minutes: 5.0,
            rounds,
            seed: now_ns() % 1_000_000,
            ours: Vec::new(),
            only: Vec::new(),
            promises: vec![promote::Promise::Synchronous, promote::Promise::None],
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
            let split = |text: String| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
            match word.as_str() {
                "--minutes" => {
                    options.minutes = value()?.parse().map_err(|_| "--minutes takes a number".to_string())?
                }
                "--rounds" => options.rounds = number(&value()?)?,
                "--seed" => options.seed = number(&value()?)?,
                "--only" => options.only = split(value()?),
                "--ours" => options.ours = split(value()?),
                "--synchronous" => options.promises = vec![promote::Promise::parse(&value()?)?],
                _ => return Err(format!("unknown option {word}")),
            }
        }
        if options.ours.is_empty() {
            options.ours = build()?;
        }
        Ok(options)
    }
}

/// Returns redis-server's command, or why there is none.
fn theirs() -> Result<Vec<String>, String> {
    let found = std::process::Command::new("redis-server").arg("--version").output();
    found.map_err(|error| format!("redis-server is needed: {error}"))?;
    Ok(vec!["redis-server".into()])
}

/// Asks again and again until the answer is there; the error says what was waited for, and what was found instead.
pub(crate) fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() > deadline => {
                return Err(format!("waited {} s in vain, {what}: {error}", patience.as_secs()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(3)),
        }
    }
}
