//! What a handler works with, and what it may ask for.

use base::time::{Instant, Now};
use keyspace::{Keys, Listening};
use resp::decode::Request;

use crate::blocking::{Blocked, OnTimeout};
use crate::session::{OwnedRequest, Session};
use crate::table::Row;
use crate::{Args, Error, Host, Reply, Result, Server};

/// Under which circumstances a handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Direct,
    /// Inside EXEC: blocking commands do not block.
    Transaction,
    /// A blocked command tries again, as one of its keys changed.
    Retry,
}

/// What a handler works with.
pub struct Cx<'a> {
    pub keys: Keys<'a>,
    pub server: &'a mut Server,
    pub session: &'a mut Session,
    pub host: &'a dyn Host,
    pub now: Now,
    pub row: &'static Row,
    pub mode: Mode,
    pub(crate) request: Request<'a>,
}

impl Cx<'_> {
    /// Makes the session wait until one of `keys` changes, or `deadline` passes; in a transaction it is answered at once.
    ///
    /// The handler returns right after it, and runs again (with [`Mode::Retry`]) at each change.
    pub fn wait_for<'k>(
        &mut self,
        keys: impl IntoIterator<Item = &'k [u8]>,
        deadline: Option<Instant>,
        reply: OnTimeout,
        out: &mut Reply<'_>,
    ) {
        match self.mode {
            Mode::Transaction => on_timeout(out, reply),
            Mode::Retry => {
                // Only the mark matters: the engine puts the original wait back.
                self.session.blocked =
                    Some(Box::new(self.blocked(Vec::new(), None, reply, OwnedRequest::default())));
            }
            Mode::Direct => {
                let keys = keys.into_iter().map(Box::from).collect();
                let blocked = self.blocked(keys, deadline, reply, OwnedRequest::new(self.request));
                self.server.waiting.add(self.session.id, &blocked);
                self.session.blocked = Some(Box::new(blocked));
            }
        }
    }

    fn blocked(
        &self,
        keys: Vec<Box<[u8]>>,
        deadline: Option<Instant>,
        on_timeout: OnTimeout,
        request: OwnedRequest,
    ) -> Blocked {
        Blocked {
            db: self.session.db,
            keys,
            request,
            row: self.row.id,
            deadline,
            on_timeout,
            acks: None,
            lock: None,
        }
    }

    /// Returns the moment `timeout` seconds from now, as blocking commands take it: 0 = never.
    pub fn deadline(&self, args: &mut Args<'_>) -> Result<Option<Instant>> {
        let seconds = base::number::parse_f64(args.next()?)
            .ok_or(Error::text("ERR timeout is not a float or out of range"))?;
        if seconds < 0.0 {
            return Err(Error::text("ERR timeout is negative"));
        }
        let us = seconds * 1e6;
        if us > i64::MAX as f64 {
            return Err(Error::text("ERR timeout is out of range"));
        }
        if seconds == 0.0 {
            return Ok(None);
        }
        // Redis rounds up to a whole millisecond, so that a tiny timeout does not mean "for ever".
        let ms = (seconds * 1000.0).ceil() as u64;
        Ok(Some(self.now.instant + std::time::Duration::from_millis(ms)))
    }

    /// Returns whether the handler runs because a key it waited for changed.
    pub fn is_retry(&self) -> bool {
        self.mode == Mode::Retry
    }

    /// Returns whether anybody listens to what commands come to.
    #[inline]
    pub(crate) fn propagates(&self) -> bool {
        self.keys.space.recorder.listening.any(Listening::PROPAGATE)
    }

    /// Says what to log and replicate instead of the request: its outcome.
    ///
    /// Called once per resulting command; with nobody listening it costs a comparison.
    pub fn propagate(&mut self, argv: &[&[u8]]) {
        if self.propagates() {
            self.server.propagation.add_outcome(argv);
        }
    }

    /// Says that the request is not to be logged or replicated, whatever it changed.
    pub fn propagate_nothing(&mut self) {
        if self.propagates() {
            self.server.propagation.no_outcome();
        }
    }

    /// Runs the row's handler; its error takes the place of the reply. Returns whether it failed.
    #[inline]
    pub(crate) fn handle(&mut self, out: &mut Reply<'_>) -> bool {
        let before = out.out.len();
        let mut args = Args::new(self.request, 1 + usize::from(self.row.parent.is_some()));
        let handler = self.row.command.handler.expect("a row without a handler has subcommands");
        let Err(error) = handler(self, &mut args, out) else { return false };
        let message = error.message();
        self.server.stats.error(&message);
        out.out.truncate(before);
        out.error(message.as_bytes());
        true
    }

    /// Runs a queued command inside EXEC.
    pub(crate) fn run_queued(&mut self, row: &'static Row, request: &OwnedRequest, out: &mut Reply<'_>) {
        let request = request.request();
        let (db, dirty) = (self.session.db, self.keys.space.recorder.dirty);
        let start = self.host.ticks();
        let failed = {
            let mut cx = Cx {
                keys: Keys::new(self.keys.space, self.session.db, self.now.unix_ms(), self.session.no_touch),
                server: self.server,
                session: self.session,
                host: self.host,
                now: self.now,
                row,
                mode: Mode::Transaction,
                request,
            };
            cx.handle(out)
        };
        let recorder = &self.keys.space.recorder;
        if recorder.listening.any(Listening::PROPAGATE) {
            if failed {
                self.server.note_failure(self.keys.space);
            } else {
                let changed = recorder.dirty != dirty;
                self.server.note_outcome(self.keys.space, db, row, request, changed);
            }
            if self.server.has_unreleased() {
                self.server.note_read(&self.keys.space.seed, db, row, request);
            }
        }
        let spent = self.host.ticks().saturating_sub(start);
        self.server.account(self.now, self.session, row, request, spent, failed, Mode::Transaction);
    }
}

/// Writes what a client gets that waited in vain.
pub(crate) fn on_timeout(out: &mut Reply<'_>, reply: OnTimeout) {
    match reply {
        OnTimeout::NullArray => out.null_array(),
        OnTimeout::Null => out.null(),
        OnTimeout::Int(n) => out.int(n),
        OnTimeout::Counts(local, replicas) => {
            out.array(2);
            out.int(local);
            out.int(replicas);
        }
        OnTimeout::Silent => {}
    }
}
