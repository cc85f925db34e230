//! Which databases are guarded, and which class a direct session of them has.

use std::net::IpAddr;
use std::sync::Arc;

use model::Known;
use model::coverage::{BypassReason, Class};
use model::session::{Origin, Session, Transport};
use model::time::BootTime;

/// A database whose clients are sent through the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Since when TCP connections are steered.
    pub since: BootTime,
    /// Since when the Unix socket is taken over.
    pub socket_since: BootTime,
    /// Addresses that are steered.
    pub steered: Vec<Steered>,
    /// Who may go directly, by the configuration.
    pub direct: Vec<DirectRule>,
    /// Spans in which the fail mode let connections pass, because no worker lived; `None`: it still does.
    pub failed_open: Vec<(BootTime, Option<BootTime>)>,
}

/// A port in a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steered {
    /// Inode number of the namespace.
    pub network_namespace: u32,
    /// The port.
    pub port: u16,
}

/// A named permission to go directly. A session that fits any of its parts may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectRule {
    /// Name in records and metrics.
    pub name: Arc<str>,
    /// Networks of clients.
    pub sources: Vec<Network>,
    /// Cgroups of local clients (ids, as in process records).
    pub cgroups: Vec<u64>,
}

/// An address with the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// Bits that must be equal; more than the address has count as all.
    pub prefix: u8,
}

impl Network {
    /// Whether `address` lies in it. IPv4 in its mapped form is IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = (network.to_bits() ^ address.to_bits()).leading_zeros();
                differing >= u32::from(self.prefix).min(32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = (network.to_bits() ^ address.to_bits()).leading_zeros();
                differing >= u32::from(self.prefix).min(128)
            }
            _ => false,
        }
    }
}

impl Guard {
    /// The class of a session that does not go through the proxy.
    pub(crate) fn class_of(&self, session: &Session) -> Class {
        if let Some(rule) = self.direct.iter().find(|rule| rule.permits(session)) {
            return Class::AllowedDirect(Arc::clone(&rule.name));
        }
        Class::Bypass(self.reason(session))
    }

    fn reason(&self, session: &Session) -> BypassReason {
        let since = match session.transport {
            Transport::Tcp { .. } => self.since,
            Transport::Unix { .. } => self.socket_since,
        };
        let Some(began) = beginning(session).filter(|began| *began >= since) else {
            return BypassReason::BeforeSteering;
        };
        let Transport::Tcp { server, network_namespace, .. } = &session.transport else {
            return BypassReason::UnixSocket;
        };
        let address = Steered { network_namespace: *network_namespace, port: server.port() };
        if !self.steered.is_empty() && !self.steered.contains(&address) {
            return BypassReason::UnsteeredAddress;
        }
        let lies_in = |(from, to): &(BootTime, Option<BootTime>)| began >= *from && to.is_none_or(|to| began <= to);
        if self.failed_open.iter().any(lies_in) { BypassReason::FailOpen } else { BypassReason::TcpDirect }
    }
}

/// When the session began: seen, or by the start of the server process that was forked for it.
fn beginning(session: &Session) -> Option<BootTime> {
    match session.origin {
        Origin::Opened => Some(session.opened),
        Origin::MissedOpen | Origin::FoundAtStart => session.server.known().map(|server| server.key.start),
    }
}

impl DirectRule {
    fn permits(&self, session: &Session) -> bool {
        let by_source = match &session.transport {
            Transport::Tcp { client, .. } => self.sources.iter().any(|network| network.contains(client.ip())),
            Transport::Unix { .. } => false,
        };
        let by_cgroup = matches!(&session.client, Known::Known(client) if self.cgroups.contains(&client.cgroup));
        by_source || by_cgroup
    }
}
