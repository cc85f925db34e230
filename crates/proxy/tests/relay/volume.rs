//! Slow readers and writers, and streams that do not end. Memory: `tests/memory`.

use std::io::Write as _;

use crate::support::client::{Raw, message};
use crate::support::cluster::Cluster;
use crate::support::proxy::{Options, Proxy};
use crate::support::wait;

#[test]
fn who_does_not_read_is_not_read_for() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut client = Raw::login(&proxy);
    client.send(&message(b'Q', b"select repeat('x', 1000) from generate_series(1, 200000)\0"));
    let waits = "select 1 from pg_stat_activity where wait_event = 'ClientWrite'";
    wait::until("the server to wait for its client", || cluster.direct(waits).stdout == b"1\n");
    // 200 MB were asked for: what moved is what fits into the sockets' buffers.
    wait::until("the counters to stand", || {
        let first = proxy.stats().from_upstream;
        std::thread::sleep(std::time::Duration::from_millis(700));
        first == proxy.stats().from_upstream
    });
    assert!(proxy.stats().from_upstream < 40 << 20, "{:?}", proxy.stats());
    let rows = client.until_ready().into_iter().filter(|message| message.0 == b'D').count();
    assert_eq!(rows, 200_000);
}

#[test]
fn a_slow_server_holds_its_client_back() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut client = Raw::login(&proxy);
    client.send(&message(b'Q', b"select pg_sleep(3)\0"));
    client.0.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let text = message(b'Q', format!("select '{}'\0", "y".repeat(1 << 20)).as_bytes());
    let mut sent = 0;
    let stopped = (0..64).find_map(|_| {
        let result = client.0.write_all(&text);
        sent += text.len();
        result.err()
    });
    assert!(stopped.is_some(), "{sent} bytes went into a server that reads nothing");
}

#[test]
fn a_replication_stream_passes() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut receive = Cluster::program("pg_receivewal");
    let target = cluster.file("wal");
    std::fs::create_dir(&target).unwrap();
    let port = proxy.port.to_string();
    receive.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "--no-loop", "-D"]).arg(&target);
    let mut receive = receive.env("PGSSLMODE", "disable").spawn().unwrap();
    wait::until("a WAL file", || std::fs::read_dir(&target).unwrap().count() > 0);
    let copied = || std::fs::read_dir(&target).unwrap().count();
    wait::until("the next WAL file", || {
        assert!(cluster.direct("select pg_switch_wal()").status.success());
        assert!(cluster.direct("create table if not exists moved(); drop table moved").status.success());
        copied() > 1
    });
    let _gone = receive.kill();
    let _gone = receive.wait();
}
