//! `warder steer` and `warder unload`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::{ConfigArg, EXIT_CODES};
use crate::control::{SteerVerb, SteeringView, client};
use crate::terminal;

#[derive(Debug, Subcommand)]
pub(super) enum Steer {
    /// Send new connections through the proxy; those that are open stay as they are (operator)
    #[command(after_help = EXIT_CODES)]
    On(Which),
    /// Let new connections go to the server; those that go through the proxy stay (operator)
    #[command(after_help = EXIT_CODES)]
    Off(Which),
    /// Say how steering is, and what became of connections
    #[command(after_help = EXIT_CODES)]
    Status(Which),
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Name of a [[database]] [default: all that have a proxy]
    database: Option<String>,
    /// One JSON object for each database
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
pub(super) struct Unload {
    #[command(flatten)]
    config: ConfigArg,
}

impl Steer {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (verb, which) = match self {
            Self::On(which) => (SteerVerb::On, which),
            Self::Off(which) => (SteerVerb::Off, which),
            Self::Status(which) => (SteerVerb::Status, which),
        };
        let socket = which.config.load()?.agent.control_socket;
        let states = client::steer(&socket, verb, which.database.as_deref())?;
        let mut text = String::new();
        for state in &states {
            if which.json {
                writeln!(text, "{}", serde_json::to_string(state)?)?;
            } else {
                describe(state, &mut text)?;
            }
        }
        Ok(terminal::print(&text)?)
    }
}

fn describe(state: &SteeringView, text: &mut String) -> std::fmt::Result {
    let tcp = if state.steered { "steered" } else { "not steered" };
    let unix = if state.socket_taken { "taken over" } else { "not taken over" };
    let fail = match state.fail.as_str() {
        "closed" => "refuses connections",
        _ => "lets connections reach the server",
    };
    writeln!(text, "{}: TCP {tcp}, Unix socket {unix}; without a live worker it {fail}", state.database)?;
    let age = state.heartbeat_age_ms.map_or(String::new(), |age| format!(", oldest heartbeat {age} ms ago"));
    writeln!(text, "  listeners: {} of {} live{age}", state.listeners_live, state.listeners)?;
    writeln!(
        text,
        "  connections: {} steered, {} hops of the proxy, {} allowed direct, {} passed and {} dropped without a worker",
        state.connections_steered,
        state.connections_hop,
        state.connections_direct,
        state.connections_passed_open,
        state.connections_dropped_closed
    )?;
    if let Some(cgroup) = &state.refuse_direct {
        let now = if state.refusing { "are refused" } else { "are not refused now" };
        writeln!(text, "  processes in {} that go past the proxy {now}", terminal::escape(cgroup))?;
    }
    for remark in &state.remarks {
        writeln!(text, "  note: {}", terminal::escape(remark))?;
    }
    Ok(())
}

impl Unload {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        let report = crate::unload::unload(&config)?;
        Ok(terminal::print(&report)?)
    }
}
