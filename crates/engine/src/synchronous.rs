//! The synchronous mode: a write is answered when enough replicas have it.
//!
//! ```text
//!            acked                                    offset
//!              │                                        │
//!  stream ─────┼──────[SET a]────[SET b]────────────────┤
//!              │         held: until `synchronous-replicas` replicas have acknowledged it,
//!              │               or for `synchronous-timeout`, then -UNKNOWN
//!              └ new writes: only while so many replicas were heard within `synchronous-lease`, else -NOREPLICAS
//! ```
//!
//! Whoever was answered can rely on it: what was answered is on so many replicas. Reads wait as writes do when they would
//! tell of what is not acknowledged. What was there when the mode was switched on, or when this server became the master,
//! counts as acknowledged; what was loaded from files does not. Which replies wait is the business of `hold`.

use std::time::Duration;

use base::time::{Instant, Now};
use config::SynchronousCommit;
use replication::primary::Commit;

use crate::hold::Hold;
use crate::{Engine, Server};

/// What is known in the synchronous mode.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Synchronous {
    /// Enough replicas had everything up to here, at one time or another; `None` while the mode is off.
    acked: Option<u64>,
    /// The replicas were asked for all that waited up to here.
    asked: u64,
    /// We have become a replica: what waits will never be known.
    pub(crate) demoted: bool,
    /// Replies that were given up.
    pub(crate) unknown: u64,
}

/// What is answered when nobody knows whether a write will last.
pub(crate) const UNKNOWN: &str = "UNKNOWN Not enough replicas have acknowledged in time what this reply would tell of: \
it is in force here, and may last or be lost.";

impl Server {
    /// Returns whether writes wait for replicas.
    #[inline]
    pub fn is_synchronous(&self) -> bool {
        self.config.synchronous_replicas > 0 && !self.follows()
    }

    /// Returns which replies wait for replicas.
    pub fn synchronous_hold(&self) -> Hold {
        if self.is_synchronous() { Hold::WritesAndReads } else { Hold::Nothing }
    }

    /// Begins to hold replies where the synchronous mode has just begun: the next command may come before the turn ends.
    pub(crate) fn hold_for_replicas(&mut self) {
        let hold = self.synchronous_hold();
        if hold != Hold::Nothing && self.replication.synchronous.acked.is_none() {
            self.replication.synchronous.acked = Some(self.propagation.stream.offset());
            self.hold_replies(hold.max(self.holds.what()));
        }
    }

    /// Returns the offset up to which everything may be told as far as replicas go, and asks them where something waits.
    ///
    /// Called once a turn, with all that was executed handed to the replication and no session executing; before the wishes
    /// of the master's side are looked at.
    pub fn synchronous_release(&mut self) -> u64 {
        if std::mem::take(&mut self.replication.synchronous.demoted) {
            self.give_up(self.acked(), |_| true);
        }
        if !self.is_synchronous() {
            (self.replication.synchronous.acked, self.replication.synchronous.asked) = (None, 0);
            return u64::MAX;
        }
        let acked = self.note_acked();
        // Once for each that came to wait: whoever missed the question says how far it is every second.
        let highest = self.holds.highest();
        if highest > self.replication.synchronous.asked && self.holds.waits_for_more_than(acked) {
            self.replication.synchronous.asked = highest;
            self.ask_replicas();
        }
        acked
    }

    /// Takes nothing for acknowledged that was loaded from files: a replica must have said so in this run.
    pub(crate) fn distrust_loaded(&mut self) {
        self.replication.synchronous.acked = Some(0);
    }

    /// Notes how far enough replicas have come.
    fn note_acked(&mut self) -> u64 {
        let replicas = self.config.synchronous_replicas as usize;
        let acked = self.replication.primary.acked_by(replicas, self.commit_level());
        let known = &mut self.replication.synchronous;
        // A replica that has left had what it acknowledged.
        let acked = known.acked.unwrap_or(self.propagation.stream.offset()).max(acked);
        known.acked = Some(acked);
        acked
    }

    /// Notes that this will be no master any more: what is not acknowledged by now never will be.
    pub(crate) fn end_synchronous(&mut self) {
        if self.is_synchronous() {
            self.note_acked();
            self.replication.synchronous.demoted = true;
        }
    }

    /// Asks replicas how far they are; during a failover they are left to say so by themselves, as the stream must not grow.
    pub(crate) fn ask_replicas(&mut self) {
        if !self.pause.failover {
            self.replication.primary.request_acks();
        }
    }

    pub(crate) fn commit_level(&self) -> Commit {
        match self.config.synchronous_commit {
            SynchronousCommit::Received => Commit::Received,
            SynchronousCommit::Fsynced => Commit::Fsynced,
        }
    }

    /// Returns how many replicas were heard within the lease.
    pub(crate) fn leased_replicas(&self, now: Instant) -> usize {
        let lease = Duration::from_millis(u64::from(self.config.synchronous_lease));
        self.replication.primary.heard_within(now, lease)
    }

    /// Returns whether a master refuses writes for want of replicas.
    #[cold]
    pub(crate) fn lacks_replicas(&self, now: Instant) -> bool {
        let config = &self.config;
        let good = || self.replication.primary.good_replicas(now) as u64;
        (config.min_replicas_to_write > 0
            && config.min_replicas_max_lag > 0
            && good() < u64::from(config.min_replicas_to_write))
            || self.lacks_leases(now)
    }

    /// Returns whether too few replicas were heard within the lease; without the synchronous mode none are needed.
    pub(crate) fn lacks_leases(&self, now: Instant) -> bool {
        let least = u64::from(self.config.synchronous_replicas);
        least > 0 && (self.leased_replicas(now) as u64) < least
    }

    /// Returns the offset that enough replicas have come up to.
    pub(crate) fn acked(&self) -> u64 {
        self.replication.synchronous.acked.unwrap_or(0)
    }

    /// Answers that nobody knows, where something has waited for replicas since a moment for which `overdue` holds.
    fn give_up(&mut self, acked: u64, overdue: impl Fn(Instant) -> bool) {
        let given_up = self.give_up_held(acked, UNKNOWN, overdue);
        self.replication.synchronous.unknown += given_up;
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(u64::from(self.config.synchronous_timeout))
    }

    /// Returns when something may have waited too long.
    pub(crate) fn synchronous_due(&self) -> Option<Instant> {
        self.is_synchronous().then(|| self.holds.oldest()).flatten().map(|since| since + self.patience())
    }
}

impl Engine {
    /// Answers those whose replies have waited too long for replicas.
    pub(crate) fn tend_synchronous(&mut self, now: Now) {
        if self.server.synchronous_due().is_some_and(|due| due <= now.instant) {
            let (acked, patience) = (self.server.acked(), self.server.patience());
            self.server.give_up(acked, |since| since + patience <= now.instant);
        }
    }
}
