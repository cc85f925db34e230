//! Refusing local processes that connect to a database past its proxy: where they may not go, who they are, how long.
//!
//! A refusal is leased: it ends by itself when the kernel process does not renew it. Addresses are in network byte order,
//! IPv4 as `::ffff:a.b.c.d`; ports in host byte order.

use crate::process::Identified;

/// Addresses of servers that may be refused, all databases together.
pub const DESTINATIONS_MAX: u32 = 4096;
/// Control groups whose processes are refused, all databases together.
pub const GROUPS_MAX: u32 = 1024;
/// Prefixes of sources that are never refused, all databases together.
pub const SOURCES_MAX: u32 = 4096;
/// Databases with a refusal.
pub const LEASES_MAX: u32 = 256;
/// Control groups above a process that are looked at, from the root on.
pub const LEVELS_MAX: u32 = 64;

/// Key of the map `REFUSED_DESTINATIONS`. Value: database id (u32).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefusedDestination {
    /// Where a client connects to. [`Self::LOOPBACK_V4`] is all of `127.0.0.0/8` that has no entry of its own.
    pub address: [u8; 16],
    /// Cookie of the network namespace in which the address means this; 0: in all of them.
    pub namespace: u64,
    /// The port.
    pub port: u16,
    /// Zero.
    pub reserved: [u8; 6],
}
const _: () = assert!(size_of::<RefusedDestination>() == 32);

impl RefusedDestination {
    /// Any address of `127.0.0.0/8`.
    pub const LOOPBACK_V4: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 0];
}

/// Value of the map `REFUSAL_LEASES`, keyed by database id (u32).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Refused until then, nanoseconds of `CLOCK_MONOTONIC`.
    pub until: u64,
    /// See [`lease`].
    pub flags: u64,
}
const _: () = assert!(size_of::<Lease>() == 16);

/// Bits of [`Lease::flags`].
pub mod lease {
    /// Some IPv4 source may connect directly.
    pub const HAS_SOURCES_V4: u64 = 1;
    /// Some IPv6 source may.
    pub const HAS_SOURCES_V6: u64 = 2;
}

/// Key of the map `REFUSAL_GROUPS`, the processes that are refused. Value: 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// Number of the control group in the unified hierarchy.
    pub cgroup: u64,
    /// The database for which it is named: the id.
    pub database: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Group>() == 16);

/// A process was refused.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// Kind [`crate::kind::REFUSED`]; `cookie` is the client's socket.
    pub process: Identified,
    /// Where it wanted to go.
    pub destination: RefusedDestination,
    /// Database id.
    pub database: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Refused>() == 2216);
