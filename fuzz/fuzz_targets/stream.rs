#![no_main]
//! See `simulator::fuzz::stream`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::stream(data));
