//! `pg_hba.conf` decides about the client, not about the hop.

use std::sync::Arc;

use hba::Rules;
use hba::include::File;
use hba::major::Major;
use model::mediation::{MediationEvent, Refusal};
use proxy::{Access, Certificates, TlsMode, UnreadAccess};

use crate::support::cluster::Cluster;
use crate::support::proxy::{Direct, Options, Proxy};

fn access(text: &str, unread: UnreadAccess) -> Access {
    let file = File { name: "pg_hba.conf".into(), text: text.as_bytes().to_vec() };
    let rules = Rules::parse(&file, Major::new(15).unwrap(), &mut |_| Err("no files".into())).unwrap();
    Access { rules, facts: hba::facts::Facts::default(), unread }
}

/// The server's socket trusts everybody; the hop goes there.
fn laundering(cluster: &Cluster, rules: &str, unread: UnreadAccess, tls: TlsMode) -> Proxy {
    let socket = cluster.file(&format!(".s.PGSQL.{}", cluster.port));
    let hops = Direct { socket: Some(socket) };
    Proxy::start(Options { hops, tls, access: Some(access(rules, unread)), ..Options::plain(cluster) })
}

fn check(proxy: &Proxy, parameters: &str, text: &str, wanted: Refusal) {
    let output = proxy.psql(parameters, "select 1");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.stdout.is_empty() && error.contains(text), "{error}");
    proxy.hears(wanted.word(), |heard| {
        heard.notes.iter().any(|note| matches!(note, MediationEvent::Refused { reason, .. } if *reason == wanted))
    });
}

#[test]
fn a_hop_that_would_be_trusted_is_refused_where_the_client_needs_a_password() {
    let cluster = Cluster::start("", "");
    let rules = "local all all trust\nhost all all all scram-sha-256\n";
    let proxy = laundering(&cluster, rules, UnreadAccess::SameAddressOnly, TlsMode::Relay);
    check(&proxy, "sslmode=disable", "may not connect in this client's place", Refusal::AccessDiffers);
}

#[test]
fn a_client_that_the_server_would_refuse_gets_the_servers_words() {
    let cluster = Cluster::start("", "");
    let rules = "local all all trust\nhost other all all trust\n";
    let proxy = laundering(&cluster, rules, UnreadAccess::SameAddressOnly, TlsMode::Relay);
    let text =
        "FATAL:  no pg_hba.conf entry for host \"127.0.0.1\", user \"postgres\", database \"postgres\", no encryption";
    check(&proxy, "sslmode=disable", text, Refusal::Access);
}

#[test]
fn the_same_decision_passes() {
    let cluster = Cluster::start("", "");
    let rules = "local all all trust\nhost all all all trust\n";
    let proxy = laundering(&cluster, rules, UnreadAccess::SameAddressOnly, TlsMode::Relay);
    assert_eq!(proxy.psql("sslmode=disable", "select 1").stdout, b"1\n");
}

#[test]
fn a_rule_for_tls_is_not_met_by_a_hop_without() {
    let cluster = Cluster::start("", "");
    let rules = "hostssl all all all trust\nhostnossl all all all reject\n";
    let certificates = Certificates::from_pem(&cluster.read("server.crt"), &cluster.read("server.key")).unwrap();
    let tls = TlsMode::OwnCertificate(Arc::new(certificates));
    let access = Some(access(rules, UnreadAccess::SameAddressOnly));
    let proxy = Proxy::start(Options { tls, access, ..Options::plain(&cluster) });
    check(&proxy, "sslmode=require", "the server would refuse the hop", Refusal::AccessDiffers);
}

#[test]
fn ciphertext_passes_from_the_same_address_or_after_a_survey() {
    let cluster = Cluster::start("", "");
    let rules = "hostssl all all all trust\n";
    let same = Some(access(rules, UnreadAccess::SameAddressOnly));
    let proxy = Proxy::start(Options { access: same, ..Options::plain(&cluster) });
    assert_eq!(proxy.psql("sslmode=require", "select 1").stdout, b"1\n");
    // A server does not offer TLS on a Unix socket, so here the question is not even asked.
    let proxy = laundering(&cluster, rules, UnreadAccess::SameAddressOnly, TlsMode::Relay);
    let output = proxy.psql("sslmode=require", "select 1");
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not support SSL"));
}
