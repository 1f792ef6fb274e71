//! Numbers as the protocol writes them: integers here, floats and long doubles in the files below.
//!
//! Reading is as strict or as lax as Redis is, because whether a text *is* a number decides encodings and error
//! replies. Sizes with units ("1gb") belong to the configuration, not here.

mod float;
mod long_double;

pub use float::{parse_f64, push_f64};
pub use long_double::LongDouble;

/// Returns the integer that `text` is the one canonical spelling of.
///
/// No spaces, no `+`, no leading zeros and no `-0`: printing the result gives `text` back.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    // Nineteen digits cannot overflow 64 unsigned bits, so the loop need not check.
    let mut magnitude = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    match negative {
        false => i64::try_from(magnitude).ok(),
        true if magnitude <= i64::MIN.unsigned_abs() => Some((magnitude as i64).wrapping_neg()),
        true => None,
    }
}

/// Returns the unsigned integer that `text` spells in decimal digits; leading zeros are allowed.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// Appends `value` in decimal.
#[inline]
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_u64(out, value.unsigned_abs());
}

/// Appends `value` in decimal.
#[inline]
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    // Copies of known size are single stores; what is not wanted is cut off behind them.
    let mut push = |chunk: [u8; 8], len: usize| {
        let end = out.len() + len;
        out.extend_from_slice(&chunk);
        out.truncate(end);
    };
    each_chunk(value, &mut push);
}

/// The decimal text of one integer, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct IntText {
    /// The text, and room for a whole chunk at its end.
    bytes: [u8; IntText::MAX_LEN + 8],
    len: u8,
}

impl IntText {
    /// The length of the longest text, that of `i64::MIN` and of `u64::MAX`.
    pub const MAX_LEN: usize = 20;

    /// Returns the text of `value`.
    #[inline]
    pub fn new(value: i64) -> IntText {
        IntText::with_sign(value < 0, value.unsigned_abs())
    }

    /// Returns the text of `value`.
    #[inline]
    pub fn unsigned(value: u64) -> IntText {
        IntText::with_sign(false, value)
    }

    #[inline]
    fn with_sign(negative: bool, magnitude: u64) -> IntText {
        let mut bytes = [b'-'; IntText::MAX_LEN + 8];
        let mut end = usize::from(negative);
        each_chunk(magnitude, &mut |chunk, len| {
            bytes[end..end + 8].copy_from_slice(&chunk);
            end += len;
        });
        IntText { bytes, len: end as u8 }
    }

    /// Returns the text's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Calls `push` with the digits of `value` from the left: chunks of eight bytes, and how many of each count.
#[inline(always)]
fn each_chunk(value: u64, push: &mut impl FnMut([u8; 8], usize)) {
    const CHUNK: u64 = 100_000_000;
    const ASCII: u64 = 0x3030_3030_3030_3030;

    let mut leading = |value: u64| {
        let digits = eight_digits(value);
        // The last digit counts even if it is 0.
        let zeros = (digits | (1 << 56)).trailing_zeros() / 8;
        push(((digits | ASCII) >> (zeros * 8)).to_le_bytes(), 8 - zeros as usize);
    };
    if value < CHUNK {
        return leading(value);
    }
    let (left, right) = (value / CHUNK, value % CHUNK);
    if left < CHUNK {
        leading(left);
    } else {
        leading(left / CHUNK);
        push((eight_digits(left % CHUNK) | ASCII).to_le_bytes(), 8);
    }
    push((eight_digits(right) | ASCII).to_le_bytes(), 8);
}

/// Returns the decimal digits of a `value` below 10^8, the first in the lowest byte.
///
/// Halves of four digits, then quarters of two, then single digits are divided side by side in one register; each
/// division by 100 or 10 is a multiplication and a shift that are exact for what can occur.
#[inline(always)]
fn eight_digits(value: u64) -> u64 {
    let halves = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | ((halves - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((pairs - tens * 10) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_an_integer() {
        let integers: [(&str, i64); 9] = [
            ("0", 0),
            ("7", 7),
            ("-1", -1),
            ("10", 10),
            ("1234567890123456789", 1_234_567_890_123_456_789),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("-9223372036854775807", i64::MIN + 1),
            ("1000000000000000000", 1_000_000_000_000_000_000),
        ];
        for (text, value) in integers {
            assert_eq!(parse_i64(text.as_bytes()), Some(value), "{text}");
        }
        let others = [
            "",
            "-",
            "+1",
            "01",
            "-0",
            "-01",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x10",
            "a",
            "1a",
            "--1",
            "00",
            "9223372036854775808",
            "-9223372036854775809",
            "9999999999999999999",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999999",
            "1\0",
            "\u{661}",
        ];
        for text in others {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn unsigned_integers_may_have_leading_zeros() {
        assert_eq!(parse_u64(b"0"), Some(0));
        assert_eq!(parse_u64(b"0000000000000000000000000000000042"), Some(42));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "18446744073709551616", "-1", "+1", " 1", "1 ", "1x", "99999999999999999999999"] {
            assert_eq!(parse_u64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn integers_print_as_the_standard_library_prints_them() {
        let mut values = vec![0, i64::MAX, i64::MIN, i64::MIN + 1];
        for power in 0..19 {
            let power = 10i64.pow(power);
            values.extend([power - 1, power, power + 1, -power, 1 - power]);
        }
        values.extend(0..20_000);
        values.extend((0..100_000_000).step_by(9_973));
        let mut rng = crate::rng::Rng::seeded(1);
        values.extend((0..1000).map(|_| rng.next_u64() as i64 >> (rng.next_u64() & 63)));
        for value in values {
            let mut pushed = Vec::new();
            push_i64(&mut pushed, value);
            assert_eq!(pushed, value.to_string().as_bytes());
            assert_eq!(parse_i64(&pushed), Some(value));
            let mut pushed = Vec::new();
            push_u64(&mut pushed, value as u64);
            assert_eq!(pushed, (value as u64).to_string().as_bytes());
            assert_eq!(parse_u64(&pushed), Some(value as u64));
        }
    }
}
