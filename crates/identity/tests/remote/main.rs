//! Keys that are fetched: discovery, changes of keys, floods, outages, and servers that are not what they should be.
#![allow(clippy::allow_attributes, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../../tests/src/issuer.rs"]
#[expect(unreachable_pub, reason = "shared with the end-to-end tests, where it is a module of a library")]
#[allow(dead_code, clippy::allow_attributes, reason = "each uses a part")]
mod issuer;
mod keys;
mod server;
