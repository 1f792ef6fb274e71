//! CLIENT PAUSE: commands wait until a moment passes.

use base::time::Instant;

/// Which commands are paused, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    pub until: Option<Instant>,
    /// Reads are paused too.
    pub all: bool,
}

impl Pause {
    /// Starts or extends a pause: the later end stands, and the stricter kind.
    pub fn start(&mut self, until: Instant, all: bool) {
        self.all |= all;
        self.until = Some(self.until.map_or(until, |old| old.max(until)));
    }

    /// Ends the pause at once.
    pub fn end(&mut self) {
        *self = Pause::default();
    }

    /// Returns whether writes wait.
    pub fn writes(&self) -> bool {
        self.until.is_some()
    }

    /// Returns whether reads wait too.
    pub fn reads(&self) -> bool {
        self.until.is_some() && self.all
    }
}
