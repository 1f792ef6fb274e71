//! Sets.

use std::collections::BTreeSet;

use testkit::Reply;

use super::entry::{Encoding, Entry, Value};
use super::{Model, Said, int};
use crate::checkers::answer::Answer;

impl Model {
    pub(super) fn sets(&mut self, name: &str, args: &[&[u8]], actual: Option<&Reply>) -> Option<Said> {
        let [key, rest @ ..] = args else { return None };
        Some(match (name, rest) {
            ("SADD", members) => self.sadd(key, members),
            ("SREM", members) => self.srem(key, members),
            ("SISMEMBER", [member]) => {
                self.set(key).map(|set| Answer::Int(i64::from(set.is_some_and(|set| set.contains(*member)))))
            }
            ("SMISMEMBER", members) => self.set(key).map(|set| {
                let is_member = |member: &&[u8]| set.is_some_and(|set| set.contains(*member));
                Answer::Array(members.iter().map(|m| Answer::Int(i64::from(is_member(m)))).collect())
            }),
            ("SCARD", []) => self.set(key).map(|set| Answer::Int(set.map_or(0, |set| set.len() as i64))),
            ("SMEMBERS", []) => self.set(key).map(|set| as_set(set.into_iter().flatten())),
            ("SPOP", options) => self.spop(key, options.first().map(|count| int(count)), actual),
            ("SRANDMEMBER", options) => self.set(key).map(|set| {
                let members = set.into_iter().flatten().cloned().collect();
                random(members, options.first().map(|count| int(count)), actual)
            }),
            ("SMOVE", [destination, member]) => self.smove(key, destination, member),
            ("SINTER" | "SUNION" | "SDIFF", _) => {
                self.combined(name, args).map(|members| as_set(members.iter()))
            }
            ("SINTERSTORE" | "SUNIONSTORE" | "SDIFFSTORE", keys) => {
                self.store_combined(name.trim_end_matches("STORE"), key, keys)
            }
            ("SINTERCARD", keys) => self.combined("SINTER", keys).map(|set| Answer::Int(set.len() as i64)),
            _ => return None,
        })
    }

    fn sadd(&mut self, key: &[u8], members: &[&[u8]]) -> Said {
        self.set(key)?;
        self.reserve(key, members);
        let mut added = 0;
        for member in members {
            added += i64::from(self.add_member(key, member)?);
        }
        if added > 0 {
            self.changed(key);
        }
        self.tidy(key);
        Ok(Answer::Int(added))
    }

    fn srem(&mut self, key: &[u8], members: &[&[u8]]) -> Said {
        if self.set(key)?.is_none() {
            return Ok(Answer::Int(0));
        }
        let set = self.edit_set(key)?;
        let removed = members.iter().filter(|member| set.remove(**member)).count();
        if removed > 0 {
            self.changed(key);
        }
        Ok(Answer::Int(removed as i64))
    }

    fn spop(&mut self, key: &[u8], count: Option<i64>, actual: Option<&Reply>) -> Said {
        let members: Vec<Vec<u8>> = self.set(key)?.into_iter().flatten().cloned().collect();
        let answer = match (random(members, count, actual), count) {
            (Answer::Array(members), Some(_)) => Answer::Set(members),
            (answer, _) => answer,
        };
        let chosen: Vec<Vec<u8>> = match &answer {
            Answer::Bulk(member) => vec![member.clone()],
            Answer::Set(members) => members
                .iter()
                .filter_map(|m| if let Answer::Bulk(member) = m { Some(member.clone()) } else { None })
                .collect(),
            _ => Vec::new(),
        };
        if !chosen.is_empty() {
            let set = self.edit_set(key)?;
            chosen.iter().for_each(|member| {
                set.remove(member);
            });
            // Where few members stay, the server may build a new set of them.
            if let Some(entry) = self.look(key).filter(|entry| 5 * entry.len() <= chosen.len()) {
                entry.encoding = Encoding::Open;
            }
            self.changed(key);
        }
        Ok(answer)
    }

    fn smove(&mut self, source: &[u8], destination: &[u8], member: &[u8]) -> Said {
        if self.set(source)?.is_none() {
            return Ok(Answer::Int(0));
        }
        self.set(destination)?;
        if !self.set(source)?.is_some_and(|set| set.contains(member)) {
            return Ok(Answer::Int(0));
        }
        if source == destination {
            return Ok(Answer::Int(1));
        }
        self.edit_set(source)?.remove(member);
        self.changed(source);
        self.reserve(destination, &[member]);
        if self.add_member(destination, member)? {
            self.changed(destination);
        }
        Ok(Answer::Int(1))
    }

    fn combined(&mut self, name: &str, keys: &[&[u8]]) -> Result<BTreeSet<Vec<u8>>, Answer> {
        let mut sets = Vec::with_capacity(keys.len());
        for key in keys {
            sets.push(self.set(key)?.cloned().unwrap_or_default());
        }
        let mut sets = sets.into_iter();
        let first = sets.next().unwrap_or_default();
        Ok(sets.fold(first, |left, right| match name {
            "SINTER" => &left & &right,
            "SUNION" => &left | &right,
            _ => &left - &right,
        }))
    }

    fn store_combined(&mut self, name: &str, destination: &[u8], keys: &[&[u8]]) -> Said {
        let members = self.combined(name, keys)?;
        let count = members.len() as i64;
        match count {
            0 => drop(self.take(destination)),
            _ => self.put(destination, Entry::new(Value::Set(members), Encoding::Open)),
        }
        Ok(Answer::Int(count))
    }
}

fn as_set<'a>(members: impl Iterator<Item = &'a Vec<u8>>) -> Answer {
    Answer::Set(members.map(|member| Answer::Bulk(member.clone())).collect())
}

/// Returns the node's own choice among `items` if it was allowed, and otherwise one that was.
///
/// Without a count one item is chosen; a positive count asks for distinct items, a negative one for that many.
pub(super) fn random(items: Vec<Vec<u8>>, count: Option<i64>, actual: Option<&Reply>) -> Answer {
    let chosen: Vec<Vec<u8>> = match (actual, count) {
        (Some(reply), None) => reply.text().into_iter().map(<[u8]>::to_vec).collect(),
        (Some(reply), Some(_)) => {
            reply.elements().iter().filter_map(|element| element.text()).map(<[u8]>::to_vec).collect()
        }
        (None, _) => Vec::new(),
    };
    let distinct = |chosen: &[Vec<u8>]| chosen.iter().collect::<BTreeSet<_>>().len() == chosen.len();
    let wanted = match count {
        None => items.len().min(1),
        Some(count) if count < 0 && items.is_empty() => 0,
        Some(count) if count < 0 => count.unsigned_abs() as usize,
        Some(count) => items.len().min(count as usize),
    };
    let allowed = chosen.len() == wanted
        && chosen.iter().all(|item| items.contains(item))
        && (count.is_some_and(|count| count < 0) || distinct(&chosen));
    let chosen = if allowed { chosen } else { items.into_iter().take(wanted).collect() };
    match count {
        None => Answer::text(chosen.first().map(Vec::as_slice)),
        Some(_) => Answer::texts(&chosen),
    }
}
