//! What SCAN, SSCAN, HSCAN and ZSCAN have in common: cursors, options and the shape of the reply.

use base::glob::glob_match;
use keyspace::Type;

use crate::{Args, Error, Reply, Result};

/// Buckets looked at for each element asked for, before an answer with fewer elements is given.
const STEPS_PER_ELEMENT: u64 = 10;

/// The options after a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanOptions<'a> {
    /// The pattern that names must match; `None` also where the pattern is `*`.
    pub(crate) pattern: Option<&'a [u8]>,
    /// How many elements to look at before answering.
    pub(crate) count: u64,
    pub(crate) wanted: Wanted,
}

/// Which types of values SCAN is to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Any,
    Only(Type),
    /// Those of a type that does not exist.
    Nothing,
}

/// Reads a cursor as C's `strtoul` does, but for leading space.
pub(crate) fn cursor(args: &mut Args<'_>) -> Result<u64> {
    parse_cursor(args.next()?).ok_or(Error::text("ERR invalid cursor"))
}

fn parse_cursor(text: &[u8]) -> Option<u64> {
    // What follows a NUL is not part of a C string.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return text.is_empty().then_some(0);
    }
    let value = digits.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

impl<'a> ScanOptions<'a> {
    /// Reads all that is left: `[MATCH pattern] [COUNT count]`, and `[TYPE type]` where `allow_type`.
    ///
    /// Redis looks the key up after the cursor and before the options, so that a missing key excuses their errors.
    pub(crate) fn parse(args: &mut Args<'a>, allow_type: bool) -> Result<ScanOptions<'a>> {
        let mut options = ScanOptions { pattern: None, count: 10, wanted: Wanted::Any };
        while !args.is_empty() {
            if args.left() < 2 {
                return Err(Error::Syntax);
            } else if args.accept("COUNT") {
                let count = args.int()?;
                if count < 1 {
                    return Err(Error::Syntax);
                }
                options.count = count as u64;
            } else if args.accept("MATCH") {
                let pattern = args.next()?;
                options.pattern = (pattern != b"*").then_some(pattern);
            } else if allow_type && args.accept("TYPE") {
                options.wanted = Type::from_name(args.next()?).map_or(Wanted::Nothing, Wanted::Only);
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(options)
    }

    /// Tells whether `name` is wanted.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob_match(pattern, name, false))
    }

    /// Takes steps until enough elements were looked at or the round is over, and returns the next cursor.
    ///
    /// A step starts at a cursor and returns the next one and how many elements it met, wanted or not.
    pub(crate) fn walk(&self, cursor: u64, mut step: impl FnMut(u64) -> (u64, usize)) -> u64 {
        let (mut cursor, mut met) = (cursor, 0u64);
        for _ in 0..=self.count.saturating_mul(STEPS_PER_ELEMENT) {
            let (next, more) = step(cursor);
            (cursor, met) = (next, met + more as u64);
            if cursor == 0 || met >= self.count {
                break;
            }
        }
        cursor
    }
}

/// Starts a reply, the cursor first; an array of the elements follows.
pub(crate) fn reply_cursor(cursor: u64, out: &mut Reply<'_>) {
    out.array(2);
    out.bulk(cursor.to_string().as_bytes());
}

/// Writes the reply for a key that is not there: the round is over, and nothing was found.
pub(crate) fn reply_nothing(out: &mut Reply<'_>) {
    reply_cursor(0, out);
    out.array(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_c_reads_them() {
        for (text, cursor) in [
            (&b"0"[..], Some(0)),
            (b"", Some(0)),
            (b"42", Some(42)),
            (b"+42", Some(42)),
            (b"-1", Some(u64::MAX)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b" 1", None),
            (b"1 ", None),
            (b"1x", None),
            (b"-", None),
            (b"x", None),
        ] {
            assert_eq!(parse_cursor(text), cursor, "{}", text.escape_ascii());
        }
    }
}
