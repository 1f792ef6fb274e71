#![no_main]
//! See `simulator::fuzz::decoder`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::decoder(data));
