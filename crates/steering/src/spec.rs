//! What is steered, as the configuration says it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use agent_common::steering::{Destination, SLOTS_MAX, SOURCE_HEAD_BITS, Source, Tuple};
use model::id::DatabaseId;

use crate::listener::Family;

/// What happens to a connection when no listener is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailMode {
    /// It goes to the server itself, and is counted.
    Open,
    /// It is refused, and counted.
    Closed,
}

/// Where clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// This port of any address, IPv4 and IPv6.
    Port(u16),
    /// This address and port; an unspecified address means every address of its family (for `::`: both).
    Address(SocketAddr),
}

impl Target {
    pub(crate) fn key(self) -> Destination {
        match self {
            Self::Port(port) => Destination { address: Destination::ANY, port, reserved: 0 },
            Self::Address(address) => Destination { address: mapped(address.ip()), port: address.port(), reserved: 0 },
        }
    }
}

/// Sources that are never steered: an allowed-direct rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// `None`: more bits than the address has, or the address has bits behind the prefix (a typing error in a rule that
    /// lets connections pass).
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let (value, width) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let rest = value.checked_shl(u32::from(bits)).unwrap_or(0);
        (bits <= width && rest == 0).then_some(Self { address, bits })
    }

    /// Bits of the key, and the key.
    pub(crate) fn key(self, database: DatabaseId) -> (u32, Source) {
        let (family, before) = match self.address {
            IpAddr::V4(_) => (4, 96),
            IpAddr::V6(_) => (6, 0),
        };
        let source = Source { database: database.0, family, address: mapped(self.address) };
        (SOURCE_HEAD_BITS + before + u32::from(self.bits), source)
    }
}

/// How one database is steered.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Name of the pins; a word of letters, digits, `-` and `_`.
    pub name: String,
    /// Which database.
    pub database: DatabaseId,
    /// Where clients connect to.
    pub targets: Vec<Target>,
    /// Sources that are never steered.
    pub direct: Vec<Prefix>,
    /// Without a live listener.
    pub fail_mode: FailMode,
    /// From which age of its heartbeat a listener counts as hanging.
    pub heartbeat_limit: Duration,
    /// Listeners of each address family, at most [`Spec::SLOTS_MAX`].
    pub slots: u32,
}

impl Spec {
    /// Listeners of one address family.
    pub const SLOTS_MAX: u32 = SLOTS_MAX;
}

/// One listener's place: a number below [`Spec::slots`] and the address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Which.
    pub number: u32,
    /// Of which family.
    pub family: Family,
}

impl Slot {
    /// Index in the kernel's maps, and in the heartbeats.
    #[must_use]
    pub const fn index(self) -> u32 {
        match self.family {
            Family::V4 => self.number,
            Family::V6 => self.number + SLOTS_MAX,
        }
    }
}

/// An address in the form of the maps.
pub(crate) fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A connection in the form of the maps.
pub(crate) fn tuple(source: SocketAddr, destination: SocketAddr) -> Tuple {
    Tuple {
        source: mapped(source.ip()),
        destination: mapped(destination.ip()),
        source_port: source.port(),
        destination_port: destination.port(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_no_bits_behind_its_length() {
        let cases = [
            ("10.0.0.7", 32, true),
            ("10.0.0.0", 8, true),
            ("10.0.0.7", 8, false),
            ("10.0.0.7", 33, false),
            ("0.0.0.0", 0, true),
            ("fd00::", 8, true),
            ("fd00::1", 128, true),
            ("fd00::1", 127, false),
            ("::", 0, true),
        ];
        for (address, bits, good) in cases {
            let prefix = Prefix::new(address.parse().unwrap(), bits);
            assert_eq!(prefix.is_some(), good, "{address}/{bits}");
        }
    }

    #[test]
    fn every_ipv6_source_is_no_ipv4_source() {
        let (bits, everything) = Prefix::new("::".parse().unwrap(), 0).unwrap().key(DatabaseId(3));
        let (_, one) = Prefix::new("10.0.0.7".parse().unwrap(), 32).unwrap().key(DatabaseId(3));
        assert_eq!(bits, SOURCE_HEAD_BITS);
        assert_ne!(everything.family, one.family);
    }

    #[test]
    fn an_ipv4_prefix_counts_from_its_first_bit() {
        let (bits, source) = Prefix::new("10.1.0.0".parse().unwrap(), 16).unwrap().key(DatabaseId(1));
        assert_eq!(bits, SOURCE_HEAD_BITS + 96 + 16);
        assert_eq!(source.address[10..], [0xff, 0xff, 10, 1, 0, 0]);
    }
}
