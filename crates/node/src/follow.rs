//! The replica's side of replication: the link to the master, what it says, and the data that it sends.
//!
//! ```text
//! driver ── input of the master's link ──► Replica ──┬─ Apply ────► engine ─► whole units ─► replicas of ours, log
//!    ▲                                               └─ Snapshot ─┬► a file ─► verified ─► loaded       repl-diskless-load disabled
//!    └── Effect::Connect, output ◄── Send ◄──────────             └► loaded as it arrives               on-empty-db, swapdb
//! ```
//!
//! # Our data
//!
//! stays what it is until there is better: a snapshot that goes to a file is read through to its checksum before our data
//! is given up, if there is any; with `swapdb` it is loaded beside our data, which is served meanwhile.
//!
//! # Units
//!
//! The stream is applied command by command, and handed on when a unit is whole: a command, or a transaction with its
//! EXEC. Where the link breaks inside a transaction, what was queued is forgotten and asked for again.

use std::collections::VecDeque;
use std::ops::Range;

use base::time::Now;
use engine::session::{Closing, Origin, ReplyMode, SessionId};
use engine::{Effect, Host};
use replication::Replica;
use replication::primary::Upstream;
use replication::replica::Output;
use resp::batch::Batch;
use resp::decode::{Decoder, Limits, Request};

use crate::Node;
use crate::intake::{FileTask, Intake};
use crate::link::Peer;
use crate::node::expect_keys;

/// What a node knows of the master that it follows.
#[derive(Debug, Default)]
pub(crate) struct Following {
    decoder: Decoder,
    /// The bytes of a command that has not arrived whole.
    partial: Vec<u8>,
    /// What was queued of a transaction that is not over, and which parts of it are none of the log's.
    unit: Vec<u8>,
    unit_passing: Vec<Range<usize>>,
    batch: Batch,
    pub(crate) intake: Option<Intake>,
    /// What arrived of the stream while the snapshot before it is being loaded.
    pub(crate) kept: Vec<u8>,
    /// The disk is behind with the snapshot: the link is not read.
    pub(crate) full: bool,
    /// What was asked of the disk for snapshots, in the order in which it will be reported.
    pub(crate) tasks: VecDeque<FileTask>,
    /// What the machine asks for is being done: what it asks for meanwhile is done behind that.
    tending: bool,
    /// Up to where the log is on the disk, as the master was told last.
    synced: Option<u64>,
}

impl Node {
    /// Returns whether a link is that to our master.
    #[inline]
    pub fn is_master(&self, id: SessionId) -> bool {
        self.engine.server.replication.master == Some(id)
    }

    /// Returns whether the driver is to read from a link now; if not, [`Effect::Listen`] says when.
    pub fn wants_input(&self, id: SessionId) -> bool {
        if !self.is_master(id) {
            return true;
        }
        let replica = self.engine.server.replication.replica.as_ref();
        !self.following.full && replica.is_none_or(Replica::wants_input)
    }

    /// Says that the link to the master is open.
    pub fn connected(&mut self, now: Now, host: &dyn Host, id: SessionId) {
        self.now = now;
        if self.is_master(id)
            && let Some(replica) = &mut self.engine.server.replication.replica
        {
            replica.connected(now);
            self.tend_master(now, host, &[]);
            self.settle(now, host);
        }
    }

    /// Says that the link to the master could not be opened, or has ended.
    pub fn disconnected(&mut self, now: Now, host: &dyn Host, id: SessionId, reason: &str) {
        self.now = now;
        if self.is_master(id) {
            self.engine.server.replication.master = None;
            if let Some(replica) = &mut self.engine.server.replication.replica {
                replica.closed(now, reason);
            }
            self.forget_link();
            self.close(id);
            self.tend_master(now, host, &[]);
            self.settle(now, host);
        }
    }

    /// Forgets what a link has said that was not applied.
    pub(crate) fn forget_link(&mut self) {
        let following = &mut self.following;
        following.decoder = Decoder::new();
        following.partial = Vec::new();
        following.unit = Vec::new();
        following.unit_passing.clear();
        following.kept = Vec::new();
        following.full = false;
    }

    /// Begins to follow whom the engine follows now, or nobody.
    pub(crate) fn change_master(&mut self, now: Now, host: &dyn Host) {
        // What was done before is a part of the history that we had then.
        self.pass_on_stream(now);
        self.forget_link();
        self.abandon_intake(now);
        self.following.synced = None;
        self.listen();
        self.engine.replication_changed(now);
        self.release();
        self.tend_master(now, host, &[]);
    }

    /// Takes bytes from the master.
    pub(crate) fn follow_input(&mut self, now: Now, host: &dyn Host, id: SessionId, bytes: &[u8]) {
        let server = &mut self.engine.server;
        server.stats.bytes_in += bytes.len() as u64;
        server.stats.replication_in += bytes.len() as u64;
        if let Some(session) = server.sessions.get_mut(id) {
            session.bytes_in += bytes.len() as u64;
            session.last_active = now.instant;
        }
        if let Some(replica) = &mut server.replication.replica {
            if !replica.is_up() {
                // A full sync may begin, and what it would replace counts.
                replica.hold(self.engine.keyspace.len() as u64);
            }
            replica.handle_input(now, bytes);
            self.tend_master(now, host, bytes);
        }
    }

    /// Does what is due on the replica's side.
    pub(crate) fn tend_replica_clock(&mut self, now: Now, host: &dyn Host) {
        if self.is_starting() {
            // Nobody is followed before the files are loaded.
            return;
        }
        if let Some(replica) = &mut self.engine.server.replication.replica
            && replica.poll_timeout().is_some_and(|at| at <= now.instant)
        {
            replica.hold(self.engine.keyspace.len() as u64);
            replica.handle_timeout(now);
            self.tend_master(now, host, &[]);
        }
    }

    /// Does what the replica's side asks for; `input` is what it was handed last.
    pub(crate) fn tend_master(&mut self, now: Now, host: &dyn Host, input: &[u8]) {
        if std::mem::replace(&mut self.following.tending, true) {
            return;
        }
        while let Some(replica) = &mut self.engine.server.replication.replica {
            let Some(output) = replica.poll_output() else { break };
            match output {
                Output::Connect { host: name, port } => self.connect(now, name, port),
                Output::Send(bytes) => {
                    let server = &mut self.engine.server;
                    if let Some(id) = server.replication.master
                        && let Some(session) = server.sessions.get_mut(id)
                    {
                        session.out.extend_from_slice(&bytes);
                        server.sessions.queue_id(id);
                    }
                }
                Output::Close => {
                    let server = &mut self.engine.server;
                    if let Some(id) = server.replication.master.take()
                        && let Some(session) = server.sessions.get_mut(id)
                    {
                        session.close(Closing::Now);
                        server.sessions.queue_id(id);
                    }
                    self.forget_link();
                }
                Output::BeginSnapshot { origin, guarded, .. } => self.begin_intake(now, origin, guarded),
                Output::Snapshot(range) => self.take_snapshot(now, host, &input[range]),
                Output::SnapshotKept(bytes) => self.take_snapshot(now, host, &bytes),
                Output::EndSnapshot => self.end_snapshot(now, host),
                Output::AbandonSnapshot => self.abandon_intake(now),
                Output::Continue { id, .. } => {
                    self.engine.server.replication.primary.renamed(now, id);
                }
                Output::Apply(range) => {
                    if self.following.intake.is_some() {
                        self.following.kept.extend_from_slice(&input[range]);
                    } else {
                        self.apply(now, host, &input[range]);
                    }
                }
                Output::HandOverRefused(reason) => self.engine.hand_over_refused(now, &reason),
                Output::Chain(chain) => self.engine.server.replication.primary.set_chain(chain),
                Output::Line(level, line) => self.effects.push_back(Effect::Log(level, line)),
            }
        }
        self.following.tending = false;
        self.tell_upstream(now);
    }

    /// Tells our own replicas' side how the link to our master is.
    fn tell_upstream(&mut self, now: Now) {
        let replication = &mut self.engine.server.replication;
        let Some(replica) = &replication.replica else { return };
        let upstream = if replica.is_up() { Upstream::Up } else { Upstream::Down };
        if replication.primary.upstream() != upstream {
            replication.primary.set_upstream(now, upstream);
            if upstream == Upstream::Up {
                // Where a stream flows there is a master at the top: what was known of a loop is over.
                replication.primary.set_chain(Vec::new());
            }
            self.engine.replication_changed(now);
        }
        self.tend_replicas(now);
    }

    fn connect(&mut self, now: Now, host: String, port: u16) {
        let id = self.open(now, Peer { addr: format!("{host}:{port}"), fd: -1, ..Peer::default() });
        let replication = &mut self.engine.server.replication;
        replication.master = Some(id);
        let db = replication.stream_db;
        if let Some(session) = self.engine.server.sessions.get_mut(id) {
            (session.origin, session.authenticated) = (Origin::Master, true);
            (session.db, session.reply_mode) = (db, ReplyMode::On);
        }
        self.effects.push_back(Effect::Connect { session: id, host, port });
    }

    /// Executes what arrived of the stream.
    pub(crate) fn apply(&mut self, now: Now, host: &dyn Host, bytes: &[u8]) {
        if self.following.partial.is_empty() {
            let used = self.execute_stream(now, host, bytes);
            self.following.partial.extend_from_slice(&bytes[used..]);
            return;
        }
        let mut partial = std::mem::take(&mut self.following.partial);
        partial.extend_from_slice(bytes);
        if partial.len() >= self.following.decoder.wanted() {
            let used = self.execute_stream(now, host, &partial);
            partial.drain(..used);
        }
        self.following.partial = partial;
    }

    /// Executes the complete commands at the front of `bytes`; returns how many bytes they took.
    fn execute_stream(&mut self, now: Now, host: &dyn Host, bytes: &[u8]) -> usize {
        let Some(id) = self.engine.server.replication.master else { return bytes.len() };
        let Some(mut session) = self.engine.server.sessions.take(id) else { return bytes.len() };
        let Node { engine, following, .. } = self;
        let Following { decoder, unit, unit_passing, batch, .. } = following;
        let limits = Limits { max_bulk: MAX_BULK, authenticated: true, ..Limits::default() };
        let before = unit.len();
        let first_db = engine.server.replication.stream_db;
        // Places in `bytes`: behind the last command, and behind the last whole unit.
        let (mut at, mut whole) = (0, 0);
        let mut last_db = first_db;
        let mut decoded = 0..0;
        let mut failure = None;
        // What has expired here is the master's to delete.
        engine.keyspace.loading = true;
        while at < bytes.len() {
            if decoded.is_empty() && decoder.is_at_start() {
                batch.clear();
                batch.scan(bytes, at, crate::node::LOOK_AHEAD);
                decoded = 0..batch.len();
                if batch.len() > 1 {
                    engine.keyspace.expect_nothing();
                    expect_keys(&mut engine.keyspace, session.db, batch, 0, bytes);
                    engine.keyspace.fetch_expected();
                }
            }
            let (request, end) = match decoded.next() {
                Some(index) => batch.request(index, bytes),
                None => match decoder.decode(&bytes[at..], &limits) {
                    Ok(Some(request)) => (request, at + request.consumed()),
                    Ok(None) => break,
                    Err(error) => {
                        let mut line = b"Protocol error from master: ".to_vec();
                        error.push_text(&mut line);
                        failure = Some(String::from_utf8_lossy(&line).into_owned());
                        break;
                    }
                },
            };
            if is_passing(request) {
                unit_passing.push(before + at..before + end);
            }
            if let Err(reason) = engine.apply(now, host, &mut session, request) {
                failure = Some(format!(
                    "The master's stream holds what cannot be done here: {reason}. The link is closed, as our data would not be the master's any more"
                ));
                break;
            }
            at = end;
            if session.multi.is_none() {
                (whole, last_db) = (at, session.db);
            }
        }
        engine.keyspace.loading = false;
        engine.keyspace.expect_nothing();
        engine.server.sessions.put(session);
        if whole > 0 {
            self.hand_on(now, first_db, last_db, &bytes[..whole]);
        }
        self.following.unit.extend_from_slice(&bytes[whole..at]);
        if let Some(reason) = failure {
            if let Some(replica) = &mut self.engine.server.replication.replica {
                replica.stream_failed(now, reason);
            }
            return bytes.len();
        }
        if std::mem::take(&mut self.engine.server.replication.ack_wanted)
            && let Some(replica) = &mut self.engine.server.replication.replica
        {
            replica.acknowledge(now);
        }
        at
    }

    /// Hands whole units, the kept part of the first included, to our replicas and the log.
    fn hand_on(&mut self, now: Now, first_db: usize, last_db: usize, bytes: &[u8]) {
        let following = &mut self.following;
        let unit = std::mem::take(&mut following.unit);
        let joined;
        let units = match unit.is_empty() {
            true => bytes,
            false => {
                joined = [unit.as_slice(), bytes].concat();
                &joined[..]
            }
        };
        let (done, left): (Vec<_>, Vec<_>) = std::mem::take(&mut following.unit_passing)
            .into_iter()
            .partition(|range| range.end <= units.len());
        following.unit_passing = left;
        for range in &mut following.unit_passing {
            // What is left counts from the front of the unit under way.
            *range = range.start - units.len()..range.end - units.len();
        }
        let replication = &mut self.engine.server.replication;
        replication.stream_db = last_db;
        let before = replication.primary.offset();
        let offset = before + units.len() as u64;
        if let Some(replica) = &mut replication.replica {
            debug_assert!(
                replica.position().is_none_or(|position| position.offset == before),
                "we are where our data is"
            );
            replica.applied(offset);
        }
        self.feed_replicas_verbatim(now, offset, units);
        self.engine.stream().set_offset(offset);
        self.log_verbatim(now, offset, first_db, units, &done);
    }

    /// Tells the master how far our log is on the disk.
    pub(crate) fn tell_synced(&mut self, now: Now) {
        let Some(replica) = &mut self.engine.server.replication.replica else { return };
        let figures = &self.engine.server.persistence.log;
        let synced = (figures.enabled && !figures.starting).then_some(figures.durable);
        if self.following.synced == synced {
            return;
        }
        self.following.synced = synced;
        replica.synced(synced);
        replica.acknowledge(now);
        self.stirred = true;
    }
}

/// A command of the master is never refused for its size.
const MAX_BULK: usize = 1 << 40;

/// Returns whether a command of the stream concerns replicas alone, and has no place in a log.
fn is_passing(request: Request<'_>) -> bool {
    let Some(name) = request.get(0) else { return true };
    match name.len() {
        4 => name.eq_ignore_ascii_case(b"PING"),
        7 => name.eq_ignore_ascii_case(b"PUBLISH"),
        8 => name.eq_ignore_ascii_case(b"REPLCONF") || name.eq_ignore_ascii_case(b"SPUBLISH"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use resp::decode::{Decoder, Limits};

    use super::is_passing;

    #[test]
    fn only_what_changes_no_data_is_kept_out_of_the_log() {
        let passes = |name: &str| {
            let bytes = format!("*2\r\n${}\r\n{name}\r\n$1\r\nx\r\n", name.len());
            let mut decoder = Decoder::new();
            let request = decoder.decode(bytes.as_bytes(), &Limits::default());
            is_passing(request.expect("well formed").expect("whole"))
        };
        for name in ["PING", "ping", "PUBLISH", "SPUBLISH", "REPLCONF", "replconf"] {
            assert!(passes(name), "{name}");
        }
        for name in
            ["SETRANGE", "BITFIELD", "RENAMENX", "EXPIREAT", "FLUSHALL", "HSET", "EXEC", "FLUSHDB", "GEOADD"]
        {
            assert!(!passes(name), "{name}");
        }
    }
}
