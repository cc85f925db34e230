//! The ABI between the kernel programs (`agent-ebpf`) and user space (`capture`).
//!
//! Every type here is `repr(C)` with fixed-width fields: no bool, enum, Option or implicit padding, and a
//! `const` assertion of its size. Record kinds are append-only: a number is never re-used. Whoever changes a
//! layout raises [`ABI_VERSION`], which user space compares with the loaded object.

#![no_std]
#![cfg_attr(not(feature = "user"), forbid(unsafe_code))]
#![warn(missing_docs)]

pub mod content;
pub mod listener;
pub mod offsets;
pub mod process;
pub mod refusal;
pub mod scan;
pub mod session;
pub mod settings;
pub mod steering;
pub mod turns;
#[cfg(feature = "user")]
mod user;

/// Version of everything in this crate. Every record carries it; the self-test after the load compares it.
pub const ABI_VERSION: u32 = 3;

/// Kind of a ring-buffer record; the first field of each ([`Header::kind`]).
pub mod kind {
    /// [`crate::session::Opened`]
    pub const OPENED: u32 = 1;
    /// [`crate::process::Identified`], server side: first task that touched the session.
    pub const OWNED: u32 = 2;
    /// [`crate::process::Identified`], client side: the local process that connected.
    pub const CONNECTED: u32 = 3;
    /// [`crate::content::Content`]
    pub const CONTENT: u32 = 4;
    /// [`crate::session::Closed`]
    pub const CLOSED: u32 = 5;
    /// [`crate::process::Identified`] after an exec.
    pub const EXECUTED: u32 = 6;
    /// [`crate::process::Forked`]
    pub const FORKED: u32 = 7;
    /// [`crate::process::Exited`]
    pub const EXITED: u32 = 8;
    /// [`crate::listener::Listening`]
    pub const LISTENING: u32 = 9;
    /// [`crate::refusal::Refused`]
    pub const REFUSED: u32 = 10;
    /// One more than the largest kind: length of the loss counters.
    pub const COUNT: u32 = 11;

    /// Name of a kind in metrics and records; `unknown` for a number that this version does not know.
    #[must_use]
    pub const fn name(kind: u32) -> &'static str {
        match kind {
            OPENED => "open",
            OWNED => "owner",
            CONNECTED => "client",
            CONTENT => "content",
            CLOSED => "close",
            EXECUTED => "exec",
            FORKED => "fork",
            EXITED => "exit",
            LISTENING => "listen",
            REFUSED => "refused",
            _ => "unknown",
        }
    }
}

/// Beginning of every ring-buffer record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// See [`kind`].
    pub kind: u32,
    /// [`ABI_VERSION`] of the object that wrote it.
    pub abi: u32,
    /// `bpf_ktime_get_boot_ns`.
    pub at: u64,
}
const _: () = assert!(size_of::<Header>() == 16);
