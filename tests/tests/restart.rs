//! The agent dies under load and comes back: the database's clients notice nothing, the records say what is missing.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use warder_tests::agent::Agent;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::events::{self, What};
use warder_tests::process::Running;
use warder_tests::route::Route;
use warder_tests::{tooling, wait};

/// How long pgbench runs: longer than a kill and a restart take.
const LOAD_SECONDS: &str = "20";

#[test]
fn killed_under_load_and_restarted() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.prepare_pgbench(1)?;
    let mut agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let mut witness = cluster.interactive(Route::Tls, "witness")?;
    witness.write_line("select 'before the crash';")?;
    witness.read_line()?;
    let before = agent.events().wait_for_text("select 'before the crash';")?;

    let mut command = cluster.client("pgbench", Route::Tcp);
    command
        .args(["-S", "-n", "-c", "4", "-R", "400", "-T", LOAD_SECONDS])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut load = Running::start("pgbench", Signal::SIGTERM, &mut command)?;
    agent.events().wait_for("statements of the load", wait::PATIENCE, |all| {
        (events::statements(all).count() > 200).then_some(())
    })?;
    agent.kill()?;
    witness.write_line("select 'nobody watches';")?;
    witness.read_line()?;
    ensure!(load.alive()?, "pgbench ended when the agent was killed");
    agent.run()?;
    witness.write_line("select 'after the restart';")?;
    witness.read_line()?;

    let after = agent.events().wait_for_text("select 'after the restart';")?;
    ensure!(before.session == after.session, "the session's id changed: {} and {}", before.session, after.session);
    let all = agent.events().all()?;
    let gap = all.iter().find(|event| matches!(event.what, What::Gap { .. })).context("no gap record")?;
    let What::Gap { from, to, .. } = &gap.what else { unreachable!("it was just matched") };
    ensure!(from < to, "the gap has no length: {from} to {to}");
    let unseen = events::statements(&all).any(|found| found.text.as_deref() == Some("select 'nobody watches';"));
    ensure!(!unseen, "a statement was recorded that nobody observed");
    check_sequence(&all.iter().map(|event| event.seq).collect::<Vec<_>>())?;
    let status = load.wait(Duration::from_secs(60))?;
    ensure!(status.success(), "pgbench ended with {status}");
    ensure!(agent.alive()?, "the agent did not survive the load");
    Ok(())
}

#[test]
fn what_happened_just_before_the_agent_stops_is_recorded() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let mut witness = cluster.interactive(Route::Tcp, "witness")?;
    witness.write_line("select 'the first words';")?;
    witness.read_line()?;
    agent.events().wait_for_text("select 'the first words';")?;
    // Nothing happens for a while: then records wait longest until somebody looks.
    std::thread::sleep(Duration::from_secs(2));
    witness.write_line("select 'the last words';")?;
    witness.read_line()?;
    agent.stop()?;
    let all = agent.events().all()?;
    let is_there = events::statements(&all).any(|found| found.text.as_deref() == Some("select 'the last words';"));
    ensure!(is_there, "the last statement is in no record");
    Ok(())
}

fn check_sequence(numbers: &[u64]) -> Result<()> {
    let broken = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    ensure!(broken.is_none(), "record numbers do not continue: {broken:?}");
    Ok(())
}
