#![no_main]
//! See `simulator::fuzz::restore`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::restore(data));
