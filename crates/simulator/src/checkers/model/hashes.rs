//! Hashes.

use testkit::Reply;

use super::{Model, Said, error, int, maybe_int};
use crate::checkers::answer::Answer;

impl Model {
    pub(super) fn hashes(&mut self, name: &str, args: &[&[u8]], actual: Option<&Reply>) -> Option<Said> {
        let [key, rest @ ..] = args else { return None };
        Some(match (name, rest) {
            ("HSET" | "HMSET", pairs) => self.hset(key, pairs).map(|added| match name {
                "HSET" => Answer::Int(added),
                _ => Answer::ok(),
            }),
            ("HSETNX", [field, value]) => self.hsetnx(key, field, value),
            ("HGET", [field]) => self
                .hash(key)
                .map(|hash| Answer::text(hash.and_then(|hash| hash.get(*field)).map(Vec::as_slice))),
            ("HMGET", fields) => self.hash(key).map(|hash| {
                let value = |field: &&[u8]| hash.and_then(|hash| hash.get(*field)).map(Vec::as_slice);
                Answer::Array(fields.iter().map(|field| Answer::text(value(field))).collect())
            }),
            ("HDEL", fields) => self.hdel(key, fields),
            ("HLEN", []) => self.hash(key).map(|hash| Answer::Int(hash.map_or(0, |hash| hash.len() as i64))),
            ("HEXISTS", [field]) => self
                .hash(key)
                .map(|hash| Answer::Int(i64::from(hash.is_some_and(|hash| hash.contains_key(*field))))),
            ("HSTRLEN", [field]) => self.hash(key).map(|hash| {
                Answer::Int(hash.and_then(|hash| hash.get(*field)).map_or(0, |value| value.len() as i64))
            }),
            ("HGETALL", []) => self.hash(key).map(|hash| {
                let pairs = hash.into_iter().flatten();
                Answer::Map(pairs.map(|(f, v)| (Answer::Bulk(f.clone()), Answer::Bulk(v.clone()))).collect())
            }),
            ("HKEYS", []) => self.hash(key).map(|hash| {
                let fields = hash.into_iter().flat_map(|hash| hash.keys());
                Answer::Unordered(fields.map(|field| Answer::Bulk(field.clone())).collect())
            }),
            ("HVALS", []) => self.hash(key).map(|hash| {
                let values = hash.into_iter().flat_map(|hash| hash.values());
                Answer::Unordered(values.map(|value| Answer::Bulk(value.clone())).collect())
            }),
            ("HINCRBY", [field, delta]) => self.hincrby(key, field, int(delta)),
            ("HRANDFIELD", options) => self.hash(key).map(|hash| {
                let fields = hash.into_iter().flat_map(|hash| hash.keys()).cloned().collect();
                super::sets::random(fields, options.first().map(|count| int(count)), actual)
            }),
            _ => return None,
        })
    }

    fn hset(&mut self, key: &[u8], pairs: &[&[u8]]) -> Result<i64, Answer> {
        self.edit_hash(key)?;
        // What is too long for a listpack turns the whole hash into a table before anything is added.
        self.grow(key, pairs);
        let mut added = 0;
        for pair in pairs.chunks(2) {
            let new = self.edit_hash(key)?.insert(pair[0].to_vec(), pair[1].to_vec()).is_none();
            added += i64::from(new);
        }
        self.grow(key, pairs);
        self.changed(key);
        Ok(added)
    }

    fn hsetnx(&mut self, key: &[u8], field: &[u8], value: &[u8]) -> Said {
        if self.hash(key)?.is_some_and(|hash| hash.contains_key(field)) {
            return Ok(Answer::Int(0));
        }
        self.hset(key, &[field, value]).map(Answer::Int)
    }

    fn hdel(&mut self, key: &[u8], fields: &[&[u8]]) -> Said {
        if self.hash(key)?.is_none() {
            return Ok(Answer::Int(0));
        }
        let hash = self.edit_hash(key)?;
        let removed = fields.iter().filter(|field| hash.remove(**field).is_some()).count();
        if removed > 0 {
            self.changed(key);
        }
        Ok(Answer::Int(removed as i64))
    }

    fn hincrby(&mut self, key: &[u8], field: &[u8], delta: i64) -> Said {
        let number = match self.hash(key)?.and_then(|hash| hash.get(field)) {
            Some(text) => maybe_int(text).ok_or_else(|| error("ERR hash value is not an integer"))?,
            None => 0,
        };
        let sum =
            number.checked_add(delta).ok_or_else(|| error("ERR increment or decrement would overflow"))?;
        self.hset(key, &[field, sum.to_string().as_bytes()])?;
        Ok(Answer::Int(sum))
    }
}
