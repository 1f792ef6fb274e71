//! DEBUG DIGEST: a digest of the data that equals Redis' for equal data.

use std::fmt::Write;

use keyspace::{Entry, Keyspace, Text, Value};
use sha1::{Digest as _, Sha1};
use structures::{Item, Payload};

/// Twenty bytes into which data is mixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest([u8; 20]);

impl Digest {
    /// Adds data regardless of order: what is added twice cancels out.
    fn join(&mut self, data: &[u8]) {
        for (byte, other) in self.0.iter_mut().zip(Sha1::digest(data)) {
            *byte ^= other;
        }
    }

    /// Adds data in order: the same data in another order gives another digest.
    fn mix(&mut self, data: &[u8]) {
        self.join(data);
        self.0 = Sha1::digest(self.0).into();
    }

    fn mix_item(&mut self, item: Item<'_>) {
        self.mix(item.text().as_bytes());
    }

    /// Adds the value and whether it expires, but not the key.
    pub(super) fn add_value(&mut self, entry: &Entry) {
        let kind = |number: u32| number.to_be_bytes();
        match entry.payload() {
            Payload::Bytes(bytes) => {
                self.mix(&kind(0));
                self.mix(bytes);
            }
            Payload::Word(word) => match &*word {
                Value::Int(_) | Value::Text(_) => {
                    self.mix(&kind(0));
                    match Text::of(entry) {
                        Ok(Text::Int(n)) => self.mix(base::number::IntText::new(n).as_bytes()),
                        Ok(Text::Bytes(bytes)) => self.mix(bytes),
                        Err(_) => unreachable!("a string is read as one"),
                    }
                }
                Value::List(list) => {
                    self.mix(&kind(1));
                    list.iter().for_each(|item| self.mix_item(item));
                }
                Value::Set(set) => {
                    self.mix(&kind(2));
                    set.iter().for_each(|item| self.join(item.text().as_bytes()));
                }
                Value::ZSet(zset) => {
                    self.mix(&kind(3));
                    for (member, score) in zset.iter() {
                        let mut one = Digest::default();
                        one.mix_item(member);
                        one.mix(seventeen_digits(score).as_bytes());
                        self.join(&one.0);
                    }
                }
                Value::Hash(hash) => {
                    self.mix(&kind(4));
                    for (field, value) in hash.iter() {
                        let mut one = Digest::default();
                        one.mix_item(field);
                        one.mix_item(value);
                        self.join(&one.0);
                    }
                }
            },
        }
        if entry.stamp().is_some() {
            self.join(b"!!expire!!");
        }
    }

    /// Returns the digest as forty hexadecimal digits.
    pub(super) fn to_hex(self) -> String {
        let mut text = String::new();
        for byte in self.0 {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Returns a score as C's `%.17g` prints it, as digests of Redis 7.0 have it.
fn seventeen_digits(score: f64) -> String {
    if !score.is_finite() {
        return match (score.is_nan(), score < 0.0) {
            (true, _) => "nan".into(),
            (_, true) => "-inf".into(),
            (_, false) => "inf".into(),
        };
    }
    let scientific = format!("{score:.16e}");
    let (digits, exponent) = scientific.split_once('e').expect("Rust prints one");
    let exponent: i32 = exponent.parse().expect("a number");
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..17).contains(&exponent) {
        trim(&format!("{score:.*}", (16 - exponent) as usize))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(digits), exponent.abs())
    }
}

/// Returns the digest of all databases.
pub(super) fn digest_of(keyspace: &Keyspace) -> Digest {
    let mut all = Digest::default();
    for (index, db) in keyspace.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        all.mix(&(index as u32).to_be_bytes());
        for entry in db.table.iter() {
            let mut one = Digest::default();
            one.mix(entry.key());
            one.add_value(entry);
            all.join(&one.0);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_printed_as_c_prints_them() {
        for (score, text) in [
            (0.1, "0.10000000000000001"),
            (1.0, "1"),
            (-0.0, "-0"),
            (1e17, "1e+17"),
            (12345678901234567.0, "12345678901234568"),
            (1e-5, "1.0000000000000001e-05"),
            (0.00012, "0.00012"),
            (2.5e300, "2.5000000000000001e+300"),
            (f64::INFINITY, "inf"),
            (3.25, "3.25"),
        ] {
            assert_eq!(seventeen_digits(score), text);
        }
    }
}
