//! The core dies at each step of making roles and taking them away: nothing is left that nobody needs, and nothing
//! happened that was not written down.
//!
//! Needs an agent with the feature `fault-points`, as `cargo xtask test` builds it.

#![expect(clippy::disallowed_methods, reason = "tests live in real time: deadlines need the clock")]

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use warder_tests::cluster::ClusterOptions;
use warder_tests::minting::{Minting, ROLES, credentials};
use warder_tests::{tooling, wait};

/// What the core has just done when it dies.
const STEPS: [&str; 7] = ["Recorded", "Created", "Decided", "Disabled", "Terminated", "Dropped", "Swept"];
/// Deaths; the long form has more.
const RUNS: usize = STEPS.len();
const RUNS_LONG: usize = 200;
/// A core that lives shorter is not started again.
const CORE_LIFE: Duration = Duration::from_millis(2200);

#[test]
fn a_core_that_dies_at_any_step_leaves_no_role_and_no_session() -> Result<()> {
    let minting = Minting::start(ClusterOptions::default().logging_statements())?;
    let runs = if tooling::long_form() { RUNS_LONG } else { RUNS };
    for (run, step) in STEPS.iter().cycle().take(runs).enumerate() {
        let what = || format!("run {run}, {step}:\n{}", minting.stage.agent.log().unwrap_or_default());
        die_at(&minting, step).with_context(what)?;
        minting.wait_clean().with_context(what)?;
        let sessions = "select count(*) from pg_stat_activity where starts_with(usename::text, 'warder_s_')";
        wait::until("the end of all sessions", wait::PATIENCE, || {
            Ok((minting.stage.cluster.sql(sessions)? == "0").then_some(()))
        })
        .with_context(what)?;
    }
    nothing_unwritten(&minting)
}

/// Has the core die at this step, and waits for the next one.
fn die_at(minting: &Minting, step: &str) -> Result<()> {
    let core = minting.stage.agent.core()?;
    let started = Instant::now();
    if step == "Swept" {
        // There must be something to sweep.
        die_at(minting, "Created")?;
        return die(minting, step, minting.stage.agent.core()?, |_| Ok(()));
    }
    wait::until("a core that may die", wait::PATIENCE, || Ok((started.elapsed() > CORE_LIFE).then_some(())))?;
    let mut session = minting.session(&minting.token("alice@example.com", "readers", 300)?)?;
    die(minting, step, core, |minting| {
        session.write_line("select pg_sleep(0.01);")?;
        if step != "Decided" {
            session.close_input();
            return Ok(());
        }
        wait::until("an access", wait::PATIENCE, || {
            let listed = minting.stage.agent.cli_json(&["access", "list", "--json"])?;
            Ok((!listed.is_empty()).then_some(()))
        })?;
        // The core dies before it answers.
        minting.stage.agent.cli(&["access", "end", "alice@example.com"]).map(drop).or(Ok(()))
    })
}

/// Arms the fault, and waits until the core has died of it and there is another one.
fn die(minting: &Minting, step: &str, core: u32, cause: impl FnOnce(&Minting) -> Result<()>) -> Result<()> {
    fs::write(&minting.fault_file, step)?;
    fs::set_permissions(&minting.fault_file, Permissions::from_mode(0o666))?;
    cause(minting)?;
    wait::until("the death of the core: was the agent built with fault-points?", wait::PATIENCE, || {
        Ok((!minting.fault_file.exists()).then_some(()))
    })?;
    wait::until("another core", wait::PATIENCE, || {
        Ok(minting.stage.agent.core().is_ok_and(|now| now != core).then_some(()))
    })
}

/// Each role that the server was told to make is in the journal, and each one's end.
fn nothing_unwritten(minting: &Minting) -> Result<()> {
    ensure!(minting.stage.cluster.sql(ROLES)? == "0");
    let log = fs::read_dir(minting.stage.cluster.directory().join("data/log"))?;
    let mut made: HashSet<String> = HashSet::new();
    for file in log.flatten() {
        let text = fs::read_to_string(file.path())?;
        made.extend(text.split("CREATE ROLE ").skip(1).filter_map(|rest| {
            let role = rest.split(' ').next()?;
            role.starts_with("warder_s_").then(|| role.to_owned())
        }));
    }
    ensure!(!made.is_empty(), "the server's log has no role");
    let events = minting.stage.agent.events().all()?;
    let with = |step: &str| -> HashSet<String> {
        credentials(&events).filter(|credential| credential.step == step).map(|one| one.role.clone()).collect()
    };
    let unwritten: Vec<_> = made.difference(&with("minting")).cloned().collect();
    ensure!(unwritten.is_empty(), "made and not written down: {unwritten:?}");
    println!("{} roles made, {} orphans swept", made.len(), with("orphan").len());
    Ok(())
}
