//! Events of connections as bytes: tags and fixed-width numbers, texts with their length. Rare, so plain.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use model::id::{DatabaseId, SocketCookie};
use model::mediation::{End, Listener, MediationEvent, Refusal, RelayCounts, Route};
use model::session::Encryption;
use model::time::BootTime;

/// Longest text of an event; a longer one is cut.
const TEXT_BYTES_MAX: usize = 1024;

const LISTENERS: [Listener; 3] = [Listener::Steered, Listener::Plain, Listener::UnixSocket];
const ENCRYPTIONS: [Encryption; 4] = [Encryption::Undecided, Encryption::Plaintext, Encryption::Tls, Encryption::Gss];

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
        MediationEvent::Counted { at, counts, quiet, .. } => {
            out.byte(3);
            out.number(at.0);
            out.counts(counts);
            out.byte(u8::from(*quiet));
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
            quiet: input.byte()? != 0,
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
        _ => return None,
    };
    input.0.is_empty().then_some(event)
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_ne_bytes());
    }

    /// A value by its place among all.
    fn word<T: PartialEq>(&mut self, all: &[T], value: T) {
        let place = all.iter().position(|known| *known == value).unwrap_or(all.len());
        self.byte(u8::try_from(place).unwrap_or(u8::MAX));
    }

    fn text(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn counts(&mut self, counts: &RelayCounts) {
        let RelayCounts {
            from_client,
            to_client,
            to_upstream,
            from_upstream,
            messages_to_upstream,
            messages_to_client,
        } = *counts;
        for number in [from_client, to_client, to_upstream, from_upstream, messages_to_upstream, messages_to_client] {
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
        self.0.extend_from_slice(&bytes);
        self.number(u64::from(address.port()));
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_ne_bytes)
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn word<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(usize::from(self.byte()?)).copied()
    }

    fn text(&mut self) -> Option<Arc<str>> {
        let length = usize::try_from(self.number()?).ok().filter(|length| *length <= TEXT_BYTES_MAX)?;
        std::str::from_utf8(self.take(length)?).ok().map(Arc::from)
    }

    fn counts(&mut self) -> Option<RelayCounts> {
        Some(RelayCounts {
            from_client: self.number()?,
            to_client: self.number()?,
            to_upstream: self.number()?,
            from_upstream: self.number()?,
            messages_to_upstream: self.number()?,
            messages_to_client: self.number()?,
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
