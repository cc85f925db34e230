//! The addresses that lead to a listener, as the kernel's map has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use agent_common::refusal::RefusedDestination;

/// Where a process may not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination(pub(super) RefusedDestination);

impl Destination {
    /// All ways to a listener: `own` are the addresses of its network namespace, which has this cookie. A listener on no
    /// address is reached by all of them.
    #[must_use]
    pub fn all(bound: SocketAddr, own: &[IpAddr], namespace: u64) -> Vec<Self> {
        let to = |address| keys(address, bound.port(), namespace);
        let (takes_v4, takes_v6) = match bound.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => (true, false),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => (true, true),
            one => return to(one),
        };
        let takes = |address: &&IpAddr| if address.is_ipv4() { takes_v4 } else { takes_v6 };
        let mut all: Vec<Self> = own.iter().filter(takes).flat_map(|address| to(*address)).collect();
        all.push(key(RefusedDestination::LOOPBACK_V4, bound.port(), namespace));
        all
    }
}

const fn key(address: [u8; 16], port: u16, namespace: u64) -> Destination {
    Destination(RefusedDestination { address, namespace, port, reserved: [0; 6] })
}

/// The entries for one address. It means the same in every network namespace, unless it is one that each has for itself.
fn keys(address: IpAddr, port: u16, namespace: u64) -> Vec<Destination> {
    let (bytes, is_of_one_namespace) = match address {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().octets(), v4.is_loopback() || v4.is_link_local()),
        IpAddr::V6(v6) => (v6.octets(), v6.is_loopback() || v6.is_unicast_link_local()),
    };
    let here = key(bytes, port, namespace);
    if is_of_one_namespace { vec![here] } else { vec![here, key(bytes, port, 0)] }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check(bound: &str, own: &[&str], expected: &[(&str, bool)]) {
        let own: Vec<IpAddr> = own.iter().map(|address| address.parse().unwrap()).collect();
        let bound: SocketAddr = bound.parse().unwrap();
        let keys = Destination::all(bound, &own, 7);
        let shown = |Destination(key): Destination| {
            assert_eq!(key.port, bound.port());
            (Ipv6Addr::from(key.address).to_canonical().to_string(), key.namespace == 0)
        };
        let found: BTreeSet<(String, bool)> = keys.into_iter().map(shown).collect();
        let expected: BTreeSet<(String, bool)> =
            expected.iter().map(|(address, everywhere)| ((*address).to_owned(), *everywhere)).collect();
        assert_eq!(found, expected, "{bound} on a host with {own:?}");
    }

    #[test]
    fn a_listener_is_reached_by_its_address() {
        check("127.0.0.1:5432", &["127.0.0.1", "10.0.0.5"], &[("127.0.0.1", false)]);
        check("10.0.0.5:5432", &["127.0.0.1", "10.0.0.5"], &[("10.0.0.5", false), ("10.0.0.5", true)]);
        check("[fe80::5]:5432", &["fe80::5"], &[("fe80::5", false)]);
    }

    #[test]
    fn a_listener_on_no_address_is_reached_by_all_of_its_family() {
        let own = ["127.0.0.1", "10.0.0.5", "::1", "fd00::5"];
        let v4 = [("127.0.0.1", false), ("10.0.0.5", false), ("10.0.0.5", true), ("127.0.0.0", false)];
        check("0.0.0.0:5432", &own, &v4);
        let v6 = [("::1", false), ("fd00::5", false), ("fd00::5", true)];
        check("[::]:5432", &own, &[v4.as_slice(), v6.as_slice()].concat());
    }
}
