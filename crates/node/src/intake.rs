//! A master's data on its way in: to a file and from there into memory, or into memory as it arrives.
//!
//! ```text
//! begin_intake ─► take_snapshot … ─► end_snapshot ─┬─ file: synced, read through (`verified`), read again ─┬─► end_loading_sync ─► snapshot_taken
//!                                                  └─ memory: everything has been loaded already ──────────┘
//! ```
//!
//! Our data is given up in [`Node::begin_replacing`], and nowhere else. Whatever goes wrong before leaves it as it is; what
//! goes wrong after leaves nothing, and another history, so that nobody goes on in ours.

use std::sync::Arc;

use base::disk::{DiskError, FileId, Task, TaskId};
use base::time::Now;
use config::DisklessLoad;
use engine::effect::LogLevel;
use engine::persistence::{Loading as Progress, Snapshot};
use engine::{Effect, Host};
use replication::Position;

use crate::Node;
use crate::loading::{Loading, Sync};

/// A snapshot on its way in.
#[derive(Debug)]
pub(crate) struct Intake {
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

/// What a task of the disk is for that is none of the log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileTask {
    /// Opening or closing the file of a snapshot on its way in.
    Open(FileId),
    /// Writing so many bytes of it.
    Write(FileId, u64),
    /// All of it is written.
    Sync(FileId),
    /// It becomes the RDB file.
    Keep,
    /// A file that nobody needs goes.
    Remove,
}

/// Tasks that are none of the log's have this number; they are told apart by their order.
pub(crate) const NOT_OF_THE_LOG: TaskId = TaskId(u64::MAX);

impl Node {
    /// Begins to take a snapshot in.
    pub(crate) fn begin_intake(&mut self, now: Now, origin: Option<Position>, guarded: bool) {
        self.abandon_intake(now);
        let empty = self.engine.keyspace.is_empty();
        let way = match self.engine.server.config.repl_diskless_load {
            DisklessLoad::SwapDb => {
                self.begin_loading_sync(now, None, true, guarded);
                Way::Memory { rest: Vec::new() }
            }
            DisklessLoad::OnEmptyDb if empty => {
                self.begin_loading_sync(now, None, false, false);
                Way::Memory { rest: Vec::new() }
            }
            _ => {
                let path = self.temporary("sync");
                // The log counts its files from 1.
                let file = FileId(u32::MAX - self.persist.files);
                self.ask_disk(FileTask::Open(file), Task::Create { file, path: path.clone() });
                Way::File { file, path, buffer: Vec::new(), in_flight: 0, len: 0, whole: false }
            }
        };
        self.following.intake = Some(Intake { origin, guarded, way, failed: false });
    }

    pub(crate) fn take_snapshot(&mut self, now: Now, host: &dyn Host, bytes: &[u8]) {
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
    pub(crate) fn write_snapshot_part(&mut self) {
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
        self.ask_disk(FileTask::Write(file, count), Task::Append { file, bytes: Arc::new(bytes) });
    }

    fn ask_disk(&mut self, what: FileTask, task: Task) {
        self.following.tasks.push_back(what);
        self.effects.push_back(Effect::Disk(NOT_OF_THE_LOG, task));
    }

    pub(crate) fn remove_file(&mut self, path: String) {
        self.ask_disk(FileTask::Remove, Task::Remove { path });
    }

    /// Takes what became of the eldest task that is none of the log's.
    pub(crate) fn snapshot_task_done(&mut self, now: Now, host: &dyn Host, result: Result<(), DiskError>) {
        let Some(task) = self.following.tasks.pop_front() else { return };
        let (of, error) = match (task, result) {
            // What could not be removed is removed at the next start.
            (FileTask::Remove, _) | (FileTask::Keep, Ok(())) => return,
            (FileTask::Keep, Err(error)) => {
                let line = format!("The snapshot of the master could not be kept as the RDB file: {error}");
                self.effects.push_back(Effect::Log(LogLevel::Warning, line));
                return self.engine.server.persistence.save_failed();
            }
            (FileTask::Open(of) | FileTask::Write(of, _) | FileTask::Sync(of), result) => (of, result.err()),
        };
        // What belongs to a file that was given up concerns nobody.
        let Some(Intake { way: Way::File { file, in_flight, .. }, .. }) = &mut self.following.intake else {
            return;
        };
        if *file != of {
            return;
        }
        match (task, error) {
            (_, Some(error)) => self.intake_failed(now, host, error.to_string()),
            (FileTask::Write(_, len), None) => {
                *in_flight -= len;
                if self.following.full && *in_flight <= IN_FLIGHT_MAX / 2 {
                    self.following.full = false;
                    self.listen_to_master();
                }
            }
            (FileTask::Sync(_), None) => self.load_snapshot_file(now),
            _ => {}
        }
    }

    /// Goes on when all of the snapshot has arrived.
    pub(crate) fn end_snapshot(&mut self, now: Now, host: &dyn Host) {
        let Some(intake) = self.following.intake.as_mut().filter(|intake| !intake.failed) else { return };
        match &mut intake.way {
            Way::File { file, whole, .. } => {
                *whole = true;
                let file = *file;
                self.write_snapshot_part();
                self.ask_disk(FileTask::Sync(file), Task::Sync { file, ahead: 0 });
                self.ask_disk(FileTask::Open(file), Task::Close { file });
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
    pub(crate) fn load_snapshot_file(&mut self, now: Now) {
        let Some(Intake { guarded, way: Way::File { path, len, .. }, .. }) = &self.following.intake else {
            return;
        };
        let (path, guarded, len) = (path.clone(), *guarded, *len);
        self.begin_loading_sync(now, Some((path, len)), false, guarded);
        self.effects.push_back(Effect::Load);
    }

    /// Shows loading of a snapshot in INFO, and begins it.
    pub(crate) fn begin_loading_sync(
        &mut self,
        now: Now,
        file: Option<(String, u64)>,
        aside: bool,
        guarded: bool,
    ) {
        let total_bytes = file.as_ref().map_or(0, |(_, len)| *len);
        // Our data is given up for what has been read through once; a snapshot that comes beside it replaces nothing.
        let verifies = file.is_some() && (guarded || !self.engine.keyspace.is_empty());
        let loading = Loading::of_snapshot(now, file, aside, verifies, guarded, &self.engine.keyspace);
        self.loading = Some(Box::new(loading));
        self.engine.server.persistence.loads_beside = aside;
        self.engine.forget_loaded_locks();
        let progress = Progress { started: now, total_bytes, loaded_bytes: 0 };
        if !aside && !verifies {
            self.begin_replacing(now, progress);
        }
    }

    /// Goes on when a master's snapshot was read through and is sound.
    pub(crate) fn verified(&mut self, host: &dyn Host, keys: u64) {
        let now = self.now;
        let Some(loading) = &mut self.loading else { return };
        loading.keys = 0;
        let guarded = loading.sync.as_ref().is_some_and(|sync| sync.guarded);
        if guarded && !self.snapshot_verified(now, host, keys) {
            return;
        }
        let Some(loading) = &self.loading else { return };
        let total_bytes = loading.sizes.base;
        self.begin_replacing(now, Progress { started: now, total_bytes, loaded_bytes: 0 });
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

    /// Ends a child that would put data in place which is ours no longer.
    pub(crate) fn end_snapshot_of_old_data(&mut self, now: Now) {
        let child = self.engine.server.persistence.child;
        if child.is_some_and(|child| child.kind == Snapshot::Save) {
            self.kill_child(now);
        }
    }

    /// Says that our data is about to be replaced.
    pub(crate) fn data_dropped(&mut self) {
        if let Some(replica) = &mut self.engine.server.replication.replica {
            replica.data_dropped();
        }
    }

    /// Begins to serve what our master sent.
    pub(crate) fn end_loading_sync(&mut self, now: Now, host: &dyn Host) {
        if let Some(Sync { guarded: true, aside: Some(_), .. }) =
            self.loading.as_ref().and_then(|l| l.sync.as_ref())
        {
            let keys = self.loading.as_ref().map_or(0, |loading| loading.keys);
            if !self.snapshot_verified(now, host, keys) {
                return;
            }
        }
        let Some(loading) = self.loading.take() else { return };
        let Loading { sync: Some(sync), keys, started, history, .. } = *loading else { return };
        self.engine.keyspace.loading = false;
        self.engine.server.persistence.set_loading(None);
        self.engine.server.persistence.loads_beside = false;
        if let Some(dbs) = sync.aside {
            self.engine.replace_data(now, dbs);
        }
        self.engine.locks_loaded(now);
        let server = &mut self.engine.server;
        server.persistence.functions = sync.functions;
        server.persistence.keys_loaded = keys;
        let seconds = now.instant.saturating_since(started.instant).as_secs_f64();
        server
            .log(LogLevel::Notice, format!("Done loading RDB, keys loaded: {keys}, in {seconds:.3} seconds"));
        let database = Some(history.database).filter(|index| *index < self.engine.keyspace.dbs.len());
        self.snapshot_taken(now, host, database.unwrap_or(0));
        self.settle(now, host);
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
                self.ask_disk(FileTask::Keep, Task::Rename { from: path, to });
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

    pub(crate) fn listen_to_master(&mut self) {
        if let Some(id) = self.engine.server.replication.master {
            self.effects.push_back(Effect::Listen(id));
        }
    }

    /// Says that what is being loaded cannot be; returns whether the server can go on without it.
    pub fn loading_failed(&mut self, now: Now, host: &dyn Host, reason: String) -> bool {
        if self.loading.is_none() || self.is_starting() {
            return false;
        }
        self.now = now;
        self.intake_failed(now, host, reason);
        self.settle(now, host);
        true
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

    /// Gives the snapshot up that is on its way in.
    pub(crate) fn abandon_intake(&mut self, now: Now) {
        let Some(intake) = self.following.intake.take() else { return };
        self.following.kept = Vec::new();
        self.following.full = false;
        let dropped = self.abandon_loading_sync(now);
        if let Way::File { file, path, whole, .. } = intake.way {
            if !whole {
                self.ask_disk(FileTask::Open(file), Task::Close { file });
            }
            self.remove_file(path);
        }
        if dropped {
            self.data_dropped();
        }
    }

    /// Gives up the loading of a master's snapshot; returns whether our own data was given up for it already.
    pub(crate) fn abandon_loading_sync(&mut self, now: Now) -> bool {
        if self.loading.is_none() || self.is_starting() {
            return false;
        }
        self.loading = None;
        self.engine.server.persistence.loads_beside = false;
        // The driver need not read on.
        self.effects.push_back(Effect::Load);
        let replacing = self.engine.server.persistence.loading().is_some();
        if replacing {
            self.engine.keyspace.loading = false;
            self.engine.server.persistence.set_loading(None);
            // Half of a data set is none.
            self.engine.drop_data(now);
            let offset = self.engine.server.replication.primary.offset();
            self.log_anew(now, offset);
        }
        replacing
    }
}
