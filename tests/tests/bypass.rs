//! Every way around the proxy ends in the ledger in the right class, and is told at once.

#![expect(clippy::disallowed_methods, reason = "tests live in real time: deadlines need the clock")]

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use warder_tests::account::Account;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::events::{self, Event, Session, What};
use warder_tests::namespace::Namespace;
use warder_tests::process::{self, Running};
use warder_tests::route::Route;
use warder_tests::stage::{Place, Stage, StageOptions};
use warder_tests::wire::RawClient;
use warder_tests::{directory, wait};

/// From the connection to the alert, both by the agent's records.
const ALERT: Duration = Duration::from_secs(1);

/// Starts psql and keeps it; it has answered once.
fn stay(command: &mut Command) -> Result<Running> {
    command.args(["-XqAt", "-v", "ON_ERROR_STOP=1"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut psql = Running::start("psql", Signal::SIGTERM, command)?;
    psql.write_line("select 'here';")?;
    let said = psql.read_line()?;
    ensure!(said == "here", "{said:?}");
    Ok(psql)
}

/// The bypass of that process is told at once, with who it was.
fn told(stage: &Stage, pid: u32) -> Result<(String, Session)> {
    let (reason, session, delay) =
        stage.agent.events().wait_for("the record of the bypass", wait::PATIENCE, |all| {
            all.iter().find_map(|event| match &event.what {
                What::Bypass { reason, session } if session.client.as_ref().is_some_and(|client| client.pid == pid) => {
                    Some((reason.clone(), session.as_ref().clone(), delay_of(all, event, session)))
                }
                _ => None,
            })
        })?;
    let delay = delay?;
    ensure!(delay < ALERT, "told after {delay:?}");
    let client = session.client.as_ref().context("no client")?;
    let ancestors = client.ancestors.as_ref().context("no ancestors")?;
    ensure!(client.name.as_deref() == Some("psql") && !ancestors.is_empty(), "{client:?}");
    ensure!(ancestors.iter().any(|one| one.pid == std::process::id()), "{ancestors:?}");
    Ok((reason, session))
}

/// Time from when the session came to when its bypass was told.
fn delay_of(all: &[Event], bypass: &Event, session: &Session) -> Result<Duration> {
    let is_opening = |event: &&Event| matches!(&event.what, What::SessionOpen(one) if one.session == session.session);
    events::between(all.iter().find(is_opening).context("the session was not opened")?, bypass)
}

/// Plays a way around, and expects its class.
fn check_bypass(stage: &Stage, command: &mut Command, reason: &str) -> Result<Running> {
    let psql = stay(command)?;
    let (found, session) = told(stage, psql.pid()).with_context(|| process::line(command))?;
    ensure!(found == reason, "{found} in place of {reason}: {session:#?}");
    Ok(psql)
}

fn check_ledger(mut stage: Stage, expected: &[(&str, u64)]) -> Result<()> {
    let ledger = stage.ledger_after_stop()?;
    let expected: BTreeMap<String, u64> = expected.iter().map(|(class, count)| ((*class).to_owned(), *count)).collect();
    ensure!(ledger == expected, "{ledger:?} in place of {expected:?}");
    Ok(())
}

fn unix(stage: &Stage) -> Command {
    let mut command = process::command_dependent("TERM", stage.cluster.program("psql"));
    command.envs(stage.cluster.environment(Route::Unix));
    command
}

#[test]
fn the_servers_unix_socket_where_it_is_not_taken_over() -> Result<()> {
    let stage = Stage::start_steered(&StageOptions::default())?;
    let psql = check_bypass(&stage, &mut unix(&stage), "unix_socket")?;
    drop(psql);
    check_ledger(stage, &[("bypass/unix_socket", 1)])
}

#[test]
fn the_hidden_socket_of_one_that_was_taken_over() -> Result<()> {
    let stage = Stage::start(&StageOptions::guarded(&["take_over_socket = true"]))?;
    stage.wait_taken()?;
    let public = stage.cluster.socket();
    let name = public.file_name().context("no name")?.to_string_lossy().into_owned();
    let hidden = stage.cluster.socket_directory().join(format!("{name}.warder")).join("server");
    // Nobody but root gets there.
    let postgres = Account::postgres()?;
    let mut look = process::command_as(&postgres, "stat");
    ensure!(!process::run_any(look.arg(&hidden))?.status.success(), "the server's socket is open to others");
    let folder = directory::private("hidden")?;
    std::os::unix::fs::symlink(&hidden, folder.path().join(&name))?;
    let mut command = unix(&stage);
    let psql = stay(command.env("PGHOST", folder.path()))?;
    let (reason, session) = told(&stage, psql.pid())?;
    ensure!(reason == "unix_socket", "{reason}: {session:#?}");
    drop(psql);
    let through = stay(&mut unix(&stage))?;
    drop(through);
    check_ledger(stage, &[("bypass/unix_socket", 1), ("mediated", 1)])
}

#[test]
fn a_session_that_is_older_than_the_steering() -> Result<()> {
    let stage = Stage::start(&StageOptions::guarded(&["steer = false"]))?;
    let mut older = stay(&mut stage.client(Place::Inside, "psql"))?;
    let begin = Instant::now();
    wait::until("steering", wait::PATIENCE, || Ok(stage.steer("on")?.status.success().then_some(())))?;
    stage.wait_steered()?;
    older.write_line("select 'it was left alone';")?;
    ensure!(older.read_line()? == "it was left alone", "the older session was disturbed");
    wait::until("its class", wait::PATIENCE, || {
        let sessions = stage.agent.cli_json(&["sessions", "--json"])?;
        Ok(sessions.iter().any(|one| one.to_string().contains("before_steering")).then_some(()))
    })
    .with_context(|| format!("{:?}", stage.agent.cli_json(&["sessions", "--json"])))?;
    let newer = stay(&mut stage.client(Place::Inside, "psql"))?;
    ensure!(begin.elapsed() < wait::PATIENCE * 2, "that took long");
    drop((older, newer));
    check_ledger(stage, &[("bypass/before_steering", 1), ("mediated", 1)])
}

#[test]
fn an_allowed_source_goes_directly_and_is_named() -> Result<()> {
    let rule = ["[[database.proxy.direct]]\nname = \"standby\"\nsource = \"127.0.0.7/32\""];
    let stage = Stage::start_steered(&StageOptions::steered(&rule))?;
    let mut standby = connect_from(&stage, "127.0.0.7")?;
    standby.query("select 1")?;
    let counted = stage.state()?;
    ensure!(counted["connections_direct"] == 1, "{counted}");
    let mut other = connect_from(&stage, "127.0.0.8")?;
    other.query("select 1")?;
    drop((standby, other));
    wait_closed(&stage, 2)?;
    check_ledger(stage, &[("allowed_direct/standby", 1), ("mediated", 1)])
}

/// A client on the server's host, from an address of loopback: libpq does not let one choose.
fn connect_from(stage: &Stage, source: &str) -> Result<RawClient> {
    let file = fs::File::open(stage.namespace.file())?;
    let (source, port) = (source.to_owned(), stage.cluster.port());
    let connect = move || -> Result<std::net::TcpStream> {
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)?;
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let address = |text: &str, port| -> Result<nix::sys::socket::SockaddrIn> {
            Ok(std::net::SocketAddrV4::new(text.parse()?, port).into())
        };
        nix::sys::socket::bind(raw, &address(&source, 0)?)?;
        nix::sys::socket::connect(raw, &address("127.0.0.1", port)?)?;
        Ok(socket.into())
    };
    // A thread of its own: it ends in that namespace.
    let stream = std::thread::spawn(connect).join().ok().context("the client has panicked")??;
    let mut client = RawClient::connected(stream)?;
    client.login()?;
    Ok(client)
}

fn wait_closed(stage: &Stage, number: usize) -> Result<()> {
    stage.agent.events().wait_for("the end of the sessions", wait::PATIENCE, |all| {
        (events::closed(all).count() >= number).then_some(())
    })
}

#[test]
fn the_servers_own_port_beside_a_plain_listener() -> Result<()> {
    let port = directory::free_port()?;
    let stage = Stage::start(&StageOptions::guarded(&[&format!("listen = [\"127.0.0.1:{port}\"]")]))?;
    stage.wait_listening(port)?;
    let mut at_listener = stage.client(Place::Outside, "psql");
    let through = stay(at_listener.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()))?;
    let around = check_bypass(&stage, &mut stage.client(Place::Outside, "psql"), "tcp_direct")?;
    drop((through, around));
    check_ledger(stage, &[("bypass/tcp_direct", 1), ("mediated", 1)])
}

#[test]
fn another_server_of_the_database_that_is_not_steered() -> Result<()> {
    let stage = Stage::start_steered(&StageOptions::default())?;
    // The same port in another network namespace: a copy that somebody has started.
    let elsewhere = Namespace::create()?;
    let options = ClusterOptions {
        port: Some(stage.cluster.port()),
        listen: elsewhere.inside.clone(),
        wrapper: elsewhere.enter(),
        ..ClusterOptions::default()
    };
    let copy = Cluster::start(&options)?;
    let mut command = stage.client(Place::Outside, "psql");
    let around = check_bypass(&stage, command.env("PGHOST", &elsewhere.inside), "unsteered_address")?;
    let through = stay(&mut stage.client(Place::Outside, "psql"))?;
    drop((around, through, copy));
    check_ledger(stage, &[("bypass/unsteered_address", 1), ("mediated", 1)])
}

#[test]
fn no_address_of_the_server_leads_around() -> Result<()> {
    let stage = Stage::start_steered(&StageOptions::default())?;
    let psql = stay(&mut stage.client(Place::Outside, "psql"))?;
    let nested = stage.namespace.enter();
    let mut words = nested.iter();
    let mut command = process::command_dependent("TERM", words.next().context("no words")?);
    command.args(words).arg(stage.cluster.program("psql")).envs(stage.cluster.environment(Route::Tcp));
    // Each address of the server is steered, not only the one that clients are told.
    let inside = stage.namespace.inside.clone();
    for host in ["127.0.0.1", "::1", &inside] {
        drop(stay(command_again(&command).env("PGHOST", host))?);
    }
    drop(psql);
    check_ledger(stage, &[("mediated", 4)])
}

/// The same program, words and environment once more.
fn command_again(command: &Command) -> Command {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args());
    again.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    again
}

#[test]
fn a_process_that_enters_the_servers_namespaces() -> Result<()> {
    let stage = Stage::start_steered(&StageOptions::steered(&["take_over_socket = true"]))?;
    stage.wait_taken()?;
    let enter = |route: Route| {
        let mut command = process::command_dependent("TERM", "nsenter");
        command.args(["--target", &stage.cluster.pid().to_string(), "--net", "--mount", "--ipc", "--uts"]);
        command.arg(stage.cluster.program("psql")).envs(stage.cluster.environment(route));
        command
    };
    for route in [Route::Tcp, Route::Unix] {
        drop(stay(&mut enter(route))?);
    }
    check_ledger(stage, &[("mediated", 2)])
}

#[test]
fn a_worker_holds_its_listeners_alone_and_reaches_nothing_of_the_agents() -> Result<()> {
    let stage = Stage::start_steered(&StageOptions::default())?;
    let workers = stage.workers()?;
    let listening = listeners(&stage)?;
    ensure!(listening.len() >= 2, "no listeners of workers were found: {listening:?}");
    for (inode, holders) in &listening {
        ensure!(
            holders.len() == 1 && holders.iter().all(|pid| workers.contains(pid)),
            "{inode} is held by {holders:?}"
        );
    }
    let worker = worker_account(*workers.first().context("no worker")?)?;
    for path in [stage.agent.events_directory(), stage.agent.key_file(), stage.agent.configuration()] {
        let mut read = process::command_as(&worker, "sh");
        read.args(["-c", "ls \"$1\" && cat \"$1\"/* \"$1\"", "sh"]).arg(&path);
        let output = process::run_any(&mut read)?;
        let is_configuration = path == stage.agent.configuration();
        ensure!(output.stdout.is_empty() || is_configuration, "a worker's account reads {}", path.display());
    }
    for pid in workers {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        for line in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
            ensure!(status.contains(line), "a worker has no {line:?}");
        }
        for descriptor in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let target = fs::read_link(descriptor?.path()).unwrap_or_default();
            let target = target.to_string_lossy().into_owned();
            let is_of_agent = target.contains("/events") || target.contains("/key/") || target.contains("bpf-prog");
            ensure!(!is_of_agent, "a worker holds {target}");
        }
    }
    Ok(())
}

fn worker_account(pid: u32) -> Result<Account> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let number = |name: &str| -> Result<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        Ok(line.split_whitespace().next().context("no number")?.parse()?)
    };
    Ok(Account { name: "worker".into(), uid: number("Uid:")?, gid: number("Gid:")? })
}

/// Listening sockets of the server's namespace that are not the server's, with every process that holds them.
fn listeners(stage: &Stage) -> Result<BTreeMap<String, Vec<u32>>> {
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let server = process::family(stage.cluster.pid())?;
    let mut inodes = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{}/net/{table}", stage.cluster.pid()))?;
        let listening = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        inodes.extend(
            listening.filter(|words| words.get(3) == Some(&"0A")).filter_map(|words| Some((*words.get(9)?).to_owned())),
        );
    }
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default().to_string_lossy().into_owned();
            let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            if let Some(inode) = inode.filter(|inode| inodes.iter().any(|one| one == inode)) {
                found.entry(inode.to_owned()).or_default().push(pid);
            }
        }
    }
    found.retain(|_, holders| !holders.iter().any(|pid| server.contains(pid)));
    Ok(found)
}

#[test]
fn a_client_that_floods_start_ups_meets_its_limit_and_others_are_served() -> Result<()> {
    let mut options = StageOptions::default();
    options.proxy.push("sessions_per_address_max = 20".into());
    let stage = Stage::start_steered(&options)?;
    let mut held = Vec::new();
    for _ in 0..60 {
        let file = fs::File::open(stage.namespace.file())?;
        let port = stage.cluster.port();
        let connect = move || -> Result<std::net::TcpStream> {
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)?;
            Ok(std::net::TcpStream::connect(("127.0.0.1", port))?)
        };
        held.push(std::thread::spawn(connect).join().ok().context("the client has panicked")??);
    }
    let refused = stage.psql(Place::Inside, &[], "select 1")?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("too many"), "{said}");
    let other = stage.psql(Place::Outside, &[], "select 1")?;
    ensure!(other.status.success(), "another address is served no more: {}", String::from_utf8_lossy(&other.stderr));
    drop(held);
    wait::until("service after the flood", wait::PATIENCE, || {
        Ok(stage.psql(Place::Inside, &[], "select 1")?.status.success().then_some(()))
    })
}
