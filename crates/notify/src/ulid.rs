//! Identifiers that sort by the time they were made: ULID, 48 bits of milliseconds and 80 random bits.
//!
//! ```text
//!  01JD9X2M4Q   7Z3K9V1B5N8C6D2F
//! |----------| |----------------|
//!  time, 10     randomness, 16 characters of 5 bits each
//! ```
//!
//! Two hosts need not agree on anything to make different ones, which is what lets a record that was kept on disk be
//! saved a second time without becoming a second record.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::UnixMs;

/// Crockford's alphabet: no I, L, O and U, which are read as something else.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// How many characters one has.
const LENGTH: usize = 26;

/// The id of a failure record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ulid(u128);

impl Ulid {
    /// Returns the id of this time and these random bytes.
    pub fn new(at: UnixMs, random: [u8; 10]) -> Ulid {
        let random = random.iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        Ulid(u128::from(at.0 & 0xFFFF_FFFF_FFFF) << 80 | random)
    }

    /// Returns a new id, of now.
    pub fn generate() -> Ulid {
        Ulid::new(UnixMs::now(), crate::random::bytes())
    }

    /// Returns when it was made.
    pub fn at(self) -> UnixMs {
        UnixMs((self.0 >> 80) as u64)
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; LENGTH];
        for (place, character) in text.iter_mut().enumerate() {
            let shift = 5 * (LENGTH - 1 - place);
            *character = ALPHABET[(self.0 >> shift & 31) as usize];
        }
        f.pad(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with a text that should be an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id has 26 letters and digits, as 01JD9X2M4Q7Z3K9V1B5N8C6D2F")
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for Ulid {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Ulid, NotAnId> {
        // The first character carries only three of the 128 bits.
        if text.len() != LENGTH || !matches!(text.as_bytes()[0], b'0'..=b'7') {
            return Err(NotAnId);
        }
        let mut bits = 0u128;
        for character in text.bytes() {
            let upper = character.to_ascii_uppercase();
            let digit = ALPHABET.iter().position(|known| *known == upper).ok_or(NotAnId)?;
            bits = bits << 5 | digit as u128;
        }
        Ok(Ulid(bits))
    }
}

impl Serialize for Ulid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ulid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ulid, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_the_specification_writes_it() {
        // The example of the ULID specification.
        let id: Ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        assert_eq!(id.at(), UnixMs(1_469_922_850_259));
        assert_eq!(id.to_string(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert_eq!("01arz3ndektsv4rrffq69g5fav".parse(), Ok(id));
        assert_eq!(Ulid::new(UnixMs((1 << 48) - 1), [255; 10]).to_string(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    }

    #[test]
    fn later_ones_sort_behind_and_two_of_one_moment_differ() {
        let early = Ulid::new(UnixMs(1000), [255; 10]);
        let late = Ulid::new(UnixMs(1001), [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
        assert_ne!(Ulid::generate(), Ulid::generate());
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "1",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "01ARZ3NDEKTSV4RRFFQ69G5FAU",
            "01ARZ3NDEKTSV4RRFFQ69G5FéV",
        ] {
            assert_eq!(text.parse::<Ulid>(), Err(NotAnId), "{text}");
        }
    }
}
