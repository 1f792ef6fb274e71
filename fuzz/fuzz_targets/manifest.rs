#![no_main]
//! See `simulator::fuzz::manifest`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::manifest(data));
