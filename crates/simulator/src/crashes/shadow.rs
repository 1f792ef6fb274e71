//! The data as the recorded stream of writes makes it, and one number that stands for it.
//!
//! The number is kept up to date with each command, so that the state after every unit of a run can be remembered and
//! recognized later, in a keyspace that was loaded from files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::hash::HashSeed;
use base::number::parse_i64;
use keyspace::{Db, Entry, Keyspace, Text, Value};
use structures::{Item, Payload};
use testkit::words::quote;

/// What the stream of writes has made so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shadow {
    keys: BTreeMap<(usize, Vec<u8>), Key>,
    digest: u64,
}

#[derive(Clone, Debug)]
struct Key {
    value: Content,
    stamp: Option<i64>,
    digest: u64,
}

#[derive(Clone, Debug)]
enum Content {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Ranked(BTreeMap<Vec<u8>, f64>),
}

/// What a command touched.
pub(super) enum Touched {
    Nothing,
    Keys(Vec<(usize, Vec<u8>)>),
    Everything,
}

impl Shadow {
    /// Returns the number that stands for the data.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Executes a command of the stream; the error names one that nobody sends.
    pub(super) fn apply(&mut self, db: usize, words: &[Vec<u8>]) -> Result<Touched, String> {
        let unknown = || format!("the stream holds {}", quote(&words.join(&b' ')));
        let name = words[0].to_ascii_uppercase();
        let Some(first) = words.get(1) else {
            return match &name[..] {
                b"MULTI" | b"EXEC" => Ok(Touched::Nothing),
                b"FLUSHALL" => Ok(self.clear(None)),
                b"FLUSHDB" => Ok(self.clear(Some(db))),
                _ => Err(unknown()),
            };
        };
        let rest = &words[2..];
        let place = (db, first.clone());
        let int = |index: usize| words.get(index).and_then(|word| parse_i64(word)).ok_or_else(unknown);
        match &name[..] {
            b"PUBLISH" => return Ok(Touched::Nothing),
            b"FLUSHALL" => return Ok(self.clear(None)),
            b"FLUSHDB" => return Ok(self.clear(Some(db))),
            b"SWAPDB" => return self.swap(int(1)? as usize, int(2)? as usize),
            b"DEL" | b"UNLINK" => {
                let places: Vec<_> = words[1..].iter().map(|key| (db, key.clone())).collect();
                places.iter().for_each(|place| drop(self.take(place)));
                return Ok(Touched::Keys(places));
            }
            b"MOVE" => return Ok(self.copy(place, (int(2)? as usize, first.clone()), true)),
            b"RENAME" => return Ok(self.copy(place, (db, rest[0].clone()), true)),
            b"COPY" => return Ok(self.copy(place, (db, rest[0].clone()), false)),
            b"SET" => {
                let stamp = match rest.get(1).map(|word| word.to_ascii_uppercase()) {
                    Some(word) if word == b"PXAT" => Some(int(4)?),
                    None => None,
                    Some(_) => return Err(unknown()),
                };
                self.put(place.clone(), Some(Content::Text(rest[0].clone())), stamp);
                return Ok(Touched::Keys(vec![place]));
            }
            _ => {}
        }
        let before = self.take(&place);
        let (value, mut stamp) = before.map_or((None, None), |key| (Some(key.value), key.stamp));
        let value = match (&name[..], value) {
            (b"PEXPIREAT", value) => {
                stamp = Some(int(2)?);
                value
            }
            (b"PERSIST", value) => {
                stamp = None;
                value
            }
            (b"INCR" | b"INCRBY", value) => {
                let by = if rest.is_empty() { 1 } else { int(2)? };
                let old = match value {
                    Some(Content::Text(text)) => parse_i64(&text).ok_or_else(unknown)?,
                    None => 0,
                    Some(_) => return Err(unknown()),
                };
                Some(Content::Text((old + by).to_string().into_bytes()))
            }
            (b"APPEND", Some(Content::Text(text))) => Some(Content::Text([&text[..], &rest[0]].concat())),
            (b"APPEND", None) => Some(Content::Text(rest[0].clone())),
            (b"RPUSH" | b"LPUSH", value @ (None | Some(Content::List(_)))) => {
                let mut list = if let Some(Content::List(list)) = value { list } else { VecDeque::new() };
                for item in rest {
                    if name == b"RPUSH" {
                        list.push_back(item.clone())
                    } else {
                        list.push_front(item.clone())
                    }
                }
                Some(Content::List(list))
            }
            (b"LPOP" | b"RPOP", Some(Content::List(mut list))) => {
                for _ in 0..if rest.is_empty() { 1 } else { int(2)? } {
                    if name == b"LPOP" {
                        list.pop_front()
                    } else {
                        list.pop_back()
                    };
                }
                Some(Content::List(list))
            }
            (b"SADD", value @ (None | Some(Content::Set(_)))) => {
                let mut set = if let Some(Content::Set(set)) = value { set } else { BTreeSet::new() };
                set.extend(rest.iter().cloned());
                Some(Content::Set(set))
            }
            (b"SREM", Some(Content::Set(mut set))) => {
                rest.iter().for_each(|member| drop(set.take(member)));
                Some(Content::Set(set))
            }
            (b"HSET", value @ (None | Some(Content::Hash(_)))) => {
                let mut hash = if let Some(Content::Hash(hash)) = value { hash } else { BTreeMap::new() };
                hash.extend(rest.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())));
                Some(Content::Hash(hash))
            }
            (b"HDEL", Some(Content::Hash(mut hash))) => {
                rest.iter().for_each(|field| drop(hash.remove(field)));
                Some(Content::Hash(hash))
            }
            (b"ZADD", value @ (None | Some(Content::Ranked(_)))) => {
                let mut ranked = if let Some(Content::Ranked(old)) = value { old } else { BTreeMap::new() };
                for (index, pair) in rest.chunks_exact(2).enumerate() {
                    ranked.insert(pair[1].clone(), int(2 + 2 * index)? as f64);
                }
                Some(Content::Ranked(ranked))
            }
            (b"ZREM", Some(Content::Ranked(mut ranked))) => {
                ranked.retain(|member, _| !rest.contains(member));
                Some(Content::Ranked(ranked))
            }
            _ => return Err(unknown()),
        };
        self.put(place.clone(), value, stamp);
        Ok(Touched::Keys(vec![place]))
    }

    fn clear(&mut self, db: Option<usize>) -> Touched {
        let digest = &mut self.digest;
        self.keys.retain(|place, key| {
            let keeps = db.is_some_and(|db| db != place.0);
            if !keeps {
                *digest ^= key.digest;
            }
            keeps
        });
        Touched::Everything
    }

    fn swap(&mut self, one: usize, other: usize) -> Result<Touched, String> {
        let places: Vec<_> =
            self.keys.keys().filter(|place| place.0 == one || place.0 == other).cloned().collect();
        let taken: Vec<_> =
            places.into_iter().filter_map(|place| Some((self.take(&place)?, place))).collect();
        for (key, (db, name)) in taken {
            let db = if db == one { other } else { one };
            self.put((db, name), Some(key.value), key.stamp);
        }
        Ok(Touched::Everything)
    }

    fn copy(&mut self, from: (usize, Vec<u8>), to: (usize, Vec<u8>), moves: bool) -> Touched {
        if from != to {
            let key = if moves { self.take(&from) } else { self.keys.get(&from).cloned() };
            if let Some(key) = key {
                self.put(to.clone(), Some(key.value), key.stamp);
            }
        }
        Touched::Keys(vec![from, to])
    }

    fn take(&mut self, place: &(usize, Vec<u8>)) -> Option<Key> {
        let key = self.keys.remove(place)?;
        self.digest ^= key.digest;
        Some(key)
    }

    /// Puts a value under a key, or nothing where the value is empty.
    fn put(&mut self, place: (usize, Vec<u8>), value: Option<Content>, stamp: Option<i64>) {
        self.take(&place);
        let Some(value) = value.filter(|value| !value.is_empty()) else { return };
        let digest = key_digest(place.0, &place.1, stamp, value.digest());
        self.digest ^= digest;
        self.keys.insert(place, Key { value, stamp, digest });
    }

    /// Returns the number that stands for the data of a keyspace.
    pub(crate) fn digest_of(keyspace: &Keyspace) -> u64 {
        let entries = |(index, db): (usize, &Db)| {
            let digest = |entry: &Entry| {
                let value = content(entry).map_or(0, |content| content.digest());
                key_digest(index, entry.key(), entry.stamp(), value)
            };
            db.table.iter().fold(0, |sum, entry| sum ^ digest(entry))
        };
        keyspace.dbs.iter().enumerate().map(entries).fold(0, |sum, digest| sum ^ digest)
    }

    /// Returns the shadow of a keyspace.
    pub(crate) fn of(keyspace: &Keyspace) -> Shadow {
        let mut shadow = Shadow::default();
        for (index, db) in keyspace.dbs.iter().enumerate() {
            for entry in db.table.iter() {
                shadow.put((index, entry.key().to_vec()), content(entry), entry.stamp());
            }
        }
        shadow
    }

    /// Returns the keys in which two differ.
    pub(super) fn differing<'a>(&'a self, other: &'a Shadow) -> impl Iterator<Item = &'a (usize, Vec<u8>)> {
        let digest = |shadow: &Shadow, place| shadow.keys.get(place).map(|key| key.digest);
        let missing = other.keys.keys().filter(|place| !self.keys.contains_key(*place));
        let own = self.keys.keys().filter(move |place| digest(self, place) != digest(other, place));
        own.chain(missing)
    }

    /// Says where two differ, for somebody who has to find out why.
    pub(crate) fn difference(&self, other: &Shadow) -> String {
        let show = |shadow: &Shadow, place: &(usize, Vec<u8>)| {
            let text = shadow.keys.get(place).map_or("nothing".into(), Key::show);
            text.chars().take(200).collect::<String>()
        };
        let shown = self.differing(other).take(4).map(|place| {
            format!("{}:{}: {} and {}", place.0, quote(&place.1), show(self, place), show(other, place))
        });
        shown.collect::<Vec<_>>().join("; ")
    }
}

impl Key {
    fn show(&self) -> String {
        let texts = |texts: &mut dyn Iterator<Item = &Vec<u8>>| {
            texts.map(|text| quote(text)).collect::<Vec<_>>().join(" ")
        };
        let value = match &self.value {
            Content::Text(text) => quote(text),
            Content::List(list) => texts(&mut list.iter()),
            Content::Set(set) => texts(&mut set.iter()),
            Content::Hash(hash) => texts(&mut hash.iter().flat_map(|(field, value)| [field, value])),
            Content::Ranked(ranked) => format!("{} {:?}", texts(&mut ranked.keys()), ranked.values()),
        };
        self.stamp.map_or(value.clone(), |at| format!("{value} until {at}"))
    }
}

const SEED: HashSeed = HashSeed([0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9]);

fn hash(bytes: &[u8]) -> u64 {
    SEED.hash(bytes)
}

/// Returns a number that depends on the order of two.
fn join(one: u64, other: u64) -> u64 {
    let mixed = (one ^ other.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 31)
}

fn key_digest(db: usize, key: &[u8], stamp: Option<i64>, value: u64) -> u64 {
    join(join(join(db as u64 + 1, hash(key)), stamp.map_or(1, |at| at as u64)), value)
}

impl Content {
    fn is_empty(&self) -> bool {
        match self {
            Content::Text(_) => false,
            Content::List(list) => list.is_empty(),
            Content::Set(set) => set.is_empty(),
            Content::Hash(hash) => hash.is_empty(),
            Content::Ranked(ranked) => ranked.is_empty(),
        }
    }

    fn digest(&self) -> u64 {
        match self {
            Content::Text(text) => join(1, hash(text)),
            Content::List(list) => list.iter().fold(2, |sum, item| join(sum, hash(item))),
            Content::Set(set) => set.iter().fold(3, |sum, member| join(sum, hash(member))),
            Content::Hash(fields) => {
                fields.iter().fold(4, |sum, (field, value)| join(join(sum, hash(field)), hash(value)))
            }
            Content::Ranked(ranked) => {
                ranked.iter().fold(5, |sum, (member, score)| join(join(sum, hash(member)), score.to_bits()))
            }
        }
    }
}

fn content(entry: &Entry) -> Option<Content> {
    if let Ok(text) = Text::of(entry) {
        return Some(Content::Text(text.to_vec()));
    }
    let word = |item: Item<'_>| {
        let mut text = Vec::new();
        item.push_text(&mut text);
        text
    };
    let Payload::Word(value) = entry.payload() else { return None };
    Some(match &*value {
        Value::Int(_) | Value::Text(_) => return None,
        Value::List(list) => Content::List(list.iter().map(word).collect()),
        Value::Set(set) => Content::Set(set.iter().map(word).collect()),
        Value::Hash(hash) => {
            Content::Hash(hash.iter().map(|(field, value)| (word(field), word(value))).collect())
        }
        Value::ZSet(ranked) => {
            Content::Ranked(ranked.iter().map(|(member, score)| (word(member), score)).collect())
        }
    })
}
