//! `cargo xtask demo`: the shortest way to see the agent at work, and a stage for other programs (`--json`).

use std::io::stderr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use warder_tests::agent::{Agent, AgentOptions, DatabaseEntry};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::route::Route;
use warder_tests::{directory, wait};

use crate::interrupt::Interrupt;
use crate::people::People;
use crate::progress::{note, step};
use crate::scene::{self, Props, Stage};
use crate::{build, setup};

/// Port of the metrics endpoint where it is free, as in the default configuration.
const METRICS_PORT: u16 = 9464;

/// Account of the proxy's workers: a number that nobody has.
const WORKER_USER: &str = "65533";

/// How the demo is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave after the scene instead of staying up until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Print one line of JSON on standard output with all that a program needs to connect
    #[arg(long)]
    json: bool,
}

/// Builds, starts, plays, shows; stops and removes everything at the end, also after a failure or a signal.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::for_demo()?;
    let binary = build::release()?;
    let interrupt = Interrupt::install()?;
    let cluster = step("demo: a private PostgreSQL", || Cluster::start(&ClusterOptions::default()))?;
    interrupt.check()?;
    let stage = step("demo: customer data and a first session", || Stage::set(&cluster))?;
    interrupt.check()?;
    let proxy_port = directory::free_port()?;
    let people = People::gather()?;
    let mut agent = step("demo: the agent", || start_agent(&binary, &cluster, &people, proxy_port))?;
    step("demo: a scene of clients", || {
        stage.play(Props { agent: &agent, people: &people, proxy_port }, &interrupt)?;
        agent.events().wait_for_text(scene::LAST_STATEMENT).map(drop)
    })?;
    show(&agent, "timeline", options)?;
    if options.json {
        println!("{}", description(&cluster, &agent, &people, proxy_port)?);
    }
    if !options.once {
        explain(&cluster, &agent, &people, proxy_port)?;
        stay(&mut agent, &interrupt)?;
    }
    step("demo: stopping", || agent.stop())?;
    // The last interval of the ledger is recorded when the agent stops.
    show(&agent, "coverage", options)
}

fn start_agent(binary: &Path, cluster: &Cluster, people: &People, proxy_port: u16) -> Result<Agent> {
    let mut tables = proxy_tables(cluster, proxy_port)?;
    tables.extend(people.issuer.tables());
    let free = TcpListener::bind(("127.0.0.1", METRICS_PORT)).is_ok();
    let options = AgentOptions {
        databases: vec![DatabaseEntry::of("demo", cluster)],
        metrics_port: free.then_some(METRICS_PORT),
        tables,
        ..AgentOptions::default()
    };
    Agent::start(binary, &options)
}

/// The proxy at an address of its own, with the server's certificate: the host's own network is not steered.
fn proxy_tables(cluster: &Cluster, port: u16) -> Result<Vec<String>> {
    let files = cluster.certificate();
    std::fs::write(policies(cluster), include_str!("demo/shop.cedar")).context("the demo's policies")?;
    Ok(vec![
        "[database.proxy]".to_owned(),
        format!("listen = [\"127.0.0.1:{port}\"]"),
        "tls = \"server-certificate\"".to_owned(),
        format!("certificate = {:?}", files.certificate),
        format!("private_key = {:?}", files.key),
        "mode = \"enforce\"".to_owned(),
        "environment = \"production\"".to_owned(),
        format!("policies = [{:?}]", policies(cluster)),
        "[database.proxy.login]".to_owned(),
        "mode = \"token\"".to_owned(),
        format!("user = {:?}", scene::ROLE),
        "[proxy]".to_owned(),
        format!("user = \"{WORKER_USER}\""),
    ])
}

/// The policies of the proxy, where they can be edited.
fn policies(cluster: &Cluster) -> PathBuf {
    cluster.directory().join("shop.cedar")
}

/// Shows what one of the agent's commands says.
fn show(agent: &Agent, verb: &str, options: &Options) -> Result<()> {
    eprintln!();
    let mut command = agent.command(&[verb]);
    if options.json {
        command.stdout(Stdio::from(stderr()));
    }
    ensure!(command.stdin(Stdio::null()).status()?.success(), "`warder {verb}` failed");
    eprintln!();
    Ok(())
}

/// All that another program needs to connect.
fn description(cluster: &Cluster, agent: &Agent, people: &People, proxy_port: u16) -> Result<serde_json::Value> {
    let shop = |route| cluster.uri(route, scene::ROLE, scene::DATABASE);
    // A token has no letter that means something in a URI.
    let user = format!("{}:{}", scene::ROLE, people.player("engineer")?.token);
    let proxied = |route| cluster.uri_at(proxy_port, route, &user, scene::DATABASE);
    Ok(json!({
        "dsn_tcp": shop(Route::Tcp),
        "dsn_tls": shop(Route::Tls),
        "dsn_unix": shop(Route::Unix),
        "dsn_proxy_tcp": proxied(Route::Tcp),
        "dsn_proxy_tls": proxied(Route::Tls),
        "dsn_admin": cluster.uri(Route::Unix, "postgres", scene::DATABASE),
        "config": agent.configuration(),
        "policies": policies(cluster),
        "journal": agent.events_directory(),
        "public_key": agent.public_key(),
        "metrics": agent.metrics_url(),
        "control_socket": agent.control_socket(),
        "exec_socket": agent.exec_socket(),
        "principals": people.description(),
        "warder": agent.binary(),
        "pid": std::process::id(),
    }))
}

fn explain(cluster: &Cluster, agent: &Agent, people: &People, proxy_port: u16) -> Result<()> {
    let (configuration, binary) = (agent.configuration(), agent.binary());
    let proxied = cluster.uri_at(proxy_port, Route::Tls, scene::ROLE, scene::DATABASE);
    let token_file = people.player("analyst")?.file.display();
    note("The demo stays up until Ctrl-C. Try, in another terminal:");
    note(&format!("psql '{}'", cluster.uri(Route::Tls, scene::ROLE, scene::DATABASE)));
    note(&format!("PGPASSWORD=$(cat {token_file}) psql '{proxied}'    (through the proxy, as the analyst)"));
    note(&format!(
        "{} exec --socket {} --token-file {token_file} -- psql '{proxied}'    (the same, without a password)",
        binary.display(),
        agent.exec_socket().display()
    ));
    note(&format!("edit {}    (what the proxy allows)", policies(cluster).display()));
    note(&format!("{} timeline --follow -c {}", binary.display(), configuration.display()));
    note(&format!("{} sessions --live -c {}", binary.display(), configuration.display()));
    note(&format!("curl {}", agent.metrics_url()));
    Ok(())
}

fn stay(agent: &mut Agent, interrupt: &Interrupt) -> Result<()> {
    const A_LONG_TIME: Duration = Duration::from_secs(365 * 24 * 3600);
    wait::until("Ctrl-C", A_LONG_TIME, || {
        ensure!(agent.alive()?, "the agent ended by itself; it said:\n{}", agent.log()?);
        Ok(interrupt.arrived().then_some(()))
    })
}
