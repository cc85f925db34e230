//! What stands at a database's entrances, by `warder steer status`. An agent that answers may not steer yet: clients that come
//! before that reach the server itself.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::agent::Agent;
use crate::wait;

/// The state of the first database with a proxy.
///
/// # Errors
/// When the agent does not answer.
pub fn state(agent: &Agent) -> Result<Value> {
    agent.cli_json(&["steer", "status", "--json"])?.into_iter().next().context("no database has a proxy")
}

/// Waits until the state satisfies `predicate`.
///
/// # Errors
/// When it does not in time.
pub fn wait(agent: &Agent, what: &str, predicate: impl Fn(&Value) -> bool) -> Result<()> {
    wait::until(what, wait::PATIENCE, || Ok(state(agent).is_ok_and(|state| predicate(&state)).then_some(())))
        .with_context(|| format!("{:?}; the agent said:\n{}", state(agent), agent.log().unwrap_or_default()))
}

/// Waits until TCP connections are steered and every worker is found alive.
///
/// # Errors
/// As [`wait`].
pub fn wait_steered(agent: &Agent) -> Result<()> {
    wait(agent, "steering", |state| {
        state["steered"] == true && state["listeners"] == state["listeners_live"] && state["listeners"] != 0
    })
}

/// Waits until the Unix socket is taken over.
///
/// # Errors
/// As [`wait`].
pub fn wait_taken(agent: &Agent) -> Result<()> {
    wait(agent, "the takeover of the Unix socket", |state| state["socket_taken"] == true)
}
