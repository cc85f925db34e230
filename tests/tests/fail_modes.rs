//! Whatever becomes of the agent while clients come and go: in `observe` they are served, in `enforce` nobody reaches the
//! server without it, and afterwards all go through the proxy again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use warder_tests::hammer::Hammer;
use warder_tests::stage::{Place, Stage, StageOptions};
use warder_tests::{directory, process, tooling, wait};

/// Clients at once.
const CLIENTS: u32 = 4;
/// Connections that show that clients are served, or refused.
const SOME: u64 = 10;

/// What becomes of the agent, all processes of it.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Killed,
    Suspended,
    Restarted,
    Upgraded,
}

/// An upgrade is a restart with another file: the short form leaves the plain one out.
fn harms() -> &'static [Harm] {
    let all = &[Harm::Killed, Harm::Suspended, Harm::Upgraded, Harm::Restarted];
    if tooling::long_form() { all } else { &all[..3] }
}

impl Harm {
    /// From here on there is no agent.
    fn begin(self, stage: &mut Stage) -> Result<Vec<u32>> {
        let processes = stage.agent.processes()?;
        match self {
            Self::Killed => stage.agent.kill()?,
            Self::Suspended => signal(&processes, Signal::SIGSTOP)?,
            Self::Restarted | Self::Upgraded => stage.agent.stop()?,
        }
        Ok(processes)
    }

    /// There is one again.
    fn end(self, stage: &mut Stage, processes: &[u32], newer: &Path) -> Result<()> {
        match self {
            Self::Suspended => return signal(processes, Signal::SIGCONT),
            Self::Upgraded => stage.agent.replace_binary(newer),
            Self::Killed | Self::Restarted => {}
        }
        stage.agent.run()
    }
}

fn signal(processes: &[u32], signal: Signal) -> Result<()> {
    processes.iter().try_for_each(|&pid| process::send(pid, signal))
}

/// The agent's program in another file.
fn newer(folder: &Path) -> Result<PathBuf> {
    let newer = folder.join("warder-newer");
    std::fs::copy(tooling::agent_binary()?, &newer).context("the agent's program cannot be copied")?;
    Ok(newer)
}

fn is_served(stage: &Stage) -> Result<bool> {
    Ok(stage.psql(Place::Inside, &[("PGCONNECT_TIMEOUT", "4")], "select 1")?.status.success())
}

fn more(what: &str, count: impl Fn() -> u64) -> Result<()> {
    let before = count();
    wait::until(what, wait::PATIENCE, || Ok((count() >= before + SOME).then_some(())))
}

/// TCP connections that the server has received, by its own log.
fn received(stage: &Stage) -> Result<usize> {
    let log = std::fs::read_to_string(stage.cluster.directory().join("data/log/server.csv"))?;
    let is_tcp = |line: &&str| line.contains("connection received: host=") && !line.contains("host=[local]");
    Ok(log.lines().filter(is_tcp).count())
}

fn check(stage: &mut Stage, harm: Harm, is_open: bool, newer: &Path) -> Result<()> {
    let clients = Hammer::start(&stage.namespace.file(), stage.cluster.port(), CLIENTS)?;
    more("clients that are served before", || clients.served())?;
    let processes = harm.begin(stage)?;
    if is_open {
        wait::until("a client that is served without the agent", wait::PATIENCE, || {
            Ok(is_served(stage)?.then_some(()))
        })?;
    } else {
        wait::until("a client that is refused", wait::PATIENCE, || Ok((!is_served(stage)?).then_some(())))?;
        let before = received(stage)?;
        ensure!(before > 0, "the server's log says nothing of connections");
        more("clients that are refused", || clients.failed())?;
        let after = received(stage)?;
        ensure!(after == before, "{} connections reached the server without the agent", after - before);
    }
    harm.end(stage, &processes, newer)?;
    stage.wait_steered()?;
    more("clients that are served again", || clients.served())
}

fn check_all(mode: &str, is_open: bool) -> Result<()> {
    let folder = directory::private("upgrade")?;
    let newer = newer(folder.path())?;
    let mut options = StageOptions::steered(&[&format!("mode = {mode:?}")]);
    options.cluster = options.cluster.with("log_connections", "on");
    let mut stage = Stage::start_steered(&options)?;
    for &harm in harms() {
        check(&mut stage, harm, is_open, &newer).with_context(|| format!("{harm:?}"))?;
        let passed = stage.state()?["connections_passed_open"].as_u64().context("no counter")?;
        ensure!(is_open || passed == 0, "{harm:?}: {passed} connections passed");
    }
    let ledger = stage.ledger_after_stop()?;
    // Where clients pass without the agent, how many of them the next one finds, and as what, is a matter of moments.
    let is_around = |class: &String| !matches!(class.as_str(), "mediated" | "unknown" | "bypass/unix_socket");
    ensure!(ledger.contains_key("mediated") && (is_open || !ledger.keys().any(is_around)), "{ledger:?}");
    // A worker that ends between a connection to the server and the word about it leaves one that nobody tells of.
    let untold = ledger.get("unknown").copied().unwrap_or(0);
    let most = u64::from(CLIENTS) * u64::try_from(harms().len())?;
    ensure!(is_open || untold <= most, "more than {most} connections of the proxy that it says nothing of: {ledger:?}");
    Ok(())
}

#[test]
fn in_observe_clients_are_served_whatever_becomes_of_the_agent() -> Result<()> {
    check_all("observe", true)
}

#[test]
fn in_enforce_nobody_gets_around_whatever_becomes_of_the_agent() -> Result<()> {
    check_all("enforce", false)
}
