//! The 80-bit x87 "long double", in which Redis computes INCRBYFLOAT and HINCRBYFLOAT.
//!
//! It has 64 bits of mantissa, so sums such as 0.1 + 0.2 print as people expect. The bits are laid out as
//!
//! ```text
//!  79 | 78 .. 64            | 63             | 62 .. 0
//! sign | exponent + 16383   | integer part   | fraction
//! ```

use std::ops::Add;

use rustc_apfloat::Float;
use rustc_apfloat::ieee::X87DoubleExtended;

use super::push_u64;

/// A number with 64 bits of precision; never NaN when parsed.
#[derive(Clone, Copy, Debug)]
pub struct LongDouble(X87DoubleExtended);

impl LongDouble {
    /// A text this long or longer is not taken for a number.
    const TEXT_MAX: usize = 5 * 1024;

    /// Returns the number that `text` spells, if C's `strtold` would read all of it.
    ///
    /// The rules are those of `parse_f64`, over a wider range.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= LongDouble::TEXT_MAX {
            return None;
        }
        let (text, zero) = match grammar(text)? {
            Grammar::Infinity { negative: false } => return Some(LongDouble(X87DoubleExtended::INFINITY)),
            Grammar::Infinity { negative: true } => return Some(LongDouble(-X87DoubleExtended::INFINITY)),
            Grammar::Decimal { text, zero } => (text.to_owned(), zero),
            Grammar::Hexadecimal { text, zero } => (text, zero),
        };
        let value: X87DoubleExtended = text.parse().ok()?;
        (value.is_finite() && (!value.is_zero() || zero)).then_some(LongDouble(value))
    }

    /// Returns whether this is a number proper, neither infinite nor the result of infinity minus infinity.
    pub fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// Appends the number with up to 17 decimals and no exponent, without trailing zeros.
    pub fn push_text(self, out: &mut Vec<u8>) {
        if self.0.is_nan() {
            return out.extend_from_slice(b"nan");
        }
        let start = out.len();
        if self.0.is_negative() {
            out.push(b'-');
        }
        if self.0.is_infinite() {
            return out.extend_from_slice(b"inf");
        }
        let bits = self.0.to_bits();
        let mantissa = bits as u64;
        // A denormal's exponent field is 0 but counts as 1.
        let exponent = ((bits >> 64) as i32 & 0x7fff).max(1) - 16383 - 63;
        if exponent > 0 {
            push_shifted(out, mantissa, exponent as u32);
        } else {
            push_fixed(out, mantissa, exponent.unsigned_abs());
        }
        if &out[start..] == b"-0" {
            out.remove(start);
        }
    }
}

impl Add for LongDouble {
    type Output = LongDouble;

    /// Returns the sum, rounded to nearest and to even in a tie.
    fn add(self, other: LongDouble) -> LongDouble {
        LongDouble((self.0 + other.0).value)
    }
}

impl From<i64> for LongDouble {
    /// Returns `value`, which is always exact.
    fn from(value: i64) -> LongDouble {
        LongDouble(X87DoubleExtended::from_i128(i128::from(value)).value)
    }
}

/// Appends `mantissa / 2^fraction_bits` with 17 decimals rounded half to even, less the trailing zeros.
fn push_fixed(out: &mut Vec<u8>, mantissa: u64, fraction_bits: u32) {
    const SCALE: u128 = 100_000_000_000_000_000;

    let mantissa = u128::from(mantissa);
    let (mut whole, mut decimals) = if fraction_bits < 128 {
        let whole = mantissa >> fraction_bits;
        // The fraction is below 2^64 and the scale below 2^57: their product fits.
        let scaled = (mantissa - (whole << fraction_bits)) * SCALE;
        let decimals = scaled >> fraction_bits;
        let rest = scaled - (decimals << fraction_bits);
        // With no fraction bits there is no rest; with 127 of them, twice the rest still fits as it is below 2^122.
        let unit = 1u128 << fraction_bits;
        let up = rest > unit - rest || (rest == unit - rest && decimals & 1 == 1);
        (whole, decimals + u128::from(up))
    } else {
        (0, 0)
    };
    if decimals == SCALE {
        (whole, decimals) = (whole + 1, 0);
    }
    push_u64(out, whole as u64);
    if decimals != 0 {
        // Adding the scale puts a 1 in front, which keeps the leading zeros; a point takes its place.
        let point = out.len();
        push_u64(out, (SCALE + decimals) as u64);
        out[point] = b'.';
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Appends `mantissa * 2^shift` in full.
fn push_shifted(out: &mut Vec<u8>, mantissa: u64, mut shift: u32) {
    const LIMB: u64 = 1_000_000_000;

    // Little-endian limbs of nine decimal digits.
    let mut limbs = Vec::with_capacity(3 + shift as usize / 29);
    let mut rest = mantissa;
    while rest != 0 {
        limbs.push(rest % LIMB);
        rest /= LIMB;
    }
    while shift > 0 {
        let step = shift.min(32);
        let mut carry = 0;
        for limb in &mut limbs {
            let shifted = (*limb << step) + carry;
            *limb = shifted % LIMB;
            carry = shifted / LIMB;
        }
        while carry != 0 {
            limbs.push(carry % LIMB);
            carry /= LIMB;
        }
        shift -= step;
    }
    push_u64(out, limbs.pop().unwrap_or(0));
    for limb in limbs.into_iter().rev() {
        let first = out.len();
        push_u64(out, LIMB + limb);
        out.remove(first);
    }
}

/// What kind of number a text is, as C's `strtod` and `strtold` see it.
pub(super) enum Grammar<'a> {
    /// "inf" or "infinity" in any case.
    Infinity { negative: bool },
    /// Digits with perhaps a point and an exponent; `zero` when every digit is 0.
    Decimal { text: &'a str, zero: bool },
    /// Hexadecimal digits after "0x"; `text` has the exponent that the original may leave out.
    Hexadecimal { text: String, zero: bool },
}

/// Returns what kind of number the whole of `text` is, or nothing when some of it is not.
pub(super) fn grammar(text: &[u8]) -> Option<Grammar<'_>> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, body) = match text.as_bytes() {
        [b'-', body @ ..] => (true, body),
        [b'+', body @ ..] => (false, body),
        body => (false, body),
    };
    if body.eq_ignore_ascii_case(b"inf") || body.eq_ignore_ascii_case(b"infinity") {
        return Some(Grammar::Infinity { negative });
    }
    if let [b'0', b'x' | b'X', hexadecimal @ ..] = body {
        let (zero, exponent) = significand(hexadecimal, u8::is_ascii_hexdigit)?;
        let suffix = match exponent {
            [] => "p0",
            [b'p' | b'P', exponent @ ..] if is_exponent(exponent) => "",
            _ => return None,
        };
        return Some(Grammar::Hexadecimal { text: [text, suffix].concat(), zero });
    }
    let (zero, exponent) = significand(body, u8::is_ascii_digit)?;
    match exponent {
        [] => {}
        [b'e' | b'E', exponent @ ..] if is_exponent(exponent) => {}
        _ => return None,
    }
    Some(Grammar::Decimal { text, zero })
}

/// Reads digits with at most one point, and returns whether all are 0, and what follows them.
fn significand(text: &[u8], is_digit: impl Fn(&u8) -> bool) -> Option<(bool, &[u8])> {
    let (mut digits, mut points, mut zero) = (0, 0, true);
    for byte in text {
        match byte {
            b'.' if points == 0 => points = 1,
            _ if is_digit(byte) => {
                digits += 1;
                zero &= *byte == b'0';
            }
            _ => break,
        }
    }
    (digits > 0).then(|| (zero, &text[digits + points..]))
}

/// Returns whether `text` is digits, perhaps signed.
fn is_exponent(text: &[u8]) -> bool {
    let digits = match text {
        [b'+' | b'-', digits @ ..] => digits,
        digits => digits,
    };
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        let mut out = Vec::new();
        (LongDouble::parse(a.as_bytes())? + LongDouble::parse(b.as_bytes())?).push_text(&mut out);
        Some(String::from_utf8(out).unwrap())
    }

    /// Every row was answered so by Redis's INCRBYFLOAT, but for infinities, which it refuses as results.
    #[test]
    fn sums_are_those_of_incrbyfloat() {
        let table = [
            ("10.5", "0.1", "10.6"),
            ("0.1", "0.2", "0.3"),
            ("3.0e3", "200", "3200"),
            ("5.0e3", "2.0e2", "5200"),
            ("1", "-1", "0"),
            ("-0", "-0", "0"),
            ("-0.0", "0", "0"),
            ("-1e-18", "0", "0"),
            ("1.5", "-1.5e0", "0"),
            ("0", "12345678901234567890", "12345678901234567890"),
            ("0", "123456789012345678901234567890", "123456789012345678899921813504"),
            ("12345678901234567", "0.1", "12345678901234567.099609375"),
            ("1234567890123456789", "0.123456789", "1234567890123456789.125"),
            ("0.12345678901234567", "0.00000000000000001", "0.12345678901234568"),
            ("0", "17.00000000000000000001", "17"),
            ("0", "3.14159265358979323846264338327950288", "3.14159265358979324"),
            ("0", "0.99999999999999999", "0.99999999999999999"),
            ("0", "0.999999999999999999", "1"),
            ("9.9999999999999999", "0.00000000000000001", "9.99999999999999991"),
            ("1e-17", "0", "0.00000000000000001"),
            ("5e-18", "0", "0"),
            ("15e-18", "0", "0.00000000000000002"),
            ("25e-18", "0", "0.00000000000000002"),
            ("4.9e-17", "0", "0.00000000000000005"),
            ("1e-300", "0", "0"),
            ("1e30", "0", "1000000000000000000024696061952"),
            ("0", "18446744073709551615", "18446744073709551615"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("9223372036854775807", "9223372036854775807", "18446744073709551614"),
            ("0", "0x1p3", "8"),
            ("0", "0x1.8p-1", "0.75"),
            ("0", "+5", "5"),
            ("0", ".5", "0.5"),
            ("0", "5.", "5"),
            ("0", "3.6e-4951", "0"),
            ("1e4932", "1e4932", "inf"),
            ("inf", "0", "inf"),
            ("0", "-Infinity", "-inf"),
        ];
        for (a, b, expected) in table {
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
        }
    }

    #[test]
    fn the_largest_and_the_longest_numbers_are_numbers() {
        let largest = sum("1.18973149535723176502e4932", "0").unwrap();
        assert_eq!((largest.len(), &largest[..20]), (4933, "11897314953572317650"));
        assert!(LongDouble::parse(&b"1".repeat(4932)).is_some_and(LongDouble::is_finite));
        assert!(LongDouble::parse(&b"0".repeat(5119)).is_some());
        assert!(LongDouble::parse(&b"0".repeat(5120)).is_none());
        assert!(LongDouble::parse(b"inf").is_some_and(|infinity| !infinity.is_finite()));
        assert_eq!(sum("inf", "-inf").as_deref(), Some("nan"));
    }

    #[test]
    fn what_incrbyfloat_refuses_is_no_number() {
        let table = [
            "",
            "-",
            ".",
            "-.",
            "e5",
            "1e",
            "1e+",
            "1e5.5",
            " 1",
            "1 ",
            "1,5",
            "1_000",
            "--1",
            "+-1",
            "nan",
            "-nan",
            "nan(1)",
            "infinit",
            "infinityx",
            "0x",
            "0x.",
            "0x1p",
            "0x1p+",
            "1f",
            "0b1",
            "1.2.3",
            "1e99999999999999999999",
            "0x1p99999999999999999999",
            "1e5000",
            "1e-5000",
            "1.2e4932",
            "１",
        ];
        for text in table {
            assert!(LongDouble::parse(text.as_bytes()).is_none(), "{text:?}");
        }
    }

    #[test]
    fn integers_are_exact() {
        for value in [0, 1, -1, i64::MAX, i64::MIN, 1 << 53, (1 << 62) + 1] {
            let mut out = Vec::new();
            LongDouble::from(value).push_text(&mut out);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
