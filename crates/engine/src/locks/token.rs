//! Fencing tokens: one counter for all locks of the server, which grows strictly for ever.
//!
//! ```text
//!  53                                          14              0
//! ┌──────────────────────────────────────────────┬──────────────┐
//! │ an epoch's first: milliseconds since 2024,   │ 0            │   or, if that was seen already, 2^24 more than
//! │                                              │              │   the highest token seen
//! └──────────────────────────────────────────────┴──────────────┘   then one more with each grant
//! ```
//!
//! A run of the server as a master begins an epoch with its first grant. So tokens grow even where the end of a log, or all
//! of the data, was lost: by what is left, or by the clock, whichever is further. A clock that stands still or was set back
//! does no harm as long as less than 2^24 grants are lost; and what is lost may be everything as long as the clock goes on,
//! and no more than 2^14 grants are made in each of its milliseconds.

use keyspace::lock::TOKENS_END;

/// The counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The highest token ever seen.
    highest: u64,
    epoch: Epoch,
    /// The first one of the epoch that has begun.
    first: u64,
}

/// How far the epoch has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Epoch {
    /// It begins with the next grant.
    #[default]
    Ahead,
    /// Its first grant is being executed: where it ends in the stream is not known yet.
    Beginning,
    /// Its first grant ends at this offset of the stream; 0 where no log was there to hold it.
    Begun(u64),
}

/// 2024-01-01T00:00:00Z in milliseconds, from which epochs count.
const EPOCHS_BEGIN: i64 = 1_704_067_200_000;
/// Tokens that the clock leaves for the grants of a millisecond: 2 to the power of this.
const GRANT_BITS: u32 = 14;
/// Tokens that an epoch leaves for grants that were lost.
const LOST: u64 = 1 << 24;

/// How far a token that was not seen yet may be ahead of those which were, and of the clock: by 49 days.
const AHEAD: u64 = 1 << (32 + GRANT_BITS);

/// Returns the first token of an epoch that begins now, where none of those behind it was seen.
fn by_clock(unix_ms: i64) -> u64 {
    let clock = u64::try_from(unix_ms.saturating_sub(EPOCHS_BEGIN)).unwrap_or(0);
    clock.min(TOKENS_END >> GRANT_BITS) << GRANT_BITS
}

impl Tokens {
    /// Returns the highest token ever seen, 0 before the first.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Notes a token, wherever it comes from.
    pub fn see(&mut self, token: u64) {
        if token < TOKENS_END {
            self.highest = self.highest.max(token);
        }
    }

    /// Returns the token of the next grant; nothing once all are used up.
    pub fn next(&mut self, unix_ms: i64) -> Option<u64> {
        let mut token = self.highest + 1;
        if self.epoch == Epoch::Ahead {
            let by_clock = by_clock(unix_ms);
            // Not further than that where the clock has gone on: the next epoch may be that of a server which has seen less.
            token = if by_clock > self.highest { by_clock } else { self.highest + LOST };
            // A clock that is far ahead must not use up what is left, nor the last epochs keep from what is.
            if token >= TOKENS_END {
                token = self.highest + 1;
            }
        }
        if token >= TOKENS_END {
            return None;
        }
        if self.epoch == Epoch::Ahead {
            self.epoch = Epoch::Beginning;
            self.first = token;
        }
        self.highest = token;
        Some(token)
    }

    /// Returns whether a token may have been granted: here, or by a server whose clock is not far ahead of ours.
    ///
    /// What a client merely claims must not use up the tokens that are left.
    pub fn may_be_given(&self, token: u64, unix_ms: i64) -> bool {
        token <= self.highest.max(by_clock(unix_ms)) + AHEAD
    }

    /// Lets the next grant begin a new epoch: data was loaded, or this server has become the master.
    pub fn end_epoch(&mut self) {
        self.epoch = Epoch::Ahead;
    }

    /// Returns whether a token was granted in this epoch: then nobody can have been granted a newer one without it being seen.
    pub fn is_current(&self, token: u64) -> bool {
        self.epoch != Epoch::Ahead && token >= self.first
    }

    /// Says where in the stream the epoch's first grant ends, if that was not known yet.
    pub fn begun(&mut self, offset: u64) {
        if self.epoch == Epoch::Beginning {
            self.epoch = Epoch::Begun(offset);
        }
    }

    /// Returns whether the epoch's first grant is on the disk, where `logged` says whether an offset of the stream is.
    pub fn is_safe(&self, logged: impl FnOnce(u64) -> bool) -> bool {
        match self.epoch {
            Epoch::Ahead | Epoch::Beginning => false,
            Epoch::Begun(offset) => offset == 0 || logged(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = EPOCHS_BEGIN + 90_000_000_000;

    #[test]
    fn an_epoch_begins_by_the_clock_or_behind_what_was_seen() {
        let mut tokens = Tokens::default();
        let first = tokens.next(NOW).expect("there are some");
        assert_eq!(first, 90_000_000_000 << GRANT_BITS);
        assert_eq!(tokens.next(NOW + 5), Some(first + 1));
        // The same millisecond, a clock that was set back, one that is before 2024, and one that has gone mad.
        let mut last = first + 1;
        for unix_ms in [NOW, NOW - 1_000_000_000, 0, i64::MIN, i64::MAX, NOW] {
            tokens.end_epoch();
            let next = tokens.next(unix_ms).expect("there are some");
            assert!(next > last, "{next} follows {last}");
            last = next;
        }
    }

    #[test]
    fn a_lost_tail_does_not_bring_tokens_back() {
        let mut tokens = Tokens::default();
        tokens.next(NOW);
        let seen_on_disk = tokens.highest();
        let given = (0..1000).filter_map(|_| tokens.next(NOW)).max();
        // The process dies, only the first grant is on the disk, and the clock stands still.
        let mut tokens = Tokens::default();
        tokens.see(seen_on_disk);
        assert!(tokens.next(NOW) > given);
    }

    #[test]
    fn a_claim_does_not_use_up_what_is_left() {
        let mut tokens = Tokens::default();
        let clock = by_clock(NOW);
        assert!(tokens.may_be_given(clock + AHEAD, NOW) && !tokens.may_be_given(clock + AHEAD + 1, NOW));
        assert!(!tokens.may_be_given(clock, 0) && tokens.may_be_given(AHEAD, i64::MIN));
        tokens.see(clock);
        assert!(tokens.may_be_given(clock + AHEAD, 0));
        assert!(tokens.may_be_given(TOKENS_END - 1, i64::MAX));
    }

    #[test]
    fn tokens_end_before_they_leave_a_double() {
        let mut tokens = Tokens::default();
        tokens.see(u64::MAX);
        assert_eq!(tokens.highest(), 0);
        tokens.see(TOKENS_END - 2);
        assert_eq!(tokens.next(NOW), Some(TOKENS_END - 1));
        assert_eq!(tokens.next(NOW), None);
    }

    #[test]
    fn tokens_of_another_epoch_are_not_current() {
        let mut tokens = Tokens::default();
        let token = tokens.next(NOW).expect("there are some");
        assert!(tokens.is_current(token) && !tokens.is_current(token - 1));
        tokens.end_epoch();
        assert!(!tokens.is_current(token));
        let newer = tokens.next(NOW).expect("there are some");
        assert!(tokens.is_current(newer) && !tokens.is_current(token));
    }

    #[test]
    fn an_epoch_is_safe_once_its_first_grant_is() {
        let mut tokens = Tokens::default();
        assert!(!tokens.is_safe(|_| true));
        tokens.next(NOW);
        assert!(!tokens.is_safe(|_| true));
        tokens.begun(77);
        tokens.begun(99);
        assert!(!tokens.is_safe(|offset| offset < 77));
        assert!(tokens.is_safe(|offset| offset <= 77));
    }
}
