//! Data structures that know nothing of Redis; the home of `unsafe`.

mod size_class;

pub mod buf;
pub mod listpack;

pub use buf::Buf;
pub use listpack::{Item, Listpack};
