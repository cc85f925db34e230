//! The proxy between real clients and a real server.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests fail by panicking, and their modules are private"
)]

mod access;
mod holds;
#[path = "../../../../tests/src/issuer.rs"]
#[allow(dead_code, reason = "each uses a part")]
mod issuer;
mod limits;
mod login;
mod plain;
mod raw;
mod support;
mod tls;
mod volume;
