//! Clients that say what no driver says.

use std::sync::Arc;
use std::time::Duration;

use model::mediation::{MediationEvent, Refusal};
use proxy::{Certificates, Settings, TlsMode};

use crate::support::client::{Raw, SSL_REQUEST, message, startup};
use crate::support::cluster::Cluster;
use crate::support::proxy::{Options, Proxy};

const GSS_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

fn refused(proxy: &Proxy, wanted: Refusal) {
    proxy.hears(wanted.word(), |heard| {
        heard.notes.iter().any(|note| matches!(note, MediationEvent::Refused { reason, .. } if *reason == wanted))
    });
    proxy.no_session_left();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_is_no_opening_packet_is_answered_with_an_error_and_recorded() {
    let cluster = Cluster::start("", "");
    let mut oversized = startup(0);
    oversized[..4].copy_from_slice(&10_005_u32.to_be_bytes());
    let mut version_two = startup(0);
    version_two[5] = 2;
    let mut unterminated = startup(0);
    let last = unterminated.len() - 1;
    unterminated[last] = b'x';
    let mut huge_cancel = vec![0, 0, 2, 0, 0x04, 0xd2, 0x16, 0x2e];
    huge_cancel.resize(512, 0);
    let cases: [(&[u8], &str, Refusal); 8] = [
        (b"GET / HTTP/1.1\r\n\r\n", "08P01", Refusal::Protocol),
        (&[0, 0, 0, 7, 0, 3, 0, 0], "08P01", Refusal::Protocol),
        (&oversized, "08P01", Refusal::Oversized),
        (&[0, 1, 0, 0], "08P01", Refusal::Oversized),
        (&version_two, "0A000", Refusal::Protocol),
        (&unterminated, "08P01", Refusal::Protocol),
        (&huge_cancel, "08P01", Refusal::Protocol),
        (&[0, 0, 0, 9, 0x04, 0xd2, 0x16, 0x2f, 0], "08P01", Refusal::Protocol),
    ];
    for (bytes, sqlstate, reason) in cases {
        let proxy = Proxy::start(Options::plain(&cluster));
        let mut client = Raw::connect(&proxy);
        client.send(bytes);
        let (kind, body) = client.message();
        assert_eq!(kind, b'E');
        assert!(text(&body).contains(&format!("C{sqlstate}\0")), "{}", text(&body));
        assert!(client.rest().is_empty());
        drop(client);
        refused(&proxy, reason);
    }
}

#[test]
fn an_opening_that_ends_early_is_recorded_and_nothing_hangs() {
    let cluster = Cluster::start("", "");
    let whole = startup(0);
    for length in 1..whole.len() {
        let proxy_per_case = length % 9 == 1 || length < 9;
        if !proxy_per_case {
            continue;
        }
        let proxy = Proxy::start(Options::plain(&cluster));
        let mut client = Raw::connect(&proxy);
        client.send(&whole[..length]);
        drop(client);
        refused(&proxy, Refusal::Truncated);
    }
}

#[test]
fn encryption_requests_are_answered_once_each_in_any_order() {
    let cluster = Cluster::start("", "ssl = off");
    for order in [[GSS_REQUEST, SSL_REQUEST], [SSL_REQUEST, GSS_REQUEST]] {
        let proxy = Proxy::start(Options::plain(&cluster));
        let mut client = Raw::connect(&proxy);
        for request in order {
            client.send(request);
            assert_eq!(client.bytes(), [b'N']);
        }
        client.send(&startup(0));
        assert_eq!(client.until_ready()[0].0, b'R');
        let mut twice = Raw::connect(&proxy);
        twice.send(order[0]);
        assert_eq!(twice.bytes(), [b'N']);
        twice.send(order[0]);
        assert!(text(&twice.message().1).contains("unsupported frontend protocol 1234."));
    }
}

#[test]
fn protocol_three_two_is_negotiated_by_the_server() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut client = Raw::connect(&proxy);
    client.send(&startup(2));
    let kinds: Vec<u8> = client.until_ready().iter().map(|message| message.0).collect();
    assert!(kinds[0] == b'v' || kinds[0] == b'R', "{kinds:?}");
}

#[test]
fn plaintext_behind_a_request_for_tls_is_refused() {
    let cluster = Cluster::start("", "");
    let certificates =
        Arc::new(Certificates::from_pem(&cluster.read("server.crt"), &cluster.read("server.key")).unwrap());
    let modes =
        [TlsMode::Relay, TlsMode::ServerCertificate(certificates.clone()), TlsMode::OwnCertificate(certificates)];
    for tls in modes {
        let proxy = Proxy::start(Options { tls, ..Options::plain(&cluster) });
        let mut client = Raw::connect(&proxy);
        client.send(&[SSL_REQUEST, &startup(0)].concat());
        assert!(client.rest().is_empty(), "neither S nor N");
        drop(client);
        refused(&proxy, Refusal::PlaintextInjected);
    }
}

#[test]
fn garbage_instead_of_a_handshake_is_refused() {
    let cluster = Cluster::start("", "");
    let certificates =
        Arc::new(Certificates::from_pem(&cluster.read("server.crt"), &cluster.read("server.key")).unwrap());
    let proxy = Proxy::start(Options { tls: TlsMode::OwnCertificate(certificates), ..Options::plain(&cluster) });
    let mut client = Raw::connect(&proxy);
    client.send(SSL_REQUEST);
    assert_eq!(client.bytes(), [b'S']);
    client.send(&startup(0));
    client.rest();
    drop(client);
    refused(&proxy, Refusal::ClientTls);
    // Direct TLS without a hello.
    let mut client = Raw::connect(&proxy);
    client.send(&[0x16, 3, 1, 0, 4, 9, 9, 9, 9]);
    client.rest();
    assert_eq!(proxy.stats().client_tls_failures.iter().sum::<u64>(), 2);
}

#[test]
fn a_connection_that_does_not_start_up_is_ended() {
    let cluster = Cluster::start("", "");
    let settings = Settings { startup: Duration::from_millis(300), ..Settings::default() };
    let proxy = Proxy::start(Options { settings, ..Options::plain(&cluster) });
    let mut silent = Raw::connect(&proxy);
    assert!(text(&silent.message().1).contains("in time"));
    let mut half = Raw::connect(&proxy);
    half.send(&startup(0)[..11]);
    assert!(text(&half.message().1).contains("in time"));
    drop((silent, half));
    refused(&proxy, Refusal::StartupTimeout);
}

#[test]
fn garbage_in_a_session_is_the_servers_to_judge() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut client = Raw::login(&proxy);
    client.send(b"\x01garbage");
    let (kind, body) = client.message();
    assert_eq!(kind, b'E');
    assert!(text(&body).contains("invalid frontend message type 1"), "{}", text(&body));
    client.rest();
    assert_eq!(proxy.stats().not_the_protocol, 1);
    assert_eq!(proxy.stats().unrecorded, 1);
}

#[test]
fn pipelined_messages_behind_the_startup_are_relayed() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut client = Raw::connect(&proxy);
    client.send(&[startup(0), message(b'Q', b"select 17\0"), message(b'Q', b"select 18\0")].concat());
    let mut rows = Vec::new();
    for _ in 0..3 {
        rows.extend(client.until_ready().into_iter().filter(|message| message.0 == b'D'));
    }
    assert_eq!(rows.len(), 2);
    proxy.hears("the text", |heard| text(&heard.bytes).contains("select 18"));
}

#[test]
fn half_a_close_is_passed_on() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut client = Raw::login(&proxy);
    client.send(&message(b'Q', b"select repeat('z', 100000)\0"));
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    // The answer arrives although the client has finished, and then the server's end.
    assert!(client.rest().len() > 100_000);
    proxy.no_session_left();
}

#[test]
fn every_byte_alone_is_as_good_as_all_at_once() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut client = Raw::connect(&proxy);
    for byte in startup(0) {
        client.send(&[byte]);
    }
    client.until_ready();
    for byte in message(b'Q', b"select 4711\0") {
        client.send(&[byte]);
    }
    assert!(client.until_ready().iter().any(|(kind, body)| *kind == b'D' && text(body).contains("4711")));
    proxy.hears("the text", |heard| text(&heard.bytes).contains("select 4711"));
}
