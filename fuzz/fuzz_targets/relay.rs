//! Breaks `guard`: any bytes of a client and of a server between which it stands, in any pieces.

#![no_main]

#[path = "../../crates/guard/tests/session/fuzz_body.rs"]
mod fuzz_body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_body::run(data));
