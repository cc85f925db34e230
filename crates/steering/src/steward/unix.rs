//! A hop to a Unix socket: the server sees the client's user and group (`SO_PEERCRED`), so that `peer` works.
//!
//! The pid that it sees is ours, and there are no supplementary groups.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use model::id::SocketCookie;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::{Begun, Hop, HopError, Mark, Waiting, begin_error, cookie};
use crate::identity::{Peer, being};

/// Who connects to what.
pub struct UnixHop {
    /// The server's socket file, opened with `O_PATH` ([`crate::takeover::Taken::server`]): an inode, which no rename and
    /// no link can exchange for another.
    pub server: Arc<OwnedFd>,
    /// The client.
    pub peer: Peer,
    /// Told its cookie before it connects.
    pub mark: Mark,
}

/// A connection for which the server's queue had no room.
pub(super) struct Retrying {
    socket: OwnedFd,
    cookie: SocketCookie,
    server: Arc<OwnedFd>,
    peer: Peer,
}

pub(super) fn begin(hop: UnixHop) -> Result<Begun, HopError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(|errno| begin_error("no socket")(errno.into()))?;
    let cookie = cookie(&socket).map_err(begin_error("the socket has no cookie"))?;
    (hop.mark)(cookie);
    Retrying { socket, cookie, server: hop.server, peer: hop.peer }.advance()
}

impl Retrying {
    pub(super) fn advance(self) -> Result<Begun, HopError> {
        let address = address_of(&self.server).map_err(begin_error("the server's socket has no path"))?;
        // What comes out is the result of connect; the error outside is that the identity could not be taken.
        let connected = being(self.peer, || Ok(connect(self.socket.as_raw_fd(), &address)))
            .map_err(begin_error("the client's identity cannot be taken"))?;
        match connected {
            Ok(()) => Ok(Begun::Done(Hop { socket: self.socket, cookie: self.cookie })),
            Err(Errno::EAGAIN) => Ok(Begun::Waiting(Waiting::Unix(self))),
            Err(errno) => Err(HopError::Connect(errno.into())),
        }
    }
}

/// A path that leads to the inode behind a descriptor.
pub(crate) fn address_of(descriptor: &OwnedFd) -> io::Result<UnixAddr> {
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    UnixAddr::new(path.as_str()).map_err(Into::into)
}
