//! HTTP behind TLS: whom the export trusts, and who it says it is.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod support;

use std::path::Path;
use std::sync::Arc;

use export::config::{Body, ExportConfig, Kind};
use export::export::{Export, StartError};
use export::metrics::Metrics;
use export::plan::Plan;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use support::authority::Authority;
use support::http::{Behaviour, Receiver};
use support::records::statements;
use support::{Journal, identity, json_lines, sample, start, wait_for};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

/// A server's side that asks for a certificate of `authority`.
fn server(authority: &Authority, folder: &Path) -> ServerConfig {
    let (certificate, key) = authority.sign(folder, "localhost");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.write(folder)).unwrap()).unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap()
}

#[test]
fn both_sides_show_a_certificate_and_a_token_goes_along() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let receiver = Receiver::start_tls(server(&authority, files.path()), |_, _| Behaviour::Take(Vec::new()));
    let journal = Journal::new();
    journal.append(statements(1..=30));
    let token = files.path().join("token");
    std::fs::write(&token, "open sesame").unwrap();
    let config = ExportConfig {
        url: Some(format!("https://localhost:{}/in?a=b", receiver.address.port())),
        ca_file: Some(authority.write(files.path())),
        bearer_token_file: Some(token),
        body: Some(Body::Lines),
        batch_records_max: Some(10),
        retry_seconds_max: Some(1),
        ..ExportConfig::new("far", Kind::Webhook)
    };
    let metrics = Metrics::new("0");
    // Without a certificate of our own the receiver lets nothing in.
    let handle = start(&config, &journal, &metrics);
    let refused = || {
        let name = |reason| format!(r#"warder_export_failed_attempts_total{{export="far",reason="{reason}"}}"#);
        (sample(&metrics, &name("tls")) + sample(&metrics, &name("broken")) > 0.0).then_some(())
    };
    wait_for("the refusal", refused);
    handle.stop();
    assert_eq!(receiver.taken(), []);

    let (certificate, key) = authority.sign(files.path(), "warder");
    let config = ExportConfig { certificate_file: Some(certificate), key_file: Some(key), ..config };
    start(&config, &journal, &metrics).stop();
    let taken = receiver.taken();
    assert_eq!(taken.len(), 3);
    assert_eq!(taken[0].path, "/in?a=b");
    assert_eq!(taken[0].header("authorization"), Some("Bearer open sesame"));
    assert_eq!(taken[0].header("host"), Some(&*format!("localhost:{}", receiver.address.port())));
    assert_eq!(taken.iter().flat_map(|request| json_lines(&request.body)).count(), 30);
}

#[test]
fn a_server_that_nobody_vouches_for_gets_nothing() {
    let files = tempfile::tempdir().unwrap();
    let stranger = tempfile::tempdir().unwrap();
    let receiver =
        Receiver::start_tls(server(&Authority::new("theirs"), stranger.path()), |_, _| Behaviour::Take(Vec::new()));
    let journal = Journal::new();
    journal.append(statements(1..=3));
    let metrics = Metrics::new("0");
    // Another authority; the right one and another name.
    let theirs = stranger.path().join("ca.pem");
    let ours = Authority::new("ours").write(files.path());
    for (name, ca, host) in [("a", ours, "localhost"), ("b", theirs, "127.0.0.1")] {
        let config = ExportConfig {
            url: Some(format!("https://{host}:{}/", receiver.address.port())),
            ca_file: Some(ca),
            ..ExportConfig::new(name, Kind::Webhook)
        };
        let handle = start(&config, &journal, &metrics);
        let failed = format!(r#"warder_export_failed_attempts_total{{export="{name}",reason="tls"}}"#);
        wait_for("the refusal", || (sample(&metrics, &failed) > 0.0).then_some(()));
        handle.stop();
    }
    assert_eq!(receiver.taken(), []);
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let journal = Journal::new();
    let empty = journal.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for (ca, expected) in [("/does/not/exist".into(), "/does/not/exist"), (empty, "empty.pem")] {
        let config = ExportConfig {
            url: Some("https://localhost/".into()),
            ca_file: Some(ca),
            ..ExportConfig::new("far", Kind::Webhook)
        };
        let started = Export::start(&Plan::check(&config).unwrap(), journal.path(), &identity(), &Metrics::new("0"));
        let Err(StartError::Config { source, .. }) = started else { panic!("it must not start") };
        assert_eq!(source.key, "ca_file");
        assert!(source.to_string().contains(expected), "{source}");
    }
}

#[test]
fn certificates_are_renewed_without_a_restart() {
    let files = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let stranger = tempfile::tempdir().unwrap();
    let receiver = Receiver::start_tls(server(&ours, stranger.path()), |_, _| Behaviour::Take(Vec::new()));
    let journal = Journal::new();
    journal.append(statements(1..=3));
    // Neither do we trust the receiver, nor it us.
    let ca = theirs.write(files.path());
    let (certificate, key) = theirs.sign(files.path(), "warder");
    let config = ExportConfig {
        url: Some(format!("https://localhost:{}/", receiver.address.port())),
        ca_file: Some(ca.clone()),
        certificate_file: Some(certificate.clone()),
        key_file: Some(key.clone()),
        body: Some(Body::Lines),
        retry_seconds_max: Some(1),
        ..ExportConfig::new("far", Kind::Webhook)
    };
    let metrics = Metrics::new("0");
    let handle = start(&config, &journal, &metrics);
    let failed =
        |reason| sample(&metrics, &format!(r#"warder_export_failed_attempts_total{{export="far",reason="{reason}"}}"#));
    wait_for("the refusal", || (failed("tls") > 0.0).then_some(()));

    let taken = || receiver.taken().iter().flat_map(|request| json_lines(&request.body)).count();
    let replace = |from: &Path, to: &Path| {
        let name = files.path().join("new");
        std::fs::copy(from, &name).unwrap();
        std::fs::rename(name, to).unwrap();
    };
    let fresh = tempfile::tempdir().unwrap();
    replace(&ours.write(fresh.path()), &ca);
    let (new_certificate, new_key) = ours.sign(fresh.path(), "warder");
    // For a moment the two do not fit together.
    replace(&new_certificate, &certificate);
    let before = failed("tls") + failed("broken");
    wait_for("one more refusal", || (failed("tls") + failed("broken") > before).then_some(()));
    assert_eq!(taken(), 0);
    replace(&new_key, &key);
    wait_for("the records", || (taken() == 3).then_some(()));

    // What cannot be used does not stop what works, and a kept connection has nothing to do with it.
    std::fs::write(&certificate, "half a cert").unwrap();
    std::fs::remove_file(&key).unwrap();
    journal.append(statements(4..=6));
    wait_for("more records", || (taken() == 6).then_some(()));
    handle.stop();
}
