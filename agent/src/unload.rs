//! `warder unload`: gives the host back whatever state it is in, without an agent.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use nix::unistd::Uid;
use steering::takeover::{self, Restored};

use crate::config::Config;
use crate::control::{SteerVerb, client};

/// Removes all steering and gives all taken-over sockets back; returns what was done, for people.
pub(crate) fn unload(config: &Config) -> Result<String> {
    ensure!(Uid::effective().is_root(), "only root can give the host back");
    let mut text = String::new();
    // An agent that runs would take back what is given back under its feet.
    if client::steer(&config.agent.control_socket, SteerVerb::Off, None).is_ok() {
        writeln!(text, "the agent that runs does not steer any more")?;
    }
    let mut is_complete = true;
    let report = steering::unload::unload(&config.proxy.pin_directory);
    writeln!(text, "steering: {} detached, {} pins removed", report.detached.len(), report.removed)?;
    for (path, problem) in &report.failed {
        is_complete = false;
        writeln!(text, "  {} is left: {problem}", path.display())?;
    }
    let taken = config.databases.iter().filter(|database| database.guard.is_some());
    for path in taken.filter_map(|database| database.socket.as_ref()) {
        match takeover::recover(path) {
            Ok(Restored::Nothing) => {}
            Ok(Restored::GivenBack) => writeln!(text, "{}: given back to the server", path.display())?,
            Ok(Restored::ServerHadIt) => writeln!(text, "{}: the server has it already", path.display())?,
            Err(problem) => {
                is_complete = false;
                writeln!(text, "{}: {:#}", path.display(), anyhow::Error::new(problem))?;
            }
        }
    }
    ensure!(is_complete, "not everything could be given back:\n{text}");
    Ok(text)
}
