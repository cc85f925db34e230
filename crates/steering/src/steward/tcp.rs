//! A hop over TCP: its exact addresses are exempt from steering before the first packet leaves.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, getpeername, getsockname,
    getsockopt, setsockopt, socket, sockopt,
};

use super::{Begun, CONNECT_LIMIT, Hop, HopError, Mark, Waiting, begin_error, cookie};
use crate::exemptions::Exemptions;
use crate::listener::{Family, socket_address};
use crate::namespace::Home;

/// Ports that are tried: one may be on its way out of the exemptions.
const PORTS_TRIED: u32 = 8;

/// An exemption outlives its connection attempt only when the agent was killed, and then not long.
const EXEMPTION_LASTS: Duration = Duration::from_secs(CONNECT_LIMIT.as_secs() + 1);

/// Address that a hop connects from, in the database's network namespace; the port is new each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The one that the routes choose.
    Route,
    /// This one.
    Address(IpAddr),
    /// The client's own, where it is an address of that namespace: the server sees what it would see without us.
    Client {
        /// The client's address.
        address: IpAddr,
        /// For clients elsewhere: an address that is reserved for hops, so that `pg_hba.conf` can name it. Without one, as
        /// the routes choose.
        otherwise: Option<IpAddr>,
    },
}

/// What connects to where.
pub struct TcpHop {
    /// Network namespace of the database.
    pub namespace: Arc<OwnedFd>,
    /// Where it connects from.
    pub source: Source,
    /// The server.
    pub destination: SocketAddr,
    /// Of the database's steering; `None` where nothing is steered.
    pub exemptions: Option<Arc<Mutex<Exemptions>>>,
    /// Told its cookie before it connects.
    pub mark: Mark,
}

impl TcpHop {
    /// The hop for a connection that was steered here: to the client's original destination, from the client's address
    /// where that is one of the namespace, else from the reserved address of its family.
    ///
    /// `accepted` is the accepted socket itself: a worker that asks for a hop hands it over, instead of saying whose it is.
    ///
    /// # Errors
    /// When it is not connected any more, or not an internet socket.
    pub fn for_accepted(
        accepted: BorrowedFd<'_>,
        namespace: Arc<OwnedFd>,
        exemptions: Option<Arc<Mutex<Exemptions>>>,
        reserved: &[IpAddr],
        mark: Mark,
    ) -> io::Result<Self> {
        let absent = || io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
        let own: SockaddrStorage = getsockname(accepted.as_raw_fd())?;
        let peer: SockaddrStorage = getpeername(accepted.as_raw_fd())?;
        let destination = socket_address(&own).ok_or_else(absent)?;
        let address = socket_address(&peer).ok_or_else(absent)?.ip();
        let otherwise = reserved.iter().copied().find(|one| one.is_ipv4() == destination.is_ipv4());
        Ok(Self { namespace, source: Source::Client { address, otherwise }, destination, exemptions, mark })
    }
}

/// A connection attempt, and its exemption, which ends with the value.
pub(super) struct Connecting {
    socket: OwnedFd,
    cookie: model::id::SocketCookie,
    _exempt: Exempt,
}

struct Exempt {
    exemptions: Option<Arc<Mutex<Exemptions>>>,
    source: SocketAddr,
    destination: SocketAddr,
}

impl Exempt {
    fn new(hop: &TcpHop, source: SocketAddr) -> io::Result<Self> {
        if let Some(exemptions) = &hop.exemptions {
            let mut exemptions = exemptions.lock().unwrap_or_else(PoisonError::into_inner);
            exemptions.exempt(source, hop.destination, EXEMPTION_LASTS)?;
        }
        Ok(Self { exemptions: hop.exemptions.clone(), source, destination: hop.destination })
    }
}

impl Drop for Exempt {
    fn drop(&mut self) {
        if let Some(exemptions) = &self.exemptions {
            let mut exemptions = exemptions.lock().unwrap_or_else(PoisonError::into_inner);
            // What cannot be removed ends by itself.
            let _ = exemptions.clear(self.source, self.destination);
        }
    }
}

pub(super) fn begin(hop: TcpHop, home: &Home) -> Result<Begun, HopError> {
    let namespace = Arc::clone(&hop.namespace);
    home.visit(namespace.as_fd(), || Ok(begin_here(hop)))
        .map_err(begin_error("the database's network namespace cannot be entered"))?
}

fn begin_here(hop: TcpHop) -> Result<Begun, HopError> {
    let source = match hop.source {
        Source::Address(address) => address,
        Source::Client { address, .. } if is_own(address) => address,
        Source::Client { otherwise: Some(address), .. } => address,
        Source::Client { otherwise: None, .. } | Source::Route => {
            source_towards(hop.destination).map_err(HopError::Connect)?
        }
    };
    let (socket, exempt) = bound(&hop, source)?;
    let cookie = cookie(&socket).map_err(begin_error("the socket has no cookie"))?;
    (hop.mark)(cookie);
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(hop.destination)) {
        Ok(()) => Ok(Begun::Done(Hop { socket, cookie })),
        Err(Errno::EINPROGRESS) => Ok(Begun::Waiting(Waiting::Tcp(Connecting { socket, cookie, _exempt: exempt }))),
        Err(errno) => Err(HopError::Connect(errno.into())),
    }
}

/// A socket with a port of its own that is exempt.
///
/// It must not share its port (`SO_REUSEADDR`): whoever else could bind it might connect in its place while it is exempt.
fn bound(hop: &TcpHop, source: IpAddr) -> Result<(OwnedFd, Exempt), HopError> {
    let mut last = io::Error::from_raw_os_error(libc::EADDRINUSE);
    for _ in 0..PORTS_TRIED {
        let socket = stream(&hop.destination).map_err(begin_error("no socket"))?;
        let wanted = SockaddrStorage::from(SocketAddr::new(source, 0));
        bind(socket.as_raw_fd(), &wanted)
            .map_err(|errno| begin_error("the source address cannot be used")(errno.into()))?;
        let own = own_address(&socket).map_err(begin_error("the socket has no address"))?;
        match Exempt::new(hop, own) {
            Ok(exempt) => return Ok((socket, exempt)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(begin_error("it cannot be exempt from steering")(error)),
        }
    }
    Err(begin_error("no free port")(last))
}

fn stream(destination: &SocketAddr) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let opened = socket(family(destination), SockType::Stream, flags, SockProtocol::Tcp)?;
    setsockopt(&opened, sockopt::TcpNoDelay, &true)?;
    Ok(opened)
}

const fn family(address: &SocketAddr) -> AddressFamily {
    match Family::of(address) {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn own_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let bound: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    socket_address(&bound).ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// The address that the routes choose: asked of a datagram socket, which sends nothing when it is connected.
fn source_towards(destination: SocketAddr) -> io::Result<IpAddr> {
    let probe = socket(family(&destination), SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::Udp)?;
    connect(probe.as_raw_fd(), &SockaddrStorage::from(destination))?;
    Ok(own_address(&probe)?.ip())
}

/// Whether an address belongs to this namespace: then a connection to it would come from it. (To bind it proves nothing
/// where `ip_nonlocal_bind` is set.)
fn is_own(address: IpAddr) -> bool {
    address.is_loopback() || source_towards(SocketAddr::new(address, 1)).is_ok_and(|source| source == address)
}

impl Connecting {
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What became of it, once it is decided.
    pub(super) fn result(self) -> Result<Hop, HopError> {
        match getsockopt(&self.socket, sockopt::SocketError) {
            Ok(0) => Ok(Hop { socket: self.socket, cookie: self.cookie }),
            Ok(errno) => Err(HopError::Connect(io::Error::from_raw_os_error(errno))),
            Err(errno) => Err(HopError::Connect(errno.into())),
        }
    }
}
