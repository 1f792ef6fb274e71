//! CLIENT PAUSE: commands wait until a moment passes; and the pause of a failover, which ends when that does.

use base::time::Instant;

/// Which commands are paused, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    pub until: Option<Instant>,
    /// Reads are paused too.
    pub all: bool,
    /// Writes wait for a replica to take over; CLIENT UNPAUSE does not end that.
    pub failover: bool,
}

impl Pause {
    /// Starts or extends a pause: the later end stands, and the stricter kind.
    pub fn start(&mut self, until: Instant, all: bool) {
        self.all |= all;
        self.until = Some(self.until.map_or(until, |old| old.max(until)));
    }

    /// Ends at once what CLIENT PAUSE began.
    pub fn end(&mut self) {
        *self = Pause { failover: self.failover, ..Pause::default() };
    }

    /// Returns whether writes wait.
    #[inline]
    pub fn writes(&self) -> bool {
        self.until.is_some() || self.failover
    }

    /// Returns whether reads wait too.
    pub fn reads(&self) -> bool {
        self.until.is_some() && self.all
    }
}
