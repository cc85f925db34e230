//! One line of the file.

use std::fmt;

use crate::address::Address;
use crate::method::Method;
use crate::mistake::Place;
use crate::name::Word;
use crate::options::Options;
use crate::token::Token;

/// The first column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// `local`
    Local,
    /// `host`
    Host,
    /// `hostssl`
    HostTls,
    /// `hostnossl`: everything but TLS, encryption by GSSAPI included.
    HostNoTls,
    /// `hostgssenc`
    HostGss,
    /// `hostnogssenc`: everything but encryption by GSSAPI, TLS included.
    HostNoGss,
}

impl Connection {
    /// As written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Host => "host",
            Self::HostTls => "hostssl",
            Self::HostNoTls => "hostnossl",
            Self::HostGss => "hostgssenc",
            Self::HostNoGss => "hostnogssenc",
        }
    }

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let all = [Self::Local, Self::Host, Self::HostTls, Self::HostNoTls, Self::HostGss, Self::HostNoGss];
        all.into_iter().find(|connection| connection.name().as_bytes() == text)
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(crate) place: Place,
    pub(crate) connection: Connection,
    pub(crate) databases: Vec<Word>,
    pub(crate) users: Vec<Word>,
    /// Of a `local` rule: all, and never asked for.
    pub(crate) address: Address,
    pub(crate) method: Method,
    pub(crate) options: Options,
    pub(crate) written: Written,
}

/// The columns as tokens, to write a rule like this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) databases: Vec<Token>,
    pub(crate) users: Vec<Token>,
    pub(crate) options: Vec<Token>,
}

impl Rule {
    /// Where it stands.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Its first column.
    #[must_use]
    pub const fn connection(&self) -> Connection {
        self.connection
    }

    /// Its method; `ident` for Unix sockets is `peer`, as the server takes it.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// Its addresses.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// An option's value, where it says more than the default.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&[u8]> {
        self.options.get(name)
    }

    /// Whether it is (also) for physical replication.
    #[must_use]
    pub fn is_for_replication(&self) -> bool {
        self.databases.contains(&Word::Replication)
    }

    /// Whether the server asks the client for a certificate.
    #[must_use]
    pub fn needs_client_certificate(&self) -> bool {
        self.method == Method::Cert || self.options.get("clientcert").is_some()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.place, self.method)
    }
}
