#![no_main]
//! See `simulator::fuzz::arguments`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::arguments(data));
