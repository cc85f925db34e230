//! Breaks `wire-pg`: any list of inputs, any limits.

#![no_main]

#[path = "../../crates/wire-pg/tests/decoder/fuzz_body.rs"]
mod fuzz_body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_body::run(data));
