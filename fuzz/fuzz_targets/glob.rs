#![no_main]
//! See `simulator::fuzz::glob`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::glob(data));
