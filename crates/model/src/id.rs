//! Identities of hosts, sockets, sessions and configured databases.

use std::fmt;

/// 128 bits of `/etc/machine-id`: which host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub u128);

/// 128 bits of `/proc/sys/kernel/random/boot_id`: which boot of that host. Socket cookies restart with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub u128);

/// The kernel's identity of one socket, unique for a boot (`SO_COOKIE`, `bpf_get_socket_cookie`). Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketCookie(pub u64);

/// One database session: the cookie of the *database server's accepted socket* on one boot of one host.
/// Every other socket of the session (the client's, later the proxy's) is an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// Which host.
    pub host: HostId,
    /// Which boot.
    pub boot: BootId,
    /// Which socket.
    pub cookie: SocketCookie,
}

/// `HOST-BOOT-COOKIE`: the first 8 hex digits of host and boot, the cookie in decimal.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}-{}", self.host.0 >> 96, self.boot.0 >> 96, self.cookie.0)
    }
}

/// Index of a configured or discovered database, in the order of its registration. Names live in the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseId(pub u16);
