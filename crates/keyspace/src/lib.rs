//! Keys and the values they hold: lookup, typed editing, expiry, eviction, scan.
//!
//! Owns what a key *is*. Leaves the network, commands and the clock to others: time arrives as an
//! argument, and what a write changed leaves as [`Change`]s that the engine turns into effects.
#![deny(unsafe_code)]

mod ahead;
pub mod change;
pub mod db;
pub mod edit;
pub mod evict;
pub mod expiry;
pub mod hash;
pub mod keys;
pub mod limits;
pub mod list;
pub mod load;
pub mod lock;
pub mod set;
pub mod text;
pub mod value;
mod word;
pub mod zset;

pub use change::{Change, Class, Listening, Recorder};
pub use db::{Db, Entry, Keyspace};
pub use edit::{Edit, TextEdit, View};
pub use hash::Hash;
pub use keys::{Keys, Stamp, WrongType};
pub use limits::Limits;
pub use list::List;
pub use load::Duplicate;
pub use lock::Guard;
pub use set::Set;
pub use text::Text;
pub use value::{Kind, Type, Value};
pub use zset::ZSet;
