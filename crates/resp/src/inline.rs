//! One line split into words, as a person types them.
//!
//! ```text
//! word  "double\n\x00 quoted"  'single \' quoted'  joi"ned"
//! ```
//!
//! Blanks separate words. Double quotes know the escapes `\n \r \t \b \a \xHH`, and a backslash before any other
//! byte gives that byte; single quotes know only `\'`. A closing quote ends the word, so a blank must follow it.

/// Returns the words of `line`, or nothing when its quotes are unbalanced.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut words, mut ranges) = (Vec::new(), Vec::new());
    let balanced = split_into(line, &mut words, &mut ranges);
    balanced
        .then(|| ranges.iter().map(|&(start, end)| words[start as usize..end as usize].to_vec()).collect())
}

/// Appends the words of `line` to `words` and their places to `ranges`; returns whether its quotes are balanced.
///
/// The line must be shorter than 4 GiB.
pub(crate) fn split_into(line: &[u8], words: &mut Vec<u8>, ranges: &mut Vec<(u32, u32)>) -> bool {
    let mut rest = line;
    loop {
        rest = skip_blanks(rest);
        if rest.is_empty() {
            return true;
        }
        let start = words.len();
        match word(rest, words) {
            Some(after) => rest = after,
            None => return false,
        }
        ranges.push((start as u32, words.len() as u32));
    }
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    &text[blanks..]
}

/// Returns whether C calls `byte` a space.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Appends the word at the start of `text` to `out`, and returns what follows it; nothing if its quotes are unbalanced.
fn word<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match text {
            // Vertical tabs and form feeds are skipped before a word but do not end one.
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some(text),
            [b'"', rest @ ..] => return after_quote(double_quoted(rest, out)?),
            [b'\'', rest @ ..] => return after_quote(single_quoted(rest, out)?),
            [byte, rest @ ..] => {
                out.push(*byte);
                text = rest;
            }
        }
    }
}

/// Returns what follows a closing quote, if that is a blank or the end.
fn after_quote(text: &[u8]) -> Option<&[u8]> {
    text.first().is_none_or(|byte| is_blank(*byte)).then_some(text)
}

fn double_quoted<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let byte;
        (byte, text) = match text {
            [] => return None,
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'x', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_value(*high) << 4 | hex_value(*low), rest)
            }
            [b'\\', escaped, rest @ ..] => match escaped {
                b'n' => (b'\n', rest),
                b'r' => (b'\r', rest),
                b't' => (b'\t', rest),
                b'b' => (0x08, rest),
                b'a' => (0x07, rest),
                other => (*other, rest),
            },
            [byte, rest @ ..] => (*byte, rest),
        };
        out.push(byte);
    }
}

fn single_quoted<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let byte;
        (byte, text) = match text {
            [] => return None,
            [b'\'', rest @ ..] => return Some(rest),
            [b'\\', b'\'', rest @ ..] => (b'\'', rest),
            [byte, rest @ ..] => (*byte, rest),
        };
        out.push(byte);
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split_args(line.as_bytes())?;
        Some(words.into_iter().map(|word| word.iter().copied().map(char::from).collect()).collect())
    }

    #[test]
    fn blanks_separate_words_and_quotes_join_them() {
        let table: [(&str, &[&str]); 12] = [
            ("", &[]),
            (" \t\r\u{b}\u{c} ", &[]),
            ("PING", &["PING"]),
            ("  set  key\tvalue  ", &["set", "key", "value"]),
            (r#"set k "a b""#, &["set", "k", "a b"]),
            (r#"set k "" ''"#, &["set", "k", "", ""]),
            (r#""\x41\x4g\n\r\t\b\a\\\"\q""#, &["Ax4g\n\r\t\u{8}\u{7}\\\"q"]),
            (r#"'a\n\'b'"#, &[r"a\n'b"]),
            (r#"ab"c d" e"#, &["abc d", "e"]),
            (r#"a\b"#, &[r"a\b"]),
            ("a\u{b}b", &["a\u{b}b"]),
            ("\"a\"\u{b}b", &["a", "b"]),
        ];
        for (line, expected) in table {
            let expected = expected.iter().map(|word| word.to_string()).collect();
            assert_eq!(words(line), Some(expected), "{line:?}");
        }
    }

    #[test]
    fn quotes_must_close_before_a_blank() {
        for line in [r#"""#, "'", r#"a "b"#, r#""a"b"#, "'a'b", r#""a""b""#, r#""\"#, r#""\""#, r"'\'"] {
            assert_eq!(words(line), None, "{line:?}");
        }
    }
}
