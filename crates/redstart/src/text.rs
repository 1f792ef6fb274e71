//! Numbers, lengths, times and keys, as people read them.

use base::calendar::utc;

/// Returns a number with its digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with its noun, which is given in the singular.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = match noun {
        _ if number == 1 => String::new(),
        noun if noun.ends_with("ch") => "es".into(),
        _ => "s".into(),
    };
    format!("{} {noun}{plural}", grouped(number))
}

/// Returns a number of bytes.
pub(crate) fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    const UNITS: [&str; 5] = ["bytes", "KB", "MB", "GB", "TB"];
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    match unit {
        0 => count(bytes, "byte"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// Returns Unix time as a date and time of day in UTC.
pub(crate) fn time(unix_secs: i64) -> String {
    format!("{} UTC", utc(unix_secs))
}

/// Returns bytes of a key or of a damaged file as they can be shown on a terminal.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character.is_control() || character == '"' || character == '\\' {
                true => text.extend(character.escape_default()),
                false => text.push(character),
            }
        }
        chunk.invalid().iter().for_each(|byte| text += &format!("\\x{byte:02x}"));
    }
    text
}

/// Returns rows with their columns below each other, the first ones to the left and numbers to the right.
pub(crate) fn table(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            line += &match column < left {
                true => format!("{cell:<width$}  "),
                false => format!("{cell:>width$}  "),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_counted() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [count(1, "batch"), count(2, "batch"), count(0, "key")],
            ["1 batch", "2 batches", "0 keys"]
        );
        assert_eq!([1, 999, 1_000, 2_345_678].map(size), ["1 byte", "999 bytes", "1.0 KB", "2.3 MB"]);
    }

    #[test]
    fn times_are_dates() {
        assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(time(1_700_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(time(-1), "1969-12-31 23:59:59 UTC");
        assert!(time(i64::MAX).ends_with("UTC") && time(i64::MIN).ends_with("UTC"));
    }

    #[test]
    fn nothing_shown_can_steer_a_terminal() {
        assert_eq!(shown(b"a\x1b[0m\"\xffz\n"), "a\\u{1b}[0m\\\"\\xffz\\n");
        assert_eq!(shown("käse".as_bytes()), "käse");
    }
}
