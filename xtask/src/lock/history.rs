//! What clients saw of a fenced mutex, and whether that can have been one.
//!
//! ```text
//! asked ───── granted ═══ held ═══ releasing ───── released        a hold, as its client saw it; the moments of the lock
//!     a somewhere here                    e somewhere here          itself lie between: a in the first gap, e in the last
//! ```
//!
//! A mutex with tokens is linearizable (Herlihy and Wing, 1990) if moments can be chosen such that a1 <= e1 <= a2 <= e2 …
//! in the order of the tokens, as each grant's token is newer than all before it. Choosing each as early as possible is the
//! best choice for all that follow, so one pass decides. A hold that ended by itself ends anywhere after its holder
//! stopped relying on it; accepted writes lie between their hold's a and e, and so bring e no earlier than they began.

use std::collections::BTreeMap;

/// Nanoseconds on a clock that all clients share.
pub(super) type Moment = u64;

/// A lock that was granted, as its holder saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) client: u64,
    pub(super) token: u64,
    pub(super) asked: Moment,
    pub(super) granted: Moment,
    /// Until when the holder relied on it.
    pub(super) relied_until: Moment,
    /// When its release was answered; nothing if nobody can tell, or if it was lost.
    pub(super) released: Option<Moment>,
}

/// A write that named a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) token: u64,
    pub(super) asked: Moment,
    pub(super) answered: Moment,
    pub(super) accepted: bool,
}

/// Checks holds and writes; the error says which cannot be.
pub(super) fn check(holds: &[Hold], writes: &[Write]) -> Result<(), String> {
    let mut holds: Vec<&Hold> = holds.iter().collect();
    holds.sort_by_key(|hold| (hold.token, hold.asked));
    let mut by_token: BTreeMap<u64, Vec<&Write>> = BTreeMap::new();
    for write in writes {
        by_token.entry(write.token).or_default().push(write);
    }
    // The first grant of any newer token, for each of the holds.
    let mut newer_from = vec![Moment::MAX; holds.len() + 1];
    for (at, hold) in holds.iter().enumerate().rev() {
        newer_from[at] = newer_from[at + 1].min(hold.granted);
    }
    let mut free = 0;
    let mut before: Option<&Hold> = None;
    for (at, hold) in holds.iter().enumerate() {
        let (client, token) = (hold.client, hold.token);
        if let Some(before) = before
            && before.token == token
        {
            return Err(format!(
                "token {token} was granted to client {} and to client {client}",
                before.client
            ));
        }
        let taken = free.max(hold.asked);
        if taken > hold.granted {
            let before = before.map_or(0, |before| before.client);
            return Err(format!(
                "client {client} was granted token {token} at {} while client {before} held the lock until {free} \
                 at least",
                hold.granted
            ));
        }
        let mut ended = taken.max(hold.relied_until);
        for write in by_token.remove(&token).unwrap_or_default() {
            if write.accepted {
                ended = ended.max(write.asked);
                if newer_from[at + 1] < write.asked {
                    return Err(format!(
                        "a write with token {token} was accepted after a newer one was granted"
                    ));
                }
            } else if hold.granted <= write.asked && write.answered < hold.relied_until {
                return Err(format!("a write was refused to client {client}, who held token {token}"));
            }
        }
        if let Some(released) = hold.released
            && ended > released
        {
            return Err(format!("client {client} wrote under token {token} after its release"));
        }
        free = ended;
        before = Some(hold);
    }
    match by_token.values().flatten().find(|write| write.accepted) {
        Some(write) => {
            Err(format!("a write with token {} was accepted, which was never granted", write.token))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use testkit::Random;

    use super::*;

    fn hold(token: u64, [asked, granted, relied_until]: [Moment; 3], released: Option<Moment>) -> Hold {
        Hold { client: token, token, asked, granted, relied_until, released }
    }

    #[test]
    fn holds_one_after_the_other_are_a_mutex() {
        let holds = [hold(1, [0, 2, 5], Some(7)), hold(2, [1, 6, 9], None), hold(3, [3, 12, 14], Some(15))];
        assert_eq!(check(&holds, &[]), Ok(()));
    }

    #[test]
    fn two_holders_at_a_time_are_found() {
        let holds = [hold(1, [0, 2, 8], Some(9)), hold(2, [1, 6, 9], None)];
        assert!(check(&holds, &[]).unwrap_err().contains("while client 1 held"));
    }

    #[test]
    fn a_token_that_goes_back_is_found() {
        let holds = [hold(5, [0, 2, 3], Some(4)), hold(4, [6, 7, 9], Some(10))];
        assert!(check(&holds, &[]).is_err());
        let twice = [hold(5, [0, 2, 3], Some(4)), hold(5, [6, 7, 9], Some(10))];
        assert!(check(&twice, &[]).unwrap_err().contains("was granted to client"));
    }

    #[test]
    fn a_stale_write_is_found_and_so_is_one_refused_to_the_holder() {
        let holds = [hold(1, [0, 2, 5], None), hold(2, [1, 6, 9], Some(20))];
        let write = |token, asked, answered, accepted| Write { token, asked, answered, accepted };
        assert_eq!(
            check(&holds, &[write(1, 3, 4, true), write(1, 7, 8, false), write(2, 7, 8, true)]),
            Ok(())
        );
        assert!(check(&holds, &[write(1, 7, 8, true)]).is_err());
        assert!(check(&holds, &[write(2, 7, 8, false)]).is_err());
        assert!(check(&holds, &[write(3, 7, 8, true)]).is_err());
    }

    /// Tries all moments: the long way to the same answer.
    fn exists(holds: &[&Hold], free: Moment) -> bool {
        let Some((hold, rest)) = holds.split_first() else { return true };
        let latest = 14;
        (free.max(hold.asked)..=hold.granted).any(|taken| {
            let last = hold.released.unwrap_or(latest).max(hold.relied_until);
            (taken.max(hold.relied_until)..=last).any(|ended| exists(rest, ended))
        })
    }

    #[test]
    fn the_short_way_says_what_the_long_way_says() {
        let mut random = Random(7);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..20_000 {
            let holds: Vec<Hold> = (1..=3)
                .map(|token| {
                    let asked = random.of(0..7);
                    let granted = asked + random.of(0..4);
                    let relied = granted + random.of(0..2);
                    let released = (random.of(0..2) == 0).then(|| relied + random.of(0..3));
                    hold(token, [asked, granted, relied], released)
                })
                .collect();
            let wanted = exists(&holds.iter().collect::<Vec<_>>(), 0);
            assert_eq!(check(&holds, &[]).is_ok(), wanted, "{holds:?}");
            *(if wanted { &mut good } else { &mut bad }) += 1;
        }
        assert!(good > 1_000 && bad > 1_000, "{good} and {bad}");
    }
}
