//! How long a lock may be relied on: arithmetic on a monotonic clock that is given by the caller.
//!
//! ```text
//! client  sent ────────────────────────────► loss is told   valid until
//!          │ ◄───────── lease ────────────────── margin ────────►│
//! server      received ◄───────────── lease ─────────────────────────►│ released
//! ```
//!
//! A lease counts from before its request was sent, so the client's always ends before the server's does, however
//! long request and reply were under way. The drift allows for clocks that do not run equally fast; the margin is the
//! time that the holder wants for stopping what it does.

use std::time::{Duration, Instant};

/// What is taken from every lease whatever its length.
const LEAST_DRIFT: Duration = Duration::from_millis(2);

/// The length of a lease and what is kept in hand at its end.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    lease: Duration,
    margin: Duration,
}

impl Terms {
    /// Returns terms for leases of this length that are told to be lost `margin` before they end.
    pub fn new(lease: Duration, margin: Duration) -> Terms {
        let drift = (lease / 100 + LEAST_DRIFT).min(lease / 4);
        Terms { lease: lease - drift, margin: margin.min(lease / 2) }
    }

    /// Returns until when a lock may be relied on whose request was sent at `sent` and granted `waited` later.
    pub fn valid_until(&self, sent: Instant, waited: Duration) -> Instant {
        // The wait was measured by the server's clock, which may run faster than ours.
        sent + (waited - waited / 100) + self.lease
    }

    /// Returns when the holder is told that its lock is lost, unless it was renewed before.
    pub fn told_at(&self, valid_until: Instant) -> Instant {
        valid_until.checked_sub(self.margin).unwrap_or(valid_until)
    }

    /// Returns when to renew a lock that is valid until then.
    pub fn renew_at(&self, valid_until: Instant) -> Instant {
        valid_until.checked_sub(self.lease / 3 * 2).unwrap_or(valid_until)
    }

    /// Returns whether a grant that arrived late must be renewed before it is used.
    pub fn is_stale(&self, valid_until: Instant, now: Instant) -> bool {
        now >= self.renew_at(valid_until) || now >= self.told_at(valid_until)
    }

    /// Returns how long to pause before a renewal that could not be made is tried again.
    pub fn retry_pause(&self) -> Duration {
        (self.lease / 20).clamp(Duration::from_millis(5), Duration::from_millis(500))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    #[test]
    fn a_lease_counts_from_before_the_send_and_ends_before_the_servers() {
        let terms = Terms::new(LEASE, Duration::ZERO);
        let sent = Instant::now();
        let valid_until = terms.valid_until(sent, Duration::ZERO);
        assert!(valid_until < sent + LEASE);
        assert!(valid_until > sent + LEASE * 98 / 100);
        assert_eq!(terms.told_at(valid_until), valid_until);
    }

    #[test]
    fn time_in_the_queue_does_not_use_up_the_lease() {
        let terms = Terms::new(LEASE, Duration::ZERO);
        let sent = Instant::now();
        let waited = Duration::from_secs(100);
        let valid_until = terms.valid_until(sent, waited);
        assert!(valid_until > sent + waited + LEASE - Duration::from_secs(2));
        assert!(valid_until < sent + waited + LEASE);
    }

    #[test]
    fn a_late_grant_is_renewed_before_it_is_used() {
        let terms = Terms::new(LEASE, Duration::ZERO);
        let sent = Instant::now();
        let valid_until = terms.valid_until(sent, Duration::ZERO);
        assert!(!terms.is_stale(valid_until, sent));
        assert!(!terms.is_stale(valid_until, sent + Duration::from_secs(9)));
        assert!(terms.is_stale(valid_until, sent + Duration::from_secs(11)));
        assert!(terms.is_stale(valid_until, sent + LEASE * 2));
    }

    #[test]
    fn loss_is_told_a_margin_before_the_end_and_renewal_comes_first() {
        let terms = Terms::new(LEASE, Duration::from_secs(5));
        let sent = Instant::now();
        let valid_until = terms.valid_until(sent, Duration::ZERO);
        assert_eq!(terms.told_at(valid_until), valid_until - Duration::from_secs(5));
        assert!(terms.renew_at(valid_until) < terms.told_at(valid_until));
    }

    #[test]
    fn tiny_leases_keep_most_of_their_length_and_half_of_it_before_the_margin() {
        let terms = Terms::new(Duration::from_millis(4), Duration::from_secs(9));
        let sent = Instant::now();
        let valid_until = terms.valid_until(sent, Duration::ZERO);
        assert_eq!(valid_until, sent + Duration::from_millis(3));
        assert_eq!(terms.told_at(valid_until), sent + Duration::from_millis(1));
    }
}
