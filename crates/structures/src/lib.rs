//! Data structures that know nothing of Redis; the home of `unsafe`.

mod size_class;

pub mod buf;

pub use buf::Buf;
