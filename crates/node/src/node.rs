//! The node: links, the engine behind them, and the wishes that a driver carries out.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use base::time::{Instant, Now};
use config::Config;
use engine::dispatch::{Engine, Outcome};
use engine::effect::LogLevel;
use engine::replication::link_of;
use engine::session::{Closing, Origin, SessionId};
use engine::table::Table;
use engine::{Effect, Host, Reply};
use keyspace::Keyspace;
use replication::Replica;
use resp::batch::Batch;
use resp::decode::Limits;

use crate::follow::Following;
use crate::link::{Input, Link, Peer, Stall};
use crate::loading::Loading;
use crate::persist::Persist;
use crate::replicate::Feeding;

/// A server without its I/O.
pub struct Node {
    pub engine: Engine,
    /// By session id.
    pub(crate) links: Vec<Option<Link>>,
    pub(crate) effects: VecDeque<Effect>,
    /// Requests decoded ahead, and which of them belong to each input.
    batch: Batch,
    decoded: Vec<Range<usize>>,
    pub(crate) persist: Persist,
    /// There while the data set is being read from its files.
    pub(crate) loading: Option<Box<Loading>>,
    /// Somebody looks at the stream of writes.
    pub(crate) observed: bool,
    /// What was propagated since the observer took it last.
    seen: Vec<(usize, Vec<Vec<u8>>)>,
    seen_db: usize,
    /// Requests decoded ahead when those of `batch` that one link sent have been executed.
    next_batch: Batch,
    pub(crate) feeding: Feeding,
    pub(crate) following: Following,
    /// A machine has something to say that nobody has asked it for.
    pub(crate) stirred: bool,
    /// When the driver called last.
    pub(crate) now: Now,
}

impl Node {
    /// Returns an empty server; `seed` is the source of all its randomness.
    pub fn new(config: Config, table: &'static Table, seed: u64, now: Now) -> Node {
        Node {
            engine: Engine::new(config, table, seed, now),
            links: Vec::new(),
            effects: VecDeque::new(),
            batch: Batch::default(),
            decoded: Vec::new(),
            next_batch: Batch::default(),
            persist: Persist::default(),
            loading: None,
            observed: false,
            seen: Vec::new(),
            seen_db: 0,
            feeding: Feeding::default(),
            following: Following::default(),
            stirred: false,
            now,
        }
    }

    /// Keeps what is propagated for [`Node::take_propagated`].
    pub fn observe(&mut self) {
        self.observed = true;
        self.listen();
    }

    /// Returns what was propagated since the last time: commands, each with its database.
    pub fn take_propagated(&mut self) -> Vec<(usize, Vec<Vec<u8>>)> {
        std::mem::take(&mut self.seen)
    }

    /// Passes on what was written while requests were executed.
    #[inline]
    fn end_turn(&mut self, now: Now) {
        self.now = now;
        self.pass_on_stream(now);
        self.tend_replicas(now);
    }

    /// Keeps what was propagated for whoever looks on.
    pub(crate) fn show_stream(&mut self) {
        if self.observed {
            let commands = self.engine.stream().peek(|taken| taken.commands(&mut self.seen_db));
            self.seen.extend(commands);
        }
    }

    /// Opens a link.
    pub fn open(&mut self, now: Now, peer: Peer) -> SessionId {
        let id = self.engine.open(now.instant);
        let slot = id.0 as usize;
        if self.links.len() <= slot {
            self.links.resize_with(slot + 1, || None);
        }
        self.links[slot] = Some(Link::new());
        if let Some(session) = self.engine.server.sessions.get_mut(id) {
            session.addr = peer.addr.into();
            session.local_addr = peer.local_addr.into();
            session.fd = peer.fd;
            session.unix_socket = peer.unix_socket;
        }
        id
    }

    /// Closes a link; the driver has closed, or is about to close, its connection.
    pub fn close(&mut self, id: SessionId) {
        if let Some(session) = self.engine.server.sessions.get(id) {
            self.engine.server.replication.primary.closed(self.now.instant, link_of(session));
            if session.replica {
                // Others may have waited for it.
                self.stirred = true;
            }
        }
        if let Some(link) = self.links.get_mut(id.0 as usize) {
            *link = None;
        }
        self.engine.close(id);
    }

    /// Takes bytes that arrived on a link, and executes what is complete.
    pub fn handle_input(&mut self, now: Now, host: &dyn Host, id: SessionId, bytes: &[u8]) {
        self.handle_inputs(now, host, bytes, &[Input { link: id, start: 0, end: bytes.len() }]);
    }

    /// Takes what arrived on several links, all in one buffer and in its order, and executes what is complete.
    ///
    /// The keys that the requests will ask for are brought near while others are executed.
    pub fn handle_inputs(&mut self, now: Now, host: &dyn Host, buffer: &[u8], inputs: &[Input]) {
        let start = host.ticks();
        let mut now_there = now;
        let mut inputs = inputs;
        while !inputs.is_empty() {
            let count = self.look_ahead(buffer, inputs);
            self.engine.forget_ticks();
            for (index, input) in inputs[..count].iter().enumerate() {
                let decoded = self.decoded[index].clone();
                self.take_input(now_there, host, input.link, &buffer[input.start..input.end], decoded);
                let spent = self.engine.ticks(host).saturating_sub(start);
                if spent > NOW_VALID_US {
                    now_there = later(now, spent);
                }
            }
            inputs = &inputs[count..];
        }
        self.engine.keyspace.expect_nothing();
        self.end_turn(now_there);
    }

    /// Decodes the first requests of the first inputs, and expects their keys; returns how many inputs that were.
    fn look_ahead(&mut self, buffer: &[u8], inputs: &[Input]) -> usize {
        let Node { engine, links, batch, decoded, .. } = self;
        batch.clear();
        decoded.clear();
        engine.keyspace.expect_nothing();
        for input in inputs {
            if batch.len() >= LOOK_AHEAD {
                break;
            }
            let first = batch.len();
            let fresh = matches!(links.get(input.link.0 as usize),
                Some(Some(link)) if link.stall == Stall::No && link.input.is_empty());
            if fresh
                && let Some(session) = engine.server.sessions.get(input.link)
                && session.origin == Origin::Client
                && (session.authenticated || !engine.server.requires_password())
            {
                let bytes = &buffer[input.start..input.end];
                batch.scan(bytes, 0, LOOK_AHEAD - first);
                // A single request gains nothing from being expected.
                if inputs.len() > 1 || batch.len() > 1 {
                    expect_keys(&mut engine.keyspace, session.db, batch, first, bytes);
                }
            }
            decoded.push(first..batch.len());
        }
        engine.keyspace.fetch_expected();
        decoded.len()
    }

    /// Takes the bytes of one link; the requests that they begin with stand in `batch` at `decoded`.
    fn take_input(&mut self, now: Now, host: &dyn Host, id: SessionId, bytes: &[u8], decoded: Range<usize>) {
        // A stop waits for what replicas acknowledge, and for nobody else.
        if self.is_stopping() && self.engine.server.sessions.get(id).is_none_or(|session| !session.replica) {
            return;
        }
        if self.is_master(id) {
            self.follow_input(now, host, id, bytes);
            return self.settle(now, host);
        }
        let forking = self.is_forking();
        let Some(Some(link)) = self.links.get_mut(id.0 as usize) else { return };
        self.engine.server.stats.bytes_in += bytes.len() as u64;
        if forking && link.stall == Stall::No {
            link.stall = Stall::Paused;
        }
        if link.stall != Stall::No {
            link.extend(bytes);
            self.limit_input(id);
        } else if link.input.is_empty() {
            let used = self.run(now, host, id, bytes, decoded);
            self.keep(id, Vec::new(), &bytes[used..]);
        } else {
            link.extend(bytes);
            self.resume(now, host, id);
        }
        self.engine.server.evict_clients();
        self.settle(now, host);
    }

    /// Does the work that is due by now: timeouts, expiry, rehashing.
    pub fn handle_timeout(&mut self, now: Now, host: &dyn Host) {
        self.now = now;
        self.stirred = false;
        if !self.is_stopping() {
            self.engine.periodic(now, host);
        }
        self.engine.tend_replication(now);
        let primary = &mut self.engine.server.replication.primary;
        if primary.poll_timeout().is_some_and(|at| at <= now.instant) {
            primary.handle_timeout(now);
        }
        self.tend_replica_clock(now, host);
        self.tend_master(now, host, &[]);
        self.settle(now, host);
        self.end_turn(now);
        self.tend_files(now);
    }

    /// Returns when [`Node::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.stirred {
            return Some(Instant::default());
        }
        let replication = &self.engine.server.replication;
        let replica = replication.replica.as_ref().filter(|_| !self.is_starting());
        let replica = replica.and_then(Replica::poll_timeout);
        let periodic = self.engine.next_periodic().filter(|_| !self.is_stopping());
        let due = periodic.into_iter().chain(self.files_due());
        let due = due.chain(replica).chain(replication.primary.poll_timeout());
        due.chain(self.engine.replication_due()).min()
    }

    /// Returns the next thing that the driver is asked to do.
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns a link that has output, or is to be closed, and was not named since its last output.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<SessionId> {
        let id = self.engine.server.sessions.pending.pop()?;
        if let Some(session) = self.engine.server.sessions.get_mut(id) {
            session.queued = false;
        }
        Some(id)
    }

    /// Returns the bytes to send on a link.
    #[inline]
    pub fn output(&self, id: SessionId) -> &[u8] {
        match self.engine.server.sessions.get(id) {
            None => &[],
            Some(session) if session.replica => self.replica_output(id, session),
            Some(session) => &session.out[session.sent..session.sent + session.sendable()],
        }
    }

    /// Says that the first `count` bytes of [`Node::output`] were sent; returns whether there may be others behind them.
    #[inline]
    pub fn sent(&mut self, id: SessionId, count: usize) -> bool {
        let server = &mut self.engine.server;
        server.stats.bytes_out += count as u64;
        let Some(session) = server.sessions.get_mut(id) else { return false };
        session.bytes_out += count as u64;
        if session.replica {
            server.stats.replication_out += count as u64;
            if session.unsent() == 0 {
                let link = link_of(session);
                self.replica_sent(id, link, count);
                return true;
            }
        }
        session.sent += count;
        if session.sent == session.out.len() {
            session.sent = 0;
            session.out.clear();
            // A large reply's room is given back; the common small one is kept for the next reply.
            if session.out.capacity() > KEPT_OUTPUT {
                session.out = Vec::new();
            }
        } else if session.sent > session.out.len() / 2 && session.sent > KEPT_OUTPUT {
            session.out.drain(..session.sent);
            session.sent = 0;
        }
        session.replica
    }

    /// Returns whether the link is to be closed.
    pub fn closing(&self, id: SessionId) -> Closing {
        self.engine.server.sessions.get(id).map_or(Closing::Now, |session| match session.closing {
            // What is held is still to be said.
            Closing::AfterReply if session.sendable() < session.unsent() => Closing::No,
            closing => closing,
        })
    }

    /// Goes on with the requests that a link has kept.
    fn resume(&mut self, now: Now, host: &dyn Host, id: SessionId) {
        if self.is_stopping() {
            return;
        }
        let Some(Some(link)) = self.links.get_mut(id.0 as usize) else { return };
        link.stall = Stall::No;
        let input = std::mem::take(&mut link.input);
        // Taking it may have moved all of it.
        self.engine.forget_ticks();
        let used = self.run(now, host, id, &input, 0..0);
        let left = input.len() - used;
        if left == 0 {
            self.keep(id, Vec::new(), &[]);
            self.limit_input(id);
        } else if used == 0 {
            self.keep(id, input, &[]);
        } else {
            self.keep(id, Vec::new(), &input[used..]);
        }
    }

    /// Keeps what was not executed, for when more arrives.
    #[inline]
    fn keep(&mut self, id: SessionId, input: Vec<u8>, rest: &[u8]) {
        let Some(Some(link)) = self.links.get_mut(id.0 as usize) else { return };
        if input.is_empty() && rest.is_empty() {
            link.input = input;
            return;
        }
        link.input = input;
        link.extend(rest);
        self.limit_input(id);
    }

    fn limit_input(&mut self, id: SessionId) {
        let Some(Some(link)) = self.links.get(id.0 as usize) else { return };
        let (len, free) = (link.input.len(), link.input.capacity() - link.input.len());
        let server = &mut self.engine.server;
        let limit = server.config.client_query_buffer_limit;
        let Some(session) = server.sessions.get_mut(id) else { return };
        (session.query_len, session.query_free) = (len, free);
        server.sessions.count_memory(id);
        let Some(session) = server.sessions.get_mut(id) else { return };
        if len as u64 > limit {
            session.close(Closing::Now);
            let line =
                format!("Closing client that reached max query buffer length: id={}", session.client_id);
            server.sessions.queue_id(id);
            server.stats.query_limit_disconnections += 1;
            server.log(LogLevel::Warning, line);
        }
    }

    /// Executes the complete requests at the front of `bytes`; returns how many bytes they took.
    ///
    /// The first ones may have been decoded already, into `batch` at `decoded`.
    fn run(
        &mut self,
        now: Now,
        host: &dyn Host,
        id: SessionId,
        bytes: &[u8],
        mut decoded: Range<usize>,
    ) -> usize {
        let Node { engine, links, batch, next_batch, .. } = self;
        let Some(Some(link)) = links.get_mut(id.0 as usize) else { return bytes.len() };
        let Some(mut session) = engine.server.sessions.take(id) else { return bytes.len() };
        session.bytes_in += bytes.len() as u64;
        // What is being worked on is the client's until it is done; what is left is counted by whoever keeps it.
        session.query_len = bytes.len();
        let mut limits = Limits {
            max_bulk: engine.server.config.proto_max_bulk_len as usize,
            authenticated: session.authenticated || !engine.server.requires_password(),
            ..Limits::default()
        };
        let (mut at, mut goes_on, mut expects) = (0, false, false);
        // A client that is being closed is not listened to any more.
        while at < bytes.len() && session.closing == Closing::No {
            if decoded.is_empty() && limits.authenticated && link.decoder.is_at_start() {
                next_batch.clear();
                next_batch.scan(bytes, at, LOOK_AHEAD);
                (decoded, goes_on) = (0..next_batch.len(), true);
                engine.forget_ticks();
                if next_batch.len() > 1 {
                    engine.keyspace.expect_nothing();
                    expect_keys(&mut engine.keyspace, session.db, next_batch, 0, bytes);
                    engine.keyspace.fetch_expected();
                    expects = true;
                }
            }
            let (request, end) = match decoded.next() {
                Some(index) if goes_on => next_batch.request(index, bytes),
                Some(index) => batch.request(index, bytes),
                None => match link.decoder.decode(&bytes[at..], &limits) {
                    Ok(Some(request)) => (request, at + request.consumed()),
                    Ok(None) => break,
                    Err(error) => {
                        let mut line = b"ERR Protocol error: ".to_vec();
                        error.push_text(&mut line);
                        engine.server.stats.error("ERR");
                        Reply::new(&mut session.out, session.protocol).error(&line);
                        session.close(Closing::AfterReply);
                        break;
                    }
                },
            };
            match engine.execute_next(now, host, &mut session, request) {
                Outcome::Done if engine.server.persistence.take_fork_wish() => {
                    // The snapshot is of this moment: what follows waits for the fork.
                    at = end;
                    link.stall = Stall::Paused;
                    break;
                }
                Outcome::Done => at = end,
                Outcome::Blocked => {
                    at = end;
                    link.stall = Stall::Blocked;
                    break;
                }
                Outcome::Postponed => {
                    link.stall = Stall::Paused;
                    break;
                }
            }
            limits.authenticated = session.authenticated || !engine.server.requires_password();
        }
        if session.closing != Closing::No {
            at = bytes.len();
        }
        (session.query_len, session.query_free) = (0, 0);
        engine.server.sessions.put(session);
        if expects {
            // From here on the caller may change the bytes.
            engine.keyspace.expect_nothing();
        }
        at
    }

    /// Collects what the engine asks for; what concerns links is done here, and may ask for more.
    #[inline]
    pub(crate) fn settle(&mut self, now: Now, host: &dyn Host) {
        while !self.engine.server.effects.is_empty() {
            self.take_effects(now, host);
        }
    }

    fn take_effects(&mut self, now: Now, host: &dyn Host) {
        self.engine.forget_ticks();
        for effect in std::mem::take(&mut self.engine.server.effects) {
            match effect {
                Effect::Unblocked(id) => self.resume(now, host, id),
                Effect::Resume => {
                    for slot in 0..self.links.len() {
                        if self.links[slot].as_ref().is_some_and(|link| link.stall == Stall::Paused) {
                            self.resume(now, host, SessionId(slot as u32));
                        }
                    }
                }
                Effect::Save => self.save(now),
                Effect::KillChild => self.kill_child(now),
                Effect::RewriteLog => self.rewrite_log(now),
                Effect::Reconfigured => {
                    self.reconfigure_log(now, host);
                    self.reconfigure_replication();
                }
                Effect::Follow => {
                    // The driver shows which of the two the server is.
                    self.effects.push_back(Effect::Follow);
                    self.change_master(now, host);
                }
                Effect::Shutdown => {
                    self.end_turn(now);
                    self.stop(now);
                }
                effect => self.effects.push_back(effect),
            }
        }
    }
}

/// Expects the keys of the requests from `first` on: the word after a command's name usually is one.
#[inline]
pub(crate) fn expect_keys(keyspace: &mut Keyspace, db: usize, batch: &Batch, first: usize, bytes: &[u8]) {
    keyspace.expect(db, (first..batch.len()).filter_map(|index| batch.request(index, bytes).0.get(1)));
}

/// Returns the reading of the clocks that will be due in so many microseconds.
fn later(now: Now, micros: u64) -> Now {
    let unix_us = now.unix_us.saturating_add_unsigned(micros);
    Now { instant: now.instant + Duration::from_micros(micros), unix_us }
}

/// Requests whose keys are fetched at once: as many as caches hold the entries of.
pub(crate) const LOOK_AHEAD: usize = 32;

/// A reading of the clocks is good for so many microseconds of executing.
const NOW_VALID_US: u64 = 500;

/// Room for output that a link keeps when it has nothing to send.
const KEPT_OUTPUT: usize = 16 * 1024;
