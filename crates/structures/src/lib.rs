//! Data structures that know nothing of Redis; the home of `unsafe`.

mod member;
mod ordered;
mod size_class;

pub mod bitmap;
pub mod buf;
pub mod dict;
pub mod geohash;
pub mod hyperloglog;
pub mod intset;
pub mod listpack;
pub mod quicklist;
pub mod ranked;
pub mod record;
pub mod thin;

pub use buf::Buf;
pub use dict::{Dict, Entry};
pub use intset::Intset;
pub use listpack::{Item, Listpack};
pub use member::Member;
pub use quicklist::{Fill, Quicklist};
pub use ranked::{LexBound, RankedSet, ScoreBound};
pub use record::{INLINE_MAX, Payload, Record, Word, WordRef};
pub use thin::{Blob, Pair};
