//! A connection as `pg_hba.conf` sees it.

use std::net::IpAddr;

/// Encryption between the server and its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encryption {
    /// None.
    None,
    /// TLS, negotiated or direct.
    Tls,
    /// GSSAPI.
    Gss,
}

/// The way that a connection reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// Unix socket.
    Local,
    /// TCP.
    Host {
        /// The peer's address. One that is IPv4 in IPv6 (`::ffff:10.0.0.1`, as a listener for both families shows
        /// it) counts as the IPv4 address: the server keeps its sockets of both families apart and would see that.
        address: IpAddr,
        /// Encryption on this connection.
        encryption: Encryption,
    },
}

impl How {
    /// The same with the address that the server would see.
    pub(crate) const fn canonical(self) -> Self {
        match self {
            Self::Local => Self::Local,
            Self::Host { address, encryption } => Self::Host { address: address.to_canonical(), encryption },
        }
    }
}

/// What the start-up packet's `replication` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replication {
    /// An ordinary session.
    No,
    /// `replication=database`: rules as for an ordinary session of that database.
    Logical,
    /// `replication=true`: only rules with the keyword `replication`, whatever the database.
    Physical,
}

/// A connection with what its start-up packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// Its way.
    pub how: How,
    /// `user`
    pub user: &'a [u8],
    /// `database`; where the packet has none, or an empty one, the user.
    pub database: &'a [u8],
    /// `replication`
    pub replication: Replication,
}

/// Longest name in bytes; the server cuts longer ones of a start-up packet (`NAMEDATALEN` - 1).
const NAME_BYTES_MAX: usize = 63;

/// A name as the server keeps it.
pub(crate) fn cut(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES_MAX).unwrap_or(name)
}
