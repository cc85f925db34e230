//! The proxy between real clients and a real server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests fail by panicking, and their modules are private"
)]

mod access;
mod limits;
mod plain;
mod raw;
mod support;
mod tls;
mod volume;
