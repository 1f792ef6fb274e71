//! Arguments that bound a range of ranks, scores or members.

use std::ops::Range;

use base::number::parse_f64;
use structures::{LexBound, ScoreBound};

use crate::{Args, Error, Result};

const NOT_SCORES: Error = Error::text("ERR min or max is not a float");
const NOT_LEX: Error = Error::text("ERR min or max not valid string range item");

/// Reads two bounds of a range of scores.
pub(super) fn scores(args: &mut Args<'_>) -> Result<(ScoreBound, ScoreBound)> {
    let (first, second) = (args.next()?, args.next()?);
    Ok((score_bound(first).ok_or(NOT_SCORES)?, score_bound(second).ok_or(NOT_SCORES)?))
}

/// Reads two bounds of a range of members.
pub(super) fn lex<'a>(args: &mut Args<'a>) -> Result<(LexBound<'a>, LexBound<'a>)> {
    let (first, second) = (args.next()?, args.next()?);
    Ok((lex_bound(first).ok_or(NOT_LEX)?, lex_bound(second).ok_or(NOT_LEX)?))
}

/// Returns the ranks from `start` to `stop`, the latter included; negative ones count from the end.
pub(super) fn ranks(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let absolute = |rank: i64| if rank < 0 { (len + rank).max(-1) } else { rank.min(len) };
    let start = absolute(start).max(0);
    let end = (absolute(stop) + 1).clamp(start, len.max(start));
    start as usize..end as usize
}

fn score_bound(text: &[u8]) -> Option<ScoreBound> {
    match text {
        [b'(', rest @ ..] => c_double(rest).map(ScoreBound::exclusive),
        _ => c_double(text).map(ScoreBound::inclusive),
    }
}

/// Returns the double that C's `strtod` makes of a text, if it stops at its end; Redis asks for no more here.
///
/// Nothing is 0, space may come before, and what is too large or too small becomes an infinity or a zero.
fn c_double(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != 0x0b)?;
    let text = &text[start..];
    let is_decimal = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    parse_f64(text).or_else(|| match text.iter().all(is_decimal) {
        true => str::from_utf8(text).ok()?.parse().ok(),
        false => None,
    })
}

fn lex_bound(text: &[u8]) -> Option<LexBound<'_>> {
    match text {
        b"-" => Some(LexBound::Lowest),
        b"+" => Some(LexBound::Highest),
        [b'[', member @ ..] => Some(LexBound::Inclusive(member)),
        [b'(', member @ ..] => Some(LexBound::Exclusive(member)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_from_both_ends() {
        for (start, stop, range) in [
            (0, -1, 0..5),
            (0, 0, 0..1),
            (-2, -1, 3..5),
            (1, 100, 1..5),
            (-100, 1, 0..2),
            (3, 2, 3..3),
            (0, -6, 0..0),
            (i64::MIN, i64::MAX, 0..5),
            (i64::MAX, i64::MIN, 5..5),
            (i64::MAX, i64::MAX, 5..5),
        ] {
            assert_eq!(ranks(start, stop, 5), range, "{start} {stop}");
        }
        assert_eq!(ranks(0, -1, 0), 0..0);
    }

    #[test]
    fn score_bounds_are_read_as_c_reads_them() {
        let bound = |text: &[u8]| score_bound(text).map(|bound| (bound.score, bound.exclusive));
        for (text, score) in [
            (&b""[..], Some((0.0, false))),
            (b"(", Some((0.0, true))),
            (b"(1.5", Some((1.5, true))),
            (b" 1", Some((1.0, false))),
            (b"-inf", Some((f64::NEG_INFINITY, false))),
            (b"(+inf", Some((f64::INFINITY, true))),
            (b"1e400", Some((f64::INFINITY, false))),
            (b"1e-400", Some((0.0, false))),
            (b"1 ", None),
            (b" ", None),
            (b"nan", None),
            (b"((1", None),
            (b"+", None),
            (b"one", None),
        ] {
            assert_eq!(bound(text), score, "{}", text.escape_ascii());
        }
    }
}
