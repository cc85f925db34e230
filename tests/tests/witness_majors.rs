//! The witness and every supported major of the server.

use anyhow::{Context, Result, ensure};
use warder_tests::agent::{Agent, AgentOptions, DatabaseEntry};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::events;
use warder_tests::process;
use warder_tests::route::Route;
use warder_tests::suite_major::{Major, ServerPrograms};
use warder_tests::tooling;

/// Statements over each route to one server, and what is recorded of them.
fn check(major: Major) -> Result<()> {
    let programs = ServerPrograms::of(major)?;
    let options = ClusterOptions { server_programs: Some(programs.folder()), ..ClusterOptions::default() };
    let cluster = Cluster::start(&options)?;
    let options = AgentOptions { databases: vec![DatabaseEntry::of("major", &cluster)], ..AgentOptions::default() };
    let mut agent = Agent::start(&tooling::agent_binary()?, &options)?;
    for route in Route::ALL {
        let text = format!("select 'over {route}', generate_series(1, 1000)");
        process::run(cluster.client("psql", route).args(["-XqAtc", &text]))?;
        let statement = agent.events().wait_for_text(&text)?;
        ensure!(statement.outcomes.iter().any(|outcome| outcome.rows == Some(1000)), "{statement:?}");
        let id = statement.session;
        let all = agent.events().wait_for("the end of the session", warder_tests::wait::PATIENCE, |all| {
            events::closed(all).any(|closed| closed.session == id).then(|| all.to_vec())
        })?;
        let session = events::sessions(&all).remove(id.as_str()).context("a statement without a session")?;
        ensure!(session.transport.as_deref() == Some(route.transport()), "{session:?}");
        ensure!(session.encryption.as_deref() == Some(route.encryption()), "{session:?}");
        ensure!(session.origin.as_deref() == Some("opened") && session.gaps.unwrap_or(0) == 0, "{session:?}");
        ensure!(session.user.as_deref() == Some("postgres") && session.client.is_some(), "{session:?}");
        let closed = events::closed(&all).find(|closed| closed.session == id).context("no end")?;
        ensure!(closed.coverage == Some(1.0), "{closed:?}");
    }
    agent.stop()
}

#[test]
fn sessions_with_every_major_are_heard_whole() -> Result<()> {
    Major::ALL.into_iter().try_for_each(|major| check(major).with_context(|| format!("PostgreSQL {}", major.number)))
}
