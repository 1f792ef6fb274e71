#![no_main]
//! See `simulator::fuzz::rdb`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| simulator::fuzz::rdb(data));
