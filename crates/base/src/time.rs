//! Time as an argument: a monotonic `Instant` and the wall clock, both read by the driver only.
//!
//! Logic never asks what time it is. The server (or the simulator) reads its clocks once per turn and hands a
//! `Now` down. Deadlines and timeouts use `Instant`; expiry and everything a client can see use the wall clock,
//! as plain milliseconds since the Unix epoch.

use std::ops::Add;
use std::time::Duration;

/// A point on a clock that never goes back, in microseconds since an origin the driver chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The driver's origin; earlier than every other instant.
    pub const ZERO: Instant = Instant(0);

    /// Returns the instant that lies `micros` after the driver's origin.
    pub const fn from_micros(micros: u64) -> Instant {
        Instant(micros)
    }

    /// Returns the microseconds between the driver's origin and this instant.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Returns the time passed since `earlier`, or nothing when `earlier` lies ahead.
    pub const fn saturating_since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Returns the instant `wait` later; an unrepresentable one is clamped to the end of time.
    fn add(self, wait: Duration) -> Instant {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(micros))
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and intervals.
    pub instant: Instant,
    /// Microseconds since the Unix epoch, for expiry and for what clients see; it may jump.
    pub unix_us: i64,
}

impl Now {
    /// Returns the wall clock in milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> i64 {
        self.unix_us.div_euclid(1_000)
    }

    /// Returns the wall clock in seconds since the Unix epoch.
    pub const fn unix_secs(self) -> i64 {
        self.unix_us.div_euclid(1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_saturate_at_both_ends() {
        let (early, late) = (Instant::from_micros(5), Instant::from_micros(1_000_005));
        assert_eq!(late.saturating_since(early), Duration::from_secs(1));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(early + Duration::from_secs(1), late);
        assert_eq!((late + Duration::MAX).micros(), u64::MAX);
    }

    #[test]
    fn the_wall_clock_rounds_down_on_both_sides_of_the_epoch() {
        let at = |unix_us| Now { instant: Instant::ZERO, unix_us };
        assert_eq!((at(1_999_999).unix_ms(), at(1_999_999).unix_secs()), (1_999, 1));
        assert_eq!((at(-1).unix_ms(), at(-1).unix_secs()), (-1, -1));
    }
}
