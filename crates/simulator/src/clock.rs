//! A clock that moves when it is told to.

use std::time::Duration;

use base::time::{Instant, Now};

/// Where virtual wall clocks begin: 2024-01-01 00:00:00 UTC, in microseconds.
const EPOCH_US: i64 = 1_704_067_200_000_000;

/// Virtual time; both clocks advance together.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Now,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { now: Now { instant: Instant::from_micros(1_000_000), unix_us: EPOCH_US } }
    }
}

impl Clock {
    /// Returns the present.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Lets time pass.
    pub fn advance(&mut self, time: Duration) {
        self.now.instant = self.now.instant + time;
        self.now.unix_us += time.as_micros() as i64;
    }

    /// Lets time pass until `at`; a moment that has passed already changes nothing.
    pub fn advance_to(&mut self, at: Instant) {
        self.advance(at.saturating_since(self.now.instant));
    }
}
