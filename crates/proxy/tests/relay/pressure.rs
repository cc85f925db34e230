//! A core that is behind: sessions that must be on record wait for it, and no record is lost.

use std::io::Write as _;
use std::net::Shutdown;

use model::wire::WireEvent;
use proxy::{Demand, LoginMode, WhenUnrecorded};

use crate::support::client::{Raw, message, startup};
use crate::support::cluster::Cluster;
use crate::support::proxy::{Options, Proxy};
use crate::support::tokens::Issuer;

/// Bytes of the ring: the records of one chunk of small requests take more.
const RING: usize = 256 << 10;
/// Executions in one batch.
const EXECUTIONS: usize = 4000;

/// Parse once, then Bind and Execute over and over, and one Sync.
fn batch() -> Vec<u8> {
    let mut bytes = message(b'P', b"s\0select 1\0\0\0");
    let run = [message(b'B', b"\0s\0\0\0\0\0\0\0"), message(b'E', b"\0\0\0\0\0")].concat();
    (0..EXECUTIONS).for_each(|_| bytes.extend_from_slice(&run));
    bytes.extend_from_slice(&message(b'S', b""));
    bytes
}

/// The core rests while a client sends the batch, and goes on when the proxy has some of it.
fn nothing_is_lost(proxy: &Proxy, mut client: Raw) {
    proxy.core_rests();
    let before = proxy.stats().from_client;
    let mut sender = client.0.try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&batch()));
    proxy.has_received(before + 1);
    proxy.core_reads();
    let answers = client.until_ready();
    assert_eq!(answers.iter().filter(|(kind, _)| *kind == b'D').count(), EXECUTIONS);
    assert!(!answers.iter().any(|(kind, _)| *kind == b'E'));
    sending.join().unwrap().unwrap();
    proxy.hears("all statements", |heard| {
        let is_run = |event: &&WireEvent| matches!(event, WireEvent::Statement(_));
        heard.events.iter().filter(is_run).count() >= EXECUTIONS
    });
    assert_eq!(proxy.heard.lock().unwrap().lost, 0);
    assert_eq!(proxy.stats().unrecorded, 0);
}

#[test]
fn a_session_that_must_be_on_record_waits_for_the_core() {
    let cluster = Cluster::start("", "");
    let options = Options { unrecorded: WhenUnrecorded::Refuse, ring: RING, ..Options::plain(&cluster) };
    let proxy = Proxy::start(options);
    nothing_is_lost(&proxy, Raw::login(&proxy));
}

/// A governed session, opened with a token.
fn governed(cluster: &Cluster) -> (Proxy, Raw) {
    let issuer = Issuer::new();
    let (login, token) = (LoginMode::Service(Demand::Token), Some(issuer.login("postgres", None)));
    let options = Options { unrecorded: WhenUnrecorded::Refuse, ring: RING, login, token, ..Options::plain(cluster) };
    let proxy = Proxy::start(options);
    let mut client = Raw::connect(&proxy);
    client.send(&startup(0));
    client.message();
    client.send(&message(b'p', &[issuer.good().as_bytes(), &[0]].concat()));
    client.until_ready();
    (proxy, client)
}

#[test]
fn a_pipeline_that_is_decided_about_waits_as_well() {
    let cluster = Cluster::start("", "");
    let (proxy, client) = governed(&cluster);
    nothing_is_lost(&proxy, client);
}

#[test]
fn a_client_that_says_no_more_gets_what_it_has_asked_for() {
    let cluster = Cluster::start("", "");
    let (_proxy, mut client) = governed(&cluster);
    // What follows the SET is decided about when that is answered.
    let said: Vec<u8> = (0..3)
        .flat_map(|number| {
            [message(b'Q', b"set search_path = public\0"), message(b'Q', format!("select {number}\0").as_bytes())]
        })
        .flatten()
        .collect();
    client.send(&said);
    client.0.shutdown(Shutdown::Write).unwrap();
    let rest = client.rest();
    assert_eq!(rest.windows(13).filter(|window| window.starts_with(b"C\0\0\0\x0dSELECT 1")).count(), 3);
}
