//! `cargo xtask simulate` and `corrupt`: run the simulator, with every check compiled in.

use std::process::Command;

/// How many seeds are run unless it is said.
const SEEDS: u64 = 10_000;

/// How often a seed of crashes crashes.
const CRASHES_IN_A_SEED: u64 = 20;

/// Runs seeds `--from` (0 by default) and on, or one seed in full detail; returns whether all of them passed.
///
/// With `--reference COMMAND` the seeds' requests are given to that server, too, and the replies compared. With
/// `--crashes N` a node is crashed so many times over a virtual disk, and what it promised is looked for;
/// `--crash-seed N` shows one of those seeds. With `--replication` masters and replicas are simulated, with `--locks`
/// also those who take locks on them; `--seeds` may be a range `FROM..TO`.
pub(crate) fn run(mut words: impl Iterator<Item = String>) -> Result<bool, String> {
    let (mut from, mut count, mut one, mut reference) = (0, SEEDS, None, None);
    let (mut crashes, mut crash_seed, mut subject) = (None, None, None);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let text = words.next().unwrap_or_default();
            text.parse().map_err(|_| format!("{word} {text}: not a number"))
        };
        match word.as_str() {
            "--seeds" => (from, count) = seeds(from, &words.next().unwrap_or_default())?,
            "--replication" | "--locks" => subject = Some(word.clone()),
            "--from" => from = number()?,
            "--seed" => one = Some(number()?),
            "--crashes" => crashes = Some(number()?),
            "--crash-seed" => crash_seed = Some(number()?.to_string()),
            "--reference" => reference = Some(words.next().ok_or("--reference takes a command")?),
            _ => return Err(format!("unknown option {word}")),
        }
    }
    if let Some(seed) = crash_seed {
        return simulator(&["--crashes", "--seed", &seed, "--verbose"]);
    }
    if let Some(crashes) = crashes {
        let end = from.saturating_add(crashes.div_ceil(CRASHES_IN_A_SEED));
        return simulator(&["--crashes", "--seeds", &format!("{from}..{end}")]);
    }
    let range = format!("{from}..{}", from.saturating_add(count));
    let seed = one.map(|seed| seed.to_string());
    if let Some(subject) = subject {
        return match &seed {
            Some(seed) => simulator(&[&subject, "--seed", seed, "--verbose"]),
            None => simulator(&[&subject, "--seeds", &range]),
        };
    }
    let arguments = match (&reference, &seed) {
        (Some(command), _) => vec!["--reference", command, "--seeds", &range],
        (None, Some(seed)) => vec!["--seed", seed, "--verbose"],
        (None, None) => vec!["--seeds", &range],
    };
    simulator(&arguments)
}

/// Reads how many seeds are to be run, or from which up to which; returns the first, and their number.
fn seeds(from: u64, text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("--seeds {text}: not a number"));
    match text.split_once("..") {
        Some((first, end)) => Ok((number(first)?, number(end)?.saturating_sub(number(first)?))),
        None => Ok((from, number(text)?)),
    }
}

/// Damages a log and a snapshot of `--bytes` (a megabyte) at every place, and with `--flips` wrong bits (2,500 in each
/// of the four files); returns whether all of it was found.
pub(crate) fn corrupt(mut words: impl Iterator<Item = String>) -> Result<bool, String> {
    let (mut bytes, mut flips) = (1_000_000, 2_500);
    while let Some(word) = words.next() {
        let place: &mut u64 = match word.as_str() {
            "--bytes" => &mut bytes,
            "--flips" => &mut flips,
            _ => return Err(format!("unknown option {word}")),
        };
        let text = words.next().unwrap_or_default();
        *place = text.parse().map_err(|_| format!("{word} {text}: not a number"))?;
    }
    simulator(&["--corrupt", &bytes.to_string(), &flips.to_string()])
}

/// Runs the simulator; returns whether it found nothing wrong.
fn simulator(arguments: &[&str]) -> Result<bool, String> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--profile", "simulation", "--package", "simulator", "--"])
        .args(arguments)
        .status()
        .map_err(|e| format!("cargo: {e}"))?;
    Ok(status.success())
}
