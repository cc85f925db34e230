//! The user-space half of the kernel witness: loads and attaches the programs, reads what they say, heals what they missed.
#![expect(unsafe_code, reason = "maps plain-data records out of kernel memory; SAFETY at each place")]

pub mod object;
pub mod offsets;
