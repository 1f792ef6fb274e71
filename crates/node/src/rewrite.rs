//! The data set as commands that make it: the base of a log that is not to begin with a snapshot.
//!
//! Each key becomes one command for every 64 elements, and one for its expiry; all lie in checked batches, as everything
//! in our logs does. The mark of replication, if there is one, stands at the end.

use aof::{Batches, Mark};
use base::number::{IntText, push_f64};
use keyspace::lock::FENCE_FIELD;
use keyspace::{Entry, Keyspace, Text, Value};
use rdb::{Sink, SinkError};
use structures::{Item, Payload};

/// Elements of a collection in one command (Redis' AOF_REWRITE_ITEMS_PER_CMD).
const ELEMENTS: usize = 64;

/// Keys between two reports of progress.
const REPORT_EVERY: u64 = 1024;

/// Writes all databases, and the highest token of a lock, to `sink`; returns how many keys that were.
pub(crate) fn write(
    keyspace: &Keyspace,
    token: u64,
    mark: Option<Mark>,
    sink: &mut dyn Sink,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, SinkError> {
    let mut out = Out { batches: Batches::new(0), command: Vec::new(), sink };
    let mut keys = 0;
    if token > 0 {
        // The locks that had the last tokens may be gone; before any key is there, a fence tells of them.
        let fence: &[u8] = b"redstart:token";
        out.put(&[b"HSET", fence, FENCE_FIELD, IntText::new(token as i64).as_bytes()])?;
        out.put(&[b"DEL", fence])?;
    }
    for (index, db) in keyspace.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        out.put(&[b"SELECT", IntText::new(index as i64).as_bytes()])?;
        for entry in db.table.iter() {
            out.entry(entry)?;
            keys += 1;
            if keys % REPORT_EVERY == 0 {
                progress(keys);
            }
        }
    }
    if let Some(mark) = mark {
        out.batches.push(0, &[&mark.line(None)]);
    }
    out.pass_on()?;
    Ok(keys)
}

/// Commands on their way to the sink.
struct Out<'a> {
    batches: Batches,
    command: Vec<u8>,
    sink: &'a mut dyn Sink,
}

impl Out<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<(), SinkError> {
        let key = entry.key();
        if let Ok(text) = Text::of(entry) {
            text.with(|bytes| self.put(&[b"SET", key, bytes]))?;
        } else if let Payload::Word(value) = entry.payload() {
            self.collection(key, &value)?;
        }
        match entry.stamp() {
            Some(at) => self.put(&[b"PEXPIREAT", key, IntText::new(at).as_bytes()]),
            None => Ok(()),
        }
    }

    fn collection(&mut self, key: &[u8], value: &Value) -> Result<(), SinkError> {
        let mut elements = Elements { out: self, key, command: b"", per: 1, words: Vec::new() };
        match value {
            Value::Int(_) | Value::Text(_) => Ok(()),
            Value::List(list) => {
                elements.command = b"RPUSH";
                list.iter().try_for_each(|item| elements.add(&[&word(item)]))?;
                elements.end()
            }
            Value::Set(set) => {
                elements.command = b"SADD";
                set.iter().try_for_each(|item| elements.add(&[&word(item)]))?;
                elements.end()
            }
            Value::Hash(hash) => {
                (elements.command, elements.per) = (b"HSET", 2);
                hash.iter().try_for_each(|(field, value)| elements.add(&[&word(field), &word(value)]))?;
                elements.end()
            }
            Value::ZSet(zset) => {
                (elements.command, elements.per) = (b"ZADD", 2);
                zset.iter().try_for_each(|(member, score)| {
                    let mut text = Vec::new();
                    push_f64(&mut text, score);
                    elements.add(&[&text, &word(member)])
                })?;
                elements.end()
            }
        }
    }

    fn put(&mut self, words: &[&[u8]]) -> Result<(), SinkError> {
        self.command.clear();
        resp::encode::request(&mut self.command, words);
        self.batches.push(0, &[&self.command]);
        if self.batches.len() >= aof::record::BATCH_MAX { self.pass_on() } else { Ok(()) }
    }

    fn pass_on(&mut self) -> Result<(), SinkError> {
        if self.batches.is_empty() {
            return Ok(());
        }
        let bytes = self.batches.take();
        self.sink.write(&bytes)
    }
}

/// The elements of one collection, as they fill a command.
struct Elements<'o, 'a> {
    out: &'o mut Out<'a>,
    key: &'o [u8],
    command: &'static [u8],
    /// Words of an element.
    per: usize,
    words: Vec<Vec<u8>>,
}

impl Elements<'_, '_> {
    fn add(&mut self, words: &[&[u8]]) -> Result<(), SinkError> {
        self.words.extend(words.iter().map(|word| word.to_vec()));
        if self.words.len() >= ELEMENTS * self.per { self.end() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), SinkError> {
        if self.words.is_empty() {
            return Ok(());
        }
        let words: Vec<&[u8]> =
            [self.command, self.key].into_iter().chain(self.words.iter().map(Vec::as_slice)).collect();
        self.out.put(&words)?;
        self.words.clear();
        Ok(())
    }
}

fn word(item: Item<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    item.push_text(&mut text);
    text
}
