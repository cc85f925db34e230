//! The address column: networks, keywords, host names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::mistake::{Wrong, shown};
use crate::token::Token;

/// Addresses that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `all`
    All,
    /// `samehost`: exactly the addresses of the server's interfaces (so 127.0.0.2 is none).
    SameHost,
    /// `samenet`: their networks (so 127.0.0.2 is one).
    SameNet,
    /// Address and mask.
    Network(Network),
    /// A host name, or with a leading dot the end of one. Only the server's resolver knows.
    Name(Vec<u8>),
}

/// An address and a mask, which need not be a prefix. Families never match each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// IPv4
    V4 {
        /// The address, host bits included.
        address: u32,
        /// Bits that must be equal.
        mask: u32,
    },
    /// IPv6
    V6 {
        /// The address, host bits included.
        address: u128,
        /// Bits that must be equal.
        mask: u128,
    },
}

impl Network {
    /// An address with a mask of the same family; `None` where they differ.
    #[must_use]
    pub fn new(address: IpAddr, mask: IpAddr) -> Option<Self> {
        match (address, mask) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => {
                Some(Self::V4 { address: address.to_bits(), mask: mask.to_bits() })
            }
            (IpAddr::V6(address), IpAddr::V6(mask)) => {
                Some(Self::V6 { address: address.to_bits(), mask: mask.to_bits() })
            }
            _ => None,
        }
    }

    /// An address with its first `bits`; `None` where it does not have so many.
    #[must_use]
    pub fn prefix(address: IpAddr, bits: u32) -> Option<Self> {
        match address {
            IpAddr::V4(address) if bits <= 32 => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
                Some(Self::V4 { address: address.to_bits(), mask })
            }
            IpAddr::V6(address) if bits <= 128 => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
                Some(Self::V6 { address: address.to_bits(), mask })
            }
            _ => None,
        }
    }

    /// Whether the network has this address.
    #[must_use]
    pub fn contains(&self, candidate: IpAddr) -> bool {
        match (self, candidate) {
            (Self::V4 { address, mask }, IpAddr::V4(candidate)) => (address ^ candidate.to_bits()) & mask == 0,
            (Self::V6 { address, mask }, IpAddr::V6(candidate)) => (address ^ candidate.to_bits()) & mask == 0,
            _ => false,
        }
    }

    /// The address with its host bits.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        match self {
            Self::V4 { address, .. } => Ipv4Addr::from_bits(*address).into(),
            Self::V6 { address, .. } => Ipv6Addr::from_bits(*address).into(),
        }
    }

    /// Whether the mask is a prefix, so that the network is one range of addresses.
    #[must_use]
    pub const fn is_prefix(&self) -> bool {
        match self {
            Self::V4 { mask, .. } => mask.leading_ones() + mask.trailing_zeros() >= 32,
            Self::V6 { mask, .. } => mask.leading_ones() + mask.trailing_zeros() >= 128,
        }
    }

    /// First and last address, for a prefix.
    #[must_use]
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        match self {
            Self::V4 { address, mask } => {
                (Ipv4Addr::from_bits(address & mask).into(), Ipv4Addr::from_bits(address | !mask).into())
            }
            Self::V6 { address, mask } => {
                (Ipv6Addr::from_bits(address & mask).into(), Ipv6Addr::from_bits(address | !mask).into())
            }
        }
    }
}

/// The first token of the column; a network may need the next one for its mask.
pub(crate) enum Column {
    Whole(Address),
    WithoutMask(IpAddr),
}

pub(crate) fn parse(token: &Token) -> Result<Column, Wrong> {
    if token.is("all") {
        return Ok(Column::Whole(Address::All));
    }
    if token.is("samehost") {
        return Ok(Column::Whole(Address::SameHost));
    }
    if token.is("samenet") {
        return Ok(Column::Whole(Address::SameNet));
    }
    let mut parts = token.text.splitn(2, |&byte| byte == b'/');
    let host = parts.next().unwrap_or_default();
    match (numeric(host), parts.next()) {
        (Some(address), None) => Ok(Column::WithoutMask(address)),
        (None, None) => Ok(Column::Whole(Address::Name(host.to_vec()))),
        (None, Some(_)) => Err(Wrong::NameWithMask(shown(&token.text))),
        (Some(address), Some(bits)) => {
            let network = number_of_bits(bits).and_then(|bits| Network::prefix(address, bits));
            let network = network.ok_or_else(|| Wrong::MaskBits(shown(&token.text)))?;
            Ok(Column::Whole(Address::Network(network)))
        }
    }
}

/// The mask column.
pub(crate) fn with_mask(address: IpAddr, mask: &Token) -> Result<Address, Wrong> {
    let network = numeric(&mask.text).and_then(|mask| Network::new(address, mask));
    Ok(Address::Network(network.ok_or_else(|| Wrong::Mask(shown(&mask.text)))?))
}

/// What C's `strtol` makes of it, for the values that matter.
fn number_of_bits(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    match digits.strip_prefix('-') {
        Some(zero) if !zero.is_empty() && zero.bytes().all(|byte| byte == b'0') => Some(0),
        Some(_) => None,
        None => digits.parse().ok(),
    }
}

/// A numeric address as the C library reads it: also `127.1`, `0x7f.1` and `010.0.0.1` (octal).
///
/// An IPv6 address with a zone is none here: whether the zone exists, only the server's host knows.
fn numeric(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if text.contains(':') { text.parse::<Ipv6Addr>().ok().map(IpAddr::V6) } else { numeric_v4(text).map(IpAddr::V4) }
}

fn numeric_v4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, bytes) = parts.split_last()?;
    if bytes.len() > 3 {
        return None;
    }
    let mut bits = 0_u32;
    let mut shift = 32_u32;
    for byte in bytes {
        shift = shift.checked_sub(8)?;
        bits |= u32::from(u8::try_from(*byte).ok()?).checked_shl(shift)?;
    }
    // The last part fills what is left.
    if u64::from(*last) >= 1_u64.checked_shl(shift)? {
        return None;
    }
    Some(Ipv4Addr::from_bits(bits | last))
}

fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // `from_str_radix` would take a sign.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.is_prefix()) {
            (Self::V4 { mask, .. }, true) => write!(formatter, "{}/{}", self.address(), mask.leading_ones()),
            (Self::V6 { mask, .. }, true) => write!(formatter, "{}/{}", self.address(), mask.leading_ones()),
            (Self::V4 { mask, .. }, false) => write!(formatter, "{} {}", self.address(), Ipv4Addr::from_bits(*mask)),
            (Self::V6 { mask, .. }, false) => write!(formatter, "{} {}", self.address(), Ipv6Addr::from_bits(*mask)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_addresses_are_those_of_the_c_library() {
        let cases = [
            ("127.0.0.1", Some("127.0.0.1")),
            ("127.1", Some("127.0.0.1")),
            ("10.1.258", Some("10.1.1.2")),
            ("2130706433", Some("127.0.0.1")),
            ("0x7f.1", Some("127.0.0.1")),
            ("010.0.0.1", Some("8.0.0.1")),
            ("08.0.0.1", None),
            ("256.0.0.1", None),
            ("1.2.3.4.5", None),
            ("1.2.3.", None),
            ("+1.2.3.4", None),
            ("", None),
            ("::1", Some("::1")),
            ("::ffff:10.0.0.1", Some("::ffff:10.0.0.1")),
            ("fe80::1%eth0", None),
            ("localhost", None),
        ];
        for (text, expected) in cases {
            assert_eq!(numeric(text.as_bytes()), expected.map(|address| address.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn networks_compare_masked_bits_within_a_family() {
        let contains = |address: &str, bits, candidate: &str| {
            Network::prefix(address.parse().unwrap(), bits).unwrap().contains(candidate.parse().unwrap())
        };
        assert!(contains("10.1.2.3", 8, "10.255.0.1"));
        assert!(!contains("10.1.2.3", 16, "10.2.0.1"));
        assert!(contains("0.0.0.0", 0, "255.255.255.255"));
        assert!(!contains("0.0.0.0", 0, "::1"));
        assert!(!contains("::", 0, "10.0.0.1"));
        assert!(contains("::", 0, "::ffff:10.0.0.1"));
        let odd = Network::new("10.0.0.1".parse().unwrap(), "255.0.0.255".parse().unwrap()).unwrap();
        assert!(odd.contains("10.9.9.1".parse().unwrap()) && !odd.contains("10.9.9.2".parse().unwrap()));
        assert!(!odd.is_prefix());
    }
}
