//! What the proxy says: connections that go through it, and what it relayed on them.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::Known;
use crate::id::{DatabaseId, SocketCookie};
use crate::principal::{Principal, UnknownPrincipal};
use crate::session::{Encryption, Transport};
use crate::time::BootTime;
use crate::words::words;

/// Which part of a client's way to the server a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Leg {
    /// A client's own connection to the server.
    #[default]
    Direct,
    /// A client's connection to the proxy. Its accepted socket names the connection in [`MediationEvent`].
    Front,
    /// The proxy's connection to the server.
    Hop,
}

/// How a connection came to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The kernel steered it here: the client asked for the database's own address.
    Steered,
    /// The client asked for an address that the proxy itself listens on.
    Plain,
    /// The database's Unix socket, taken over.
    UnixSocket,
}

/// Where a client comes from and where it wanted to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// TCP.
    Tcp {
        /// The client's own address.
        client: SocketAddr,
        /// The address that it asked for.
        destination: SocketAddr,
    },
    /// A Unix socket, by `SO_PEERCRED`.
    Unix {
        /// Pid of the client.
        pid: u32,
        /// Its effective uid.
        uid: u32,
        /// Its effective gid.
        gid: u32,
    },
}

/// What was under way on a connection when the proxy counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Bytes wait to be passed on.
    Busy,
    /// Nothing: bytes accepted from the client are all forwarded, and the other way round.
    Quiet,
    /// The server has finished: it sends nothing more, and nothing reaches it.
    ServerFinished,
}

/// Bytes and messages that the proxy relayed on one connection, since its beginning.
///
/// Upstream figures count plaintext where the proxy holds the plaintext, and bytes on the socket always: the second
/// are what the kernel's byte ledger of the server's socket must agree with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Bytes received from the client's socket.
    pub from_client: u64,
    /// Bytes sent to the client's socket.
    pub to_client: u64,
    /// Bytes sent to the server's socket.
    pub to_upstream: u64,
    /// Bytes received from the server's socket.
    pub from_upstream: u64,
    /// Whole typed messages forwarded to the server (start-up packets have no type).
    pub messages_to_upstream: u64,
    /// Whole typed messages forwarded to the client.
    pub messages_to_client: u64,
    /// Values of results that the client got masked.
    pub masked_cells: u64,
}

words! {
    /// Why the proxy refused a connection.
    Refusal {
        /// The address that it came by does not belong to the database (a connection to the proxy's own port).
        NotForDatabase = "not_for_database",
        /// The bytes are not the protocol, or not where they may be.
        Protocol = "protocol",
        /// A packet is longer than the protocol allows in that state.
        Oversized = "oversized",
        /// The connection ended in the middle of its start-up.
        Truncated = "truncated",
        /// It did not start up in time.
        StartupTimeout = "startup_timeout",
        /// Plaintext was sent behind a request for encryption.
        PlaintextInjected = "plaintext_injected",
        /// The client's TLS handshake failed.
        ClientTls = "client_tls",
        /// Direct TLS without the protocol's name in ALPN.
        Alpn = "alpn",
        /// `pg_hba.conf` has no entry for it, or an entry that rejects it.
        Access = "access",
        /// `pg_hba.conf` would decide otherwise about the hop than about the client.
        AccessDiffers = "access_differs",
        /// Too many sessions.
        SessionLimit = "session_limit",
        /// Too many sessions of one client address.
        AddressLimit = "address_limit",
        /// Too many connections in start-up.
        StartupLimit = "startup_limit",
        /// A token or another proof of identity was not accepted.
        Identity = "identity",
        /// A policy forbids the connection.
        Policy = "policy",
        /// The server cannot be reached.
        Upstream = "upstream",
        /// The server's TLS handshake failed, or it showed another certificate.
        UpstreamTls = "upstream_tls",
        /// What was asked could not be recorded, and the database is enforced.
        NotRecorded = "not_recorded",
        /// The proxy is about to stop.
        Draining = "draining",
    }
}

words! {
    /// Which end ended a connection.
    End {
        /// The client closed it.
        Client = "client",
        /// The server closed it.
        Upstream = "upstream",
        /// It was idle for too long.
        Idle = "idle",
        /// The proxy stopped.
        Drained = "drained",
        /// The proxy refused to go on.
        Refused = "refused",
        /// The client's connection broke.
        ClientBroken = "client_broken",
        /// The server's connection broke.
        UpstreamBroken = "upstream_broken",
        /// The access of whoever acts has ended.
        AccessEnded = "access_ended",
    }
}

/// The proxy's part in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mediation {
    /// The socket that the proxy accepted; the session is not named by it, except where there is no hop.
    pub accepted: SocketCookie,
    /// How the connection came to the proxy; `None`: the proxy did not tell (the kernel programs saw it).
    pub listener: Option<Listener>,
    /// The proxy's socket to the server; `None`: it has none (yet).
    pub upstream: Option<SocketCookie>,
    /// The hop as the server sees it; `None`: the server's socket was not seen.
    pub hop: Option<Transport>,
    /// What protects the hop.
    pub hop_encryption: Encryption,
    /// Ciphertext is relayed unread: content comes from the kernel witness.
    pub relayed: bool,
    /// What the proxy counted.
    pub counts: RelayCounts,
    /// Bytes that the kernel saw the proxy receive from the client.
    pub front_received: u64,
    /// Bytes that the kernel saw the proxy send to the client.
    pub front_sent: u64,
    /// At the end: bytes that the proxy sent and the server did not receive.
    pub undelivered: u64,
    /// Why the proxy refused the connection, in fixed words.
    pub refused: Option<&'static str>,
    /// Which end ended it, in fixed words.
    pub ended_by: Option<&'static str>,
}

impl Mediation {
    /// Of this accepted socket, nothing else known.
    #[must_use]
    pub const fn of(accepted: SocketCookie) -> Self {
        Self {
            accepted,
            listener: None,
            upstream: None,
            hop: None,
            hop_encryption: Encryption::Undecided,
            relayed: false,
            counts: RelayCounts {
                from_client: 0,
                to_client: 0,
                to_upstream: 0,
                from_upstream: 0,
                messages_to_upstream: 0,
                messages_to_client: 0,
                masked_cells: 0,
            },
            front_received: 0,
            front_sent: 0,
            undelivered: 0,
            refused: None,
            ended_by: None,
        }
    }
}

/// What the proxy says about one connection, named by the cookie of its accepted socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediationEvent {
    /// A client's connection was accepted.
    Accepted {
        /// The accepted socket.
        connection: SocketCookie,
        /// When.
        at: BootTime,
        /// For which database.
        database: DatabaseId,
        /// How it came here.
        listener: Listener,
        /// Both ends.
        route: Route,
    },
    /// It has its hop to the server.
    Connected {
        /// The accepted socket.
        connection: SocketCookie,
        /// The proxy's socket to the server.
        upstream: SocketCookie,
        /// When.
        at: BootTime,
    },
    /// What protects the client's side is decided. `relayed`: the proxy does not read it.
    Encrypted {
        /// The accepted socket.
        connection: SocketCookie,
        /// What.
        encryption: Encryption,
        /// Ciphertext is relayed unread; content comes from the kernel witness.
        relayed: bool,
    },
    /// Who acts on it, as far as anybody knows; said before the first request, and again when it changes.
    Identified {
        /// The accepted socket.
        connection: SocketCookie,
        /// When.
        at: BootTime,
        /// Who.
        principal: Known<Arc<Principal>, UnknownPrincipal>,
    },
    /// Counts of a connection.
    Counted {
        /// The accepted socket.
        connection: SocketCookie,
        /// When.
        at: BootTime,
        /// Since the beginning.
        counts: RelayCounts,
        /// What was under way then.
        moment: Moment,
    },
    /// The proxy itself refused the connection.
    Refused {
        /// The accepted socket.
        connection: SocketCookie,
        /// When.
        at: BootTime,
        /// Why.
        reason: Refusal,
        /// SQLSTATE that the client was told; empty where it could not be told anything.
        sqlstate: Arc<str>,
        /// Text that the client was told.
        message: Arc<str>,
    },
    /// The connection is over.
    Ended {
        /// The accepted socket.
        connection: SocketCookie,
        /// When.
        at: BootTime,
        /// Final counts.
        counts: RelayCounts,
        /// Which end ended it.
        by: End,
    },
}

impl MediationEvent {
    /// Which connection it is about.
    #[must_use]
    pub const fn connection(&self) -> SocketCookie {
        match self {
            Self::Accepted { connection, .. }
            | Self::Connected { connection, .. }
            | Self::Encrypted { connection, .. }
            | Self::Identified { connection, .. }
            | Self::Counted { connection, .. }
            | Self::Refused { connection, .. }
            | Self::Ended { connection, .. } => *connection,
        }
    }
}
