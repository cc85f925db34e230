//! The proxy between real clients and a real server.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests fail by panicking, and their modules are private"
)]

mod access;
mod certificates;
mod holds;
#[path = "../../../../tests/src/issuer.rs"]
#[allow(dead_code, reason = "each uses a part")]
mod issuer;
#[cfg(feature = "libpq")]
mod libpq;
mod limits;
mod login;
mod oauth;
mod plain;
mod pressure;
mod raw;
mod support;
mod tls;
mod volume;
