//! What can be wrong with a snapshot, and with the place it goes to.

use std::fmt;

use crate::format::{self, type_name};

/// Where writing to a [`crate::Sink`] failed, in the system's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkError {
    pub reason: String,
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for SinkError {}

/// Why a snapshot cannot be loaded, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Bytes before the item or element that is wrong.
    pub offset: u64,
    pub what: ErrorKind,
}

/// What is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The first bytes are not those of a snapshot.
    Magic,
    /// The version is unknown, or none at all.
    Version(Option<u16>),
    /// A value type or an opcode that is known elsewhere or nowhere.
    Unsupported(u8),
    /// A length or encoding that there is not.
    Length,
    /// Compressed bytes that do not decompress to what they claim.
    Compression,
    /// A value of this type is malformed.
    Malformed(u8),
    /// A value of this type has the same member, field or score order twice.
    Repeated(u8),
    /// A database number beyond all reason.
    Database(u64),
    /// The checksum at the end is not that of what was read.
    Checksum { found: u64, computed: u64 },
    /// The input ended before the snapshot did.
    Truncated,
    /// Whoever took the items refused one.
    Refused(String),
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorKind::Magic => f.write_str("not a snapshot: the magic word is missing"),
            ErrorKind::Version(None) => f.write_str("the version is not a number"),
            ErrorKind::Version(Some(version)) => write!(f, "version {version} is not known"),
            ErrorKind::Unsupported(number) => {
                let noun = if *number >= format::opcode::FIRST { "opcode" } else { "value type" };
                write!(f, "{noun} {number} ({}) is not supported", type_name(*number))
            }
            ErrorKind::Length => f.write_str("a length or encoding that does not exist"),
            ErrorKind::Compression => f.write_str("compressed bytes do not decompress"),
            ErrorKind::Malformed(kind) => {
                write!(f, "a value of type {kind} ({}) is malformed", type_name(*kind))
            }
            ErrorKind::Repeated(kind) => {
                write!(f, "a value of type {kind} ({}) repeats a member", type_name(*kind))
            }
            ErrorKind::Database(number) => write!(f, "there is no database {number}"),
            ErrorKind::Checksum { found, computed } => {
                write!(f, "the checksum is {found:016x}, that of the content {computed:016x}")
            }
            ErrorKind::Truncated => f.write_str("the snapshot ends too early"),
            ErrorKind::Refused(reason) => f.write_str(reason),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}", self.what, self.offset)
    }
}

impl std::error::Error for LoadError {}

/// Why a parser stops before the end of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The input is too short; it must reach at least up to this place.
    More(usize),
    Bad(ErrorKind),
}

impl From<ErrorKind> for Stop {
    fn from(kind: ErrorKind) -> Stop {
        Stop::Bad(kind)
    }
}
