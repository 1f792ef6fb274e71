//! The clocks: wall clock and monotonic clock once per turn, and a cheap counter to time commands with.
//!
//! On x86-64 the counter is the processor's time stamp, which costs a third of a clock read; it is used once its rate
//! against the monotonic clock is known, and only where the kernel trusts it as a clock source itself.

use std::cell::Cell;
use std::time::{Instant as StdInstant, SystemTime, UNIX_EPOCH};

use base::time::{Instant, Now};

/// The real clocks.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: StdInstant,
    counter: Option<Counter>,
}

impl Clock {
    /// Returns the clocks; instants count from this moment.
    pub(crate) fn new() -> Clock {
        let trusted =
            std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
                .is_ok_and(|source| source.trim() == "tsc");
        let counter = if trusted { Counter::new() } else { None };
        Clock { origin: StdInstant::now(), counter }
    }

    /// Reads the wall clock and the monotonic clock.
    pub(crate) fn now(&self) -> Now {
        let unix_us = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i64,
            Err(before) => -(before.duration().as_micros() as i64),
        };
        let micros = self.origin.elapsed().as_micros() as u64;
        if let Some(counter) = &self.counter {
            counter.calibrate(micros);
        }
        Now { instant: Instant::from_micros(micros), unix_us }
    }

    /// Returns microseconds since the clocks' start, read as cheaply as possible.
    #[inline]
    pub(crate) fn ticks(&self) -> u64 {
        match &self.counter {
            Some(counter) if counter.rate.get() != 0 => counter.micros(),
            _ => self.origin.elapsed().as_micros() as u64,
        }
    }

    /// Says what times commands, in the words of Redis' log.
    pub(crate) fn source(&self) -> &'static str {
        match self.counter {
            Some(_) => "X86 TSC",
            None => "POSIX clock_gettime",
        }
    }
}

/// The processor's time stamp counter, with its rate as measured so far.
#[derive(Debug)]
struct Counter {
    /// The reading at the clocks' start.
    first: u64,
    /// Microseconds per count, as a fraction of 2^32 (at least 1 MHz to 4 GHz and beyond fit); 0 while unknown.
    rate: Cell<u64>,
    /// The next measurement is due at this microsecond.
    due: Cell<u64>,
}

/// The first measurement of the counter's rate is made over this many microseconds; each later one over twice as many.
const CALIBRATION_US: u64 = 50_000;

impl Counter {
    #[cfg(target_arch = "x86_64")]
    fn new() -> Option<Counter> {
        Some(Counter { first: count(), rate: Cell::new(0), due: Cell::new(CALIBRATION_US) })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn new() -> Option<Counter> {
        None
    }

    /// Measures the rate when it is time to; `micros` is a reading of the clock just made.
    fn calibrate(&self, micros: u64) {
        if micros < self.due.get() {
            return;
        }
        let counts = count().saturating_sub(self.first);
        if counts > 0 {
            self.rate.set(((u128::from(micros) << 32) / u128::from(counts)) as u64);
        }
        self.due.set(micros.saturating_mul(2));
    }

    #[inline]
    fn micros(&self) -> u64 {
        ((u128::from(count().wrapping_sub(self.first)) * u128::from(self.rate.get())) >> 32) as u64
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn count() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and Linux leaves it enabled.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn count() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_agrees_with_the_clock() {
        let clock = Clock::new();
        std::thread::sleep(std::time::Duration::from_millis(60));
        let before = clock.now().instant.micros();
        let ticks = clock.ticks();
        let after = clock.now().instant.micros();
        assert!(ticks + 2000 >= before && ticks <= after + 2000, "{before} <= {ticks} <= {after}");
    }
}
