//! Without TLS: transparent, recorded, counted.

use model::mediation::{End, Listener, MediationEvent, Route};
use model::wire::WireEvent;

use crate::support::client::Raw;
use crate::support::cluster::Cluster;
use crate::support::proxy::{Direct, Options, Proxy};
use crate::support::wait;

#[test]
fn a_statement_passes_and_is_recorded() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let output = proxy.psql("sslmode=disable", "select 6 * 7");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n", "{}", String::from_utf8_lossy(&output.stderr));
    proxy.hears("the end", |heard| matches!(heard.notes.last(), Some(MediationEvent::Ended { .. })));
    let heard = proxy.heard.lock().unwrap();
    let statements: Vec<_> = heard
        .events
        .iter()
        .filter_map(|event| match event {
            WireEvent::Statement(statement) => Some(format!("{:?}", statement.text)),
            _ => None,
        })
        .collect();
    assert_eq!(statements.len(), 1, "{:?}", heard.events);
    assert!(statements[0].contains("select 6 * 7"), "{statements:?}");
    let Some(MediationEvent::Ended { counts, by, .. }) = heard.notes.last() else { panic!() };
    assert_eq!(*by, End::Client);
    assert_eq!(counts.from_client, counts.to_upstream);
    assert_eq!(counts.from_upstream, counts.to_client);
    // Query and Terminate.
    assert_eq!(counts.messages_to_upstream, 2);
}

#[test]
fn a_unix_socket_is_relayed_to_the_servers_own() {
    let cluster = Cluster::start("", "");
    let public = cluster.file(".s.PGSQL.1");
    let hops = Direct { socket: Some(cluster.file(&format!(".s.PGSQL.{}", cluster.port))) };
    let proxy = Proxy::start(Options {
        kind: Listener::UnixSocket,
        upstream: None,
        socket: Some(public),
        hops,
        ..Options::plain(&cluster)
    });
    let mut psql = Cluster::program("psql");
    let target = format!("host={} port=1 user=postgres dbname=postgres", cluster.directory.path().display());
    let output = psql.args(["-XqAt", "-c", "select 5", &target]).output().unwrap();
    assert_eq!(output.stdout, b"5\n", "{}", String::from_utf8_lossy(&output.stderr));
    let uid = nix::unistd::geteuid().as_raw();
    proxy.hears("the peer", |heard| {
        heard.notes.iter().any(|note| {
            matches!(note, MediationEvent::Accepted { route: Route::Unix { uid: peer, pid, .. }, .. } if *peer == uid && *pid > 0)
        })
    });
    assert_eq!(proxy.stats().accepted, [0, 0, 1]);
}

#[test]
fn many_connections_come_and_go() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    for round in 0..1000 {
        let client = if round % 10 == 0 { Raw::login(&proxy) } else { Raw::connect(&proxy) };
        drop(client);
    }
    proxy.no_session_left();
    assert_eq!(proxy.stats().accepted[1], 1000);
    proxy.hears("all ends", |heard| {
        heard.notes.iter().filter(|note| matches!(note, MediationEvent::Ended { .. })).count() == 1000
    });
    // Nothing is left at the server either.
    wait::until("the server's backends to end", || {
        cluster.direct("select count(*) from pg_stat_activity where backend_type = 'client backend'").stdout == b"1\n"
    });
}
