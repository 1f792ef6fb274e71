//! Runs seeds and reports those that fail.
//!
//! `simulator --seed N [--verbose]`, `simulator --seeds FROM..TO`, and, with the same requests given to a reference
//! server, `simulator --reference COMMAND --seeds FROM..TO`. With `--crashes` the seeds are those of crashes,
//! with `--replication` those of masters and replicas, with `--locks` those of locks on masters and replicas.
//! `simulator --corrupt BYTES FLIPS` damages logs and snapshots of so many bytes at every place, and with so many wrong
//! bits each.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::ops::Range;
use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use simulator::corruption::{self, Counts};
use simulator::crashes;
use simulator::reference;
use simulator::replicas::{self, Subject};
use simulator::seeds;
use simulator::world::{self, Failure, Summary};
use testkit::{ServerProcess, TcpTarget};

const USAGE: &str = "simulator [--crashes | --replication | --locks] --seed N [--verbose] | \
[--crashes | --replication | --locks | --reference COMMAND] --seeds FROM..TO | --corrupt BYTES FLIPS";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["--reference", command, "--seeds", range] = words[..]
        && let Some(seeds) = several(range)
    {
        return against_reference(command, seeds);
    }
    if let ["--corrupt", bytes, flips] = words[..]
        && let (Ok(bytes), Ok(flips)) = (bytes.parse(), flips.parse())
    {
        return corrupt(bytes, flips);
    }
    let (run, words): (fn(Range<u64>, bool) -> ExitCode, _) = match words.split_first() {
        Some((&"--crashes", rest)) => (crash, rest),
        Some((&"--replication", rest)) => (replicate, rest),
        Some((&"--locks", rest)) => (lock, rest),
        _ => (run, &words[..]),
    };
    let (seeds, verbose) = match words {
        ["--seed", seed, "--verbose"] => (one(seed), true),
        ["--seed", seeds] | ["--seeds", seeds] => (one(seeds).or_else(|| several(seeds)), false),
        _ => (None, false),
    };
    match seeds {
        Some(seeds) => run(seeds, verbose),
        None => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Runs seeds of crashes on all cores, and says what was checked.
fn crash(seeds: Range<u64>, verbose: bool) -> ExitCode {
    report(Instant::now(), crashes::run_all(seeds, verbose))
}

/// Runs seeds of replication on all cores, and says what was checked.
fn replicate(seeds: Range<u64>, verbose: bool) -> ExitCode {
    report(Instant::now(), replicas::run_all(seeds, Subject::Data, verbose))
}

/// Runs seeds of locks on all cores, and says what was checked.
fn lock(seeds: Range<u64>, verbose: bool) -> ExitCode {
    report(Instant::now(), replicas::run_all(seeds, Subject::Locks, verbose))
}

/// Says what seeds came to and what was found.
fn report(started: Instant, (tally, failures): (impl Display, Vec<String>)) -> ExitCode {
    failures.iter().for_each(|failure| println!("{failure}"));
    println!("{tally}");
    println!("{} violations, {:.1} s", failures.len(), started.elapsed().as_secs_f64());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Damages files on all cores, and counts what came of it.
fn corrupt(bytes: u64, flips: u64) -> ExitCode {
    /// Bits are drawn anew for each portion.
    const PORTION: u64 = 100;
    let started = Instant::now();
    let mut good = true;
    for case in corruption::cases(bytes) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let all = AtomicU64::new(0);
        let run = |work: &(dyn Fn(u64) -> Option<Counts> + Sync)| {
            all.store(0, Ordering::Relaxed);
            let mut sum = Counts::default();
            std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads)
                    .map(|_| {
                        scope.spawn(|| {
                            let mut sum = Counts::default();
                            while let Some(counts) = work(all.fetch_add(1, Ordering::Relaxed)) {
                                sum += counts;
                            }
                            sum
                        })
                    })
                    .collect();
                workers.into_iter().for_each(|worker| sum += worker.join().expect("no panic"));
            });
            sum
        };
        let length = case.length();
        let part = length.div_ceil(threads * 4);
        let cut = run(&|number| {
            let range = number * part..((number + 1) * part).min(length);
            (!range.is_empty()).then(|| case.truncate(range))
        });
        let served = run(&|number| {
            let end = number * length.div_ceil(1_000);
            (end < length).then(|| case.truncate_in_node([end]))
        });
        let flipped = run(&|number| {
            let count = flips.saturating_sub(number * PORTION).min(PORTION);
            (count > 0).then(|| case.flip(number, count))
        });
        println!("{}, {length} bytes", case.name);
        println!("  cut at every byte   {cut}");
        println!("  cut and served      {served}");
        println!("  single wrong bits   {flipped}");
        good &= cut.is_good() && cut.tried == length && served.is_good() && flipped.is_good();
    }
    println!(
        "{} in {:.0} s",
        if good { "all found" } else { "NOT ALL FOUND" },
        started.elapsed().as_secs_f64()
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Gives each seed's requests to a node and to a server that is started for it, and prints what differs.
fn against_reference(command: &str, seeds: Range<u64>) -> ExitCode {
    let command: Vec<String> = command.split_whitespace().map(str::to_string).collect();
    let compared = ServerProcess::start(&command, &[]).and_then(|server| {
        let mut target = TcpTarget::new(server.address(), server.reference_dialect()?);
        let (mut requests, mut differences) = (0, 0);
        for seed in seeds {
            match reference::compare(seed, &mut target)? {
                Ok(count) => requests += count,
                Err(difference) => {
                    differences += 1;
                    println!("{difference}");
                }
            }
        }
        println!("{requests} requests, {differences} differences");
        Ok(differences == 0)
    });
    match compared {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn one(text: &str) -> Option<Range<u64>> {
    let seed = text.parse().ok()?;
    Some(seed..seed + 1)
}

fn several(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

/// Runs seeds on all cores; each is run twice, and must say the same both times.
fn run(range: Range<u64>, verbose: bool) -> ExitCode {
    let started = Instant::now();
    // What the node says when it panics is printed with the seed, not by the thread.
    panic::set_hook(Box::new(|info| {
        eprintln!("panic: {info}");
        eprintln!("{}", std::backtrace::Backtrace::force_capture());
    }));
    let twice = |seed| twice(seed, verbose).map_err(|failure| failure.to_string());
    let add = |sum: &mut [u64; 3], found: Summary| {
        for (sum, more) in sum.iter_mut().zip([1, found.requests, found.replies]) {
            *sum += more;
        }
    };
    let ([passed, requests, replies], failures) = seeds::run_all(range, verbose, twice, add);
    failures.iter().for_each(|failure| println!("{failure}"));
    println!(
        "{} seeds, {requests} requests, {replies} replies checked, {:.1} s",
        passed + failures.len() as u64,
        started.elapsed().as_secs_f64()
    );
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn twice(seed: u64, verbose: bool) -> Result<Summary, Failure> {
    let first = guarded(seed, verbose)?;
    if verbose {
        return Ok(first);
    }
    let second = guarded(seed, false)?;
    if first != second {
        let problem = format!("two runs differ: {first:?} and {second:?}");
        return Err(Failure { seed, problem, requests: Vec::new() });
    }
    Ok(first)
}

fn guarded(seed: u64, verbose: bool) -> Result<Summary, Failure> {
    panic::catch_unwind(|| world::run(seed, verbose)).unwrap_or_else(|_| {
        Err(Failure { seed, problem: "the node panicked".into(), requests: world::last_requests() })
    })
}
