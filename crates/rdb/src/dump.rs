//! Single values as bytes, as DUMP and RESTORE exchange them.
//!
//! ```text
//! | type (1) | value … | version (2) | CRC-64 of all before (8) |      both low byte first
//! ```

use base::crc64::crc64;
use keyspace::Entry;

use crate::error::ErrorKind;
use crate::format::{VERSION, VERSION_MAX, is_readable};
use crate::load::{Context, read_value};
use crate::read::Cursor;
use crate::value::{type_of, write_value};
use crate::write::Writer;

/// Bytes behind the value.
const FOOTER: usize = 10;

/// Why a payload is not restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// The version is unknown, or the checksum is not that of the payload.
    Checksum,
    /// The value is malformed, of a type that we do not have, or without elements.
    Value(Option<ErrorKind>),
}

/// Returns an entry's value as a payload of the given version.
pub fn dump(entry: &Entry, version: u16) -> Vec<u8> {
    let version = version.clamp(VERSION, VERSION_MAX);
    let mut out = Writer::new(None, true, false);
    out.byte(type_of(entry, version));
    write_value(&mut out, entry, version);
    let mut bytes = out.into_bytes();
    bytes.extend_from_slice(&version.to_le_bytes());
    let crc = crc64(0, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Returns the bytes that an entry's value takes in a snapshot, without its type.
pub fn serialized_len(entry: &Entry, version: u16) -> usize {
    dump(entry, version).len() - 1 - FOOTER
}

/// Returns the entry of `key` whose value is in `payload`.
pub fn restore(
    payload: &[u8],
    key: &[u8],
    stamp: Option<i64>,
    context: &Context,
) -> Result<Entry, RestoreError> {
    let (summed, crc) = payload.split_last_chunk().ok_or(RestoreError::Checksum)?;
    let (value, version) = summed.split_last_chunk().ok_or(RestoreError::Checksum)?;
    if !is_readable(u16::from_le_bytes(*version)) || u64::from_le_bytes(*crc) != crc64(0, summed) {
        return Err(RestoreError::Checksum);
    }
    debug_assert_eq!(value.len() + FOOTER, payload.len());
    let mut from = Cursor::new(value);
    let entry = from.byte().and_then(|number| read_value(number, key, stamp, &mut from, context));
    match entry {
        Ok(Some(entry)) => Ok(entry),
        Ok(None) => Err(RestoreError::Value(None)),
        Err(crate::error::Stop::More(_)) => Err(RestoreError::Value(Some(ErrorKind::Truncated))),
        Err(crate::error::Stop::Bad(what)) => Err(RestoreError::Value(Some(what))),
    }
}
