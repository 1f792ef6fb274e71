//! Strings, as bytes, numbers and bits.

use testkit::Reply;

use super::entry::{Encoding, Entry, Value};
use super::{Model, Said, clamp, error, float, int, is, maybe_int};
use crate::checkers::answer::Answer;

const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

impl Model {
    pub(super) fn strings(&mut self, name: &str, args: &[&[u8]], actual: Option<&Reply>) -> Option<Said> {
        Some(match (name, args) {
            ("GET", [key]) => self.text(key).map(|text| Answer::text(text.map(Vec::as_slice))),
            ("SET", [key, value, options @ ..]) => self.set_text(key, value, options),
            ("SETNX", [key, value]) => {
                let free = self.look(key).is_none();
                if free {
                    self.put(key, Entry::text(value));
                }
                Ok(Answer::Int(i64::from(free)))
            }
            ("SETEX" | "PSETEX", [key, time, value]) => {
                let ms = int(time) * if name == "SETEX" { 1000 } else { 1 };
                self.store_until(key, value, ms)
            }
            ("GETSET", [key, value]) => self.getset(key, value),
            ("GETDEL", [key]) => self.text(key).map(|text| text.cloned()).map(|text| {
                if text.is_some() {
                    self.take(key);
                }
                Answer::text(text.as_deref())
            }),
            ("GETEX", [key, options @ ..]) => self.getex(key, options),
            ("MGET", keys) => {
                let texts = keys
                    .iter()
                    .map(|key| Answer::text(self.text(key).ok().flatten().map(Vec::as_slice)))
                    .collect();
                Ok(Answer::Array(texts))
            }
            ("MSET", pairs) => {
                pairs.chunks(2).for_each(|pair| self.put(pair[0], Entry::text(pair[1])));
                Ok(Answer::ok())
            }
            ("MSETNX", pairs) => {
                let free = pairs.chunks(2).all(|pair| self.look(pair[0]).is_none());
                if free {
                    pairs.chunks(2).for_each(|pair| self.put(pair[0], Entry::text(pair[1])));
                }
                Ok(Answer::Int(i64::from(free)))
            }
            ("STRLEN", [key]) => {
                self.text(key).map(|text| Answer::Int(text.map_or(0, |text| text.len() as i64)))
            }
            ("APPEND", [key, suffix]) => self.append(key, suffix),
            ("GETRANGE" | "SUBSTR", [key, start, end]) => {
                let (start, end) = (int(start), int(end));
                self.text(key).map(|text| {
                    let text = text.map_or(&[][..], Vec::as_slice);
                    let range = if start < 0 && end < 0 && start > end {
                        0..0
                    } else {
                        clamp(start, end.max(-(text.len() as i64)), text.len())
                    };
                    Answer::Bulk(text[range].to_vec())
                })
            }
            ("SETRANGE", [key, offset, patch]) => self.setrange(key, int(offset), patch),
            ("INCR", [key]) => self.add(key, 1),
            ("DECR", [key]) => self.add(key, -1),
            ("INCRBY", [key, delta]) => self.add(key, int(delta)),
            ("DECRBY", [key, delta]) => self.add(key, -int(delta)),
            ("INCRBYFLOAT", [key, delta]) => self.add_float(key, float(delta), actual),
            ("SETBIT", [key, offset, bit]) => self.setbit(key, int(offset) as usize, *bit == b"1"),
            ("GETBIT", [key, offset]) => {
                let offset = int(offset) as usize;
                self.text(key).map(|text| {
                    let byte = text.and_then(|text| text.get(offset / 8)).copied().unwrap_or(0);
                    Answer::Int(i64::from(byte >> (7 - offset % 8) & 1))
                })
            }
            ("BITCOUNT", [key]) => self.text(key).map(|text| {
                Answer::Int(text.map_or(0, |text| text.iter().map(|byte| i64::from(byte.count_ones())).sum()))
            }),
            _ => return None,
        })
    }

    fn set_text(&mut self, key: &[u8], value: &[u8], options: &[&[u8]]) -> Said {
        let has = |word: &str| options.iter().any(|option| is(option, word));
        let old = if has("GET") { self.text(key)?.cloned() } else { None };
        let there = self.look(key).is_some();
        let said = if has("GET") { Answer::text(old.as_deref()) } else { Answer::ok() };
        if has("NX") && there || has("XX") && !there {
            return Ok(if has("GET") { said } else { Answer::Null });
        }
        let mut entry = Entry::text(value);
        entry.expires = match self.expiry(options) {
            Some(at) => Some(at),
            None if has("KEEPTTL") => self.look(key).and_then(|entry| entry.expires),
            None => None,
        };
        self.store(key, entry);
        Ok(said)
    }

    /// Returns the moment that an option EX, PX, EXAT or PXAT names, in milliseconds.
    fn expiry(&self, options: &[&[u8]]) -> Option<i64> {
        options.windows(2).find_map(|pair| {
            let now = self.now.unix_ms();
            Some(match () {
                () if is(pair[0], "EX") => now + int(pair[1]) * 1000,
                () if is(pair[0], "PX") => now + int(pair[1]),
                () if is(pair[0], "EXAT") => int(pair[1]) * 1000,
                () if is(pair[0], "PXAT") => int(pair[1]),
                () => return None,
            })
        })
    }

    /// Stores an entry that may be past its time already, in which case it leaves nothing but its ghost.
    fn store(&mut self, key: &[u8], entry: Entry) {
        self.put(key, entry);
        self.look(key);
    }

    fn store_until(&mut self, key: &[u8], value: &[u8], ms: i64) -> Said {
        let mut entry = Entry::text(value);
        entry.expires = Some(self.now.unix_ms() + ms);
        self.store(key, entry);
        Ok(Answer::ok())
    }

    fn getset(&mut self, key: &[u8], value: &[u8]) -> Said {
        let old = self.text(key)?.cloned();
        self.put(key, Entry::text(value));
        Ok(Answer::text(old.as_deref()))
    }

    fn getex(&mut self, key: &[u8], options: &[&[u8]]) -> Said {
        let Some(text) = self.text(key)?.cloned() else { return Ok(Answer::Null) };
        let at = self.expiry(options);
        let persists = options.iter().any(|option| is(option, "PERSIST"));
        if at.is_some() || persists {
            let now_ms = self.now.unix_ms();
            if let Some(entry) = self.look(key) {
                let had = entry.expires.is_some();
                entry.expires = at;
                let gone = entry.is_expired(now_ms);
                if at.is_some() || had {
                    self.changed(key);
                }
                if gone {
                    self.take(key);
                }
            }
        }
        Ok(Answer::Bulk(text))
    }

    fn append(&mut self, key: &[u8], suffix: &[u8]) -> Said {
        let Some(mut text) = self.text(key)?.cloned() else {
            self.put(key, Entry::text(suffix));
            return Ok(Answer::Int(suffix.len() as i64));
        };
        text.extend_from_slice(suffix);
        let length = text.len() as i64;
        self.replace_text(key, text, Encoding::Raw);
        Ok(Answer::Int(length))
    }

    fn setrange(&mut self, key: &[u8], offset: i64, patch: &[u8]) -> Said {
        if offset < 0 {
            self.text(key)?;
            return Err(error("ERR offset is out of range"));
        }
        let mut text = self.text(key)?.cloned().unwrap_or_default();
        if patch.is_empty() {
            return Ok(Answer::Int(text.len() as i64));
        }
        let end = offset as usize + patch.len();
        text.resize(text.len().max(end), 0);
        text[offset as usize..end].copy_from_slice(patch);
        let length = text.len() as i64;
        self.replace_text(key, text, Encoding::Raw);
        Ok(Answer::Int(length))
    }

    fn setbit(&mut self, key: &[u8], offset: usize, bit: bool) -> Said {
        let mut text = self.text(key)?.cloned().unwrap_or_default();
        let grows = text.len() < offset / 8 + 1;
        text.resize(text.len().max(offset / 8 + 1), 0);
        let (byte, mask) = (&mut text[offset / 8], 0x80u8 >> (offset % 8));
        let before = *byte & mask != 0;
        *byte = if bit { *byte | mask } else { *byte & !mask };
        if grows || before != bit {
            self.replace_text(key, text, Encoding::Open);
        } else if let Some(entry) = self.look(key) {
            // Nothing changed, so that no watch breaks; the text may be stored otherwise all the same.
            entry.encoding = Encoding::Open;
        }
        Ok(Answer::Int(i64::from(before)))
    }

    fn add(&mut self, key: &[u8], delta: i64) -> Said {
        let number = match self.text(key)? {
            Some(text) => maybe_int(text).ok_or_else(|| error(NOT_AN_INTEGER))?,
            None => 0,
        };
        let sum =
            number.checked_add(delta).ok_or_else(|| error("ERR increment or decrement would overflow"))?;
        self.replace_text(key, sum.to_string().into_bytes(), Encoding::Int);
        Ok(Answer::Int(sum))
    }

    fn add_float(&mut self, key: &[u8], delta: f64, actual: Option<&Reply>) -> Said {
        let number = match self.text(key)? {
            Some(text) => plain_float(text).ok_or_else(|| error("ERR value is not a valid float"))?,
            None => 0.0,
        };
        // The server computes with more bits than there are here: sums that need them are taken from it.
        let exact = number.abs() < 1e12 && (number * 4.0).fract() == 0.0;
        let text = match actual.and_then(Reply::text).filter(|_| !exact) {
            Some(text) => text.to_vec(),
            None => (number + delta).to_string().into_bytes(),
        };
        self.replace_text(key, text.clone(), Encoding::Open);
        Ok(Answer::Bulk(text))
    }

    /// Puts a new text in the place of the old one; the key keeps its expiry.
    fn replace_text(&mut self, key: &[u8], text: Vec<u8>, encoding: Encoding) {
        let expires = self.look(key).and_then(|entry| entry.expires);
        self.put(key, Entry { value: Value::Text(text), expires, encoding });
    }
}

/// Reads what the workload's texts can be: short decimal numbers, or no numbers at all.
fn plain_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.')) && !text.is_empty();
    plain.then(|| text.parse().ok()).flatten()
}
