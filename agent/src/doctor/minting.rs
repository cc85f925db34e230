//! The lines of `pg_hba.conf` that minted roles need.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use hba::Rules;
use hba::attempt::{Attempt, Encryption, How, Replication};
use hba::decision::Decision;
use hba::facts::Facts;
use hba::method::Method;
use mint::name::RoleName;

use super::Finding;
use crate::config::login::Minted;
use crate::config::proxy::{Guard, Tls};

/// Lines that are not there, and would let in whoever makes roles, and a role of each group. A rule about something that
/// is not known here is taken for none.
pub(super) fn missing_lines(rules: &Rules, guard: &Guard, minted: &Minted) -> Vec<String> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let hops = if guard.hop_address.is_empty() { vec![loopback] } else { guard.hop_address.clone() };
    let encryption = match guard.tls {
        Tls::ServerCertificate(_) => Encryption::Tls,
        Tls::Relay | Tls::OwnCertificate(_) => Encryption::None,
    };
    let minter = How::Host { address: loopback, encryption: Encryption::None };
    let mut lines = Vec::new();
    if !lets_in(rules, minter, &minted.user, &Facts::default()) {
        lines.push(line(&minted.user, loopback));
    }
    let role = RoleName::new([0; mint::name::ENTROPY_BYTES]);
    let groups: BTreeSet<&str> = minted.roles.iter().map(|entry| entry.role.as_str()).collect();
    for group in &groups {
        let members = groups.iter().map(|other| {
            let is_member = other == group;
            (other.as_bytes().to_vec(), is_member.then(|| role.as_str().as_bytes().to_vec()).into_iter().collect())
        });
        let facts = Facts { members: members.collect::<BTreeMap<_, _>>(), ..Facts::default() };
        for address in &hops {
            let how = How::Host { address: *address, encryption };
            if !lets_in(rules, how, role.as_str(), &facts) {
                lines.push(line(&format!("+{group}"), *address));
            }
        }
    }
    lines
}

/// Whether somebody is let in with a password, and not without one.
fn lets_in(rules: &Rules, how: How, user: &str, facts: &Facts) -> bool {
    let attempt = Attempt { how, user: user.as_bytes(), database: b"postgres", replication: Replication::No };
    let by_password = |method| matches!(method, Method::ScramSha256 | Method::Md5);
    matches!(rules.decide(&attempt, facts), Decision::Rule(rule) if by_password(rule.method()))
}

fn line(user: &str, address: IpAddr) -> String {
    format!("host all {user} {address}/{} scram-sha-256", if address.is_ipv4() { 32 } else { 128 })
}

/// What is said about them.
pub(super) fn finding(name: &str, missing: &[String]) -> Finding {
    const CHECK: &str = "proxy-minting";
    if missing.is_empty() {
        return Finding::ok(CHECK, format!("{name}: pg_hba.conf lets in minted roles, and who makes them"));
    }
    let meaning = format!(
        "{name}: pg_hba.conf does not let in minted roles by password, so sessions are refused, or let in anybody: {}",
        missing.join("; ")
    );
    Finding::warn(CHECK, meaning, "add the lines in front of others, reload the server, and look again")
}
