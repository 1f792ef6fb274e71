//! What can be done with a key whatever it holds: expiry, renaming, databases.

use testkit::Reply;

use super::entry::Entry;
use super::{Model, Said, error, int, is};
use crate::checkers::answer::Answer;

impl Model {
    pub(super) fn keys(
        &mut self,
        id: u32,
        name: &str,
        args: &[&[u8]],
        actual: Option<&Reply>,
    ) -> Option<Said> {
        Some(match (name, args) {
            ("DEL" | "UNLINK", keys) => {
                Ok(Answer::Int(keys.iter().filter(|key| self.take(key).is_some()).count() as i64))
            }
            ("EXISTS" | "TOUCH", keys) => {
                Ok(Answer::Int(keys.iter().filter(|key| self.look(key).is_some()).count() as i64))
            }
            ("TYPE", [key]) => Ok(Answer::Simple(self.look(key).map_or("none", |entry| entry.type_name()))),
            ("OBJECT", [b"ENCODING", key]) => Ok(self.look(key).map_or(Answer::Null, |entry| {
                let names = entry.encodings().iter();
                Answer::AnyOf(names.map(|name| Answer::Bulk(name.as_bytes().to_vec())).collect())
            })),
            ("EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT", [key, time, options @ ..]) => {
                let unit = if name.starts_with('P') { 1 } else { 1000 };
                let base = if name.ends_with("AT") { 0 } else { self.now.unix_ms() };
                self.expire(key, base + int(time) * unit, options)
            }
            ("TTL" | "PTTL" | "EXPIRETIME" | "PEXPIRETIME", [key]) => self.time_left(name, key),
            ("PERSIST", [key]) => Ok(self.persist(key)),
            ("RENAME" | "RENAMENX", [from, to]) => self.rename(from, to, name == "RENAMENX"),
            ("COPY", [from, to, options @ ..]) => self.copy(from, to, options),
            ("MOVE", [key, db]) => self.move_key(key, int(db) as usize),
            ("RANDOMKEY", []) => {
                let now = self.now;
                let keys = self.live(now, self.db).map(|(key, _)| key.clone()).collect();
                Ok(super::sets::random(keys, None, actual))
            }
            ("KEYS", [b"*"]) => {
                let keys = self.live(self.now, self.db).map(|(key, _)| Answer::Bulk(key.clone()));
                Ok(Answer::Unordered(keys.collect()))
            }
            ("DBSIZE", []) => {
                // Keys past their time count until they are deleted, which the server may do at any moment.
                let live = self.live(self.now, self.db).count() as i64;
                let space = &self.dbs[self.db];
                let ghosts = space.ghosts.iter().filter(|key| !space.keys.contains_key(*key)).count();
                Ok(Answer::Between(live, (space.keys.len() + ghosts) as i64))
            }
            ("FLUSHDB", _) => Ok(self.flush(self.db)),
            ("FLUSHALL", _) => {
                (0..self.dbs.len()).for_each(|db| drop(self.flush(db)));
                Ok(Answer::ok())
            }
            ("SWAPDB", [a, b]) => Ok(self.swap(int(a) as usize, int(b) as usize)),
            ("SORT", [key, b"ALPHA"]) => self.sort(key),
            ("CLIENT", [b"GETNAME"]) => {
                let _ = id;
                Ok(Answer::Null)
            }
            _ => return None,
        })
    }

    fn expire(&mut self, key: &[u8], at: i64, options: &[&[u8]]) -> Said {
        let now_ms = self.now.unix_ms();
        let Some(entry) = self.look(key) else { return Ok(Answer::Int(0)) };
        let has = |word: &str| options.iter().any(|option| is(option, word));
        let current = entry.expires;
        // No expiry counts as one that never comes.
        let later = current.is_some_and(|current| at > current);
        let sooner = current.is_none_or(|current| at < current);
        let refused = has("NX") && current.is_some()
            || has("XX") && current.is_none()
            || has("GT") && !later
            || has("LT") && !sooner;
        if refused {
            return Ok(Answer::Int(0));
        }
        if at <= now_ms {
            self.take(key);
        } else {
            entry.expires = Some(at);
            self.changed(key);
        }
        Ok(Answer::Int(1))
    }

    fn time_left(&mut self, name: &str, key: &[u8]) -> Said {
        let now_ms = self.now.unix_ms();
        Ok(Answer::Int(match self.look(key).map(|entry| entry.expires) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => match name {
                "TTL" => (at - now_ms + 500) / 1000,
                "PTTL" => at - now_ms,
                "EXPIRETIME" => (at + 500) / 1000,
                _ => at,
            },
        }))
    }

    fn persist(&mut self, key: &[u8]) -> Answer {
        let had = self.look(key).and_then(|entry| entry.expires.take()).is_some();
        if had {
            self.changed(key);
        }
        Answer::Int(i64::from(had))
    }

    fn rename(&mut self, from: &[u8], to: &[u8], only_new: bool) -> Said {
        if self.look(from).is_none() {
            return Err(error("ERR no such key"));
        }
        if from == to {
            return Ok(if only_new { Answer::Int(0) } else { Answer::ok() });
        }
        if only_new && self.look(to).is_some() {
            return Ok(Answer::Int(0));
        }
        if let Some(entry) = self.take(from) {
            self.put(to, entry);
        }
        Ok(if only_new { Answer::Int(1) } else { Answer::ok() })
    }

    fn copy(&mut self, from: &[u8], to: &[u8], options: &[&[u8]]) -> Said {
        let replaces = options.iter().any(|option| is(option, "REPLACE"));
        let db =
            options.windows(2).find(|pair| is(pair[0], "DB")).map_or(self.db, |pair| int(pair[1]) as usize);
        if db == self.db && from == to {
            return Err(error("ERR source and destination objects are the same"));
        }
        let Some(entry) = self.look(from).map(|entry| entry.clone()) else { return Ok(Answer::Int(0)) };
        if self.look_in(db, to).is_some() && !replaces {
            return Ok(Answer::Int(0));
        }
        self.put_in(db, to, entry);
        Ok(Answer::Int(1))
    }

    fn move_key(&mut self, key: &[u8], db: usize) -> Said {
        if db == self.db {
            return Err(error("ERR source and destination objects are the same"));
        }
        if self.look(key).is_none() || self.look_in(db, key).is_some() {
            return Ok(Answer::Int(0));
        }
        if let Some(entry) = self.take(key) {
            self.put_in(db, key, entry);
        }
        Ok(Answer::Int(1))
    }

    fn flush(&mut self, db: usize) -> Answer {
        let now_ms = self.now.unix_ms();
        let keys = std::mem::take(&mut self.dbs[db].keys);
        for (key, entry) in keys {
            // Whether the deletion of an expired key breaks a watch is left open by its ghost.
            if entry.is_expired(now_ms) {
                self.dbs[db].ghosts.insert(key);
            } else {
                self.touch(db, &key);
            }
        }
        Answer::ok()
    }

    fn swap(&mut self, a: usize, b: usize) -> Answer {
        if a == b {
            return Answer::ok();
        }
        let touched = |db: &super::entry::Db| db.keys.keys().chain(&db.ghosts).cloned().collect::<Vec<_>>();
        let keys: Vec<Vec<u8>> = touched(&self.dbs[a]).into_iter().chain(touched(&self.dbs[b])).collect();
        self.dbs.swap(a, b);
        let ghosts: Vec<Vec<u8>> = self.dbs[a].ghosts.iter().chain(&self.dbs[b].ghosts).cloned().collect();
        for key in keys {
            self.touch(a, &key);
            self.touch(b, &key);
        }
        for key in ghosts {
            self.leave_open(a, &key);
            self.leave_open(b, &key);
        }
        for db in [a, b] {
            for key in self.waiting.keys(db) {
                if self.look_in(db, &key).is_some() {
                    self.waiting.signal(db, &key);
                }
            }
        }
        Answer::ok()
    }

    fn sort(&mut self, key: &[u8]) -> Said {
        let mut elements: Vec<Vec<u8>> = match self.look(key).map(|entry: &mut Entry| entry.value.clone()) {
            None => Vec::new(),
            Some(super::Value::List(list)) => list.into_iter().collect(),
            Some(super::Value::Set(set)) => set.into_iter().collect(),
            Some(super::Value::ZSet(zset)) => zset.into_keys().collect(),
            Some(_) => return Err(super::wrong_type()),
        };
        elements.sort();
        Ok(Answer::texts(&elements))
    }
}
