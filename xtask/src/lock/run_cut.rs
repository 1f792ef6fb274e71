//! `cargo xtask lock run-cut`: whatever is done to `redstart lock run` and its network, its command does not outlive its lock.
//!
//! ```text
//! a round: a command of stubborn shells runs under a lock ── blow ──► a rival is granted the lock: no process may be left
//! ```
//!
//! The rounds take turns with all blows (`testkit::supervised::Blow`), half of them on a Redstart server and half on
//! redis-server.

use std::time::Duration;

use testkit::ServerProcess;
use testkit::supervised::{Blow, round};

use crate::durability::{build, number};

/// The lease of the lock in each round.
const LEASE: Duration = Duration::from_millis(1500);

/// Plays as many rounds as asked; true when no process ever survived.
pub(super) fn run(mut words: impl Iterator<Item = String>) -> Result<bool, String> {
    let (mut rounds, mut ours) = (100, Vec::new());
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
        match word.as_str() {
            "--rounds" => rounds = number(&value()?)?,
            "--ours" => ours = value()?.split_whitespace().map(str::to_string).collect(),
            _ => return Err(format!("unknown option {word}")),
        }
    }
    if ours.is_empty() {
        ours = build()?;
    }
    let program = ours.first().cloned().ok_or("--ours names no program")?;
    let start = |command: &[String]| ServerProcess::start(command, &[]).map_err(|error| error.to_string());
    let servers = [(start(&ours)?, true), (start(&["redis-server".to_string()])?, false)];

    let (mut processes, mut survivors) = (0, Vec::new());
    let (mut ended, mut granted) = (Vec::new(), Vec::new());
    for number in 0..rounds {
        let (server, native) = &servers[number as usize % 2];
        let blow = Blow::ALL[(number / 2) as usize % Blow::ALL.len()];
        let mark = format!("run-cut-{}-{number}", std::process::id());
        let played = round(&program, server.address(), *native, blow, LEASE, &mark);
        let played = played.map_err(|error| format!("round {number}, {blow:?}: {error}"))?;
        processes += played.processes;
        ended.push(played.ended_after);
        granted.push(played.granted_after);
        if !played.survivors.is_empty() {
            println!(
                "round {number}, {blow:?}: {} are left when the rival is granted",
                played.survivors.join(", ")
            );
            survivors.extend(played.survivors);
        }
        if number % 20 == 19 {
            eprintln!("… {} rounds, {} survivors", number + 1, survivors.len());
        }
    }
    ended.sort();
    granted.sort();
    let ms = |times: &[Duration], share: f64| {
        let at = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(at).map_or(0, |time| time.as_millis())
    };
    println!(
        "{rounds} rounds, lease {} ms, {processes} processes: {} left when the rival was granted the lock; all had ended \
         after {} ms (half), {} ms (most), the rival had it after {} ms (half), {} ms (most)",
        LEASE.as_millis(),
        survivors.len(),
        ms(&ended, 0.5),
        ms(&ended, 1.0),
        ms(&granted, 0.5),
        ms(&granted, 1.0),
    );
    Ok(survivors.is_empty())
}
