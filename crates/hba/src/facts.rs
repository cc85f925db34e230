//! What only the server's host and catalogue know, as far as the caller knows it, and what follows where it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::address::Network;

/// Facts about the server. The default knows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Interfaces in the server's network namespace.
    pub interfaces: Interfaces,
    /// Roles with all their members, direct and indirect, superusers only where they are members. A role that is not
    /// here is unknown, not empty.
    pub members: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
}

/// Interfaces, for `samehost` and `samenet`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Interfaces {
    /// Nobody looked.
    #[default]
    Unknown,
    /// Each address with its mask, as `getifaddrs(3)` lists them.
    Known(Vec<Network>),
}

impl Facts {
    /// Whether this is an address of the server's host: then a hop can have it too. Loopback always is.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        let listed = match &self.interfaces {
            Interfaces::Unknown => false,
            Interfaces::Known(networks) => networks.iter().any(|network| network.address() == address),
        };
        listed || address.is_loopback()
    }
}

/// A fact that a decision hangs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The user is a member of the role.
    Member {
        /// Who.
        user: Vec<u8>,
        /// Of what.
        role: Vec<u8>,
    },
    /// The name matches the regular expression.
    Pattern {
        /// The name.
        name: Vec<u8>,
        /// The expression without its slash.
        pattern: Vec<u8>,
    },
    /// The address has this name, or one that ends so.
    HostName {
        /// The peer's address.
        address: IpAddr,
        /// As in the file.
        name: Vec<u8>,
    },
    /// The address is one of the host.
    SameHost(IpAddr),
    /// The address is in a network of the host.
    SameNet(IpAddr),
}

/// A name, or what the survey's stand-in for all others means.
fn shown(name: &[u8]) -> String {
    if name.first() == Some(&0) { "another name".into() } else { format!("\"{}\"", String::from_utf8_lossy(name)) }
}

impl fmt::Display for Fact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member { user, role } => {
                write!(formatter, "whether {} is a member of {}", shown(user), shown(role))
            }
            Self::Pattern { name, pattern } => {
                write!(formatter, "whether {} matches the pattern {}", shown(name), shown(pattern))
            }
            Self::HostName { address, name } => write!(formatter, "whether {address} is called {}", shown(name)),
            Self::SameHost(address) => write!(formatter, "whether {address} is an address of the server"),
            Self::SameNet(address) => write!(formatter, "whether {address} is in a network of the server"),
        }
    }
}

/// Facts and, for the unknown ones, what is assumed on the branch that is looked at.
pub(crate) struct View<'a> {
    facts: &'a Facts,
    assumed: &'a [(Fact, bool)],
}

impl View<'_> {
    /// Whether it holds; the fact itself where that is not known and not assumed.
    pub(crate) fn holds(&self, fact: Fact) -> Result<bool, Fact> {
        let known = match (&fact, &self.facts.interfaces) {
            // A name of the survey that stands for many is in no list, and may be a member all the same.
            (Fact::Member { user, .. }, _) if user.first() == Some(&0) => None,
            (Fact::Member { user, role }, _) => self.facts.members.get(role).map(|members| members.contains(user)),
            (Fact::SameHost(address), Interfaces::Known(networks)) => {
                Some(networks.iter().any(|network| network.address() == *address))
            }
            (Fact::SameNet(address), Interfaces::Known(networks)) => {
                Some(networks.iter().any(|network| network.contains(*address)))
            }
            _ => None,
        };
        let assumed = || self.assumed.iter().find(|(assumed, _)| *assumed == fact).map(|(_, holds)| *holds);
        known.or_else(assumed).ok_or(fact)
    }
}

/// Branches that are tried: six unknown facts. More leave the question open.
const BRANCHES_MAX: usize = 64;

/// Results of all branches.
pub(crate) struct Branches<T> {
    /// Distinct results. Never empty.
    pub(crate) results: Vec<T>,
    /// The first unknown fact that was asked for.
    pub(crate) unknown: Option<Fact>,
    /// There were more branches than are tried: `results` says nothing.
    pub(crate) cut: bool,
}

/// Runs `question` once for each combination of the unknown facts that it asks for.
pub(crate) fn branch<T: PartialEq>(facts: &Facts, question: impl Fn(&View<'_>) -> Result<T, Fact>) -> Branches<T> {
    let mut branches = Branches { results: Vec::new(), unknown: None, cut: false };
    let mut open: Vec<Vec<(Fact, bool)>> = vec![Vec::new()];
    let mut tried = 0_usize;
    while let Some(assumed) = open.pop() {
        match question(&View { facts, assumed: &assumed }) {
            Ok(result) if branches.results.contains(&result) => {}
            Ok(result) => branches.results.push(result),
            Err(fact) => {
                branches.unknown.get_or_insert_with(|| fact.clone());
                for holds in [false, true] {
                    let mut next = assumed.clone();
                    next.push((fact.clone(), holds));
                    open.push(next);
                }
            }
        }
        tried = tried.saturating_add(1);
        if tried >= BRANCHES_MAX.saturating_mul(2) {
            branches.cut = !open.is_empty();
            break;
        }
    }
    branches
}
