//! Doubles: what is accepted as one, and how one is printed.

use rustc_apfloat::Float;
use rustc_apfloat::ieee::Double;

use super::long_double::{Grammar, grammar};
use super::{IntText, push_i64};

/// Returns the double that `text` spells, if C's `strtod` would read all of it.
///
/// Hexadecimal floats, infinities and a leading `+` are numbers. Not a number, nor anything too large or too small
/// to be told from infinity or zero, is not; neither is text with spaces around it.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    // Integers are the most common scores, and exact as doubles up to 2^53.
    if let Some(value) = small_integer(text) {
        return Some(value);
    }
    match grammar(text)? {
        Grammar::Infinity { negative: false } => Some(f64::INFINITY),
        Grammar::Infinity { negative: true } => Some(f64::NEG_INFINITY),
        Grammar::Decimal { text, zero } => {
            let value: f64 = text.parse().ok()?;
            (value.is_finite() && (value != 0.0 || zero)).then_some(value)
        }
        Grammar::Hexadecimal { text, zero } => {
            let value: Double = text.parse().ok()?;
            let value = f64::from_bits(value.to_bits() as u64);
            (value.is_finite() && (value != 0.0 || zero)).then_some(value)
        }
    }
}

/// Returns the value of up to 15 decimal digits.
#[inline]
fn small_integer(text: &[u8]) -> Option<f64> {
    if text.is_empty() || text.len() > 15 {
        return None;
    }
    let mut value = 0u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value as f64)
}

/// Appends the shortest text that reads back as `value`, in Redis's style.
///
/// ```text
/// |value| ≤ 2^62, integral    12, -0, 4611686018427387904
/// few zeros to fill           12345678901234567000, 1234567.5, 0.000001
/// otherwise                   4.7e+18, 1e-7, 1.5e+300
/// neither                     inf, -inf, nan
/// ```
///
/// Redis's own conversion misses the shortest text for about one double in a thousand, and prints a digit or two
/// more; both texts read back as the same double.
pub fn push_f64(out: &mut Vec<u8>, value: f64) {
    /// Half of the `i64` range: beyond it a cast to an integer is not trusted.
    const INTEGRAL_MAX: f64 = (i64::MAX / 2) as f64;

    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= INTEGRAL_MAX && value as i64 as f64 == value {
        push_i64(out, value as i64);
    } else {
        push_fraction(out, value);
    }
}

/// Appends a finite value that is not a small integer.
fn push_fraction(out: &mut Vec<u8>, value: f64) {
    if value < 0.0 {
        out.push(b'-');
    }
    let (digits, exponent) = shortest_digits(value.abs());
    let digits = digits.as_bytes();
    let len = digits.len() as i32;
    // The power of ten that the first digit stands for.
    let magnitude = exponent + len - 1;

    if exponent >= 0 && magnitude.abs() < len + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + exponent as usize, b'0');
    } else if exponent < 0 && (exponent > -7 || magnitude.abs() < 4) {
        match usize::try_from(magnitude + 1) {
            Ok(point @ 1..) => {
                out.extend_from_slice(&digits[..point]);
                out.push(b'.');
                out.extend_from_slice(&digits[point..]);
            }
            _ => {
                out.extend_from_slice(b"0.");
                out.resize(out.len() + (-1 - magnitude) as usize, b'0');
                out.extend_from_slice(digits);
            }
        }
    } else {
        out.push(digits[0]);
        if len > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if magnitude < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(IntText::new(i64::from(magnitude.abs())).as_bytes());
    }
}

/// Returns the fewest significant digits that identify the positive, finite `value`, as an integer without trailing
/// zeros, and the power of ten of the last one.
fn shortest_digits(value: f64) -> (IntText, i32) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    let (decimals, mut exponent) = match text.split_once('e') {
        Some((decimals, exponent)) => (decimals, exponent.parse().expect("ryu writes a small exponent")),
        None => (text, 0),
    };
    let mut significand = 0u64;
    let mut after_point = false;
    for byte in decimals.bytes() {
        if byte == b'.' {
            after_point = true;
        } else {
            // At most 17 significant digits and the zero of a closing ".0": this fits.
            significand = significand * 10 + u64::from(byte - b'0');
            exponent -= i32::from(after_point);
        }
    }
    while significand.is_multiple_of(10) {
        significand /= 10;
        exponent += 1;
    }
    (IntText::unsigned(significand), exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        push_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_print_as_redis_prints_scores() {
        let table = [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (1234567.5, "1234567.5"),
            (1e15, "1000000000000000"),
            (1e18, "1000000000000000000"),
            (4611686018427387904.0, "4611686018427387904"),
            (4.7e18, "4.7e+18"),
            (1e19, "1e+19"),
            (1e20, "1e+20"),
            (1e21, "1e+21"),
            (-1e300, "-1e+300"),
            (12345678901234567890.0, "12345678901234567000"),
            (0.001, "0.001"),
            (0.000001, "0.000001"),
            (0.0000001, "1e-7"),
            (0.0123, "0.0123"),
            (0.00012345, "1.2345e-4"),
            (1.5e-10, "1.5e-10"),
            (0.0012345, "0.0012345"),
            (123.456e-9, "1.23456e-7"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (9.869604401089358, "9.869604401089358"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e100, "1e+100"),
        ];
        for (value, expected) in table {
            assert_eq!(text(value), expected);
        }
    }

    /// Every row was taken so for a score by Redis's ZADD; the value is given by its bits.
    #[test]
    fn scores_are_those_of_zadd() {
        let table: [(&str, u64); 30] = [
            ("0", 0x0000_0000_0000_0000),
            ("-1", 0xbff0_0000_0000_0000),
            ("+1", 0x3ff0_0000_0000_0000),
            ("007", 0x401c_0000_0000_0000),
            ("1.5", 0x3ff8_0000_0000_0000),
            (".5", 0x3fe0_0000_0000_0000),
            ("5.", 0x4014_0000_0000_0000),
            ("1e3", 0x408f_4000_0000_0000),
            ("1E+3", 0x408f_4000_0000_0000),
            ("1e-3", 0x3f50_624d_d2f1_a9fc),
            ("3.0e3", 0x40a7_7000_0000_0000),
            ("inf", 0x7ff0_0000_0000_0000),
            ("-INF", 0xfff0_0000_0000_0000),
            ("+Infinity", 0x7ff0_0000_0000_0000),
            ("0x1p3", 0x4020_0000_0000_0000),
            ("0X.8", 0x3fe0_0000_0000_0000),
            ("0x10", 0x4030_0000_0000_0000),
            ("0x1.fffffffffffff7p1023", 0x7fef_ffff_ffff_ffff),
            ("1e308", 0x7fe1_ccf3_85eb_c8a0),
            ("1e-323", 0x0000_0000_0000_0002),
            ("2.4703282292062328e-324", 0x0000_0000_0000_0001),
            ("0x1p-1074", 0x0000_0000_0000_0001),
            ("9007199254740993", 0x4340_0000_0000_0000),
            ("4503599627370496.5", 0x4330_0000_0000_0000),
            ("12345678901234567890", 0x43e5_6a95_319d_63e1),
            ("0.12345678901234567890123456789", 0x3fbf_9add_3746_f65f),
            ("1.7976931348623157e308", 0x7fef_ffff_ffff_ffff),
            ("1.7976931348623158e308", 0x7fef_ffff_ffff_ffff),
            ("0e99999999999999999999", 0x0000_0000_0000_0000),
            ("0x0p99999999999999999999", 0x0000_0000_0000_0000),
        ];
        for (text, bits) in table {
            assert_eq!(parse_f64(text.as_bytes()), Some(f64::from_bits(bits)), "{text}");
        }
    }

    #[test]
    fn what_zadd_refuses_is_no_double() {
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
            "1e309",
            "-1e309",
            "1e-324",
            "2.4703282292062327e-324",
            "0x1p1024",
            "0x1p-1075",
            "0x1.fffffffffffff8p1023",
            "1.7976931348623159e308",
            "1e400",
            "1e-400",
            "1\0",
        ];
        for text in table {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_f64(&b"1".repeat(400)), None);
        assert_eq!(parse_f64(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(bits: u64, thousandths: i32, exponent in -330i32..310) {
            let values = [f64::from_bits(bits), f64::from(thousandths) / 1000.0, 10f64.powi(exponent), bits as f64];
            for value in values.into_iter().filter(|value| !value.is_nan()) {
                prop_assert_eq!(parse_f64(text(value).as_bytes()).map(f64::to_bits), Some(value.to_bits()));
            }
        }
    }
}
