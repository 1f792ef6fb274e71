//! What happens to locks that no request asks for: leases end, turns come, grants become safe, waits end in vain.

use base::time::Now;
use keyspace::{Keys, Keyspace};

use super::book::{Event, What};
use super::record::Record;
use super::{Grant, Kind, LockWait, Untold, lease_end};
use crate::acks::Acks;
use crate::cx::Mode;
use crate::effect::Effect;
use crate::session::{Session, SessionId};
use crate::{Engine, Error, Host, Reply, Server};

/// Leases that are ended without letting anything else happen between.
const EXPIRED_AT_ONCE: usize = 1000;

/// Who holds a lock, as those are told who do not get it.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    pub(crate) holder: Record,
    /// Milliseconds.
    pub(crate) remaining: u64,
    pub(crate) since: u64,
    pub(crate) position: usize,
    pub(crate) waiters: usize,
}

impl Busy {
    /// Writes it as the reply to LOCK.ACQUIRE.
    pub(crate) fn reply(&self, out: &mut Reply<'_>) {
        out.map(8);
        out.bulk(b"status");
        out.bulk(b"busy");
        out.bulk(b"owner");
        out.bulk(&self.holder.owner);
        let numbers = [
            ("token", self.holder.token),
            ("since", self.since),
            ("remaining", self.remaining),
            ("position", self.position as u64),
            ("waiters", self.waiters as u64),
        ];
        for (name, number) in numbers {
            out.bulk(name.as_bytes());
            out.int(number as i64);
        }
        out.bulk(b"meta");
        match &self.holder.meta {
            Some(meta) => out.bulk(meta),
            None => out.null(),
        }
    }
}

impl Grant {
    /// Writes it as the reply to LOCK.ACQUIRE, or to LOCK.RENEW.
    pub(crate) fn reply(&self, out: &mut Reply<'_>) {
        if self.kind == Kind::Renewed {
            return out.int(self.lease as i64);
        }
        out.map(4);
        out.bulk(b"status");
        out.bulk(b"granted");
        for (name, number) in [("token", self.token), ("lease", self.lease), ("waited", self.waited)] {
            out.bulk(name.as_bytes());
            out.int(number as i64);
        }
    }
}

/// What those are told whose grant has not come to enough replicas in time.
pub(crate) const TOO_FEW: &str = "NOREPLICAS Not enough replicas acknowledged the lock";
const NOT_ON_DISK: &str = "MISCONF The lock was given back, as it was not on the disk in time";
const TAKEN_AWAY: &str = "NOTHELD The lock was taken away before its grant could be told";

impl Server {
    /// Returns what those are told who do not get a lock; `owner` may be waiting for it.
    pub(crate) fn busy(&self, db: usize, key: &[u8], holder: Record, owner: &[u8], now: Now) -> Busy {
        let deadline = self.locks.index.deadline(db, key).flatten();
        let remaining = match deadline {
            Some(at) => at.saturating_since(now.instant).as_micros().div_ceil(1000) as u64,
            None => holder.lease,
        };
        let waiters = self.waiting.locks.len(db, key);
        let position = self.waiting.locks.position(db, key, owner).unwrap_or(waiters + 1);
        Busy { remaining, since: holder.held_ms(now.unix_ms()), position, waiters, holder }
    }

    /// Says where in the stream a grant ends that is still to be told, and asks replicas for it.
    ///
    /// Called when what the session's command came to is in the stream.
    #[cold]
    pub(crate) fn place_grant(&mut self, session: &mut Session) {
        let offset = self.propagation.stream.offset();
        let Some(blocked) = &mut session.blocked else { return };
        if let (Some(LockWait::Granted { .. }), Some(acks)) = (&blocked.lock, &mut blocked.acks)
            && acks.offset == u64::MAX
        {
            acks.offset = offset;
            self.locks.tokens.begun(offset);
            self.ask_replicas();
        }
    }

    /// Returns whether a grant may be told.
    fn is_safe(&self, acks: &Acks) -> bool {
        let synchronous = if self.is_synchronous() { self.config.synchronous_replicas as usize } else { 0 };
        let replicas = synchronous.max(acks.replicas as usize);
        let commit =
            if synchronous > 0 { self.commit_level() } else { replication::primary::Commit::Received };
        let logged = acks.logs.is_none() || !self.persistence.log.enabled || self.has_logged(acks.offset);
        logged && (replicas == 0 || self.replication.primary.count(acks.offset, commit) >= replicas)
    }

    /// Ends a wait for a lock in vain: its time is up, or somebody says so. Returns whether the session waits for one.
    pub(crate) fn end_lock_wait(&mut self, space: &mut Keyspace, id: SessionId, now: Now) -> bool {
        let Some(blocked) = self.sessions.get(id).and_then(|session| session.blocked.as_ref()) else {
            return false;
        };
        let Some(wait) = blocked.lock.clone() else { return false };
        let (db, acks) = (blocked.db, blocked.acks);
        let mut keys = Keys::new(space, db, now.unix_ms(), true);
        match wait {
            LockWait::Queued { key, owner, .. } => {
                let busy = match self.lock_at(&mut keys, &key, now) {
                    Ok(Some(holder)) => self.busy(db, &key, holder, &owner, now),
                    // It is free, and will be another's who came earlier.
                    _ => self.promised(db, &key, &owner),
                };
                let event = Event { at_ms: now.unix_ms(), what: What::TimedOut, owner, token: 0 };
                self.locks.book.note(db, &key, event, |figures| figures.timeouts += 1);
                self.unblock(id, |out, _| busy.reply(out));
                if busy.holder.token == 0 {
                    // Who comes next is not to wait for another change.
                    self.waiting.signal(db, &key);
                }
            }
            LockWait::Granted { key, grant } => {
                if grant.kind == Kind::Fresh {
                    self.take_back(&mut keys, &key, grant.token, now);
                }
                let logged = acks.is_none_or(|acks| acks.logs.is_none() || self.has_logged(acks.offset));
                let error = if grant.replicas == 0 && !logged { NOT_ON_DISK } else { TOO_FEW };
                self.unblock_with_error(id, error);
            }
        }
        true
    }

    /// Returns what is told of a lock that is free, but promised to whoever is first in its queue.
    pub(crate) fn promised(&self, db: usize, key: &[u8], owner: &[u8]) -> Busy {
        let queues = &self.waiting.locks;
        let next = queues.first(db, key).map(|waiter| waiter.owner.clone()).unwrap_or_default();
        let waiters = queues.len(db, key);
        let position = queues.position(db, key, owner).unwrap_or(waiters + 1);
        Busy { holder: Record { owner: next, ..Record::default() }, waiters, position, ..Busy::default() }
    }

    /// Deletes a lock which nobody knows that they hold; while writes are paused it is left to its lease.
    fn take_back(&mut self, keys: &mut Keys<'_>, key: &[u8], token: u64, now: Now) {
        let Ok(Some(record)) = self.lock_at(keys, key, now) else { return };
        let db = keys.db;
        // The owner may have asked again on another connection, and know by now.
        if record.token != token
            || self.locks.index.is_heard(db, key)
            || !self.counts_leases()
            || self.pause.writes()
        {
            return;
        }
        keys.delete(key, "del", false);
        if keys.space.recorder.listening.any(keyspace::Listening::PROPAGATE) {
            self.propagation.stream.push(db, &[b"DEL", key], false);
            self.note_write_of(&keys.space.seed, db, key);
        }
        self.locks.index.remove(db, key);
        self.lock_ended(db, key, record, What::GivenBack, now);
    }

    /// Notes that a session has ended, perhaps before all of the reply with its grant was sent.
    pub(crate) fn end_telling(&mut self, session: &mut Session) {
        let untold = session.telling.take().filter(|telling| session.bytes_out < telling.end);
        self.locks.untold.extend(untold.map(|untold| *untold));
    }

    /// Notes that a session's wait ends without a word of its grant: if it waited for one to become safe, that is given back.
    pub(crate) fn forsake(&mut self, id: SessionId) {
        let untold = self.sessions.get(id).and_then(Session::grant_to_give_back);
        self.locks.untold.extend(untold);
    }

    /// Refuses a client its turn that could not have taken the lock without waiting either.
    fn refuses_turn(&self, now: Now) -> Option<Error> {
        if self.lacks_replicas(now.instant) {
            return Some(Error::text("NOREPLICAS Not enough good replicas to write."));
        }
        self.refuses_writes()
    }
}

impl Session {
    /// Returns the grant that the session waits to be told of, if it is given back when that does not come to pass.
    pub(crate) fn grant_to_give_back(&self) -> Option<Untold> {
        let blocked = self.blocked.as_ref()?;
        match &blocked.lock {
            Some(LockWait::Granted { key, grant }) if grant.kind == Kind::Fresh => {
                Some(Untold { db: blocked.db, key: key.clone(), token: grant.token, end: 0 })
            }
            _ => None,
        }
    }
}

impl Engine {
    /// Ends leases and waits whose time is up; whoever is next has their turn.
    pub(crate) fn tend_locks(&mut self, now: Now, host: &dyn Host) {
        let mut nobody = Session::new(SessionId(u32::MAX), 0, now.instant);
        let mut ended = 0;
        if self.server.locks_due().is_some_and(|due| due <= now.instant) {
            for (db, key) in std::mem::take(&mut self.server.locks.put_off) {
                self.server.waiting.signal(db, &key);
            }
            for untold in std::mem::take(&mut self.server.locks.untold) {
                let mut keys = Keys::new(&mut self.keyspace, untold.db, now.unix_ms(), true);
                self.server.take_back(&mut keys, &untold.key, untold.token, now);
            }
            while ended < EXPIRED_AT_ONCE
                && let Some((db, key)) = self.server.locks.index.overdue(now.instant)
            {
                ended += 1;
                let mut keys = Keys::new(&mut self.keyspace, db, now.unix_ms(), true);
                // What is there decides: a lease that has ended is ended by looking at it.
                let _ = self.server.lock_at(&mut keys, &key, now);
                self.commit_apart(&mut nobody);
            }
        }
        self.time_out(now);
        self.commit_apart(&mut nobody);
        if self.server.waiting.has_ready() {
            self.serve_waiting(now, host, &mut nobody);
        }
    }

    /// Gives a lock that is free to those who wait for it, as long as it is.
    pub(crate) fn serve_lock(
        &mut self,
        now: Now,
        host: &dyn Host,
        db: usize,
        key: &[u8],
        current: SessionId,
    ) {
        while let Some(first) = self.server.waiting.locks.first(db, key) {
            let (id, since) = (first.session, first.since);
            let mut keys = Keys::new(&mut self.keyspace, db, now.unix_ms(), true);
            if id == current || matches!(self.server.lock_at(&mut keys, key, now), Ok(Some(_))) {
                break;
            }
            if self.server.pause.writes() {
                self.server.locks.put_off.push((db, key.into()));
                break;
            }
            if let Some(refusal) = self.server.refuses_turn(now) {
                self.server.unblock_with_error(id, &refusal.message());
                self.settle_unblocked(id, now);
                continue;
            }
            let Some(mut session) = self.server.sessions.take(id) else { break };
            if let Some(blocked) = session.blocked.take() {
                self.server.waiting.remove(id, &blocked);
                let row = &self.server.table.rows[blocked.row];
                let selected = std::mem::replace(&mut session.db, blocked.db);
                self.server.locks.serving = Some(since);
                self.call(now, host, &mut session, row, blocked.request.request(), Mode::Retry);
                self.server.locks.serving = None;
                session.db = selected;
                if session.blocked.is_none() {
                    if let Ok(Some(held)) = self.server.lock_at(
                        &mut Keys::new(&mut self.keyspace, db, now.unix_ms(), true),
                        key,
                        now,
                    ) {
                        session.telling(db, key, held.token);
                    }
                    self.server.effects.push(Effect::Unblocked(id));
                    self.after_reply(&mut session, now);
                }
            }
            self.server.sessions.put(session);
        }
    }

    /// Tells those of their grants who waited for the disk or for replicas, if enough of them have it now.
    pub(crate) fn look_at_grant(&mut self, id: SessionId, now: Now) {
        let Some(blocked) = self.server.sessions.get(id).and_then(|session| session.blocked.as_ref()) else {
            return;
        };
        let (Some(LockWait::Granted { key, grant }), Some(acks)) = (&blocked.lock, &blocked.acks) else {
            return;
        };
        if !self.server.is_safe(acks) {
            return;
        }
        let (db, key, grant) = (blocked.db, key.clone(), *grant);
        let mut keys = Keys::new(&mut self.keyspace, db, now.unix_ms(), true);
        let held = self.server.lock_at(&mut keys, &key, now);
        if matches!(held, Ok(Some(record)) if record.token == grant.token) {
            // The holder counts from the moment in which it hears of the grant.
            self.server.locks.index.set(db, &key, Some(lease_end(now, grant.lease)));
            self.unblock(id, now, |out, _| grant.reply(out));
            if let Some(session) = self.server.sessions.get_mut(id) {
                session.telling(db, &key, grant.token);
            }
        } else {
            self.server.unblock_with_error(id, TAKEN_AWAY);
            self.settle_unblocked(id, now);
            let mut nobody = Session::new(SessionId(u32::MAX), 0, now.instant);
            self.commit_apart(&mut nobody);
        }
    }

    /// Takes note of an entry that was read from a snapshot and will be in the keyspace.
    #[inline]
    pub fn note_loaded(&mut self, db: usize, entry: &mut keyspace::Entry) {
        self.server.note_loaded(db, entry);
    }

    /// Forgets the locks of a snapshot that was not loaded to its end: another begins.
    pub fn forget_loaded_locks(&mut self) {
        self.server.locks.loaded.clear();
    }

    /// Begins to count the leases of what was loaded, each in full.
    pub fn locks_loaded(&mut self, now: Now) {
        if self.server.follows() {
            self.server.locks.stop();
        } else {
            self.server.locks.start();
        }
        self.server.adopt_loaded(&self.keyspace, now);
    }
}
