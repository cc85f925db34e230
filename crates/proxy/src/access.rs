//! The gate of `pg_hba.conf`: a connection goes through a hop only if the server would decide about the hop as it would
//! have decided about the client itself. Otherwise a remote client could reach `trust` for loopback.

use std::net::IpAddr;

use hba::Rules;
use hba::attempt::{Attempt, Encryption, How, Replication};
use hba::facts::Facts;
use hba::hop::{Hop, Passage, Through};
use hba::refusal::SQLSTATE;
use model::mediation::{Refusal, Route};

use crate::opening::Startup;
use crate::stop::Stop;

/// The rules of one database server, as it has loaded them.
#[derive(Debug)]
pub struct Access {
    /// The rules.
    pub rules: Rules,
    /// What else is known of the server.
    pub facts: Facts,
    /// What is known of connections whose start-up the proxy cannot read.
    pub unread: UnreadAccess,
}

/// Connections whose TLS is relayed: their user and database are not known to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadAccess {
    /// A survey of the rules found no connection that would be decided otherwise through a hop.
    Surveyed,
    /// They pass only if the server sees the client's own address.
    SameAddressOnly,
}

/// What decides whether a hop may stand for its client.
#[derive(Debug)]
pub(crate) enum Gate {
    /// The rules.
    Rules(Access),
    /// They cannot be read: the server sees the client's own address, or nothing.
    SameAddressOnly,
}

impl Gate {
    pub(crate) fn judge(&self, startup: &Startup<'_>, client: End, hop: End) -> Result<(), Stop> {
        let passage = match client.encrypted {
            Encrypted::Yes => Passage::Terminated,
            Encrypted::No => Passage::Unread,
        };
        match self {
            Self::Rules(access) => access.judge(startup, client, hop, passage),
            Self::SameAddressOnly => same_address(client, hop, "the rules cannot be read"),
        }
    }

    /// The same, of a session that is the proxy's own: its hop stands for nobody else's connection.
    pub(crate) fn judge_own(&self, startup: &Startup<'_>, hop: End) -> Result<(), Stop> {
        match self {
            Self::Rules(access) => access.judge(startup, hop, hop, Passage::Unread),
            Self::SameAddressOnly => Ok(()),
        }
    }

    pub(crate) fn judge_unread(&self, client: End, hop: End) -> Result<(), Stop> {
        match self {
            Self::Rules(Access { unread: UnreadAccess::Surveyed, .. }) => Ok(()),
            Self::Rules(_) | Self::SameAddressOnly => same_address(client, hop, "the proxy cannot read who connects"),
        }
    }
}

fn same_address(client: End, hop: End, otherwise: &str) -> Result<(), Stop> {
    let same = client.address.map(|address| address.to_canonical()) == hop.address.map(|own| own.to_canonical());
    if same { Ok(()) } else { Err(differs(otherwise.to_owned())) }
}

/// One end of the way as `pg_hba.conf` sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// `None`: a Unix socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) encrypted: Encrypted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encrypted {
    Yes,
    No,
}

impl End {
    /// The client's own connection.
    pub(crate) const fn of_client(route: &Route, encrypted: Encrypted) -> Self {
        match route {
            Route::Tcp { client, .. } => Self { address: Some(client.ip()), encrypted },
            Route::Unix { .. } => Self { address: None, encrypted },
        }
    }

    const fn how(self) -> How {
        let encryption = match self.encrypted {
            Encrypted::Yes => Encryption::Tls,
            Encrypted::No => Encryption::None,
        };
        match self.address {
            None => How::Local,
            Some(address) => How::Host { address, encryption },
        }
    }
}

impl Access {
    /// Whether a session may start.
    fn judge(&self, startup: &Startup<'_>, client: End, hop: End, passage: Passage) -> Result<(), Stop> {
        let user = startup.parameter(b"user").unwrap_or_default();
        let database = startup.parameter(b"database").filter(|name| !name.is_empty()).unwrap_or(user);
        let replication = replication(startup.parameter(b"replication"));
        let original = Attempt { how: client.how(), user, database, replication };
        match self.rules.hop(&original, &Through { how: hop.how(), passage }, &self.facts) {
            Hop::Same => Ok(()),
            Hop::Refused(refusal) => {
                let text = String::from_utf8_lossy(&refusal.message).into_owned();
                Err(Stop::refused(Refusal::Access, SQLSTATE, text))
            }
            Hop::Different(difference) => {
                let line = difference.original.place();
                Err(differs(format!("{}; line {} decides about this client", difference.why, line.line)))
            }
            Hop::Unknown(fact) => Err(differs(format!("it is not known {fact}"))),
        }
    }
}

/// The value as the server reads it (`ProcessStartupPacket`, `parse_bool`).
fn replication(value: Option<&[u8]>) -> Replication {
    match value {
        None => Replication::No,
        Some(b"database") => Replication::Logical,
        Some(value) if is_true(value) => Replication::Physical,
        // False; or nonsense, which the server refuses.
        Some(_) => Replication::No,
    }
}

/// Whether a value of the parameter `replication` asks for it, of whichever kind.
pub(crate) fn asks_for_replication(value: &[u8]) -> bool {
    !matches!(replication(Some(value)), Replication::No)
}

fn is_true(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |word: &[u8]| !value.is_empty() && word.starts_with(&value);
    begins(b"true") || begins(b"yes") || value == b"on" || value == b"1"
}

fn differs(why: String) -> Stop {
    let text = format!("the proxy may not connect in this client's place: as pg_hba.conf decides by address ({why})");
    Stop::refused(Refusal::AccessDiffers, SQLSTATE, text)
}
