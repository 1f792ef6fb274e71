//! Words and quotes: how one line of configuration becomes arguments, and an argument becomes text again.

/// Splits a line into words, or returns None when its quotes do not balance.
///
/// Inside `"…"` the escapes `\n \r \t \a \b \xHH` and `\` before any other byte are understood; inside `'…'` only
/// `\'` is. A closing quote must end its word.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|&&byte| is_space(byte)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?;
        words.push(word);
    }
}

/// Moves one word from the front of `rest` into `word` and returns what follows it.
fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t' | 0, ..] => return Some(rest.get(1..).unwrap_or_default()),
            [b'"', quoted @ ..] => return after_quote(take_double_quoted(quoted, word)?),
            [b'\'', quoted @ ..] => return after_quote(take_single_quoted(quoted, word)?),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn take_double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        }
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'\'', tail @ ..] => return Some(tail),
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        }
    }
}

fn after_quote(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [] => Some(rest),
        [byte, tail @ ..] if is_space(*byte) => Some(tail),
        _ => None,
    }
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte - b'A' + 10,
    }
}

/// Says whether C's `isspace` holds of the byte: blanks, line ends, vertical tab and form feed.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Returns `text` in double quotes, escaped so that [`split_words`] reads it back.
pub fn quote(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for &byte in text {
        match byte {
            b'\\' | b'"' => out.extend(['\\', char::from(byte)]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split_words(line.as_bytes())?;
        Some(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    #[test]
    fn words_are_split_at_blanks_and_quotes_hold_them_together() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  a  b\t\x0bc ", &["a", "b", "c"]),
            (r#"a "b c" 'd e'"#, &["a", "b c", "d e"]),
            (r#""\x41\n\q\"" '\n\''"#, &["A\nq\"", "\\n'"]),
            (r#"pre"quoted" x"#, &["prequoted", "x"]),
            (r#""" ''"#, &["", ""]),
            (r#""\x4g""#, &["x4g"]),
        ];
        for (line, expected) in cases {
            let split = words(line).unwrap();
            assert!(split.iter().eq(expected.iter()), "{line:?} gave {split:?}");
        }
        for line in ["\"", "'", "\"a\"b", "'a'b", "a \"b", "\"\\"] {
            assert_eq!(words(line), None, "{line:?}");
        }
    }

    #[test]
    fn every_byte_survives_quoting() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(split_words(quote(&all).as_bytes()), Some(vec![all]));
        assert_eq!(quote(b"a b\x01\n"), r#""a b\x01\n""#);
    }
}
