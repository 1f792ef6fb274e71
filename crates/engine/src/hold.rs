//! Replies that wait: what a client is told of a write must not be forgotten by a crash.
//!
//! A reply is held until the offset that the stream of writes had after it is *released*: by a log whose policy is
//! `appendfsync always`, once the bytes up to there are on the disk; in the synchronous mode, once enough replicas have
//! them. Replies behind it on the same link wait with it; so do reads of keys whose last write is not released. Nothing
//! else waits.
//!
//! ```text
//!             released                              offset
//!                │                                    │
//! stream  ───────┼───────[SET a]────[SET b]────[INCR c]
//! replies   sent │        held, each until `released` has passed it
//! ```

use std::collections::BTreeSet;

use base::hash::HashSeed;
use base::time::Instant;
use resp::decode::Request;

use crate::Server;
use crate::keys_of::{keys_of, may_have_keys};
use crate::session::{Session, SessionId};
use crate::table::{self, KeyFlags, Row};

/// One session's replies from a place in its output on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Bytes of output before it, over the life of the session.
    pub(crate) at: u64,
    /// Bytes of output before its end; what lies between it and the next has nothing to wait for, but its turn.
    end: u64,
    /// How many replies these bytes are.
    pub(crate) replies: u32,
    /// The offset that must be released first; 0 when nothing is waited for any more.
    pub(crate) offset: u64,
    /// The turn in which it began; what follows in the same turn waits with it.
    turn: u64,
    since: Instant,
}

/// What is held, and what has been written and not been released.
#[derive(Debug, Default)]
pub struct Holds {
    /// Which replies are held.
    what: Hold,
    /// Everything up to this offset may be told.
    released: u64,
    /// Counts how often the stream was taken: what is written between has one fate.
    turn: u64,
    /// Sessions with held replies, by the offset of the first.
    queue: BTreeSet<(u64, SessionId)>,
    /// Nothing that may have to be given up has been held since before this.
    oldest: Option<Instant>,
    /// The highest offset that a reply was ever held for.
    highest: u64,
    /// The offset of the last write, by a part of its key's hash: some keys share a place, and wait for each other.
    fresh: Box<[u64]>,
    /// The offset of the last write whose keys are not known.
    fresh_all: u64,
    /// The offset of the last write of all.
    fresh_last: u64,
    /// The offset after the last request.
    noted: u64,
    /// The highest offset of what the request at hand has read.
    read: u64,
    keys: Vec<(usize, KeyFlags)>,
}

/// Which replies wait: for the log, or for replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    #[default]
    Nothing,
    /// Those to writes.
    Writes,
    /// Those to writes, and to reads of what was written.
    WritesAndReads,
}

/// Places for the offsets of recent writes; a power of two.
const FRESH: usize = 1 << 14;

impl Holds {
    /// Returns whether replies are held.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.what != Hold::Nothing
    }

    /// Returns whether reads wait, too.
    #[inline]
    pub(crate) fn holds_reads(&self) -> bool {
        self.what == Hold::WritesAndReads
    }

    pub(crate) fn what(&self) -> Hold {
        self.what
    }

    /// Returns whether any reply waits for more than this offset.
    pub(crate) fn waits_for_more_than(&self, offset: u64) -> bool {
        !self.queue.is_empty() && self.highest > offset
    }

    /// Returns the highest offset that a reply was ever held for.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// Returns a moment before which nothing that is held began to be.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.oldest
    }

    /// Lets every read wait for what was written up to an offset.
    pub(crate) fn hold_all_up_to(&mut self, offset: u64) {
        (self.fresh_all, self.noted) = (offset, offset);
    }

    /// Returns the offset up to which everything may be told.
    pub fn released(&self) -> u64 {
        self.released
    }

    fn place(&self, seed: &HashSeed, db: usize, key: &[u8]) -> usize {
        (seed.hash(key).wrapping_add(db as u64)) as usize & (FRESH - 1)
    }
}

impl Server {
    /// Begins or ends to hold replies; what is held already stays so until it is released.
    pub fn hold_replies(&mut self, what: Hold) {
        if what == Hold::WritesAndReads && self.holds.what != what {
            // Nobody noted which keys were written before: whatever is read may be among them.
            let offset = self.propagation.stream.offset();
            (self.holds.fresh_all, self.holds.fresh_last) = (offset, offset);
        }
        self.holds.what = what;
        if what == Hold::WritesAndReads && self.holds.fresh.is_empty() {
            self.holds.fresh = vec![0; FRESH].into();
        }
    }

    /// Returns how many sessions have held replies.
    pub fn held_sessions(&self) -> usize {
        self.holds.queue.len()
    }

    /// Begins a new turn: what was written so far has been handed to the log.
    pub fn next_turn(&mut self) {
        self.holds.turn += 1;
        self.holds.noted = self.propagation.stream.offset();
    }

    /// Lets go of what waited for offsets up to this one.
    pub fn release_replies(&mut self, released: u64) {
        if released == self.holds.released {
            return;
        }
        self.holds.released = released;
        while let Some(&(offset, id)) = self.holds.queue.first() {
            if offset > released {
                break;
            }
            self.holds.queue.pop_first();
            let Some(session) = self.sessions.get_mut(id) else { continue };
            while session.held.front().is_some_and(|held| held.offset <= released) {
                session.held.pop_front();
            }
            if let Some(held) = session.held.front() {
                self.holds.queue.insert((held.offset, id));
            }
            self.sessions.queue_id(id);
        }
        if self.holds.queue.is_empty() {
            self.holds.oldest = None;
        }
    }

    /// Puts an error in the place of each held reply that waits for more than `offset` and has done so since a moment for
    /// which `overdue` holds. Returns how many replies that were.
    ///
    /// No session may be executing.
    #[cold]
    pub(crate) fn give_up_held(
        &mut self,
        offset: u64,
        error: &str,
        overdue: impl Fn(Instant) -> bool,
    ) -> u64 {
        let queue = std::mem::take(&mut self.holds.queue);
        let (mut given_up, mut oldest) = (0, None);
        for (_, id) in queue {
            // Those that have ended wait for nothing.
            let Some(session) = self.sessions.get_mut(id) else { continue };
            given_up += session.give_up_held(offset, error, &overdue);
            while session.held.front().is_some_and(|held| held.offset <= self.holds.released) {
                session.held.pop_front();
            }
            let waits = session.held.iter().find(|held| held.offset > offset).map(|held| held.since);
            oldest = [oldest, waits].into_iter().flatten().min();
            if let Some(held) = session.held.front() {
                self.holds.queue.insert((held.offset, id));
            }
            self.sessions.queue_id(id);
        }
        self.holds.oldest = oldest;
        for _ in 0..given_up {
            self.stats.error(error);
        }
        given_up
    }

    /// Begins to count anew: from here on offsets are those of another history.
    pub(crate) fn forget_offsets(&mut self) {
        let offset = self.propagation.stream.offset();
        let holds = &mut self.holds;
        holds.fresh.fill(0);
        (holds.fresh_all, holds.fresh_last, holds.read, holds.highest) = (0, 0, 0, 0);
        holds.noted = offset;
        for session in self.sessions.iter_mut() {
            session.written = session.written.min(offset);
        }
    }

    /// Notes which keys a command has written, as part of what the stream now ends with.
    #[cold]
    pub(crate) fn note_write(&mut self, seed: &HashSeed, db: usize, row: &Row, request: Request<'_>) {
        let offset = self.propagation.stream.offset();
        self.holds.fresh_last = offset;
        let mut keys = std::mem::take(&mut self.holds.keys);
        keys.clear();
        if may_have_keys(row) && keys_of(row, request, &mut keys) {
            for (at, _) in &keys {
                let place = self.holds.place(seed, db, request.arg(*at));
                self.holds.fresh[place] = offset;
                // MOVE, COPY … DB and their like write to a database that their keys do not tell.
                if row.is_any(&["MOVE", "COPY"]) {
                    self.holds.fresh_all = offset;
                }
            }
        } else {
            self.holds.fresh_all = offset;
        }
        self.holds.keys = keys;
    }

    /// Notes that the server deleted a key by itself.
    #[cold]
    pub(crate) fn note_write_of(&mut self, seed: &HashSeed, db: usize, key: &[u8]) {
        if self.holds.holds_reads() {
            let place = self.holds.place(seed, db, key);
            let offset = self.propagation.stream.offset();
            (self.holds.fresh[place], self.holds.fresh_last) = (offset, offset);
        }
    }

    /// Notes what a command has read, if there are writes that may not be told yet.
    ///
    /// One that may write and did not has read, too: that SADD added nothing tells that the member is there.
    #[cold]
    pub(crate) fn note_read(&mut self, seed: &HashSeed, db: usize, row: &Row, request: Request<'_>) {
        if !may_have_keys(row) && !row.flags.has(table::READONLY | table::WRITE) {
            return;
        }
        let mut keys = std::mem::take(&mut self.holds.keys);
        keys.clear();
        let mut offset = self.holds.fresh_all;
        if may_have_keys(row) && keys_of(row, request, &mut keys) {
            for (at, _) in &keys {
                offset = offset.max(self.holds.fresh[self.holds.place(seed, db, request.arg(*at))]);
            }
        } else {
            // It looked at everything, or nobody knows at what.
            offset = offset.max(self.holds.fresh_last);
        }
        self.holds.keys = keys;
        self.holds.read = self.holds.read.max(offset);
    }

    /// Returns whether there are writes that may not be told yet.
    #[inline]
    pub(crate) fn has_unreleased(&self) -> bool {
        self.holds.holds_reads() && self.propagation.stream.offset() > self.holds.released
    }

    /// Notes what the session has written since its last request, and holds the reply that began at `before` where it must
    /// wait.
    pub(crate) fn end_reply(&mut self, session: &mut Session, before: usize, now: Instant) {
        let offset = self.propagation.stream.offset();
        let wrote = offset != self.holds.noted;
        if wrote {
            self.holds.noted = offset;
            session.written = offset;
        }
        if self.holds.is_on() {
            self.hold_reply(session, before, wrote, now);
        }
    }

    /// Holds the reply that began at `before` in the session's output, if it tells of what is not released.
    #[cold]
    fn hold_reply(&mut self, session: &mut Session, before: usize, wrote: bool, now: Instant) {
        let mut offset = std::mem::take(&mut self.holds.read);
        if wrote {
            offset = self.propagation.stream.offset();
        }
        if offset <= self.holds.released || session.out.len() <= before {
            return;
        }
        let turn = self.holds.turn;
        let at = session.bytes_out + (before - session.sent.min(before)) as u64;
        let end = at + (session.out.len() - before) as u64;
        if let Some(last) = session.held.back_mut()
            && last.turn == turn
        {
            offset = offset.max(last.offset);
            if last.end == at {
                last.end = end;
                last.replies += 1;
                last.offset = offset;
                self.holds.highest = self.holds.highest.max(offset);
                return;
            }
        }
        if session.held.is_empty() {
            self.holds.queue.insert((offset, session.id));
        }
        self.holds.oldest.get_or_insert(now);
        self.holds.highest = self.holds.highest.max(offset);
        session.held.push_back(Held { at, end, replies: 1, offset, turn, since: now });
    }
}

impl Session {
    /// Puts an error in the place of each held reply that waits for more than `offset` and is overdue; returns how many.
    fn give_up_held(&mut self, offset: u64, error: &str, overdue: impl Fn(Instant) -> bool) -> u64 {
        let given_up = |held: &Held| held.offset > offset && overdue(held.since);
        if !self.held.iter().any(given_up) {
            return 0;
        }
        let (sent, bytes_out) = (self.sent as u64, self.bytes_out);
        let old = std::mem::take(&mut self.out);
        // The output of a client that is cut off may be gone already.
        let place = |at: u64| ((at.saturating_sub(bytes_out) + sent) as usize).min(old.len());
        let mut out = Vec::with_capacity(old.len() - self.sent);
        let (mut copied, mut count) = (self.sent, 0);
        for held in &mut self.held {
            let (start, end) = (place(held.at), place(held.end));
            out.extend_from_slice(&old[copied..start]);
            held.at = bytes_out + out.len() as u64;
            if given_up(held) {
                for _ in 0..held.replies {
                    crate::Reply::new(&mut out, self.protocol).error(error);
                }
                count += u64::from(held.replies);
                held.offset = 0;
            } else {
                out.extend_from_slice(&old[start..end]);
            }
            held.end = bytes_out + out.len() as u64;
            copied = end;
        }
        out.extend_from_slice(&old[copied..]);
        (self.out, self.sent) = (out, 0);
        count
    }

    /// Returns how many bytes of the output, from the first that was not sent, may be sent now.
    #[inline]
    pub fn sendable(&self) -> usize {
        let unsent = self.unsent();
        match self.held.front() {
            None => unsent,
            Some(held) => unsent.min(held.at.saturating_sub(self.bytes_out) as usize),
        }
    }
}
