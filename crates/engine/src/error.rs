//! What clients did wrong, in Redis' own words.

use std::borrow::Cow;

use keyspace::WrongType;

/// The result of a command handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A command's failure; its text is the error reply without the leading `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    Syntax,
    WrongType,
    NotInteger,
    NotFloat,
    NotFinite,
    /// The number of arguments does not fit the command or subcommand (its lower-case full name).
    Arity(Cow<'static, str>),
    NoSuchKey,
    IndexOutOfRange,
    OutOfRange,
    Overflow,
    InvalidExpire(&'static str),
    OutOfMemory,
    DbIndex,
    /// Any other text, code word included.
    Text(Cow<'static, str>),
}

impl Error {
    /// Returns an error with a fixed text.
    pub const fn text(text: &'static str) -> Error {
        Error::Text(Cow::Borrowed(text))
    }

    /// Returns the reply's text, code word first.
    pub fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Error::Syntax => "ERR syntax error",
            Error::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Error::NotInteger => "ERR value is not an integer or out of range",
            Error::NotFloat => "ERR value is not a valid float",
            Error::NotFinite => "ERR increment would produce NaN or Infinity",
            Error::Arity(name) => {
                return Cow::Owned(format!("ERR wrong number of arguments for '{name}' command"));
            }
            Error::NoSuchKey => "ERR no such key",
            Error::IndexOutOfRange => "ERR index out of range",
            Error::OutOfRange => "ERR value is out of range",
            Error::Overflow => "ERR increment or decrement would overflow",
            Error::InvalidExpire(command) => {
                return Cow::Owned(format!("ERR invalid expire time in '{command}' command"));
            }
            Error::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            Error::DbIndex => "ERR DB index is out of range",
            Error::Text(text) => return text.clone(),
        })
    }
}

impl From<WrongType> for Error {
    fn from(_: WrongType) -> Error {
        Error::WrongType
    }
}

impl From<String> for Error {
    fn from(text: String) -> Error {
        Error::Text(Cow::Owned(text))
    }
}
