//! `cargo xtask lock races`: acquire, abort, drop, panic and lose one's connection, over and over, on both backends.
//!
//! A race is one task that asks for one of a few keys and then does something rude, at a time that chance picks: it is
//! dropped while it asks or waits, drops its guard, panics, gives the lock back, or has its server kill its
//! connections. After all of them, and after two leases, no key may be there: what is, is renewed by nobody's task.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redstart_lock::{Error, LockClient, RunError};
use testkit::tcp::ask;
use testkit::{Random, ServerProcess};

use crate::durability::{build, number};

/// The lease of every lock.
const LEASE: Duration = Duration::from_millis(1500);

/// How many tasks race at a time.
const AT_A_TIME: usize = 64;

/// How many keys they race for.
const KEYS: u64 = 16;

/// Runs as many races as asked on each backend; true when nothing was left behind and nobody overlapped.
pub(super) fn run(mut words: impl Iterator<Item = String>) -> Result<bool, String> {
    let (mut races, mut seed, mut ours) = (100_000, 1, Vec::new());
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
        match word.as_str() {
            "--count" => races = number(&value()?)?,
            "--seed" => seed = number(&value()?)?,
            "--ours" => ours = value()?.split_whitespace().map(str::to_string).collect(),
            _ => return Err(format!("unknown option {word}")),
        }
    }
    if ours.is_empty() {
        ours = build()?;
    }
    let mut kept = true;
    for command in [ours, vec!["redis-server".to_string()]] {
        let server = ServerProcess::start(&command, &[]).map_err(|error| error.to_string())?;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().map_err(|error| error.to_string())?;
        let tally = runtime.block_on(race(&server, races, seed))?;
        kept &= tally.left.is_empty() && tally.overlaps == 0 && tally.late_renewals == 0;
        println!("{}: {tally}", command.join(" "));
    }
    Ok(kept)
}

/// What came of the races.
#[derive(Debug, Default)]
struct Tally {
    outcomes: BTreeMap<String, u64>,
    overlaps: u64,
    /// Requests served in the second lease after the last race, when there is nothing left to ask for.
    late_renewals: u64,
    left: Vec<String>,
    took: Duration,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total: u64 = self.outcomes.values().sum();
        write!(f, "{total} races in {:.0} s", self.took.as_secs_f64())?;
        for (outcome, count) in &self.outcomes {
            write!(f, ", {count} {outcome}")?;
        }
        write!(
            f,
            "; {} overlaps, {} keys left, {} requests long after the last race",
            self.overlaps,
            self.left.len(),
            self.late_renewals
        )
    }
}

/// Who is inside of which lock.
#[derive(Debug)]
struct Inside {
    keys: Vec<AtomicBool>,
    overlaps: AtomicU64,
}

/// Someone inside; leaves however it ends.
struct Visit<'a>(&'a AtomicBool);

impl Inside {
    fn enter(&self, key: u64) -> Visit<'_> {
        let inside = &self.keys[key as usize];
        if inside.swap(true, Ordering::SeqCst) {
            self.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        Visit(inside)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

async fn race(server: &ServerProcess, races: u64, seed: u64) -> Result<Tally, String> {
    let client = LockClient::builder()
        .url(format!("redis://{}", server.address()))
        .build()
        .map_err(|error| error.to_string())?;
    let inside = Arc::new(Inside {
        keys: (0..KEYS).map(|_| AtomicBool::new(false)).collect(),
        overlaps: AtomicU64::new(0),
    });
    let outcomes = Arc::new(Mutex::new(BTreeMap::new()));
    let mut random = Random(seed);
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    let mut started = 0;
    while started < races || !running.is_empty() {
        if started < races && running.len() < AT_A_TIME {
            let racer = Racer {
                client: client.clone(),
                inside: Arc::clone(&inside),
                key: random.of(0..KEYS),
                how: random.of(0..6),
                pause: Duration::from_micros(random.of(0..4000)),
            };
            let outcomes = Arc::clone(&outcomes);
            running.spawn(async move {
                // A panic is an outcome like any other.
                let outcome = match tokio::spawn(racer.run()).await {
                    Ok(outcome) => outcome,
                    Err(error) if error.is_panic() => "panicked".to_string(),
                    Err(_) => "aborted".to_string(),
                };
                let mut outcomes = outcomes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                *outcomes.entry(outcome).or_insert(0) += 1;
            });
            started += 1;
            if random.of(0..2000) == 0 {
                // Every connection that there is, those in the queue included.
                let _ = ask(server.address(), &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            }
        } else {
            running.join_next().await;
        }
    }
    let mut tally = Tally { took: begun.elapsed(), ..Tally::default() };
    tokio::time::sleep(LEASE * 2).await;
    let requests = || served(server);
    let before = requests()?;
    for key in 0..KEYS {
        let key = format!("race:{key}");
        let exists = ask(server.address(), &["EXISTS", &key]).map_err(|error| error.to_string())?;
        if exists.head() != ":0" {
            tally.left.push(key);
        }
    }
    tokio::time::sleep(LEASE).await;
    tally.late_renewals = requests()?.saturating_sub(before + KEYS);
    tally.overlaps = inside.overlaps.load(Ordering::Relaxed);
    tally.outcomes = std::mem::take(&mut outcomes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    Ok(tally)
}

/// Returns how many requests that are about locks a server has served, and the EXISTS of this file.
fn served(server: &ServerProcess) -> Result<u64, String> {
    let info = ask(server.address(), &["INFO", "commandstats"]).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(info.text().unwrap_or_default()).into_owned();
    let calls = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let counts = name.starts_with("lock.") || name.starts_with("eval") || name == "exists";
        counts.then(|| rest.split_once(',')?.0.parse::<u64>().ok()).flatten()
    };
    Ok(text.lines().filter_map(calls).sum())
}

/// One task of a race.
struct Racer {
    client: LockClient,
    inside: Arc<Inside>,
    key: u64,
    how: u64,
    pause: Duration,
}

impl Racer {
    async fn run(self) -> String {
        let lock = self.client.lock(format!("race:{}", self.key));
        let lock = lock.lease(LEASE).max_checks(3).interval(Duration::from_millis(4)).jitter(0.5);
        let (inside, key, pause) = (Arc::clone(&self.inside), self.key, self.pause);
        match self.how {
            // Dropped while it asks or waits.
            0 => match tokio::time::timeout(pause, lock.acquire()).await {
                Ok(Ok(guard)) => {
                    drop(inside.enter(key));
                    drop(guard);
                    "dropped".to_string()
                }
                Ok(Err(error)) => name(&error),
                Err(_) => "given up".to_string(),
            },
            1 => match lock.acquire().await {
                Ok(guard) => {
                    let visit = inside.enter(key);
                    tokio::time::sleep(pause / 4).await;
                    drop(visit);
                    drop(guard);
                    "dropped".to_string()
                }
                Err(error) => name(&error),
            },
            // The panic is not printed.
            2 => {
                let ran: Result<(), RunError<Error>> = lock
                    .run(async |_| {
                        let _visit = inside.enter(key);
                        std::panic::resume_unwind(Box::new("a race"))
                    })
                    .await;
                ran.err().and_then(|error| error.lock().map(name)).unwrap_or_default()
            }
            // The release is dropped half way.
            3 => match lock.acquire().await {
                Ok(guard) => {
                    drop(inside.enter(key));
                    match tokio::time::timeout(pause / 20, guard.release()).await {
                        Ok(Ok(())) => "released".to_string(),
                        Ok(Err(error)) => name(&error),
                        Err(_) => "half released".to_string(),
                    }
                }
                Err(error) => name(&error),
            },
            // The task is cancelled while it runs.
            4 => {
                let work = lock.run(async |_| {
                    let _visit = inside.enter(key);
                    tokio::time::sleep(pause).await;
                    Ok::<(), Error>(())
                });
                match tokio::time::timeout(pause / 2, work).await {
                    Ok(Ok(())) => "ran".to_string(),
                    Ok(Err(error)) => error.lock().map(name).unwrap_or_default(),
                    Err(_) => "cancelled".to_string(),
                }
            }
            _ => {
                let work = lock.run(async |_| {
                    drop(inside.enter(key));
                    Ok::<(), Error>(())
                });
                match work.await {
                    Ok(()) => "ran".to_string(),
                    Err(error) => error.lock().map(name).unwrap_or_default(),
                }
            }
        }
    }
}

/// Returns the first word of an error.
fn name(error: &Error) -> String {
    let text = format!("{error:?}");
    text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().to_lowercase()
}
