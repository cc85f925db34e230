//! A session through the proxy is one session: the right client, each statement once, the same bytes on both sides.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use warder_tests::account::Account;
use warder_tests::directory;
use warder_tests::events::{self, Session, What};
use warder_tests::process::{self, Running};
use warder_tests::stage::{PASSWORD, Place, Stage, StageOptions};
use warder_tests::wait;

/// What the journal should say of a visit.
#[derive(Clone, Copy)]
struct Expected {
    listener: &'static str,
    transport: &'static str,
    encryption: &'static str,
    hop_encryption: &'static str,
    relayed: bool,
    /// How the hop's address, as the server sees it, begins.
    hop: &'static str,
}

const STEERED: Expected = Expected {
    listener: "steered",
    transport: "tcp",
    encryption: "plaintext",
    hop_encryption: "plaintext",
    relayed: false,
    hop: "127.0.0.1:",
};

/// The agent gives up when a core lives shorter than this (two seconds, and room).
const CORE_LIFE_MIN: Duration = Duration::from_secs(3);

/// Bytes of the alert that ends TLS.
const CLOSE_ALERT_MAX: u64 = 24;

/// Who visits how.
struct Visit {
    name: &'static str,
    pid: u32,
    expected: Expected,
}

/// Two statements of one session; the server answers that it knows one session of that name.
fn visit(name: &'static str, mut psql: Running, expected: Expected) -> Result<Visit> {
    let pid = psql.pid();
    for sql in texts(name) {
        psql.write_line(&sql)?;
        let said = psql.read_line().with_context(|| format!("{name} got no answer"))?;
        ensure!(said == "1", "{name} got {said:?}");
    }
    psql.close_input();
    let status = psql.wait(wait::PATIENCE)?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(Visit { name, pid, expected })
}

fn texts(name: &str) -> [String; 2] {
    [
        format!("select count(*) from pg_stat_activity where application_name = '{name}';"),
        format!("select 1 /* the second of {name} */;"),
    ]
}

impl Visit {
    fn check(&self, stage: &Stage) -> Result<()> {
        let name = self.name;
        let what = format!("the end of the session of {name}");
        let session = stage.agent.events().wait_for(&what, wait::PATIENCE, |all| {
            events::closed(all).find(|session| session.application_name.as_deref() == Some(name)).cloned()
        })?;
        self.check_session(&session).with_context(|| format!("{name}: {session:#?}"))?;
        let last = texts(name)[1].clone();
        stage.agent.events().wait_for_text(&last).with_context(|| format!("{session:#?}"))?;
        let all = stage.agent.events().all()?;
        let sessions = events::sessions(&all);
        let named = sessions.values().filter(|session| session.application_name.as_deref() == Some(name)).count();
        ensure!(named == 1, "{name} is {named} sessions");
        let recorded: Vec<_> =
            events::statements(&all).filter(|statement| statement.session == session.session).collect();
        let found: Vec<_> = recorded.iter().map(|statement| statement.text.as_deref().unwrap_or("-")).collect();
        if found != texts(name) {
            let all: Vec<_> =
                events::statements(&all).map(|one| (&one.session, one.number, &one.text, &one.ending)).collect();
            anyhow::bail!("{name}: {found:?} is recorded of {}; all statements: {all:?}", session.session);
        }
        for statement in recorded {
            ensure!(statement.outcomes.iter().any(|outcome| outcome.rows == Some(1)), "{name}: {statement:?}");
        }
        Ok(())
    }

    fn check_session(&self, session: &Session) -> Result<()> {
        let expected = self.expected;
        let mediation = session.mediation.as_ref().context("not mediated")?;
        ensure!(session.class.as_deref() == Some("mediated"), "another class");
        ensure!(session.client.as_ref().is_some_and(|client| client.pid == self.pid), "not process {}", self.pid);
        ensure!(mediation.listener.as_deref() == Some(expected.listener), "another listener");
        ensure!(session.transport.as_deref() == Some(expected.transport), "another transport");
        if let Some(path) = &session.socket_path {
            ensure!(path.contains("/.s.PGSQL."), "{path} is not what the client asked for");
        }
        ensure!(session.encryption.as_deref() == Some(expected.encryption), "another encryption");
        // Where the kernel programs do not read the hop, nobody tells how it is encrypted.
        let hop_encryption = mediation.hop_encryption.as_deref();
        ensure!(hop_encryption.is_none_or(|hop| hop == expected.hop_encryption), "another encryption of the hop");
        ensure!(hop_encryption.is_some() || !expected.relayed, "the encryption of the hop is not known");
        ensure!(mediation.relayed == expected.relayed, "relayed or not");
        ensure!(mediation.hop.as_ref().is_some_and(|hop| hop.contains(expected.hop)), "another hop");
        ensure!(session.server.is_some(), "the server's process is not known");
        // What the server did not read before it closed, and the alert that ends TLS: nobody waits for it, and the
        // kernel counts until a socket closes.
        let late = if session.encryption.as_deref() == Some("tls") { CLOSE_ALERT_MAX } else { 0 };
        ensure!(mediation.undelivered_bytes <= late, "undelivered bytes");
        let pairs = [
            ("server received", session.received_bytes, mediation.to_server_bytes - mediation.undelivered_bytes, 0),
            ("server sent", session.sent_bytes, mediation.from_server_bytes, 0),
            ("proxy received", Some(mediation.front_received_bytes), mediation.from_client_bytes, late),
            ("proxy sent", Some(mediation.front_sent_bytes), mediation.to_client_bytes, late),
        ];
        for (what, kernel, proxy, late) in pairs {
            // The kernel programs count the client's bytes on a Unix socket at the server's end only.
            if session.transport.as_deref() == Some("unix") && what.starts_with("proxy") {
                continue;
            }
            let missing = kernel.and_then(|kernel| proxy.checked_sub(kernel));
            ensure!(
                proxy > 0 && missing.is_some_and(|missing| missing <= late),
                "{what}: kernel {kernel:?}, proxy {proxy}"
            );
        }
        ensure!(session.gaps.unwrap_or(0) == 0, "gaps");
        Ok(())
    }
}

/// All visits are in the journal as expected, the witnesses agree, and nothing else happened.
fn check(stage: Stage, visits: &[Visit]) -> Result<()> {
    check_with(stage, visits, 0)
}

/// The same beside further sessions through the proxy.
fn check_with(mut stage: Stage, visits: &[Visit], others: u64) -> Result<()> {
    for visit in visits {
        visit.check(&stage)?;
    }
    let log = stage.agent.log()?;
    let ledger = stage.ledger_after_stop()?;
    let expected = [("mediated".to_owned(), visits.len() as u64 + others)].into();
    ensure!(ledger == expected, "the ledger is {ledger:?}; the agent said:\n{log}");
    for event in stage.agent.events().all()? {
        let is_trouble = matches!(event.what, What::Integrity { .. } | What::Bypass { .. } | What::Loss { .. });
        ensure!(!is_trouble, "{event:?}");
    }
    Ok(())
}

fn scram() -> StageOptions {
    let lines = ["local all postgres trust", "local all nobody peer", "host all all all scram-sha-256"];
    let mut options = lines.into_iter().fold(StageOptions::default(), StageOptions::access);
    options.sql = vec![format!("alter role postgres password '{PASSWORD}'"), "create role nobody login".into()];
    options
}

#[test]
fn steered_without_encryption() -> Result<()> {
    let stage = Stage::start_steered(&scram())?;
    let mut visits = vec![visit("v4", stage.session(Place::Inside, &[("PGAPPNAME", "v4")])?, STEERED)?];
    let environment = [("PGAPPNAME", "v6"), ("PGHOST", "::1")];
    let expected = Expected { hop: "[::1]:", ..STEERED };
    visits.push(visit("v6", stage.session(Place::Inside, &environment)?, expected)?);
    // From another host the server sees the reserved address.
    let expected = Expected { hop: "127.86.0.1:", ..STEERED };
    visits.push(visit("remote", stage.session(Place::Outside, &[("PGAPPNAME", "remote")])?, expected)?);
    check(stage, &visits)
}

#[test]
fn steered_tls_is_relayed() -> Result<()> {
    let stage = Stage::start_steered(&scram())?;
    let authority = stage.cluster.certificate().authority.to_string_lossy().into_owned();
    let expected = Expected { encryption: "tls", hop_encryption: "tls", relayed: true, ..STEERED };
    let mut visits = Vec::new();
    for (name, place, hop) in [("relay", Place::Inside, "127.0.0.1:"), ("relay-remote", Place::Outside, "127.86.0.1:")]
    {
        let mut environment = vec![("PGAPPNAME", name), ("PGSSLMODE", "verify-ca"), ("PGCHANNELBINDING", "require")];
        environment.push(("PGSSLROOTCERT", &authority));
        visits.push(visit(name, stage.session(place, &environment)?, Expected { hop, ..expected })?);
    }
    check(stage, &visits)
}

#[test]
fn steered_tls_with_the_servers_certificate_keeps_channel_binding() -> Result<()> {
    let stage = Stage::start_steered(&StageOptions { tls: Some("server-certificate"), ..scram() })?;
    let authority = stage.cluster.certificate().authority.to_string_lossy().into_owned();
    let mut environment = vec![("PGAPPNAME", "full"), ("PGSSLMODE", "verify-full"), ("PGCHANNELBINDING", "require")];
    environment.push(("PGSSLROOTCERT", &authority));
    let expected = Expected { encryption: "tls", hop_encryption: "tls", ..STEERED };
    let mut visits = vec![visit("full", stage.session(Place::Inside, &environment)?, expected)?];
    visits.push(visit("plain", stage.session(Place::Inside, &[("PGAPPNAME", "plain")])?, STEERED)?);
    check(stage, &visits)
}

#[test]
fn steered_tls_with_a_certificate_of_its_own() -> Result<()> {
    let stage = Stage::start_steered(&StageOptions { tls: Some("own-certificate"), ..scram() })?;
    let authority = stage.cluster.certificate().authority.to_string_lossy().into_owned();
    let environment = [("PGAPPNAME", "own"), ("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", &authority)];
    let expected = Expected { encryption: "tls", ..STEERED };
    let visits = [visit("own", stage.session(Place::Inside, &environment)?, expected)?];
    let environment = [("PGSSLMODE", "require"), ("PGCHANNELBINDING", "require")];
    let refused = stage.psql(Place::Inside, &environment, "select 1")?;
    ensure!(!refused.status.success(), "channel binding to another certificate must not work");
    stage
        .agent
        .events()
        .wait_for("the end of both sessions", wait::PATIENCE, |all| (events::closed(all).count() == 2).then_some(()))?;
    check_with(stage, &visits, 1)
}

#[test]
fn by_a_plain_listener() -> Result<()> {
    let port = directory::free_port()?;
    let stage = Stage::start(&StageOptions { guard: vec![format!("listen = [\"127.0.0.1:{port}\"]")], ..scram() })?;
    stage.wait_listening(port)?;
    let port = port.to_string();
    let environment = [("PGAPPNAME", "plain"), ("PGHOST", "127.0.0.1"), ("PGPORT", &port)];
    let psql = stage.session(Place::Outside, &environment)?;
    // Its address is one of another network namespace: the server sees the reserved one.
    let visits = [visit("plain", psql, Expected { listener: "plain", hop: "127.86.0.1:", ..STEERED })?];
    check(stage, &visits)
}

#[test]
fn by_the_unix_socket_with_the_clients_own_identity() -> Result<()> {
    let stage = Stage::start(&StageOptions { guard: vec!["take_over_socket = true".into()], ..scram() })?;
    stage.wait_taken()?;
    let expected = Expected { listener: "unix_socket", transport: "unix", hop: ".s.PGSQL.", ..STEERED };
    let nobody = Account::nobody()?;
    let mut visits = vec![visit("peer", peer(&stage, &nobody, "nobody", "peer")?, expected)?];
    visits.push(visit("root", stage.session_unix(&[("PGAPPNAME", "root")])?, expected)?);
    check(stage, &visits)
}

#[test]
fn a_foreign_identity_is_refused_by_the_server_itself() -> Result<()> {
    let stage = Stage::start(&StageOptions { guard: vec!["take_over_socket = true".into()], ..scram() })?;
    stage.wait_taken()?;
    let other = Account::named("daemon")?;
    let mut command = peer_command(&stage, &other, "nobody", "thief");
    let output = process::run_any(command.args(["-c", "select 1"]))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(said.contains("Peer authentication failed for user \"nobody\""), "{said}");
    Ok(())
}

/// psql of an account, over the Unix socket.
fn peer(stage: &Stage, account: &Account, user: &str, name: &str) -> Result<Running> {
    let mut command = peer_command(stage, account, user, name);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    Running::start("psql", Signal::SIGTERM, &mut command)
}

fn peer_command(stage: &Stage, account: &Account, user: &str, name: &str) -> Command {
    let mut command = process::command_as(account, stage.cluster.program("psql"));
    command
        .args(["-XqAt", "-v", "ON_ERROR_STOP=1"])
        .env("PGAPPNAME", name)
        .env("PGUSER", user)
        .env("PGDATABASE", "postgres");
    command.env("PGHOST", stage.cluster.socket_directory()).env("PGPORT", stage.cluster.port().to_string());
    command.current_dir("/");
    command
}

/// What a client does with a server beyond asking: on each way once.
#[test]
fn cancel_copy_and_notifications_pass_each_way() -> Result<()> {
    let mut options = scram();
    options.guard.push("take_over_socket = true".into());
    options.sql.push("create table copied (line text)".into());
    let stage = Stage::start_steered(&options)?;
    stage.wait_taken()?;
    let tls = [("PGSSLMODE", "require")];
    let folder = stage.cluster.socket_directory().to_string_lossy().into_owned();
    let unix = [("PGHOST", folder.as_str())];
    for (way, environment) in [("plain", &[][..]), ("tls", &tls[..]), ("unix", &unix[..])] {
        check_cancel(&stage, environment).with_context(|| format!("cancel over {way}"))?;
        check_copy(&stage, environment).with_context(|| format!("copy over {way}"))?;
        check_notification(&stage, environment).with_context(|| format!("notification over {way}"))?;
    }
    let cancelled =
        stage.agent.events().all()?.iter().filter(|event| matches!(event.what, What::Cancel { .. })).count();
    ensure!(cancelled == 3, "{cancelled} cancel requests are recorded");
    Ok(())
}

/// `^C` in psql.
fn check_cancel(stage: &Stage, environment: &[(&str, &str)]) -> Result<()> {
    let mut command = stage.client(Place::Inside, "psql");
    command.envs(environment.iter().copied()).env("PGAPPNAME", "sleeper").args(["-XqAt", "-c", "select pg_sleep(600)"]);
    command.stderr(std::process::Stdio::null());
    let mut psql = Running::start("psql", Signal::SIGTERM, &mut command)?;
    let sleeping = "select count(*) from pg_stat_activity where application_name = 'sleeper' and state = 'active'";
    let sleeps = |number: &str| Ok((stage.cluster.sql(sleeping)? == number).then_some(()));
    wait::until("a query that sleeps", wait::PATIENCE, || sleeps("1"))?;
    psql.signal(Signal::SIGINT)?;
    let status = psql.wait(wait::PATIENCE)?;
    ensure!(!status.success(), "the query was not cancelled");
    wait::until("the end of the query", wait::PATIENCE, || sleeps("0"))
}

fn check_copy(stage: &Stage, environment: &[(&str, &str)]) -> Result<()> {
    let sql = ["truncate copied", "\\copy copied from program 'seq 1 20000'", "\\copy copied to program 'md5sum'"];
    let mut command = stage.client(Place::Inside, "psql");
    command.envs(environment.iter().copied()).args(["-XqAt", "-v", "ON_ERROR_STOP=1"]);
    command.args(sql.iter().flat_map(|sql| ["-c", sql]));
    let output = process::run(&mut command)?;
    let expected = process::run(Command::new("sh").args(["-c", "seq 1 20000 | md5sum"]))?;
    ensure!(output.stdout == expected.stdout, "{output:?}");
    Ok(())
}

fn check_notification(stage: &Stage, environment: &[(&str, &str)]) -> Result<()> {
    let mut listener = stage.session(Place::Inside, environment)?;
    listener.write_line("listen news;")?;
    listener.write_line("select 'listens';")?;
    ensure!(listener.read_line()? == "listens", "another answer");
    stage.cluster.sql("notify news, 'for you'")?;
    // psql looks for notifications after each statement.
    listener.write_line("select 'looked';")?;
    let mut said = listener.read_line()?;
    if said == "looked" {
        said = listener.read_line()?;
    }
    ensure!(said.contains("\"news\" with payload \"for you\""), "{said}");
    Ok(())
}

/// Sessions stay what they are when the core is replaced under them: one that goes on working, and one that is idle.
fn check_another_core(mut stage: Stage, place: Place, environment: &[(&str, &str)]) -> Result<()> {
    let mut idle = stage.session(place, environment)?;
    let mut busy = stage.session(place, environment)?;
    let events = stage.agent.events();
    let idle_one = events.wait_for_text(&said(&mut idle, "once")?)?.session;
    let busy_one = events.wait_for_text(&said(&mut busy, "in the first core")?)?.session;
    wait::until("a core that lived long enough to be replaced", wait::PATIENCE, || {
        Ok((stage.agent.ready_for() > CORE_LIFE_MIN).then_some(()))
    })?;
    let core = stage.agent.core()?;
    process::send(core, Signal::SIGKILL)?;
    wait::until("the end of the core", wait::PATIENCE, || Ok(process::ended(core).then_some(())))?;
    let between = said(&mut busy, "between the cores")?;
    wait::until("another core", wait::PATIENCE, || Ok(stage.agent.core().ok().filter(|one| *one != core)))?;
    let after = said(&mut busy, "in the second core")?;
    for text in [between, after] {
        let session = stage.agent.events().wait_for_text(&text)?.session;
        ensure!(session == busy_one, "{text} is of {session}, not of {busy_one}");
    }
    for (id, psql) in [(&busy_one, busy), (&idle_one, idle)] {
        check_end(&stage, id, psql)?;
    }
    let ledger = stage.ledger_after_stop()?;
    ensure!(ledger.keys().eq(["mediated"]), "the ledger is {ledger:?}");
    let all = stage.agent.events().all()?;
    let sessions = events::sessions(&all);
    ensure!(sessions.len() == 2, "two sessions became {}: {sessions:#?}", sessions.len());
    Ok(())
}

/// The session says something of its own; returns the statement.
fn said(psql: &mut Running, text: &str) -> Result<String> {
    let sql = format!("select '{text}';");
    psql.write_line(&sql)?;
    ensure!(psql.read_line()? == text, "another answer");
    Ok(sql)
}

/// Ends a session: the core that sees it knows all of it, although it did not see it begin.
fn check_end(stage: &Stage, id: &str, mut psql: Running) -> Result<()> {
    let pid = psql.pid();
    psql.close_input();
    psql.wait(wait::PATIENCE)?;
    let closed = stage.agent.events().wait_for("the session's end", wait::PATIENCE, |all| {
        events::closed(all).find(|session| session.session == id).cloned()
    })?;
    let is_whole = closed.class.as_deref() == Some("mediated")
        && closed.mediation.as_ref().is_some_and(|mediation| mediation.hop.is_some() && mediation.to_server_bytes > 0)
        && closed.client.as_ref().is_some_and(|client| client.pid == pid)
        && closed.user.as_deref() == Some("postgres");
    ensure!(is_whole, "the second core knows less: {closed:#?}");
    Ok(())
}

#[test]
fn a_session_by_a_plain_listener_outlives_the_core() -> Result<()> {
    let port = directory::free_port()?;
    let stage = Stage::start(&StageOptions { guard: vec![format!("listen = [\"127.0.0.1:{port}\"]")], ..scram() })?;
    stage.wait_listening(port)?;
    let port = port.to_string();
    check_another_core(stage, Place::Outside, &[("PGHOST", "127.0.0.1"), ("PGPORT", &port)])
}

#[test]
fn a_steered_session_outlives_the_core() -> Result<()> {
    check_another_core(Stage::start_steered(&scram())?, Place::Inside, &[])
}

/// Each worker gets its part of the sessions: one that has more than that is slower for all of them. A hash would hardly stay
/// within this after each of so many.
fn check_turns(stage: &Stage, place: Place, environment: &[(&str, &str)]) -> Result<()> {
    /// The client's connection and the hop.
    const FILES_OF_SESSION: usize = 2;
    let workers = stage.workers()?;
    let files = || -> Result<Vec<usize>> {
        workers.iter().map(|pid| Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())).collect()
    };
    let before = files()?;
    let mut sessions = Vec::new();
    for number in 1..=24 {
        let mut psql = stage.session(place, environment)?;
        said(&mut psql, "there")?;
        sessions.push(psql);
        let more: Vec<usize> = files()?.iter().zip(&before).map(|(now, before)| now.saturating_sub(*before)).collect();
        let [one, other] = more[..] else { anyhow::bail!("{} workers", more.len()) };
        // Others may have begun the first round, and the last one is under way.
        ensure!(one.abs_diff(other) <= 2 * FILES_OF_SESSION, "after {number} sessions: {more:?}");
    }
    Ok(())
}

#[test]
fn sessions_by_a_plain_listener_take_turns() -> Result<()> {
    let port = directory::free_port()?;
    let stage = Stage::start(&StageOptions { guard: vec![format!("listen = [\"127.0.0.1:{port}\"]")], ..scram() })?;
    let line = format!(":{port:04X} 00000000:0000 0A");
    wait::until("a listener of each worker", wait::PATIENCE, || {
        Ok((std::fs::read_to_string("/proc/net/tcp")?.matches(&line).count() == 2).then_some(()))
    })?;
    check_turns(&stage, Place::Outside, &[("PGHOST", "127.0.0.1"), ("PGPORT", &port.to_string())])
}

#[test]
fn steered_sessions_take_turns() -> Result<()> {
    check_turns(&Stage::start_steered(&scram())?, Place::Inside, &[])
}

/// A service manager's soft limit is 1024 open files: with it a worker could have five hundred sessions.
#[test]
fn workers_may_open_as_many_files_as_the_hard_limit_says() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard / 2, hard)?;
    let stage = Stage::start_steered(&scram());
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    let stage = stage?;
    for worker in stage.workers()? {
        let limits = std::fs::read_to_string(format!("/proc/{worker}/limits"))?;
        let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit")?;
        let soft = line.split_whitespace().nth(3).context("no soft limit")?;
        ensure!(soft == hard.to_string(), "{line}");
    }
    Ok(())
}
