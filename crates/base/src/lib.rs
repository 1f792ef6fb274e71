//! Words every crate may use: time, numbers, patterns, checksums, seeded randomness.
