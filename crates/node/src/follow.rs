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

use std::ops::Range;
use std::sync::Arc;

use base::disk::{DiskError, FileId, Task, TaskId};
use base::time::Now;
use config::DisklessLoad;
use engine::effect::LogLevel;
use engine::persistence::{Loading as Progress, Snapshot};
use engine::session::{Closing, Origin, ReplyMode, SessionId};
use engine::{Effect, Host};
use keyspace::Db;
use replication::primary::Upstream;
use replication::replica::Output;
use replication::{Position, Replica};
use resp::batch::Batch;
use resp::decode::{Decoder, Limits, Request};

use crate::Node;
use crate::link::Peer;
use crate::loading::Loading;
use crate::node::expect_keys;
use crate::persist::run_word;
use crate::replicate::{NOT_OF_THE_LOG, level_of};

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
    intake: Option<Intake>,
    /// What arrived of the stream while the snapshot before it is being loaded.
    kept: Vec<u8>,
    /// The disk is behind with the snapshot: the link is not read.
    full: bool,
    /// Numbers files and tasks.
    count: u32,
    /// What the machine asks for is being done: what it asks for meanwhile is done behind that.
    tending: bool,
    /// Up to where the log is on the disk, as the master was told last.
    synced: Option<u64>,
}

/// A snapshot on its way in.
#[derive(Debug)]
struct Intake {
    origin: Option<Position>,
    guarded: bool,
    way: Way,
    /// It cannot be had, and is about to be given up.
    failed: bool,
}

#[derive(Debug)]
enum Way {
    /// To a file first.
    File {
        file: FileId,
        path: String,
        buffer: Vec<u8>,
        /// Bytes that the disk has not taken.
        in_flight: u64,
        len: u64,
        /// Everything has arrived.
        whole: bool,
    },
    /// Into memory as it arrives; what was not taken.
    Memory { rest: Vec<u8> },
}

/// So much is handed to the disk at once.
const WRITE: usize = 1 << 20;
/// So much may wait for the disk.
const IN_FLIGHT_MAX: u64 = 16 << 20;

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
    fn forget_link(&mut self) {
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
        self.release(now);
        self.tend_master(now, host, &[]);
    }

    /// Takes bytes from the master.
    pub(crate) fn follow_input(&mut self, now: Now, host: &dyn Host, id: SessionId, bytes: &[u8]) {
        let server = &mut self.engine.server;
        server.stats.bytes_in += bytes.len() as u64;

        if let Some(session) = server.sessions.get_mut(id) {
            session.bytes_in += bytes.len() as u64;
            session.last_active = now.instant;
        }
        if let Some(replica) = &mut server.replication.replica {
            if !replica.is_up() {
                // A full sync may begin, and what it would replace counts.
                replica.hold(self.engine.keyspace.dbs.iter().map(|db| db.len() as u64).sum());
            }
            replica.handle_input(now, bytes);
            self.tend_master(now, host, bytes);
        }
    }

    /// Does what is due on the replica's side.
    pub(crate) fn tend_replica_clock(&mut self, now: Now, host: &dyn Host) {
        if self.loading.as_ref().is_some_and(|loading| loading.sync.is_none()) {
            // The server is starting: nobody is followed before the files are loaded.
            return;
        }
        let keys = self.engine.keyspace.dbs.iter().map(|db| db.len() as u64).sum();
        if let Some(replica) = &mut self.engine.server.replication.replica
            && replica.poll_timeout().is_some_and(|at| at <= now.instant)
        {
            replica.hold(keys);
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
                Output::Line(level, line) => self.effects.push_back(Effect::Log(level_of(level), line)),
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
    fn apply(&mut self, now: Now, host: &dyn Host, bytes: &[u8]) {
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

    /// Begins to take a snapshot in.
    fn begin_intake(&mut self, now: Now, origin: Option<Position>, guarded: bool) {
        self.abandon_intake(now);
        let empty = self.engine.keyspace.dbs.iter().all(Db::is_empty);
        let way = match self.engine.server.config.repl_diskless_load {
            DisklessLoad::SwapDb => {
                self.begin_loading_sync(now, Vec::new(), true, guarded);
                Way::Memory { rest: Vec::new() }
            }
            DisklessLoad::OnEmptyDb if empty => {
                self.begin_loading_sync(now, Vec::new(), false, false);
                Way::Memory { rest: Vec::new() }
            }
            _ => {
                self.following.count += 1;
                let count = self.following.count;
                let path = format!("temp-sync-{}-{count}.rdb", run_word(&self.engine.server.run_id));
                let file = FileId(1 << 31 | count);
                self.ask_disk(Task::Create { file, path: path.clone() });
                Way::File { file, path, buffer: Vec::new(), in_flight: 0, len: 0, whole: false }
            }
        };
        self.following.intake = Some(Intake { origin, guarded, way, failed: false });
    }

    fn ask_disk(&mut self, task: Task) {
        let id = TaskId(NOT_OF_THE_LOG | 1);
        self.effects.push_back(Effect::Disk(id, task));
    }

    fn take_snapshot(&mut self, now: Now, host: &dyn Host, bytes: &[u8]) {
        let Some(intake) = self.following.intake.as_mut().filter(|intake| !intake.failed) else { return };
        match &mut intake.way {
            Way::File { buffer, .. } => {
                buffer.extend_from_slice(bytes);
                if buffer.len() >= WRITE {
                    self.write_snapshot_part();
                }
            }
            Way::Memory { rest } => {
                let mut rest = std::mem::take(rest);
                let taken = match rest.is_empty() {
                    true => self.load(now, host, bytes).map(|taken| rest.extend_from_slice(&bytes[taken..])),
                    false => {
                        rest.extend_from_slice(bytes);
                        self.load(now, host, &rest).map(|taken| drop(rest.drain(..taken)))
                    }
                };
                match taken {
                    Ok(()) => {
                        if let Some(Intake { way: Way::Memory { rest: place }, .. }) =
                            &mut self.following.intake
                        {
                            *place = rest;
                        }
                    }
                    Err(reason) => self.intake_failed(now, host, reason),
                }
            }
        }
    }

    /// Hands what was gathered to the disk.
    fn write_snapshot_part(&mut self) {
        let Some(Intake { way: Way::File { file, buffer, in_flight, len, .. }, .. }) =
            &mut self.following.intake
        else {
            return;
        };
        if buffer.is_empty() {
            return;
        }
        let bytes = std::mem::replace(buffer, Vec::with_capacity(WRITE + (64 << 10)));
        *in_flight += bytes.len() as u64;
        *len += bytes.len() as u64;
        let (file, count) = (*file, bytes.len() as u64);
        self.following.full = *in_flight > IN_FLIGHT_MAX;
        let id = TaskId(NOT_OF_THE_LOG | WRITTEN | count);
        self.effects.push_back(Effect::Disk(id, Task::Append { file, bytes: Arc::new(bytes) }));
    }

    /// Takes what became of a task for the snapshot's file.
    pub(crate) fn snapshot_task_done(
        &mut self,
        now: Now,
        host: &dyn Host,
        id: TaskId,
        result: Result<(), DiskError>,
    ) {
        if id.0 == NOT_OF_THE_LOG {
            // A file that nobody needs could not be removed: it is one that the next start removes.
            return;
        }
        let Some(intake) = &mut self.following.intake else {
            if let Err(error) = result {
                let line = format!("The snapshot of the master could not be kept as the RDB file: {error}");
                self.effects.push_back(Effect::Log(LogLevel::Warning, line));
                self.engine.server.persistence.save_failed();
            }
            return;
        };
        let Way::File { in_flight, .. } = &mut intake.way else { return };
        if let Err(error) = result {
            return self.intake_failed(now, host, error.to_string());
        }
        if id.0 & WRITTEN != 0 {
            *in_flight = in_flight.saturating_sub(id.0 & (WRITTEN - 1));
            if self.following.full && *in_flight <= IN_FLIGHT_MAX / 2 {
                self.following.full = false;
                self.listen_to_master();
            }
        } else if id.0 & SYNCED != 0 {
            self.load_snapshot_file(now);
        }
    }

    fn listen_to_master(&mut self) {
        if let Some(id) = self.engine.server.replication.master {
            self.effects.push_back(Effect::Listen(id));
        }
    }

    /// Goes on when all of the snapshot has arrived.
    fn end_snapshot(&mut self, now: Now, host: &dyn Host) {
        let Some(intake) = self.following.intake.as_mut().filter(|intake| !intake.failed) else { return };
        match &mut intake.way {
            Way::File { file, whole, .. } => {
                *whole = true;
                let file = *file;
                self.write_snapshot_part();
                self.effects.push_back(Effect::Disk(TaskId(NOT_OF_THE_LOG | SYNCED), Task::Sync { file }));
                self.ask_disk(Task::Close { file });
            }
            Way::Memory { rest } => {
                let rest = std::mem::take(rest);
                match self.file_ended(host, &rest) {
                    Ok(_) => self.end_loading(now, host),
                    Err(reason) => self.intake_failed(now, host, reason),
                }
            }
        }
    }

    /// Lets the driver load the file that the snapshot went to.
    fn load_snapshot_file(&mut self, now: Now) {
        let Some(Intake { guarded, way: Way::File { path, len, .. }, .. }) = &self.following.intake else {
            return;
        };
        let (path, guarded, len) = (path.clone(), *guarded, *len);
        self.begin_loading_sync(now, vec![(path, len)], false, guarded);
        self.effects.push_back(Effect::Load);
    }

    /// Gives the snapshot up that is on its way in.
    fn abandon_intake(&mut self, now: Now) {
        let Some(intake) = self.following.intake.take() else { return };
        self.following.kept = Vec::new();
        self.following.full = false;
        let dropped = self.abandon_loading_sync(now);
        if let Way::File { file, path, whole, .. } = intake.way {
            if !whole {
                self.ask_disk(Task::Close { file });
            }
            self.remove_file(path);
        }
        if dropped && let Some(replica) = &mut self.engine.server.replication.replica {
            replica.data_dropped();
        }
    }

    /// Tells the machine that the snapshot cannot be had.
    pub(crate) fn intake_failed(&mut self, now: Now, host: &dyn Host, reason: String) {
        if let Some(intake) = &mut self.following.intake {
            intake.failed = true;
        }
        if let Some(replica) = &mut self.engine.server.replication.replica {
            // It asks for the snapshot to be abandoned.
            replica.snapshot_loaded(now, Err(reason));
            self.tend_master(now, host, &[]);
        }
    }

    /// Says that a snapshot of so many keys lies ready; returns whether it is to be loaded.
    pub(crate) fn snapshot_verified(&mut self, now: Now, host: &dyn Host, keys: u64) -> bool {
        let Some(replica) = &mut self.engine.server.replication.replica else { return false };
        replica.snapshot_holds(now, keys);
        let wanted = replica.is_syncing();
        if let Some(intake) = &mut self.following.intake {
            intake.failed = !wanted;
        }
        self.tend_master(now, host, &[]);
        wanted
    }

    /// Says that our data is about to be replaced.
    pub(crate) fn data_dropped(&mut self) {
        if let Some(replica) = &mut self.engine.server.replication.replica {
            replica.data_dropped();
        }
    }

    /// Goes on with the master's data, which has taken the place of ours, and its stream in `database`.
    pub(crate) fn snapshot_taken(&mut self, now: Now, host: &dyn Host, database: usize) {
        let Some(intake) = self.following.intake.take() else { return };
        let (id, offset) =
            (intake.origin.map(|origin| origin.id), intake.origin.map_or(0, |origin| origin.offset));
        let replication = &mut self.engine.server.replication;
        replication.primary.replaced(now, id, offset);
        replication.stream_db = database;
        if let Some(session) = replication.master.and_then(|id| self.engine.server.sessions.get_mut(id)) {
            session.db = database;
        }
        self.engine.move_to_offset(offset);
        self.end_snapshot_of_old_data(now);
        self.log_anew(now, offset);
        if let Way::File { path, .. } = intake.way {
            let server = &self.engine.server;
            let persists = server.config.appendonly || !server.config.save.is_empty();
            if server.config.rdb_del_sync_files && !persists {
                self.remove_file(path);
            } else {
                let to = String::from_utf8_lossy(&server.config.dbfilename).into_owned();
                self.ask_disk(Task::Rename { from: path, to });
                let dirty = self.engine.keyspace.recorder.dirty;
                self.engine.server.persistence.saved(now, dirty);
            }
        }
        if let Some(replica) = &mut self.engine.server.replication.replica {
            replica.snapshot_loaded(now, Ok(()));
        }
        self.tend_master(now, host, &[]);
        let kept = std::mem::take(&mut self.following.kept);
        if !kept.is_empty() {
            self.apply(now, host, &kept);
            self.tend_master(now, host, &[]);
        }
        self.listen_to_master();
    }

    /// Ends a child that would put data in place which is ours no longer.
    fn end_snapshot_of_old_data(&mut self, now: Now) {
        let child = self.engine.server.persistence.child;
        if child.is_some_and(|child| child.kind == Snapshot::Save) {
            self.kill_child(now);
        }
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

    /// Shows loading of a snapshot in INFO, and begins it.
    fn begin_loading_sync(&mut self, now: Now, files: Vec<(String, u64)>, aside: bool, guarded: bool) {
        let empty = self.engine.keyspace.dbs.iter().all(Db::is_empty);
        let total_bytes = files.iter().map(|(_, len)| len).sum();
        // Our data is given up for what has been read through once; a snapshot that comes beside it replaces nothing.
        let verifies = !files.is_empty() && (guarded || !empty);
        let loading = Loading::of_snapshot(now, files, aside, verifies, guarded, &self.engine.keyspace);
        self.loading = Some(Box::new(loading));
        let progress = Progress { started: now, total_bytes, loaded_bytes: 0 };
        if !aside && !verifies {
            self.begin_replacing(now, progress);
        }
    }

    /// Gives our data up, and serves nobody until the snapshot is loaded.
    pub(crate) fn begin_replacing(&mut self, now: Now, progress: Progress) {
        self.end_snapshot_of_old_data(now);
        self.engine.drop_data(now);
        self.data_dropped();
        // What we have from here on is in no history that a replica of ours could go on in.
        let primary = &mut self.engine.server.replication.primary;
        let offset = primary.offset();
        primary.replaced(now, None, offset);
        self.tend_replicas(now);
        self.stop_log(now);
        self.engine.keyspace.loading = true;
        self.engine.server.persistence.set_loading(Some(progress));
    }
}

/// Marks a task by what it is for; the low bits of an append's number are its length.
const WRITTEN: u64 = 1 << 62;
const SYNCED: u64 = 1 << 61;

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
