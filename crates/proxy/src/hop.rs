//! The way to the server. Whoever opens it has rights that the worker lacks; here is only what is asked of him.

use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use model::id::{DatabaseId, SocketCookie};
use model::mediation::{Listener, Route};

/// Where a hop shall lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A TCP address: the one that the client asked for, or the upstream of a plain listener.
    Tcp(SocketAddr),
    /// The database's own Unix socket.
    Unix,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct HopRequest<'a> {
    /// Which database.
    pub database: DatabaseId,
    /// The client's connection: its accepted socket.
    pub connection: SocketCookie,
    /// Where the client comes from.
    pub route: Route,
    /// Where the hop leads.
    pub destination: Destination,
    /// How the client came.
    pub listener: Listener,
    /// The client's accepted socket: who opens the hop reads from it who the client is.
    pub socket: BorrowedFd<'a>,
    /// Ciphertext may be relayed unread: only the kernel witness can read this session.
    pub unread: bool,
}

/// An open connection to the server.
#[derive(Debug)]
pub struct Hop {
    /// It.
    pub stream: HopStream,
    /// Its cookie.
    pub cookie: SocketCookie,
}

/// The socket of a hop.
#[derive(Debug)]
pub enum HopStream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
}

/// Why there is no hop.
#[derive(Debug, thiserror::Error)]
pub enum HopError {
    /// The server cannot be reached.
    #[error("the database server cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// Whoever opens hops does not answer.
    #[error("the process that opens connections to the database does not answer")]
    NoAnswer,
    /// It may not be opened.
    #[error("a connection to the database may not be opened: {0}")]
    Forbidden(&'static str),
}

/// Opens hops: in the agent the kernel process does, in tests the test itself.
pub trait Hops: 'static {
    /// Opens one. The stream may be in blocking mode; it is changed.
    fn open(&self, request: HopRequest<'_>) -> impl Future<Output = Result<Hop, HopError>>;
}
