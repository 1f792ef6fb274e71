//! Histories, and whether a replica may go on in one of them.
//!
//! ```text
//!   id2 ────────────────────┐ second offset
//!                           └──────────────── id ──────────► end
//!                      start│of backlog
//!                        ├──┼──────────────────────────────┤
//!   request (id2, 90)  ──►  │ partial: both have seen the same up to the second offset
//!   request (id2, 120) ─────┼─► full: what that replica has seen behind it, we have not
//!   request (id, 120)  ─────┼─► partial
//! ```
//!
//! On the wire a replica asks for the *number* of the first byte that it lacks, counted from 1; here an offset is the
//! count of bytes before it, which is one less.

use std::fmt;
use std::ops::RangeInclusive;

use crate::ReplId;

/// Which histories the data belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The history that goes on.
    pub id: ReplId,
    /// The one that it was until a promotion.
    pub second: Option<Second>,
    /// Counts promotions; elections set it.
    pub epoch: u64,
}

/// A history that ours was the same as, up to an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    pub id: ReplId,
    /// Up to here both have the same bytes. INFO and the wire have it plus one.
    pub offset: u64,
}

impl History {
    /// Returns a history without a past.
    pub fn new(id: ReplId) -> History {
        History { id, second: None, epoch: 0 }
    }

    /// Begins a history of our own at an offset of the old one, which stays valid up to there.
    pub fn shift(&mut self, id: ReplId, offset: u64) {
        self.second = Some(Second { id: self.id, offset });
        self.id = id;
        self.epoch += 1;
    }

    /// Takes the name that our master gives to the history that we share with it up to an offset.
    pub fn rename(&mut self, id: ReplId, offset: u64) {
        if self.id != id {
            self.second = Some(Second { id: self.id, offset });
            self.id = id;
        }
    }

    /// Begins a history that no replica can know.
    pub fn replace(&mut self, id: ReplId) {
        (self.id, self.second) = (id, None);
    }
}

/// What becomes of a request to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The stream follows from this offset.
    Partial {
        from: u64,
    },
    Full {
        why: Why,
    },
}

/// Why a replica needs all of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It asked for it: `PSYNC ? -1`.
    Asked,
    /// It names a history that is not ours.
    OtherHistory { asked: String },
    /// It has seen writes of the old history that we have not.
    BehindSecond { asked: i64, up_to: u64 },
    /// The bytes that it lacks are not there any more.
    NoBacklog { asked: i64 },
    /// It claims to have seen what has not happened.
    FromTheFuture { asked: i64 },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Asked => write!(f, "Full resync requested"),
            Why::OtherHistory { asked } => {
                write!(
                    f,
                    "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{asked}')"
                )
            }
            Why::BehindSecond { asked, up_to } => write!(
                f,
                "Partial resynchronization not accepted: Requested offset for second ID was {asked}, but I can reply up to {}",
                up_to + 1
            ),
            Why::NoBacklog { asked } => {
                write!(f, "Unable to partial resync for lack of backlog (Replica request was: {asked})")
            }
            Why::FromTheFuture { asked } => write!(
                f,
                "Unable to partial resync: the replica asked for {asked}, which is greater than the master replication offset"
            ),
        }
    }
}

/// Decides whether a replica that asks for `PSYNC id offset` may go on where it was.
///
/// `backlog` holds the offsets from which the stream can be sent; there may be none.
pub fn decide(history: &History, backlog: Option<RangeInclusive<u64>>, id: &[u8], asked: i64) -> Decision {
    let full = |why| Decision::Full { why };
    let second = history.second.filter(|second| named(second.id, id));
    if !named(history.id, id) {
        match second {
            _ if id.first() == Some(&b'?') => return full(Why::Asked),
            None => {
                let shown = &id[..id.len().min(ReplId::LEN)];
                return full(Why::OtherHistory { asked: shown.escape_ascii().to_string() });
            }
            Some(second) if asked.saturating_sub(1) > signed(second.offset) => {
                return full(Why::BehindSecond { asked, up_to: second.offset });
            }
            Some(_) => {}
        }
    }
    match (u64::try_from(asked.saturating_sub(1)), backlog) {
        (Ok(from), Some(range)) if range.contains(&from) => Decision::Partial { from },
        (Ok(from), Some(range)) if from > *range.end() => full(Why::FromTheFuture { asked }),
        _ => full(Why::NoBacklog { asked }),
    }
}

fn named(id: ReplId, text: &[u8]) -> bool {
    id.as_bytes().eq_ignore_ascii_case(text)
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        std::iter::repeat_n(digit, ReplId::LEN).collect()
    }

    fn parsed(digit: char) -> ReplId {
        ReplId::parse(id(digit).as_bytes()).expect("an id")
    }

    #[test]
    fn a_request_is_granted_where_redis_grants_it() {
        // Ours is `a`, which was `b` up to 100; the backlog has 80 to 200.
        let mut history = History::new(parsed('b'));
        history.shift(parsed('a'), 100);
        let (a, b, c) = (id('a'), id('b'), id('c'));
        let partial = |from| Decision::Partial { from };
        let full = |why| Decision::Full { why };
        let table = [
            ("?", -1, full(Why::Asked)),
            ("?", 150, full(Why::Asked)),
            (&a, 201, partial(200)),
            (&a.to_uppercase(), 150, partial(149)),
            (&a, 81, partial(80)),
            (&a, 80, full(Why::NoBacklog { asked: 80 })),
            (&a, 202, full(Why::FromTheFuture { asked: 202 })),
            (&a, i64::MAX, full(Why::FromTheFuture { asked: i64::MAX })),
            (&a, 0, full(Why::NoBacklog { asked: 0 })),
            (&a, -1, full(Why::NoBacklog { asked: -1 })),
            (&a, i64::MIN, full(Why::NoBacklog { asked: i64::MIN })),
            (&b, 101, partial(100)),
            (&b, 81, partial(80)),
            (&b, 80, full(Why::NoBacklog { asked: 80 })),
            (&b, 102, full(Why::BehindSecond { asked: 102, up_to: 100 })),
            (&b, i64::MAX, full(Why::BehindSecond { asked: i64::MAX, up_to: 100 })),
            (&c, 150, full(Why::OtherHistory { asked: c.clone() })),
            ("", 150, full(Why::OtherHistory { asked: String::new() })),
            ("\r\nx", 150, full(Why::OtherHistory { asked: "\\r\\nx".into() })),
        ];
        for (asked_id, asked, expected) in table {
            assert_eq!(
                decide(&history, Some(80..=200), asked_id.as_bytes(), asked),
                expected,
                "{asked_id} {asked}"
            );
        }
        assert_eq!(decide(&history, None, a.as_bytes(), 150), full(Why::NoBacklog { asked: 150 }));
    }

    #[test]
    fn a_history_without_a_past_has_no_second_name() {
        let mut history = History::new(parsed('b'));
        history.shift(parsed('a'), 100);
        history.replace(parsed('d'));
        let why = Why::OtherHistory { asked: id('b') };
        assert_eq!(decide(&history, Some(0..=200), id('b').as_bytes(), 50), Decision::Full { why });
        let zeros = ReplId::NONE.as_bytes();
        assert!(matches!(decide(&history, Some(0..=200), zeros, 50), Decision::Full { .. }));
        history.rename(parsed('d'), 10);
        assert_eq!(history.second, None, "the same name is nothing new");
        history.rename(parsed('e'), 10);
        assert_eq!(history.second, Some(Second { id: parsed('d'), offset: 10 }));
    }
}
