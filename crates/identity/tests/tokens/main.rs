//! Tokens of an issuer whose keys are in a file: what is taken, and above all what is not.
#![allow(clippy::allow_attributes, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod bindings;
mod delegation;
#[expect(unreachable_pub, reason = "shared with the fuzz target, a program of its own")]
mod fuzz_body;
#[path = "../../../../tests/src/issuer.rs"]
#[expect(unreachable_pub, reason = "shared with the end-to-end tests, where it is a module of a library")]
#[allow(dead_code, clippy::allow_attributes, reason = "each uses a part")]
mod issuer;
mod mapping;
mod mutation;
mod refusals;
mod scene;
mod times;
mod vendors;
