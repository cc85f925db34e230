//! Policies: what is not allowed does not run, the session lives, and the record says by which rule.

#![expect(clippy::disallowed_methods, reason = "tests live in real time: a rate counts in minutes of the clock")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use warder_tests::events::{self, What};
use warder_tests::process;
use warder_tests::stage::{Place, Stage, StageOptions};
use warder_tests::wire::{RawClient, query};
use warder_tests::{directory, wait};

/// Everything but a few things.
const POLICIES: &str = r#"
@id("all")
@reason("everything is allowed")
permit (principal, action, resource);

@id("no-drop")
@reason("nobody drops anything")
@remedy("ask the owner")
forbid (principal, action == Action::"Drop", resource);

@id("no-unbounded-delete")
@reason("every row would go")
@remedy("add a WHERE")
forbid (principal, action == Action::"Delete", resource)
when { context.condition == Condition::"everything" };
"#;

/// A server, an agent with policies, and a port that leads through it.
struct Guarded {
    stage: Stage,
    port: String,
    policies: PathBuf,
    _folder: tempfile::TempDir,
}

impl Guarded {
    fn start(mode: &str, policies: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("test.cedar");
        fs::write(&file, policies)?;
        let port = directory::free_port()?;
        let options = StageOptions {
            guard: vec![
                format!("listen = [\"127.0.0.1:{port}\"]"),
                format!("mode = {mode:?}"),
                format!("policies = [{:?}]", folder.path().to_string_lossy()),
            ],
            sql: vec!["create table kept as select generate_series(1, 100) as id".into()],
            tls: Some("server-certificate"),
            ..StageOptions::default()
        };
        let stage = Stage::start(&options)?;
        stage.wait_listening(port)?;
        Ok(Self { stage, port: port.to_string(), policies: file, _folder: folder })
    }

    fn psql(&self, sql: &str) -> Result<Output> {
        let place = [("PGHOST", "127.0.0.1"), ("PGPORT", self.port.as_str())];
        let mut command = self.stage.client(Place::Outside, "psql");
        process::run_any(command.envs(place).args(["-XqAt", "-f"]).arg(script(&self.policies, sql)?))
    }

    fn rows(&self) -> Result<String> {
        Ok(self.stage.cluster.sql("select count(*) from kept")?.trim().to_owned())
    }

    /// Records that a search finds; its last line tells about the search itself.
    fn verdicts(&self, query: &str) -> Result<Vec<Value>> {
        let output = process::run(&mut self.stage.agent.command(&["search", "--json", query]))?;
        let text = String::from_utf8(output.stdout)?;
        let found = text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
        found.filter(|found| !matches!(found, Ok(line) if Value::get(line, "search").is_some())).collect()
    }
}

/// SQL as a file: psql goes on after an error.
fn script(beside: &Path, sql: &str) -> Result<PathBuf> {
    let path = beside.with_extension("sql");
    fs::write(&path, sql)?;
    Ok(path)
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_is_forbidden_does_not_run_and_the_session_lives() -> Result<()> {
    let guarded = Guarded::start("enforce", POLICIES)?;
    let (out, errors) = said(&guarded.psql(
        "drop table kept;
         select 'lives';
         delete from kept;
         begin; delete from kept where id = 1; drop table kept; select 'in a failed transaction'; rollback;
         delete from kept where id = 2;
         select 'one' \\; drop table kept \\; select 'two';
         prepare p as select 'prepared'; execute p;
         select 'drop table kept';",
    )?);
    ensure!(out.lines().eq(["lives", "prepared", "drop table kept"]), "{out}\n{errors}");
    ensure!(errors.matches("(rule no-drop)").count() == 3, "{errors}");
    ensure!(errors.matches("(rule no-unbounded-delete)").count() == 1, "{errors}");
    ensure!(errors.contains("HINT:  add a WHERE") && errors.contains("current transaction is aborted"), "{errors}");
    ensure!(guarded.rows()? == "99", "{} rows", guarded.rows()?);
    guarded.stage.agent.events().wait_for_text("select 'drop table kept';")?;
    ensure!(guarded.verdicts("verdict:refused")?.len() >= 4);
    ensure!(!guarded.verdicts("rule:no-drop")?.is_empty());
    ensure!(guarded.verdicts("verdict:refused text:lives")?.is_empty());
    Ok(())
}

#[test]
fn observing_lets_everything_run_and_records_what_would_not() -> Result<()> {
    let guarded = Guarded::start("observe", POLICIES)?;
    let (_, errors) = said(&guarded.psql("delete from kept;")?);
    ensure!(errors.is_empty(), "{errors}");
    ensure!(guarded.rows()? == "0");
    guarded.stage.agent.events().wait_for_text("delete from kept;")?;
    ensure!(!guarded.verdicts("rule:no-unbounded-delete")?.is_empty());
    ensure!(guarded.verdicts("verdict:refused")?.is_empty(), "nothing was refused");
    Ok(())
}

#[test]
fn warning_lets_everything_run_and_says_so() -> Result<()> {
    let guarded = Guarded::start("warn", POLICIES)?;
    let (_, errors) = said(&guarded.psql("delete from kept;")?);
    ensure!(errors.contains("WARNING:  DELETE of every row"), "{errors}");
    ensure!(guarded.rows()? == "0");
    Ok(())
}

/// What was recorded while other policies held, and what went around them, is put before a new set.
#[test]
fn history_is_replayed_under_another_set() -> Result<()> {
    let guarded = Guarded::start("enforce", POLICIES)?;
    let (out, errors) = said(&guarded.psql(
        "drop table kept;
         delete from kept where id = 1;
         alter role postgres password 'Sentinel-8';
         prepare p as select 'prepared'; execute p;",
    )?);
    ensure!(out.trim() == "prepared", "{out} {errors}");
    guarded.stage.cluster.sql("delete from kept where id = 2")?;
    guarded.stage.agent.events().wait_for_text("delete from kept where id = 2")?;
    guarded.stage.agent.events().wait_for_text("execute p;")?;
    let set = tempfile::tempdir()?;
    let new = "@id(\"all\")\n@reason(\"all\")\npermit (principal, action, resource);\n\
               @id(\"no-delete\")\n@reason(\"none\")\nforbid (principal, action == Action::\"Delete\", resource);\n";
    fs::write(set.path().join("new.cedar"), new)?;
    let folder = set.path().to_string_lossy();
    let words = ["policy", "replay", "--since", "1h", "--json", "--set", &*folder];
    let output = process::run_any(&mut guarded.stage.agent.command(&words))?;
    ensure!(output.status.code() == Some(1), "something differs: {}", said(&output).1);
    let replayed: Value = serde_json::from_slice(&output.stdout)?;
    let differs = |was: &str, now: &str| {
        let all = replayed["differences"].as_array().into_iter().flatten();
        all.filter(|one| one["was"] == was && one["now"] == now).map(|one| one["statements"].as_u64()).next().flatten()
    };
    ensure!(differs("permitted", "refused") == Some(1), "the bounded DELETE: {replayed}");
    ensure!(differs("refused", "permitted") == Some(1), "the DROP: {replayed}");
    ensure!(differs("not_decided", "refused").is_some(), "the direct DELETE: {replayed}");
    ensure!(replayed["undecidable"]["redacted"] == 1, "the password: {replayed}");
    ensure!(replayed["undecidable"]["prepared_by_sql"] == 1, "EXECUTE: {replayed}");
    // The set that held says the same again.
    let same = guarded.policies.to_string_lossy();
    let words = ["policy", "replay", "--since", "1h", "--json", "--set", &*same];
    let replayed: Value = serde_json::from_slice(&process::run_any(&mut guarded.stage.agent.command(&words))?.stdout)?;
    let of_mediated =
        replayed["differences"].as_array().into_iter().flatten().filter(|one| one["was"] != "not_decided");
    ensure!(of_mediated.count() == 0, "the same set differs: {replayed}");
    Ok(())
}

#[test]
fn changed_policies_hold_for_live_sessions_and_broken_ones_for_nobody() -> Result<()> {
    let guarded = Guarded::start("enforce", POLICIES)?;
    let place = [("PGHOST", "127.0.0.1"), ("PGPORT", guarded.port.as_str())];
    let mut session = guarded.stage.session(Place::Outside, &place)?;
    session.write_line("\\set ON_ERROR_STOP 0")?;
    session.write_line("delete from kept where id = 1 returning 'allowed';")?;
    ensure!(session.read_line()? == "allowed");
    let event = |wanted: &'static str| move |what: &What| matches!(what, What::Proxy { event, .. } if event == wanted);
    let count = |wanted: &'static str| -> Result<usize> {
        Ok(guarded.stage.agent.events().all()?.iter().filter(|found| event(wanted)(&found.what)).count())
    };
    fs::write(&guarded.policies, "permit (")?;
    wait::until("the refused set", wait::PATIENCE, || Ok((count("policies_refused")? == 1).then_some(())))?;
    let (_, errors) = said(&guarded.psql("drop table kept;")?);
    ensure!(errors.contains("(rule no-drop)"), "the good set does not go on: {errors}");
    let stricter = format!(
        "{POLICIES}\n@id(\"no-delete\")\n@reason(\"none\")\nforbid (principal, action == Action::\"Delete\", resource);\n"
    );
    fs::write(&guarded.policies, stricter)?;
    wait::until("the new set", wait::PATIENCE, || Ok((count("policies_loaded")? == 2).then_some(())))?;
    session.write_line("delete from kept where id = 2 returning 'allowed';")?;
    session.write_line("\\echo done")?;
    ensure!(session.read_line()? == "done", "a live session has kept the old policies");
    ensure!(guarded.rows()? == "99");
    Ok(())
}

#[test]
fn bounds_are_kept_and_the_session_lives() -> Result<()> {
    let bounded = "@id(\"bounded\")\n@reason(\"all\")\n@max_rows(\"10\")\n@max_runtime_ms(\"1500\")\n\
                   permit (principal, action, resource);\n";
    let guarded = Guarded::start("enforce", bounded)?;
    let (out, errors) = said(&guarded.psql(
        "select id from kept where id <= 10;
         select generate_series(1, 1000000000000), 'x';
         select 'lives';
         select pg_sleep(60);
         select 'still lives';
         copy kept to stdout;
         select 'at the end';",
    )?);
    let rest: Vec<&str> = out.lines().skip_while(|line| line.parse::<u32>().is_ok()).collect();
    ensure!(out.lines().take(10).eq((1..=10).map(|id| id.to_string())), "{out}");
    ensure!(rest.iter().filter(|line| line.ends_with("|x")).count() <= 10, "{} rows", rest.len());
    for said in ["lives", "still lives", "at the end"] {
        ensure!(rest.contains(&said), "{out}\n{errors}");
    }
    ensure!(errors.matches("more than 10 rows is not allowed").count() == 2, "{errors}");
    ensure!(errors.contains("a longer run is not allowed (rule bounded)"), "{errors}");
    let running = "select count(*) from pg_stat_activity where state = 'active' and query like '%generate_series%'\
                   and pid <> pg_backend_pid()";
    wait::until("the server to stop", wait::PATIENCE, || {
        Ok((guarded.stage.cluster.sql(running)?.trim() == "0").then_some(()))
    })
}

#[test]
fn nobody_is_let_in_whom_no_policy_lets() -> Result<()> {
    let strangers = "@id(\"all\")\n@reason(\"all\")\npermit (principal, action, resource);\n\
                     @id(\"no-strangers\")\n@reason(\"who are you\")\nforbid (principal is Unknown, action == Action::\"Connect\", resource);\n";
    let guarded = Guarded::start("enforce", strangers)?;
    let (out, errors) = said(&guarded.psql("select 'in';")?);
    ensure!(out.is_empty() && errors.contains("FATAL") && errors.contains("no-strangers"), "{out} {errors}");
    let all = guarded
        .stage
        .agent
        .events()
        .wait_for("the end", wait::PATIENCE, |all| events::closed(all).next().is_some().then(|| all.to_vec()))?;
    let disagree = all.iter().any(|event| matches!(event.what, What::Integrity { .. }));
    ensure!(!disagree, "what was negotiated before the refusal is a disagreement");
    Ok(())
}

#[test]
fn statements_that_break_parsers_break_nothing() -> Result<()> {
    let guarded = Guarded::start("enforce", POLICIES)?;
    let workers = guarded.stage.workers()?;
    let deep =
        |open: &str, close: &str, depth: usize| format!("select {}1{};\n", open.repeat(depth), close.repeat(depth));
    let chain = |link: &str, length: usize| format!("select 1{};\n", link.repeat(length));
    let mut script = String::new();
    for size in [100, 2_000, 30_000] {
        script += &[
            deep("(", ")", size),
            deep("(select ", ")", size),
            deep("array[", "]", size),
            deep("case when true then ", " end", size),
            deep("- ", "", size),
            deep("not ", "", size),
            chain(" + 1", size),
            chain(" || 'x'", size),
            chain(" union select 1", size),
            chain("::int", size),
            chain(" and true", size),
        ]
        .concat();
    }
    script += "select 'lives';\n";
    let (out, errors) = said(&guarded.psql(&script)?);
    ensure!(out.lines().last() == Some("lives"), "{}", errors.lines().last().unwrap_or_default());
    ensure!(guarded.stage.workers()? == workers, "a worker has died");
    Ok(())
}

/// One who leaves in the middle of a message, or while something waits for an answer, is not waited for.
#[test]
fn whoever_leaves_is_gone() -> Result<()> {
    let guarded = Guarded::start("enforce", POLICIES)?;
    let leave: [&[u8]; 2] =
        [b"Q\0\0", &[query(b"select pg_sleep(0.2)"), query(b"set role none"), query(b"select 1")].concat()];
    for bytes in leave {
        let mut client = RawClient::tcp(guarded.port.parse()?)?;
        client.login()?;
        client.send(bytes)?;
        let pid = client.backend_pid.context("no BackendKeyData")?;
        drop(client);
        let look = format!("select count(*) from pg_stat_activity where pid = {pid}");
        wait::until("the end of a session that was left", wait::PATIENCE, || {
            Ok((guarded.stage.cluster.sql(&look)?.trim() == "0").then_some(()))
        })?;
    }
    Ok(())
}

/// Reads of everybody together, in a minute.
const RATE: usize = 5;

#[test]
fn all_workers_together_keep_to_a_rate() -> Result<()> {
    let policies = format!(
        r#"
@id("own")
@reason("whoever is there looks after the session")
permit (principal, action in [Action::"Connect", Action::"Session"], resource);

@id("read")
@reason("reads are few")
@rate_per_minute("{RATE}")
permit (principal, action in Action::"Read", resource);
"#
    );
    let guarded = Guarded::start("enforce", &policies)?;
    ensure!(guarded.stage.workers()?.len() > 1, "one worker alone proves nothing");
    wait::until("enough left of the minute", Duration::from_secs(60), || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        Ok((since.as_secs() % 60 < 35).then_some(()))
    })?;
    // A connection each: they spread over the workers.
    let answers = (0..4 * RATE).map(|_| guarded.psql("select count(*) from kept")).collect::<Result<Vec<_>>>()?;
    let answered = answers.iter().filter(|output| said(output).0.trim() == "100").count();
    ensure!(answered == RATE, "{answered} of {} were answered", answers.len());
    Ok(())
}
