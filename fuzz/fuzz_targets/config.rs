#![no_main]
//! See `simulator::fuzz::config`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::config(data));
