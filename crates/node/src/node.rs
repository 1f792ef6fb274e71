//! The node: links, the engine behind them, and the wishes that a driver carries out.

use std::collections::VecDeque;
use std::time::Duration;

use base::time::{Instant, Now};
use config::Config;
use engine::dispatch::{Engine, Outcome};
use engine::effect::LogLevel;
use engine::session::{Closing, SessionId};
use engine::table::Table;
use engine::{Effect, Host, Reply};
use keyspace::Keyspace;
use resp::ahead::SecondWords;
use resp::decode::Limits;

use crate::link::{Input, Link, Peer, Stall};

/// A server without its I/O.
pub struct Node {
    pub engine: Engine,
    /// By session id.
    links: Vec<Option<Link>>,
    effects: VecDeque<Effect>,
}

impl Node {
    /// Returns an empty server; `seed` is the source of all its randomness.
    pub fn new(config: Config, table: &'static Table, seed: u64, now: Now) -> Node {
        Node { engine: Engine::new(config, table, seed, now), links: Vec::new(), effects: VecDeque::new() }
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
            let (count, covered) = self.look_ahead(buffer, inputs);
            for (index, input) in inputs[..count].iter().enumerate() {
                let bytes = &buffer[input.start..input.end];
                let covered = if index + 1 == count { covered } else { bytes.len() };
                self.take_input(now_there, host, input.link, bytes, covered);
                let spent = host.ticks() - start;
                if spent > NOW_VALID_US {
                    now_there = later(now, spent);
                }
            }
            inputs = &inputs[count..];
        }
        self.engine.keyspace.expect_nothing();
    }

    /// Expects the keys of the first requests of the first inputs. Returns how many inputs that were, and how many bytes
    /// of the last one.
    fn look_ahead(&mut self, buffer: &[u8], inputs: &[Input]) -> (usize, usize) {
        self.engine.keyspace.expect_nothing();
        let (mut expected, mut count, mut covered) = (0, 0, 0);
        for input in inputs {
            if expected >= LOOK_AHEAD {
                break;
            }
            count += 1;
            let bytes = &buffer[input.start..input.end];
            covered = bytes.len();
            let Some(Some(link)) = self.links.get(input.link.0 as usize) else { continue };
            let Some(session) = self.engine.server.sessions.get(input.link) else { continue };
            if link.stall != Stall::No || !link.input.is_empty() {
                continue;
            }
            let mut words = SecondWords::of(bytes);
            let alone = inputs.len() == 1;
            while expected < LOOK_AHEAD {
                let Some(word) = words.next() else { break };
                // A single request gains nothing from being expected.
                if alone && words.passed() == bytes.len() && expected == 0 {
                    break;
                }
                if let Some(key) = word {
                    self.engine.keyspace.expect(session.db, key);
                }
                expected += 1;
            }
            if expected >= LOOK_AHEAD {
                covered = words.passed();
            }
        }
        self.engine.keyspace.fetch_expected();
        (count, covered)
    }

    /// Takes the bytes of one link; the keys of the requests in the first `covered` are expected already.
    fn take_input(&mut self, now: Now, host: &dyn Host, id: SessionId, bytes: &[u8], covered: usize) {
        let Some(Some(link)) = self.links.get_mut(id.0 as usize) else { return };
        self.engine.server.stats.bytes_in += bytes.len() as u64;
        if link.stall != Stall::No {
            link.input.extend_from_slice(bytes);
            self.limit_input(id);
        } else if link.input.is_empty() {
            let used = self.run(now, host, id, bytes, covered);
            self.keep(id, Vec::new(), &bytes[used..]);
        } else {
            link.input.extend_from_slice(bytes);
            self.resume(now, host, id, 0);
        }
        self.engine.server.evict_clients();
        self.settle(now, host);
    }

    /// Does the work that is due by now: timeouts, expiry, rehashing.
    pub fn handle_timeout(&mut self, now: Now, host: &dyn Host) {
        self.engine.periodic(now, host);
        self.settle(now, host);
    }

    /// Returns when [`Node::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.engine.next_periodic()
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
        self.engine.server.sessions.get(id).map_or(&[], |session| &session.out[session.sent..])
    }

    /// Says that the first `count` bytes of [`Node::output`] were sent.
    #[inline]
    pub fn sent(&mut self, id: SessionId, count: usize) {
        self.engine.server.stats.bytes_out += count as u64;
        let Some(session) = self.engine.server.sessions.get_mut(id) else { return };
        session.bytes_out += count as u64;
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
    }

    /// Returns whether the link is to be closed.
    pub fn closing(&self, id: SessionId) -> Closing {
        self.engine.server.sessions.get(id).map_or(Closing::Now, |session| session.closing)
    }

    /// Goes on with the requests that a link has kept.
    fn resume(&mut self, now: Now, host: &dyn Host, id: SessionId, covered: usize) {
        let Some(Some(link)) = self.links.get_mut(id.0 as usize) else { return };
        link.stall = Stall::No;
        let input = std::mem::take(&mut link.input);
        let used = self.run(now, host, id, &input, covered);
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
    fn keep(&mut self, id: SessionId, mut input: Vec<u8>, rest: &[u8]) {
        let Some(Some(link)) = self.links.get_mut(id.0 as usize) else { return };
        if input.is_empty() && rest.is_empty() {
            link.input = input;
            return;
        }
        // A long argument is on its way: growing once beats doubling through its length, but a mere claim gets nothing.
        input.extend_from_slice(rest);
        link.input = input;
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
    /// The keys of those in the first `covered` bytes are expected already; those behind are looked at when it is their
    /// turn.
    fn run(&mut self, now: Now, host: &dyn Host, id: SessionId, bytes: &[u8], mut covered: usize) -> usize {
        let Node { engine, links, .. } = self;
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
        let (mut at, mut looked) = (0, false);
        // A client that is being closed is not listened to any more.
        while at < bytes.len() && session.closing == Closing::No {
            if at >= covered {
                covered = at + expect_keys(&mut engine.keyspace, session.db, &bytes[at..]);
                looked = true;
            }
            let request = match link.decoder.decode(&bytes[at..], &limits) {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) => {
                    let mut line = b"ERR Protocol error: ".to_vec();
                    error.push_text(&mut line);
                    engine.server.stats.error("ERR");
                    Reply::new(&mut session.out, session.protocol).error(&line);
                    session.close(Closing::AfterReply);
                    at = bytes.len();
                    break;
                }
            };
            let consumed = request.consumed();
            match engine.execute(now, host, &mut session, request) {
                Outcome::Done => at += consumed,
                Outcome::Blocked => {
                    at += consumed;
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
        engine.server.sessions.put(session);
        if looked {
            // From here on the caller may change the bytes.
            engine.keyspace.expect_nothing();
        }
        at
    }

    /// Collects what the engine asks for; what concerns links is done here, and may ask for more.
    #[inline]
    fn settle(&mut self, now: Now, host: &dyn Host) {
        while !self.engine.server.effects.is_empty() {
            self.take_effects(now, host);
        }
    }

    fn take_effects(&mut self, now: Now, host: &dyn Host) {
        for effect in std::mem::take(&mut self.engine.server.effects) {
            match effect {
                Effect::Unblocked(id) => self.resume(now, host, id, usize::MAX),
                Effect::Resume => {
                    for slot in 0..self.links.len() {
                        if self.links[slot].as_ref().is_some_and(|link| link.stall == Stall::Paused) {
                            self.resume(now, host, SessionId(slot as u32), usize::MAX);
                        }
                    }
                }
                effect => self.effects.push_back(effect),
            }
        }
    }
}

/// Expects the keys of the first requests in `bytes`, and returns how many bytes those take, at least one.
fn expect_keys(keyspace: &mut Keyspace, db: usize, bytes: &[u8]) -> usize {
    keyspace.expect_nothing();
    let mut words = SecondWords::of(bytes);
    for key in words.by_ref().take(LOOK_AHEAD).flatten() {
        keyspace.expect(db, key);
    }
    keyspace.fetch_expected();
    words.passed().max(1)
}

/// Returns the reading of the clocks that will be due in so many microseconds.
fn later(now: Now, micros: u64) -> Now {
    let unix_us = now.unix_us.saturating_add_unsigned(micros);
    Now { instant: now.instant + Duration::from_micros(micros), unix_us }
}

/// Requests whose keys are fetched at once: as many as caches hold the entries of.
const LOOK_AHEAD: usize = 32;

/// A reading of the clocks is good for so many microseconds of executing.
const NOW_VALID_US: u64 = 500;

/// Room for output that a link keeps when it has nothing to send.
const KEPT_OUTPUT: usize = 16 * 1024;
