//! Breaks `sql`: any text in any state of a session.

#![no_main]

#[path = "../../crates/sql/tests/facts/fuzz_body.rs"]
mod fuzz_body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_body::run(data));
