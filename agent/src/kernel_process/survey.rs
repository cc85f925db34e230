//! What `pg_hba.conf` would do to the clients of a database that is steered, as text for an operator.

use std::net::IpAddr;

use hba::survey::{Finding, Listens, Steering, Survey, Tls};

use super::access::{self, Access};
use crate::config::proxy as config;

/// Findings of a survey that an error shows.
const FINDINGS_SHOWN: usize = 20;
/// Rules for replication that a note shows.
const RULES_SHOWN: usize = 5;

/// Compares what the rules say about clients with what they say about their hops. `listening`: the addresses that the
/// server listens on, if they are known; `interfaces`: those of its host, with their masks.
pub(crate) fn survey(
    access: &Access,
    guard: &config::Guard,
    listening: impl IntoIterator<Item = IpAddr>,
    interfaces: &[(IpAddr, IpAddr)],
) -> Survey {
    let mut steering = Steering { hop_v4: None, hop_v6: None, tls: tls(&guard.tls), listens: listens(listening) };
    for address in &guard.hop_address {
        match address {
            IpAddr::V4(v4) => steering.hop_v4 = Some(*v4),
            IpAddr::V6(v6) => steering.hop_v6 = Some(*v6),
        }
    }
    access.rules.survey(&steering, &access::facts(interfaces))
}

/// What would be decided otherwise; `None`: nothing.
pub(crate) fn differences(survey: &Survey) -> Option<String> {
    // What applies to several kinds of connection is said once.
    let mut findings: Vec<String> = Vec::new();
    for finding in survey.findings.iter().map(finding) {
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    (!findings.is_empty()).then(|| few(&findings, FINDINGS_SHOWN, "; "))
}

/// Who replicates, and that it goes through the proxy; `None`: nobody may.
pub(crate) fn replication(survey: &Survey) -> Option<String> {
    let rules: Vec<String> = survey.replication.iter().map(ToString::to_string).collect();
    (!rules.is_empty()).then(|| {
        format!(
            "standbys and backups go through the proxy, too, and end with it, by {}; name them in [[database.proxy.direct]] \
             if they shall not",
            few(&rules, RULES_SHOWN, ", ")
        )
    })
}

/// The first of them, and how many there are more.
fn few(all: &[String], shown: usize, between: &str) -> String {
    let (first, rest) = all.split_at(all.len().min(shown));
    let more = if rest.is_empty() { String::new() } else { format!("{between}and {} more", rest.len()) };
    first.join(between) + &more
}

/// A finding for an operator: what, which line, what to do.
fn finding(finding: &Finding) -> String {
    let line = finding.original.as_ref().map_or(String::new(), |place| format!("{place}: "));
    let hop = finding.hop.as_ref().map_or(String::new(), |place| format!(" (the hop meets {place})"));
    let add = finding.add.as_ref().map_or(String::new(), |add| format!("; add: {add}"));
    format!("{line}{}{hop}{add}", finding.what)
}

/// How the proxy treats TLS, in the words of the rules.
const fn tls(tls: &config::Tls) -> Tls {
    match tls {
        config::Tls::Relay => Tls::Relay,
        config::Tls::ServerCertificate(_) => Tls::ServerCertificate,
        config::Tls::OwnCertificate(_) => Tls::OwnCertificate,
    }
}

/// Families of the server's listeners. An address of IPv6 takes no clients of IPv4: PostgreSQL asks for that.
fn listens(addresses: impl IntoIterator<Item = IpAddr>) -> Listens {
    let (mut v4, mut v6) = (false, false);
    for address in addresses {
        match address {
            IpAddr::V4(_) => v4 = true,
            IpAddr::V6(_) => v6 = true,
        }
    }
    match (v4, v6) {
        (true, false) => Listens::V4,
        (false, true) => Listens::V6,
        // Without any they are not known.
        (true, true) | (false, false) => Listens::Both,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_without_a_listener_is_not_looked_at() {
        let parse = |addresses: &[&str]| listens(addresses.iter().map(|address| address.parse().expect("an address")));
        assert_eq!(parse(&["0.0.0.0", "127.0.0.1"]), Listens::V4);
        assert_eq!(parse(&["::"]), Listens::V6);
        assert_eq!(parse(&["127.0.0.1", "::1"]), Listens::Both);
        assert_eq!(parse(&[]), Listens::Both, "not known");
    }

    #[test]
    fn a_long_list_ends_with_a_number() {
        let all: Vec<String> = (0..4).map(|number| number.to_string()).collect();
        assert_eq!(few(&all, 4, ", "), "0, 1, 2, 3");
        assert_eq!(few(&all, 2, ", "), "0, 1, and 2 more");
    }
}
