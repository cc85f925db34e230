//! `warder access`: who has access through the proxy now, and its end.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::{ConfigArg, EXIT_CODES};
use crate::control::{AccessView, client};
use crate::terminal;

#[derive(Debug, Subcommand)]
pub(super) enum Access {
    /// List the sessions of those who are known, with the role that was made for each, if one was
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
    /// Name of a role, or of a principal: then all of it, and of whoever acts for it
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
    let own = role.as_ref().zip(group.as_ref()).map(|(role, group)| format!("{role} ({group})"));
    let until = until.map_or_else(|| "its end".to_owned(), |until| until.to_string());
    let role = own.as_deref().unwrap_or("no role of its own");
    terminal::escape(&format!("{database}  {role}  for {principal}  until {until}")).into_owned()
}
