//! Breaks `proxy`: any bytes of a session, in any pieces.

#![no_main]

#[path = "../../crates/proxy/tests/walk/fuzz_body.rs"]
mod fuzz_body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_body::run(data));
