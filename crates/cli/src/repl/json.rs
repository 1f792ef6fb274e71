//! Replies as JSON that every parser accepts.
//!
//! As redis-cli writes it, except where that would be no JSON:
//!
//! ```text
//! an error                         {"error":"ERR ..."}
//! infinite, or no number           "inf" "-inf" "nan"
//! text that is not UTF-8           one character for each byte, those from 0x80 on as \u0080 to \u00ff
//! keys of maps that are no text    their JSON, as a string
//! ```

use super::render;
use super::reply::Reply;

/// How the bytes of texts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strings {
    /// As Unicode.
    Unicode,
    /// As the quoted form that people are shown, all of it ASCII.
    Quoted,
}

/// Appends a reply as one JSON value.
pub(crate) fn write(out: &mut Vec<u8>, reply: &Reply, strings: Strings) {
    match reply {
        Reply::Nil => out.extend(b"null"),
        Reply::Error(text) => {
            out.extend(b"{\"error\":");
            string(out, text, strings);
            out.push(b'}');
        }
        Reply::Status(text) | Reply::Bulk(text) | Reply::Verbatim(text) => string(out, text, strings),
        Reply::Int(value) => out.extend(value.to_string().bytes()),
        Reply::Double(text) | Reply::BigNumber(text) if is_number(text) => out.extend_from_slice(text),
        Reply::Double(text) | Reply::BigNumber(text) => string(out, text, strings),
        Reply::Bool(value) => out.extend(value.to_string().bytes()),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(out, item, strings);
            }
            out.push(b']');
        }
        Reply::Map(pairs) => {
            out.push(b'{');
            for (i, (key, value)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                self::key(out, key, strings);
                out.push(b':');
                write(out, value, strings);
            }
            out.push(b'}');
        }
    }
}

/// Appends the key of a pair, which JSON wants to be a string.
fn key(out: &mut Vec<u8>, key: &Reply, strings: Strings) {
    match key {
        Reply::Error(text) | Reply::Status(text) | Reply::Bulk(text) | Reply::Verbatim(text) => {
            string(out, text, strings);
        }
        _ => {
            let mut text = Vec::new();
            write(&mut text, key, strings);
            if text.first() == Some(&b'"') {
                out.extend(text);
            } else {
                string(out, &text, Strings::Unicode);
            }
        }
    }
}

/// Appends a string.
fn string(out: &mut Vec<u8>, bytes: &[u8], strings: Strings) {
    out.push(b'"');
    match strings {
        Strings::Unicode => match std::str::from_utf8(bytes) {
            Ok(_) => escape(out, bytes),
            Err(_) => {
                for &byte in bytes {
                    match byte {
                        0x80.. => out.extend(format!("\\u{byte:04x}").bytes()),
                        _ => escape(out, &[byte]),
                    }
                }
            }
        },
        Strings::Quoted => {
            let mut quoted = Vec::new();
            render::quote_inner(&mut quoted, bytes);
            escape(out, &quoted);
        }
    }
    out.push(b'"');
}

/// Appends what stands between the quotes, for bytes that are UTF-8.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            0x0c => out.extend(b"\\f"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x08 => out.extend(b"\\b"),
            ..0x20 => out.extend(format!("\\u{byte:04x}").bytes()),
            _ => out.push(byte),
        }
    }
}

/// Returns whether JSON takes this text for a number.
fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, rest) = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => match digits(fraction) {
            (0, _) => return false,
            (_, rest) => rest,
        },
        None => rest,
    };
    match rest {
        [] => true,
        [b'e' | b'E', exponent @ ..] => {
            let exponent = match exponent {
                [b'+' | b'-', digits @ ..] => digits,
                _ => exponent,
            };
            matches!(digits(exponent), (1.., []))
        }
        _ => false,
    }
}

/// Returns how many digits `text` begins with, and what follows them.
fn digits(text: &[u8]) -> (usize, &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count, &text[count..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(reply: &Reply, strings: Strings) -> String {
        let mut out = Vec::new();
        write(&mut out, reply, strings);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    fn bulk(bytes: &[u8]) -> Reply {
        Reply::Bulk(bytes.to_vec())
    }

    #[test]
    fn texts_are_escaped_and_what_is_no_text_stays_readable() {
        let table: [(&[u8], &str, &str); 5] = [
            (b"a b", r#""a b""#, r#""a b""#),
            (b"\"\\\n\x0c\x00", r#""\"\\\n\f\u0000""#, r#""\\\"\\\\\\n\\x0c\\x00""#),
            ("ä".as_bytes(), "\"ä\"", r#""\\xc3\\xa4""#),
            (b"\xffa\xc3", r#""\u00ffa\u00c3""#, r#""\\xffa\\xc3""#),
            (b"\x7f", "\"\u{7f}\"", r#""\\x7f""#),
        ];
        for (bytes, unicode, quoted) in table {
            assert_eq!(json(&bulk(bytes), Strings::Unicode), unicode);
            assert_eq!(json(&bulk(bytes), Strings::Quoted), quoted);
        }
    }

    #[test]
    fn numbers_are_numbers_only_where_json_has_them() {
        for text in ["0", "-0", "1.5", "1e+20", "-12.25E-3", "3492890328409238509324850943850943825024385"] {
            assert_eq!(json(&Reply::Double(text.into()), Strings::Unicode), text);
        }
        for text in ["inf", "-inf", "nan", "01", "1.", ".5", "1e", "+1", ""] {
            assert_eq!(json(&Reply::Double(text.into()), Strings::Unicode), format!("\"{text}\""));
        }
    }

    #[test]
    fn keys_become_strings_and_errors_objects() {
        let map = Reply::Map(vec![
            (Reply::Int(1), Reply::Error(b"ERR \"x\"".to_vec())),
            (Reply::Array(vec![bulk(b"a")]), Reply::Bool(false)),
            (Reply::Double(b"inf".to_vec()), Reply::Set(vec![Reply::Nil, Reply::Push(Vec::new())])),
        ]);
        let expected = r#"{"1":{"error":"ERR \"x\""},"[\"a\"]":false,"inf":[null,[]]}"#;
        assert_eq!(json(&map, Strings::Unicode), expected);
    }
}
