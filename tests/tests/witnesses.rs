//! With `content = "always"` the kernel reads what the proxy forwards: both count the same messages, and what the server
//! receives from somebody else is told.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use warder_tests::drivers::scripts;
use warder_tests::events::{self, Mediation, Session, What};
use warder_tests::process::{self, Running};
use warder_tests::stage::{Place, Stage, StageOptions};
use warder_tests::{directory, tooling, wait, wire};

/// Every kind of message that a client and a server exchange in quantity: rows, errors, COPY in and out, transactions.
const SCENE: &str = "
create table if not exists lines (line text);
select * from generate_series(1, 5000);
select 1/0;
begin; insert into lines select 'x' from generate_series(1, 10); rollback;
\\copy lines from program 'seq 1 2000'
\\copy lines to '/dev/null'
select 1 \\; select 2 \\; select 3;
prepare one as select $1::int; execute one(7);
listen news; notify news, 'here';
";

/// A way to the server, named by its session.
struct Way {
    name: &'static str,
    place: Place,
    environment: Vec<(&'static str, String)>,
}

/// A stage whose sessions are read by both witnesses, with all ways in.
fn stage() -> Result<(Stage, Vec<Way>)> {
    let port = directory::free_port()?;
    let listen = format!("listen = [\"127.0.0.1:{port}\"]");
    let mut options = StageOptions::steered(&["content = \"always\"", "take_over_socket = true", &listen]);
    options.tls = Some("server-certificate");
    let stage = Stage::start_steered(&options)?;
    stage.wait_taken()?;
    stage.wait_listening(port)?;
    let folder = stage.cluster.socket_directory().to_string_lossy().into_owned();
    let at_listener = || vec![("PGHOST", "127.0.0.1".into()), ("PGPORT", port.to_string())];
    let with_tls = |mut environment: Vec<(&'static str, String)>| {
        let authority = stage.cluster.certificate().authority.to_string_lossy().into_owned();
        environment.extend([("PGSSLMODE", "verify-full".into()), ("PGSSLROOTCERT", authority)]);
        environment
    };
    let way = |name, place, environment| Way { name, place, environment };
    let ways = vec![
        way("steered", Place::Inside, Vec::new()),
        way("steered with TLS", Place::Inside, with_tls(Vec::new())),
        way("listener", Place::Outside, at_listener()),
        way("listener with TLS", Place::Outside, with_tls(at_listener())),
        way("unix socket", Place::Outside, vec![("PGHOST", folder)]),
    ];
    Ok((stage, ways))
}

impl Way {
    fn client(&self, stage: &Stage, program: &str) -> Command {
        let mut command = stage.client(self.place, program);
        command.env("PGAPPNAME", self.name).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn session(&self, stage: &Stage) -> Result<Running> {
        let mut command = self.client(stage, "psql");
        command.args(["-XqAt"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut psql = Running::start("psql", Signal::SIGTERM, &mut command)?;
        psql.write_line("select 'here';")?;
        ensure!(psql.read_line()? == "here", "another answer");
        Ok(psql)
    }
}

fn mediation(session: &Session) -> Result<&Mediation> {
    session.mediation.as_ref().with_context(|| format!("not mediated: {session:?}"))
}

/// Ends of that many sessions of that name.
fn wait_closed(stage: &Stage, name: &str, number: usize) -> Result<Vec<Session>> {
    stage.agent.events().wait_for(&format!("the end of {name}"), wait::PATIENCE, |all| {
        let named = events::closed(all).filter(|session| session.application_name.as_deref() == Some(name));
        let found: Vec<Session> = named.cloned().collect();
        (found.len() == number).then_some(found)
    })
}

#[test]
fn messages_that_were_forwarded_are_those_that_were_received() -> Result<()> {
    let (stage, ways) = stage()?;
    stage.cluster.prepare_pgbench(1)?;
    let folder = directory::private("scene")?;
    let scene = folder.path().join("scene.sql");
    std::fs::write(&scene, SCENE)?;
    for way in &ways {
        process::run_any(way.client(&stage, "psql").args(["-Xq", "-o", "/dev/null", "-f"]).arg(&scene))?;
        process::run(way.client(&stage, "pgbench").args(["-n", "-c", "3", "-t", "30", "-M", "prepared"]))?;
        // pgbench asks for the scale in a session of its own.
        for session in wait_closed(&stage, way.name, 5)? {
            let mediation = mediation(&session)?;
            let kernel = (mediation.kernel_messages_to_server, mediation.kernel_messages_from_server);
            let proxy = (mediation.messages_to_server, mediation.messages_to_client);
            ensure!(kernel == proxy && kernel.0 > 0 && kernel.1 > 0, "{}: kernel {kernel:?}, {session:#?}", way.name);
        }
    }
    let all = stage.agent.events().all()?;
    let disagreement = all.iter().find(|event| matches!(event.what, What::Integrity { .. }));
    ensure!(disagreement.is_none(), "{disagreement:?}");
    ensure!(alerts(&stage)?.is_empty(), "{:?}", alerts(&stage)?);
    Ok(())
}

/// Lines of the metric of disagreements.
fn alerts(stage: &Stage) -> Result<Vec<String>> {
    let metrics = stage.agent.metrics()?;
    Ok(metrics.lines().filter(|line| line.starts_with("warder_integrity_alerts_total{")).map(str::to_owned).collect())
}

/// Somebody writes to the server behind the worker's back.
fn inject(stage: &Stage, session: &Session, message: &[u8]) -> Result<()> {
    let upstream = mediation(session)?.upstream.context("no hop")?.to_string();
    let hex = message.iter().fold(String::new(), |mut hex, byte| {
        let _fits = write!(hex, "{byte:02x}");
        hex
    });
    let mut failures = Vec::new();
    // One of the workers has it.
    for worker in stage.workers()? {
        let mut python = Command::new(tooling::SYSTEM_PYTHON);
        python.arg(scripts().join("inject.py")).args([&worker.to_string(), &upstream, &hex]);
        match process::run(&mut python) {
            Ok(_) => return Ok(()),
            Err(problem) => failures.push(format!("{problem:#}")),
        }
    }
    anyhow::bail!("no worker has the socket: {failures:?}")
}

/// What both witnesses say about a figure: record, metric and log.
fn told(stage: &Stage, about: &Session, wanted: &str) -> Result<(u64, u64)> {
    let what = format!("the disagreement about {wanted} of {about:?}");
    let figures = stage.agent.events().wait_for(&what, wait::PATIENCE, |all| {
        all.iter().find_map(|event| match &event.what {
            What::Integrity { session, figure, proxy, kernel } if *session == about.session && figure == wanted => {
                Some((*proxy, *kernel))
            }
            _ => None,
        })
    })?;
    let series = format!("warder_integrity_alerts_total{{database=\"test\",figure=\"{wanted}\"}}");
    wait::until("the metric of the disagreement", wait::PATIENCE, || {
        Ok(alerts(stage)?.iter().any(|line| line.starts_with(&series)).then_some(()))
    })?;
    let log = stage.agent.log()?;
    let is_said = |line: &str| line.contains("the proxy and the kernel disagree") && line.contains(wanted);
    ensure!(log.lines().any(is_said), "the log says nothing about {wanted}:\n{log}");
    Ok(figures)
}

/// A session of each way, and what the journal says of it.
fn sessions<'w>(stage: &Stage, ways: &'w [Way]) -> Result<Vec<(&'w Way, Running, Session)>> {
    let begin = |way: &'w Way| {
        let psql = way.session(stage)?;
        let what = format!("the session {}", way.name);
        let session = stage.agent.events().wait_for(&what, wait::PATIENCE, |all| {
            let is_it = |one: &&Session| one.application_name.as_deref() == Some(way.name);
            events::sessions(all).into_values().find(is_it).cloned()
        })?;
        Ok((way, psql, session))
    };
    ways.iter().map(begin).collect()
}

#[test]
fn what_the_proxy_did_not_forward_is_told() -> Result<()> {
    let (stage, ways) = stage()?;
    stage.cluster.sql("create table injected (line text)")?;
    let message = wire::query(b"insert into injected values ('it ran')");
    // A record of TLS that the session's keys have not made: the server ends the session, the client stays.
    let record = [[0x17, 3, 3, 0, 64].as_slice(), &[7; 64]].concat();
    let sessions = sessions(&stage, &ways)?;
    let (encrypted, plain): (Vec<_>, Vec<_>) = sessions.iter().partition(|(way, ..)| way.name.contains("TLS"));
    for (way, _, session) in &sessions {
        let bytes = if way.name.contains("TLS") { &record } else { &message };
        inject(&stage, session, bytes).context(way.name)?;
    }
    wait::until("what was injected", wait::PATIENCE, || {
        Ok((stage.cluster.sql("select count(*) from injected")? == plain.len().to_string()).then_some(()))
    })?;
    for (way, _, session) in &plain {
        let (proxy, kernel) = told(&stage, session, "bytes_to_server").context(way.name)?;
        let injected = u64::try_from(message.len())?;
        ensure!(kernel == proxy + injected, "{}: {kernel} bytes, {proxy} of the proxy", way.name);
        let (proxy, kernel) = told(&stage, session, "messages_to_server").context(way.name)?;
        ensure!(kernel == proxy + 1, "{}: {kernel} messages, {proxy} of the proxy", way.name);
    }
    for (way, _, session) in &encrypted {
        let (proxy, kernel) = told(&stage, session, "bytes_to_server").context(way.name)?;
        ensure!(kernel > proxy, "{}: {kernel} bytes, {proxy} of the proxy", way.name);
    }
    Ok(())
}
