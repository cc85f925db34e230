//! Breaks `identity`: any bytes as a token, in each of its parts, as an OAUTHBEARER message, as a certificate.

#![no_main]

#[path = "../../crates/identity/tests/tokens/fuzz_body.rs"]
mod fuzz_body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_body::run(data));
