//! When the next sync of `appendfsync always` begins: at once, or when those are back that the last one let go.
//!
//! Clients that wait for a reply send their next write as soon as they have it. A sync that begins the moment that the last
//! one is done leaves them behind for the sync after it: they fall into two halves, and everybody waits for two syncs.
//!
//! ```text
//! at once   sync A ─── sync B ─── sync A ─── sync B ───
//! together  sync A+B ─ come ─ sync A+B ─ come ─          better as long as coming again takes less time than a sync
//! ```
//!
//! So the next sync waits for as many clients as waited when the last one was done, for a part of the time that syncs take.
//! Where they do not come, be it that syncs are quick or that clients have other things to do, nobody is waited for in the
//! next syncs: one after the first such wait, then 3, 7, 15 …

use std::time::Duration;

use base::time::Instant;

/// A wait is no longer than this, however long syncs take.
const PATIENCE: Duration = Duration::from_millis(20);
/// At most so many syncs begin at once after waits that were in vain.
const HASTE_MAX: u32 = 1023;

/// Knows who waits for syncs, and how waiting for them went.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Clients that wait for their bytes to be on the disk.
    waiting: usize,
    /// Those among them that the sync in flight lets go.
    covered: usize,
    /// When that sync was asked for.
    began: Instant,
    /// How long the last one took: a single slow one says nothing of the next.
    took: Duration,
    /// How many clients waited when the last sync was done: so many may be expected for the next one.
    expected: usize,
    /// The next sync waits for them until then.
    until: Option<Instant>,
    /// Somebody waits because of that.
    held_back: bool,
    /// So many syncs begin at once.
    haste: u32,
    /// How many it were after the last wait in vain.
    lesson: u32,
}

impl Pace {
    /// Says how many clients wait for their bytes to be on the disk.
    pub(crate) fn set_waiting(&mut self, clients: usize) {
        self.waiting = clients;
    }

    /// Returns whether a sync had better wait for clients that are about to write.
    pub(crate) fn waits(&mut self, now: Instant) -> bool {
        let waits = self.until.is_some_and(|until| now < until) && !self.has_company();
        self.held_back |= waits;
        waits
    }

    /// Returns when a sync that is held back begins nevertheless.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.until.filter(|_| self.held_back)
    }

    /// Notes that a sync was asked for.
    pub(crate) fn begun(&mut self, now: Instant) {
        if std::mem::take(&mut self.held_back) {
            self.lesson = if self.has_company() { 0 } else { (2 * self.lesson + 1).min(HASTE_MAX) };
            self.haste = self.lesson;
        }
        (self.until, self.began, self.covered) = (None, now, self.waiting);
    }

    /// Notes that the sync is done.
    pub(crate) fn done(&mut self, now: Instant) {
        self.expected = self.waiting;
        self.waiting -= self.covered.min(self.waiting);
        let took = now.saturating_since(self.began);
        let usual = took.min(std::mem::replace(&mut self.took, took));
        match self.haste {
            0 => self.until = Some(now + PATIENCE.min(usual * 3 / 4)),
            _ => self.haste -= 1,
        }
    }

    /// Returns whether nearly all wait that are expected; the last few may have left.
    fn has_company(&self) -> bool {
        8 * self.waiting >= 7 * self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    /// Lets a sync for so many clients take 1 ms, at the end of which others wait as well.
    fn synced(pace: &mut Pace, begin: u64, clients: usize, others: usize) -> u64 {
        pace.set_waiting(clients);
        pace.begun(at(begin));
        pace.set_waiting(clients + others);
        pace.done(at(begin + 1000));
        begin + 1000
    }

    fn tried(clients: usize, others: usize) -> (Pace, u64) {
        let mut pace = Pace::default();
        synced(&mut pace, 0, clients, others);
        let now = synced(&mut pace, 1000, clients, others);
        (pace, now)
    }

    #[test]
    fn those_that_come_again_are_waited_for() {
        let (mut pace, now) = tried(25, 25);
        assert!(pace.waits(at(now)) && pace.due() == Some(at(now + 750)));
        pace.set_waiting(43);
        assert!(pace.waits(at(now + 100)));
        // Nearly all will do.
        pace.set_waiting(44);
        assert!(!pace.waits(at(now + 110)));
        pace.begun(at(now + 110));
        assert_eq!((pace.due(), pace.haste), (None, 0));
    }

    #[test]
    fn a_client_alone_waits_for_nobody() {
        let (mut pace, now) = tried(1, 0);
        pace.set_waiting(1);
        assert!(!pace.waits(at(now + 10)));
    }

    #[test]
    fn waits_in_vain_become_rare() {
        let (mut pace, mut now) = tried(2, 2);
        let mut hasty = Vec::new();
        for _ in 0..3 {
            assert!(pace.waits(at(now)) && !pace.waits(at(now + 750)));
            now = synced(&mut pace, now + 750, 2, 2);
            let mut count = 0;
            while !pace.waits(at(now)) {
                count += 1;
                now = synced(&mut pace, now, 2, 2);
            }
            hasty.push(count);
        }
        assert_eq!(hasty, [1, 3, 7]);
        // One that is not in vain makes up for them.
        pace.set_waiting(4);
        now = synced(&mut pace, now + 10, 4, 0);
        pace.set_waiting(1);
        assert!(pace.waits(at(now)) && pace.lesson == 0);
    }

    #[test]
    fn a_wait_is_short_beside_the_syncs() {
        let mut pace = Pace::default();
        let mut patience = |begin: u64, took: u64| {
            pace.set_waiting(2);
            pace.begun(at(begin));
            pace.done(at(begin + took));
            pace.until.map(|until| until.saturating_since(at(begin + took)).as_micros())
        };
        // The first is measured against none, and a single slow one against the quick one before it.
        assert_eq!(patience(0, 1000), Some(0));
        assert_eq!(patience(10_000, 400_000), Some(750));
        assert_eq!(patience(500_000, 500_000), Some(20_000));
        assert_eq!(patience(2_000_000, 200), Some(150));
    }
}
