//! What share of a database's sessions and bytes went through the proxy, and what became of the rest.

use std::sync::Arc;

use crate::id::DatabaseId;
use crate::time::WallTime;

/// How a session came to the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Through the proxy, and both witnesses agree on which connection it is.
    Mediated,
    /// Directly, as this rule of the configuration allows.
    AllowedDirect(Arc<str>),
    /// Directly, although the database is guarded.
    Bypass(BypassReason),
    /// Not known: the proxy's connection of which the proxy says nothing, or the other way round.
    Unknown,
    /// The database is not guarded: nothing sends its clients through the proxy.
    NotGuarded,
}

impl Class {
    /// The class in one word, also the metrics' label.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Mediated => "mediated",
            Self::AllowedDirect(_) => "allowed_direct",
            Self::Bypass(_) => "bypass",
            Self::Unknown => "unknown",
            Self::NotGuarded => "not_guarded",
        }
    }

    /// Why: the reason of a bypass, the name of a rule.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::AllowedDirect(rule) => Some(rule),
            Self::Bypass(reason) => Some(reason.word()),
            Self::Mediated | Self::Unknown | Self::NotGuarded => None,
        }
    }
}

/// How a session got around the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BypassReason {
    /// It is older than the steering, which leaves such sessions alone.
    BeforeSteering,
    /// It uses the server's Unix socket.
    UnixSocket,
    /// It asked for a steered address and was not steered.
    TcpDirect,
    /// No worker was alive, and the database's fail mode let it pass.
    FailOpen,
    /// It asked for an address (port, network namespace) that is not steered.
    UnsteeredAddress,
}

impl BypassReason {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::BeforeSteering, Self::UnixSocket, Self::TcpDirect, Self::FailOpen, Self::UnsteeredAddress];

    /// The reason in one word, also the metrics' label.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BeforeSteering => "before_steering",
            Self::UnixSocket => "unix_socket",
            Self::TcpDirect => "tcp_direct",
            Self::FailOpen => "fail_open",
            Self::UnsteeredAddress => "unsteered_address",
        }
    }
}

/// Sessions and bytes of one class in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCount {
    /// Sessions that were counted in this interval for the first time.
    pub sessions: u64,
    /// Sessions of this class that are still open at its end.
    pub open: u64,
    /// Bytes on the sockets in this interval, both directions.
    pub bytes: u64,
}

impl ClassCount {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            sessions: self.sessions + other.sessions,
            open: self.open + other.open,
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// The ledger of one database for one interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Which database.
    pub database: DatabaseId,
    /// Its name in the configuration.
    pub database_name: Arc<str>,
    /// Begin of the interval.
    pub from: WallTime,
    /// Its end.
    pub to: WallTime,
    /// The classes that occurred, in their order. What was observed is exactly their sum.
    pub classes: Vec<(Class, ClassCount)>,
    /// Events that were lost on the host in this interval: what they would have told is not in the classes.
    pub lost_events: u64,
}

impl Coverage {
    /// Everything that was observed.
    #[must_use]
    pub fn observed(&self) -> ClassCount {
        self.classes.iter().fold(ClassCount::default(), |sum, (_, count)| sum.plus(*count))
    }
}
