//! Clients that show certificates, and a service account that does.

use std::sync::Arc;

use model::Known;
use model::mediation::{MediationEvent, Refusal};
use model::principal::Proof;
use proxy::{Certificates, ClientAuthorities, Demand, LoginMode, OwnCertificate, TlsMode};

use crate::support::authority::Authority;
use crate::support::cluster::Cluster;
use crate::support::proxy::{Heard, Options, Proxy};
use crate::support::tokens::Issuer;

const ACCESS: &str = "hostssl all minted all cert\nhost all service all scram-sha-256\nhost all outside all reject";
const PASSWORD: &str = "open sesame";

fn cluster(authority: &Authority) -> Cluster {
    let cluster = Cluster::start(ACCESS, "");
    std::fs::write(cluster.file("clients.pem"), authority.pem()).unwrap();
    let sql = format!("create role service login password '{PASSWORD}'; create role minted login");
    assert!(cluster.direct(&sql).status.success());
    cluster
}

fn asking(cluster: &Cluster, authority: &Authority, revocations: &[u8]) -> Arc<Certificates> {
    let authorities = authority.pem().into_bytes();
    let clients = ClientAuthorities { authorities: &authorities, revocations };
    let (chain, key) = (cluster.read("server.crt"), cluster.read("server.key"));
    Arc::new(Certificates::asking_clients(&chain, &key, clients).unwrap())
}

fn start(cluster: &Cluster, issuer: &Issuer, certificates: Arc<Certificates>, demand: Demand) -> Proxy {
    let (login, token) = (LoginMode::Service(demand), Some(issuer.login("service", Some(PASSWORD))));
    Proxy::start(Options { login, token, tls: TlsMode::ServerCertificate(certificates), ..Options::plain(cluster) })
}

/// Standard output and standard error of a client with these parameters.
fn ask(proxy: &Proxy, parameters: &str) -> (String, String) {
    let output = proxy.psql(parameters, "select current_user");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Who was identified last: name, issuer, proof.
fn principal(heard: &Heard) -> Option<(String, String, Proof)> {
    heard.notes.iter().rev().find_map(|note| match note {
        MediationEvent::Identified { principal: Known::Known(principal), .. } => {
            let actor = &principal.actor;
            Some((actor.id.to_string(), actor.issuer.to_string(), principal.proof))
        }
        _ => None,
    })
}

fn is_refused(heard: &Heard, expected: Refusal) -> bool {
    heard.notes.iter().any(|note| matches!(note, MediationEvent::Refused { reason, .. } if *reason == expected))
}

#[test]
fn a_certificate_opens_a_session_and_is_on_record() {
    let (authority, issuer) = (Authority::new("clients"), Issuer::new());
    let cluster = cluster(&authority);
    let billing = authority.issue("billing", Some("spiffe://example.org/ns/prod/billing"));
    let report = authority.issue("report", None);
    let by_rule =
        [(&billing, "spiffe://example.org/ns/prod/billing", "spiffe://example.org"), (&report, "report", "test")];
    for (issued, id, of) in by_rule {
        for demand in [Demand::Certificate, Demand::Token] {
            let proxy = start(&cluster, &issuer, asking(&cluster, &authority, &[]), demand);
            assert_eq!(ask(&proxy, &issued.parameters), ("service\n".into(), String::new()));
            proxy.hears("who it is", |heard| {
                principal(heard) == Some((id.to_owned(), of.to_owned(), Proof::Certificate))
            });
        }
    }
}

#[test]
fn without_a_certificate_a_client_is_refused_or_asked_for_a_token() {
    let (authority, issuer) = (Authority::new("clients"), Issuer::new());
    let cluster = cluster(&authority);
    let strict = start(&cluster, &issuer, asking(&cluster, &authority, &[]), Demand::Certificate);
    for parameters in ["sslmode=require", "sslmode=disable"] {
        let (_, error) = ask(&strict, parameters);
        assert!(error.contains("asks for a client certificate"), "{error}");
    }
    strict.hears("the refusal", |heard| is_refused(heard, Refusal::Identity));
    let either = start(&cluster, &issuer, asking(&cluster, &authority, &[]), Demand::Token);
    let mut command = either.psql_command("sslmode=require");
    let output = command.env("PGPASSWORD", issuer.good()).args(["-c", "select 42"]).output().unwrap();
    assert_eq!(output.stdout, b"42\n", "{}", String::from_utf8_lossy(&output.stderr));
    either.hears("who it is", |heard| principal(heard).is_some_and(|(.., proof)| proof == Proof::Token));
}

#[test]
fn certificates_that_prove_nobody_are_refused() {
    let (authority, other, issuer) = (Authority::new("clients"), Authority::new("others"), Issuer::new());
    let cluster = cluster(&authority);
    let proxy = start(&cluster, &issuer, asking(&cluster, &authority, &[]), Demand::Certificate);
    // Of another authority: TLS itself ends.
    let (_, error) = ask(&proxy, &other.issue("billing", None).parameters);
    assert!(error.contains("alert") || error.contains("closed"), "{error}");
    proxy.hears("the refusal", |heard| is_refused(heard, Refusal::ClientTls));
    // Of the right one, about nobody that a rule names.
    let stranger = authority.issue("", Some("spiffe://example.com/elsewhere"));
    let (_, error) = ask(&proxy, &stranger.parameters);
    assert!(error.contains("no rule says who"), "{error}");
    assert_eq!(principal(&proxy.heard.lock().unwrap()), None);
}

#[test]
fn revoked_certificates_and_new_authorities_count_from_the_next_reload() {
    let (authority, next, issuer) = (Authority::new("clients"), Authority::new("next"), Issuer::new());
    let cluster = cluster(&authority);
    let (kept, lost) = (authority.issue("kept", None), authority.issue("lost", None));
    let proxy = start(&cluster, &issuer, asking(&cluster, &authority, &authority.revoked(&[])), Demand::Certificate);
    assert_eq!(ask(&proxy, &lost.parameters).0, "service\n");
    proxy.reload(asking(&cluster, &authority, &authority.revoked(&[&lost])));
    assert_eq!(ask(&proxy, &kept.parameters).0, "service\n");
    let (output, error) = ask(&proxy, &lost.parameters);
    assert!(output.is_empty() && (error.contains("revoked") || error.contains("closed")), "{error}");
    // A list of another authority says nothing about these: refused, not let through.
    proxy.reload(asking(&cluster, &authority, &next.revoked(&[])));
    assert!(ask(&proxy, &kept.parameters).0.is_empty());
    proxy.reload(asking(&cluster, &next, &[]));
    assert!(ask(&proxy, &kept.parameters).0.is_empty());
    assert_eq!(ask(&proxy, &next.issue("kept", None).parameters).0, "service\n");
}

#[test]
fn a_service_account_shows_its_certificate() {
    let (authority, issuer) = (Authority::new("clients"), Issuer::new());
    let cluster = cluster(&authority);
    let settings = format!("alter system set ssl_ca_file = '{}'", cluster.file("clients.pem").display());
    assert!(cluster.direct(&settings).status.success());
    assert!(cluster.direct("select pg_reload_conf()").status.success());
    let own = |name| {
        let issued = authority.issue(name, None);
        OwnCertificate::from_pem(&issued.certificate, &issued.key).unwrap()
    };
    for (name, works) in [("minted", true), ("somebody", false)] {
        let token = Some(issuer.login("minted", None).with_certificate(own(name)));
        let tls = TlsMode::ServerCertificate(asking(&cluster, &authority, &[]));
        let login = LoginMode::Service(Demand::Token);
        let proxy = Proxy::start(Options { login, token, tls, ..Options::plain(&cluster) });
        // Whether the client itself has TLS or not.
        for parameters in ["sslmode=require", "sslmode=disable"] {
            let mut command = proxy.psql_command(parameters);
            let output = command.env("PGPASSWORD", issuer.good()).args(["-c", "select current_user"]);
            let output = output.output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.stdout == b"minted\n", works, "{name}, {parameters}: {error}");
            assert!(works || error.contains("could not log in at the server"), "{error}");
        }
    }
}
