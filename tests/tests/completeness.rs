//! Every message of every driver is recorded once, with its text and parameters: compared with the server's own log.

use std::collections::HashSet;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use warder_tests::agent::{Agent, AgentOptions, DatabaseEntry};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::drivers::{Amount, DRIVERS, Driver};
use warder_tests::events::{self, Event, Session};
use warder_tests::route::Route;
use warder_tests::server_log::{self, Entry};
use warder_tests::wire::{RawClient, message};
use warder_tests::{oracle, tooling, wait};

/// The two witnesses up to a moment.
struct Witnesses<'a> {
    cluster: &'a Cluster,
    agent: &'a Agent,
    entries_seen: usize,
    events_seen: usize,
}

impl<'a> Witnesses<'a> {
    fn new(cluster: &'a Cluster, agent: &'a Agent) -> Result<Self> {
        let entries_seen = cluster.log().entries()?.len();
        let events_seen = agent.events().all()?.len();
        Ok(Self { cluster, agent, entries_seen, events_seen })
    }

    /// What both said since the last call, once every session of that time has ended for both.
    fn next(&mut self) -> Result<(Vec<Entry>, Vec<Event>)> {
        let waited = wait::until("the end of all sessions in both witnesses", Duration::from_secs(60), || {
            let entries = self.cluster.log().entries()?.split_off(self.entries_seen);
            let events = self.agent.events().all()?.split_off(self.events_seen);
            Ok(have_ended(&entries, &events).then_some((entries, events)))
        });
        let (entries, events) = waited.with_context(|| self.unfinished().unwrap_or_default())?;
        self.entries_seen += entries.len();
        self.events_seen += events.len();
        Ok((entries, events))
    }

    fn unfinished(&self) -> Result<String> {
        let entries = self.cluster.log().entries()?.split_off(self.entries_seen);
        let events = self.agent.events().all()?.split_off(self.events_seen);
        Ok(format!("ended for the server: {:?}\nended for the agent: {:?}", ended(&entries), closed(&events)))
    }
}

fn have_ended(entries: &[Entry], events: &[Event]) -> bool {
    let received = entries.iter().filter(|entry| entry.message.starts_with("connection received")).count();
    let ended = ended(entries);
    received > 0 && received == ended.len() && ended.is_subset(&closed(events))
}

fn ended(entries: &[Entry]) -> HashSet<u32> {
    entries.iter().filter(|entry| entry.message.starts_with("disconnection")).map(|entry| entry.pid).collect()
}

fn closed(events: &[Event]) -> HashSet<u32> {
    events::closed(events).filter_map(|session| Some(session.server.as_ref()?.pid)).collect()
}

/// One driver over one route: what is wrong, if anything.
fn check(witnesses: &mut Witnesses<'_>, driver: &Driver, route: Route, amount: Amount) -> Result<Vec<String>> {
    driver.play(witnesses.cluster, route, amount)?;
    let (entries, events) = witnesses.next()?;
    let difference = oracle::compare(&server_log::messages(&entries), &events);
    eprintln!("{} over {route}: {} messages agreed", driver.name, difference.agreed);
    let mut wrong: Vec<String> =
        events::closed(&events).filter_map(|session| wrong_session(session, driver, route)).collect();
    if !difference.is_empty() || difference.agreed == 0 {
        wrong.push(difference.report());
    }
    Ok(wrong.into_iter().map(|text| format!("{} over {route}: {text}", driver.name)).collect())
}

fn wrong_session(session: &Session, driver: &Driver, route: Route) -> Option<String> {
    let facts = [
        (session.coverage == Some(1.0), "coverage"),
        (session.transport.as_deref() == Some(route.transport()), "transport"),
        (session.encryption.as_deref() == Some(route.encryption()), "encryption"),
        (session.origin.as_deref() == Some("opened"), "origin"),
        (session.user.as_deref() == Some("postgres"), "user"),
        (session.database.as_deref() == Some("postgres"), "database"),
        (session.authenticated == Some(true), "authenticated"),
        (session.client.is_some(), "client"),
        (session.gaps.unwrap_or(0) == 0, "gaps"),
        (driver.name == "asyncpg" || session.application_name.is_some(), "application_name"),
    ];
    let wrong: Vec<&str> = facts.iter().filter(|(right, _)| !right).map(|(_, name)| *name).collect();
    (!wrong.is_empty()).then(|| format!("wrong {}: {session:?}", wrong.join(", ")))
}

/// Parse, Bind and Execute of a text: nothing that makes the server answer at once.
fn execute(text: &str) -> Vec<u8> {
    let parse = message(b'P', &[b"\0", text.as_bytes(), b"\0\0\0"].concat());
    [parse, message(b'B', b"\0\0\0\0\0\0\0\0"), message(b'E', b"\0\0\0\0\0")].concat()
}

#[test]
fn what_a_server_executes_after_its_client_has_reset_the_connection_is_recorded() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.sql("create table effects (name text)")?;
    let databases = vec![DatabaseEntry::of("test", &cluster)];
    let capture = vec!["scan_interval_seconds = 1".into()];
    let agent =
        Agent::start(&tooling::agent_binary()?, &AgentOptions { databases, capture, ..AgentOptions::default() })?;
    let stream = TcpStream::connect(("127.0.0.1", cluster.port()))?;
    // What waits to be sent is thrown away by a reset.
    stream.set_nodelay(true)?;
    let mut client = RawClient::connected(stream.try_clone()?)?;
    client.login()?;
    // Longer than scans take to notice that a socket is gone.
    client.send(&execute("select pg_sleep(4)"))?;
    wait::until("the server's sleep", wait::PATIENCE, || {
        let asleep = cluster.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'")?;
        Ok((asleep == "1").then_some(()))
    })?;
    let text = "insert into effects values ('after the reset')";
    client.send(&[execute(text), message(b'S', b"")].concat())?;
    setsockopt(&stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
    drop((client, stream));
    wait::until("the effect", wait::PATIENCE, || {
        Ok((cluster.sql("select name from effects")? == "after the reset").then_some(()))
    })?;
    let session = agent.events().wait_for_text(text)?.session;
    agent.events().wait_for("the end of the session", wait::PATIENCE, |all| {
        events::closed(all).any(|closed| closed.session == session).then_some(())
    })
}

#[test]
fn every_message_of_every_driver_is_recorded_once() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default().logging_statements())?;
    cluster.prepare_pgbench(1)?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let amount = Amount { rounds: if tooling::long_form() { 50 } else { 2 } };
    let mut witnesses = Witnesses::new(&cluster, &agent)?;
    let mut wrong = Vec::new();
    for route in Route::ALL {
        for driver in DRIVERS {
            wrong.extend(check(&mut witnesses, driver, route, amount)?);
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
