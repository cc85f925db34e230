//! What the agent recorded can be proved, found, played, exported, and holds no value that was to be replaced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use warder_tests::account::Account;
use warder_tests::agent::{Agent, AgentOptions, CORE_ACCOUNT, DatabaseEntry};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::process::{self, Running};
use warder_tests::route::Route;
use warder_tests::{directory, tooling, wait};

/// A value that redaction must take out of everything.
const PERSONAL: &str = "ada.lovelace@example.org";

/// Segments that are full after a few sessions, and one that takes everything.
const SMALL: u64 = 64 * 1024;
const LARGE: u64 = 64 * 1024 * 1024;

/// An agent with an export, a witness on another path, redaction for one role, and small segments.
struct Scene {
    cluster: Cluster,
    agent: Agent,
    /// Where export and witness write.
    outside: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Scene {
    fn start(segment_bytes_max: u64) -> Result<Self> {
        let cluster = Cluster::start(&ClusterOptions::default())?;
        cluster.sql("create table customers (id int primary key, email text)")?;
        cluster.sql("create role clerk login superuser")?;
        let temporary = directory::private("outside")?;
        let outside = directory::owned(temporary.path(), "core", &Account::named(CORE_ACCOUNT)?, 0o755)?;
        let path = |name: &str| outside.join(name);
        let tables = [
            format!("[[journal.witness]]\nname = \"vault\"\nfile = {:?}", path("checkpoints.jsonl")),
            format!("[[export]]\nname = \"copy\"\nkind = \"jsonl\"\nfile = {:?}", path("copy.jsonl")),
            format!("[redaction]\nkey_file = {:?}", path("redaction.key")),
            "[[redaction.role]]\nname = \"clerk\"\nstatements = \"both\"".to_owned(),
        ];
        let options = AgentOptions {
            databases: vec![DatabaseEntry::of("test", &cluster)],
            journal: vec![format!("segment_bytes_max = {segment_bytes_max}"), "checkpoint_seconds = 1".to_owned()],
            tables: tables.to_vec(),
            ..AgentOptions::default()
        };
        let agent = Agent::start(&tooling::agent_binary()?, &options)?;
        Ok(Self { cluster, agent, outside, _temporary: temporary })
    }

    /// Runs statements from a file: redaction is about what is said to the database, not about command lines.
    fn psql(&self, user: &str, sql: &str) -> Result<Output> {
        let script = self.outside.join("script.sql");
        fs::write(&script, format!("{sql};\n"))?;
        let mut command = self.cluster.client("psql", Route::Tcp);
        process::run_any(command.args(["-X", "-q", "-U", user, "-f"]).arg(&script))
    }

    fn checkpoints(&self) -> PathBuf {
        self.outside.join("checkpoints.jsonl")
    }

    /// `warder verify` of a folder, with key and checkpoints from outside.
    fn verify(&self, journal: &Path) -> Result<(Option<i32>, Value)> {
        self.verify_with(journal, &self.agent.public_key())
    }

    fn verify_with(&self, journal: &Path, key: &Path) -> Result<(Option<i32>, Value)> {
        let mut command = self.agent.command_alone(&["verify", "--json"]);
        command.arg(journal).arg("--key").arg(key);
        command.arg("--checkpoints").arg(self.checkpoints());
        let output = process::run_any(&mut command)?;
        let report = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("verify said: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok((output.status.code(), report))
    }

    /// Records that a filter finds, without the last line, which is about the search.
    fn search(&self, filter: &str) -> Result<Vec<Value>> {
        let mut found = self.agent.cli_json(&["search", "--json", filter])?;
        let about = found.pop().context("no line about the search")?;
        ensure!(about["search"]["unreadable_blocks"] == 0, "{about}");
        ensure!(about["search"]["missing"].as_array().is_some_and(Vec::is_empty), "{about}");
        ensure!(about["search"]["incomplete_blocks"].is_u64(), "{about}");
        Ok(found)
    }
}

#[test]
fn a_session_is_proved_found_played_and_exported() -> Result<()> {
    let mut scene = Scene::start(SMALL)?;
    let agent = &scene.agent;
    scene.psql("postgres", "select 'needle' as found")?;
    scene.psql("postgres", "select 1/0")?;
    scene.psql("clerk", &format!("insert into customers values (1, '{PERSONAL}')"))?;
    scene.psql("clerk", &format!("insert into customers values (1, '{PERSONAL}')"))?;
    // Enough for several segments: some are sealed while the agent runs.
    for round in 0..6 {
        let many: Vec<String> = (0..100).map(|number| format!("select {round} + {number}")).collect();
        scene.psql("postgres", &many.join(";\n"))?;
    }
    let last = agent.events().wait_for_text("select 5 + 99;")?;
    wait::until("a sealed segment", wait::PATIENCE, || Ok(sealed(&agent.events_directory())?.then_some(())))?;

    let by_text = scene.search("text:needle type:statement")?;
    ensure!(by_text.len() == 1 && by_text[0]["text"] == "select 'needle' as found;", "{by_text:?}");
    let by_error = scene.search("sqlstate:22012")?;
    ensure!(by_error.len() == 1 && by_error[0]["text"] == "select 1/0;", "{by_error:?}");
    let by_role = scene.search("user:clerk exe:psql type:statement")?;
    ensure!(by_role.len() == 2, "{by_role:?}");
    let not_recorded = process::run_any(&mut agent.command(&["search", "relation:customers"]))?;
    ensure!(not_recorded.status.code() == Some(2), "a filter that needs facts gave an answer: {not_recorded:?}");
    ensure!(String::from_utf8_lossy(&not_recorded.stderr).contains("not recorded"), "{not_recorded:?}");

    let played = agent.cli(&["replay", "--no-wait", &last.session])?;
    let played = String::from_utf8(played.stdout)?;
    ensure!(played.contains("select 5 + 0") && played.contains("closed after"), "{played}");

    let old_key = scene.outside.join("old.pub");
    fs::copy(agent.public_key(), &old_key)?;
    agent.cli(&["journal", "rotate-key"])?;
    check_proof(&scene, by_text[0]["seq"].as_u64().context("no number")?, &old_key)?;
    check_values_are_gone(&scene)?;
    scene.agent.stop()?;
    check_copies(&scene, &old_key)
}

/// One record is proved with two files and nothing else; a changed one is not.
fn check_proof(scene: &Scene, seq: u64, key: &Path) -> Result<()> {
    let agent = &scene.agent;
    let proof = wait::until("a checkpoint after the record", wait::PATIENCE, || {
        let output = process::run_any(&mut agent.command(&["prove", &seq.to_string()]))?;
        Ok(output.status.success().then_some(output.stdout))
    })?;
    let path = scene.outside.join("proof.json");
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes)?;
        let mut command = agent.command_alone(&["verify-proof"]);
        process::run_any(command.arg(&path).arg("--key").arg(key))
    };
    let proved = check(&proof)?;
    ensure!(proved.status.code() == Some(0), "{proved:?}");
    let forged = String::from_utf8(proof)?.replace("needle", "noodle");
    let refused = check(forged.as_bytes())?;
    ensure!(refused.status.code() == Some(1), "a changed record was proved: {refused:?}");
    Ok(())
}

/// The clerk's value is in no file of the agent; the same value has the same mark in both statements.
fn check_values_are_gone(scene: &Scene) -> Result<()> {
    let statements = scene.search("user:clerk type:statement")?;
    let texts: Vec<&str> = statements.iter().filter_map(|found| found["text"].as_str()).collect();
    ensure!(texts.len() == 2 && texts[0] == texts[1], "equal statements became different: {texts:?}");
    ensure!(texts[0].starts_with("insert into customers values (") && texts[0].contains("'fp:"), "{texts:?}");
    ensure!(scene.search(&format!("text:{PERSONAL}"))?.is_empty(), "the value is found");
    let metrics = scene.agent.metrics()?;
    let log = scene.agent.log()?;
    for (place, text) in [("metrics", &metrics), ("log", &log)] {
        ensure!(!text.contains(PERSONAL), "the value is in the {place}");
    }
    Ok(())
}

/// After an orderly end: export and journal are equal, the witness's checkpoints fit, the value is nowhere.
///
/// The key was exchanged in between: who trusts the old one trusts the new one, because the old one vouched for it.
fn check_copies(scene: &Scene, old_key: &Path) -> Result<()> {
    let directory = scene.agent.events_directory();
    let (code, report) = scene.verify_with(&directory, old_key)?;
    ensure!(report["keys"].as_array().map(Vec::len) == Some(2), "{report}");
    ensure!(code == Some(0) && report["verdict"] == "intact", "{report}");
    ensure!(report["unsigned_tail"] == 0 || report["unsigned_tail"] == 1, "{report}");
    ensure!(report["complete_up_to"].as_u64() > Some(0), "{report}");
    ensure!(report["losses"] == 0, "{report}");
    // A witness's file from which everything was taken proves nothing, and is not the same as none.
    let emptied = scene.outside.join("emptied.jsonl");
    fs::write(&emptied, "\n")?;
    let mut command = scene.agent.command_alone(&["verify"]);
    command.arg(&directory).arg("--key").arg(old_key).arg("--checkpoints").arg(&emptied);
    let refused = process::run_any(&mut command)?;
    ensure!(refused.status.code() == Some(2), "{refused:?}");
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("no checkpoint"), "{refused:?}");
    let copy = fs::read_to_string(scene.outside.join("copy.jsonl"))?;
    let numbers: Vec<u64> = copy
        .lines()
        .map(|line| serde_json::from_str::<Value>(line)?["seq"].as_u64().context("no number"))
        .collect::<Result<_>>()?;
    let expected: Vec<u64> = (1..=report["last_seq"].as_u64().context("no last record")?).collect();
    ensure!(numbers == expected, "the export has {} records, the journal {}", numbers.len(), expected.len());
    ensure!(!copy.contains(PERSONAL), "the value is in the export");
    Ok(())
}

/// What `warder` says about a journal: status, standard output and standard error.
fn said(scene: &Scene, words: &[&str], journal: &Path) -> Result<(Option<i32>, String, String)> {
    let mut command = scene.agent.command_alone(words);
    let Output { status, stdout, stderr } = process::run_any(command.arg("--journal").arg(journal))?;
    Ok((status.code(), String::from_utf8(stdout)?, String::from_utf8(stderr)?))
}

#[test]
fn timeline_and_replay_are_the_same_with_and_without_the_index() -> Result<()> {
    let mut scene = Scene::start(SMALL)?;
    for round in 0..6 {
        let many: Vec<String> = (0..100).map(|number| format!("select {round} + {number}")).collect();
        scene.psql("postgres", &many.join(";\n"))?;
    }
    let last = scene.agent.events().wait_for_text("select 5 + 99;")?;
    // Most of the journal is indexed when the agent ends, and the end is not.
    wait::until("an index of most of it", wait::PATIENCE, || {
        let about = scene.agent.cli_json(&["search", "--json", "--limit", "1"])?.pop().context("no line about it")?;
        let number = |name: &str| about["search"][name].as_u64().unwrap_or(0);
        Ok((number("indexed_through") > 400 && number("not_indexed_records") > 0).then_some(()))
    })?;
    scene.agent.stop()?;
    let (journal, bare) = (scene.agent.events_directory(), scene.outside.join("bare"));
    copy_journal(&journal, &bare)?;
    ensure!(journal.join("index").exists() && !bare.join("index").exists(), "both have an index, or none");

    let middle = scene.search("text:\"select 3 + 50\" type:statement")?;
    let since = middle[0]["time"].as_str().context("no time")?.to_owned();
    let (session, cookie) = (&*last.session, last.session.rsplit('-').next().context("no cookie")?);
    let boot = &session[..17];
    let questions: &[&[&str]] = &[
        &["timeline"],
        &["timeline", session],
        &["timeline", cookie],
        &["timeline", boot],
        &["timeline", "--since", &since],
        &["timeline", session, "--since", &since],
        &["timeline", "--last", "20"],
        &["timeline", "--last", "10000"],
        &["timeline", session, "--last", "3"],
        &["timeline", "--since", &since, "--last", "7"],
        &["replay", "--no-wait", session],
        &["replay", "--no-wait", cookie],
    ];
    for question in questions {
        let forms: &[&[&str]] = if question[0] == "timeline" { &[&[], &["--json"]] } else { &[&[]] };
        for form in forms {
            let words = [*question, *form].concat();
            let (with, without) = (said(&scene, &words, &journal)?, said(&scene, &words, &bare)?);
            ensure!(with == without, "{words:?} with the index:\n{with:?}\nwithout:\n{without:?}");
            let fits_many = words.contains(&boot);
            ensure!(with.0 == Some(i32::from(fits_many)) && with.1.is_empty() == fits_many, "{words:?}: {with:?}");
        }
    }
    check_narrowing(&scene, &journal, session, &since)
}

/// `--since` and `--last` leave out what they should, and nothing else.
fn check_narrowing(scene: &Scene, journal: &Path, session: &str, since: &str) -> Result<()> {
    let records = |words: &[&str]| -> Result<Vec<Value>> {
        let (_, lines, _) = said(scene, &[&["timeline", "--json"], words].concat(), journal)?;
        Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    };
    let book_keeping = |record: &&Value| matches!(record["type"].as_str(), Some("checkpoint" | "segment"));
    let all = records(&[])?;
    let from: Vec<Value> = all.iter().filter(|record| record["time"].as_str() >= Some(since)).cloned().collect();
    ensure!(from.len() < all.len() && records(&["--since", since])? == from, "--since does not mean what it says");
    let wanted = |record: &&Value| record["session"] == session || record["session"].is_null() && !book_keeping(record);
    let of_session: Vec<&Value> = all.iter().filter(wanted).collect();
    let shown = records(&[session, "--last", "3"])?;
    ensure!(shown.len() == 3, "--last 3 shows others: {shown:?}");
    let newest = records(&["--last", "30"])?;
    let counted = newest.iter().filter(|record| !book_keeping(record)).count();
    ensure!(counted == 30 && all.ends_with(&newest), "--last 30 shows {counted}: {newest:?}");
    ensure!(of_session.ends_with(&shown.iter().collect::<Vec<_>>()), "they are not the last: {shown:?}");
    Ok(())
}

#[test]
fn what_was_changed_is_found() -> Result<()> {
    let mut scene = Scene::start(LARGE)?;
    for number in 0..20 {
        scene.psql("postgres", &format!("select 'statement {number}'"))?;
    }
    scene.agent.events().wait_for_text("select 'statement 19';")?;
    scene.agent.stop()?;
    let directory = scene.agent.events_directory();
    let (code, report) = scene.verify(&directory)?;
    ensure!(code == Some(0), "{report}");
    let copy = scene.outside.join("copy");

    // A changed word, with the same length.
    copy_journal(&directory, &copy)?;
    let active = last_segment(&copy)?;
    let text = fs::read_to_string(&active)?;
    ensure!(text.contains("statement 7"), "the statement is in another segment");
    fs::write(&active, text.replacen("statement 7", "statement 8", 1))?;
    let (code, report) = scene.verify(&copy)?;
    ensure!(code == Some(1) && report["verdict"] == "broken", "{report}");

    // The end cut off at a checkpoint: intact in itself, and found by the witness.
    let checkpoint = text.match_indices("\"type\":\"checkpoint\"").nth(2).context("too few checkpoints")?.0;
    let end = checkpoint + text[checkpoint..].find('\n').context("no end of line")? + 1;
    fs::write(&active, &text[..end])?;
    let (code, report) = scene.verify(&copy)?;
    ensure!(code == Some(1), "the witness did not notice: {report}");
    let mut alone = scene.agent.command_alone(&["verify"]);
    let alone = process::run_any(alone.arg(&copy).arg("--key").arg(scene.agent.public_key()))?;
    ensure!(alone.status.code() == Some(0), "cut off at a checkpoint and without a witness it is intact: {alone:?}");
    ensure!(String::from_utf8_lossy(&alone.stdout).contains("not provable"), "{alone:?}");
    Ok(())
}

#[test]
fn killed_under_load_the_journal_verifies() -> Result<()> {
    let mut scene = Scene::start(SMALL)?;
    scene.cluster.prepare_pgbench(1)?;
    for _ in 0..if tooling::long_form() { 20 } else { 3 } {
        let mut command = scene.cluster.client("pgbench", Route::Unix);
        command.args(["-S", "-n", "-c", "4", "-T", "30"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let load = Running::start("pgbench", Signal::SIGTERM, &mut command)?;
        let before = last_seq(&scene)?;
        wait::until("records of the load", wait::PATIENCE, || Ok((last_seq(&scene)? > before + 2000).then_some(())))?;
        scene.agent.kill()?;
        drop(load);
        let (code, report) = scene.verify(&scene.agent.events_directory())?;
        ensure!(code == Some(0), "after the kill: {report}");
        scene.agent.run()?;
    }
    scene.agent.stop()?;
    let (code, report) = scene.verify(&scene.agent.events_directory())?;
    ensure!(code == Some(0), "at the end: {report}");
    ensure!(report["losses"].as_u64() > Some(0), "the time without an agent is not stated: {report}");
    Ok(())
}

/// Last record that the agent says it has written.
fn last_seq(scene: &Scene) -> Result<u64> {
    let metrics = scene.agent.metrics()?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("warder_journal_last_record "));
    Ok(line.context("no such metric")?.trim().parse()?)
}

fn sealed(directory: &Path) -> Result<bool> {
    Ok(segments(directory)?.iter().any(|path| path.to_string_lossy().ends_with(".jsonl.zst")))
}

fn last_segment(directory: &Path) -> Result<PathBuf> {
    segments(directory)?.pop().context("no segment")
}

fn segments(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-")));
    paths.sort();
    Ok(paths)
}

/// The segments of a stopped agent, in another folder.
fn copy_journal(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for path in segments(from)? {
        fs::copy(&path, to.join(path.file_name().context("no name")?))?;
    }
    Ok(())
}
