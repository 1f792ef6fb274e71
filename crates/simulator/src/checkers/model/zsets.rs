//! Sorted sets.

use std::collections::BTreeMap;

use testkit::Reply;

use super::entry::{Encoding, Entry, Value};
use super::{Model, Said, clamp, error, float, int, is};
use crate::checkers::answer::Answer;

type Members = Vec<(Vec<u8>, f64)>;

impl Model {
    pub(super) fn zsets(&mut self, name: &str, args: &[&[u8]], actual: Option<&Reply>) -> Option<Said> {
        if name == "ZMPOP" {
            return Some(self.zmpop(args));
        }
        let [key, rest @ ..] = args else { return None };
        Some(match (name, rest) {
            ("ZADD", options) => self.zadd(key, options),
            ("ZINCRBY", [delta, member]) => self.zadd(key, &[b"INCR", delta, member]),
            ("ZREM", members) => self.zrem(key, members),
            ("ZCARD", []) => self.zset(key).map(|zset| Answer::Int(zset.map_or(0, |zset| zset.len() as i64))),
            ("ZSCORE", [member]) => self.zset(key).map(|zset| score(zset, member)),
            ("ZMSCORE", members) => {
                self.zset(key).map(|zset| Answer::Array(members.iter().map(|m| score(zset, m)).collect()))
            }
            ("ZRANK" | "ZREVRANK", [member]) => self.sorted(key).map(|mut members| {
                if name == "ZREVRANK" {
                    members.reverse();
                }
                let rank = members.iter().position(|(other, _)| other == member);
                rank.map_or(Answer::Null, |rank| Answer::Int(rank as i64))
            }),
            ("ZCOUNT", [min, max]) => self.within(key, min, max).map(|found| Answer::Int(found.len() as i64)),
            ("ZRANGE", [start, end, options @ ..]) => self.zrange(key, start, end, options).map(|found| {
                let scores = options.iter().any(|option| is(option, "WITHSCORES"));
                listed(found, scores)
            }),
            ("ZREVRANGE", [start, end]) => {
                self.zrange(key, start, end, &[b"REV"]).map(|found| listed(found, false))
            }
            ("ZRANGEBYSCORE", [min, max, options @ ..]) => self.within(key, min, max).map(|found| {
                let scores = options.iter().any(|option| is(option, "WITHSCORES"));
                listed(limited(found, options), scores)
            }),
            ("ZREVRANGEBYSCORE", [max, min]) => self.within(key, min, max).map(|mut found| {
                found.reverse();
                listed(found, false)
            }),
            ("ZRANGESTORE", [source, start, end, options @ ..]) => {
                self.zrange(source, start, end, options).map(|found| self.store_zset(key, found))
            }
            ("ZREMRANGEBYRANK", [start, end]) => {
                self.zrange(key, start, end, &[]).map(|found| self.remove_all(key, &found))
            }
            ("ZREMRANGEBYSCORE", [min, max]) => {
                self.within(key, min, max).map(|found| self.remove_all(key, &found))
            }
            ("ZPOPMIN" | "ZPOPMAX", count) => {
                let wanted = count.first().map_or(1, |count| int(count)) as usize;
                self.zpop(key, wanted, name == "ZPOPMIN").map(|found| match (found, count) {
                    // One pair without a count is flat in both protocols.
                    (found, []) => Answer::Array(
                        found
                            .into_iter()
                            .flat_map(|(member, score)| [Answer::Bulk(member), Answer::Double(score)])
                            .collect(),
                    ),
                    (found, _) => Answer::Scored(found),
                })
            }
            ("ZRANDMEMBER", options) => self.zset(key).map(|zset| {
                let members = zset.into_iter().flatten().map(|(member, _)| member.clone()).collect();
                super::sets::random(members, options.first().map(|count| int(count)), actual)
            }),
            ("ZUNIONSTORE" | "ZINTERSTORE", [numkeys, keys @ ..]) => {
                let numkeys = int(numkeys) as usize;
                self.combine_zsets(key, &keys[..numkeys], name == "ZINTERSTORE")
            }
            _ => return None,
        })
    }

    /// Returns the members by score, then by bytes.
    fn sorted(&mut self, key: &[u8]) -> Result<Members, Answer> {
        let mut members: Members =
            self.zset(key)?.into_iter().flatten().map(|(member, score)| (member.clone(), *score)).collect();
        members.sort_by(|(a, x), (b, y)| x.total_cmp(y).then_with(|| a.cmp(b)));
        Ok(members)
    }

    fn within(&mut self, key: &[u8], min: &[u8], max: &[u8]) -> Result<Members, Answer> {
        let (low, open_low) = bound(min);
        let (high, open_high) = bound(max);
        let mut members = self.sorted(key)?;
        members.retain(|(_, score)| {
            (if open_low { *score > low } else { *score >= low })
                && (if open_high { *score < high } else { *score <= high })
        });
        Ok(members)
    }

    fn zrange(&mut self, key: &[u8], start: &[u8], end: &[u8], options: &[&[u8]]) -> Result<Members, Answer> {
        let has = |word: &str| options.iter().any(|option| is(option, word));
        if has("BYSCORE") {
            let mut found = match has("REV") {
                true => self.within(key, end, start)?,
                false => self.within(key, start, end)?,
            };
            if has("REV") {
                found.reverse();
            }
            return Ok(limited(found, options));
        }
        let mut members = self.sorted(key)?;
        if has("REV") {
            members.reverse();
        }
        let range = clamp(int(start), int(end), members.len());
        Ok(members[range].to_vec())
    }

    fn zadd(&mut self, key: &[u8], args: &[&[u8]]) -> Said {
        let options =
            args.iter().take_while(|arg| ["NX", "XX", "GT", "LT", "CH", "INCR"].iter().any(|o| is(arg, o)));
        let (options, pairs) = args.split_at(options.count());
        let has = |word: &str| options.iter().any(|option| is(option, word));
        let (mut added, mut updated) = (0, 0);
        let mut last = None;
        if self.zset(key)?.is_none() && has("XX") {
            return Ok(if has("INCR") { Answer::Null } else { Answer::Int(0) });
        }
        self.edit_zset(key)?;
        self.reserve_scored(key, pairs.len() / 2);
        for pair in pairs.chunks(2) {
            let (given, member) = (float(pair[0]), pair[1]);
            let zset = self.edit_zset(key)?;
            let before = zset.get(member).copied();
            let wanted = if has("INCR") { before.unwrap_or(0.0) + given } else { given };
            if has("INCR") && wanted.is_nan() {
                self.tidy(key);
                return Err(error("ERR resulting score is not a number (NaN)"));
            }
            last = match before {
                None if has("XX") => None,
                None => {
                    zset.insert(member.to_vec(), wanted);
                    added += 1;
                    self.grow(key, &[member]);
                    Some(wanted)
                }
                Some(_) if has("NX") => None,
                Some(score) if has("GT") && wanted <= score || has("LT") && wanted >= score => None,
                Some(score) => {
                    if score != wanted {
                        zset.insert(member.to_vec(), wanted);
                        updated += 1;
                    }
                    Some(wanted)
                }
            };
        }
        if added + updated > 0 {
            self.changed(key);
        }
        self.tidy(key);
        Ok(match (has("INCR"), last) {
            (true, Some(score)) => Answer::Double(score),
            (true, None) => Answer::Null,
            (false, _) => Answer::Int(if has("CH") { added + updated } else { added }),
        })
    }

    fn zrem(&mut self, key: &[u8], members: &[&[u8]]) -> Said {
        if self.zset(key)?.is_none() {
            return Ok(Answer::Int(0));
        }
        let zset = self.edit_zset(key)?;
        let removed = members.iter().filter(|member| zset.remove(**member).is_some()).count();
        if removed > 0 {
            self.changed(key);
        }
        Ok(Answer::Int(removed as i64))
    }

    fn remove_all(&mut self, key: &[u8], members: &Members) -> Answer {
        let names: Vec<&[u8]> = members.iter().map(|(member, _)| member.as_slice()).collect();
        self.zrem(key, &names).unwrap_or_else(|error| error)
    }

    fn zpop(&mut self, key: &[u8], count: usize, min: bool) -> Result<Members, Answer> {
        let mut members = self.sorted(key)?;
        if !min {
            members.reverse();
        }
        members.truncate(count);
        if !members.is_empty() {
            self.remove_all(key, &members);
        }
        Ok(members)
    }

    /// Pops from the first of several sorted sets: `[key, member, score]`.
    pub(super) fn pop_first_scored(&mut self, keys: &[&[u8]], min: bool) -> Said {
        for key in keys {
            if let [(member, score)] = &self.pass_over(|model| model.zpop(key, 1, min))?[..] {
                let (key, member) = (Answer::Bulk(key.to_vec()), Answer::Bulk(member.clone()));
                return Ok(Answer::Array(vec![key, member, Answer::Double(*score)]));
            }
        }
        Ok(Answer::NullArray)
    }

    /// Executes `numkeys key… MIN|MAX [COUNT count]`.
    pub(super) fn zmpop(&mut self, args: &[&[u8]]) -> Said {
        let numkeys = int(args[0]) as usize;
        let (keys, options) = args[1..].split_at(numkeys);
        let count = options.get(2).map_or(1, |count| int(count)) as usize;
        for key in keys {
            let found = self.pass_over(|model| model.zpop(key, count, is(options[0], "MIN")))?;
            if !found.is_empty() {
                let pairs =
                    found.into_iter().map(|(m, s)| Answer::Array(vec![Answer::Bulk(m), Answer::Double(s)]));
                return Ok(Answer::Array(vec![Answer::Bulk(key.to_vec()), Answer::Array(pairs.collect())]));
            }
        }
        Ok(Answer::NullArray)
    }

    fn store_zset(&mut self, key: &[u8], members: Members) -> Answer {
        let count = members.len() as i64;
        match count {
            0 => drop(self.take(key)),
            _ => self.put(key, Entry::new(Value::ZSet(members.into_iter().collect()), Encoding::Open)),
        }
        Answer::Int(count)
    }

    fn combine_zsets(&mut self, destination: &[u8], keys: &[&[u8]], intersect: bool) -> Said {
        let mut all: Vec<BTreeMap<Vec<u8>, f64>> = Vec::with_capacity(keys.len());
        for key in keys {
            // A set takes part as if all its members had the score 1.
            all.push(match self.look(key).map(|entry| entry.value.clone()) {
                None => BTreeMap::new(),
                Some(Value::ZSet(zset)) => zset,
                Some(Value::Set(set)) => set.into_iter().map(|member| (member, 1.0)).collect(),
                Some(_) => return Err(super::wrong_type()),
            });
        }
        let mut sums: BTreeMap<Vec<u8>, (f64, usize)> = BTreeMap::new();
        for zset in &all {
            for (member, score) in zset {
                let (sum, count) = sums.entry(member.clone()).or_insert((0.0, 0));
                *sum = if *count == 0 { *score } else { *sum + *score };
                // Opposite infinities cancel out, as in Redis.
                if sum.is_nan() {
                    *sum = 0.0;
                }
                *count += 1;
            }
        }
        sums.retain(|_, (_, count)| !intersect || *count == all.len());
        Ok(self.store_zset(destination, sums.into_iter().map(|(member, (sum, _))| (member, sum)).collect()))
    }
}

fn score(zset: Option<&BTreeMap<Vec<u8>, f64>>, member: &[u8]) -> Answer {
    zset.and_then(|zset| zset.get(member)).map_or(Answer::Null, |score| Answer::Double(*score))
}

fn listed(members: Members, scores: bool) -> Answer {
    match scores {
        true => Answer::Scored(members),
        false => Answer::Array(members.into_iter().map(|(member, _)| Answer::Bulk(member)).collect()),
    }
}

/// Applies `LIMIT offset count`.
fn limited(members: Members, options: &[&[u8]]) -> Members {
    let Some(at) = options.iter().position(|option| is(option, "LIMIT")) else { return members };
    let (offset, count) = (int(options[at + 1]), int(options[at + 2]));
    let count = if count < 0 { usize::MAX } else { count as usize };
    members.into_iter().skip(offset as usize).take(count).collect()
}

/// Reads a bound: `(` excludes the number behind it.
fn bound(text: &[u8]) -> (f64, bool) {
    match text {
        [b'(', rest @ ..] => (float(rest), true),
        _ => (float(text), false),
    }
}
