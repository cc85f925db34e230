//! Policies about schemas, and names without one: the agent knows what the database has, and judges by it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use warder_tests::route::Route;
use warder_tests::stage::{PASSWORD, Place, Stage, StageOptions};
use warder_tests::{directory, process, wait};

/// Everything but what is in one schema, and calls.
const POLICIES: &str = r#"
@id("all")
@reason("everything is allowed")
permit (principal, action, resource);

@id("not-hr")
@reason("nobody reads what is about people")
forbid (principal, action, resource in Schema::"hr");

@id("no-calls")
@reason("nobody knows what these do")
forbid (principal, action == Action::"Call", resource);
"#;

const SCHEMA: &str = "
create schema hr;
create table hr.salaries as select generate_series(1, 10) as id, 1000 as amount;
create table orders as select generate_series(1, 7) as id;
create view pay as select amount from hr.salaries;
create view ids as select id from orders;
create function raise_all() returns void language sql security definer as 'update hr.salaries set amount = amount + 1';
create function now_and_then() returns int language plpgsql volatile as 'begin return 1; end';
create function lower(x int) returns int language sql as 'select x';
";

/// The role that reads the catalogue.
const ROLE: &str = "warder_catalogue";

/// What the agent has to read the catalogue with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Login {
    None,
    Right,
    Wrong,
}

/// A server, an agent with policies, and a port that leads through it.
struct Guarded {
    stage: Stage,
    port: String,
    _folder: tempfile::TempDir,
}

impl Guarded {
    fn start(login: Login, more: &[&str]) -> Result<Self> {
        let port = directory::free_port()?;
        let mut ways = vec![format!("listen = [\"127.0.0.1:{port}\"]")];
        ways.extend(more.iter().map(|&line| line.to_owned()));
        let (stage, folder) = stage(login, &ways)?;
        stage.wait_listening(port)?;
        Ok(Self { stage, port: port.to_string(), _folder: folder })
    }

    /// Through the proxy, all statements in one session; psql goes on after an error.
    fn psql(&self, sql: &str) -> Result<(String, String)> {
        let place = [("PGHOST", "127.0.0.1"), ("PGPORT", self.port.as_str())];
        let mut command = self.stage.client(Place::Outside, "psql");
        let mut words = vec!["-XqAt".to_owned()];
        words.extend(sql.split_inclusive(';').flat_map(|statement| ["-c".to_owned(), statement.trim().to_owned()]));
        let output = process::run_any(command.envs(place).args(words))?;
        Ok(said(&output))
    }

    /// The same in another SQL database.
    fn psql_in(&self, sql_database: &str, sql: &str) -> Result<(String, String)> {
        let place = [("PGHOST", "127.0.0.1"), ("PGPORT", self.port.as_str()), ("PGDATABASE", sql_database)];
        let mut command = self.stage.client(Place::Outside, "psql");
        Ok(said(&process::run_any(command.envs(place).args(["-XqAt", "-c", sql]))?))
    }

    /// What is allowed prints `expected`.
    fn allowed(&self, sql: &str, expected: &str) -> Result<()> {
        let (out, errors) = self.psql(sql)?;
        ensure!(out.trim() == expected && errors.is_empty(), "{sql}\n{out}\n{errors}\n{}", self.stage.agent.log()?);
        Ok(())
    }

    fn refused(&self, sql: &str, rule: &str) -> Result<()> {
        let (out, errors) = self.psql(sql)?;
        let is_refused = out.is_empty() && errors.contains(&format!("(rule {rule})"));
        ensure!(is_refused, "{sql}\n{out}\n{errors}");
        Ok(())
    }

    /// How often the catalogue was read.
    fn reads(&self) -> Result<u64> {
        let metrics = self.stage.agent.metrics()?;
        let name = "warder_catalogue_reads_total{database=\"test\",outcome=\"read\"} ";
        let value = metrics.lines().find_map(|line| line.strip_prefix(name));
        value.map_or(Ok(0), |value| Ok(value.trim().parse()?))
    }

    fn found(&self, query: &str) -> Result<Vec<Value>> {
        let output = process::run(&mut self.stage.agent.command(&["search", "--json", query]))?;
        let text = String::from_utf8(output.stdout)?;
        let found = text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
        found.filter(|found| !matches!(found, Ok(line) if Value::get(line, "search").is_some())).collect()
    }
}

/// A server with policies, and its ways in; the folder has their files.
fn stage(login: Login, ways: &[String]) -> Result<(Stage, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("test.cedar"), POLICIES)?;
    let password = folder.path().join("password");
    fs::write(&password, if login == Login::Right { PASSWORD } else { "the-wrong-one" })?;
    fs::set_permissions(&password, Permissions::from_mode(0o600))?;
    let mut guard = ways.to_vec();
    guard.push("mode = \"enforce\"".into());
    guard.push(format!("policies = [{:?}]", folder.path().to_string_lossy()));
    if login != Login::None {
        let path = password.to_string_lossy();
        guard.push(format!("[database.catalogue]\nuser = {ROLE:?}\npassword_file = {path:?}"));
    }
    let options = StageOptions {
        guard,
        sql: vec![SCHEMA.into(), format!("create role {ROLE} login password '{PASSWORD}'")],
        tls: Some("server-certificate"),
        ..StageOptions::default()
    };
    let stage = Stage::start(&options.access(&format!("host all {ROLE} all scram-sha-256")))?;
    Ok((stage, folder))
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn names_without_a_schema_are_where_the_search_path_finds_them() -> Result<()> {
    let guarded = Guarded::start(Login::Right, &[])?;
    guarded.allowed("select count(*) from orders", "7")?;
    guarded.allowed("select count(*) from ids", "7")?;
    guarded.refused("select count(*) from hr.salaries", "not-hr")?;
    guarded.refused("select count(*) from pay", "not-hr")?;
    guarded.refused("set search_path = hr, public; select count(*) from salaries", "not-hr")?;
    guarded.allowed("set search_path = hr, public; select count(*) from orders", "7")?;
    guarded.refused("select raise_all()", "no-calls")?;
    guarded.refused("select now_and_then()", "no-calls")?;
    guarded.allowed("select upper('x')", "X")?;
    ensure!(guarded.stage.cluster.sql("select sum(amount) from hr.salaries")? == "10000", "a refused call ran");

    guarded.psql("select 'last'")?;
    guarded.stage.agent.events().wait_for_text("select 'last'")?;
    let found = guarded.found("relation:hr.salaries")?;
    ensure!(found.iter().any(|record| record.to_string().contains("from salaries")), "{found:?}");
    ensure!(found.iter().any(|record| record.to_string().contains("from pay")), "{found:?}");
    ensure!(!found.iter().any(|record| record.to_string().contains("from ids")), "{found:?}");
    Ok(())
}

#[test]
fn what_is_made_later_is_known_soon() -> Result<()> {
    let guarded = Guarded::start(Login::Right, &[])?;
    guarded.allowed("select count(*) from orders", "7")?;
    // Who has made it waits until it is known.
    guarded.allowed("create table later (id int); select count(*) from later", "0")?;
    guarded.allowed("begin; create table later_on (id int); commit; begin; select count(*) from later_on", "0")?;
    // In its transaction a table that it has made is known, and one that it has changed is not.
    guarded.allowed("begin; create table last (id int); select count(*) from last", "0")?;
    guarded.refused("begin; alter table orders add more int; select count(*) from orders", "not-hr")?;
    let known =
        |sql: &'static str| wait::until(sql, wait::PATIENCE, || Ok(guarded.psql(sql)?.0.trim().eq("0").then_some(())));
    // In a transaction it is there for others only when that has ended.
    let place = [("PGHOST", "127.0.0.1"), ("PGPORT", guarded.port.as_str())];
    let mut session = guarded.stage.session(Place::Outside, &place)?;
    let before = guarded.reads()?;
    session.write_line("begin; create table much_later (id int); select 'made';")?;
    ensure!(session.read_line()? == "made");
    wait::until("a reading before the end", wait::PATIENCE, || Ok((guarded.reads()? > before).then_some(())))?;
    guarded.refused("select count(*) from much_later", "not-hr")?;
    session.write_line("commit;")?;
    known("select count(*) from much_later")
}

#[test]
fn a_database_that_is_made_anew_is_another_one() -> Result<()> {
    let guarded = Guarded::start(Login::Right, &[])?;
    let cluster = &guarded.stage.cluster;
    // Somebody asks for it before it is there; then it is another one of the same name.
    let (_, errors) = guarded.psql_in("shop", "select 1")?;
    ensure!(errors.contains("does not exist"), "{errors}");
    for table in ["first", "second"] {
        cluster.sql(&format!("create database {table}"))?;
        process::run(
            cluster
                .client("psql", Route::Unix)
                .env("PGDATABASE", table)
                .args(["-Xqc", &format!("create table {table} as select 1 as id")]),
        )?;
        guarded.psql("drop database if exists shop;")?;
        guarded.allowed(&format!("create database shop template {table}"), "")?;
        let (out, errors) = guarded.psql_in("shop", &format!("select count(*) from {table}"))?;
        ensure!(out.trim() == "1", "{table}: {errors}\n{}", guarded.stage.agent.log()?);
    }
    Ok(())
}

#[test]
fn without_a_login_such_a_name_may_be_anywhere() -> Result<()> {
    let guarded = Guarded::start(Login::None, &[])?;
    guarded.refused("select count(*) from orders", "not-hr")?;
    guarded.allowed("select count(*) from public.orders", "7")
}

#[test]
fn with_the_wrong_password_too_and_the_agent_says_so() -> Result<()> {
    let guarded = Guarded::start(Login::Wrong, &[])?;
    guarded.refused("select count(*) from orders", "not-hr")?;
    guarded.allowed("select count(*) from public.orders", "7")?;
    let log = guarded.stage.agent.log()?;
    ensure!(log.contains("password authentication failed"), "{log}");
    let metrics = guarded.stage.agent.metrics()?;
    ensure!(metrics.contains("catalogue_reads_total{database=\"test\",outcome=\"failed\"}"), "{metrics}");
    Ok(())
}

#[test]
fn the_login_reads_no_data_and_is_no_bypass() -> Result<()> {
    let mut guarded = Guarded::start(Login::Right, &["steer = true"])?;
    guarded.stage.wait_steered()?;
    let environment = [("PGUSER", ROLE), ("PGOPTIONS", "-c statement_timeout=0")];
    guarded.stage.psql(Place::Inside, &[], "select 1")?;
    let (_, errors) = said(&guarded.stage.psql(Place::Inside, &environment, "select * from public.orders")?);
    ensure!(errors.contains("permission denied"), "{errors}");
    guarded.stage.agent.events().wait_for_text("select * from public.orders")?;
    let ledger = guarded.stage.ledger_after_stop()?;
    ensure!(ledger.get("allowed_direct/warder-catalogue") == Some(&1), "{ledger:?}");
    ensure!(ledger.keys().all(|class| !class.starts_with("bypass/tcp")), "{ledger:?}");
    let texts = guarded.found("text:pg_attribute")?;
    ensure!(texts.is_empty(), "the agent's own statements are no records: {texts:?}");
    Ok(())
}

#[test]
fn the_role_is_made_once_and_taken_away() -> Result<()> {
    let guarded = Guarded::start(Login::Right, &[])?;
    let cluster = &guarded.stage.cluster;
    let setup = |verb: &str| -> Result<Output> {
        let mut command: Command = guarded.stage.agent.command(&["setup", "postgres", verb]);
        process::run_any(command.envs(cluster.environment(Route::Unix)))
    };
    let roles = || cluster.sql(&format!("select count(*) from pg_roles where rolname = '{ROLE}'"));
    let (_, errors) = said(&setup("--apply")?);
    ensure!(errors.contains("was not made by this command"), "{errors}");
    cluster.sql(&format!("drop role {ROLE}"))?;

    let (plan, _) = said(&setup("--plan")?);
    ensure!(plan.contains("CREATE ROLE") && !plan.contains(PASSWORD) && roles()? == "0", "{plan}");
    for verb in ["CREATE ROLE", "ALTER ROLE"] {
        let (out, errors) = said(&setup("--apply")?);
        ensure!(out.contains(verb) && roles()? == "1", "{out}\n{errors}");
    }
    guarded.allowed("select count(*) from orders", "7")?;
    let (out, errors) = said(&setup("--undo")?);
    ensure!(out.contains("DROP ROLE") && roles()? == "0", "{out}\n{errors}");
    ensure!(setup("--undo")?.status.success(), "nothing to take away is no failure");
    Ok(())
}

#[test]
fn behind_a_taken_socket_it_is_read_over_that_socket() -> Result<()> {
    let (stage, _folder) = stage(Login::Right, &["take_over_socket = true".into()])?;
    stage.wait_taken()?;
    let psql = |sql: &str| -> Result<(String, String)> {
        Ok(said(&process::run_any(stage.cluster.client("psql", Route::Unix).args(["-XqAt", "-c", sql]))?))
    };
    let (out, errors) = psql("select count(*) from orders")?;
    ensure!(out.trim() == "7", "{errors}\n{}", stage.agent.log()?);
    let (_, errors) = psql("select count(*) from pay")?;
    ensure!(errors.contains("(rule not-hr)"), "{errors}");
    Ok(())
}
