//! Replies as a person is shown them, read from a stream.
//!
//! Numbers with a fraction keep the text they came in, since another one would not be what the server said. Types and
//! limits are those of the wire; how a reply is shown is said in `render` and `json`.

use std::fmt;
use std::io::{self, BufRead, Read};

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Nil,
    Status(Vec<u8>),
    Error(Vec<u8>),
    Int(i64),
    /// The number as the server wrote it.
    Double(Vec<u8>),
    Bool(bool),
    BigNumber(Vec<u8>),
    Bulk(Vec<u8>),
    /// A text that is to be shown as it is.
    Verbatim(Vec<u8>),
    Array(Vec<Reply>),
    Set(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    /// A message that answers no request.
    Push(Vec<Reply>),
}

/// Why a connection gives no more replies.
#[derive(Debug)]
pub(crate) enum LinkError {
    Closed,
    Io(io::Error),
    Protocol(String),
}

/// How deep aggregates may nest.
const DEPTH_MAX: usize = 128;

/// How long a line may be: a status or an error, never a value.
const LINE_MAX: u64 = 16 << 20;

impl Reply {
    /// Reads the next reply of a stream.
    pub(crate) fn read(input: &mut impl BufRead) -> Result<Reply, LinkError> {
        read_nested(input, 0)
    }

    /// Returns the text of a reply that is one.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self {
            Reply::Status(text)
            | Reply::Bulk(text)
            | Reply::Verbatim(text)
            | Reply::Double(text)
            | Reply::BigNumber(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the elements of an array, set or push.
    pub(crate) fn items(&self) -> Option<&[Reply]> {
        match self {
            Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the pairs of a map, whether it came as one or as RESP2's flat array.
    pub(crate) fn pairs(&self) -> Option<Vec<(&Reply, &Reply)>> {
        match self {
            Reply::Map(pairs) => Some(pairs.iter().map(|(key, value)| (key, value)).collect()),
            Reply::Array(items) if items.len() % 2 == 0 => {
                Some(items.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect())
            }
            _ => None,
        }
    }
}

fn read_nested(input: &mut impl BufRead, depth: usize) -> Result<Reply, LinkError> {
    if depth > DEPTH_MAX {
        return Err(LinkError::Protocol("Reply nests too deeply".into()));
    }
    let line = read_line(input)?;
    let Some((&kind, rest)) = line.split_first() else { return Err(unknown_type(b'\r')) };
    Ok(match kind {
        b'+' => Reply::Status(rest.to_vec()),
        b'-' => Reply::Error(rest.to_vec()),
        b':' => Reply::Int(number(rest)?),
        b'_' => Reply::Nil,
        b',' => Reply::Double(rest.to_vec()),
        b'(' => Reply::BigNumber(rest.to_vec()),
        b'#' => match rest {
            b"t" => Reply::Bool(true),
            b"f" => Reply::Bool(false),
            _ => return Err(LinkError::Protocol("Bad bool value".into())),
        },
        b'$' | b'*' | b'~' | b'>' | b'%' if rest == b"-1" => Reply::Nil,
        b'$' => Reply::Bulk(read_text(input, length(rest)?)?),
        b'!' => Reply::Error(read_text(input, length(rest)?)?),
        b'=' => {
            let text = read_text(input, length(rest)?)?;
            match text.get(3) {
                Some(b':') => Reply::Verbatim(text[4..].to_vec()),
                _ => {
                    return Err(LinkError::Protocol(
                        "Verbatim string 4 bytes of content type are missing or incorrectly encoded.".into(),
                    ));
                }
            }
        }
        b'*' => Reply::Array(read_items(input, length(rest)?, depth)?),
        b'~' => Reply::Set(read_items(input, length(rest)?, depth)?),
        b'>' => Reply::Push(read_items(input, length(rest)?, depth)?),
        b'%' => Reply::Map(read_pairs(input, length(rest)?, depth)?),
        // What is said about a reply is not shown; the reply is.
        b'|' => {
            read_pairs(input, length(rest)?, depth)?;
            read_nested(input, depth + 1)?
        }
        other => return Err(unknown_type(other)),
    })
}

fn unknown_type(byte: u8) -> LinkError {
    let mut shown = Vec::new();
    super::render::quote(&mut shown, &[byte]);
    LinkError::Protocol(format!("Protocol error, got {} as reply type byte", String::from_utf8_lossy(&shown)))
}

fn read_line(input: &mut impl BufRead) -> Result<Vec<u8>, LinkError> {
    let mut line = Vec::new();
    input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(LinkError::Io)?;
    match line.as_slice() {
        [text @ .., b'\r', b'\n'] => {
            let len = text.len();
            line.truncate(len);
            Ok(line)
        }
        [.., b'\n'] => Err(LinkError::Protocol("Protocol error, a line does not end as lines do".into())),
        _ if line.len() as u64 == LINE_MAX => {
            Err(LinkError::Protocol("Protocol error, line too long".into()))
        }
        _ => Err(LinkError::Closed),
    }
}

/// Reads as many bytes as were said, and the line end after them; room is taken as they arrive.
fn read_text(input: &mut impl BufRead, len: u64) -> Result<Vec<u8>, LinkError> {
    let mut text = Vec::new();
    let read = input.by_ref().take(len).read_to_end(&mut text).map_err(LinkError::Io)?;
    let mut end = [0; 2];
    if (read as u64) < len {
        return Err(LinkError::Closed);
    }
    input.read_exact(&mut end).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => LinkError::Closed,
        _ => LinkError::Io(e),
    })?;
    match &end {
        b"\r\n" => Ok(text),
        _ => Err(LinkError::Protocol("Protocol error, a text does not end where it should".into())),
    }
}

fn read_items(input: &mut impl BufRead, len: u64, depth: usize) -> Result<Vec<Reply>, LinkError> {
    (0..len).map(|_| read_nested(input, depth + 1)).collect()
}

fn read_pairs(input: &mut impl BufRead, len: u64, depth: usize) -> Result<Vec<(Reply, Reply)>, LinkError> {
    (0..len).map(|_| Ok((read_nested(input, depth + 1)?, read_nested(input, depth + 1)?))).collect()
}

fn number(line: &[u8]) -> Result<i64, LinkError> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.parse().ok())
        .ok_or_else(|| LinkError::Protocol("Bad integer value".into()))
}

fn length(line: &[u8]) -> Result<u64, LinkError> {
    u64::try_from(number(line)?).map_err(|_| LinkError::Protocol("Bulk string length out of range".into()))
}

/// The texts of the library that redis-cli is built on, for those failures that it knows.
impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Closed => f.write_str("Server closed the connection"),
            LinkError::Io(error) => f.write_str(&system_text(error)),
            LinkError::Protocol(text) => f.write_str(text),
        }
    }
}

/// Returns the system's text for an error, without what Rust says around it.
pub(crate) fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_string(),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> Result<Reply, LinkError> {
        Reply::read(&mut bytes)
    }

    #[test]
    fn every_type_is_read() {
        let bytes = b"*14\r\n+OK\r\n-ERR no\r\n:-5\r\n$3\r\na\x00\"\r\n$-1\r\n*-1\r\n_\r\n,1.50\r\n#t\r\n=5\r\ntxt:x\r\n(12\r\n\
            !5\r\nERR a\r\n%1\r\n$1\r\nk\r\n~1\r\n:1\r\n|1\r\n+a\r\n:1\r\n>1\r\n#f\r\n";
        let expected = Reply::Array(vec![
            Reply::Status(b"OK".to_vec()),
            Reply::Error(b"ERR no".to_vec()),
            Reply::Int(-5),
            Reply::Bulk(b"a\0\"".to_vec()),
            Reply::Nil,
            Reply::Nil,
            Reply::Nil,
            Reply::Double(b"1.50".to_vec()),
            Reply::Bool(true),
            Reply::Verbatim(b"x".to_vec()),
            Reply::BigNumber(b"12".to_vec()),
            Reply::Error(b"ERR a".to_vec()),
            Reply::Map(vec![(Reply::Bulk(b"k".to_vec()), Reply::Set(vec![Reply::Int(1)]))]),
            Reply::Push(vec![Reply::Bool(false)]),
        ]);
        assert_eq!(read(bytes).unwrap(), expected);
    }

    #[test]
    fn any_bytes_are_survived() {
        let alphabet = b"*%~>|$=!+-:,#_(0123\r\n\r\n\xfft";
        let mut state = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    // Knuth's MMIX generator; its upper bits are good enough.
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    alphabet[(state >> 33) as usize % alphabet.len()]
                })
                .collect();
            let _ = read(&bytes);
        }
    }

    #[test]
    fn a_stream_that_ends_or_breaks_the_protocol_is_told_apart() {
        for cut in ["", "+OK", "+OK\r", "$5\r\nab", "$2\r\nab", "*2\r\n:1\r\n", "$99999999999\r\n"] {
            assert!(matches!(read(cut.as_bytes()), Err(LinkError::Closed)), "{cut:?}");
        }
        for bad in ["?\r\n", ":x\r\n", "$-2\r\n", "#x\r\n", "=3\r\ntxt\r\n", "$1\r\nabc", "+a\n", "\r\n"] {
            assert!(matches!(read(bad.as_bytes()), Err(LinkError::Protocol(_))), "{bad:?}");
        }
        assert_eq!(
            read(b"\"x\r\n").unwrap_err().to_string(),
            r#"Protocol error, got "\"" as reply type byte"#
        );
        let deep = "*1\r\n".repeat(10_000);
        assert!(matches!(read(deep.as_bytes()), Err(LinkError::Protocol(_))));
    }
}
