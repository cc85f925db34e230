//! TLS in three modes, with libpq's strictest settings.

use std::sync::Arc;

use model::mediation::{MediationEvent, Refusal};
use model::session::Encryption;
use model::wire::WireEvent;
use proxy::{Certificates, TlsMode};

use crate::support::cluster::Cluster;
use crate::support::proxy::{Heard, Options, Proxy};

const SCRAM: &str = "host all tester all scram-sha-256";

fn cluster() -> Cluster {
    let cluster = Cluster::start(SCRAM, "");
    assert!(cluster.direct("create user tester password 'secret-9151'").status.success());
    cluster
}

fn certificates(cluster: &Cluster, name: &str) -> Arc<Certificates> {
    let (chain, key) = (cluster.read(&format!("{name}.crt")), cluster.read(&format!("{name}.key")));
    Arc::new(Certificates::from_pem(&chain, &key).unwrap())
}

fn with(cluster: &Cluster, tls: TlsMode) -> Proxy {
    Proxy::start(Options { tls, ..Options::plain(cluster) })
}

/// Connects as the user with a password, verifies the certificate against `authority`, and asks about TLS.
fn ask(proxy: &Proxy, cluster: &Cluster, authority: &str, more: &str) -> (String, String) {
    let root = cluster.file(&format!("{authority}.authority"));
    let parameters = format!(
        "host=localhost hostaddr=127.0.0.1 user=tester password=secret-9151 sslmode=verify-full sslrootcert={} {more}",
        root.display()
    );
    let output = proxy.psql(&parameters, "select ssl from pg_stat_ssl where pid = pg_backend_pid()");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn encrypted(heard: &Heard, unread: bool) -> bool {
    heard.notes.iter().any(|note| {
        matches!(note, MediationEvent::Encrypted { encryption: Encryption::Tls, relayed, .. } if *relayed == unread)
    })
}

fn statements(heard: &Heard) -> usize {
    heard.events.iter().filter(|event| matches!(event, WireEvent::Statement(_))).count()
}

#[test]
fn relayed_tls_is_the_servers_own_and_not_read() {
    let cluster = cluster();
    let proxy = with(&cluster, TlsMode::Relay);
    assert_eq!(ask(&proxy, &cluster, "server", "channel_binding=require"), ("t\n".into(), String::new()));
    proxy.hears("that it is not read", |heard| encrypted(heard, true));
    assert_eq!(statements(&proxy.heard.lock().unwrap()), 0);
}

#[test]
fn the_servers_certificate_keeps_channel_binding_working_and_is_read() {
    let cluster = cluster();
    let proxy = with(&cluster, TlsMode::ServerCertificate(certificates(&cluster, "server")));
    for versions in ["ssl_max_protocol_version=TLSv1.2", "ssl_min_protocol_version=TLSv1.3"] {
        let more = format!("channel_binding=require {versions}");
        assert_eq!(ask(&proxy, &cluster, "server", &more), ("t\n".into(), String::new()), "{versions}");
    }
    proxy.hears("both statements", |heard| statements(heard) == 2);
    let heard = proxy.heard.lock().unwrap();
    assert!(encrypted(&heard, false));
    assert!(!String::from_utf8_lossy(&heard.bytes).contains("secret-9151"));
    assert!(!heard.bytes.windows(8).any(|bytes| bytes == b"n,,n=,r=" || bytes == b"p=tls-se"), "SASL was recorded");
}

#[test]
fn an_own_certificate_works_with_scram_and_a_plaintext_hop() {
    let cluster = cluster();
    let proxy = with(&cluster, TlsMode::OwnCertificate(certificates(&cluster, "other")));
    assert_eq!(ask(&proxy, &cluster, "other", ""), ("f\n".into(), String::new()));
    let (_, refused) = ask(&proxy, &cluster, "other", "channel_binding=require");
    assert!(refused.contains("channel binding"), "{refused}");
    let (_, unknown) = ask(&proxy, &cluster, "server", "");
    assert!(unknown.contains("certificate verify failed"), "{unknown}");
}

#[test]
fn another_certificate_at_the_server_is_refused() {
    let cluster = cluster();
    let proxy = with(&cluster, TlsMode::ServerCertificate(certificates(&cluster, "other")));
    let (answer, error) = ask(&proxy, &cluster, "other", "");
    assert_eq!(answer, "");
    assert!(!error.is_empty());
    let refused = |heard: &Heard| {
        heard.notes.iter().any(|note| matches!(note, MediationEvent::Refused { reason: Refusal::UpstreamTls, .. }))
    };
    proxy.hears("the refusal", refused);
    assert_eq!(proxy.stats().upstream_tls_failures.iter().sum::<u64>(), 1);
}

#[test]
fn a_server_without_tls_says_so_through_the_proxy() {
    let cluster = Cluster::start("", "ssl = off");
    for tls in [TlsMode::Relay, TlsMode::ServerCertificate(certificates(&cluster, "server"))] {
        let proxy = with(&cluster, tls);
        let output = proxy.psql("sslmode=require", "select 1");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("server does not support SSL"), "{error}");
        let output = proxy.psql("sslmode=prefer", "select 1");
        assert_eq!(output.stdout, b"1\n", "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_new_certificate_is_for_new_sessions() {
    let cluster = cluster();
    let proxy = with(&cluster, TlsMode::OwnCertificate(certificates(&cluster, "other")));
    let root = cluster.file("other.authority");
    let old = format!("hostaddr=127.0.0.1 host=localhost sslmode=verify-full sslrootcert={}", root.display());
    let mut session = proxy.psql_command(&old);
    session.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut session = session.spawn().unwrap();
    let mut input = session.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"select 'before';\n").unwrap();
    proxy.hears("the session", |heard| statements(heard) == 1);
    proxy.reload(certificates(&cluster, "server"));
    assert_eq!(ask(&proxy, &cluster, "server", ""), ("f\n".into(), String::new()));
    std::io::Write::write_all(&mut input, b"select 'after';\n").unwrap();
    drop(input);
    assert_eq!(session.wait_with_output().unwrap().stdout, b"before\nafter\n");
}

#[test]
fn large_results_pass_through_tls() {
    let cluster = cluster();
    let proxy = with(&cluster, TlsMode::ServerCertificate(certificates(&cluster, "server")));
    let output = proxy.psql("sslmode=require", "select repeat('x', 3000000)");
    assert_eq!(output.stdout.len(), 3_000_001, "{}", String::from_utf8_lossy(&output.stderr));
    let text = format!("select length('{}')", "y".repeat(100_000));
    assert_eq!(proxy.psql("sslmode=require", &text).stdout, b"100000\n");
}

mod direct {
    //! TLS from the first byte, which libpq speaks from version 17 on.

    use std::io::{Read as _, Write as _};

    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    use super::*;
    use crate::support::client::{Raw, startup};

    /// What the server says first, after a handshake that offers these protocols.
    fn first_byte(proxy: &Proxy, cluster: &Cluster, protocols: &[&[u8]]) -> Option<u8> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&cluster.read("server.authority")).unwrap()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, Raw::connect(proxy).0);
        let mut byte = [0];
        stream.write_all(&startup(0)).ok()?;
        stream.read_exact(&mut byte).ok()?;
        Some(byte[0])
    }

    #[test]
    fn it_needs_the_name_of_the_protocol() {
        let cluster = Cluster::start("", "");
        for tls in [TlsMode::ServerCertificate, TlsMode::OwnCertificate] {
            let proxy = with(&cluster, tls(certificates(&cluster, "server")));
            assert_eq!(first_byte(&proxy, &cluster, &[b"postgresql"]), Some(b'R'));
            assert_eq!(first_byte(&proxy, &cluster, &[]), None);
            assert_eq!(first_byte(&proxy, &cluster, &[b"http/1.1"]), None);
            let count = |reason| {
                let place = Refusal::ALL.iter().position(|one| *one == reason).unwrap();
                proxy.stats().refusals[place]
            };
            crate::support::wait::until("both refusals", || count(Refusal::Alpn) + count(Refusal::ClientTls) == 2);
        }
    }

    #[test]
    fn a_server_that_does_not_know_it_ends_it() {
        let cluster = Cluster::start("", "");
        let proxy = with(&cluster, TlsMode::Relay);
        // PostgreSQL 15 takes the hello for a packet of impossible length.
        assert_eq!(first_byte(&proxy, &cluster, &[b"postgresql"]), None);
        proxy.no_session_left();
    }
}
