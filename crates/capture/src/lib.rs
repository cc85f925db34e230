//! The user-space half of the kernel witness: loads and attaches the programs, reads what they say, heals what they missed.
//!
//! Two processes use it. The privileged kernel process: [`object`], [`witness`], [`selftest`], [`handout`], [`refusal`], [`turns`]. The
//! unprivileged core: [`ring`], [`decode`], [`counters`]. Nothing here parses what a client sent.
#![expect(unsafe_code, reason = "plain-data records and bpf(2); SAFETY at each place")]

mod btf;
pub mod counters;
pub mod decode;
pub mod found;
pub mod handout;
pub mod marks;
pub mod object;
pub mod offsets;
pub mod processes;
pub mod refusal;
pub mod ring;
pub mod selftest;
pub mod sockets;
pub mod symbols;
pub mod turns;
pub mod witness;
