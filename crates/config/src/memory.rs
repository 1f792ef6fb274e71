//! Amounts of memory as configuration writes them: `100`, `1k` = 1000, `1kb` = 1024, and so on, in any case.

/// Returns the number of bytes that `text` means, or None when it is not an amount of memory.
///
/// Digits beyond 64 bits mean "as much as can be said", as in Redis. A product beyond 64 bits is refused here, where
/// Redis wraps around and may turn a huge limit into none.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits >= 128 {
        return None;
    }
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number =
        number.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    number.checked_mul(factor)
}

/// Returns `bytes` in the largest binary unit that divides it, as CONFIG REWRITE writes amounts.
pub fn format_memory(bytes: u64) -> String {
    for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_decimal_or_binary_in_any_case() {
        for (text, bytes) in [
            ("0", 0),
            ("", 0),
            ("b", 0),
            ("12B", 12),
            ("1k", 1000),
            ("1Kb", 1024),
            ("3m", 3_000_000),
            ("3MB", 3 << 20),
            ("2g", 2_000_000_000),
            ("2gB", 2 << 30),
            ("18446744073709551616", u64::MAX),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), Some(bytes), "{text:?}");
        }
        for text in ["-1", "+1", " 1", "1 kb", "1t", "0x10", "1.5mb", "18446744073709551615kb"] {
            assert_eq!(parse_memory(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn rewriting_uses_the_largest_unit_that_loses_nothing() {
        for (bytes, text) in
            [(0, "0"), (1000, "1000"), (1024, "1kb"), (1 << 20, "1mb"), (3 << 30, "3gb"), (1 << 40, "1024gb")]
        {
            assert_eq!(format_memory(bytes), text);
        }
    }
}
