#![no_main]
//! See `simulator::fuzz::listpack`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::listpack(data));
