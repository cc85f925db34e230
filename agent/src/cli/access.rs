//! `warder access`: roles that live as long as one session.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::{ConfigArg, EXIT_CODES};
use crate::control::{AccessView, client};
use crate::terminal;

#[derive(Debug, Subcommand)]
pub(super) enum Access {
    /// List the roles that were made for sessions, with whom they are for
    #[command(after_help = EXIT_CODES)]
    List(List),
    /// End access now: its sessions are cut, whatever runs in them (operator)
    #[command(after_help = EXIT_CODES)]
    End(End),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(super) struct End {
    /// Name of a role, or of a principal: then all that were made for it, or for somebody who acts for it
    whose: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Output {
    /// One JSON object for each access
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl Access {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (output, whose) = match self {
            Self::List(list) => (&list.output, None),
            Self::End(end) => (&end.output, Some(end.whose.as_str())),
        };
        let socket = output.config.load()?.agent.control_socket;
        let accesses = match whose {
            None => client::accesses(&socket)?,
            Some(whose) => client::end_access(&socket, whose)?,
        };
        let mut text = String::new();
        for access in &accesses {
            match output.json {
                true => writeln!(text, "{}", serde_json::to_string(access)?)?,
                false => writeln!(text, "{}", line(access))?,
            }
        }
        if accesses.is_empty() && !output.json {
            text += "there is no such access\n";
        }
        Ok(terminal::print(&text)?)
    }
}

fn line(access: &AccessView) -> String {
    let AccessView { role, group, database, principal, until, .. } = access;
    let principal = if principal.is_empty() { "somebody" } else { principal };
    terminal::escape(&format!("{role}  {database}  {group}  for {principal}  until {until}")).into_owned()
}
