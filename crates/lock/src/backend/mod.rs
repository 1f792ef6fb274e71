//! What is sent to a server and what its replies mean; nothing here knows a connection.

pub(crate) mod native;
pub(crate) mod portable;

use std::time::Duration;

use redis::Value;

use crate::error::Holder;

/// How a server holds locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// The `LOCK.*` commands of Redstart: a queue on the server, tokens that it checks.
    Native,
    /// Scripts on any Redis or Valkey: polling, and wake-ups by publish.
    Portable,
}

/// One wish for a lock.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) key: Vec<u8>,
    pub(crate) owner: String,
    pub(crate) lease: Duration,
    pub(crate) replicas: u32,
    pub(crate) meta: Option<String>,
    /// Whether nobody else can have this owner's name, not even this process a second time.
    pub(crate) owner_is_unique: bool,
}

impl Request {
    pub(crate) fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A server's answer to a wish.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It is ours, `waited` after the request arrived.
    Granted { token: u64, waited: Duration },
    /// It is someone else's.
    Busy(Box<Holder>),
}

/// Why a server did not give an answer that settles the matter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// It could not be reached, did not answer in time, or cannot serve now. The request may have been executed.
    Unreachable(String),
    /// It will never take this request.
    Refused(String),
    /// Too few replicas have it; it was given back.
    NotDurable(String),
    /// It is not held by this owner with this token.
    NotHeld,
    /// A newer token exists.
    Fenced,
}

impl Trouble {
    /// Returns what a server's error means for whoever asked.
    pub(crate) fn of_words(words: String) -> Trouble {
        match words.split(' ').next().unwrap_or_default() {
            "NOTHELD" => Trouble::NotHeld,
            "FENCED" => Trouble::Fenced,
            "NOREPLICAS" => Trouble::NotDurable(words),
            // It will serve later, or another one will.
            "UNBLOCKED" | "READONLY" | "LOADING" | "MASTERDOWN" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" => {
                Trouble::Unreachable(words)
            }
            _ => Trouble::Refused(words),
        }
    }
}

/// Returns what a reply that nobody expects is to its caller: a connection that is not to be trusted any more.
fn unexpected(value: &Value) -> Trouble {
    Trouble::Unreachable(format!("unexpected reply: {value:?}"))
}

/// Returns a reply as a number, however the protocol wrote it.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    }
}

fn unsigned(value: &Value) -> Option<u64> {
    integer(value).and_then(|number| u64::try_from(number).ok())
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(text) => Some(String::from_utf8_lossy(text).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Okay => Some("OK".into()),
        _ => None,
    }
}
