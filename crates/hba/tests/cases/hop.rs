//! The gate, line by line of its table.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{attempt, how, rules};
use hba::facts::Facts;
use hba::hop::{Hop, Passage, Through};
use hba::refusal::Reason;

/// One word for an answer.
fn word(hop: &Hop<'_>) -> String {
    match hop {
        Hop::Same => "same".into(),
        Hop::Refused(refusal) if refusal.reason == Reason::NoEntry => "no entry".into(),
        Hop::Refused(_) => "rejected".into(),
        Hop::Different(difference) => format!("{:?}", difference.why),
        Hop::Unknown(fact) => format!("unknown: {fact}"),
    }
}

fn check(file: &str, original: &str, hop: &str, passage: Passage, expected: &str) {
    let rules = rules(file);
    let through = Through { how: how(hop), passage };
    let answer = rules.hop(&attempt(original, "app", "orders"), &through, &Facts::default());
    assert_eq!(word(&answer), expected, "{file}: {original} through {hop}");
}

const REMOTE: &str = "10.0.0.9";
const HOP: &str = "127.86.0.1";

fn pair(original: &str, hop: &str, expected: &str) {
    let file = format!("host all all 10.0.0.0/8 {original}\nhost all all 127.0.0.0/8 {hop}\n");
    check(&file, REMOTE, HOP, Passage::Unread, expected);
}

#[test]
fn loopback_is_not_a_way_around_a_password() {
    pair("scram-sha-256", "trust", "Weaker");
    pair("md5", "trust", "Weaker");
    pair("ldap ldapprefix=x", "trust", "Weaker");
    let socket = "local all all peer\nhost all all all scram-sha-256\n";
    check(socket, REMOTE, "local", Passage::Unread, "Method");
    let trusted = "local all all trust\nhost all all all scram-sha-256\n";
    check(trusted, REMOTE, "local", Passage::Unread, "Weaker");
}

#[test]
fn equal_methods_of_two_lines() {
    for method in ["trust", "password", "md5", "scram-sha-256", "bsd", "ldap ldapprefix=x", "gss map=a"] {
        pair(method, method, "same");
    }
    pair("radius radiusservers=a radiussecrets=b", "radius radiussecrets=b radiusservers=a", "same");
    pair("oauth scope=a issuer=b", "oauth scope=a issuer=b delegate_ident_mapping=0", "same");
    pair("oauth scope=a issuer=b", "oauth scope=c issuer=b", "Options");
    pair("ldap ldapprefix=x", "ldap ldapprefix=y", "Options");
    pair("gss", "gss include_realm=1", "same");
    pair("gss", "gss include_realm=0", "Options");
    pair("pam", "pam", "PamAddress");
    pair("ident", "ident", "Ident");
}

#[test]
fn methods_that_differ() {
    pair("scram-sha-256", "md5", "Weaker");
    pair("scram-sha-256", "password", "Weaker");
    pair("md5", "password", "Weaker");
    pair("md5", "scram-sha-256", "Stricter");
    pair("trust", "scram-sha-256", "Method");
    pair("password", "md5", "Method");
    pair("scram-sha-256", "reject", "Refused");
    pair("reject", "trust", "rejected");
    check("host all all 127.0.0.1/32 trust\n", REMOTE, HOP, Passage::Unread, "no entry");
    check("host all all 127.0.0.0/8 trust\n", REMOTE, HOP, Passage::Unread, "no entry");
    check("host all all 10.0.0.0/8 trust\n", REMOTE, HOP, Passage::Unread, "Refused");
}

#[test]
fn the_same_line_is_not_always_the_same() {
    check("local all all peer\n", "local", "local", Passage::Unread, "same");
    check("local all all pam\n", "local", "local", Passage::Unread, "same");
    check("host all all all pam\n", "127.0.0.1", "127.0.0.1", Passage::Unread, "same");
    check("host all all all ident\n", "127.0.0.1", "127.0.0.1", Passage::Unread, "Ident");
    check("host all all all scram-sha-256\n", REMOTE, HOP, Passage::Unread, "same");
    check("host all all all trust\n", REMOTE, HOP, Passage::Unread, "same");
    let certificate = "hostssl all all all cert\n";
    check(certificate, "10.0.0.9 tls", "127.86.0.1 tls", Passage::Unread, "same");
    check(certificate, "10.0.0.9 tls", "127.86.0.1 tls", Passage::Terminated, "ClientCertificate");
    check(certificate, "10.0.0.9 tls", "127.86.0.1", Passage::Terminated, "Refused");
    let both = "hostssl all all all md5 clientcert=verify-full\n";
    check(both, "10.0.0.9 tls", "127.86.0.1 tls", Passage::Unread, "same");
    check(both, "10.0.0.9 tls", "127.86.0.1 tls", Passage::Terminated, "ClientCertificate");
    let gss = "host all all all gss\n";
    check(gss, "10.0.0.9 gss", "127.86.0.1 gss", Passage::Unread, "same");
    check(gss, "10.0.0.9 gss", "127.86.0.1", Passage::Terminated, "GssEncryption");
}

#[test]
fn a_certificate_is_not_forgotten() {
    let file = "hostssl all all 10.0.0.0/8 md5 clientcert=verify-full\nhostssl all all all md5 clientcert=verify-ca\n\
                host all all all md5\n";
    check(file, "10.0.0.9 tls", "127.86.0.1 tls", Passage::Unread, "Weaker");
    check(file, "10.0.0.9 tls", "127.86.0.1", Passage::Terminated, "Weaker");
    check(file, "11.0.0.9 tls", "127.86.0.1", Passage::Terminated, "Weaker");
}

#[test]
fn encryption_that_ends_at_the_proxy() {
    let file = "hostssl all all all scram-sha-256\nhostnossl all all 127.0.0.0/8 trust\n";
    check(file, "10.0.0.9 tls", "127.86.0.1 tls", Passage::Terminated, "same");
    check(file, "10.0.0.9 tls", "127.86.0.1", Passage::Terminated, "Weaker");
    check(file, "10.0.0.9", "127.86.0.1", Passage::Unread, "no entry");
}

#[test]
fn unknown_facts_count_only_where_they_matter() {
    let one = "host all +crew all scram-sha-256\n";
    check(one, REMOTE, HOP, Passage::Unread, "same");
    let added = "host all +crew 127.86.0.1/32 scram-sha-256\nhost all +crew 10.0.0.0/8 scram-sha-256\n";
    check(added, REMOTE, HOP, Passage::Unread, "same");
    let trust = "host all +crew 10.0.0.0/8 scram-sha-256\nhost all all 127.0.0.0/8 trust\n";
    check(trust, REMOTE, HOP, Passage::Unread, "unknown: whether \"app\" is a member of \"crew\"");
    let name = "host all all .example.org scram-sha-256\nhost all all 127.0.0.0/8 scram-sha-256\n";
    check(name, REMOTE, HOP, Passage::Unread, "unknown: whether 10.0.0.9 is called \".example.org\"");
    check(name, HOP, HOP, Passage::Unread, "same");
    let unimportant = "host all all .example.org scram-sha-256\nhost all all all scram-sha-256\n";
    check(unimportant, REMOTE, HOP, Passage::Unread, "same");
    let pattern = "host all /^(app|web)$ 10.0.0.0/8 scram-sha-256\nhost all all all md5\n";
    check(pattern, REMOTE, HOP, Passage::Unread, "unknown: whether \"app\" matches the pattern \"^(app|web)$\"");
    let read = "host all /^ap.*$ 10.0.0.0/8 md5\nhost all all all md5\n";
    check(read, REMOTE, HOP, Passage::Unread, "same");
}

#[test]
fn known_members_are_believed() {
    let rules = rules("host all +crew 10.0.0.0/8 scram-sha-256\nhost all all 127.0.0.0/8 trust\n");
    let through = Through { how: how(HOP), passage: Passage::Unread };
    for (members, expected) in [(vec!["app"], "Weaker"), (vec!["other"], "no entry")] {
        let members = members.iter().map(|name| name.as_bytes().to_vec()).collect::<BTreeSet<_>>();
        let facts = Facts { members: BTreeMap::from([(b"crew".to_vec(), members)]), ..Facts::default() };
        assert_eq!(word(&rules.hop(&attempt(REMOTE, "app", "orders"), &through, &facts)), expected);
    }
}

#[test]
fn the_refusal_is_that_of_the_original() {
    let rules = rules("host all all 127.0.0.0/8 trust\n");
    let through = Through { how: how(HOP), passage: Passage::Unread };
    let answer = rules.hop(&attempt("::ffff:10.0.0.9", "app", "orders"), &through, &Facts::default());
    let Hop::Refused(refusal) = answer else { panic!("{answer:?}") };
    let message = String::from_utf8_lossy(&refusal.message).into_owned();
    let expected = "no pg_hba.conf entry for host \"10.0.0.9\", user \"app\", database \"orders\", no encryption";
    assert_eq!(message, expected);
}
