//! Which connections stand for all.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Example, Listens, Steering};
use crate::address::{Address, Network};
use crate::attempt::{Encryption, How, Replication, cut};
use crate::decision::{Asked, Name};
use crate::facts::{Facts, Interfaces};
use crate::name::Word;
use crate::rule::{Connection, Rule};
use crate::rules::Rules;

/// Names that no start-up packet can have: it ends them with NUL.
const OTHER: &[u8] = b"\0another";
const OTHER_DATABASE: &[u8] = b"\0another database";

/// Names of a file.
pub(super) struct Names {
    databases: BTreeSet<Vec<u8>>,
    users: BTreeSet<Vec<u8>>,
}

impl Names {
    pub(super) fn of(rules: &Rules) -> Self {
        let literal = |word: &Word| match word {
            // The server compares with a cut name, so longer ones match nothing.
            Word::Name(name) if cut(name) == name.as_slice() => Some(name.clone()),
            Word::Member(role) => Some(role.clone()),
            _ => None,
        };
        let databases = rules.rules().iter().flat_map(|rule| &rule.databases).filter_map(literal).collect();
        let users = rules.rules().iter().flat_map(|rule| &rule.users).filter_map(literal).collect();
        Self { databases, users }
    }

    /// Every combination that the rules could tell apart.
    pub(super) fn asked(&self) -> impl Iterator<Item = Asked<'_>> {
        let name = |text| Name { text, stands_for_many: matches!(text, OTHER | OTHER_DATABASE) };
        let users = || self.users.iter().map(Vec::as_slice).chain([OTHER]);
        let databases = || self.databases.iter().map(Vec::as_slice).chain([OTHER_DATABASE]);
        let apart = users().flat_map(move |user| databases().map(move |database| (user, database)));
        let one = self.users.union(&self.databases).map(Vec::as_slice).chain([OTHER]).map(|both| (both, both));
        let ordinary = apart.chain(one).map(move |(user, database)| Asked {
            user: name(user),
            database: name(database),
            replication: Replication::No,
        });
        let replication = users().map(move |user| Asked {
            user: name(user),
            database: name(OTHER_DATABASE),
            replication: Replication::Physical,
        });
        ordinary.chain(replication)
    }

    pub(super) fn example(&self, asked: &Asked<'_>, how: How) -> Example {
        let known = |name: Name<'_>| (!name.stands_for_many).then(|| name.text.to_vec());
        Example { how, user: known(asked.user), database: known(asked.database), replication: asked.replication }
    }
}

pub(super) fn has_odd_mask(rule: &Rule) -> bool {
    matches!(rule.address(), Address::Network(network) if !network.is_prefix())
}

/// Addresses and encryption of every class; of addresses that all rules treat alike, one.
pub(super) fn ways(rules: &Rules, steering: &Steering, facts: &Facts) -> Vec<How> {
    let gss = rules.rules().iter().any(|rule| rule.connection() == Connection::HostGss);
    let mut encryptions = vec![Encryption::None, Encryption::Tls];
    encryptions.extend(gss.then_some(Encryption::Gss));
    let mut signatures = BTreeSet::new();
    let mut ways = Vec::new();
    for address in candidates(rules, steering, facts) {
        let listens = match steering.listens {
            Listens::V4 => address.is_ipv4(),
            Listens::V6 => address.is_ipv6(),
            Listens::Both => true,
        };
        if listens && signatures.insert(signature(rules, facts, address)) {
            ways.extend(encryptions.iter().map(|&encryption| How::Host { address, encryption }));
        }
    }
    ways
}

/// What the rules and the hop make of an address.
fn signature(rules: &Rules, facts: &Facts, address: IpAddr) -> (bool, Option<IpAddr>, Vec<bool>) {
    let network = |rule: &Rule| matches!(rule.address(), Address::Network(network) if network.contains(address));
    let mut signature: Vec<bool> = rules.rules().iter().map(network).collect();
    if let Interfaces::Known(interfaces) = &facts.interfaces {
        signature.push(interfaces.iter().any(|interface| interface.contains(address)));
    }
    // An own address is its own hop: each is a class.
    (address.is_ipv4(), facts.is_own(address).then_some(address), signature)
}

/// At least one address of every class, likely looking ones first.
fn candidates(rules: &Rules, steering: &Steering, facts: &Facts) -> Vec<IpAddr> {
    let networks = rules.rules().iter().filter_map(|rule| match rule.address() {
        Address::Network(network) => Some(*network),
        _ => None,
    });
    let interfaces = match &facts.interfaces {
        Interfaces::Unknown => Vec::new(),
        Interfaces::Known(interfaces) => interfaces.clone(),
    };
    let all = [
        Network::V4 { address: 0, mask: 0 },
        Network::V6 { address: 0, mask: 0 },
        // Loopback: own addresses, whoever looked.
        Network::V4 { address: Ipv4Addr::LOCALHOST.to_bits(), mask: 0xff00_0000 },
        Network::V6 { address: Ipv6Addr::LOCALHOST.to_bits(), mask: u128::MAX },
    ];
    let hops = [steering.hop_v4.map(IpAddr::V4), steering.hop_v6.map(IpAddr::V6)].into_iter().flatten();
    let mut found: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    found.extend(interfaces.iter().map(Network::address));
    found.extend(hops);
    for network in networks.chain(interfaces).chain(all) {
        let (first, last) = network.ends();
        // Inside before outside, and not the address of the network itself if there is another.
        found.extend(
            [after(first), before(last), Some(first), Some(last), before(first), after(last)].into_iter().flatten(),
        );
    }
    found
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_sub(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_sub(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}
