//! Steering when something fails: open or closed as configured, never by accident, and always given back.

#![expect(clippy::disallowed_methods, reason = "tests live in real time: deadlines need the clock")]

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use warder_tests::account::Account;
use warder_tests::events::{self, What};
use warder_tests::process::{self, Running};
use warder_tests::stage::{HOP_V4, PASSWORD, Place, Stage, StageOptions};
use warder_tests::{directory, tooling, wait};

/// How long a dead or hanging proxy may be noticed by clients: the heartbeat's limit, and room.
const NOTICED: Duration = Duration::from_secs(10);

const ENFORCED: &str = "mode = \"enforce\"";

/// Whether a new connection is served.
fn is_served(stage: &Stage, place: Place) -> Result<bool> {
    Ok(stage.psql(place, &[("PGCONNECT_TIMEOUT", "4")], "select 1")?.status.success())
}

fn wait_served(stage: &Stage, place: Place) -> Result<()> {
    wait::until("a served connection", NOTICED, || Ok(is_served(stage, place)?.then_some(())))
}

/// Each place is refused, and the server sees nobody.
fn check_closed(stage: &Stage) -> Result<()> {
    for place in [Place::Inside, Place::Outside] {
        ensure!(!is_served(stage, place)?, "a client was served {place:?}");
    }
    Ok(())
}

/// A session that stays.
fn session(stage: &Stage, name: &str) -> Result<Running> {
    let mut psql = stage.session(Place::Inside, &[("PGAPPNAME", name)])?;
    say(&mut psql, name)?;
    Ok(psql)
}

fn say(psql: &mut Running, text: &str) -> Result<()> {
    psql.write_line(&format!("select '{text}';"))?;
    let said = psql.read_line()?;
    ensure!(said == text, "{said:?} in place of {text:?}");
    Ok(())
}

/// Waits for a record of a session with that name in this class.
fn wait_class(stage: &Stage, name: &str, class: &str, detail: Option<&str>) -> Result<()> {
    let what = format!("{name} as {class} {detail:?}");
    let found = |all: &[events::Event]| {
        let sessions = events::sessions(all);
        let mut named = sessions.values().filter(|session| session.application_name.as_deref() == Some(name));
        named.find(|one| one.class.as_deref() == Some(class) && one.class_detail.as_deref() == detail).map(|_| ())
    };
    stage.agent.events().wait_for(&what, wait::PATIENCE, found)
}

/// Waits for the class of the session of a client.
fn has_class(stage: &Stage, pid: u32) -> Result<String> {
    stage.agent.events().wait_for("the session's class", wait::PATIENCE, |all| {
        let sessions = events::sessions(all);
        let mut of_client =
            sessions.values().filter(|session| session.client.as_ref().is_some_and(|client| client.pid == pid));
        of_client.find_map(|session| session.class.clone())
    })
}

/// Kills with a signal and waits until the process has ended.
fn end(pid: u32, signal: Signal) -> Result<()> {
    wait::until("the end of a process", wait::PATIENCE, || {
        // The first SIGSEGV only takes a handler away that tells a stack overflow from other faults.
        let _gone = process::send(pid, signal);
        Ok(process::ended(pid).then_some(()))
    })
}

#[test]
fn in_observe_a_killed_agent_lets_clients_reach_the_server() -> Result<()> {
    let mut stage = Stage::start_steered(&StageOptions::default())?;
    let mut mediated = session(&stage, "before")?;
    stage.agent.kill()?;
    ensure!(say(&mut mediated, "late").is_err(), "a session outlived its proxy");
    wait_served(&stage, Place::Inside)?;
    wait_served(&stage, Place::Outside)?;
    let mut direct = session(&stage, "meanwhile")?;
    stage.agent.run()?;
    stage.wait_steered()?;
    let mut after = session(&stage, "after")?;
    say(&mut direct, "still here")?;
    say(&mut after, "here, too")?;
    wait_class(&stage, "after", "mediated", None)?;
    let pid = direct.pid();
    stage.agent.events().wait_for("the bypass of the session that came meanwhile", wait::PATIENCE, |all| {
        all.iter().find_map(|event| match &event.what {
            What::Bypass { reason, session } if reason == "fail_open" => {
                session.client.as_ref().filter(|client| client.pid == pid).map(|_| ())
            }
            _ => None,
        })
    })?;
    let ledger = stage.ledger_after_stop()?;
    let log = stage.agent.log()?;
    let last: Vec<_> = stage.agent.events().all()?.into_iter().rev().take(6).collect();
    ensure!(ledger.get("bypass/fail_open") == Some(&1), "{ledger:?}, {last:?}; the agent said:\n{log}");
    Ok(())
}

#[test]
fn in_enforce_a_killed_agent_leaves_the_door_closed() -> Result<()> {
    let mut stage = Stage::start_steered(&StageOptions::steered(&[ENFORCED]))?;
    let _before = session(&stage, "before")?;
    stage.agent.kill()?;
    check_closed(&stage)?;
    stage.agent.run()?;
    stage.wait_steered()?;
    let after = session(&stage, "after")?;
    wait_class(&stage, "after", "mediated", None)?;
    drop(after);
    let ledger = stage.ledger_after_stop()?;
    ensure!(ledger.keys().all(|class| class == "mediated" || class == "bypass/unix_socket"), "{ledger:?}");
    // Stopped in order it stays closed, too: an update is no open door.
    check_closed(&stage)?;
    process::run(&mut stage.agent.command(&["unload"]))?;
    ensure!(
        is_served(&stage, Place::Inside)? && is_served(&stage, Place::Outside)?,
        "unload has not given the host back"
    );
    Ok(())
}

#[test]
fn in_enforce_the_unix_socket_is_no_open_door_either() -> Result<()> {
    let mut stage = Stage::start_steered(&StageOptions::steered(&[ENFORCED, "take_over_socket = true"]))?;
    stage.wait_taken()?;
    for is_killed in [true, false] {
        stage.cluster.sql("select 'served'")?;
        if is_killed {
            stage.agent.kill()?;
        } else {
            stage.agent.stop()?;
        }
        check_closed(&stage)?;
        ensure!(stage.cluster.sql("select 'around'").is_err(), "the Unix socket was served without the agent");
        stage.agent.run()?;
        stage.wait_steered()?;
        stage.wait_taken()?;
    }
    stage.agent.kill()?;
    process::run(&mut stage.agent.command(&["unload"]))?;
    check_given_back(&stage)
}

#[test]
fn in_observe_an_agent_that_stops_in_order_opens_and_closes_the_door() -> Result<()> {
    let mut stage = Stage::start_steered(&StageOptions::steered(&["take_over_socket = true"]))?;
    stage.wait_taken()?;
    for round in ["first", "second"] {
        let one = session(&stage, round)?;
        wait_class(&stage, round, "mediated", None)?;
        drop(one);
        stage.agent.stop()?;
        ensure!(is_served(&stage, Place::Inside)? && is_served(&stage, Place::Outside)?, "the door is not open");
        stage.cluster.sql("select 1")?;
        stage.agent.run()?;
        stage.wait_steered()?;
        stage.wait_taken()?;
    }
    Ok(())
}

#[test]
fn the_agent_of_another_program_file_takes_the_steering_over() -> Result<()> {
    let folder = directory::private("upgrade")?;
    let newer = folder.path().join("warder-newer");
    std::fs::copy(tooling::agent_binary()?, &newer).context("the agent's program cannot be copied")?;
    let mut stage = Stage::start_steered(&StageOptions::steered(&[ENFORCED]))?;
    stage.agent.kill()?;
    stage.agent.replace_binary(&newer);
    stage.agent.run()?;
    stage.wait_steered()?;
    let one = session(&stage, "newer")?;
    wait_class(&stage, "newer", "mediated", None)?;
    drop(one);
    ensure!(stage.state()?["connections_passed_open"] == 0, "{}", stage.state()?);
    Ok(())
}

/// Connects again and again while `harm` is done, and for a while after it: how many were served.
fn connect_during(stage: &Stage, harm: impl FnOnce() -> Result<()>) -> Result<u32> {
    let mut load = load(stage)?;
    let mut served = u32::from(is_served(stage, Place::Inside)?);
    harm()?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(8) {
        served += u32::from(is_served(stage, Place::Inside)?);
    }
    // Clients whose proxy was killed give up; none waits for ever.
    load.wait(wait::PATIENCE)?;
    Ok(served)
}

/// pgbench for a few seconds, with connections that stay.
fn load(stage: &Stage) -> Result<Running> {
    let script = stage.cluster.directory().join("load.sql");
    std::fs::write(&script, "select count(*) from generate_series(1, 100);\n")?;
    let mut command = stage.client(Place::Inside, "pgbench");
    command.args(["-n", "-c", "8", "-T", "8", "-f"]).arg(&script).arg("postgres");
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let load = Running::start("pgbench", Signal::SIGTERM, &mut command)?;
    wait::until("load", wait::PATIENCE, || {
        let busy = "select count(*) from pg_stat_activity where application_name = 'pgbench'";
        Ok((stage.cluster.sql(busy)? == "8").then_some(()))
    })?;
    Ok(load)
}

/// The ledger knows nothing but sessions through the proxy.
fn check_nobody_got_around(mut stage: Stage) -> Result<()> {
    let state = stage.state()?;
    ensure!(state["connections_passed_open"] == 0, "{state}");
    let ledger = stage.ledger_after_stop()?;
    let direct = ledger.keys().filter(|class| class.starts_with("bypass") && *class != "bypass/unix_socket").count();
    ensure!(direct == 0 && ledger.contains_key("mediated") && !ledger.contains_key("unknown"), "{ledger:?}");
    Ok(())
}

#[test]
fn a_worker_that_is_killed_has_a_sibling() -> Result<()> {
    for (mode, signal) in [("observe", Signal::SIGKILL), ("enforce", Signal::SIGSEGV)] {
        let stage = Stage::start_steered(&StageOptions::steered(&[&format!("mode = \"{mode}\"")]))?;
        let worker = *stage.workers()?.first().context("no worker")?;
        let served = connect_during(&stage, || end(worker, signal))?;
        ensure!(served > 10, "only {served} connections were served in {mode}");
        stage.wait_steered()?;
        ensure!(stage.workers()?.len() == 2 && !stage.workers()?.contains(&worker), "the worker is not replaced");
        check_nobody_got_around(stage).context(mode)?;
    }
    Ok(())
}

#[test]
fn a_worker_that_hangs_is_passed_by_and_replaced() -> Result<()> {
    ["observe", "enforce"].into_iter().try_for_each(|mode| check_hanging_worker(mode).context(mode))
}

fn check_hanging_worker(mode: &str) -> Result<()> {
    let stage = Stage::start_steered(&StageOptions::steered(&[&format!("mode = \"{mode}\"")]))?;
    let worker = *stage.workers()?.first().context("no worker")?;
    // The agent leaves a worker that it has just started alone.
    wait::until("a worker that is not young", wait::PATIENCE, || {
        Ok((stage.agent.ready_for() > Duration::from_secs(11)).then_some(()))
    })?;
    let served = connect_during(&stage, || process::send(worker, Signal::SIGSTOP))?;
    ensure!(served > 10, "only {served} connections were served");
    wait::until("the end of the worker that hangs", wait::PATIENCE, || Ok(process::ended(worker).then_some(())))?;
    stage.wait_steered()?;
    check_nobody_got_around(stage)
}

#[test]
fn without_any_worker_enforce_stays_closed_and_recovers() -> Result<()> {
    let stage = Stage::start_steered(&StageOptions::steered(&[ENFORCED]))?;
    let served = connect_during(&stage, || {
        for worker in stage.workers()? {
            end(worker, Signal::SIGKILL)?;
        }
        Ok(())
    })?;
    ensure!(served > 0, "nobody was served again");
    stage.wait_steered()?;
    check_nobody_got_around(stage)
}

#[test]
fn without_any_worker_observe_lets_clients_pass_and_says_so() -> Result<()> {
    let mut stage = Stage::start_steered(&StageOptions::default())?;
    let served = connect_during(&stage, || {
        for worker in stage.workers()? {
            end(worker, Signal::SIGKILL)?;
        }
        Ok(())
    })?;
    ensure!(served > 10, "only {served} connections were served");
    stage.wait_steered()?;
    let passed = stage.state()?["connections_passed_open"].as_u64().context("no counter")?;
    let ledger = stage.ledger_after_stop()?;
    let recorded = ledger.get("bypass/fail_open").copied().unwrap_or(0);
    ensure!(recorded == passed, "{passed} connections passed, the ledger says {ledger:?}");
    Ok(())
}

#[test]
fn an_agent_that_is_suspended_is_passed_by_or_refuses() -> Result<()> {
    for (mode, open) in [("observe", true), ("enforce", false)] {
        let stage = Stage::start_steered(&StageOptions::steered(&[&format!("mode = \"{mode}\"")]))?;
        let mut before = session(&stage, "before")?;
        let all = stage.agent.processes()?;
        for pid in &all {
            process::send(*pid, Signal::SIGSTOP)?;
        }
        if open {
            wait_served(&stage, Place::Inside)?;
        } else {
            wait::until("a refusal", NOTICED, || Ok((!is_served(&stage, Place::Inside)?).then_some(())))?;
            check_closed(&stage)?;
        }
        for pid in &all {
            process::send(*pid, Signal::SIGCONT)?;
        }
        say(&mut before, "the session went on")?;
        wait::until("steering as before", wait::PATIENCE, || {
            Ok((stage.wait_steered().is_ok() && is_served(&stage, Place::Inside)?).then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn a_kernel_process_that_is_suspended_does_not_keep_clients_waiting() -> Result<()> {
    let stage = Stage::start_steered(&StageOptions::default())?;
    let pid = stage.agent.pid()?;
    process::send(pid, Signal::SIGSTOP)?;
    let served = wait_served(&stage, Place::Inside);
    process::send(pid, Signal::SIGCONT)?;
    served?;
    stage.wait_steered()
}

#[test]
fn unload_gives_the_host_back_while_the_agent_runs_and_when_it_is_dead() -> Result<()> {
    let mut stage = Stage::start_steered(&StageOptions::steered(&["take_over_socket = true"]))?;
    stage.wait_taken()?;
    let through = session(&stage, "through")?;
    stage.agent.cli(&["unload"])?;
    check_given_back(&stage)?;
    // It stays given back, although the agent looks after its steering several times a second.
    let begin = Instant::now();
    stage
        .wait_state("the loss of the steering", |state| state["steered"] == false && state["socket_taken"] == false)?;
    while begin.elapsed() < Duration::from_secs(3) {
        check_given_back(&stage)?;
    }
    drop(through);
    let on = stage.steer("on")?;
    ensure!(on.status.success(), "{}", String::from_utf8_lossy(&on.stderr));
    stage.wait_steered()?;
    stage.wait_taken()?;
    stage.agent.kill()?;
    stage.agent.cli(&["unload"])?;
    check_given_back(&stage)?;
    // Nothing is left to give back.
    stage.agent.cli(&["unload"])?;
    check_given_back(&stage)
}

/// Clients reach the server itself, and nothing of ours is left.
fn check_given_back(stage: &Stage) -> Result<()> {
    for place in [Place::Inside, Place::Outside] {
        ensure!(is_served(stage, place)?, "nobody is served {place:?}");
    }
    stage.cluster.sql("select 1")?;
    let private = stage.cluster.socket().with_extension(format!("{}.warder", stage.cluster.port()));
    ensure!(!private.exists() && !stage.pins().exists(), "something is left");
    Ok(())
}

#[test]
fn a_database_that_starts_again_is_steered_again() -> Result<()> {
    let mut stage = Stage::start_steered(&StageOptions::steered(&["take_over_socket = true"]))?;
    stage.wait_taken()?;
    let before = session(&stage, "before")?;
    let listeners = worker_listeners(&stage)?;
    stage.cluster.sql("alter system set listen_addresses = '127.0.0.1,127.0.0.9'")?;
    stage.cluster.stop()?;
    drop(before);
    stage.cluster.start_again()?;
    // A moment's bypass is unavoidable on the Unix socket: it is told.
    stage.agent.events().wait_for("the record of the socket that was taken again", wait::PATIENCE, |all| {
        all.iter().find_map(|event| {
            matches!(&event.what, What::Proxy { event, .. } if event == "socket_retaken").then_some(())
        })
    })?;
    stage.wait_taken()?;
    stage.wait_steered()?;
    for (name, host) in [("again", "127.0.0.1"), ("elsewhere", "127.0.0.9")] {
        let environment = [("PGAPPNAME", name), ("PGHOST", host)];
        wait::until("a steered session", wait::PATIENCE, || {
            let mut psql = stage.session(Place::Inside, &environment)?;
            say(&mut psql, name)?;
            let steered = has_class(&stage, psql.pid())?;
            Ok((steered == "mediated").then_some(()))
        })?;
    }
    let mut unix = stage.session_unix(&[("PGAPPNAME", "unix")])?;
    say(&mut unix, "unix")?;
    wait_class(&stage, "unix", "mediated", None)?;
    // What served the steering before is closed.
    wait::until("as many listeners as before", wait::PATIENCE, || {
        Ok((worker_listeners(&stage)? == listeners).then_some(()))
    })
}

#[test]
fn a_server_without_ipv6_needs_no_hop_address_of_it() -> Result<()> {
    let hop = format!("hop_address = [\"{HOP_V4}\"]");
    let mut options = StageOptions::guarded(&["steer = false", &hop]);
    // The rules admit everybody, so with a listener for IPv6 the address would be missing.
    options.cluster.listen = "0.0.0.0".into();
    let stage = Stage::start(&options)?;
    wait::until("steering", wait::PATIENCE, || {
        let output = stage.steer("on")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!said.contains("hop_address"), "{said}");
        Ok(output.status.success().then_some(()))
    })?;
    stage.wait_steered()?;
    ensure!(is_served(&stage, Place::Inside)?, "nobody is served");
    Ok(())
}

/// TCP listeners in the server's network namespace that workers hold.
fn worker_listeners(stage: &Stage) -> Result<usize> {
    let wrapper = stage.namespace.enter();
    let (program, words) = wrapper.split_first().context("no way into the namespace")?;
    let tables = process::run(Command::new(program).args(words).args(["cat", "/proc/net/tcp", "/proc/net/tcp6"]))?;
    let tables = String::from_utf8(tables.stdout)?;
    let fields = tables.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // `sl local_address rem_address st ... inode`, where state 0A is LISTEN.
    let listening = fields.filter(|fields| fields.get(3) == Some(&"0A")).filter_map(|fields| fields.get(9).copied());
    let listening: HashSet<String> = listening.map(|inode| format!("socket:[{inode}]")).collect();
    let mut held = 0;
    for worker in stage.workers()? {
        let links = std::fs::read_dir(format!("/proc/{worker}/fd"))?.flatten();
        let links = links.filter_map(|link| std::fs::read_link(link.path()).ok());
        held += links.filter(|link| link.to_str().is_some_and(|link| listening.contains(link))).count();
    }
    ensure!(held > 0, "no worker listens");
    Ok(held)
}

/// `trust` on loopback, a password from elsewhere: initdb's and containers' default.
fn lenient_on_loopback() -> StageOptions {
    let mut options = StageOptions::guarded(&["steer = false"]);
    options = options.access("host all all 127.0.0.0/8 trust").access("host all all 0.0.0.0/0 scram-sha-256");
    options.sql = vec![format!("alter role postgres password '{PASSWORD}'")];
    options
}

fn refuses(stage: &Stage, place: Place, password: &str) -> Result<String> {
    let output = stage.psql(place, &[("PGPASSWORD", password)], "select 1")?;
    ensure!(!output.status.success(), "{password:?} was good enough {place:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Puts a line in front of `pg_hba.conf`.
fn add_access(stage: &Stage, line: &str) -> Result<()> {
    let path = access_file(stage);
    let text = std::fs::read_to_string(&path)?;
    set_access(stage, &path, &format!("{line}\n{text}"))
}

fn access_file(stage: &Stage) -> std::path::PathBuf {
    stage.cluster.directory().join("data/pg_hba.conf")
}

fn set_access(stage: &Stage, path: &Path, text: &str) -> Result<()> {
    directory::write_owned(path, text, &Account::postgres()?, 0o600)?;
    ensure!(stage.cluster.sql("select pg_reload_conf()")? == "t", "the server does not reload");
    Ok(())
}

#[test]
fn steering_that_would_launder_access_rules_is_refused_until_a_rule_is_added() -> Result<()> {
    let stage = Stage::start(&lenient_on_loopback())?;
    refuses(&stage, Place::Outside, "wrong")?;
    let rule = format!("host all all {HOP_V4}/32 scram-sha-256");
    wait::until("a refusal that names the rule", wait::PATIENCE, || {
        let output = stage.steer("on")?;
        let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(!output.status.success(), "steered although trust on loopback would be laundered");
        Ok(said.contains(&rule).then_some(()))
    })?;
    ensure!(stage.state()?["steered"] == false, "steered although it was refused");
    add_access(&stage, &rule)?;
    add_access(&stage, "host replication standby 127.0.0.1/32 scram-sha-256")?;
    let output = stage.steer("on")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        told.contains("standbys and backups") && told.contains("pg_hba.conf:1"),
        "replication is not named: {told}"
    );
    stage.wait_steered()?;
    let said = refuses(&stage, Place::Outside, "wrong")?;
    ensure!(said.contains("password authentication failed"), "{said}");
    ensure!(
        is_served(&stage, Place::Outside)? && is_served(&stage, Place::Inside)?,
        "the right password is not good enough"
    );
    let without = stage.psql(Place::Inside, &[("PGPASSWORD", "")], "select inet_client_addr()")?;
    ensure!(
        without.status.success() && without.stdout == b"127.0.0.1\n",
        "trust on loopback does not hold: {without:?}"
    );
    Ok(())
}

#[test]
fn rules_that_change_while_steered_launder_nothing() -> Result<()> {
    let stage = Stage::start(&lenient_on_loopback())?;
    let safe = std::fs::read_to_string(access_file(&stage))?;
    add_access(&stage, &format!("host all all {HOP_V4}/32 scram-sha-256"))?;
    wait::until("steering", wait::PATIENCE, || Ok(stage.steer("on")?.status.success().then_some(())))?;
    stage.wait_steered()?;
    ensure!(is_served(&stage, Place::Outside)?, "the right password is not good enough");
    // Without that line the hop would meet `trust`.
    set_access(&stage, &access_file(&stage), &safe)?;
    stage.wait_state("the changed rules", |state| state["remarks"].to_string().contains("have changed"))?;
    let said = refuses(&stage, Place::Outside, "wrong")?;
    ensure!(said.contains("pg_hba.conf"), "{said}");
    // The right password neither: who the client is can not be asked any more.
    refuses(&stage, Place::Outside, PASSWORD)?;
    ensure!(is_served(&stage, Place::Inside)?, "a client of the host meets the same line as its hop");
    // A rule that refuses is the server's word, by the client's own address.
    add_access(&stage, "host all all 10.211.0.0/16 reject")?;
    wait::until("the server's refusal", wait::PATIENCE, || {
        let said = refuses(&stage, Place::Outside, PASSWORD)?;
        let address = &stage.namespace.outside;
        Ok((said.contains("pg_hba.conf rejects connection") && said.contains(address.as_str())).then_some(()))
    })
}
