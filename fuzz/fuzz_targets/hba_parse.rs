//! Breaks `hba`: any bytes as `pg_hba.conf`.

#![no_main]

#[path = "../../crates/hba/tests/cases/fuzz_body.rs"]
mod fuzz_body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_body::run(data));
