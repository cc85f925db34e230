//! Whose listener it is: another program on a database's port, a flood of them, an abstract name.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use warder_tests::account::Account;
use warder_tests::agent::{Agent, AgentOptions};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::drivers::sibling;
use warder_tests::process::Running;
use warder_tests::route::Route;
use warder_tests::wire::{RawClient, query, startup};
use warder_tests::{directory, events, process, tooling};

/// Only what a test asks for is looked at.
const NO_PERIODIC_SCAN: &str = "scan_interval_seconds = 3600";

/// An agent that finds databases by itself.
fn discovering() -> Result<Agent> {
    let options = AgentOptions { capture: vec![NO_PERIODIC_SCAN.into()], ..AgentOptions::default() };
    Agent::start(&tooling::agent_binary()?, &options)
}

/// Somebody talks the protocol to a program that is no database.
fn talk_to(impostor: &TcpListener, text: &str) -> Result<()> {
    let mut client = TcpStream::connect(impostor.local_addr()?)?;
    let (mut server, _) = impostor.accept()?;
    let said = [startup("boss", "payroll"), query(text.as_bytes())].concat();
    client.write_all(&said)?;
    server.read_exact(&mut vec![0; said.len()])?;
    server.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IC\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I")?;
    Ok(())
}

/// What the database hears now is recorded, and what was said to others before is not.
fn check_only_the_database(cluster: &Cluster, agent: &Agent, text: &str) -> Result<()> {
    process::run(cluster.client("psql", Route::Tcp).args(["-XqAtc", text]))?;
    check_recorded_alone(agent, text)
}

fn check_recorded_alone(agent: &Agent, text: &str) -> Result<()> {
    agent.events().wait_for_text(text)?;
    let all = agent.events().all()?;
    let impostor =
        events::statements(&all).find(|statement| statement.text.as_ref().is_some_and(|t| t.contains("no database")));
    ensure!(impostor.is_none(), "recorded as a database's: {impostor:?}");
    let sessions = events::sessions(&all);
    let impostor = sessions.values().find(|session| session.user.as_deref() == Some("boss"));
    ensure!(impostor.is_none(), "recorded as a database's: {impostor:?}");
    Ok(())
}

#[test]
fn another_program_on_another_address_of_the_port_is_no_database() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = discovering()?;
    let impostor = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), cluster.port()))?;
    talk_to(&impostor, "select 'no database listens here'")?;
    check_only_the_database(&cluster, &agent, "select 'a database listens here'")
}

#[test]
fn another_program_on_the_port_of_the_other_internet_protocol_is_no_database() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { listen: "::".into(), ..ClusterOptions::default() })?;
    let agent = discovering()?;
    let impostor = TcpListener::bind((Ipv4Addr::LOCALHOST, cluster.port()))?;
    talk_to(&impostor, "select 'no database listens here'")?;
    let text = "select 'a database listens on IPv6'";
    process::run(cluster.client("psql", Route::Tcp).env("PGHOST", "::1").args(["-XqAtc", text]))?;
    check_recorded_alone(&agent, text)
}

#[test]
fn a_socket_that_connects_to_itself_is_no_session() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = discovering()?;
    let address = SockaddrIn::new(127, 0, 0, 5, cluster.port());
    let lonely = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(lonely.as_raw_fd(), &address)?;
    connect(lonely.as_raw_fd(), &address)?;
    let mut stream = TcpStream::from(lonely);
    let said = [startup("boss", "payroll"), query(b"select 'no database answers'")].concat();
    stream.write_all(&said)?;
    stream.read_exact(&mut vec![0; said.len()])?;
    check_only_the_database(&cluster, &agent, "select 'a database answers'")
}

#[test]
fn a_program_that_takes_over_the_port_is_no_database() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = discovering()?;
    // No scan finds the port free in between: what counts is the socket.
    process::send(agent.pid()?, Signal::SIGSTOP)?;
    cluster.stop()?;
    let impostor = TcpListener::bind((Ipv4Addr::LOCALHOST, cluster.port()))?;
    process::send(agent.pid()?, Signal::SIGCONT)?;
    agent.cli(&["scan"])?;
    talk_to(&impostor, "select 'no database listens here any more'")?;
    drop(impostor);
    cluster.start_again()?;
    agent.cli(&["scan"])?;
    check_only_the_database(&cluster, &agent, "select 'the database is back'")
}

#[test]
fn a_server_that_listens_on_an_abstract_name() -> Result<()> {
    let options = ClusterOptions { listen: String::new(), ..ClusterOptions::default() };
    let mut cluster = Cluster::start(&options)?;
    let name = format!("warder-test-{}", std::process::id());
    let folders = format!("'@{name}', '{}'", cluster.socket_directory().display());
    cluster.sql(&format!("alter system set unix_socket_directories = {folders}"))?;
    cluster.stop()?;
    cluster.start_again()?;
    let agent = discovering()?;
    let path = format!("{name}/.s.PGSQL.{}", cluster.port());
    let mut client = RawClient::connected_unix(UnixStream::connect_addr(&SocketAddr::from_abstract_name(&path)?)?)?;
    client.login()?;
    client.query("select 'abstract'")?;
    let statement = agent.events().wait_for_text("select 'abstract'")?;
    let all = agent.events().all()?;
    let sessions = events::sessions(&all);
    let session = sessions.get(statement.session.as_str()).context("no session")?;
    ensure!(session.socket_path == Some(format!("@{path}")), "{session:?}");
    ensure!(session.database_entry == Some(format!("postgresql-{}", cluster.port())), "{session:?}");
    Ok(())
}

/// A program of somebody's, called like a server, with so many listeners.
fn called_postgres(folder: &Path, listeners: usize) -> Result<Running> {
    let executable = folder.join("postgres");
    std::fs::copy(sibling("flood-listener")?, &executable)?;
    let mut command = process::command_as(&Account::nobody()?, &executable);
    command.arg(listeners.to_string()).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running::start("a program called postgres", Signal::SIGTERM, &mut command)?;
    running.read_line()?;
    Ok(running)
}

#[test]
fn a_server_is_read_after_many_others_are_gone() -> Result<()> {
    /// Each has four functions to probe: more than there are slots for.
    const SERVERS: usize = 66;
    let agent = discovering()?;
    let folders = (0..SERVERS).map(|_| directory::private("upgrade")).collect::<Result<Vec<_>>>()?;
    let servers = folders.iter().map(|folder| called_postgres(folder.path(), 1)).collect::<Result<Vec<_>>>()?;
    agent.cli(&["scan"])?;
    drop(servers);
    agent.cli(&["scan"])?;
    // A file of its own: other clusters of this machine may have had theirs probed in time.
    let folder = directory::private("upgraded")?;
    let server = folder.path().join("postgres");
    std::fs::copy(tooling::postgres_programs()?.join("postgres"), &server)?;
    let cluster = Cluster::start(&ClusterOptions { server: Some(server), ..ClusterOptions::default() })?;
    agent.cli(&["scan"])?;
    let text = "select 'encrypted, after many servers'";
    process::run(cluster.client("psql", Route::Tls).args(["-XqAtc", text]))?;
    agent.events().wait_for_text(text).map(drop)
}

#[test]
fn a_server_whose_executable_was_replaced_is_found() -> Result<()> {
    let folder = directory::private("replaced")?;
    let server = folder.path().join("postgres");
    std::fs::copy(tooling::postgres_programs()?.join("postgres"), &server)?;
    let options = ClusterOptions { server: Some(server.clone()), ..ClusterOptions::default() };
    let cluster = Cluster::start(&options)?;
    // As a package manager does it: under the server that runs.
    let next = folder.path().join("postgres.new");
    std::fs::copy(&server, &next)?;
    std::fs::rename(&next, &server)?;
    let agent = discovering()?;
    for route in Route::ALL {
        let text = format!("select 'by the server before, over {route}'");
        process::run(cluster.client("psql", route).args(["-XqAtc", &text]))?;
        agent.events().wait_for_text(&text)?;
    }
    Ok(())
}

#[test]
fn nobody_hides_a_database_behind_a_flood_of_listeners() -> Result<()> {
    /// More than the share of a user, and than a scan would take without one.
    const FLOOD: usize = 1_500;
    let folder = directory::private("flood")?;
    let agent = discovering()?;
    let mut flood = called_postgres(folder.path(), FLOOD)?;
    agent.cli(&["scan"])?;
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    agent.cli(&["scan"])?;
    for route in Route::ALL {
        let text = format!("select 'beside a flood, over {route}'");
        process::run(cluster.client("psql", route).args(["-XqAtc", &text]))?;
        agent.events().wait_for_text(&text)?;
    }
    flood.stop()?;
    agent.cli(&["scan"])?;
    cluster.stop()?;
    cluster.start_again()?;
    agent.cli(&["scan"])?;
    cluster.sql("select 'after the flood'")?;
    agent.events().wait_for_text("select 'after the flood'").map(drop)
}
