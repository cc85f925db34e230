//! The three ways to a database server, as libpq's environment variables (which every driver here understands).

use std::fmt;

/// How a client reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// TCP on loopback, plaintext.
    Tcp,
    /// TCP on loopback, TLS.
    Tls,
    /// The Unix socket.
    Unix,
}

impl Route {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Tls, Self::Unix];

    /// Value of `PGSSLMODE`.
    #[must_use]
    pub const fn tls_mode(self) -> &'static str {
        match self {
            Self::Tcp | Self::Unix => "disable",
            Self::Tls => "require",
        }
    }

    /// `transport` of the agent's session records.
    #[must_use]
    pub const fn transport(self) -> &'static str {
        match self {
            Self::Tcp | Self::Tls => "tcp",
            Self::Unix => "unix",
        }
    }

    /// `encryption` of the agent's session records.
    #[must_use]
    pub const fn encryption(self) -> &'static str {
        match self {
            Self::Tcp | Self::Unix => "plaintext",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Unix => "unix",
        })
    }
}
