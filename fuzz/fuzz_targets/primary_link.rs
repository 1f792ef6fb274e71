#![no_main]
//! See `simulator::fuzz::primary_link`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::primary_link(data));
