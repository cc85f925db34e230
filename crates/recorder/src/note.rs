//! Events of connections as bytes. Rare, so plain.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use model::id::{DatabaseId, SocketCookie};
use model::mediation::{End, Listener, MediationEvent, Moment, Refusal, RelayCounts, Route};
use model::session::Encryption;
use model::time::BootTime;

use crate::codec::{Reader, Writer};

const LISTENERS: [Listener; 3] = [Listener::Steered, Listener::Plain, Listener::UnixSocket];
const ENCRYPTIONS: [Encryption; 4] = [Encryption::Undecided, Encryption::Plaintext, Encryption::Tls, Encryption::Gss];
const MOMENTS: [Moment; 3] = [Moment::Busy, Moment::Quiet, Moment::ServerFinished];

pub(crate) fn encode(event: &MediationEvent, out: &mut Vec<u8>) {
    let mut out = Writer(out);
    out.number(event.connection().0);
    match event {
        MediationEvent::Accepted { at, database, listener, route, .. } => {
            out.byte(0);
            out.number(at.0);
            out.number(u64::from(database.0));
            out.word(&LISTENERS, *listener);
            out.route(route);
        }
        MediationEvent::Connected { upstream, at, .. } => {
            out.byte(1);
            out.number(upstream.0);
            out.number(at.0);
        }
        MediationEvent::Encrypted { encryption, relayed, .. } => {
            out.byte(2);
            out.word(&ENCRYPTIONS, *encryption);
            out.byte(u8::from(*relayed));
        }
        MediationEvent::Counted { at, counts, moment, .. } => {
            out.byte(3);
            out.number(at.0);
            out.counts(counts);
            out.word(&MOMENTS, *moment);
        }
        MediationEvent::Refused { at, reason, sqlstate, message, .. } => {
            out.byte(4);
            out.number(at.0);
            out.word(Refusal::ALL, *reason);
            out.text(sqlstate);
            out.text(message);
        }
        MediationEvent::Ended { at, counts, by, .. } => {
            out.byte(5);
            out.number(at.0);
            out.counts(counts);
            out.word(End::ALL, *by);
        }
        MediationEvent::Identified { at, principal, .. } => {
            out.byte(6);
            out.number(at.0);
            out.principal(principal);
        }
    }
}

/// `None`: these bytes are no event.
pub(crate) fn decode(bytes: &[u8]) -> Option<MediationEvent> {
    let mut input = Reader(bytes);
    let connection = SocketCookie(input.number()?);
    let event = match input.byte()? {
        0 => MediationEvent::Accepted {
            connection,
            at: BootTime(input.number()?),
            database: DatabaseId(u16::try_from(input.number()?).ok()?),
            listener: input.word(&LISTENERS)?,
            route: input.route()?,
        },
        1 => MediationEvent::Connected {
            connection,
            upstream: SocketCookie(input.number()?),
            at: BootTime(input.number()?),
        },
        2 => {
            MediationEvent::Encrypted { connection, encryption: input.word(&ENCRYPTIONS)?, relayed: input.byte()? != 0 }
        }
        3 => MediationEvent::Counted {
            connection,
            at: BootTime(input.number()?),
            counts: input.counts()?,
            moment: input.word(&MOMENTS)?,
        },
        4 => MediationEvent::Refused {
            connection,
            at: BootTime(input.number()?),
            reason: input.word(Refusal::ALL)?,
            sqlstate: input.text()?,
            message: input.text()?,
        },
        5 => MediationEvent::Ended {
            connection,
            at: BootTime(input.number()?),
            counts: input.counts()?,
            by: input.word(End::ALL)?,
        },
        6 => MediationEvent::Identified { connection, at: BootTime(input.number()?), principal: input.principal()? },
        _ => return None,
    };
    input.end()?;
    Some(event)
}

impl Writer<'_> {
    fn counts(&mut self, counts: &RelayCounts) {
        let RelayCounts {
            from_client,
            to_client,
            to_upstream,
            from_upstream,
            messages_to_upstream,
            messages_to_client,
            masked_cells,
        } = *counts;
        for number in [from_client, to_client, to_upstream, from_upstream] {
            self.number(number);
        }
        for number in [messages_to_upstream, messages_to_client, masked_cells] {
            self.number(number);
        }
    }

    fn route(&mut self, route: &Route) {
        match route {
            Route::Tcp { client, destination } => {
                self.byte(0);
                self.address(client);
                self.address(destination);
            }
            Route::Unix { pid, uid, gid } => {
                self.byte(1);
                for number in [pid, uid, gid] {
                    self.number(u64::from(*number));
                }
            }
        }
    }

    fn address(&mut self, address: &SocketAddr) {
        let (family, bytes) = match address.ip() {
            IpAddr::V4(v4) => (4, v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => (6, v6.octets()),
        };
        self.byte(family);
        self.bytes(&bytes);
        self.number(u64::from(address.port()));
    }
}

impl Reader<'_> {
    fn counts(&mut self) -> Option<RelayCounts> {
        Some(RelayCounts {
            from_client: self.number()?,
            to_client: self.number()?,
            to_upstream: self.number()?,
            from_upstream: self.number()?,
            messages_to_upstream: self.number()?,
            messages_to_client: self.number()?,
            masked_cells: self.number()?,
        })
    }

    fn route(&mut self) -> Option<Route> {
        match self.byte()? {
            0 => Some(Route::Tcp { client: self.address()?, destination: self.address()? }),
            1 => Some(Route::Unix { pid: self.small()?, uid: self.small()?, gid: self.small()? }),
            _ => None,
        }
    }

    fn address(&mut self) -> Option<SocketAddr> {
        let family = self.byte()?;
        let bytes: [u8; 16] = self.take(16)?.try_into().ok()?;
        let port = u16::try_from(self.number()?).ok()?;
        let v6 = Ipv6Addr::from(bytes);
        let ip = if family == 4 { IpAddr::V4(v6.to_ipv4_mapped()?) } else { IpAddr::V6(v6) };
        Some(SocketAddr::new(ip, port))
    }
}
