//! Redis' snapshot format: a keyspace to bytes and back, whole files as well as single values.
//!
//! Owns the format: versions, types, lengths, compression, checksums, and what makes bytes acceptable. Leaves files to
//! the drivers, and what is done with a key that was read to [`keyspace::load`].
//!
//! ```text
//! "REDIS0010"  AUX…  FUNCTION2…  { SELECTDB RESIZEDB { [EXPIRETIME_MS] [IDLE|FREQ] type key value }… }…  EOF  CRC-64
//! ```
//!
//! Nothing that is read is believed: every part is checked before it becomes a value, and no memory is taken for what
//! is merely claimed.
#![forbid(unsafe_code)]

mod build;
pub mod check;
mod dump;
mod error;
mod format;
mod load;
pub mod lzf;
mod packed;
mod read;
mod save;
mod value;
mod write;
mod ziplist;
mod zipmap;

#[cfg(test)]
mod tests;

pub use dump::{RestoreError, dump, restore, serialized_len};
pub use error::{ErrorKind, LoadError, SinkError};
pub use format::{VERSION, VERSION_MAX, type_name};
pub use load::{Context, Item, LoadOptions, Loader};
pub use save::{Ages, Meta, SaveOptions, Summary, save};
pub use write::Sink;
