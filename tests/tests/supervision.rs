//! Processes come and go alone: the core, the kernel process, a second agent, the database.

use std::collections::HashSet;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use warder_tests::agent::{Agent, AgentOptions, DatabaseEntry};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::events::{self, Event, Session, Statement, What};
use warder_tests::process::{self, Running};
use warder_tests::route::Route;
use warder_tests::{tooling, wait};

/// How long a core may outlive its kernel process.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);
/// How long a new database may stay unnoticed; the agents of these tests do not scan periodically.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(10);
/// Keeps the periodic scan out: what is found is found because something happened.
const NO_PERIODIC_SCAN: &str = "scan_interval_seconds = 3600";

/// Sessions that stay open, one for each route.
struct Witnesses(Vec<(Route, Running)>);

impl Witnesses {
    fn open(cluster: &Cluster) -> Result<Self> {
        let open = |route| Ok((route, cluster.interactive(route, &format!("witness over {route}"))?));
        Ok(Self(Route::ALL.into_iter().map(open).collect::<Result<_>>()?))
    }

    /// Each session runs a statement that names `what` and the route.
    fn say(&mut self, what: &str) -> Result<()> {
        for (route, session) in &mut self.0 {
            session.write_line(&said(what, *route))?;
            session.read_line()?;
        }
        Ok(())
    }
}

/// What a witness runs.
fn said(what: &str, route: Route) -> String {
    format!("select '{what} over {route}';")
}

/// The sessions that ran [`said`], in the order of [`Route::ALL`].
fn sessions_of(agent: &Agent, what: &str) -> Result<Vec<String>> {
    let session = |route| agent.events().wait_for_text(&said(what, route)).map(|statement| statement.session);
    Route::ALL.into_iter().map(session).collect()
}

/// What the second core knows of sessions that are older than itself is what the first one knew.
fn check_known(agent: &Agent, sessions: &[String]) -> Result<()> {
    for (id, route) in sessions.iter().zip(Route::ALL) {
        let what = format!("all that is known of the session over {route}");
        agent.events().wait_for(&what, wait::PATIENCE, |all| {
            let found = events::sessions(all);
            let session = found.get(id.as_str())?;
            let known = session.user.as_deref() == Some("postgres")
                && session.database.as_deref() == Some("postgres")
                && session.encryption.as_deref() == Some(route.encryption())
                && session.client.is_some()
                && session.server.is_some();
            known.then_some(())
        })?;
    }
    Ok(())
}

/// What the witnesses said has its answer.
fn check_answered(agent: &Agent, what: &str) -> Result<()> {
    for route in Route::ALL {
        let statement = agent.events().wait_for_text(&said(what, route))?;
        let tag = statement.outcomes.first().and_then(|outcome| outcome.tag.as_deref());
        ensure!(statement.ending.is_none() && tag == Some("SELECT 1"), "over {route}: {statement:?}");
    }
    Ok(())
}

fn wait_until_closed(agent: &Agent, sessions: &[String]) -> Result<()> {
    agent.events().wait_for("the end of the sessions", wait::PATIENCE, |all| {
        let ended: HashSet<&str> = events::closed(all).map(|session| session.session.as_str()).collect();
        sessions.iter().all(|id| ended.contains(id.as_str())).then_some(())
    })
}

fn wait_for_core(agent: &mut Agent, former: u32) -> Result<u32> {
    wait::until("another core", wait::PATIENCE, || {
        ensure!(agent.alive()?, "the agent ended; it said:\n{}", agent.log()?);
        Ok(agent.core().ok().filter(|core| *core != former))
    })
}

fn wait_for_answer(agent: &Agent) -> Result<()> {
    wait::until("an answer of the new core", wait::PATIENCE, || {
        let answer = process::run_any(&mut agent.command(&["sessions", "--json"]))?;
        Ok(answer.status.success().then_some(()))
    })
}

fn gaps(all: &[Event]) -> usize {
    all.iter().filter(|event| matches!(event.what, What::Gap { .. })).count()
}

fn check_sequence(all: &[Event]) -> Result<()> {
    let broken = all.windows(2).find(|pair| pair[1].seq != pair[0].seq + 1);
    ensure!(broken.is_none(), "record numbers do not continue: {broken:?}");
    Ok(())
}

#[test]
fn another_core_takes_over_when_the_core_is_killed() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let mut witnesses = Witnesses::open(&cluster)?;
    witnesses.say("before the end of the core")?;
    let before = sessions_of(&agent, "before the end of the core")?;
    let former = agent.kill_core()?;
    wait_for_core(&mut agent, former)?;
    wait_for_answer(&agent)?;
    witnesses.say("after the end of the core")?;
    let after = sessions_of(&agent, "after the end of the core")?;
    ensure!(before == after, "the sessions' ids changed: {before:?} and {after:?}");
    check_known(&agent, &after)?;
    cluster.sql("select 'a new session'")?;
    agent.events().wait_for_text("select 'a new session'")?;
    let all = agent.events().all()?;
    ensure!(gaps(&all) == 1, "{} gap records", gaps(&all));
    check_sequence(&all)?;
    agent.metrics().context("the metrics of the new core")?;
    drop(witnesses);
    wait_until_closed(&agent, &before)?;
    agent.stop()
}

#[test]
fn nothing_is_lost_when_another_core_takes_over() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let (mut busy, mut idle) = (Witnesses::open(&cluster)?, Witnesses::open(&cluster)?);
    busy.say("in the first core")?;
    idle.say("idle after this")?;
    let mut ids = sessions_of(&agent, "in the first core")?;
    ids.extend(sessions_of(&agent, "idle after this")?);
    let former = agent.kill_core()?;
    busy.say("into the ring")?;
    wait_for_core(&mut agent, former)?;
    wait_for_answer(&agent)?;
    busy.say("in the second core")?;
    sessions_of(&agent, "in the second core")?;
    drop((busy, idle));
    wait_until_closed(&agent, &ids)?;
    let all = agent.events().all()?;
    let gaps: Vec<&What> =
        all.iter().map(|event| &event.what).filter(|what| matches!(what, What::SessionGap { .. })).collect();
    ensure!(gaps.is_empty(), "the ring kept everything, but there are {} gaps: {gaps:?}", gaps.len());
    check_answered(&agent, "into the ring")?;
    check_answered(&agent, "in the second core")
}

#[test]
fn what_happens_between_two_cores_is_recorded_by_the_second() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let mut witnesses = Witnesses::open(&cluster)?;
    witnesses.say("between the cores, before")?;
    let before = sessions_of(&agent, "between the cores, before")?;
    agent.kill_core()?;
    witnesses.say("between the cores")?;
    cluster.sql("select 'a whole session between the cores'")?;
    agent.events().wait_for_text("select 'a whole session between the cores'")?;
    let between = sessions_of(&agent, "between the cores")?;
    ensure!(before == between, "the sessions' ids changed: {before:?} and {between:?}");
    let all = agent.events().all()?;
    let texts = events::statements(&all).filter_map(|statement| statement.text.as_deref());
    let twice: Vec<&str> = {
        let mut seen = HashSet::new();
        texts.filter(|text| text.contains("between the cores") && !seen.insert(*text)).collect()
    };
    ensure!(twice.is_empty(), "recorded twice: {twice:?}");
    witnesses.say("later, in the second core")?;
    check_answered(&agent, "later, in the second core")?;
    check_known(&agent, &before)?;
    ensure!(agent.alive()?, "the agent ended");
    Ok(())
}

#[test]
fn the_core_ends_when_the_kernel_process_is_killed() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let mut witnesses = Witnesses::open(&cluster)?;
    witnesses.say("before the end of the kernel process")?;
    let before = sessions_of(&agent, "before the end of the kernel process")?;
    let core = agent.core()?;
    process::send(agent.pid()?, Signal::SIGKILL)?;
    wait::until("the end of the core", ORPHAN_LIMIT, || Ok(process::ended(core).then_some(())))?;
    // It ends later than its core, because the kernel detaches its programs first.
    let detached = "the end of the kernel process";
    wait::until(detached, wait::PATIENCE, || Ok((!agent.alive()?).then_some(())))?;
    witnesses.say("nobody watches")?;
    agent.stop()?;
    agent.run()?;
    witnesses.say("after the end of the kernel process")?;
    let after = sessions_of(&agent, "after the end of the kernel process")?;
    ensure!(before == after, "the sessions' ids changed: {before:?} and {after:?}");
    let all = agent.events().all()?;
    ensure!(gaps(&all) == 1, "{} gap records", gaps(&all));
    check_sequence(&all)
}

#[test]
fn a_second_agent_on_the_same_socket_refuses_to_start() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut agent = Agent::observing(&tooling::agent_binary()?, &cluster)?;
    let mut witnesses = Witnesses::open(&cluster)?;
    let said_path = cluster.directory().join("second.log");
    let mut command = agent.command(&["run"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said_path)?);
    let mut second = Running::start("the second agent", Signal::SIGTERM, &mut command)?;
    let status = second.wait(wait::PATIENCE)?;
    let said = std::fs::read_to_string(&said_path)?;
    ensure!(status.code() == Some(1), "the second agent ended with {status}: {said}");
    let refusal = said.lines().last().unwrap_or_default();
    let socket = agent.control_socket();
    let clear = refusal.starts_with("warder: ")
        && refusal.contains("another agent")
        && refusal.contains(&*socket.to_string_lossy())
        && refusal.contains("stop it");
    ensure!(clear, "unclear: {said}");
    witnesses.say("after the second agent")?;
    sessions_of(&agent, "after the second agent")?;
    agent.cli(&["sessions", "--json"]).context("the first agent's control socket")?;
    let all = agent.events().all()?;
    ensure!(gaps(&all) == 0, "the second agent made a gap");
    let starts = all.iter().filter(|event| matches!(event.what, What::AgentStart)).count();
    ensure!(starts == 1, "{starts} starts are recorded");
    check_sequence(&all)?;
    ensure!(agent.alive()?, "the first agent ended");
    Ok(())
}

#[test]
fn a_taken_metrics_port_does_not_stop_the_agent() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = taken.local_addr()?.port();
    let options = AgentOptions {
        databases: vec![DatabaseEntry::of("test", &cluster)],
        metrics_port: Some(port),
        ..AgentOptions::default()
    };
    let mut agent = Agent::start(&tooling::agent_binary()?, &options)?;
    let mut witnesses = Witnesses::open(&cluster)?;
    witnesses.say("without metrics")?;
    sessions_of(&agent, "without metrics")?;
    let log = agent.log()?;
    let warned = log.lines().any(|line| line.contains("WARN") && line.contains(&format!("127.0.0.1:{port}")));
    ensure!(warned, "no warning that names the address: {log}");
    agent.stop()
}

/// A statement of a new session of each route is recorded once, with everything that is known of such a session.
fn check_new_sessions(cluster: &Cluster, routes: &[Route], agent: &Agent, what: &str, entry: &str) -> Result<()> {
    for &route in routes {
        let text = said(what, route);
        process::run(cluster.client("psql", route).args(["-XqAtc", &text]))?;
        agent.events().wait_for_text(&text)?;
        let all = agent.events().all()?;
        let found: Vec<&Statement> =
            events::statements(&all).filter(|statement| statement.text.as_deref() == Some(&text)).collect();
        let [statement] = found[..] else { anyhow::bail!("recorded {} times: {text}", found.len()) };
        let sessions = events::sessions(&all);
        let session = sessions.get(statement.session.as_str()).context("a statement without a session")?;
        check_session(session, route, entry)?;
    }
    Ok(())
}

fn check_session(session: &Session, route: Route, entry: &str) -> Result<()> {
    ensure!(session.database_entry.as_deref() == Some(entry), "database_entry over {route}: {session:?}");
    ensure!(session.origin.as_deref() == Some("opened"), "origin over {route}: {session:?}");
    ensure!(session.transport.as_deref() == Some(route.transport()), "transport over {route}: {session:?}");
    ensure!(session.encryption.as_deref() == Some(route.encryption()), "encryption over {route}: {session:?}");
    ensure!(session.user.as_deref() == Some("postgres"), "user over {route}: {session:?}");
    ensure!(session.client.is_some(), "client over {route}: {session:?}");
    ensure!(session.gaps.unwrap_or(0) == 0, "gaps over {route}: {session:?}");
    Ok(())
}

/// Sessions that begin as soon as the server answers are observed before long: each says something until it is heard.
/// What was not heard before is no secret: the session was found late, or has a gap.
fn wait_until_heard(cluster: &Cluster, routes: &[Route], agent: &Agent) -> Result<()> {
    for &route in routes {
        let mut session = cluster.interactive(route, "first contact")?;
        let mut attempt = 0;
        let what = format!("a session over {route} to the new server to be observed");
        let heard = wait::until(&what, DISCOVERY_LIMIT, || {
            attempt += 1;
            session.write_line(&said(&format!("attempt {attempt}"), route))?;
            session.read_line()?;
            Ok(first_heard(&agent.events().all()?, route))
        });
        let heard = heard.with_context(|| format!("the agent said:\n{}", agent.log().unwrap_or_default()))?;
        if heard.text.as_deref() != Some(&said("attempt 1", route)) {
            agent.events().wait_for("a sign that a session was not heard at first", wait::PATIENCE, |all| {
                admits_to_have_missed(all, &heard.session).then_some(())
            })?;
        }
    }
    Ok(())
}

fn first_heard(all: &[Event], route: Route) -> Option<Statement> {
    let over = format!(" over {route}");
    let attempt = |text: &str| text.contains("attempt ") && text.contains(&over);
    events::statements(all).find(|statement| statement.text.as_deref().is_some_and(attempt)).cloned()
}

fn admits_to_have_missed(all: &[Event], id: &str) -> bool {
    let late = events::sessions(all).get(id).is_some_and(|session| session.origin.as_deref() == Some("missed_open"));
    late || all.iter().any(|event| matches!(&event.what, What::SessionGap { session, .. } if session == id))
}

/// The database starts when the agent, which is configured with `databases`, runs already.
fn check_late_start(
    options: &ClusterOptions,
    routes: &[Route],
    databases: impl Fn(&Cluster) -> Vec<DatabaseEntry>,
    entry: impl Fn(&Cluster) -> String,
) -> Result<()> {
    let mut cluster = Cluster::start(options)?;
    cluster.stop()?;
    let options = AgentOptions {
        databases: databases(&cluster),
        capture: vec![NO_PERIODIC_SCAN.into()],
        ..AgentOptions::default()
    };
    let mut agent = Agent::start(&tooling::agent_binary()?, &options)?;
    cluster.start_again()?;
    wait_until_heard(&cluster, routes, &agent)?;
    wait_until_awaited(&cluster, routes, &agent)?;
    check_new_sessions(&cluster, routes, &agent, "the late database", &entry(&cluster))?;
    agent.stop()
}

/// What is said is heard before the socket is known on which it is said: then sessions are found late.
fn wait_until_awaited(cluster: &Cluster, routes: &[Route], agent: &Agent) -> Result<()> {
    for &route in routes {
        let mut attempt = 0;
        wait::until(&format!("a session over {route} to be seen from its beginning"), DISCOVERY_LIMIT, || {
            attempt += 1;
            let text = said(&format!("new session {attempt}"), route);
            process::run(cluster.client("psql", route).args(["-XqAtc", &text]))?;
            let statement = agent.events().wait_for_text(&text)?;
            let all = agent.events().all()?;
            let session = events::sessions(&all).remove(statement.session.as_str()).context("no session")?;
            Ok((session.origin.as_deref() == Some("opened")).then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn a_configured_database_that_starts_later_is_observed() -> Result<()> {
    let databases = |cluster: &Cluster| vec![DatabaseEntry::of("late", cluster)];
    check_late_start(&ClusterOptions::default(), &Route::ALL, databases, |_| "late".into())
}

#[test]
fn a_database_that_starts_later_is_observed_by_its_executable() -> Result<()> {
    let databases = |cluster: &Cluster| {
        let executable = Some(cluster.program("postgres"));
        vec![DatabaseEntry { name: "late".into(), executable, ..DatabaseEntry::default() }]
    };
    check_late_start(&ClusterOptions::default(), &Route::ALL, databases, |_| "late".into())
}

#[test]
fn a_database_that_starts_later_is_observed_without_configuration() -> Result<()> {
    let entry = |cluster: &Cluster| format!("postgresql-{}", cluster.port());
    check_late_start(&ClusterOptions::default(), &Route::ALL, |_| Vec::new(), entry)
}

#[test]
fn a_database_that_starts_later_and_listens_on_a_unix_socket_only_is_observed() -> Result<()> {
    let options = ClusterOptions { listen: String::new(), ..ClusterOptions::default() };
    let databases = |cluster: &Cluster| vec![DatabaseEntry::of("late", cluster)];
    check_late_start(&options, &[Route::Unix], databases, |_| "late".into())
}

#[test]
fn a_restarted_database_is_observed() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    let options = AgentOptions {
        databases: vec![DatabaseEntry::of("again", &cluster)],
        capture: vec![NO_PERIODIC_SCAN.into()],
        ..AgentOptions::default()
    };
    let agent = Agent::start(&tooling::agent_binary()?, &options)?;
    check_new_sessions(&cluster, &Route::ALL, &agent, "before the restart", "again")?;
    let mut witnesses = Witnesses::open(&cluster)?;
    witnesses.say("cut by the restart")?;
    let cut = sessions_of(&agent, "cut by the restart")?;
    cluster.stop()?;
    wait_until_closed(&agent, &cut)?;
    cluster.start_again()?;
    wait_until_heard(&cluster, &Route::ALL, &agent)?;
    check_new_sessions(&cluster, &Route::ALL, &agent, "after the restart", "again")
}
