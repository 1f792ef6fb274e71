//! Words every crate may use: time and the calendar, numbers, patterns, checksums, hashes, seeded randomness, what disks are asked,
//! how important a log line is.

#![forbid(unsafe_code)]

pub mod calendar;
pub mod crc64;
pub mod disk;
pub mod glob;
pub mod hash;
pub mod log_level;
pub mod number;
pub mod prepared;
pub mod rng;
pub mod slot;
pub mod time;
pub mod version;
