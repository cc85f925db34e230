//! The ABI of steering: which connections go to the proxy, to which of its listeners, and what happens without one.
//!
//! These maps are pinned and outlive the agent, so a later agent may meet those of an earlier one: [`STEERING_ABI`] is
//! part of the pin's name. Addresses are in network byte order, IPv4 as `::ffff:a.b.c.d`; ports in host byte order.

/// Version of everything in this file.
pub const STEERING_ABI: u32 = 1;

/// Destinations of one database, and the addresses of its listeners (see [`flag::GUARD`]).
pub const RULES_MAX: u32 = 256;

/// Listeners of one database and one address family. Bounds the search of the kernel program.
pub const SLOTS_MAX: u32 = 64;

/// Length of the maps `LISTENERS` and `HEARTBEATS`: slots for IPv4, then as many for IPv6.
pub const SLOTS: u32 = 2 * SLOTS_MAX;

/// Hops that may be on their way to the server at once.
pub const EXEMPT_MAX: u32 = 4096;

/// Prefixes of sources that are never steered.
pub const DIRECT_MAX: u32 = 1024;

/// Key of the map `RULES`: where clients connect to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The address; `::` is any address, `::ffff:0.0.0.0` any IPv4 address.
    pub address: [u8; 16],
    /// The port.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}
const _: () = assert!(size_of::<Destination>() == 20);

impl Destination {
    /// Any IPv4 address.
    pub const ANY_V4: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    /// Any address.
    pub const ANY: [u8; 16] = [0; 16];
}

/// Value of the map `RULES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A heartbeat that is older (nanoseconds) belongs to a listener that hangs.
    pub heartbeat_limit: u64,
    /// Makes marks of connection attempts unpredictable from outside.
    pub seed: u32,
    /// First slot for IPv4; IPv6 has the same ones, [`SLOTS_MAX`] further. Of a guard: the listener's own slot.
    pub first_slot: u32,
    /// Number of slots, at most [`SLOTS_MAX`].
    pub slots: u32,
    /// Index in the maps `COUNTERS` and `TURNS`.
    pub counters: u32,
    /// See [`flag`].
    pub flags: u32,
    /// Key of the map `DIRECT`.
    pub database: u16,
    /// Zero.
    pub reserved: u16,
}
const _: () = assert!(size_of::<Rule>() == 32);

/// Bits of [`Rule::flags`].
pub mod flag {
    /// The rule steers; without it nothing happens.
    pub const ON: u32 = 1;
    /// Without a live listener the connection is refused; without this bit it goes to the server itself.
    pub const FAIL_CLOSED: u32 = 2;
    /// The destination is the proxy's own listener: every connection that asks for it by its own address is refused.
    pub const GUARD: u32 = 4;
}

/// Key of the map `EXEMPT`: one connection as the server's host sees it. Value: when the exemption ends, in nanoseconds of
/// `CLOCK_MONOTONIC` (an agent that was killed leaves no lasting hole).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Address of the one who connects.
    pub source: [u8; 16],
    /// Address that it connects to.
    pub destination: [u8; 16],
    /// Port of the source.
    pub source_port: u16,
    /// Port of the destination.
    pub destination_port: u16,
}
const _: () = assert!(size_of::<Tuple>() == 36);

/// Data of a key of the longest-prefix map `DIRECT`. The first two fields always belong to the prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// [`Rule::database`].
    pub database: u16,
    /// 4 or 6.
    pub family: u16,
    /// Address; IPv4 mapped.
    pub address: [u8; 16],
}
const _: () = assert!(size_of::<Source>() == 20);

/// Bits of [`Source`] before the address.
pub const SOURCE_HEAD_BITS: u32 = 32;

/// What became of connection attempts (map `COUNTERS`, one value for each processor).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Went to the proxy.
    pub steered: u64,
    /// The proxy's own hops.
    pub exempt: u64,
    /// From a source that is allowed to connect directly.
    pub direct: u64,
    /// No live listener: went to the server itself.
    pub passed_open: u64,
    /// No live listener: refused.
    pub dropped_closed: u64,
    /// Listeners that were passed over because their heartbeat is too old (the socket was there).
    pub stale: u64,
    /// Another program of this network namespace had chosen a socket already; it was left alone.
    pub other_program: u64,
    /// Connections to the proxy's own listener by its own address, refused.
    pub guarded: u64,
}
const _: () = assert!(size_of::<Counters>() == 64);
