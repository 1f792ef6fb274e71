//! When the loop waits a moment before it looks for requests, so that it takes those of many clients together.
//!
//! A server that is quicker than its clients falls asleep after every few requests. To be woken costs it, and the client
//! whose request does it, more than the request itself; nobody has to wake a loop that sleeps for a fixed time.
//!
//! ```text
//! woken      zz ▪ zz ▪▪ zz ▪ zz ▪ zz ▪▪ zz ▪ zz …
//! gathering  zzzzzzzzzz ▪▪▪▪▪▪▪▪ zzzzzzzzzz ▪▪▪▪ …
//! ```
//!
//! Worth it only among many who ask at a high rate. One client, or a few, are answered at once; so is a crowd most of
//! which has asked already, since then it is the clients who wait for the server. Network cards pace their interrupts
//! for the same reason.

use std::time::Duration;

use base::time::Instant;

/// Links are counted for so long.
const ROUND: Duration = Duration::from_millis(1);

/// So many links that ask within a round are a crowd.
const CROWD: u32 = 32;

/// Knows how many links ask, and how many of them in a turn.
#[derive(Debug)]
pub(crate) struct Gather {
    /// When this round began.
    began: Instant,
    round: u32,
    /// Links that asked in this round.
    links: u32,
    /// Those that asked in the round before.
    crowd: u32,
    /// Reads in this turn.
    turn: u32,
}

/// When a link last asked, as the number of a round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen(u32);

impl Gather {
    /// Returns the state of a loop that has seen nobody.
    pub(crate) fn new() -> Gather {
        Gather { began: Instant::ZERO, round: 1, links: 0, crowd: 0, turn: 0 }
    }

    /// Notes that a link has sent something.
    #[inline]
    pub(crate) fn note(&mut self, seen: &mut Seen) {
        self.turn += 1;
        if seen.0 != self.round {
            seen.0 = self.round;
            self.links += 1;
        }
    }

    /// Ends a turn that began at `now`; returns whether waiting would bring more requests at once.
    #[inline]
    pub(crate) fn end_turn(&mut self, now: Instant) -> bool {
        let turn = std::mem::take(&mut self.turn);
        let passed = now.saturating_since(self.began);
        if passed >= ROUND {
            // A round that took longer tells of no rate.
            self.crowd = if passed < 2 * ROUND { self.links } else { 0 };
            (self.began, self.round, self.links) = (now, self.round.wrapping_add(1), 0);
        }
        turn > 0 && self.crowd >= CROWD && 2 * turn <= self.crowd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets links ask in turns of so many at a time, one every 10 us; returns after how many turns waiting was advised.
    fn advised(links: usize, at_a_time: usize, turns: usize) -> usize {
        let (mut gather, mut seen) = (Gather::new(), vec![Seen::default(); links]);
        let mut next = 0;
        let mut advised = 0;
        for turn in 0..turns {
            for _ in 0..at_a_time {
                gather.note(&mut seen[next % links]);
                next += 1;
            }
            let now = Instant::from_micros(5_000 + 10 * (turn * at_a_time) as u64);
            advised += usize::from(gather.end_turn(now));
        }
        advised
    }

    #[test]
    fn a_crowd_is_waited_for_and_a_few_are_not() {
        // 100 requests in a round, from as many links as there are.
        assert_eq!(advised(1, 1, 1000), 0);
        assert_eq!(advised(31, 1, 1000), 0);
        assert!(advised(32, 1, 1000) > 850);
        assert!(advised(50, 5, 1000) > 950);
    }

    #[test]
    fn who_waits_for_the_server_does_not_wait_longer() {
        assert_eq!(advised(50, 26, 1000), 0);
        assert!(advised(50, 25, 1000) > 950);
    }

    #[test]
    fn a_crowd_that_asks_rarely_is_none() {
        let (mut gather, mut seen) = (Gather::new(), vec![Seen::default(); 1000]);
        for (turn, seen) in seen.iter_mut().enumerate() {
            gather.note(seen);
            // One request in 100 us.
            assert!(!gather.end_turn(Instant::from_micros(100 * turn as u64)));
        }
    }

    #[test]
    fn who_was_there_long_ago_is_forgotten() {
        let (mut gather, mut seen) = (Gather::new(), vec![Seen::default(); 50]);
        seen.iter_mut().for_each(|seen| gather.note(seen));
        assert!(!gather.end_turn(Instant::from_micros(10)));
        gather.note(&mut seen[0]);
        assert!(gather.end_turn(Instant::from_micros(1_010)));
        gather.note(&mut seen[0]);
        assert!(!gather.end_turn(Instant::from_micros(60_000)));
        // A turn in which nobody asked is followed by one that blocks.
        assert!(!gather.end_turn(Instant::from_micros(60_010)));
    }
}
