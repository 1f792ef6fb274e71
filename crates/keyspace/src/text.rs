//! Strings as commands see them, whatever their encoding.

use base::number::{IntText, parse_i64};
use structures::Payload;

use crate::{Entry, Value, WrongType, word};

/// Longest string kept inside its record; longer ones get a buffer of their own.
pub const INLINE_MAX: usize = 1024;

/// Longest string that `OBJECT ENCODING` calls embstr.
const EMBSTR_MAX: usize = 44;

/// A string value, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Text<'a> {
    /// Returns the string that `entry` holds, or `WrongType` if it holds something else.
    #[inline]
    pub fn of(entry: &'a Entry) -> Result<Text<'a>, WrongType> {
        match entry.payload() {
            Payload::Bytes(bytes) => Ok(Text::Bytes(bytes)),
            Payload::Word(word) => match &*word {
                Value::Int(n) => Ok(Text::Int(*n)),
                Value::Text(_) => Ok(Text::Bytes(word::text_bytes(entry).expect("just matched"))),
                _ => Err(WrongType),
            },
        }
    }

    /// Returns the length in bytes.
    pub fn len(self) -> usize {
        match self {
            Text::Int(n) => IntText::new(n).as_bytes().len(),
            Text::Bytes(b) => b.len(),
        }
    }

    /// Returns whether the string is empty.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Calls `f` with the string's bytes.
    pub fn with<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Text::Int(n) => f(IntText::new(n).as_bytes()),
            Text::Bytes(b) => f(b),
        }
    }

    /// Returns the bytes as an owned vector.
    pub fn to_vec(self) -> Vec<u8> {
        self.with(<[u8]>::to_vec)
    }

    /// Returns the integer that the string spells, if it does so canonically.
    pub fn int(self) -> Option<i64> {
        match self {
            Text::Int(n) => Some(n),
            Text::Bytes(b) => parse_i64(b),
        }
    }

    /// Returns the encoding's name for a string kept inline.
    pub fn inline_encoding(bytes: &[u8]) -> &'static str {
        if bytes.len() <= EMBSTR_MAX { "embstr" } else { "raw" }
    }
}

/// Returns the integer that `bytes` spell exactly, if they may be kept as one.
#[inline]
pub(crate) fn as_int(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [] | [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, ..] => None,
        [b'-' | b'0'..=b'9', ..] => parse_i64(bytes),
        _ => None,
    }
}
