//! `record = "written"` and `"durable"`: what goes to the server is in the journal before it does.
#![expect(clippy::disallowed_methods, reason = "tests live in real time: deadlines need the clock")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use warder_tests::account::Account;
use warder_tests::agent::CORE_ACCOUNT;
use warder_tests::events::{self, What};
use warder_tests::process::{self, Running};
use warder_tests::stage::{Place, Stage, StageOptions};
use warder_tests::{directory, http, wait};

/// Longest that the proxy waits for the journal, and time to spare.
const WAIT_MAX: Duration = Duration::from_secs(8);
/// A journal that is soon full.
const JOURNAL_BYTES: &str = "size=512k";
/// Statements, each of a quarter of a page, that fill what is left of the last page.
const STATEMENTS_MAX: usize = 64;

/// A stage with a plain listener, and its port.
fn stage(lines: &[&str]) -> Result<(Stage, String)> {
    let port = directory::free_port()?;
    let mut options =
        StageOptions { guard: vec![format!("listen = [\"127.0.0.1:{port}\"]")], ..StageOptions::default() };
    options.guard.extend(lines.iter().map(|&line| line.to_owned()));
    let stage = Stage::start(&options)?;
    stage.wait_listening(port)?;
    Ok((stage, port.to_string()))
}

fn session(stage: &Stage, port: &str) -> Result<Running> {
    stage.session(Place::Outside, &[("PGHOST", "127.0.0.1"), ("PGPORT", port)])
}

fn is_recorded(stage: &Stage, text: &str) -> Result<bool> {
    Ok(number_of(stage, text)?.is_some())
}

/// Number of the record of a request.
fn number_of(stage: &Stage, text: &str) -> Result<Option<u64>> {
    let is_it = |what: &What| matches!(what, What::Request { text: Some(said), .. } if said == text);
    Ok(stage.agent.events().all()?.iter().find(|event| is_it(&event.what)).map(|event| event.seq))
}

/// Number of the last record that fdatasync(2) has covered.
fn durable_record(stage: &Stage) -> Result<u64> {
    let metrics = stage.agent.metrics()?;
    let line = metrics.lines().find(|line| line.starts_with("warder_journal_durable_record "));
    let number = line.and_then(|line| line.split_whitespace().last()).context("no such metric")?;
    number.parse().context("a record has a whole number")
}

/// The server runs this.
fn is_running(stage: &Stage, text: &str) -> Result<bool> {
    let sql = format!("select count(*) from pg_stat_activity where query = '{text}' and state = 'active'");
    Ok(stage.cluster.sql(&sql)?.trim() == "1")
}

fn survives_the_agent(level: &str) -> Result<()> {
    let (mut stage, port) = stage(&[&format!("record = \"{level}\"")])?;
    let mut psql = session(&stage, &port)?;
    let text = format!("select pg_sleep(600), '{level}';");
    psql.write_line(&text)?;
    let quoted = text.replace('\'', "''");
    wait::until("the server to run it", wait::PATIENCE, || Ok(is_running(&stage, &quoted)?.then_some(())))?;
    let durable = durable_record(&stage)?;
    stage.agent.kill()?;
    if level == "durable" {
        let asked = number_of(&stage, &text)?.context("the server runs what the journal does not hold")?;
        ensure!(durable >= asked, "record {asked} is not on the disk, {durable} is the last");
    }
    ensure!(is_recorded(&stage, &text)?, "the server runs what the journal does not hold");
    Ok(())
}

#[test]
fn what_runs_is_written_when_the_agent_is_killed() -> Result<()> {
    survives_the_agent("written")
}

#[test]
fn what_runs_is_durable() -> Result<()> {
    survives_the_agent("durable")
}

#[test]
fn a_request_comes_before_its_statement_and_secrets_in_neither() -> Result<()> {
    let (stage, port) = stage(&["record = \"written\""])?;
    let mut psql = session(&stage, &port)?;
    psql.write_line("alter role postgres password 'Sentinel-7';")?;
    psql.write_line("select 1 as first;")?;
    ensure!(psql.read_line()? == "1", "no answer");
    stage.agent.events().wait_for_text("select 1 as first;")?;
    let all = stage.agent.events().all()?;
    let place = |wanted: fn(&What) -> bool| all.iter().position(|event| wanted(&event.what));
    let asked = place(|what| matches!(what, What::Request { text: Some(text), .. } if text == "select 1 as first;"));
    let ran = place(
        |what| matches!(what, What::Statement(statement) if statement.text.as_deref() == Some("select 1 as first;")),
    );
    ensure!(asked.is_some() && asked < ran, "request {asked:?}, statement {ran:?}");
    ensure!(
        all.iter().any(|event| matches!(&event.what, What::Request { text: Some(text), .. } if text.contains("***")))
    );
    ensure!(!String::from_utf8_lossy(&stage.agent.events().bytes()?).contains("Sentinel-7"), "a password");
    Ok(())
}

#[test]
fn at_the_level_memory_there_are_no_requests() -> Result<()> {
    let (stage, port) = stage(&[])?;
    let mut psql = session(&stage, &port)?;
    psql.write_line("select 1 as first;")?;
    stage.agent.events().wait_for_text("select 1 as first;")?;
    ensure!(!is_recorded(&stage, "select 1 as first;")?, "nobody asked for it");
    Ok(())
}

/// A small file system over the journal's folder.
struct SmallJournal(PathBuf);

impl SmallJournal {
    /// Starts the agent again on it.
    fn under(stage: &mut Stage, port: &str) -> Result<Self> {
        stage.agent.stop()?;
        let folder = stage.agent.events_directory();
        let core = Account::named(CORE_ACCOUNT)?;
        let options = format!("{JOURNAL_BYTES},mode=0750,uid={},gid={}", core.uid, core.gid);
        process::run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "warder-test"]).arg(&folder))?;
        let journal = Self(folder);
        stage.agent.run()?;
        stage.wait_listening(port.parse()?)?;
        Ok(journal)
    }

    /// Nothing more can be written.
    fn fill(&self) -> Result<()> {
        let mut file = std::fs::File::create(self.0.join("filler"))?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }

    /// Somebody makes room: for what fits, and for what waits in memory (4 MiB) as well.
    fn make_room(&self) -> Result<()> {
        std::fs::remove_file(self.0.join("filler"))?;
        process::run(Command::new("mount").args(["-o", "remount,size=64m"]).arg(&self.0)).map(drop)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SmallJournal {
    fn drop(&mut self) {
        // The agent still has files open there.
        let _gone = process::run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// Statement number `number`, with a text that fills the journal.
fn statement(number: usize) -> String {
    format!("insert into t values ({number}) /* {} */;", "x".repeat(1000))
}

/// Runs all of them, one by one, in one session that ends with the first error.
fn run_all(stage: &Stage, port: &str) -> Result<Output> {
    let sql: String = (0..STATEMENTS_MAX).map(|number| statement(number) + "\n").collect();
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(sql.as_bytes())?;
    let mut command = stage.client(Place::Outside, "psql");
    command.env("PGHOST", "127.0.0.1").env("PGPORT", port);
    process::run_any(command.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"]).arg(file.path()))
}

#[test]
fn a_full_journal_refuses_in_enforce() -> Result<()> {
    // Nothing is said about `record`: what is enforced is written first.
    let (mut stage, port) = stage(&["mode = \"enforce\""])?;
    let journal = SmallJournal::under(&mut stage, &port)?;
    stage.cluster.sql("create table t (number int)")?;
    journal.fill().with_context(|| format!("{} could not be filled", journal.path().display()))?;
    let started = Instant::now();
    let output = run_all(&stage, &port)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("could not be recorded"), "psql said {said:?}");
    ensure!(started.elapsed() < WAIT_MAX, "it took {:?}", started.elapsed());
    let ran = stage.cluster.sql("select count(*) from t")?;
    ensure!(ran.trim().parse::<usize>()? < STATEMENTS_MAX, "{ran} statements ran");
    Ok(())
}

#[test]
fn a_full_journal_is_counted_in_observe() -> Result<()> {
    let (mut stage, port) = stage(&["record = \"written\""])?;
    let journal = SmallJournal::under(&mut stage, &port)?;
    stage.cluster.sql("create table t (number int)")?;
    journal.fill()?;
    let started = Instant::now();
    let output = run_all(&stage, &port)?;
    ensure!(output.status.success(), "psql said {:?}", String::from_utf8_lossy(&output.stderr));
    ensure!(started.elapsed() < 2 * WAIT_MAX, "it took {:?}", started.elapsed());
    let ran = stage.cluster.sql("select count(*) from t")?;
    ensure!(ran.trim() == STATEMENTS_MAX.to_string(), "{ran} statements ran");
    wait::until("the metric of what is not recorded", wait::PATIENCE, || {
        let metrics = stage.agent.metrics()?;
        let counted = metrics.lines().filter(|line| line.contains("forwarded_unrecorded"));
        let counted: f64 = counted.filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok()).sum();
        Ok((counted > 0.0).then_some(()))
    })?;
    Ok(())
}

/// Sum of a metric over its series.
fn metric(stage: &Stage, name: &str) -> Result<f64> {
    http::metric(&stage.agent.metrics()?, name, &[]).with_context(|| format!("no metric {name}"))
}

/// What the doctor finds in a check: `ok`, `warn` or `fail`, and the words.
fn finding(stage: &Stage, check: &str) -> Result<(String, String)> {
    let report = stage.agent.cli_json(&["doctor", "--json"])?.pop().context("the doctor says nothing")?;
    let findings = report["findings"].as_array().context("no findings")?;
    let found = findings.iter().find(|finding| finding["check"] == check).context("no such check")?;
    let word = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    Ok((word("status"), word("meaning")))
}

/// The agent says that it cannot write, or that it can: in its metrics, by the doctor, and in its log.
fn wait_writing(stage: &Stage, failing: bool) -> Result<()> {
    wait::until("the metric to tell", wait::PATIENCE, || {
        let failing = f64::from(u8::from(failing));
        Ok((metric(stage, "warder_journal_write_failing")?.total_cmp(&failing).is_eq()).then_some(()))
    })?;
    let (status, meaning) = finding(stage, "agent")?;
    ensure!((status == "warn") == failing, "the doctor says {status}: {meaning}");
    ensure!(meaning.contains("cannot write the journal") == failing, "the doctor says {meaning}");
    let (_, room) = finding(stage, "journal-space")?;
    ensure!(room.starts_with("0 bytes are free") == failing, "the doctor says {room}");
    let line = if failing { "the journal cannot be written" } else { "the journal can be written again" };
    ensure!(stage.agent.log()?.contains(line), "the log does not say that {line}");
    Ok(())
}

/// After an orderly end: the journal is intact, and this many losses are stated.
fn verify_after_stop(stage: &mut Stage) -> Result<u64> {
    stage.agent.stop()?;
    let mut verify = stage.agent.command_alone(&["verify", "--json"]);
    verify.arg(stage.agent.events_directory()).arg("--key").arg(stage.agent.public_key());
    let output = process::run_any(&mut verify)?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    ensure!(output.status.code() == Some(0) && report["verdict"] == "intact", "{report}");
    report["losses"].as_u64().context("no number of losses")
}

#[test]
fn in_enforce_a_full_journal_loses_nothing_that_ran_and_goes_on_by_itself() -> Result<()> {
    let (mut stage, port) = stage(&["record = \"written\"", "mode = \"enforce\""])?;
    let journal = SmallJournal::under(&mut stage, &port)?;
    stage.cluster.sql("create table t (number int)")?;
    journal.fill()?;
    let refused = run_all(&stage, &port)?;
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("could not be recorded"), "psql said {refused:?}");
    wait_writing(&stage, true)?;
    journal.make_room()?;
    wait_writing(&stage, false)?;
    let again = run_all(&stage, &port)?;
    ensure!(again.status.success(), "psql said {again:?}");
    stage.agent.events().wait_for_text(&statement(STATEMENTS_MAX - 1))?;
    // What the server ran is there, before the refusal and after it; what it refused to take did not run.
    let all = stage.agent.events().all()?;
    let rows = stage.cluster.sql("select number, count(*) from t group by number")?;
    for row in rows.lines() {
        let (number, ran) = row.split_once('|').context("two columns")?;
        let (text, ran) = (statement(number.parse()?), ran.parse::<usize>()?);
        let asked =
            all.iter().filter(|event| matches!(&event.what, What::Request { text: Some(said), .. } if *said == text));
        let told = events::statements(&all).filter(|statement| statement.text.as_deref() == Some(&text));
        let (asked, told) = (asked.count(), told.count());
        ensure!(asked >= ran && told >= ran, "{number} ran {ran} times; {asked} requests, {told} statements");
    }
    ensure!(metric(&stage, "warder_journal_dropped_total")?.total_cmp(&0.0).is_eq(), "something was dropped");
    ensure!(verify_after_stop(&mut stage)? == 0, "a loss is stated where nothing was lost");
    Ok(())
}

#[test]
fn in_observe_a_full_journal_costs_what_is_counted_and_stated() -> Result<()> {
    let (mut stage, port) = stage(&["record = \"written\""])?;
    let journal = SmallJournal::under(&mut stage, &port)?;
    journal.fill()?;
    // More than the memory for records that wait takes: each is there twice, asked and answered.
    let sql = format!("select 1 /* {} */;\n", "x".repeat(300_000)).repeat(12);
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(sql.as_bytes())?;
    let mut command = stage.client(Place::Outside, "psql");
    command.env("PGHOST", "127.0.0.1").env("PGPORT", &port);
    process::run(command.args(["-Xq", "-f"]).arg(file.path()))?;
    wait::until("something to be dropped", wait::PATIENCE, || {
        Ok((metric(&stage, "warder_journal_dropped_total")? > 0.0).then_some(()))
    })?;
    wait_writing(&stage, true)?;
    journal.make_room()?;
    wait_writing(&stage, false)?;
    let mut psql = session(&stage, &port)?;
    psql.write_line("select 'room again';")?;
    stage.agent.events().wait_for_text("select 'room again';")?;
    let dropped = metric(&stage, "warder_journal_dropped_total")?;
    let stated = stage
        .agent
        .events()
        .all()?
        .iter()
        .filter_map(|event| match &event.what {
            What::Loss { kind, stage, count } if kind == "record" && stage == "core" => Some(*count),
            _ => None,
        })
        .sum::<u64>();
    ensure!(dropped.total_cmp(&(stated as f64)).is_eq(), "{dropped} were dropped, {stated} are stated");
    drop(psql);
    ensure!(verify_after_stop(&mut stage)? > 0, "verify does not know of the loss");
    Ok(())
}
