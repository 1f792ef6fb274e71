//! Saving a keyspace whole.
//!
//! Runs in a forked child as well as in the server itself: it takes no lock, changes nothing, and allocates only a few
//! buffers at its beginning.

use keyspace::db::Aging;
use keyspace::evict::{idle_ms, lfu_counter};
use keyspace::{Entry, Keyspace};

use crate::error::SinkError;
use crate::format::{VERSION, VERSION_MAX, opcode};
use crate::value::{type_of, write_value};
use crate::write::{Sink, Writer};

/// What a snapshot says about itself before its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Fields and their values, in the order in which they are written: `redis-ver`, `ctime` and so on.
    pub aux: Vec<(&'static str, String)>,
    /// The snapshot is the base of an append-only file.
    pub aof_base: bool,
    /// The source of each function library.
    pub functions: Vec<Box<[u8]>>,
}

impl Meta {
    /// Returns what Redis says as well: the version it would be, when the snapshot was made, and the memory in use.
    pub fn new(version: &str, unix_seconds: i64, used_memory: usize) -> Meta {
        let aux = vec![
            ("redis-ver", version.into()),
            ("redis-bits", "64".into()),
            ("ctime", unix_seconds.to_string()),
            ("used-mem", used_memory.to_string()),
        ];
        Meta { aux, ..Meta::default() }
    }

    /// Adds where in which history the snapshot was made, and the database that the stream had selected.
    pub fn replicated(mut self, database: usize, id: &str, offset: u64) -> Meta {
        self.aux.push(("repl-stream-db", database.to_string()));
        self.aux.push(("repl-id", id.into()));
        self.aux.push(("repl-offset", offset.to_string()));
        self
    }
}

/// How a snapshot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// The format's version, from [`VERSION`] to [`VERSION_MAX`].
    pub version: u16,
    pub compress: bool,
    pub checksum: bool,
    pub ages: Ages,
}

impl Default for SaveOptions {
    fn default() -> SaveOptions {
        SaveOptions { version: VERSION, compress: true, checksum: true, ages: Ages::Leave }
    }
}

/// What is written of when and how often keys were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ages {
    /// Nothing: no eviction policy asks for it.
    Leave,
    /// How long each key was not used until now, in Unix milliseconds.
    Idle { now_ms: i64 },
    /// How often each key is used, as of now.
    Frequency { now_ms: i64 },
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub keys: u64,
    pub bytes: u64,
}

/// Keys between two reports of progress.
const REPORT_EVERY: u64 = 1024;

/// Writes all databases to `sink`, and tells `progress` now and then how many keys are done.
pub fn save(
    sink: &mut dyn Sink,
    keyspace: &Keyspace,
    meta: &Meta,
    options: &SaveOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Summary, SinkError> {
    let version = options.version.clamp(VERSION, VERSION_MAX);
    let mut out = Writer::new(Some(sink), options.compress, options.checksum);
    out.put(format!("REDIS{version:04}").as_bytes());
    let base = ("aof-base", u8::from(meta.aof_base).to_string());
    for (name, value) in meta.aux.iter().chain([&base]) {
        out.byte(opcode::AUX);
        out.string(name.as_bytes());
        out.string(value.as_bytes());
    }
    for library in &meta.functions {
        out.byte(opcode::FUNCTION2);
        out.string(library);
    }
    let mut keys = 0;
    for (number, db) in keyspace.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        out.byte(opcode::SELECTDB);
        out.len(number as u64);
        out.byte(opcode::RESIZEDB);
        out.len(db.len() as u64);
        out.len(db.table.marked_len() as u64);
        for entry in &db.table {
            write_entry(&mut out, entry, keyspace.aging, options.ages, version);
            keys += 1;
            if keys % REPORT_EVERY == 0 {
                out.check()?;
                progress(keys);
            }
        }
    }
    out.byte(opcode::EOF);
    out.finish()?;
    progress(keys);
    Ok(Summary { keys, bytes: out.bytes() })
}

#[inline]
fn write_entry(out: &mut Writer<'_>, entry: &Entry, aging: Aging, ages: Ages, version: u16) {
    if let Some(stamp) = entry.stamp() {
        out.byte(opcode::EXPIRETIME_MS);
        out.eight(stamp.to_le_bytes());
    }
    match (ages, aging) {
        (Ages::Idle { now_ms }, Aging::Lru) => {
            out.byte(opcode::IDLE);
            out.len(idle_ms(entry, now_ms) / 1000);
        }
        (Ages::Frequency { now_ms }, Aging::Lfu { decay_minutes, .. }) => {
            out.byte(opcode::FREQ);
            out.byte(lfu_counter(entry.age(), decay_minutes, now_ms));
        }
        _ => {}
    }
    out.byte(type_of(entry, version));
    out.string(entry.key());
    write_value(out, entry, version);
    out.spill();
}
