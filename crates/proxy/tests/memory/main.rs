//! What the proxy holds in memory, while much passes and while nothing does. A program of its own, because the memory of
//! a process is measured, and one test after the other.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "tests fail by panicking, and use a part of what supports them"
)]

#[path = "../../../../tests/src/issuer.rs"]
mod issuer;
#[path = "../relay/support/mod.rs"]
mod support;

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use model::mediation::MediationEvent;
use proxy::{Certificates, Settings, TlsMode};

use support::client::Raw;
use support::cluster::Cluster;
use support::proxy::{Options, Proxy};
use support::wait;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Resident memory of this process (client, proxy and core of the test), in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const COPIED: usize = 100 << 20;

#[test]
fn a_copy_in_both_directions_keeps_memory_flat() {
    let _alone = ONE_AT_A_TIME.lock();
    let cluster = Cluster::start("", "max_wal_size = '4GB'");
    let proxy = Proxy::start(Options::plain(&cluster));
    assert!(cluster.direct("create unlogged table t (line text)").status.success());
    let mut psql = proxy.psql_command("sslmode=disable");
    let mut psql = psql.args(["-c", "copy t from stdin"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = psql.stdin.take().unwrap();
    let line = [&[b'x'; 1023][..], b"\n"].concat().repeat(64);
    let before = resident();
    for _ in 0..COPIED / line.len() {
        input.write_all(&line).unwrap();
    }
    drop(input);
    assert!(psql.wait().unwrap().success());
    let mut psql = proxy.psql_command("sslmode=disable");
    let mut psql = psql.args(["-c", "copy t to stdout"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = psql.stdout.take().unwrap();
    let mut total = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match output.read(&mut buffer).unwrap() {
            0 => break,
            length => total += length,
        }
    }
    assert!(psql.wait().unwrap().success());
    assert_eq!(total, COPIED);
    let grown = resident().saturating_sub(before);
    // The ring (8 MiB) is touched for the first time.
    assert!(grown < 16 << 10, "{grown} KiB more");
    proxy.hears("the statements", |heard| {
        let text = format!("{:?}", heard.events);
        text.contains("copy t from stdin") && text.contains("copy t to stdout")
    });
}

#[test]
fn idle_sessions_are_cheap() {
    let _alone = ONE_AT_A_TIME.lock();
    let cluster = Cluster::start("", "max_connections = 700\nshared_buffers = '16MB'");
    let certificates = Certificates::from_pem(&cluster.read("server.crt"), &cluster.read("server.key")).unwrap();
    let modes = [(TlsMode::Relay, 300_u64, 24), (TlsMode::ServerCertificate(Arc::new(certificates)), 100, 64)];
    for (tls, sessions, allowed) in modes {
        let encrypted = !matches!(tls, TlsMode::Relay);
        let settings = Settings { sessions_per_address_max: 1000, ..Settings::default() };
        let proxy = Proxy::start(Options { tls, settings, ..Options::plain(&cluster) });
        if encrypted {
            // psql holds them open: the test itself speaks no TLS.
            let mut held = Vec::new();
            let before = resident();
            for _ in 0..sessions {
                let mut psql = proxy.psql_command("sslmode=require");
                held.push(psql.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
            }
            wait::until("the sessions", || proxy.stats().sessions[1] == sessions && proxy.stats().startups == 0);
            let each = resident().saturating_sub(before) / sessions;
            println!("{each} KiB for each idle session with TLS on both sides");
            assert!(each <= allowed, "{each} KiB");
            for mut psql in held {
                drop(psql.stdin.take());
                psql.wait().unwrap();
            }
            continue;
        }
        let mut held: Vec<_> = (0..20).map(|_| Raw::login(&proxy)).collect();
        let before = resident();
        held.extend((0..sessions).map(|_| Raw::login(&proxy)));
        let each = resident().saturating_sub(before) / sessions;
        println!("{each} KiB for each idle session without TLS, decoder of the test included");
        assert!(each <= allowed, "{each} KiB");
        assert!(proxy.heard.lock().unwrap().notes.iter().any(|note| matches!(note, MediationEvent::Connected { .. })));
    }
}
