//! Whatever is lost between kernel and agent is counted and recorded, for every kind of event.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use warder_tests::agent::{Agent, AgentOptions, DatabaseEntry};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::drivers::scripts;
use warder_tests::route::Route;
use warder_tests::wire::{RawClient, terminate};
use warder_tests::{events, http, process, tooling};

/// Every kind of event that the kernel programs emit.
const KINDS: &[&str] = &["open", "owner", "client", "content", "exec", "fork", "exit", "close", "listen"];

/// Sessions of each sort while nobody empties the ring: far more than fit into it.
const SESSIONS: usize = 60;

/// Stops a process; lets it go on when the value is dropped.
struct Stopped(u32);

impl Stopped {
    fn stop(pid: u32) -> Result<Self> {
        process::send(pid, Signal::SIGSTOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = process::send(self.0, Signal::SIGCONT) {
            eprintln!("warning: {error:#}");
        }
    }
}

fn one_session(cluster: &Cluster, route: Route) -> Result<()> {
    let mut client = match route {
        Route::Unix => RawClient::unix(&cluster.socket())?,
        Route::Tcp | Route::Tls => RawClient::tcp(cluster.port())?,
    };
    client.login()?;
    client.query("select 'a statement that nobody may see'")?;
    client.send(&terminate())
}

fn generate_every_kind(cluster: &Cluster) -> Result<()> {
    for _ in 0..SESSIONS {
        one_session(cluster, Route::Tcp)?;
        one_session(cluster, Route::Unix)?;
        drop(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
        let mut becoming = Command::new(tooling::SYSTEM_PYTHON);
        process::run(becoming.arg(scripts().join("becoming_client.py")).arg(cluster.port().to_string()))?;
    }
    Ok(())
}

#[test]
fn every_kind_of_lost_event_is_counted_and_recorded() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let options = AgentOptions {
        databases: vec![DatabaseEntry::of("test", &cluster)],
        capture: vec!["ring_bytes = 16384".into()],
        ..AgentOptions::default()
    };
    let mut agent = Agent::start(&tooling::agent_binary()?, &options)?;
    let stopped = Stopped::stop(agent.core()?)?;
    generate_every_kind(&cluster)?;
    drop(stopped);
    let recorded = agent.events().wait_for("a loss record of every kind", Duration::from_secs(60), |all| {
        let losses = events::losses(all);
        KINDS.iter().all(|kind| losses.contains_key(kind)).then(|| losses.values().sum::<u64>())
    });
    let recorded = recorded.with_context(|| lost_kinds(&agent).unwrap_or_default())?;
    ensure!(recorded > 0, "nothing was lost: the test proves nothing");
    let metrics = agent.metrics()?;
    for kind in KINDS {
        let counted = http::metric(&metrics, "warder_lost_events_total", &[&format!("kind=\"{kind}\"")]);
        ensure!(counted.is_some_and(|count| count > 0.0), "warder_lost_events_total has no {kind}");
    }
    // It goes on afterwards.
    cluster.sql("select 'after the loss'")?;
    agent.events().wait_for_text("select 'after the loss'")?;
    ensure!(agent.alive()?, "the agent ended");
    Ok(())
}

fn lost_kinds(agent: &Agent) -> Result<String> {
    let all = agent.events().all()?;
    let losses = events::losses(&all);
    Ok(format!("recorded: {losses:?}"))
}
