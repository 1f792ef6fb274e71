//! Points in time as records carry them, and how people and protocols write them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::calendar::utc;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970, by the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// Returns now.
    pub fn now() -> UnixMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(since.as_millis() as u64)
    }

    /// Returns the point in time this much later.
    pub fn after(self, duration: Duration) -> UnixMs {
        UnixMs(self.0.saturating_add(duration.as_millis().min(u128::from(u64::MAX)) as u64))
    }

    /// Returns how long it is from `earlier` until this; zero when it is not earlier.
    pub fn since(self, earlier: UnixMs) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Writes it as `2026-11-23 02:26:01 UTC`.
impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} UTC", utc((self.0 / 1000) as i64))
    }
}

/// Returns a duration as a person says it: `350 ms`, `2.5 s`, `4 min 10 s`, `3 h 5 min`.
pub fn spoken(duration: Duration) -> String {
    let (ms, seconds) = (duration.as_millis(), duration.as_secs());
    match seconds {
        0 => format!("{ms} ms"),
        1..=59 if ms % 1000 >= 100 => format!("{seconds}.{} s", ms % 1000 / 100),
        1..=59 => format!("{seconds} s"),
        60..=3599 if seconds % 60 > 0 => format!("{} min {} s", seconds / 60, seconds % 60),
        60..=3599 => format!("{} min", seconds / 60),
        3600..=86_399 if seconds % 3600 >= 60 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        3600..=86_399 => format!("{} h", seconds / 3600),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_written_as_calendars_do() {
        assert_eq!(UnixMs(0).to_string(), "1970-01-01 00:00:00 UTC");
        assert_eq!(UnixMs(951_782_400_000).to_string(), "2000-02-29 00:00:00 UTC");
        assert_eq!(UnixMs(1_795_400_761_999).to_string(), "2026-11-23 02:26:01 UTC");
        assert_eq!(UnixMs(4_107_542_399_000).to_string(), "2100-02-28 23:59:59 UTC");
        assert!(!UnixMs(u64::MAX).to_string().is_empty());
    }

    #[test]
    fn durations_are_said_in_two_units_at_most() {
        let said = |ms| spoken(Duration::from_millis(ms));
        assert_eq!(said(350), "350 ms");
        assert_eq!(said(2000), "2 s");
        assert_eq!(said(2540), "2.5 s");
        assert_eq!(said(250_000), "4 min 10 s");
        assert_eq!(said(11_100_000), "3 h 5 min");
        assert_eq!(said(180_000_000), "2 d 2 h");
    }
}
