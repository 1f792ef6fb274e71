//! Seeds that are run on all cores, and what they came to together.

use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// After so many failures no further seeds are run.
const FAILURES_MAX: usize = 10;

/// Runs seeds on all cores, and returns the sum of what they came to, and what was found, the seed first.
///
/// Where each of them is told in full (`verbose`), one is run after the other.
pub fn run_all<T: Default + Send, R>(
    seeds: Range<u64>,
    verbose: bool,
    run: impl Fn(u64) -> Result<R, String> + Sync,
    add: impl Fn(&mut T, R) + Sync,
) -> (T, Vec<String>) {
    let next = AtomicU64::new(seeds.start);
    let results = Mutex::new((T::default(), Vec::new()));
    let threads = if verbose { 1 } else { thread::available_parallelism().map_or(1, usize::from) };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    // A seed has a world of its own: nobody sees what a panic leaves of it.
                    let ran = panic::catch_unwind(AssertUnwindSafe(|| run(seed)))
                        .unwrap_or_else(|_| Err(format!("seed {seed}: a node panicked")));
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    match ran {
                        Ok(found) => add(&mut results.0, found),
                        Err(problem) => results.1.push(problem),
                    }
                    if results.1.len() >= FAILURES_MAX {
                        return;
                    }
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}
