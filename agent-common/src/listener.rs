//! Which listening sockets belong to databases.

use crate::Header;
use crate::session::{FAMILY_INET6, UNIX_PATH_MAX};

/// Key of the map `TCP_LISTENERS`: an address in a network namespace. Value: database id (u32).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpListener {
    /// Address, network byte order; IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// Inode number of the network namespace.
    pub network_namespace: u32,
    /// Port, host byte order.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}
const _: () = assert!(size_of::<TcpListener>() == 24);

impl TcpListener {
    /// Any IPv4 address.
    const ANY_V4: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    /// Any address.
    const ANY: [u8; 16] = [0; 16];

    /// Where the listener of a connection to this address may listen, the closest first: as the kernel chooses. `family`
    /// is that of the accepted socket, which is its listener's: one for IPv6 may take both, one for IPv4 never does.
    #[inline(always)]
    #[must_use]
    pub const fn candidates(self, family: u16) -> [Option<Self>; 3] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = self.address;
        let prefix = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        let is_v4 = prefix == 0 && u32::from_ne_bytes([i, j, k, l]) == u32::from_ne_bytes([0, 0, 0xff, 0xff]);
        let any_v4 = if is_v4 { Some(Self { address: Self::ANY_V4, ..self }) } else { None };
        let any = if family == FAMILY_INET6 { Some(Self { address: Self::ANY, ..self }) } else { None };
        [Some(self), any_v4, any]
    }
}

/// Value of the map `UNIX_LISTENERS`.
///
/// Its key is where the kernel keeps the bound address, which accepted sockets share. When all of them are gone the kernel
/// uses that memory again, for another socket's address as well: so its name is compared.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UnixListener {
    /// The bound path, as in [`crate::session::Opened::path`].
    pub path: [u8; UNIX_PATH_MAX],
    /// Database id; with `LISTENER_IS_FRONT` the listener is the proxy's.
    pub database: u32,
}
const _: () = assert!(size_of::<UnixListener>() == 112);

/// A process called `listen` on a TCP socket (any process: user space decides whether it is a database).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Kind [`crate::kind::LISTENING`].
    pub header: Header,
    /// Where.
    pub listener: TcpListener,
    /// Process id of the caller.
    pub pid: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Listening>() == 48);
