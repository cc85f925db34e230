//! The test support itself against a real server, without the agent: a wrong oracle would prove nothing.

use anyhow::Result;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::drivers::{Amount, DRIVERS};
use warder_tests::route::Route;
use warder_tests::server_log::{self, LoggedKind};
use warder_tests::wait;
use warder_tests::wire::{RawClient, message, query, terminate};

#[test]
fn every_driver_plays_its_scene_over_every_route() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default().logging_statements())?;
    cluster.prepare_pgbench(1)?;
    for route in Route::ALL {
        for driver in DRIVERS {
            driver.play(&cluster, route, Amount { rounds: 1 })?;
        }
    }
    Ok(())
}

#[test]
fn the_log_tells_of_each_message() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default().logging_statements())?;
    let mut client = RawClient::tcp(cluster.port())?;
    client.login()?;
    client.send(&query(b"select 1; select 'a''b'"))?;
    client.until_ready()?;
    client.query("selec 1")?;
    client.query("")?;
    client.send(&bound_execute())?;
    client.until_ready()?;
    client.send(&terminate())?;
    let pid = client.backend_pid;
    let found = wait::until("the messages in the log", wait::PATIENCE, || {
        let mut messages = server_log::messages(&cluster.log().entries()?);
        messages.retain(|message| Some(message.pid) == pid);
        Ok((messages.len() >= 5).then_some(messages))
    })?;
    let seen: Vec<_> = found.into_iter().map(|message| (message.kind, message.text, message.parameters)).collect();
    let execute = |resumed| LoggedKind::Execute { prepared: "s".into(), portal: "p".into(), resumed };
    let parameters = || vec![Some("it's".to_owned()), None];
    let text = || "select $1::text, $2::int from generate_series(1, 3)".to_owned();
    assert_eq!(
        seen,
        [
            (LoggedKind::Simple, "select 1; select 'a''b'".to_owned(), vec![]),
            (LoggedKind::Refused, "selec 1".to_owned(), vec![]),
            (LoggedKind::Simple, String::new(), vec![]),
            (execute(false), text(), parameters()),
            (execute(true), text(), parameters()),
        ]
    );
    Ok(())
}

/// Parse `s`, Bind `p` to it with two values, Execute twice with a row limit, Sync.
fn bound_execute() -> Vec<u8> {
    let parse = message(b'P', b"s\0select $1::text, $2::int from generate_series(1, 3)\0\0\0");
    let bind = message(b'B', b"p\0s\0\0\0\0\x02\0\0\0\x04it's\xff\xff\xff\xff\0\0");
    let execute = message(b'E', b"p\0\0\0\0\x02");
    [parse, bind, execute.clone(), execute, message(b'S', b"")].concat()
}
