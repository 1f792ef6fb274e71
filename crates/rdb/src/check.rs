//! What is in a snapshot, and where it breaks, without keeping any of it.

use std::collections::BTreeMap;

use base::hash::HashSeed;
use keyspace::keys::{encoding_of, memory_of, type_of};
use keyspace::{Entry, Limits, Text, Value};
use structures::Payload;

use crate::error::LoadError;
use crate::load::{Context, Item, LoadOptions, Loader};

/// How many of the largest keys a report names.
const LARGEST: usize = 10;

/// Elements from which the memory of a large collection is estimated.
const SIZE_SAMPLES: usize = 100;

/// Bytes of a name or value that a report shows.
const TEXT_MAX: usize = 200;

/// Reads a snapshot as its bytes arrive and counts what is there.
pub struct Checker {
    loader: Loader,
    report: Report,
    db: usize,
    now_ms: i64,
}

/// What is in a snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The format's version; 0 if not even that could be read.
    pub version: u16,
    /// What the snapshot says about itself.
    pub aux: Vec<(String, String)>,
    pub functions: u64,
    pub keys: u64,
    pub with_expiry: u64,
    /// Keys that were past their expiry at the time given.
    pub expired: u64,
    /// Keys without a value, which are not loaded.
    pub empty: u64,
    pub databases: BTreeMap<usize, u64>,
    /// By type and encoding in memory.
    pub kinds: BTreeMap<(&'static str, &'static str), Tally>,
    /// The keys that take the most memory, the largest first.
    pub largest: Vec<Large>,
    /// Bytes that were read and found right.
    pub bytes: u64,
    /// Whether the checksum was there and right; `None` where the snapshot has none.
    pub checksum: Option<u64>,
    /// Where the snapshot breaks.
    pub error: Option<LoadError>,
}

/// Sums over keys of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub keys: u64,
    /// Elements of collections, bytes of strings.
    pub elements: u64,
    /// Memory that the keys and values take when loaded.
    pub memory: u64,
}

/// A key that takes much memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Large {
    pub db: usize,
    pub key: Vec<u8>,
    pub kind: (&'static str, &'static str),
    pub elements: u64,
    pub memory: u64,
}

impl Checker {
    /// Returns a checker at the beginning of a snapshot; keys expire by `now_ms`.
    pub fn new(limits: Limits, now_ms: i64, input_len: Option<u64>) -> Checker {
        let context = Context { limits, seed: HashSeed([0, 0]) };
        let options = LoadOptions { now_ms, input_len, ..LoadOptions::default() };
        Checker { loader: Loader::new(context, options), report: Report::default(), db: 0, now_ms }
    }

    /// Counts what is at the front of `bytes` and returns how many bytes it took; see [`Loader::parse`].
    ///
    /// At an error it takes everything, so that the caller comes to the end.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        if self.report.error.is_some() {
            return bytes.len();
        }
        let Checker { loader, report, db, now_ms } = self;
        let parsed = loader.parse(bytes, &mut |item| {
            match item {
                Item::Aux(name, value) => report.aux.push((shown(name), shown(value))),
                Item::Select(number) => *db = number,
                Item::Resize { .. } | Item::End => {}
                Item::Entry(entry) => report.add(*db, &entry, *now_ms),
                Item::Function(_) => report.functions += 1,
                Item::Checksum(crc) => report.checksum = (crc != 0).then_some(crc),
            }
            Ok(())
        });
        match parsed {
            Ok(taken) => taken,
            Err(error) => {
                report.error = Some(error);
                bytes.len()
            }
        }
    }

    /// Returns how many bytes [`Checker::feed`] needs at least to take any.
    pub fn needs(&self) -> usize {
        self.loader.needs()
    }

    /// Returns whether nothing is to be read any more.
    pub fn is_done(&self) -> bool {
        self.loader.is_done() || self.report.error.is_some()
    }

    /// Returns the report, the input being at its end.
    pub fn finish(self) -> Report {
        let mut report = self.report;
        report.version = self.loader.version();
        report.empty = self.loader.empty_keys();
        report.bytes = self.loader.offset();
        if report.error.is_none() {
            report.error = self.loader.end_of_input().err();
        }
        report
    }
}

impl Report {
    fn add(&mut self, db: usize, entry: &Entry, now_ms: i64) {
        self.keys += 1;
        *self.databases.entry(db).or_default() += 1;
        if let Some(stamp) = entry.stamp() {
            self.with_expiry += 1;
            self.expired += u64::from(stamp <= now_ms);
        }
        let kind = (type_of(entry).name(), encoding_of(entry));
        let (elements, memory) = (elements_of(entry) as u64, memory_of(entry, SIZE_SAMPLES) as u64);
        let tally = self.kinds.entry(kind).or_default();
        tally.keys += 1;
        tally.elements += elements;
        tally.memory += memory;
        if self.largest.len() == LARGEST && self.largest.last().is_some_and(|last| last.memory >= memory) {
            return;
        }
        let place = self.largest.partition_point(|other| other.memory >= memory);
        let key = entry.key()[..entry.key().len().min(TEXT_MAX)].to_vec();
        self.largest.insert(place, Large { db, key, kind, elements, memory });
        self.largest.truncate(LARGEST);
    }
}

/// Returns how many elements a collection has, or bytes a string.
fn elements_of(entry: &Entry) -> usize {
    if let Ok(text) = Text::of(entry) {
        return text.len();
    }
    let Payload::Word(word) = entry.payload() else { return 0 };
    match &*word {
        Value::List(list) => list.len(),
        Value::Set(set) => set.len(),
        Value::Hash(hash) => hash.len(),
        Value::ZSet(zset) => zset.len(),
        Value::Int(_) | Value::Text(_) => 0,
    }
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(TEXT_MAX)]).into_owned()
}
