#![no_main]
//! See `simulator::fuzz::session`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::session(data));
