//! Why a link is closed over what it sent.

use std::fmt;

use crate::encode::Writer;

/// Why the bytes of a link are not a request. Its text follows "Protocol error: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    InvalidMultibulkLength,
    InvalidBulkLength,
    /// An argument starts with this byte rather than with `$`.
    ExpectedBulk(u8),
    TooBigMultibulkCount,
    TooBigBulkCount,
    TooBigInline,
    UnbalancedQuotes,
    UnauthenticatedMultibulkLength,
    UnauthenticatedBulkLength,
    /// The arguments together exceed 4 GiB, which 32-bit offsets cannot address.
    TooBigRequest,
}

impl ProtocolError {
    /// Writes the error reply after which a link is closed.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let mut line = b"ERR Protocol error: ".to_vec();
        self.push_text(&mut line);
        writer.error(line);
    }

    /// Appends the text, with the offending byte as it came; `Display` can only show it as a character.
    pub fn push_text(&self, out: &mut Vec<u8>) {
        match *self {
            ProtocolError::ExpectedBulk(byte) => {
                out.extend_from_slice(b"expected '$', got '");
                out.extend_from_slice(&[byte, b'\'']);
            }
            error => out.extend_from_slice(error.to_string().as_bytes()),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            ProtocolError::InvalidMultibulkLength => "invalid multibulk length",
            ProtocolError::InvalidBulkLength => "invalid bulk length",
            ProtocolError::ExpectedBulk(byte) => {
                return write!(f, "expected '$', got '{}'", char::from(byte));
            }
            ProtocolError::TooBigMultibulkCount => "too big mbulk count string",
            ProtocolError::TooBigBulkCount => "too big bulk count string",
            ProtocolError::TooBigInline => "too big inline request",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            ProtocolError::UnauthenticatedBulkLength => "unauthenticated bulk length",
            ProtocolError::TooBigRequest => "too big request",
        })
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offending_byte_is_quoted_as_it_came() {
        let (error, mut text) = (ProtocolError::ExpectedBulk(0xff), Vec::new());
        error.push_text(&mut text);
        assert_eq!(text, b"expected '$', got '\xff'");
        assert_eq!(error.to_string(), "expected '$', got '\u{ff}'");
    }
}
