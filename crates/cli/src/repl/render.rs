//! Replies as text for people and scripts: formatted, raw and comma-separated, byte for byte as redis-cli prints them.
//!
//! ```text
//! formatted   1) "a"          raw   a          csv   "a",2
//!             2) (integer) 2        2
//! ```
//!
//! JSON is written in `json`.

use super::reply::Reply;

/// Appends `bytes` in double quotes, those that a terminal would not show escaped.
pub(crate) fn quote(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    quote_inner(out, bytes);
    out.push(b'"');
}

/// Appends what stands between the quotes.
pub(crate) fn quote_inner(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
}

/// Appends a reply as people read it, a line end after it; `prefix` indents all lines but the first.
pub(crate) fn formatted(out: &mut Vec<u8>, reply: &Reply, prefix: &str) {
    match reply {
        Reply::Nil => out.extend(b"(nil)\n"),
        Reply::Error(text) => line(out, b"(error) ", text),
        Reply::Status(text) | Reply::Verbatim(text) => line(out, b"", text),
        Reply::Int(value) => line(out, b"(integer) ", value.to_string().as_bytes()),
        Reply::Double(text) => line(out, b"(double) ", text),
        Reply::BigNumber(text) => line(out, b"(big number) ", text),
        Reply::Bool(true) => out.extend(b"(true)\n"),
        Reply::Bool(false) => out.extend(b"(false)\n"),
        Reply::Bulk(text) => {
            quote(out, text);
            out.push(b'\n');
        }
        Reply::Array(items) if items.is_empty() => out.extend(b"(empty array)\n"),
        Reply::Set(items) if items.is_empty() => out.extend(b"(empty set)\n"),
        Reply::Push(items) if items.is_empty() => out.extend(b"(empty push)\n"),
        Reply::Map(pairs) if pairs.is_empty() => out.extend(b"(empty hash)\n"),
        Reply::Array(items) | Reply::Push(items) => numbered(out, items, ')', prefix),
        Reply::Set(items) => numbered(out, items, '~', prefix),
        Reply::Map(pairs) => {
            let width = pairs.len().to_string().len();
            let inner = format!("{prefix}{:1$}", "", width + 2);
            for (i, (key, value)) in pairs.iter().enumerate() {
                let indent = if i == 0 { "" } else { prefix };
                out.extend(format!("{indent}{:width$}# ", i + 1).bytes());
                formatted(out, key, &inner);
                out.pop();
                out.extend(b" => ");
                if is_multiline(value) {
                    // A value of several lines begins on one of its own, for the columns to meet.
                    out.push(b'\n');
                    out.extend(inner.bytes());
                }
                formatted(out, value, &inner);
            }
        }
    }
}

fn line(out: &mut Vec<u8>, kind: &[u8], text: &[u8]) {
    out.extend_from_slice(kind);
    out.extend_from_slice(text);
    out.push(b'\n');
}

fn numbered(out: &mut Vec<u8>, items: &[Reply], mark: char, prefix: &str) {
    let width = items.len().to_string().len();
    let inner = format!("{prefix}{:1$}", "", width + 2);
    for (i, item) in items.iter().enumerate() {
        // The caller has indented the first one.
        let indent = if i == 0 { "" } else { prefix };
        out.extend(format!("{indent}{:width$}{mark} ", i + 1).bytes());
        formatted(out, item, &inner);
    }
}

/// Returns whether the formatted reply takes several lines.
fn is_multiline(reply: &Reply) -> bool {
    match reply {
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => match items.as_slice() {
            [] => false,
            [item] => is_multiline(item),
            _ => true,
        },
        Reply::Map(pairs) => match pairs.as_slice() {
            [] => false,
            [(_, value)] => is_multiline(value),
            _ => true,
        },
        _ => false,
    }
}

/// Appends a reply without any signs around it; `delimiter` stands between the elements of aggregates.
pub(crate) fn raw(out: &mut Vec<u8>, reply: &Reply, delimiter: &[u8]) {
    match reply {
        Reply::Nil => {}
        Reply::Error(text) => line(out, b"", text),
        Reply::Status(text)
        | Reply::Bulk(text)
        | Reply::Verbatim(text)
        | Reply::Double(text)
        | Reply::BigNumber(text) => out.extend_from_slice(text),
        Reply::Bool(true) => out.extend(b"(true)"),
        Reply::Bool(false) => out.extend(b"(false)"),
        Reply::Int(value) => out.extend(value.to_string().bytes()),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(delimiter);
                }
                raw(out, item, delimiter);
            }
        }
        Reply::Map(pairs) => {
            for (i, (key, value)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(delimiter);
                }
                raw(out, key, delimiter);
                out.push(b' ');
                raw(out, value, delimiter);
            }
        }
    }
}

/// Appends a reply as fields with commas between them; aggregates are flattened.
pub(crate) fn csv(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Nil => out.extend(b"NULL"),
        Reply::Error(text) => {
            out.extend(b"ERROR,");
            quote(out, text);
        }
        Reply::Status(text) | Reply::Bulk(text) | Reply::Verbatim(text) => quote(out, text),
        Reply::Int(value) => out.extend(value.to_string().bytes()),
        Reply::Double(text) | Reply::BigNumber(text) => out.extend_from_slice(text),
        Reply::Bool(true) => out.extend(b"true"),
        Reply::Bool(false) => out.extend(b"false"),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                csv(out, item);
            }
        }
        Reply::Map(pairs) => {
            for (i, (key, value)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                csv(out, key);
                out.push(b',');
                csv(out, value);
            }
        }
    }
}

/// Appends the line for people about keys that a server with tracking no longer vouches for, if `push` is that message.
pub(crate) fn invalidation(out: &mut Vec<u8>, push: &Reply) -> bool {
    let Reply::Push(items) = push else { return false };
    let [Reply::Bulk(kind), Reply::Array(keys)] = items.as_slice() else { return false };
    if !kind.starts_with(b"invalidate") {
        return false;
    }
    out.extend(b"-> invalidate: ");
    for (i, key) in keys.iter().enumerate() {
        if i > 0 {
            out.extend(b", ");
        }
        out.push(b'\'');
        out.extend_from_slice(key.text().unwrap_or_default());
        out.push(b'\'');
    }
    out.push(b'\n');
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }

    fn shown(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// An array with a map of two in it, and nine more elements.
    fn nested() -> Reply {
        let map = Reply::Map(vec![
            (bulk("a"), Reply::Array(vec![Reply::Int(1), Reply::Nil])),
            (Reply::Int(2), Reply::Set(vec![Reply::Bool(true)])),
        ]);
        let mut items = vec![map, Reply::Double(b"1.5".to_vec()), Reply::Error(b"ERR x".to_vec())];
        items.extend((0..7).map(|_| Reply::Push(Vec::new())));
        Reply::Array(items)
    }

    #[test]
    fn people_see_numbered_elements_indented_below_their_aggregate() {
        let expected = [
            r#" 1) 1# "a" => "#,
            "       1) (integer) 1",
            "       2) (nil)",
            "    2# (integer) 2 => 1~ (true)",
            " 2) (double) 1.5",
            " 3) (error) ERR x",
            " 4) (empty push)",
        ];
        let text = shown(|out| formatted(out, &nested(), ""));
        assert_eq!(text.lines().take(7).collect::<Vec<_>>(), expected);
        assert!(text.ends_with("10) (empty push)\n"));
    }

    #[test]
    fn raw_replies_have_delimiters_only_between_elements() {
        assert_eq!(shown(|out| raw(out, &nested(), b"|")), "a 1||2 (true)|1.5|ERR x\n|||||||");
    }

    #[test]
    fn csv_is_flat() {
        assert_eq!(shown(|out| csv(out, &nested())), "\"a\",1,NULL,2,true,1.5,ERROR,\"ERR x\",,,,,,,");
    }

    #[test]
    fn quotes_escape_what_a_terminal_would_not_show() {
        assert_eq!(
            shown(|out| quote(out, b"a\"\\\n\r\t\x07\x08\x00\xff~ ")),
            r#""a\"\\\n\r\t\a\b\x00\xff~ ""#
        );
    }

    #[test]
    fn an_invalidation_names_its_keys() {
        let push = Reply::Push(vec![bulk("invalidate"), Reply::Array(vec![bulk("a"), bulk("b")])]);
        assert_eq!(shown(|out| assert!(invalidation(out, &push))), "-> invalidate: 'a', 'b'\n");
        assert!(!invalidation(&mut Vec::new(), &Reply::Push(vec![bulk("message")])));
    }
}
