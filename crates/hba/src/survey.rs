//! Before steering: every kind of connection that is admitted today and would be refused or decided otherwise.
//!
//! Connections without number fall into few classes, because a file has few words. Addresses: the ends of each network,
//! and their neighbours, have a member of every class (networks contain each other or are apart). Names: each name of the
//! file, one that stands for all others, and each of them for database and user at once (`sameuser`). Encryption: with
//! and without. Of each class one member goes through the gate of [`hop`](crate::hop).
//!
//! What cannot be proved is listed too, never passed over: masks that are no prefix, too many classes, unknown facts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::attempt::{Encryption, How, Replication};
use crate::facts::{Fact, Facts};
use crate::hop::{Passage, Through, Why};
use crate::mistake::Place;
use crate::rule::{Connection, Rule};
use crate::rules::Rules;

mod addition;
mod classes;
mod surveyor;

use surveyor::Surveyor;

/// Classes that are judged at most.
pub const CLASSES_MAX: usize = 400_000;
/// Findings that are listed at most.
pub const FINDINGS_MAX: usize = 200;

/// How the proxy treats a client's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Relayed unread.
    Relay,
    /// Ends at the proxy, which has the server's certificate; the hop has TLS where the client has.
    ServerCertificate,
    /// Ends at the proxy; the hop has none.
    OwnCertificate,
}

/// How connections are going to be steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    /// Source of hops for clients on other hosts, IPv4.
    pub hop_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub hop_v6: Option<Ipv6Addr>,
    /// Treatment of TLS.
    pub tls: Tls,
    /// Address families that the server listens on.
    pub listens: Listens,
}

/// Families of the server's TCP listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Listens {
    V4,
    V6,
    Both,
}

/// What steering would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// In the order of the original rules. Empty: safe to steer.
    pub findings: Vec<Finding>,
    /// Rules for physical replication: standbys and backups go through the proxy too, unless they are named as direct.
    pub replication: Vec<Place>,
}

impl Survey {
    /// Whether every connection is decided as before.
    #[must_use]
    pub const fn is_safe(&self) -> bool {
        self.findings.is_empty()
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that admits these connections today; none where that is not certain.
    pub original: Option<Place>,
    /// The rule that would decide about their hop; none where there is none, or it is not certain.
    pub hop: Option<Place>,
    /// What it is.
    pub what: What,
    /// The unknown fact (perhaps one of several) that makes it possible but not certain.
    pub depends_on: Option<Fact>,
    /// One of the connections.
    pub example: Example,
    /// The rule to add, where one helps.
    pub add: Option<Addition>,
}

/// Kinds of findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Decided otherwise.
    Different(Why),
    /// Depends on a fact that is not known.
    Unknown(Fact),
    /// Refused today, and the hop would let it try: TLS that is relayed unread, from an address that may have other
    /// names. The gate could only close the address to all of them.
    Admitted,
    /// There is no hop address of this family.
    NoHopAddress,
    /// A mask is no prefix: the addresses were not looked at one by one.
    OddMask,
    /// There are more classes than are looked at.
    TooMany,
}

/// A connection of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// How it reaches the server today.
    pub how: How,
    /// A user, `None` for one that is in no rule.
    pub user: Option<Vec<u8>>,
    /// A database, `None` for one that is in no rule.
    pub database: Option<Vec<u8>>,
    /// Kind of session.
    pub replication: Replication,
}

/// A rule to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The line.
    pub line: String,
    /// In front of this one; at the end of the file where there is none.
    pub before: Option<Place>,
}

impl Rules {
    /// Judges every class of connections.
    ///
    /// `facts.interfaces` should be known: otherwise the host's own addresses but loopback count as foreign. With a rule
    /// for each finding added, survey again: one hop address stands for all foreign clients, so rules that ask some of
    /// them for one method and others for another cannot always be told apart.
    #[must_use]
    pub fn survey(&self, steering: &Steering, facts: &Facts) -> Survey {
        Surveyor::new(self, steering, facts).survey()
    }
}

impl Steering {
    /// The hop of a connection; `None` where there is no address for it.
    #[must_use]
    pub fn through(&self, original: How, facts: &Facts) -> Option<Through> {
        let How::Host { address, encryption } = original.canonical() else {
            return Some(Through { how: How::Local, passage: Passage::Unread });
        };
        let source = if facts.is_own(address) {
            address
        } else {
            match address {
                IpAddr::V4(_) => self.hop_v4?.into(),
                IpAddr::V6(_) => self.hop_v6?.into(),
            }
        };
        let (encryption, passage) = match (encryption, self.tls) {
            (Encryption::None, _) => (Encryption::None, Passage::Unread),
            // The proxy answers a request for encryption by GSSAPI with no.
            (Encryption::Gss, _) => (Encryption::None, Passage::Terminated),
            (Encryption::Tls, Tls::Relay) => (Encryption::Tls, Passage::Unread),
            (Encryption::Tls, Tls::ServerCertificate) => (Encryption::Tls, Passage::Terminated),
            (Encryption::Tls, Tls::OwnCertificate) => (Encryption::None, Passage::Terminated),
        };
        Some(Through { how: How::Host { address: source, encryption }, passage })
    }

    /// What would become of the start-up packets that can come in a connection which is relayed unread: TLS in relay
    /// mode, where user and database are not known before the server has decided. As [`Rules::hop`] for all of them.
    ///
    /// Costs as much as a survey of one address: keep the answer for as long as rules and facts are the same.
    #[must_use]
    pub fn unread(&self, rules: &Rules, original: How, facts: &Facts) -> Unread {
        Surveyor::new(rules, self, facts).unread(original)
    }
}

/// The gate for what cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Whatever comes is decided as without the hop. Go. (A refusal would name the hop's address.)
    Same,
    /// Whatever comes would be refused without the hop.
    Refused,
    /// Something may be decided otherwise, for example this.
    Different(Example),
}

impl fmt::Display for Addition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.before {
            Some(place) => write!(formatter, "{}   (in front of {place})", self.line),
            None => write!(formatter, "{}   (at the end)", self.line),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Different(why) => why.fmt(formatter),
            Self::Unknown(fact) => write!(formatter, "it depends on {fact}"),
            Self::Admitted => formatter.write_str("refused today, and the hop would not be"),
            Self::NoHopAddress => formatter.write_str("there is no hop_address of this family"),
            Self::OddMask => formatter.write_str("the mask is no prefix: not every address was looked at"),
            Self::TooMany => formatter.write_str("there are too many kinds of connections to look at all"),
        }
    }
}

/// The first column of a rule for a hop with this encryption that is like another rule.
pub(crate) fn connection_for(rule: &Rule, encryption: Encryption) -> Connection {
    match (rule.connection(), encryption) {
        (Connection::HostTls, Encryption::Tls) => Connection::HostTls,
        (Connection::HostNoTls, Encryption::None) => Connection::HostNoTls,
        _ => Connection::Host,
    }
}
