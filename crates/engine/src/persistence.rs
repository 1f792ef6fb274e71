//! What the engine knows of the files that hold its data: enough to answer for them and to say when one is due.
//!
//! Decides when a snapshot is due, and which commands are refused while one cannot be had. Leaves writing, forking and
//! the log to the node and its driver.

use std::time::Duration;

use base::time::{Instant, Now};
use config::ShutdownFlags;
use keyspace::Keyspace;
use keyspace::evict::Order;
use rdb::{Ages, Meta, SaveOptions};
use replication::Content;
use replication::primary::SnapshotId;

use crate::dispatch::Engine;
use crate::effect::{Effect, LogLevel};
use crate::{Error, Host, Server, commands};

/// What a child process is writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// The RDB file.
    Save,
    /// The base of the log: as an RDB, or as commands.
    LogBase { rdb: bool },
    /// The data for replicas: to a file, or piece by piece.
    Replicas { id: SnapshotId, diskless: bool, content: Content },
}

/// A snapshot under way in a child process.
#[derive(Clone, Copy, Debug)]
pub struct Child {
    pub kind: Snapshot,
    pub started: Now,
    /// Changes that the snapshot holds, out of [`keyspace::Recorder::dirty`].
    pub dirty: u64,
    pub keys_total: u64,
    pub keys_done: u64,
    /// Bytes that were copied because either side wrote to them, and the most there ever were.
    pub copied: u64,
    pub copied_peak: u64,
    pub reported: Instant,
}

/// The data set while it is being read from files.
#[derive(Clone, Copy, Debug)]
pub struct Loading {
    pub started: Now,
    pub total_bytes: u64,
    pub loaded_bytes: u64,
}

/// What the log says of itself.
#[derive(Clone, Debug, Default)]
pub struct LogFigures {
    pub enabled: bool,
    /// It holds nothing before its first base is on the disk.
    pub starting: bool,
    pub rewrite_scheduled: bool,
    pub last_rewrite_failed: bool,
    pub write_failed: bool,
    pub rewrites: u64,
    pub failed_rewrites: u64,
    pub current_size: u64,
    pub base_size: u64,
    pub buffered: u64,
    pub pending_sync: bool,
    pub delayed_syncs: u64,
    /// Milliseconds since the oldest byte was written that is not known to be on the disk.
    pub unsynced_age_ms: u64,
    /// Everything up to this offset is on the disk.
    pub durable: u64,
    /// Why writes are refused.
    pub refusal: Option<String>,
    /// A rewrite would take more room than the log may have.
    pub over_budget: bool,
}

/// What is known of the files.
#[derive(Clone, Debug)]
pub struct Persistence {
    /// Some commands are refused for the files' sake: one look suffices for all others.
    hinders: bool,
    /// A snapshot was asked for whose moment is now.
    pub(crate) wants_fork: bool,
    loading: Option<Loading>,
    /// A master's data is being loaded beside our own, which is served meanwhile.
    pub loads_beside: bool,
    pub child: Option<Child>,
    pub log: LogFigures,
    /// A snapshot was asked for while another was under way.
    pub save_scheduled: bool,
    pub last_save_unix: i64,
    last_save_failed: bool,
    pub last_save_seconds: i64,
    pub last_try: Option<Instant>,
    pub saves: u64,
    /// What the recorder had counted when the data was saved.
    pub saved_dirty: u64,
    pub last_copied: u64,
    pub log_rewrite_started: Option<Now>,
    pub last_rewrite_seconds: i64,
    pub last_rewrite_copied: u64,
    pub fork_us: u64,
    pub forks: u64,
    pub keys_loaded: u64,
    pub keys_expired: u64,
    /// Function libraries that a snapshot held: kept, so that the next one holds them, too.
    pub functions: Vec<Box<[u8]>>,
    /// The stop that is under way does not wait for a disk that hangs.
    pub stop_forced: bool,
}

/// Writes are refused while so many bytes wait for the disk.
const BUFFERED_MAX: u64 = 512 << 20;

/// How long a failed snapshot is not tried again for (Redis' CONFIG_BGSAVE_RETRY_DELAY).
const RETRY: Duration = Duration::from_secs(5);

impl Persistence {
    /// Returns what is known at the start.
    pub fn new(now: Now) -> Persistence {
        Persistence {
            hinders: false,
            wants_fork: false,
            loading: None,
            loads_beside: false,
            child: None,
            log: LogFigures::default(),
            save_scheduled: false,
            // As Redis does, the start counts as the first save.
            last_save_unix: now.unix_secs(),
            last_save_failed: false,
            last_save_seconds: -1,
            last_try: None,
            saves: 0,
            saved_dirty: 0,
            last_copied: 0,
            log_rewrite_started: None,
            last_rewrite_seconds: -1,
            last_rewrite_copied: 0,
            fork_us: 0,
            forks: 0,
            keys_loaded: 0,
            keys_expired: 0,
            functions: Vec::new(),
            stop_forced: false,
        }
    }

    /// Returns whether some commands may have to be refused.
    #[inline]
    pub(crate) fn hinders(&self) -> bool {
        self.hinders
    }

    /// Returns whether a snapshot of this very moment was asked for since it was called last.
    #[inline]
    pub fn take_fork_wish(&mut self) -> bool {
        std::mem::take(&mut self.wants_fork)
    }

    /// Returns how far loading is, while the data set is being loaded.
    pub fn loading(&self) -> Option<&Loading> {
        self.loading.as_ref()
    }

    /// Returns whether data is being loaded, also where it is loaded beside what is served.
    #[inline]
    pub(crate) fn loads(&self) -> bool {
        self.loading.is_some() || self.loads_beside
    }

    /// Begins or ends loading, or says how far it is.
    pub fn set_loading(&mut self, loading: Option<Loading>) {
        self.loading = loading;
        self.look_for_hindrances();
    }

    /// Returns whether the last snapshot failed.
    pub fn has_save_failed(&self) -> bool {
        self.last_save_failed
    }

    /// Notes that a snapshot failed.
    pub fn save_failed(&mut self) {
        self.last_save_failed = true;
        self.look_for_hindrances();
    }

    fn look_for_hindrances(&mut self) {
        self.hinders = self.loading.is_some()
            || self.last_save_failed
            || self.log.refusal.is_some()
            || self.log.buffered >= BUFFERED_MAX;
    }

    /// Notes that the data as it was after so many changes is saved.
    pub fn saved(&mut self, now: Now, dirty: u64) {
        self.saved_dirty = dirty;
        self.last_save_unix = now.unix_secs();
        self.last_save_failed = false;
        self.look_for_hindrances();
    }
}

impl Server {
    /// Returns why a command that writes is refused, as the files cannot follow.
    pub(crate) fn refuses_writes(&self) -> Option<Error> {
        if let Some(refusal) = &self.persistence.log.refusal {
            return Some(Error::from(refusal.clone()));
        }
        if self.persistence.log.buffered >= BUFFERED_MAX {
            return Some(Error::text(
                "MISCONF Errors writing to the AOF file: the disk does not keep up, and what waits for it takes too much memory",
            ));
        }
        self.has_save_error().then_some(Error::text(MISCONF))
    }

    fn has_save_error(&self) -> bool {
        let saves = self.config.stop_writes_on_bgsave_error && !self.config.save.is_empty();
        saves && self.persistence.last_save_failed
    }

    /// Returns whether the disk has refused something that it was given.
    pub(crate) fn has_disk_error(&self) -> bool {
        self.persistence.log.refusal.is_some() || self.has_save_error()
    }
}

/// What WAITAOF answers when it waits for a log that is off.
pub(crate) const LOG_IS_OFF: &str =
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

const MISCONF: &str = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
Commands that may modify the data set are disabled, because this instance is configured to report errors during writes \
if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB \
error.";

impl Engine {
    /// Returns what a snapshot says of itself.
    pub fn snapshot_meta(&self, now: Now, used_memory: usize, aof_base: bool) -> Meta {
        meta(&self.server, now, used_memory, aof_base)
    }

    /// Returns how snapshots are written.
    pub fn snapshot_options(&self, now: Now) -> SaveOptions {
        options(&self.server, now.unix_ms())
    }

    /// Takes what the log says of itself, and answers those who waited for it.
    pub fn log_advanced(&mut self, now: Now, figures: LogFigures) {
        self.server.persistence.log = figures;
        self.server.persistence.look_for_hindrances();
        self.look_at_acks(now);
    }

    /// Asks for a snapshot if enough has changed for long enough, or one was put off.
    pub(crate) fn save_if_due(&mut self, now: Now) {
        let persistence = &self.server.persistence;
        if persistence.child.is_some() || persistence.loading.is_some() {
            return;
        }
        let tried_lately = persistence.last_try.is_some_and(|at| now.instant.saturating_since(at) < RETRY);
        if persistence.last_save_failed && tried_lately {
            return;
        }
        if persistence.save_scheduled {
            self.server.effects.push(Effect::Save);
            return;
        }
        let changes = self.keyspace.recorder.dirty.saturating_sub(persistence.saved_dirty);
        let seconds = now.unix_secs() - persistence.last_save_unix;
        let due = self
            .server
            .config
            .save
            .iter()
            .find(|(after, least)| changes >= *least as u64 && seconds > *after);
        if let Some(&(after, _)) = due
            && changes > 0
        {
            self.server.log(LogLevel::Notice, format!("{changes} changes in {after} seconds. Saving..."));
            self.server.effects.push(Effect::Save);
        }
    }
}

fn meta(server: &Server, now: Now, used_memory: usize, aof_base: bool) -> Meta {
    let aux = vec![
        ("redis-ver", base::version::REDIS_VERSION.to_owned()),
        ("redis-bits", "64".to_owned()),
        ("ctime", now.unix_secs().to_string()),
        ("used-mem", used_memory.to_string()),
    ];
    let mut aux = aux;
    if server.locks.tokens.highest() > 0 {
        aux.push((crate::locks::TOKEN_AUX, server.locks.tokens.highest().to_string()));
    }
    let meta = Meta { aux, aof_base, functions: server.persistence.functions.clone() };
    match server.stream_position() {
        Some((position, database)) => meta.replicated(database, position.id.as_str(), position.offset),
        None => meta,
    }
}

fn options(server: &Server, now_ms: i64) -> SaveOptions {
    let config = &server.config;
    let ages = match commands::config::eviction(config) {
        Some((_, Order::Lru)) => Ages::Idle { now_ms },
        Some((_, Order::Lfu)) => Ages::Frequency { now_ms },
        _ => Ages::Leave,
    };
    let version = match config.rdb_version {
        0 => rdb::VERSION,
        version => version as u16,
    };
    SaveOptions { version, compress: config.rdbcompression, checksum: config.rdbchecksum, ages }
}

/// Writes the RDB file on the spot, while everything waits.
pub(crate) fn save_now(
    server: &mut Server,
    keyspace: &mut Keyspace,
    now: Now,
    host: &dyn Host,
) -> Result<(), String> {
    let path = String::from_utf8_lossy(&server.config.dbfilename).into_owned();
    let meta = meta(server, now, host.memory_used(), false);
    let options = options(server, now.unix_ms());
    server.persistence.last_try = Some(now.instant);
    let saved = host.write_file(&path, &mut |sink| {
        rdb::save(sink, keyspace, &meta, &options, &mut |_| {}).map(|summary| summary.keys)
    });
    match saved {
        Ok(()) => {
            let dirty = keyspace.recorder.dirty;
            server.persistence.saved(now, dirty);
            server.persistence.saves += 1;
            server.log(LogLevel::Notice, "DB saved on disk".into());
            Ok(())
        }
        Err(reason) => {
            server.log(LogLevel::Warning, format!("Saving the data set to {path} failed: {reason}"));
            Err(reason)
        }
    }
}

/// Does what must be done before the server may stop: saves the data, if it is to be saved.
pub(crate) fn prepare_shutdown(
    server: &mut Server,
    keyspace: &mut Keyspace,
    now: Now,
    host: &dyn Host,
    wish: ShutdownFlags,
) -> Result<(), ()> {
    server.log(LogLevel::Warning, "User requested shutdown...".into());
    server.persistence.stop_forced = wish.force;
    let loading = server.persistence.loading().is_some();
    if !loading && (wish.save || (!wish.no_save && !server.config.save.is_empty())) {
        server.log(LogLevel::Notice, "Saving the final RDB snapshot before exiting.".into());
        if save_now(server, keyspace, now, host).is_err() && !wish.force {
            server.log(LogLevel::Warning, "Error trying to save the DB, can't exit.".into());
            return Err(());
        }
    }
    if server.persistence.child.is_some() {
        server.effects.push(Effect::KillChild);
    }
    Ok(())
}

impl Engine {
    /// Does what SHUTDOWN does, for a signal.
    pub fn shut_down(&mut self, now: Now, host: &dyn Host, wish: ShutdownFlags) {
        if prepare_shutdown(&mut self.server, &mut self.keyspace, now, host, wish).is_ok() {
            self.server.effects.push(Effect::Shutdown);
        }
    }
}
