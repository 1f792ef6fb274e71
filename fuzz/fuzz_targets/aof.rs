#![no_main]
//! See `simulator::fuzz::aof`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::aof(data));
