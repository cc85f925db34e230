//! Breaks the fingerprints of `redact`: any text.

#![no_main]

#[path = "../../crates/redact/tests/pseudonym/fuzz_body.rs"]
mod fuzz_body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_body::run(data));
