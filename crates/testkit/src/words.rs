//! Words of a request line, split and quoted as redis-cli does.

/// Splits a line into words; `None` when a quote is not closed or is followed by more text.
///
/// Double quotes know `\n \r \t \b \a \xNN` and take any other escaped character as it is; single quotes are raw
/// but for `\'`.
pub fn split(line: &str) -> Option<Vec<Vec<u8>>> {
    let bytes = line.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while at < bytes.len() && bytes[at].is_ascii_whitespace() {
            at += 1;
        }
        if at == bytes.len() {
            return Some(words);
        }
        let (word, next) = word(bytes, at)?;
        words.push(word);
        at = next;
    }
}

fn word(bytes: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut word = Vec::new();
    while at < bytes.len() && !bytes[at].is_ascii_whitespace() {
        match bytes[at] {
            b'"' => return double_quoted(bytes, at + 1, word),
            b'\'' => return single_quoted(bytes, at + 1, word),
            byte => word.push(byte),
        }
        at += 1;
    }
    Some((word, at))
}

fn double_quoted(bytes: &[u8], mut at: usize, mut word: Vec<u8>) -> Option<(Vec<u8>, usize)> {
    loop {
        match *bytes.get(at)? {
            b'"' => return ends_word(bytes, at + 1).then_some((word, at + 1)),
            b'\\' => {
                let (byte, next) = escaped(bytes, at + 1)?;
                word.push(byte);
                at = next;
            }
            byte => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

fn single_quoted(bytes: &[u8], mut at: usize, mut word: Vec<u8>) -> Option<(Vec<u8>, usize)> {
    loop {
        match *bytes.get(at)? {
            b'\'' => return ends_word(bytes, at + 1).then_some((word, at + 1)),
            b'\\' if bytes.get(at + 1) == Some(&b'\'') => {
                word.push(b'\'');
                at += 2;
            }
            byte => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

fn escaped(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let hex = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16)).map(|d| d as u8);
    match *bytes.get(at)? {
        b'x' if hex(at + 1).is_some() && hex(at + 2).is_some() => {
            Some((hex(at + 1)? << 4 | hex(at + 2)?, at + 3))
        }
        b'n' => Some((b'\n', at + 1)),
        b'r' => Some((b'\r', at + 1)),
        b't' => Some((b'\t', at + 1)),
        b'b' => Some((8, at + 1)),
        b'a' => Some((7, at + 1)),
        byte => Some((byte, at + 1)),
    }
}

fn ends_word(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_none_or(u8::is_ascii_whitespace)
}

/// Appends `bytes` with everything escaped that is not printable ASCII.
pub fn escape(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b' '..=b'~' => out.push(byte as char),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
}

/// Returns `bytes` as a double-quoted word.
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    escape(bytes, &mut text);
    text.push('"');
    text
}

/// Encodes a request as the array of bulk strings that clients send.
pub fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_redis_cli() {
        let words = split(r#" SET k  "a\x00b\"" 'it\'s\n' x"y z" "" "#).unwrap();
        assert_eq!(words, [&b"SET"[..], b"k", b"a\0b\"", b"it's\\n", b"xy z", b""]);
        assert_eq!(split(r#"a "b"#), None);
        assert_eq!(split(r#"a "b"c"#), None);
    }

    #[test]
    fn quoted_words_split_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(split(&quote(&all)), Some(vec![all]));
    }
}
