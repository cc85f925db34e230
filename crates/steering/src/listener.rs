//! The proxy's listening sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen as start, setsockopt,
    socket, sockopt,
};

use crate::namespace;

/// Connections that wait to be accepted, at most. The kernel caps it at `net.core.somaxconn` of the namespace.
const BACKLOG: i32 = 4096;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Of an address.
    #[must_use]
    pub const fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }
}

/// A listening socket, nonblocking and close-on-exec.
#[derive(Debug)]
pub struct Listening {
    /// The socket. Whoever gets it must be its only holder: connections in the queue of a socket that somebody else still
    /// holds wait for ever when its worker dies.
    pub socket: OwnedFd,
    /// Where it listens.
    pub address: SocketAddr,
    /// Length of the queue of connections that wait to be accepted, as the kernel capped it.
    pub backlog: u32,
}

/// A listener for steered connections, in the given network namespace: loopback, a port that the kernel chooses.
///
/// Nobody is meant to ask for its own address; [`crate::controls::Controls::set_listener`] makes the kernel refuse who does.
/// `Ok(None)`: the namespace has no such address family.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(namespace: BorrowedFd<'_>, family: Family) -> io::Result<Option<Listening>> {
    let loopback = match family {
        Family::V4 => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        Family::V6 => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    };
    match listen_plain(namespace, loopback) {
        Ok(listening) => Ok(Some(listening)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// A listener at an address of its own, for clients that are configured to ask for it.
///
/// # Errors
/// When the socket cannot be made, or the address is taken or not of this host.
pub fn listen_plain(namespace: BorrowedFd<'_>, address: SocketAddr) -> io::Result<Listening> {
    namespace::inside(namespace, || open(address))
}

fn open(address: SocketAddr) -> io::Result<Listening> {
    let family = match Family::of(&address) {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let opened = socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
    setsockopt(&opened, sockopt::ReuseAddr, &true)?;
    // Each worker has a listener of its own, also at an address that clients know.
    setsockopt(&opened, sockopt::ReusePort, &true)?;
    if family == AddressFamily::Inet6 {
        setsockopt(&opened, sockopt::Ipv6V6Only, &true)?;
    }
    bind(opened.as_raw_fd(), &SockaddrStorage::from(address))?;
    start(&opened, Backlog::new(BACKLOG)?)?;
    let bound: SockaddrStorage = nix::sys::socket::getsockname(opened.as_raw_fd())?;
    let address = socket_address(&bound).ok_or(Errno::EAFNOSUPPORT)?;
    Ok(Listening { socket: opened, address, backlog: backlog() })
}

/// As the namespace of the calling thread has it (`/proc/sys/net` is per reader).
fn backlog() -> u32 {
    let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    let allowed = allowed.and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(BACKLOG.unsigned_abs());
    allowed.min(BACKLOG.unsigned_abs())
}

/// An internet address of a socket.
pub(crate) fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::from((v4.ip(), v4.port())));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::from(std::net::SocketAddrV6::from(*v6)))
}
