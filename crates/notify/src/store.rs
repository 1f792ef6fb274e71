//! Where failure records are kept: in the server, by plain commands; on disk while no server can be reached.
//!
//! ```text
//!  redstart:failures            list of ids, newest first, capped
//!  redstart:failure:{id}        hash: record        JSON of the record as it was saved
//!                                     attempt:…     JSON of one delivery attempt each
//!                                     acknowledged  JSON: who took note, and when
//!                                     renotified    when it was last asked to be told anew, in ms since 1970
//!  redstart:failures:open       set of ids that not everybody was told of, and that nobody acknowledged
//!  redstart:failures:claim:…    who is telling a person of a key and kind just now; expires
//!  redstart:failures:told:…     when a person was last told of a key and kind; expires with the window
//!  redstart:failures:pace:…     a channel's last message; expires when it may carry the next one
//! ```
//!
//! Every change is one MULTI, so a reader never meets half a record. Any Redis-compatible server will do.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Client, Connection, Pipeline, RedisError};

use crate::journal::Journal;
use crate::record::{Acknowledgement, Attempt, FailureRecord};
use crate::redact;
use crate::time::UnixMs;
use crate::ulid::Ulid;

/// The list of all records.
pub const FAILURES: &str = "redstart:failures";

/// The set of those that somebody still has to be told of.
pub const OPEN: &str = "redstart:failures:open";

/// How many records the server keeps unless told otherwise; the oldest make room.
const RECORDS_MAX: usize = 10_000;

/// How long connecting and each answer may take unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How many records one round trip fetches.
const PAGE: usize = 100;

/// Where a record was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// In the server.
    Server,
    /// On disk; it goes to the server when that can be reached again.
    Disk,
}

/// Why the store could not do what it was asked.
#[derive(Debug)]
pub enum StoreError {
    /// The address of the server cannot be understood.
    Address(String),
    /// The server cannot be reached.
    Unavailable(String),
    /// The server answered that it does not do this.
    Refused(String),
    /// The disk failed.
    Disk(io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Address(why) => write!(f, "not the address of a server: {why}"),
            StoreError::Unavailable(why) => write!(f, "the server cannot be reached: {why}"),
            StoreError::Refused(why) => write!(f, "the server refused: {why}"),
            StoreError::Disk(error) => write!(f, "the disk failed: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> StoreError {
        StoreError::Disk(error)
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> StoreError {
        // The text may repeat what was sent, so it is treated like any other text.
        let text = redact::text(&error.to_string());
        if error.code().is_some() { StoreError::Refused(text) } else { StoreError::Unavailable(text) }
    }
}

/// Failure records, in a server and on disk.
pub struct Store {
    client: Client,
    connection: Mutex<Option<Connection>>,
    journal: Journal,
    timeout: Duration,
    records_max: usize,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password.
        f.debug_struct("Store").field("journal", &self.journal).finish_non_exhaustive()
    }
}

impl Store {
    /// Returns the store in the server at `url`, with the journal in `state_directory`. Connects when first used.
    pub fn open(url: &str, state_directory: impl Into<PathBuf>) -> Result<Store, StoreError> {
        let client =
            Client::open(url).map_err(|error| StoreError::Address(redact::text(&error.to_string())))?;
        Ok(Store::with_client(client, state_directory))
    }

    /// Returns the store in the server that `client` connects to.
    pub fn with_client(client: Client, state_directory: impl Into<PathBuf>) -> Store {
        Store {
            client,
            connection: Mutex::new(None),
            journal: Journal::new(state_directory),
            timeout: TIMEOUT,
            records_max: RECORDS_MAX,
        }
    }

    /// Sets how long connecting and each answer may take.
    pub fn timeout(mut self, timeout: Duration) -> Store {
        self.timeout = timeout;
        self
    }

    /// Sets how many records the server keeps.
    pub fn records_max(mut self, records_max: usize) -> Store {
        self.records_max = records_max.max(1);
        self
    }

    /// Returns the journal for when the server cannot be reached.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Saves a record: in the server, or else on disk. When this returns, a killed process does not lose it.
    pub fn save(&self, record: &FailureRecord) -> Result<Saved, StoreError> {
        let record = record.redacted();
        match self.save_all(std::slice::from_ref(&record)) {
            Ok(()) => Ok(Saved::Server),
            Err(_) => {
                // Whatever the server's reason (away, full, read-only, loading): the record must survive.
                self.journal.append(&record)?;
                Ok(Saved::Disk)
            }
        }
    }

    /// Moves what is on disk to the server. Returns how many records there were.
    pub fn replay(&self) -> Result<usize, StoreError> {
        self.journal.drain(|records| self.save_all(records))
    }

    /// Returns up to `count` records, newest first.
    pub fn list(&self, count: usize) -> Result<Vec<FailureRecord>, StoreError> {
        self.replay_first();
        let end = isize::try_from(count).unwrap_or(isize::MAX) - 1;
        if end < 0 {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = self.ask(redis::cmd("LRANGE").arg(FAILURES).arg(0).arg(end))?;
        let ids: Vec<Ulid> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let mut records: Vec<FailureRecord> = self.load(&ids)?.into_iter().flatten().collect();
        // Those that waited on disk were pushed late.
        records.sort_by_key(|record| std::cmp::Reverse(record.id));
        Ok(records)
    }

    /// Returns the record with this id.
    pub fn get(&self, id: Ulid) -> Result<Option<FailureRecord>, StoreError> {
        self.replay_first();
        Ok(self.load(&[id])?.pop().flatten())
    }

    /// Notes that somebody took note of a failure: nobody is told of it any more. Returns whether there is such a record.
    pub fn ack(&self, id: Ulid, by: &str) -> Result<bool, StoreError> {
        self.replay_first();
        let acknowledged = Acknowledgement { by: by.to_owned(), at_ms: UnixMs::now() };
        self.change(id, |pipeline| {
            pipeline.hset(hash(id), "acknowledged", to_json(&acknowledged)).ignore();
            pipeline.srem(OPEN, id.to_string()).ignore();
        })
    }

    /// Has everybody responsible told anew. Returns whether there is such a record.
    pub fn renotify(&self, id: Ulid) -> Result<bool, StoreError> {
        self.replay_first();
        let now = UnixMs::now();
        self.change(id, |pipeline| {
            pipeline.hset(hash(id), "renotified", now.0).ignore();
            pipeline.hdel(hash(id), "acknowledged").ignore();
            pipeline.sadd(OPEN, id.to_string()).ignore();
        })
    }

    /// Moves what is on disk to the server, if that can be: what is asked next will say what is wrong.
    fn replay_first(&self) {
        let _ = self.replay();
    }

    /// Returns the records on disk that the server does not have yet.
    pub fn on_disk(&self) -> Result<Vec<FailureRecord>, StoreError> {
        Ok(self.journal.read()?)
    }

    /// Saves records in the server, whether it has them already or not.
    fn save_all(&self, records: &[FailureRecord]) -> Result<(), StoreError> {
        for record in records {
            let (id, key) = (record.id.to_string(), hash(record.id));
            let known: bool = self.ask(redis::cmd("HEXISTS").arg(&key).arg("record"))?;
            let mut pipeline = Pipeline::new();
            pipeline.atomic();
            if !known {
                // Should the answer to a first try have been lost, the second one must not list it twice.
                pipeline.lrem(FAILURES, 1, &id).ignore();
                pipeline.lpush(FAILURES, &id).ignore();
                pipeline.hset(&key, "record", to_json(&bare(record))).ignore();
                pipeline.sadd(OPEN, &id).ignore();
                self.make_room(&mut pipeline)?;
            }
            for attempt in &record.attempts {
                pipeline.hset(&key, attempt_field(attempt), to_json(attempt)).ignore();
            }
            if !pipeline.is_empty() {
                self.run(&pipeline)?;
            }
        }
        Ok(())
    }

    /// Adds to a save that the oldest records beyond the cap go.
    fn make_room(&self, pipeline: &mut Pipeline) -> Result<(), StoreError> {
        let first = self.records_max as isize - 1;
        let oldest: Vec<String> = self.ask(redis::cmd("LRANGE").arg(FAILURES).arg(first).arg(-1))?;
        if !oldest.is_empty() {
            for id in &oldest {
                pipeline.del(format!("redstart:failure:{id}")).ignore();
                pipeline.srem(OPEN, id).ignore();
            }
            pipeline.ltrim(FAILURES, 0, first).ignore();
        }
        Ok(())
    }

    /// Changes a record that is there, all in one MULTI. Returns whether it is there.
    fn change(&self, id: Ulid, change: impl FnOnce(&mut Pipeline)) -> Result<bool, StoreError> {
        if !self.ask::<bool>(redis::cmd("HEXISTS").arg(hash(id)).arg("record"))? {
            return Ok(false);
        }
        let mut pipeline = Pipeline::new();
        pipeline.atomic();
        change(&mut pipeline);
        self.run(&pipeline)?;
        Ok(true)
    }

    /// Returns the records with these ids, as far as the server has them.
    pub(crate) fn load(&self, ids: &[Ulid]) -> Result<Vec<Option<FailureRecord>>, StoreError> {
        let mut records = Vec::with_capacity(ids.len());
        for page in ids.chunks(PAGE) {
            let mut pipeline = Pipeline::new();
            for id in page {
                pipeline.hgetall(hash(*id));
            }
            let answers: Vec<HashMap<String, Vec<u8>>> = self.query(&pipeline)?;
            records.extend(answers.into_iter().map(assemble));
        }
        Ok(records)
    }

    /// Asks the server one thing.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, StoreError> {
        self.with_connection(|connection| command.query(connection))
    }

    pub(crate) fn query<T: redis::FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        self.with_connection(|connection| pipeline.query(connection))
    }

    pub(crate) fn run(&self, pipeline: &Pipeline) -> Result<(), StoreError> {
        self.query(pipeline)
    }

    /// Does something over the connection, over a new one when the old one broke.
    ///
    /// All that is asked here can be asked twice without harm.
    fn with_connection<T>(
        &self,
        act: impl Fn(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let mut slot = self.connection();
        if let Some(mut connection) = slot.take() {
            match act(&mut connection) {
                // The server closed it since it was last used; a server that hangs would hang again.
                Err(error) if error.is_connection_dropped() && !error.is_timeout() => {}
                Err(error) if error.code().is_none() => return Err(error.into()),
                outcome => {
                    *slot = Some(connection);
                    return Ok(outcome?);
                }
            }
        }
        let mut connection = self.client.get_connection_with_timeout(self.timeout)?;
        connection.set_read_timeout(Some(self.timeout))?;
        connection.set_write_timeout(Some(self.timeout))?;
        let outcome = act(&mut connection);
        if outcome.as_ref().err().is_none_or(|error| error.code().is_some()) {
            *slot = Some(connection);
        }
        Ok(outcome?)
    }

    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "deliver")]
mod delivery {
    //! What the notifier asks of the store.

    use super::*;
    use crate::outbox::{Group, Settlement};

    /// What became of a try to use something that only one may use at a time.
    pub(crate) enum Claim {
        /// It is ours.
        Ours,
        /// It is another's, for this much longer.
        Others(Duration),
    }

    impl Store {
        /// Returns the ids of the records that somebody still has to be told of.
        pub(crate) fn open_ids(&self) -> Result<Vec<Ulid>, StoreError> {
            let ids: Vec<String> = self.ask(redis::cmd("SMEMBERS").arg(OPEN))?;
            Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
        }

        /// Claims the telling of a group for as long as that may take.
        pub(crate) fn claim(&self, group: &Group, name: &str, lasts: Duration) -> Result<Claim, StoreError> {
            self.set_once(&claim_key(group), name, lasts)
        }

        /// Gives a claim back before it ends by itself.
        pub(crate) fn disclaim(&self, group: &Group) -> Result<(), StoreError> {
            self.ask(redis::cmd("DEL").arg(claim_key(group)))
        }

        /// Takes a channel's turn; its next one comes after `spacing`.
        pub(crate) fn take_turn(
            &self,
            channel: &str,
            name: &str,
            spacing: Duration,
        ) -> Result<Claim, StoreError> {
            if spacing.is_zero() {
                return Ok(Claim::Ours);
            }
            self.set_once(&format!("redstart:failures:pace:{channel}"), name, spacing)
        }

        /// Returns when a group was last told within the window.
        pub(crate) fn told(&self, group: &Group) -> Result<Option<UnixMs>, StoreError> {
            let at: Option<u64> = self.ask(redis::cmd("GET").arg(told_key(group)))?;
            Ok(at.map(UnixMs))
        }

        /// Saves what a delivery changed, all of it or nothing.
        pub(crate) fn settle(&self, change: &Settlement, window: Duration) -> Result<(), StoreError> {
            let mut pipeline = Pipeline::new();
            pipeline.atomic();
            for (id, attempt) in &change.attempts {
                pipeline.hset(hash(*id), attempt_field(attempt), to_json(attempt)).ignore();
            }
            for (id, field) in &change.forget {
                pipeline.hdel(hash(*id), field).ignore();
            }
            for id in &change.close {
                pipeline.srem(OPEN, id.to_string()).ignore();
            }
            if let Some((group, told)) = &change.group {
                if let Some(at) = told.filter(|_| !window.is_zero()) {
                    pipeline
                        .cmd("SET")
                        .arg(told_key(group))
                        .arg(at.0)
                        .arg("PX")
                        .arg(milliseconds(window))
                        .ignore();
                }
                pipeline.del(claim_key(group)).ignore();
            }
            if pipeline.is_empty() { Ok(()) } else { self.run(&pipeline) }
        }

        fn set_once(&self, key: &str, name: &str, lasts: Duration) -> Result<Claim, StoreError> {
            let lasts = milliseconds(lasts);
            let set = redis::cmd("SET").arg(key).arg(name).arg("NX").arg("PX").arg(lasts).to_owned();
            if self.ask::<Option<String>>(&set)?.is_some() {
                return Ok(Claim::Ours);
            }
            let left: i64 = self.ask(redis::cmd("PTTL").arg(key))?;
            Ok(Claim::Others(Duration::from_millis(left.clamp(1, lasts as i64) as u64)))
        }
    }

    fn claim_key(group: &Group) -> String {
        format!("redstart:failures:claim:{}", name(group))
    }

    fn told_key(group: &Group) -> String {
        format!("redstart:failures:told:{}", name(group))
    }

    fn name(group: &Group) -> String {
        let Group { target, kind, key } = group;
        format!("{}:{}:{kind}:{key}", target.person, target.channel)
    }

    fn milliseconds(duration: Duration) -> u64 {
        (duration.as_millis() as u64).max(1)
    }
}

#[cfg(feature = "deliver")]
pub(crate) use delivery::Claim;

/// Returns the key of a record's hash.
pub(crate) fn hash(id: Ulid) -> String {
    format!("redstart:failure:{id}")
}

/// Returns the field of a delivery attempt.
pub(crate) fn attempt_field(attempt: &Attempt) -> String {
    format!("attempt:{}:{}:{}", attempt.at_ms.0, attempt.person, attempt.channel)
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("records have only texts for names")
}

/// Returns a record without what is kept in fields of its own.
fn bare(record: &FailureRecord) -> FailureRecord {
    FailureRecord { attempts: Vec::new(), acknowledged: None, renotified_ms: None, ..record.clone() }
}

/// Returns the record that a hash holds; nothing when it holds none.
fn assemble(fields: HashMap<String, Vec<u8>>) -> Option<FailureRecord> {
    let mut record: FailureRecord = serde_json::from_slice(fields.get("record")?).ok()?;
    record.attempts = fields
        .iter()
        .filter(|(field, _)| field.starts_with("attempt:"))
        .filter_map(|(_, value)| serde_json::from_slice(value).ok())
        .collect();
    record.attempts.sort_by(|a, b| (a.at_ms, &a.person, &a.channel).cmp(&(b.at_ms, &b.person, &b.channel)));
    record.acknowledged = fields.get("acknowledged").and_then(|value| serde_json::from_slice(value).ok());
    record.renotified_ms = fields.get("renotified").and_then(|value| serde_json::from_slice(value).ok());
    Some(record)
}
