//! Breaks `proxy`: any bytes at the beginning of a connection.

#![no_main]

#[path = "../../crates/proxy/tests/opening/fuzz_body.rs"]
mod fuzz_body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_body::run(data));
