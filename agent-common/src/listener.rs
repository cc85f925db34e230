//! Which listening sockets belong to databases.

use crate::Header;

/// Key of the map `TCP_LISTENERS`: a port in a network namespace. Value: database id (u32).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpListener {
    /// Inode number of the network namespace.
    pub network_namespace: u32,
    /// Port, host byte order.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}
const _: () = assert!(size_of::<TcpListener>() == 8);

/// A process called `listen` on a TCP socket (any process: user space decides whether it is a database).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Kind [`crate::kind::LISTENING`].
    pub header: Header,
    /// Namespace and port.
    pub listener: TcpListener,
    /// Process id of the caller.
    pub pid: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Listening>() == 32);
