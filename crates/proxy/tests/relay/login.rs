//! Clients with tokens, the service account at the server.

use std::process::Output;

use model::mediation::{MediationEvent, Refusal};
use model::principal::{Proof, UnknownPrincipal};
use model::wire::WireEvent;
use model::{Known, time::WallTime};
use proxy::{Certificates, Demand, LoginMode, TlsMode};

use crate::support::client::{Raw, message, startup};
use crate::support::cluster::Cluster;
use crate::support::proxy::{Options, Proxy};
use crate::support::tokens::{self, Issuer};
use crate::support::wait;

const PASSWORD: &str = "open sesame";

/// A server that has a role `service` which must log in by this method.
fn cluster(method: &str) -> Cluster {
    let encryption = if method == "md5" { "md5" } else { "scram-sha-256" };
    let access = format!("host all service all {method}\nhost all nobody all reject");
    let cluster = Cluster::start(&access, "");
    let sql = format!("set password_encryption = '{encryption}'; create role service login password '{PASSWORD}'");
    let made = cluster.direct(&sql);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    cluster
}

fn start(cluster: &Cluster, issuer: &Issuer, user: &str, password: Option<&str>) -> Proxy {
    let token = Some(issuer.login(user, password));
    Proxy::start(Options { login: LoginMode::Service(Demand::Token), token, ..Options::plain(cluster) })
}

fn psql(proxy: &Proxy, token: &str, sql: &str) -> Output {
    let mut command = proxy.psql_command("sslmode=disable");
    command.env("PGPASSWORD", token).args(["-c", sql]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_token_opens_a_session_of_the_service_account() {
    let issuer = Issuer::new();
    for method in ["trust", "password", "md5", "scram-sha-256"] {
        let cluster = cluster(method);
        let proxy = start(&cluster, &issuer, "service", Some(PASSWORD));
        let token = issuer.good();
        let output = psql(&proxy, &token, "select current_user, 6 * 7");
        assert_eq!(text(&output.stdout), "service|42\n", "{method}: {}", text(&output.stderr));
        proxy.hears("the end", |heard| matches!(heard.notes.last(), Some(MediationEvent::Ended { .. })));
        let heard = proxy.heard.lock().unwrap();
        let principal = heard.notes.iter().find_map(|note| match note {
            MediationEvent::Identified { principal: Known::Known(principal), .. } => Some(principal),
            _ => None,
        });
        let principal = principal.expect("somebody was identified");
        assert_eq!((&*principal.actor.id, principal.proof), ("alice@example.com", Proof::Token));
        // The core understands the client's side of it, and sees neither token nor password.
        let events = format!("{:?}", heard.events);
        assert!(heard.events.iter().any(|event| matches!(event, WireEvent::Statement(_))), "{method}: {events}");
        let (head, claims) = (token.get(..40).unwrap(), token.split('.').nth(1).unwrap());
        for secret in [head, claims, PASSWORD] {
            let is_in = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_in(&heard.bytes) && !events.contains(secret), "{method}: {secret}");
            assert!(!format!("{:?}", heard.notes).contains(secret), "{method}: {secret}");
        }
    }
}

#[test]
fn the_proxys_own_login_is_counted_as_the_server_counts_it() {
    let issuer = Issuer::new();
    let counts = |method: &str| {
        let cluster = cluster(method);
        let proxy = start(&cluster, &issuer, "service", Some(PASSWORD));
        assert!(psql(&proxy, &issuer.good(), "select 1").status.success());
        proxy.hears("the end", |heard| matches!(heard.notes.last(), Some(MediationEvent::Ended { .. })));
        let heard = proxy.heard.lock().unwrap();
        let Some(MediationEvent::Ended { counts, .. }) = heard.notes.last() else { panic!() };
        (counts.messages_to_upstream, counts.messages_to_client)
    };
    let (to_server, from_server) = counts("trust");
    // SASLInitialResponse and SASLResponse; AuthenticationSASL, Continue and Final.
    assert_eq!(counts("scram-sha-256"), (to_server + 2, from_server + 3));
}

/// psql's error and the reason in the record.
fn refused(proxy: &Proxy, token: &str, expected: &str, reason: Refusal) {
    let output = psql(proxy, token, "select 1");
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("FATAL") && error.contains(expected), "{error}");
    assert!(token.len() < 8 || !error.contains(token), "{error}");
    proxy.hears("the refusal", |heard| {
        heard.notes.iter().any(|note| matches!(note, MediationEvent::Refused { reason: found, .. } if *found == reason))
    });
}

#[test]
fn what_proves_nobody_is_refused_with_a_remedy() {
    let (issuer, cluster) = (Issuer::new(), cluster("trust"));
    let tokens = [
        (issuer.token("warder", -1), "get a new one"),
        (issuer.token("another", 300), "meant for somebody else"),
        (Issuer::new().good(), "signature"),
        ("open sesame".to_owned(), "no signed JWT"),
    ];
    for (token, expected) in tokens {
        let proxy = start(&cluster, &issuer, "service", None);
        refused(&proxy, &token, expected, Refusal::Identity);
        let heard = proxy.heard.lock().unwrap();
        assert!(!heard.notes.iter().any(|note| matches!(note, MediationEvent::Connected { .. })), "no hop: {expected}");
    }
}

#[test]
fn the_role_that_the_client_names_opens_nothing() {
    // Trust would let postgres in; the client has no token.
    let (issuer, cluster) = (Issuer::new(), cluster("trust"));
    let proxy = start(&cluster, &issuer, "service", None);
    let mut client = Raw::connect(&proxy);
    client.send(&startup(0));
    assert_eq!(client.message(), (b'R', vec![0, 0, 0, 3]));
    client.send(&message(b'p', b"\0"));
    let (kind, body) = client.message();
    assert!(kind == b'E' && text(&body).contains("28P01"), "{}", text(&body));
    // Nor does a message that comes before it was asked for.
    let mut client = Raw::connect(&proxy);
    client.send(&[startup(0), message(b'Q', b"select 1\0")].concat());
    let (kind, body) = client.message();
    assert!(kind == b'E' && text(&body).contains("08P01"), "{}", text(&body));
}

#[test]
fn a_service_account_that_cannot_log_in_is_the_operators_matter() {
    let (issuer, cluster) = (Issuer::new(), cluster("scram-sha-256"));
    for password in [None, Some("wrong")] {
        let proxy = start(&cluster, &issuer, "service", password);
        refused(&proxy, &issuer.good(), "could not log in at the server", Refusal::Upstream);
    }
}

#[test]
fn a_token_comes_in_tls() {
    let (issuer, cluster) = (Issuer::new(), cluster("scram-sha-256"));
    let certificates = Certificates::from_pem(&cluster.read("server.crt"), &cluster.read("server.key")).unwrap();
    let tls = TlsMode::ServerCertificate(std::sync::Arc::new(certificates));
    let token = Some(issuer.login("service", Some(PASSWORD)));
    let proxy =
        Proxy::start(Options { login: LoginMode::Service(Demand::Token), token, tls, ..Options::plain(&cluster) });
    let mut command = proxy.psql_command("sslmode=require");
    let output = command
        .env("PGPASSWORD", issuer.good())
        .args(["-c", "select ssl from pg_stat_ssl where pid = pg_backend_pid()"]);
    let output = output.output().unwrap();
    assert_eq!(text(&output.stdout), "t\n", "{}", text(&output.stderr));
}

#[test]
fn a_session_outlives_its_token_as_nobodys() {
    let (issuer, cluster) = (Issuer::new(), cluster("trust"));
    let proxy = start(&cluster, &issuer, "service", None);
    let token = issuer.token("warder", 4);
    let end = WallTime(tokens::now().0 + 4_000_000_000);
    let mut client = Raw::connect(&proxy);
    client.send(&startup(0));
    client.message();
    client.send(&message(b'p', &[token.as_bytes(), &[0]].concat()));
    client.until_ready();
    client.send(&message(b'Q', b"select 1\0"));
    assert!(client.until_ready().iter().any(|(kind, _)| *kind == b'D'));
    wait::until("the end of the token", || tokens::now() > end);
    client.send(&message(b'Q', b"select 1\0"));
    let answer = client.until_ready();
    assert!(answer.iter().any(|(kind, body)| *kind == b'E' && text(body).contains("42501")), "{answer:?}");
    proxy.hears("the end of the proof", |heard| {
        let is_it = |note: &MediationEvent| {
            matches!(note, MediationEvent::Identified { principal: Known::Unknown(UnknownPrincipal::Expired), .. })
        };
        heard.notes.iter().any(is_it)
    });
}
