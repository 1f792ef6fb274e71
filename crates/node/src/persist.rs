//! Between the engine and its files: the log, snapshots in a child process, and who waits for them.
//!
//! ```text
//! engine ── stream of writes ──► aof::Log ── Task ──► Effect::Disk ──► driver ── task_done ──► Log
//!    ▲                              │ Snapshot                                                  │
//!    └── replies released ◄─────────┼──► Effect::Fork ──► driver ── snapshot_done ──────────────┘
//! ```
//!
//! Owns the order of things: whatever was executed is in the log before a snapshot is asked for, and the driver forks
//! before it hands over more input.

use std::ops::Range;
use std::time::Duration;

use aof::{Fsync, Log, Manifest, Mark, Output, Place, Settings};
use base::disk::{DiskError, TaskId};
use base::time::{Instant, Now};
use config::{AppendFsync, Config};
use engine::effect::LogLevel;
use engine::hold::Hold;
use engine::persistence::{Child, LogFigures, Snapshot};
use engine::{Effect, Host};
use rdb::{Sink, SinkError};
use replication::Position;
use replication::primary::Commit;

use crate::Node;
use crate::intake::NOT_OF_THE_LOG;

/// What a node knows of its files.
#[derive(Debug, Default)]
pub(crate) struct Persist {
    /// There once loading has ended.
    pub(crate) log: Option<Log>,
    /// A stop was asked for; it comes when the log is on the disk. Nothing is executed any more.
    stopping: bool,
    /// The driver was told that it may stop.
    stopped: bool,
    /// When a stop says what it waits for, and when it waits no longer.
    stop_says_at: Option<Instant>,
    hurry_until: Option<Instant>,
    /// Until when a stop waits for replicas to have everything.
    replicas_until: Option<Instant>,
    /// A snapshot of this very moment was asked for: nothing is executed before the driver has forked.
    pub(crate) forking: bool,
    /// Numbers the temporary files of this process.
    pub(crate) files: u32,
}

/// A snapshot that a child has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub bytes: u64,
    /// Bytes that were copied because either side wrote to them.
    pub copied: u64,
}

/// A child that has said nothing for so long is taken for hung, and ended.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// The same while the file goes to the device in one go, of which nothing can be said.
const SYNC_MAX: Duration = Duration::from_secs(3600);
/// A stop that takes this long says what it waits for.
const STOP_SAYS_AFTER: Duration = Duration::from_secs(10);
/// A stop in a hurry leaves the disk this long.
const HURRY_MAX: Duration = Duration::from_secs(1);

impl Node {
    /// Says what became of a task for the disk; tasks are reported once each, in order.
    pub fn task_done(&mut self, now: Now, host: &dyn Host, id: TaskId, result: Result<(), DiskError>) {
        if id == NOT_OF_THE_LOG {
            self.snapshot_task_done(now, host, result);
            return self.settle(now, host);
        }
        if let Some(log) = &mut self.persist.log {
            log.task_done(now, id, result);
            self.tend_log(now);
        }
    }

    /// Says how far the child is that writes a snapshot: keys done, bytes copied now and at most.
    pub fn snapshot_progress(&mut self, now: Now, keys: u64, copied: u64, copied_peak: u64) {
        if let Some(child) = &mut self.engine.server.persistence.child {
            (child.keys_done, child.reported) = (keys, now.instant);
            (child.copied, child.copied_peak) = (copied, copied_peak);
        }
    }

    /// Says that the child has written all, and that its file is on the way to the device.
    pub fn snapshot_syncing(&mut self, now: Now) {
        if let Some(child) = &mut self.engine.server.persistence.child {
            child.reported = now.instant + (SYNC_MAX - SILENCE_MAX);
        }
    }

    /// Says that the fork was done, and how long it took.
    pub fn forked(&mut self, time: Duration) {
        self.go_on_after_fork();
        let persistence = &mut self.engine.server.persistence;
        persistence.fork_us = time.as_micros() as u64;
        persistence.forks += 1;
    }

    /// Says what became of the snapshot that was asked for with [`Effect::Fork`], the fork's own failure included.
    pub fn snapshot_done(&mut self, now: Now, result: Result<Written, String>) {
        self.go_on_after_fork();
        let Some(child) = self.engine.server.persistence.child.take() else { return };
        self.log_is_alone(now, child.kind);
        let seconds = now.instant.saturating_since(child.started.instant).as_secs() as i64;
        match child.kind {
            Snapshot::Save => self.saved(now, child, seconds, result),
            Snapshot::Replicas { .. } => {
                self.replicas_snapshot_done(now, result.map(|written| written.bytes));
            }
            Snapshot::LogBase { .. } => {
                if let Ok(written) = &result {
                    self.engine.server.persistence.last_rewrite_copied = written.copied;
                }
                if let Some(log) = &mut self.persist.log {
                    log.snapshot_done(now, result.map(|written| written.bytes));
                }
            }
        }
        self.tend_log(now);
    }

    /// Lets the log write a base again, now that a child is gone that was not its own.
    fn log_is_alone(&mut self, now: Now, kind: Snapshot) {
        if let Some(log) = &mut self.persist.log
            && !matches!(kind, Snapshot::LogBase { .. })
        {
            log.set_snapshot_busy(now, false);
        }
    }

    fn saved(&mut self, now: Now, child: Child, seconds: i64, result: Result<Written, String>) {
        let server = &mut self.engine.server;
        match result {
            Ok(written) => {
                server.log(LogLevel::Notice, "Background saving terminated with success".into());
                server.persistence.saved(now, child.dirty);
                server.persistence.saves += 1;
                server.persistence.last_copied = written.copied;
            }
            Err(reason) => {
                server.log(LogLevel::Warning, format!("Background saving error: {reason}"));
                server.persistence.save_failed();
            }
        }
        server.persistence.last_save_seconds = seconds;
    }

    /// Writes the data set of this moment to `sink`, as the snapshot that was asked for; `progress` hears of keys done.
    ///
    /// Runs in a forked child as well: it takes no lock, and allocates little.
    pub fn write_snapshot(
        &self,
        now: Now,
        used_memory: usize,
        kind: Snapshot,
        sink: &mut dyn Sink,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, SinkError> {
        match kind {
            Snapshot::LogBase { rdb: false } => {
                let position = self.engine.server.stream_position();
                let mark = position.map(|(position, database)| mark(position, database));
                let token = self.engine.server.locks.tokens.highest();
                crate::rewrite::write(&self.engine.keyspace, token, mark, sink, progress)
            }
            _ => {
                let base = matches!(kind, Snapshot::LogBase { .. });
                let mut meta = self.engine.snapshot_meta(now, used_memory, base);
                if let Snapshot::Replicas { content, .. } = kind {
                    if !content.functions {
                        meta.functions.clear();
                    }
                    if !content.data {
                        let nothing = keyspace::Keyspace::new(1, 0);
                        let options = self.engine.snapshot_options(now);
                        return Ok(rdb::save(sink, &nothing, &meta, &options, progress)?.keys);
                    }
                }
                let options = self.engine.snapshot_options(now);
                let summary = rdb::save(sink, &self.engine.keyspace, &meta, &options, progress)?;
                Ok(summary.keys)
            }
        }
    }

    /// Hands what was written to the log, and the log's wishes to the driver.
    ///
    /// Called when everything that came in has been executed.
    #[inline]
    pub(crate) fn pass_on_stream(&mut self, now: Now) {
        if !self.engine.stream().is_empty() {
            self.pass_on(now);
        }
    }

    fn pass_on(&mut self, now: Now) {
        self.show_stream();
        self.feed_replicas(now);
        let log = &mut self.persist.log;
        self.engine.stream().take(|taken| {
            if let Some(log) = log {
                append(log, now, taken.offset, taken.database, taken.bytes, taken.passing);
            }
        });
        self.engine.server.next_turn();
        if let Some(log) = log {
            log.set_waiting(self.engine.server.held_sessions());
        }
        self.mark_log(now);
        self.tend_log(now);
    }

    /// Says in the log where in the history of replication it stands, if somebody may want to go on there.
    fn mark_log(&mut self, now: Now) {
        if let (Some(log), Some((position, database))) =
            (&mut self.persist.log, self.engine.server.stream_position())
        {
            log.mark(now, mark(position, database));
        }
    }

    /// Logs what was applied of our master's stream; parts of it are `passing`.
    pub(crate) fn log_verbatim(
        &mut self,
        now: Now,
        offset: u64,
        database: usize,
        bytes: &[u8],
        passing: &[Range<usize>],
    ) {
        if let Some(log) = &mut self.persist.log {
            append(log, now, offset, database, bytes, passing);
            self.mark_log(now);
            self.tend_log(now);
        }
    }

    /// Stops to log, as the data is about to be replaced.
    pub(crate) fn stop_log(&mut self, now: Now) {
        if let Some(log) = &mut self.persist.log {
            log.disable(now);
            self.tend_log(now);
        }
    }

    /// Logs from `offset` of another stream on, beginning with the data as it is now.
    pub(crate) fn log_anew(&mut self, now: Now, offset: u64) {
        let on = self.engine.server.config.appendonly;
        if let Some(log) = &mut self.persist.log {
            log.disable(now);
            log.rebase(offset);
            if on {
                log.enable(now);
            }
            self.tend_log(now);
        }
    }

    /// Passes on what the log asks for, and what it says of itself.
    pub(crate) fn tend_log(&mut self, now: Now) {
        let Some(log) = &mut self.persist.log else { return };
        let server = &mut self.engine.server;
        while let Some(output) = log.poll_output() {
            match output {
                Output::Task(id, task) => self.effects.push_back(Effect::Disk(id, task)),
                Output::Line(level, line) => self.effects.push_back(Effect::Log(level, line)),
                Output::Snapshot { path, snapshot } => {
                    let kind = Snapshot::LogBase { rdb: snapshot };
                    begin(&mut server.persistence.child, kind, now, &self.engine.keyspace);
                    self.effects.push_back(Effect::Fork { kind, path, rename_to: None });
                }
                Output::StopSnapshot => {
                    server.persistence.child = None;
                    self.effects.push_back(Effect::KillChild);
                }
            }
        }
        let figures = log.figures();
        server.persistence.log_rewrite_started =
            match (figures.rewrite_in_progress, server.persistence.log_rewrite_started) {
                (false, _) => None,
                (true, Some(since)) => Some(since),
                (true, None) => Some(now),
            };
        if let Some(seconds) = figures.last_rewrite_secs {
            server.persistence.last_rewrite_seconds = seconds as i64;
        }
        let figures = LogFigures {
            enabled: figures.enabled,
            starting: figures.starting,
            rewrite_scheduled: figures.rewrite_scheduled,
            last_rewrite_failed: !figures.last_rewrite_ok,
            write_failed: !figures.last_write_ok,
            rewrites: figures.rewrites,
            failed_rewrites: figures.consecutive_failures,
            current_size: figures.current_size,
            base_size: figures.base_size,
            buffered: figures.buffer_length,
            pending_sync: figures.syncs_in_flight > 0,
            delayed_syncs: figures.delayed_syncs,
            unsynced_age_ms: figures.unsynced_age.map_or(0, |age| age.as_millis() as u64),
            durable: log.durable(),
            refusal: log.refusal(),
            over_budget: figures.over_budget,
        };
        let stopped = self.persist.stopping && !self.persist.stopped && log.flushed().is_some();
        self.release();
        self.engine.log_advanced(now, figures);
        self.tell_synced(now);
        if stopped {
            self.stop_if_replicas_have_all(now);
        }
    }

    /// Returns until when a stop waits for replicas that have not acknowledged everything, if there are any.
    fn wait_for_replicas(&mut self, now: Now) -> Option<Instant> {
        let server = &mut self.engine.server;
        let primary = &mut server.replication.primary;
        let (online, offset) = (primary.replicas().len(), primary.offset());
        let timeout = Duration::from_secs(server.config.shutdown_timeout.into());
        if server.persistence.stop_forced
            || timeout.is_zero()
            || server.replication.replica.is_some()
            || primary.count(offset, Commit::Received) == online
        {
            return None;
        }
        // They say it every second; a question would be one more thing in the stream, behind the snapshot that was saved.
        self.effects.push_back(Effect::Log(
            LogLevel::Notice,
            format!("Waiting for replicas before shutting down, for at most {} seconds.", timeout.as_secs()),
        ));
        self.stirred = true;
        Some(now.instant + timeout)
    }

    /// Ends a stop that waits for nothing else, once replicas have everything or had their time.
    pub(crate) fn stop_if_replicas_have_all(&mut self, now: Now) {
        let log_is_done = self.persist.log.as_ref().is_none_or(|log| log.flushed().is_some());
        if !self.persist.stopping || self.persist.stopped || !log_is_done {
            return;
        }
        if let Some(until) = self.persist.replicas_until {
            let primary = &self.engine.server.replication.primary;
            let (online, offset) = (primary.replicas().len(), primary.offset());
            let have_all = primary.count(offset, Commit::Received);
            if have_all < online && now.instant < until {
                return;
            }
            if have_all < online {
                self.effects.push_back(Effect::Log(
                    LogLevel::Warning,
                    format!("{} of {online} replicas are not in sync when shutting down.", online - have_all),
                ));
            }
        }
        self.persist.stopped = true;
        self.effects.push_back(Effect::Shutdown);
    }

    /// Lets replies go that waited for the log, or for replicas.
    pub(crate) fn release(&mut self) {
        let server = &mut self.engine.server;
        let releasable = self.persist.log.as_ref().map_or(u64::MAX, Log::releasable);
        let log = match (releasable, server.config.appendfsync) {
            (u64::MAX, _) => Hold::Nothing,
            (_, AppendFsync::Always) => Hold::WritesAndReads,
            _ => Hold::Writes,
        };
        server.hold_replies(log.max(server.synchronous_hold()));
        let releasable = releasable.min(server.synchronous_release());
        server.release_replies(releasable.min(server.stream_offset()));
    }

    /// Does what is due for the log and for a child that hangs.
    pub(crate) fn tend_files(&mut self, now: Now) {
        if let Some(log) = &mut self.persist.log
            && log.poll_timeout().is_some_and(|at| at <= now.instant)
        {
            log.handle_timeout(now);
            self.tend_log(now);
        }
        let child = self.engine.server.persistence.child;
        if child.is_some_and(|child| now.instant.saturating_since(child.reported) > SILENCE_MAX) {
            self.effects.push_back(Effect::KillChild);
            self.snapshot_done(now, Err("the child has said nothing for too long and was ended".into()));
        }
        self.tend_stop(now);
    }

    /// Says what a stop waits for, and ends one in a hurry.
    fn tend_stop(&mut self, now: Now) {
        if self.persist.stopping {
            self.stop_if_replicas_have_all(now);
        }
        let Some(due) = self.stop_due().filter(|due| *due <= now.instant) else { return };
        if self.persist.replicas_until == Some(due) {
            self.persist.replicas_until = None;
            return;
        }
        if self.persist.hurry_until == Some(due) {
            self.effects.push_back(Effect::Log(
                LogLevel::Warning,
                "The disk is not waited for any longer. What is not on it may be lost.".into(),
            ));
            self.persist.stopped = true;
            self.effects.push_back(Effect::Shutdown);
            return;
        }
        self.persist.stop_says_at = None;
        let unsynced = self.persist.log.as_ref().map_or(0, |log| log.figures().unsynced);
        self.effects.push_back(Effect::Log(
            LogLevel::Warning,
            format!(
                "The stop waits for {unsynced} bytes of the append only file that are not on the disk. \
                 Another SIGTERM ends the wait."
            ),
        ));
    }

    /// Returns when [`Node::tend_stop`] has something to do.
    fn stop_due(&self) -> Option<Instant> {
        let persist = &self.persist;
        let waits = persist.stopping && !persist.stopped;
        let due = persist.hurry_until.into_iter().chain(persist.stop_says_at);
        due.chain(persist.replicas_until).min().filter(|_| waits)
    }

    /// Lets a stop that is under way wait for the disk no longer than a moment.
    pub fn hurry(&mut self, now: Now) {
        self.persist.replicas_until = None;
        self.persist.hurry_until.get_or_insert(now.instant + HURRY_MAX);
    }

    /// Returns when [`Node::tend_files`] wants to be called.
    pub(crate) fn files_due(&self) -> Option<Instant> {
        if !self.engine.server.effects.is_empty() {
            return Some(Instant::default());
        }
        let log = self.persist.log.as_ref().and_then(Log::poll_timeout);
        log.into_iter().chain(self.stop_due()).min()
    }

    /// Lets links go on that waited for the fork.
    fn go_on_after_fork(&mut self) {
        if std::mem::take(&mut self.persist.forking) {
            // Taken up in the next turn, as a pause's end is.
            self.engine.server.effects.push(Effect::Resume);
        }
    }

    /// Returns whether the driver has to fork before anything else is executed.
    pub(crate) fn is_forking(&self) -> bool {
        self.persist.forking
    }

    /// Gives up the snapshot under way, as the engine asked for.
    pub(crate) fn kill_child(&mut self, now: Now) {
        self.effects.push_back(Effect::KillChild);
        let Some(child) = self.engine.server.persistence.child.take() else { return };
        self.log_is_alone(now, child.kind);
        let stopped = || "it was stopped".into();
        match child.kind {
            Snapshot::Save => {}
            Snapshot::Replicas { .. } => self.replicas_snapshot_done(now, Err(stopped())),
            Snapshot::LogBase { .. } => {
                if let Some(log) = &mut self.persist.log {
                    log.snapshot_done(now, Err(stopped()));
                }
            }
        }
    }

    /// Begins to save the data set in a child process, unless one is at work.
    pub(crate) fn save(&mut self, now: Now) {
        self.pass_on_stream(now);
        let server = &mut self.engine.server;
        server.persistence.last_try = Some(now.instant);
        if server.persistence.child.is_some() {
            server.persistence.save_scheduled = true;
            server.effects.push(Effect::Resume);
            return;
        }
        server.persistence.save_scheduled = false;
        let rename_to = Some(String::from_utf8_lossy(&server.config.dbfilename).into_owned());
        let path = self.temporary("bgsave");
        self.fork(now, Snapshot::Save, path, rename_to);
    }

    /// Lets the driver fork a child, which writes the data of this very moment to a file or hands it out piece by piece.
    pub(crate) fn fork(&mut self, now: Now, kind: Snapshot, path: String, rename_to: Option<String>) {
        begin(&mut self.engine.server.persistence.child, kind, now, &self.engine.keyspace);
        if let Some(log) = &mut self.persist.log {
            log.set_snapshot_busy(now, true);
        }
        self.persist.forking = true;
        self.effects.push_back(Effect::Fork { kind, path, rename_to });
        self.tend_log(now);
    }

    /// Returns a name for a temporary file that no other server in the same directory gives.
    pub(crate) fn temporary(&mut self, what: &str) -> String {
        self.persist.files += 1;
        format!("temp-{what}-{}-{}.rdb", run_word(&self.engine.server.run_id), self.persist.files)
    }

    /// Begins to write the log anew, now or as soon as that can be.
    pub(crate) fn rewrite_log(&mut self, now: Now) {
        self.pass_on_stream(now);
        if let Some(log) = &mut self.persist.log {
            if let Err(reason) = log.rewrite(now) {
                self.engine.server.log(LogLevel::Warning, format!("The log is not rewritten: {reason}"));
            }
            self.tend_log(now);
        }
    }

    /// Takes over changed parameters.
    pub(crate) fn reconfigure_log(&mut self, now: Now, host: &dyn Host) {
        // What was written before was written under the old settings.
        self.pass_on_stream(now);
        let server = &self.engine.server;
        let (settings, on) = (settings(&server.config, &server.run_id), server.config.appendonly);
        let Some(log) = &mut self.persist.log else { return };
        let was_on = log.figures().enabled;
        if !was_on && (on || log.root() != settings.root) {
            // Whether a log can be kept there was looked at before the change was accepted.
            match look(&server.config, host) {
                Ok(Some(place)) => log.settle_in(settings.root.clone(), place),
                Ok(None) => {}
                Err(reason) => self.effects.push_back(Effect::Log(LogLevel::Warning, reason)),
            }
        }
        log.configure(now, settings);
        // Data that is being replaced is not logged: the log begins anew when the other data is there.
        let replaced = self.engine.server.persistence.loading().is_some();
        match (on, was_on) {
            (true, false) if replaced => {}
            (true, false) => {
                log.enable(now);
                self.listen();
            }
            (false, true) => {
                log.disable(now);
                self.listen();
            }
            _ => {}
        }
        self.tend_log(now);
    }

    /// Stops once all that was written is on the disk, or cannot be brought there.
    pub(crate) fn stop(&mut self, now: Now) {
        if std::mem::replace(&mut self.persist.stopping, true) {
            return;
        }
        // The stream ends where the data that was saved ends.
        self.engine.server.replication.primary.set_failing_over(true);
        self.persist.replicas_until = self.wait_for_replicas(now);
        let Some(log) = &mut self.persist.log else {
            return self.stop_if_replicas_have_all(now);
        };
        log.shutdown(now);
        self.persist.stop_says_at = Some(now.instant + STOP_SAYS_AFTER);
        if self.engine.server.persistence.stop_forced {
            self.hurry(now);
        }
        self.tend_log(now);
    }

    /// Returns whether the node is about to stop, and takes no more input.
    pub fn is_stopping(&self) -> bool {
        self.persist.stopping
    }

    /// Stops as SHUTDOWN does, for a signal.
    pub fn shut_down(&mut self, now: Now, host: &dyn Host, wish: config::ShutdownFlags) {
        self.engine.shut_down(now, host, wish);
        self.settle(now, host);
        self.pass_on_stream(now);
    }
}

/// Logs a part of the stream without what concerns replicas alone.
fn append(log: &mut Log, now: Now, offset: u64, database: usize, bytes: &[u8], passing: &[Range<usize>]) {
    if passing.is_empty() {
        log.append(now, offset, database, bytes);
        return;
    }
    let (mut logged, mut at) = (Vec::with_capacity(bytes.len()), 0);
    for range in passing {
        logged.extend_from_slice(&bytes[at..range.start]);
        at = range.end;
    }
    logged.extend_from_slice(&bytes[at..]);
    log.append(now, offset, database, &logged);
}

/// Returns how a log writes a place in a history.
pub(crate) fn mark(position: Position, database: usize) -> Mark {
    let id = position.id.as_str().as_bytes().try_into().expect("a history's name has forty digits");
    Mark { offset: position.offset, database, id }
}

/// Notes that a child is at work.
fn begin(place: &mut Option<Child>, kind: Snapshot, now: Now, keyspace: &keyspace::Keyspace) {
    *place = Some(Child {
        kind,
        started: now,
        dirty: keyspace.recorder.dirty,
        keys_total: keyspace.len() as u64,
        keys_done: 0,
        copied: 0,
        copied_peak: 0,
        reported: now.instant,
    });
}

/// Returns what there is where the configuration places the log, if the driver can look.
///
/// The error says why no log can be kept there before somebody has tidied up.
pub fn look(config: &Config, host: &dyn Host) -> Result<Option<Place>, String> {
    let settings = settings(config, "");
    let found = host.look_into(&settings.dir, &Manifest::file_name(&settings.name))?;
    found.map(|found| Place::look(&settings, found.file.as_deref(), found.names)).transpose()
}

/// Returns the part of temporary names that other servers in the same directory do not have.
fn run_word(run_id: &str) -> &str {
    &run_id[..run_id.len().min(8)]
}

/// Returns how the log is configured.
pub(crate) fn settings(config: &Config, run_id: &str) -> Settings {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // Tasks name files in UTF-8: where the directory has no such name, they are relative to it.
    let root = match std::str::from_utf8(&config.dir) {
        Ok(dir) if dir.starts_with('/') => format!("{}/", dir.trim_end_matches('/')),
        _ => String::new(),
    };
    Settings {
        name: text(&config.appendfilename),
        dir: text(&config.appenddirname),
        root,
        run: run_word(run_id).to_owned(),
        fsync: match config.appendfsync {
            AppendFsync::Always => Fsync::Always,
            AppendFsync::EverySecond => Fsync::EverySecond,
            AppendFsync::No => Fsync::No,
        },
        no_fsync_on_rewrite: config.no_appendfsync_on_rewrite,
        rewrite_percentage: config.auto_aof_rewrite_percentage,
        rewrite_min_size: config.auto_aof_rewrite_min_size,
        use_rdb_preamble: config.aof_use_rdb_preamble,
        timestamps: config.aof_timestamp_enabled,
        disable_auto_gc: config.aof_disable_auto_gc,
        disk_budget: config.aof_disk_budget,
        prepared_space: config.aof_prepared_space,
    }
}
