//! Replies, read from the front of a buffer.
//!
//! Nothing is allocated for what a reply claims to hold before it is there.

use std::time::Duration;

use redis::Value;

use crate::backend::Verdict;

/// How deep replies may nest.
const DEPTH_MAX: usize = 32;

/// A reply (an error is the server's words) and its length.
type Parsed = (Result<Value, String>, usize);

/// Returns the first reply, `None` while it is incomplete; an error is a server that speaks something else.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Parsed>, String> {
    let mut reader = Reader { bytes, at: 0 };
    if bytes.first() == Some(&b'-') {
        reader.at = 1;
        return Ok(reader.line()?.map(|line| (Err(words(line)), reader.at)));
    }
    Ok(reader.value(0)?.map(|value| (Ok(value), reader.at)))
}

/// Returns the grant at the front of a buffer, if it is written as Redstart writes it and is there as a whole.
///
/// It is what almost every lock is answered with; anything else is left to [`parse`].
pub(crate) fn parse_grant(bytes: &[u8]) -> Option<(Verdict, usize)> {
    const GRANTED: &[u8] = b"*8\r\n$6\r\nstatus\r\n$7\r\ngranted\r\n$5\r\ntoken\r\n:";
    let mut reader = Reader { bytes, at: GRANTED.len() };
    if !bytes.starts_with(GRANTED) {
        return None;
    }
    let token = reader.whole()?;
    reader.skip(b"$5\r\nlease\r\n:")?;
    reader.whole()?;
    reader.skip(b"$6\r\nwaited\r\n:")?;
    let waited = Duration::from_millis(reader.whole()?);
    Some((Verdict::Granted { token, waited }, reader.at))
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn value(&mut self, depth: usize) -> Result<Option<Value>, String> {
        let Some(&kind) = self.bytes.get(self.at) else { return Ok(None) };
        self.at += 1;
        let Some(line) = self.line()? else { return Ok(None) };
        Ok(Some(match kind {
            b'+' if line == b"OK" => Value::Okay,
            b'+' => Value::SimpleString(words(line)),
            // One among other replies.
            b'-' => Value::SimpleString(format!("-{}", words(line))),
            b':' => Value::Int(number(line)?),
            b'_' => Value::Nil,
            b'$' => match length(line)? {
                None => Value::Nil,
                Some(length) => {
                    let Some(end) = self.at.checked_add(length).filter(|end| end + 2 <= self.bytes.len())
                    else {
                        return Ok(None);
                    };
                    let text = self.bytes[self.at..end].to_vec();
                    self.at = end + 2;
                    Value::BulkString(text)
                }
            },
            b'*' => match length(line)? {
                None => Value::Nil,
                Some(_) if depth == DEPTH_MAX => return Err("replies nested too deep".into()),
                Some(length) => {
                    // Each element takes three bytes at least.
                    let mut elements = Vec::with_capacity(length.min((self.bytes.len() - self.at) / 3));
                    for _ in 0..length {
                        match self.value(depth + 1)? {
                            Some(element) => elements.push(element),
                            None => return Ok(None),
                        }
                    }
                    Value::Array(elements)
                }
            },
            kind => return Err(format!("a reply of an unknown type: {:?}", char::from(kind))),
        }))
    }

    /// Goes over what stands there, if it does.
    fn skip(&mut self, what: &[u8]) -> Option<()> {
        let stands = self.bytes[self.at..].starts_with(what);
        self.at += what.len();
        stands.then_some(())
    }

    /// Returns the whole number that the line is.
    fn whole(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for byte in self.bytes.get(self.at..)? {
            self.at += 1;
            match byte {
                b'0'..=b'9' => number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
                b'\r' if self.bytes.get(self.at) == Some(&b'\n') => {
                    self.at += 1;
                    return Some(number);
                }
                _ => return None,
            }
        }
        None
    }

    /// Returns the rest of the line.
    fn line(&mut self) -> Result<Option<&'b [u8]>, String> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\r') else { return Ok(None) };
        match rest.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => {
                self.at += end + 2;
                Ok(Some(&rest[..end]))
            }
            Some(_) => Err("a line that does not end".into()),
        }
    }
}

fn words(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

fn number(line: &[u8]) -> Result<i64, String> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.parse().ok())
        .ok_or_else(|| format!("no number: {}", words(line)))
}

/// Returns a length, `None` for that of nothing.
fn length(line: &[u8]) -> Result<Option<usize>, String> {
    match number(line)? {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| format!("no length: {length}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_all_types_are_read_and_no_sooner_than_they_are_there() {
        let wire: &[u8] = b"*5\r\n$6\r\nstatus\r\n+OK\r\n:-7\r\n$-1\r\n*1\r\n+x\r\n";
        for end in 0..wire.len() {
            assert_eq!(parse(&wire[..end]), Ok(None), "{end}");
        }
        let value = Value::Array(vec![
            Value::BulkString(b"status".to_vec()),
            Value::Okay,
            Value::Int(-7),
            Value::Nil,
            Value::Array(vec![Value::SimpleString("x".into())]),
        ]);
        assert_eq!(parse(wire), Ok(Some((Ok(value), wire.len()))));
        let two = b"-NOTHELD no\r\n:1\r\n";
        assert_eq!(parse(two), Ok(Some((Err("NOTHELD no".into()), 13))));
    }

    #[test]
    fn a_grant_is_read_at_once_when_it_is_there_as_a_whole() {
        let wire = b"*8\r\n$6\r\nstatus\r\n$7\r\ngranted\r\n$5\r\ntoken\r\n:462\r\n$5\r\nlease\r\n:30000\r\n$6\r\nwaited\r\n:17\r\n";
        for end in 0..wire.len() {
            assert_eq!(parse_grant(&wire[..end]), None, "{end}");
        }
        let granted = Verdict::Granted { token: 462, waited: Duration::from_millis(17) };
        assert_eq!(parse_grant(wire), Some((granted, wire.len())));
        let (value, length) = parse(wire).unwrap().unwrap();
        assert_eq!(length, wire.len());
        assert!(matches!(
            crate::backend::native::verdict(&value.unwrap()),
            Ok(Verdict::Granted { token: 462, .. })
        ));
    }

    #[test]
    fn what_is_no_reply_is_said_to_be_none() {
        for wire in [&b"x\r\n"[..], b":a\r\n", b"$-2\r\n", b"+a\rb", b"$99999999999999999999\r\n"] {
            assert!(parse(wire).is_err(), "{wire:?}");
        }
        assert_eq!(parse(b"*1000000000\r\n"), Ok(None), "nothing is allocated for what is not there");
        assert!(parse(&b"*1\r\n".repeat(100)).is_err());
    }
}
