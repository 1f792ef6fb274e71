#![no_main]
//! See `simulator::fuzz::replica_link`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::replica_link(data));
