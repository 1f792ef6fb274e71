//! Replies as owned values, for whoever is on the receiving side: clients, replicas, sentinels, tests.
//!
//! Every type of RESP2 and RESP3 is known except the streamed ones, which no server sends.

use std::fmt;

use base::number::{parse_f64, parse_i64, push_f64};
use memchr::memchr;

use crate::encode::{Protocol, Writer};

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    /// RESP3's only null.
    Null,
    /// RESP2's `$-1`.
    NullBulk,
    /// RESP2's `*-1`.
    NullArray,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    /// A message that answers no request.
    Push(Vec<Value>),
    Double(f64),
    Boolean(bool),
    Verbatim {
        format: [u8; 3],
        text: Vec<u8>,
    },
    /// The decimal digits of an integer of any size.
    BigNumber(Vec<u8>),
    /// A reply with something said about it.
    Attributed {
        attributes: Vec<(Value, Value)>,
        value: Box<Value>,
    },
}

/// Why some bytes are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// No type of reply starts with this byte.
    UnknownType(u8),
    /// The length, number or truth value on the first line is none.
    InvalidLine,
    /// A line end is missing where one must be.
    MissingLineEnd,
    /// Aggregates within aggregates, more than any server nests.
    TooDeep,
}

/// How deep aggregates may nest.
const DEPTH_MAX: usize = 128;

impl Value {
    /// Returns the reply at the start of `bytes` and its length, or nothing while it is incomplete.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, ValueError> {
        let mut reader = Reader { bytes, pos: 0 };
        Ok(reader.value(0)?.map(|value| (value, reader.pos)))
    }

    /// Writes the reply again; types that `writer`'s protocol lacks are written as it writes them.
    pub fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Value::Simple(text) => writer.simple(text),
            Value::Error(line) => writer.error(line),
            Value::Int(value) => writer.int(*value),
            Value::Bulk(bytes) => writer.bulk(bytes),
            Value::Null | Value::NullBulk => writer.null(),
            Value::NullArray => writer.null_array(),
            Value::Array(items) => {
                writer.array(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
            Value::Map(pairs) => {
                writer.map(pairs.len());
                pairs.iter().for_each(|(key, value)| {
                    key.write(writer);
                    value.write(writer);
                });
            }
            Value::Set(items) => {
                writer.set(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
            Value::Push(items) => {
                writer.push(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
            Value::Double(value) => writer.double(*value),
            Value::Boolean(value) => writer.boolean(*value),
            Value::Verbatim { format, text } => writer.verbatim(format, text),
            Value::BigNumber(digits) => writer.big_number(digits),
            Value::Attributed { attributes, value } => {
                if writer.protocol == Protocol::Resp3 {
                    writer.attribute(attributes.len());
                    attributes.iter().for_each(|(name, value)| {
                        name.write(writer);
                        value.write(writer);
                    });
                }
                value.write(writer);
            }
        }
    }

    /// Returns the text of a status, byte string, verbatim text or big number.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(bytes) | Value::Bulk(bytes) | Value::BigNumber(bytes) => Some(bytes),
            Value::Verbatim { text, .. } => Some(text),
            Value::Attributed { value, .. } => value.as_bytes(),
            _ => None,
        }
    }

    /// Returns the integer, whether it came as one or as text.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            Value::Boolean(value) => Some(i64::from(*value)),
            _ => parse_i64(self.as_bytes()?),
        }
    }

    /// Returns the elements of an array, set or push.
    pub fn as_items(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Some(items),
            Value::Attributed { value, .. } => value.as_items(),
            _ => None,
        }
    }

    /// Returns the error's line, code and all.
    pub fn as_error(&self) -> Option<&[u8]> {
        match self {
            Value::Error(line) => Some(line),
            _ => None,
        }
    }

    /// Returns whether this says that there is nothing.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null | Value::NullBulk | Value::NullArray)
    }
}

/// Reads values from bytes of which more may follow.
struct Reader<'a> {
    bytes: &'a [u8],
    pos: usize,
}

/// What was read, nothing while it is incomplete, or why it cannot be read.
type Read<T> = Result<Option<T>, ValueError>;

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Read<Value> {
        if depth > DEPTH_MAX {
            return Err(ValueError::TooDeep);
        }
        let Some((kind, line)) = self.line()? else { return Ok(None) };
        let value = match kind {
            b'+' => Value::Simple(line.to_vec()),
            b'-' => Value::Error(line.to_vec()),
            b':' => Value::Int(parse_i64(line).ok_or(ValueError::InvalidLine)?),
            b'$' if line == b"-1" => Value::NullBulk,
            b'*' if line == b"-1" => Value::NullArray,
            b'$' => return Ok(self.text(line)?.map(|text| Value::Bulk(text.to_vec()))),
            b'!' => return Ok(self.text(line)?.map(|text| Value::Error(text.to_vec()))),
            b'=' => {
                let Some(text) = self.text(line)? else { return Ok(None) };
                let (format, text) = text.split_first_chunk().ok_or(ValueError::InvalidLine)?;
                let text = text.strip_prefix(b":").ok_or(ValueError::InvalidLine)?;
                Value::Verbatim { format: *format, text: text.to_vec() }
            }
            b'_' => Value::Null,
            b',' => Value::Double(match line {
                b"nan" | b"-nan" => f64::NAN,
                _ => parse_f64(line).ok_or(ValueError::InvalidLine)?,
            }),
            b'#' => Value::Boolean(match line {
                b"t" => true,
                b"f" => false,
                _ => return Err(ValueError::InvalidLine),
            }),
            b'(' => Value::BigNumber(line.to_vec()),
            b'*' => return Ok(self.items(line, depth)?.map(Value::Array)),
            b'~' => return Ok(self.items(line, depth)?.map(Value::Set)),
            b'>' => return Ok(self.items(line, depth)?.map(Value::Push)),
            b'%' => return Ok(self.pairs(line, depth)?.map(Value::Map)),
            b'|' => {
                let Some(attributes) = self.pairs(line, depth)? else { return Ok(None) };
                // An attribute nests what it describes, or many of them would be read without a bound.
                let Some(value) = self.value(depth + 1)? else { return Ok(None) };
                Value::Attributed { attributes, value: Box::new(value) }
            }
            other => return Err(ValueError::UnknownType(other)),
        };
        Ok(Some(value))
    }

    /// Reads a line, and returns its first byte and the rest.
    fn line(&mut self) -> Read<(u8, &'a [u8])> {
        let rest = &self.bytes[self.pos..];
        let Some(end) = memchr(b'\r', rest) else { return Ok(None) };
        match rest.get(end + 1) {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => return Err(ValueError::MissingLineEnd),
        }
        self.pos += end + 2;
        let (kind, line) = rest[..end].split_first().ok_or(ValueError::InvalidLine)?;
        Ok(Some((*kind, line)))
    }

    /// Reads as many bytes as `line` says, and the line end after them.
    fn text(&mut self, line: &[u8]) -> Read<&'a [u8]> {
        let len = length(line)?;
        let rest = &self.bytes[self.pos..];
        if rest.len() < 2 || rest.len() - 2 < len {
            return Ok(None);
        }
        if &rest[len..len + 2] != b"\r\n" {
            return Err(ValueError::MissingLineEnd);
        }
        self.pos += len + 2;
        Ok(Some(&rest[..len]))
    }

    /// Reads as many values as `line` says.
    fn items(&mut self, line: &[u8], depth: usize) -> Read<Vec<Value>> {
        let mut items = Vec::new();
        for _ in 0..length(line)? {
            match self.value(depth + 1)? {
                Some(item) => items.push(item),
                None => return Ok(None),
            }
        }
        Ok(Some(items))
    }

    /// Reads as many pairs of values as `line` says.
    fn pairs(&mut self, line: &[u8], depth: usize) -> Read<Vec<(Value, Value)>> {
        let mut pairs = Vec::new();
        for _ in 0..length(line)? {
            let Some(key) = self.value(depth + 1)? else { return Ok(None) };
            let Some(value) = self.value(depth + 1)? else { return Ok(None) };
            pairs.push((key, value));
        }
        Ok(Some(pairs))
    }
}

fn length(line: &[u8]) -> Result<usize, ValueError> {
    parse_i64(line).and_then(|length| usize::try_from(length).ok()).ok_or(ValueError::InvalidLine)
}

/// The form that scenario files use: one line for each value, elements indented below their aggregate.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(self, 0, f)
    }
}

fn write_lines(value: &Value, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let nested = |item: &Value, f: &mut fmt::Formatter<'_>| {
        write!(f, "\n{:width$}", "", width = (depth + 1) * 2)?;
        write_lines(item, depth + 1, f)
    };
    let items = |kind: char, items: &[Value], f: &mut fmt::Formatter<'_>| {
        write!(f, "{kind}{}", items.len())?;
        items.iter().try_for_each(|item| nested(item, f))
    };
    let pairs = |kind: char, pairs: &[(Value, Value)], f: &mut fmt::Formatter<'_>| {
        write!(f, "{kind}{}", pairs.len())?;
        pairs.iter().try_for_each(|(key, value)| nested(key, f).and_then(|()| nested(value, f)))
    };
    match value {
        Value::Simple(text) => write!(f, "+{}", Plain(text)),
        Value::Error(line) => write!(f, "-{}", Plain(line)),
        Value::Int(value) => write!(f, ":{value}"),
        Value::Bulk(bytes) => write!(f, "{}", Quoted(bytes)),
        Value::Null => f.write_str("_"),
        Value::NullBulk => f.write_str("$-1"),
        Value::NullArray => f.write_str("*-1"),
        Value::Array(elements) => items('*', elements, f),
        Value::Map(elements) => pairs('%', elements, f),
        Value::Set(elements) => items('~', elements, f),
        Value::Push(elements) => items('>', elements, f),
        Value::Double(value) => {
            let mut text = Vec::new();
            push_f64(&mut text, *value);
            write!(f, ",{}", Plain(&text))
        }
        Value::Boolean(value) => f.write_str(if *value { "#t" } else { "#f" }),
        Value::Verbatim { format, text } => write!(f, "={}", Quoted(&[format, &b":"[..], text].concat())),
        Value::BigNumber(digits) => write!(f, "({}", Plain(digits)),
        Value::Attributed { attributes, value } => {
            pairs('|', attributes, f)?;
            write!(f, "\n{:width$}", "", width = depth * 2)?;
            write_lines(value, depth, f)
        }
    }
}

/// Bytes as text, those that a text file would not show escaped.
struct Plain<'a>(&'a [u8]);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &byte) in self.0.iter().enumerate() {
            let shown = byte.is_ascii_graphic() || (byte == b' ' && i + 1 < self.0.len());
            if shown { write!(f, "{}", char::from(byte))? } else { write!(f, "\\x{byte:02x}")? }
        }
        Ok(())
    }
}

/// Bytes in double quotes, as a person could type them.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for &byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                b'\n' => f.write_str("\\n")?,
                b'\r' => f.write_str("\\r")?,
                b'\t' => f.write_str("\\t")?,
                b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_str("\"")
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueError::UnknownType(byte) => write!(f, "no reply starts with '{}'", byte.escape_ascii()),
            ValueError::InvalidLine => f.write_str("malformed line in a reply"),
            ValueError::MissingLineEnd => f.write_str("line end missing in a reply"),
            ValueError::TooDeep => f.write_str("reply nests too deeply"),
        }
    }
}

impl std::error::Error for ValueError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.write(&mut Writer::new(&mut bytes, Protocol::Resp3));
        bytes
    }

    fn parse_error(bytes: &[u8]) -> ValueError {
        Value::parse(bytes).expect_err("these bytes are no reply")
    }

    #[test]
    fn every_type_is_read_and_shown() {
        let bytes = b"*16\r\n+OK\r\n-ERR no \r\n:-5\r\n$3\r\na\x00\"\r\n$-1\r\n*-1\r\n_\r\n,1.5\r\n,-inf\r\n#t\r\n\
            =5\r\ntxt:x\r\n(12\r\n!5\r\nERR a\r\n%1\r\n$1\r\nk\r\n~1\r\n:1\r\n>0\r\n|1\r\n+a\r\n:1\r\n*1\r\n#f\r\nrest";
        let (value, len) = Value::parse(bytes).unwrap().unwrap();
        assert_eq!(len, bytes.len() - 4);
        let expected = "*16\n  +OK\n  -ERR no\\x20\n  :-5\n  \"a\\x00\\\"\"\n  $-1\n  *-1\n  _\n  ,1.5\n  ,-inf\n  #t\n  \
            =\"txt:x\"\n  (12\n  -ERR a\n  %1\n    \"k\"\n    ~1\n      :1\n  >0\n  |1\n    +a\n    :1\n  *1\n    #f";
        assert_eq!(value.to_string(), expected);
    }

    #[test]
    fn malformed_replies_are_errors() {
        assert_eq!(parse_error(b"?1\r\n"), ValueError::UnknownType(b'?'));
        for line in [":a", "$-2", "*-2", "$a", "#x", ",nine", "%-1", "", "=3\r\ntxt", "$01"] {
            assert_eq!(parse_error(format!("{line}\r\n").as_bytes()), ValueError::InvalidLine, "{line}");
        }
        assert_eq!(parse_error(b"+a\rb\n"), ValueError::MissingLineEnd);
        assert_eq!(parse_error(b"$1\r\nabc"), ValueError::MissingLineEnd);
        assert_eq!(parse_error(&b"*1\r\n".repeat(1000)), ValueError::TooDeep);
        assert_eq!(parse_error(&b"|0\r\n".repeat(1000)), ValueError::TooDeep);
        assert_eq!(Value::parse(b"$9223372036854775807\r\nabc"), Ok(None));
        assert_eq!(Value::parse(b"*9223372036854775807\r\n"), Ok(None));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..20);
        let line = || "[ -~]{0,20}".prop_map(String::into_bytes);
        let leaf = prop_oneof![
            line().prop_map(Value::Simple),
            line().prop_map(Value::Error),
            any::<i64>().prop_map(Value::Int),
            bytes().prop_map(Value::Bulk),
            Just(Value::Null),
            any::<f64>().prop_map(|value| Value::Double(if value.is_nan() { 0.5 } else { value })),
            any::<bool>().prop_map(Value::Boolean),
            bytes().prop_map(|text| Value::Verbatim { format: *b"mkd", text }),
            "-?[1-9][0-9]{0,40}".prop_map(|digits| Value::BigNumber(digits.into_bytes())),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let items = prop::collection::vec(inner.clone(), 0..6);
            let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..4);
            prop_oneof![
                items.clone().prop_map(Value::Array),
                items.clone().prop_map(Value::Set),
                items.prop_map(Value::Push),
                pairs.clone().prop_map(Value::Map),
                (pairs, inner)
                    .prop_map(|(attributes, value)| Value::Attributed { attributes, value: Box::new(value) }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in any_value()) {
            let bytes = encode(&value);
            prop_assert_eq!(Value::parse(&bytes), Ok(Some((value, bytes.len()))));
            for cut in 0..bytes.len() {
                prop_assert_eq!(Value::parse(&bytes[..cut]), Ok(None));
            }
        }

        #[test]
        fn any_bytes_are_survived(
            bytes in prop::collection::vec(prop::sample::select(b"*%~>|$=!+-:,#_(0123\r\n\r\n\xfft".to_vec()), 0..60),
        ) {
            let _ = Value::parse(&bytes);
        }
    }
}
