//! The clock that deadlines of a lease are counted by: it never jumps, and goes on while the machine sleeps.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A moment on `CLOCK_BOOTTIME`, which all processes of a machine share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct BootTime(u64);

impl BootTime {
    /// Returns the present moment.
    pub(crate) fn now() -> BootTime {
        // A kernel without this clock is older than any this program can start on.
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
        BootTime(now.as_nanos() as u64)
    }

    /// Returns the moment this much later.
    pub(crate) fn after(self, time: Duration) -> BootTime {
        BootTime(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns it as the kernel takes it; never zero, which would mean "no time set".
    pub(crate) fn to_timespec(self) -> TimeSpec {
        TimeSpec::from_duration(Duration::from_nanos(self.0.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_and_never_beyond_its_end() {
        let now = BootTime::now();
        assert!(now <= BootTime::now());
        assert!(now < now.after(Duration::from_nanos(1)));
        assert_eq!(now.after(Duration::MAX), now.after(Duration::MAX).after(Duration::MAX));
    }
}
