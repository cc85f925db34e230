//! Nothing in PostgreSQL's own regression tests that the analysis says only reads changes anything, or touches a relation
//! that it does not name. `WARDER_LONG=1` plays every file, otherwise some are played.
//!
//! A statement that is said to read runs in a transaction of its own: one that changes something has a number then.
//! Statements inside of the files' own transactions are run, and not looked at.

#[path = "../../crates/sql/tests/regress/script.rs"]
mod script;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use model::facts::Facts;
use sql::catalogue::Catalogue;
use sql::session::Session as Tracker;
use sql::state::State;
use sql::{Analyser, Limits};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::corpus::session::{Answer, Login, Session};
use warder_tests::effects::{self, Declared, snapshot};
use warder_tests::suite_source::Source;
use warder_tests::tooling;
use warder_tests::wire::RawClient;

/// What the others build upon.
const FIRST: &str = "test_setup";
/// Files that are always played: queries of every shape, views, functions, inheritance, partitions.
const USUAL: [&str; 14] = [
    "select",
    "select_distinct",
    "select_into",
    "subselect",
    "union",
    "case",
    "join",
    "aggregates",
    "with",
    "window",
    "create_view",
    "rangefuncs",
    "inherit",
    "partition_join",
];
/// Files that stop the server, wait for minutes, or need a server of their own.
const LEFT_OUT: [&str; 4] = ["tablespace", "stats", "psql_crosstab", "test_setup"];

/// Functions that do nothing but give the transaction its number.
const NUMBERING: [&str; 2] = ["txid_current", "pg_current_xact_id"];

/// What was looked at.
#[derive(Debug, Default)]
struct Tally {
    statements: usize,
    claimed: usize,
    failed: usize,
    wrong: Vec<String>,
}

/// One file in one session, as the analysis follows it.
struct Play {
    session: Session,
    observer: Session,
    analyser: Analyser,
    tracker: Tracker,
    catalogue: Catalogue,
    /// The catalogue is not what it was when it was read.
    is_stale: bool,
    epoch: u64,
}

fn connect(cluster: &Cluster) -> Result<Session> {
    let client = RawClient::unix(&cluster.socket())?;
    let opened = Session::open(client, &Login::superuser(), "regression", &BTreeMap::new())?;
    opened.map_err(|answers| anyhow::anyhow!("no session: {answers:?}"))
}

impl Play {
    fn new(cluster: &Cluster, epoch: u64) -> Result<Self> {
        let (session, mut observer) = (connect(cluster)?, connect(cluster)?);
        let catalogue = snapshot::take(&mut observer, epoch)?;
        let state = State { server_major: Some(15), ..State::new("postgres".into()) };
        let (analyser, tracker) = (Analyser::new(Limits::default()), Tracker::new(state));
        Ok(Self { session, observer, analyser, tracker, catalogue, is_stale: false, epoch })
    }

    fn facts(&mut self, sql: &str) -> std::sync::Arc<Facts> {
        self.analyser.facts(sql.as_bytes(), self.tracker.state(), &self.catalogue)
    }

    /// Whether the session goes on.
    fn statement(&mut self, file: &str, sql: &str, tally: &mut Tally) -> Result<bool> {
        tally.statements += 1;
        let mut facts = self.facts(sql);
        if self.is_stale && !self.session.in_transaction() && Declared::reads_only(&facts).is_some() {
            self.epoch += 1;
            self.catalogue = snapshot::take(&mut self.observer, self.epoch)?;
            self.tracker.snapshot_taken();
            self.is_stale = false;
            facts = self.facts(sql);
        }
        let answers = match Declared::reads_only(&facts) {
            Some(declared) if !self.session.in_transaction() => self.claimed(file, sql, &declared, tally)?,
            _ => self.unclaimed(sql, &facts)?,
        };
        Ok(!answers.contains(&Answer::Ended))
    }

    fn claimed(&mut self, file: &str, sql: &str, declared: &Declared, tally: &mut Tally) -> Result<Vec<Answer>> {
        tally.claimed += 1;
        let executed = effects::execute(&mut self.session, sql)?;
        tally.failed += usize::from(executed.answers.iter().any(|answer| matches!(answer, Answer::Error { .. })));
        let undeclared = declared.undeclared(&executed.touched);
        let changed = executed.changed && !NUMBERING.iter().any(|function| sql.contains(function));
        if changed || !undeclared.is_empty() {
            tally.wrong.push(format!("{file}: {sql}\n    changed {changed}, touched undeclared {undeclared:?}"));
        }
        Ok(executed.answers)
    }

    /// Runs a text, and follows what it says about its session.
    fn unclaimed(&mut self, sql: &str, facts: &Facts) -> Result<Vec<Answer>> {
        let was_open = self.session.in_transaction();
        let answers = self.session.query(sql.as_bytes())?;
        if !was_open && self.session.in_transaction() {
            self.tracker.begin();
        }
        let failed = answers.iter().any(|answer| matches!(answer, Answer::Error { .. }));
        let changes = facts.statements.iter().flat_map(|statement| &statement.changes);
        // What is not understood may have changed anything.
        self.is_stale |= !failed && facts.opaque.is_some();
        for change in changes.filter(|_| !failed) {
            self.is_stale |= change.is_of_catalogue();
            self.tracker.apply(change);
        }
        self.is_stale |= facts.statements.iter().any(|statement| !statement.opaque.is_empty() || calls(statement));
        if was_open && !self.session.in_transaction() {
            let committed = answers.iter().any(|answer| matches!(answer, Answer::Done(tag) if tag == "COMMIT"));
            if committed { self.tracker.commit() } else { self.tracker.rollback() }
        }
        Ok(answers)
    }
}

/// Code may change the catalogue, too.
fn calls(statement: &model::facts::StatementFacts) -> bool {
    use model::facts::Action;
    statement.effects.iter().any(|effect| matches!(effect.action, Action::Call | Action::Code))
}

/// The files to play, the first of them first.
fn files() -> Result<Vec<(String, PathBuf)>> {
    let folder = Source::prepared()?.suite("regress").join("sql");
    let mut names: Vec<String> = USUAL.iter().map(|&name| name.to_owned()).collect();
    if tooling::long_form() {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        let sql = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "sql"));
        names = sql.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
        names.retain(|name| !LEFT_OUT.contains(&name.as_str()));
        names.sort();
    }
    names.insert(0, FIRST.to_owned());
    Ok(names.into_iter().map(|name| (name.clone(), folder.join(format!("{name}.sql")))).collect())
}

#[test]
fn what_is_said_to_read_changes_nothing_in_the_servers_own_tests() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default().with("max_prepared_transactions", "2"))?;
    cluster.sql("create database regression")?;
    cluster.sql("alter database regression set statement_timeout = '10s'")?;
    let mut tally = Tally::default();
    for (number, (name, path)) in files()?.into_iter().enumerate() {
        let text = String::from_utf8_lossy(&fs::read(&path).with_context(|| path.display().to_string())?).into_owned();
        let mut play = Play::new(&cluster, (u64::try_from(number)? + 1) << 32)?;
        for statement in script::statements(&text) {
            if !play.statement(&name, &statement, &mut tally).with_context(|| format!("{name}: {statement}"))? {
                break;
            }
        }
    }
    let Tally { statements, claimed, failed, wrong } = tally;
    eprintln!("{statements} statements, {claimed} said to read only ({failed} of them fail), {} wrong", wrong.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(claimed * 10 > statements, "too few claims to prove anything: {claimed} of {statements}");
    Ok(())
}
