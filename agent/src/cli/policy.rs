//! `warder policy`: work with policies before they take effect.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use policy::UtcOffset;

use super::evidence::JournalArg;
use crate::config::Database;
use crate::policies::history::{self, History, Place, Sets};
use crate::policy_files;

use crate::policies::case::{Form, MOMENT};
use crate::policies::load::Source;
use crate::policies::trial::Deed;
use crate::policies::{check, diff, explain, try_cases, who};
use crate::terminal::{self, Terminal};

const EXIT_CODES: &str = "Exit codes: 0 all is well; 1 something is wrong, or came out differently.";

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Find out whether policies could take effect; every mistake is one line with its remedy
    #[command(after_help = EXIT_CODES)]
    Check(Check),
    /// Try the cases beside policies
    #[command(after_help = EXIT_CODES)]
    Test(Test),
    /// Say what would be decided, and why
    #[command(after_help = EXPLAIN)]
    Explain(Box<Explain>),
    /// Say what a new set changes
    #[command(after_help = EXIT_CODES)]
    Diff(Diff),
    /// Say what policies would have done to recorded history, direct sessions included
    #[command(after_help = REPLAY)]
    Replay(Replay),
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Folders, each a set, or policy files, each a set by itself
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also name policies that decide none of the cases beside them
    #[arg(long)]
    deep: bool,
}

#[derive(Debug, Args)]
pub(super) struct Test {
    /// Folders, policy files, or case files; the policies of a case file are those of its folder
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

const EXPLAIN: &str = "WHO: person:alice@example.com,group=analysts
     agent:helper,group=data-writers,for=person:alice@example.com
     unknown:shared_pool
PROCESS: exe=/usr/bin/psql,uid=1000,tty

Names without a schema are judged as names of an unknown schema: here is no catalogue to look them up in.

Exit codes: 0 permitted; 1 refused, or it could not be decided.";

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Folder or file of the policies
    #[arg(long, value_name = "PATH")]
    policies: PathBuf,
    /// Who acts
    #[arg(long, value_name = "WHO", help = format!("Who acts: {}", who::WHO))]
    who: String,
    /// The client's process
    #[arg(long, value_name = "PROCESS", help = format!("The client's process: {}", who::PROCESS))]
    process: Option<String>,
    /// The text that is run; without it, the opening of a session
    #[arg(long, value_name = "TEXT")]
    sql: Option<String>,
    /// Name of the database in the configuration [default: shop]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Its environment [default: production]
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Database role [default: app]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// tcp or unix [default: tcp]
    #[arg(long, value_name = "WORD")]
    transport: Option<String>,
    /// An active grant: ACTION[,ACTION] on RELATION[,RELATION]
    #[arg(long, value_name = "GRANT")]
    grant: Option<String>,
    /// Address of the client
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// The moment, UTC
    #[arg(long, value_name = "TIME", default_value = MOMENT)]
    at: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Diff {
    /// Folder or file of the set that is in effect
    old: PathBuf,
    /// Folder or file of the other
    new: PathBuf,
}

const REPLAY: &str = "Statements of which the journal does not have all that a decision needs are undecidable: redacted or cut texts, texts
that were not seen, EXECUTE of what SQL prepared, policies about hashes, cgroups and units of processes. Schemas are those
that were known at the time; rates are not counted.

Exit codes: 0 nothing would differ; 1 something would, or it failed.";

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// From when on: 7d, 24h, 2026-11-22
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// Folder or file of the policies, instead of those of the configuration
    #[arg(long, value_name = "PATH")]
    set: Option<PathBuf>,
    /// Environment of databases of which no configuration says it
    #[arg(long, value_name = "NAME", default_value = "production")]
    environment: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    journal: JournalArg,
}

impl Policy {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(arguments) => arguments.run(),
            Self::Test(arguments) => arguments.run(),
            Self::Explain(arguments) => arguments.run(),
            Self::Diff(arguments) => arguments.run(),
            Self::Replay(arguments) => arguments.run(),
        }
    }
}

impl Replay {
    fn run(self) -> anyhow::Result<ExitCode> {
        let databases = self.journal.databases()?;
        let history = History {
            journal: self.journal.directory()?,
            since: self.since,
            sets: sets(self.set.as_deref(), &databases)?,
            places: databases.iter().filter_map(place).collect(),
            environment: self.environment,
        };
        let tally = history.replay()?;
        let text = if self.json {
            terminal::escape_json(&history::json(&tally).to_string()).into_owned() + "\n"
        } else {
            history::text(&tally, Terminal::stdout())?
        };
        terminal::print(&text)?;
        Ok(code(tally.different() == 0))
    }
}

/// The set that was named, or those of the configuration.
fn sets(named: Option<&Path>, databases: &[Database]) -> anyhow::Result<Sets> {
    if let Some(path) = named {
        return Ok(Sets::One(Source::read(path)?.set()?));
    }
    let mut sets = BTreeMap::new();
    for database in databases {
        let Some(guard) = database.guard.as_ref().filter(|guard| !guard.policies.is_empty()) else { continue };
        let set = policy_files::set(&guard.policies).with_context(|| format!("the policies of {}", database.name))?;
        sets.insert(database.name.clone(), set);
    }
    ensure!(!sets.is_empty(), "the configuration has no policies; name some with --set");
    Ok(Sets::Configured(sets))
}

/// What the configuration says of a database that policies see.
fn place(database: &Database) -> Option<(String, Place)> {
    let guard = database.guard.as_ref()?;
    let utc_offset = UtcOffset::new(guard.utc_offset).unwrap_or_default();
    Some((database.name.clone(), Place { environment: guard.environment.as_str().into(), utc_offset }))
}

const fn code(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Check {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let depth = if self.deep { check::Depth::Deep } else { check::Depth::Shallow };
        let findings = check::check(&self.paths, depth)?;
        terminal::print(&check::text(&findings)?)?;
        Ok(code(findings.problems.is_empty() && findings.idle.is_empty()))
    }
}

impl Test {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let tally = try_cases::try_cases(&self.paths)?;
        terminal::print(&try_cases::text(&tally, Terminal::stdout())?)?;
        Ok(code(tally.failed.is_empty()))
    }
}

impl Explain {
    fn run(self) -> anyhow::Result<ExitCode> {
        let set = Source::read(&self.policies)?.set()?;
        let form = Form {
            who: Some(self.who),
            process: self.process,
            database: self.database,
            environment: self.environment,
            user: self.user,
            transport: self.transport,
            address: self.address,
            at: Some(self.at),
            grant: self.grant,
            ..Form::default()
        };
        let outcome = form.trial(self.sql.map_or(Deed::Open, Deed::Sql))?.run(&set);
        let text = if self.json {
            terminal::escape_json(&explain::json(&outcome).to_string()).into_owned() + "\n"
        } else {
            explain::text(&outcome, Terminal::stdout())?
        };
        terminal::print(&text)?;
        Ok(code(outcome.denial().is_none()))
    }
}

impl Diff {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let differences = diff::diff(&self.old, &self.new)?;
        terminal::print(&differences.text(Terminal::stdout())?)?;
        Ok(code(differences.verdicts.is_empty()))
    }
}
