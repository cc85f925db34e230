//! Secrets that pass the agent are in none of its outputs: events, log, metrics, command line, control socket.

use std::process::Command;

use anyhow::{Result, ensure};
use warder_tests::agent::{Agent, AgentOptions, DatabaseEntry};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::events::{self, Events};
use warder_tests::route::Route;
use warder_tests::{encodings, process, tooling, wait};

/// One secret for each way in; the words are found nowhere else.
const MD5: &str = "Sentinel-md5-Qx71vZ";
const SCRAM: &str = "Sentinel-scram-Hu28wK";
const CLEARTEXT: &str = "Sentinel-clear-Lm39yP";
const ALTERED: &str = "Sentinel-alter-Bn46tR";
const MAPPED: &str = "Sentinel-mapped-Cd57sJ";
const BOUND: &str = "Sentinel-bound-Fg68dW";
const SECRETS: &[&str] = &[MD5, SCRAM, CLEARTEXT, ALTERED, MAPPED, BOUND];

/// Roles, and how each of them logs in.
const LOGINS: &[(&str, &str)] = &[("by_md5", MD5), ("by_scram", SCRAM), ("by_cleartext", CLEARTEXT)];

/// Statements that carry secrets, as a superuser sends them.
const STATEMENTS: &[&str] = &[
    "alter role by_scram password 'Sentinel-alter-Bn46tR'",
    "ALTER ROLE by_scram WITH ENCRYPTED PASSWORD $q$Sentinel-alter-Bn46tR$q$",
    "select 1; alter user by_scram password E'Sentinel-alter-Bn46tR'; select 2",
    "create user mapping for by_md5 server far options (user 'far', password 'Sentinel-mapped-Cd57sJ')",
    "alter role by_scram password 'Sentinel-alter-Bn46tR' and a syntax error",
    "select dblink_connect('host=far password=Sentinel-mapped-Cd57sJ')",
    "alter role by_scram password 'Sentinel-scram-Hu28wK'",
];

fn cluster() -> Result<Cluster> {
    let options = ClusterOptions::default()
        .access("local all by_md5 md5\nhost all by_md5 all md5")
        .access("local all by_scram scram-sha-256\nhost all by_scram all scram-sha-256")
        .access("local all by_cleartext password\nhost all by_cleartext all password");
    let cluster = Cluster::start(&options)?;
    // Before the agent: how the roles came to be is not what is tested.
    for (role, secret) in LOGINS {
        let method = if *role == "by_md5" { "md5" } else { "scram-sha-256" };
        cluster.sql(&format!("set password_encryption = '{method}'; create role {role} login password '{secret}'"))?;
    }
    cluster.sql("create foreign data wrapper nothing; create server far foreign data wrapper nothing")?;
    cluster.sql("create function dblink_connect(text) returns text language sql as 'select ''OK'''")?;
    Ok(cluster)
}

/// psql with the secret in the environment, in a URI and in a keyword DSN; the last two are its command line.
fn logins(cluster: &Cluster, route: Route, role: &str, secret: &str) -> Vec<Command> {
    let text = format!("select 'login of {role}'");
    let client = |words: &[&str]| {
        let mut command = cluster.client("psql", route);
        command.args(["-XqAt", "-c", &text]).args(words);
        command
    };
    let mut by_environment = client(&[]);
    by_environment.env("PGUSER", role).env("PGPASSWORD", secret);
    let uri = cluster.uri(route, &format!("{role}:{secret}"), "postgres");
    let keywords = format!("user={role} password='{secret}' dbname=postgres");
    vec![by_environment, client(&[&uri]), client(&[&keywords])]
}

fn play_logins(cluster: &Cluster) -> Result<()> {
    for route in Route::ALL {
        for (role, secret) in LOGINS {
            for mut command in logins(cluster, route, role, secret) {
                process::run(&mut command)?;
            }
        }
    }
    // A wrong password is a secret, too: often it is the right one for somewhere else.
    let mut wrong = cluster.client("psql", Route::Tcp);
    process::run_any(wrong.args(["-XqAt", "-c", "select 1"]).env("PGUSER", "by_cleartext").env("PGPASSWORD", BOUND))?;
    Ok(())
}

fn play_statements(cluster: &Cluster) -> Result<()> {
    for statement in STATEMENTS {
        process::run_any(cluster.client("psql", Route::Tcp).args(["-XqAt", "-c", statement]))?;
    }
    let bound = "import os, psycopg\n\
        with psycopg.connect('', autocommit=True) as connection:\n\
        \x20   connection.execute('select dblink_connect(%s)', ('host=far password=' + os.environ['SENTINEL'],))\n";
    let mut python = Command::new(tooling::python_environment()?.join("bin/python"));
    python.args(["-c", bound]).envs(cluster.environment(Route::Tcp)).env("SENTINEL", BOUND);
    process::run(&mut python)?;
    Ok(())
}

/// Everything that can be read from an agent.
fn outputs(agent: &Agent) -> Result<Vec<(&'static str, Vec<u8>)>> {
    Ok(vec![
        ("the events file", agent.events().bytes()?),
        ("the agent's log", agent.log()?.into_bytes()),
        ("the metrics", agent.metrics()?.into_bytes()),
        ("`warder sessions --json`", agent.cli(&["sessions", "--json"])?.stdout),
        ("`warder timeline`", agent.cli(&["timeline"])?.stdout),
        ("`warder timeline --json`", agent.cli(&["timeline", "--json"])?.stdout),
    ])
}

fn check_outputs(agent: &Agent) -> Result<()> {
    let outputs = outputs(agent)?;
    let mut leaks = Vec::new();
    for (output, bytes) in &outputs {
        let text = String::from_utf8_lossy(bytes);
        for secret in SECRETS {
            leaks.extend(encodings::found(secret, &text).map(|form| format!("{secret} is in {output} {form}")));
        }
    }
    ensure!(leaks.is_empty(), "{}", leaks.join("\n"));
    Ok(())
}

#[test]
fn secrets_are_in_no_output() -> Result<()> {
    let cluster = cluster()?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    play_logins(&cluster)?;
    play_statements(&cluster)?;
    cluster.sql("select 'the end'")?;
    agent.events().wait_for_text("select 'the end'")?;
    // What holds no secret is there: the test would be worthless if nothing was recorded.
    let all = agent.events().all()?;
    for (role, _) in LOGINS {
        let text = format!("select 'login of {role}'");
        let found = events::statements(&all).filter(|statement| statement.text.as_deref() == Some(&text)).count();
        ensure!(found == 9, "{role} logged in 9 times, {found} were recorded");
    }
    let redacted = events::statements(&all).filter(|statement| statement.redacted).count();
    ensure!(redacted >= STATEMENTS.len(), "only {redacted} statements are marked as redacted");
    check_outputs(&agent)
}

/// Waits until something was lost.
fn wait_for_loss(events: &Events) -> Result<()> {
    events.wait_for("a loss record", wait::PATIENCE, |all| (!events::losses(all).is_empty()).then_some(()))
}

#[test]
fn secrets_are_in_no_output_after_a_loss_during_authentication() -> Result<()> {
    let cluster = cluster()?;
    cluster.prepare_pgbench(1)?;
    let options = AgentOptions {
        databases: vec![DatabaseEntry::of("test", &cluster)],
        capture: vec!["ring_bytes = 16384".into()],
        ..AgentOptions::default()
    };
    let agent = Agent::start(&tooling::agent_binary()?, &options)?;
    // The load fills the small ring again and again, so that anything of a login may be lost.
    let mut load = cluster.client("pgbench", Route::Unix);
    load.args(["-S", "-n", "-c", "4", "-T", "8"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut load = process::Running::start("pgbench", nix::sys::signal::Signal::SIGTERM, &mut load)?;
    while load.alive()? {
        play_logins(&cluster)?;
        play_statements(&cluster)?;
    }
    wait_for_loss(&agent.events())?;
    check_outputs(&agent)
}
