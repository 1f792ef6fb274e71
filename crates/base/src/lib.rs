//! Words every crate may use: time, numbers, patterns, checksums, seeded randomness.

#![forbid(unsafe_code)]

pub mod number;
pub mod rng;
pub mod time;
pub mod version;
