//! Who was it: the process at the client's end, however briefly it lives and however it connects.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use warder_tests::account::Account;
use warder_tests::agent::Agent;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::drivers::{scripts, sibling};
use warder_tests::events::{self, Event, Process, What};
use warder_tests::namespace::Namespace;
use warder_tests::route::Route;
use warder_tests::{directory, process, tooling, wait};

/// Short-lived clients that run at the same time.
const AT_ONCE: usize = 8;

/// A client of the test: what the agent should say of it.
#[derive(Debug)]
struct Expected {
    pid: u32,
    exe: PathBuf,
    argv: Vec<String>,
    uid: u32,
    parent: u32,
}

impl Expected {
    fn wrong(&self, found: &Process) -> Option<String> {
        let parent = found.ancestors.as_ref().and_then(|ancestors| ancestors.first()).map(|ancestor| ancestor.pid);
        let right = found.pid == self.pid
            && found.exe.as_deref() == self.exe.to_str()
            && found.argv.as_ref() == Some(&self.argv)
            && found.uid == Some(self.uid)
            && parent == Some(self.parent)
            && found.source.as_deref() == Some("kernel");
        (!right).then(|| format!("expected {self:?}\n   found {found:?}"))
    }
}

/// The client process of the session that ran a statement.
fn client_of<'a>(events: &'a [Event], statement: &str) -> Option<&'a Process> {
    let found = events::statements(events).find(|found| found.text.as_deref() == Some(statement))?;
    events::sessions(events).get(found.session.as_str())?.client.as_ref()
}

fn host_of(cluster: &Cluster, route: Route) -> String {
    match route {
        Route::Unix => cluster.socket_directory().to_string_lossy().into_owned(),
        Route::Tcp | Route::Tls => "127.0.0.1".into(),
    }
}

fn spawn_quick(program: &Path, cluster: &Cluster, route: Route, statement: &str) -> Result<(Child, Expected)> {
    let words = [host_of(cluster, route), cluster.port().to_string(), statement.to_owned()];
    let child = Command::new(program).args(&words).stdin(Stdio::null()).spawn()?;
    let argv = std::iter::once(program.to_string_lossy().into_owned()).chain(words).collect();
    let pid = child.id();
    Ok((child, Expected { pid, exe: program.to_owned(), argv, uid: 0, parent: std::process::id() }))
}

fn run_quick(cluster: &Cluster, route: Route, count: usize) -> Result<HashMap<String, Expected>> {
    let program = sibling("quick-client")?.canonicalize()?;
    let mut all = HashMap::new();
    let numbers: Vec<usize> = (0..count).collect();
    for batch in numbers.chunks(AT_ONCE) {
        let mut running = Vec::new();
        for number in batch {
            let statement = format!("select 'quick {route} {number}'");
            let (child, expected) = spawn_quick(&program, cluster, route, &statement)?;
            running.push(child);
            all.insert(statement, expected);
        }
        for mut child in running {
            ensure!(child.wait()?.success(), "a quick client failed");
        }
    }
    Ok(all)
}

#[test]
fn every_short_lived_client_is_known() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let count = if tooling::long_form() { 1000 } else { 100 };
    for route in [Route::Tcp, Route::Unix] {
        let all = run_quick(&cluster, route, count)?;
        let recorded = |events: &[Event]| {
            let texts = events::statements(events).filter_map(|statement| statement.text.as_ref());
            (texts.filter(|text| all.contains_key(*text)).count() == all.len()).then(|| events.to_vec())
        };
        let events = agent.events().wait_for("all quick statements", Duration::from_secs(60), recorded)?;
        let wrong = all.iter().filter_map(|(statement, expected)| match client_of(&events, statement) {
            Some(found) => expected.wrong(found),
            None => Some(format!("no client process of {statement}")),
        });
        let wrong: Vec<String> = wrong.collect();
        ensure!(
            wrong.is_empty(),
            "{} of {count} over {route} are wrong:\n{}",
            wrong.len(),
            wrong[..wrong.len().min(5)].join("\n")
        );
    }
    Ok(())
}

#[test]
fn a_script_of_another_user_is_known_by_user_and_script() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let nobody = Account::nobody()?;
    let folder = directory::private("script")?;
    let script = folder.path().join("export.py");
    let source = std::fs::read_to_string(scripts().join("raw_client.py"))?;
    directory::write_owned(&script, &source, &nobody, 0o644)?;
    for route in [Route::Tcp, Route::Unix] {
        let statement = format!("select 'script over {route}'");
        let mut command = process::command_as(&nobody, tooling::SYSTEM_PYTHON);
        command
            .arg(&script)
            .args([&host_of(&cluster, route), &cluster.port().to_string(), &statement])
            .current_dir("/");
        process::run(&mut command)?;
        agent.events().wait_for_text(&statement)?;
        let events = agent.events().all()?;
        let client = client_of(&events, &statement).context("no client process")?;
        let argv = client.argv.clone().unwrap_or_default();
        ensure!(client.uid == Some(nobody.uid) && client.gid == Some(nobody.gid), "wrong user: {client:?}");
        ensure!(argv.get(1).map(PathBuf::from) == Some(script.clone()), "wrong script: {client:?}");
        ensure!(client.exe.as_deref().is_some_and(|exe| exe.contains("python3")), "wrong program: {client:?}");
    }
    Ok(())
}

#[test]
fn a_client_that_connects_through_io_uring_is_known() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let program = sibling("uring-client")?.canonicalize()?;
    let statement = "select 'through a ring'";
    let child = Command::new(&program).args([&cluster.port().to_string(), statement]).spawn()?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the io_uring client failed: is kernel.io_uring_disabled set?");
    agent.events().wait_for_text(statement)?;
    let events = agent.events().all()?;
    let client = client_of(&events, statement).context("no client process")?;
    ensure!(client.pid == pid && client.exe.as_deref() == program.to_str(), "not {pid}: {client:?}");
    Ok(())
}

#[test]
fn a_program_that_exists_in_memory_only_is_known_by_its_name() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let program = std::fs::read(sibling("quick-client")?)?;
    let memory = nix::sys::memfd::memfd_create(c"nothing-on-disk", nix::sys::memfd::MFdFlags::empty())?;
    std::fs::File::from(memory.try_clone()?).write_all(&program)?;
    for route in [Route::Tcp, Route::Unix] {
        let statement = format!("select 'from memory over {route}'");
        let words = [host_of(&cluster, route), cluster.port().to_string(), statement.clone()];
        let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
        ensure!(Command::new(path).args(words).status()?.success(), "the client failed");
        agent.events().wait_for_text(&statement)?;
        let events = agent.events().all()?;
        let client = client_of(&events, &statement).context("no client process")?;
        ensure!(client.exe.as_deref() == Some("/memfd:nothing-on-disk"), "{client:?}");
        ensure!(client.exe_flags.iter().any(|flag| flag == "memory"), "{client:?}");
    }
    Ok(())
}

/// Runs psql with `prefix` in front against `host` and returns its pid.
fn psql_with(prefix: &[String], cluster: &Cluster, host: &str, statement: &str) -> Result<u32> {
    let psql = cluster.client("psql", Route::Tcp);
    let mut command = match prefix.split_first() {
        None => Command::new(psql.get_program()),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(psql.get_program());
            command
        }
    };
    command.envs(cluster.environment(Route::Tcp)).env("PGHOST", host).args(["-XqAtc", statement]);
    // nsenter becomes the program: the pid stays.
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let pid = child.id();
    ensure!(child.wait()?.success(), "psql failed");
    Ok(pid)
}

fn check_pid(agent: &Agent, statement: &str, pid: u32) -> Result<()> {
    agent.events().wait_for_text(statement)?;
    let client = wait::until(&format!("the client of {statement}"), wait::PATIENCE, || {
        Ok(client_of(&agent.events().all()?, statement).cloned())
    })?;
    ensure!(client.pid == pid, "not {pid}: {client:?}");
    Ok(())
}

/// Runs `threads_client.py`; returns its pid and the records, which have the end of its session.
fn run_threads(cluster: &Cluster, agent: &Agent, how: &str, statement: &str) -> Result<(u32, Vec<Event>)> {
    let mut command = Command::new(tooling::SYSTEM_PYTHON);
    command.arg(scripts().join("threads_client.py")).args([&cluster.port().to_string(), how, statement]);
    let mut child = command.spawn()?;
    let pid = child.id();
    ensure!(child.wait()?.success(), "the client failed");
    let id = agent.events().wait_for_text(statement)?.session;
    let events = agent.events().wait_for("the end of the session", wait::PATIENCE, |all| {
        events::closed(all).any(|session| session.session == id).then(|| all.to_vec())
    })?;
    Ok((pid, events))
}

/// What became of a process while it held the session of a statement, in order; `statement` where that was executed.
fn changes(events: &[Event], pid: u32, text: &str) -> Vec<String> {
    let change = |event: &Event| match &event.what {
        What::Process { change, pid: of, .. } if *of == pid => Some(change.clone()),
        What::Statement(statement) if statement.text.as_deref() == Some(text) => Some("statement".to_owned()),
        _ => None,
    };
    events.iter().filter_map(change).collect()
}

#[test]
fn a_client_that_becomes_another_program_in_any_thread_is_known() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let statement = "select 'by the program of another thread'";
    let (pid, events) = run_threads(&cluster, &agent, "exec", statement)?;
    let found = changes(&events, pid, statement);
    ensure!(found.starts_with(&["exec".into(), "statement".into()]), "{found:?}");
    let client = client_of(&events, statement).context("no client process")?;
    ensure!(client.argv.as_ref().is_some_and(|argv| argv.contains(&"-c".to_owned())), "the old program: {client:?}");
    Ok(())
}

#[test]
fn a_client_ends_with_its_last_thread() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let statement = "select 'without the first thread'";
    let (pid, events) = run_threads(&cluster, &agent, "leave", statement)?;
    let found = changes(&events, pid, statement);
    ensure!(found == ["statement", "exit"] || found == ["statement"], "{found:?}");
    Ok(())
}

#[test]
fn a_client_in_another_network_namespace_is_known() -> Result<()> {
    let namespace = Namespace::create()?;
    let cluster = Cluster::start(&ClusterOptions { listen: "*".into(), ..ClusterOptions::default() })?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let statement = "select 'from inside'";
    let pid = psql_with(&namespace.enter(), &cluster, &namespace.outside, statement)?;
    check_pid(&agent, statement, pid)
}

#[test]
fn a_server_in_another_network_namespace_is_observed() -> Result<()> {
    let namespace = Namespace::create()?;
    let options = ClusterOptions { listen: "*".into(), wrapper: namespace.enter(), ..ClusterOptions::default() };
    let cluster = Cluster::start(&options)?;
    let agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let near = "select 'to the inside'";
    let pid = psql_with(&[], &cluster, &namespace.inside, near)?;
    check_pid(&agent, near, pid)?;
    let within = "select 'within'";
    let pid = psql_with(&namespace.enter(), &cluster, "127.0.0.1", within)?;
    check_pid(&agent, within, pid)
}
