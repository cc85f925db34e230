//! Sessions that are older than the agent: listed at its start, and observed from their first later message on.

use anyhow::{Context, Result, ensure};
use warder_tests::agent::Agent;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::events::{self, What};
use warder_tests::process::Running;
use warder_tests::route::Route;
use warder_tests::wire::{RawClient, message, query};
use warder_tests::{tooling, wait};

/// Sessions of the test.
const SESSIONS: usize = 50;

fn open(cluster: &Cluster) -> Result<Vec<(Route, Running)>> {
    let routes = Route::ALL.into_iter().cycle().take(SESSIONS);
    let mut sessions = Vec::new();
    for (number, route) in routes.enumerate() {
        let mut session = cluster.interactive(route, &format!("early {number}"))?;
        session.write_line("prepare p (int) as select 'prepared early', $1; select 'open';")?;
        session.read_line()?;
        sessions.push((route, session));
    }
    Ok(sessions)
}

#[test]
fn sessions_older_than_the_agent_are_listed_and_observed() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut sessions = open(&cluster)?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let listed = wait::until("all early sessions in the list", wait::PATIENCE, || {
        let listed = agent.cli_json(&["sessions", "--json"])?;
        Ok((listed.len() >= SESSIONS).then_some(listed))
    })?;
    ensure!(listed.len() == SESSIONS, "{} sessions are listed", listed.len());
    for (number, (_, session)) in sessions.iter_mut().enumerate() {
        session.write_line(&format!("select 'first later statement {number}';"))?;
        session.read_line()?;
        session.write_line("execute p(7);")?;
        session.read_line()?;
    }
    for (number, (route, _)) in sessions.iter().enumerate() {
        let statement = agent.events().wait_for_text(&format!("select 'first later statement {number}';"))?;
        let all = agent.events().all()?;
        let found = events::sessions(&all);
        let session = found.get(statement.session.as_str()).context("a statement without a session")?;
        ensure!(session.origin.as_deref() == Some("found_at_start"), "origin: {session:?}");
        ensure!(session.transport.as_deref() == Some(route.transport()), "transport: {session:?}");
        ensure!(session.user.as_deref() == Some("postgres"), "user: {session:?}");
        ensure!(session.database.as_deref() == Some("postgres"), "database: {session:?}");
        ensure!(session.inferred == Some(true), "inferred: {session:?}");
        ensure!(session.client.is_some(), "client: {session:?}");
        ensure!(statement.number == 1, "number: {statement:?}");
    }
    Ok(())
}

/// What the agent hears first is the end of a row that reads like the beginning of a message.
#[test]
fn a_session_that_is_in_the_middle_of_a_message_at_the_start_is_observed() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.sql("create table notes (note text)")?;
    let mut client = RawClient::tcp(cluster.port())?;
    client.login()?;
    client.send(&query(b"copy notes from stdin"))?;
    while client.receive()?.0 != b'G' {}
    let row = message(b'd', b"Question: is this a row?\nQ 17 is one\n");
    let (before, after) = row.split_at(row.len() - "Q 17 is one\n".len());
    client.send(before)?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    client.send(after)?;
    client.send(&message(b'c', b""))?;
    client.until_ready()?;
    for text in ["select 'the first after the copy'", "select 'the second after the copy'"] {
        client.query(text)?;
    }
    let second = agent.events().wait_for_text("select 'the second after the copy'")?;
    ensure!(second.ending.is_none() && !second.outcomes.is_empty(), "{second:?}");
    agent.events().wait_for_text("select 'the first after the copy'")?;
    let all = agent.events().all()?;
    let invented = events::statements(&all).find(|found| {
        found.session == second.session && !found.text.as_ref().is_some_and(|text| text.contains("after the copy"))
    });
    ensure!(invented.is_none(), "{invented:?}");
    let is_told = all.iter().any(|event| {
        matches!(&event.what, What::SessionGap { session, side, .. } if *session == second.session && side == "client")
    });
    ensure!(is_told, "no record says that something of the client was not understood");
    Ok(())
}

#[test]
fn a_statement_prepared_before_the_start_has_an_unknown_text() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut client = RawClient::tcp(cluster.port())?;
    client.login()?;
    let sync = message(b'S', b"");
    client.send(&[message(b'P', b"early\0select $1::text\0\0\0"), sync.clone()].concat())?;
    client.until_ready()?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let bind = message(b'B', b"\0early\0\0\0\0\x01\0\0\0\x05value\0\0");
    client.send(&[bind, message(b'E', b"\0\0\0\0\0"), sync].concat())?;
    client.until_ready()?;
    let statement = agent.events().wait_for("the execution", wait::PATIENCE, |all| {
        events::statements(all).find(|statement| statement.kind == "execute").cloned()
    })?;
    ensure!(statement.text_unknown.as_deref() == Some("prepared_before_start"), "{statement:?}");
    ensure!(statement.prepared.as_deref() == Some("early"), "{statement:?}");
    Ok(())
}
