//! Questions to the journal: search, replay, verify, prove.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use search::query::Order;

use super::ConfigArg;
use crate::config::Database;
use crate::{evidence, replay, search_view};

/// Which journal a question is about.
#[derive(Debug, Args)]
pub(super) struct JournalArg {
    /// Folder of the journal, instead of the configured one
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

impl JournalArg {
    /// The databases of the configuration; none where a folder is named instead.
    pub(super) fn databases(&self) -> anyhow::Result<Vec<Database>> {
        match &self.journal {
            Some(_) => Ok(Vec::new()),
            None => Ok(self.config.load()?.databases),
        }
    }

    pub(super) fn directory(&self) -> anyhow::Result<PathBuf> {
        match &self.journal {
            Some(directory) => Ok(directory.clone()),
            None => Ok(self.config.load()?.journal.directory),
        }
    }
}

const FILTERS: &str = "Filters are terms joined by blanks; all must hold. -TERM: must not hold. KEY:A,B: one of them.
  since:24h until:2026-11-22T10:00:00Z            when
  user:app database:shop application:psql         who, to the database
  exe:psql process:psql pid:123 uid:1000          which process on this host
  client:10.0.0.0/8 transport:unix session:12345  from where
  type:statement kind:simple 'text:\"from customers\"' what
  error:yes sqlstate:23505 duration:>100ms rows:>1000
Without any, the newest records. All keys: docs/search.md

Exit codes: 0 answered; 1 it failed; 2 the filter is wrong; 3 answered from what is readable, and part of the journal is not.";

/// `warder search`
#[derive(Debug, Args)]
#[command(after_help = FILTERS)]
pub(super) struct Search {
    /// Terms of the filter; after -- if the first of them has a minus
    #[arg(value_name = "TERM")]
    filter: Vec<String>,
    /// Most records of a page
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The page that the one before named, with the same filter
    #[arg(long, value_name = "TOKEN")]
    page: Option<String>,
    /// Begin with the oldest record instead of the newest
    #[arg(long)]
    oldest_first: bool,
    /// The records as they are, one JSON object per line, and a last line about the search
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    journal: JournalArg,
}

const PLAYED: &str =
    "Exit codes: 0 played; 1 it failed; 3 played from what is readable, and part of the journal is not.";

/// `warder replay`
#[derive(Debug, Args)]
#[command(after_help = PLAYED)]
pub(super) struct Replay {
    /// The session: its id, a unique beginning of it, or its cookie (the last number)
    session: String,
    /// How many times as fast as it was
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Without its pauses
    #[arg(long, conflicts_with = "speed")]
    no_wait: bool,
    #[command(flatten)]
    journal: JournalArg,
}

const VERDICTS: &str =
    "Exit codes: 0 intact; 1 broken; 2 it cannot be told (nothing signed by a trusted key, or not readable).
Needs files only: no agent, no network, no clock. Take the key from elsewhere than the host that is in question.";

/// `warder verify`
#[derive(Debug, Args)]
#[command(after_help = VERDICTS)]
pub(super) struct Verify {
    /// Folder of the journal, or of a copy of it
    path: PathBuf,
    /// Public key that is trusted (PEM); several where the journal was begun anew
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Checkpoints that a witness kept
    #[arg(long, value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// `warder prove`
#[derive(Debug, Args)]
pub(super) struct Prove {
    /// Number of the record (`seq`)
    #[arg(value_name = "RECORD")]
    seq: u64,
    #[command(flatten)]
    journal: JournalArg,
}

const PROOF_CODES: &str = "Exit codes: 0 proved; 1 not proved; 2 it cannot be told (no proof, no key, or not readable).
Needs the two files only.";

/// `warder verify-proof`
#[derive(Debug, Args)]
#[command(after_help = PROOF_CODES)]
pub(super) struct VerifyProof {
    /// What warder prove printed
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// Public key that is trusted (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// More than 0, and a number.
fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed > 0.0 && speed.is_finite() => Ok(speed),
        _ => Err("use a number above 0, for example 10".to_owned()),
    }
}

impl Search {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let answer = search_view::show(&search_view::Question {
            directory: self.journal.directory()?,
            filter: self.filter.join(" "),
            page: self.page.clone(),
            limit: self.limit.try_into()?,
            order: if self.oldest_first { Order::OldestFirst } else { Order::NewestFirst },
            form: if self.json { search_view::Form::Json } else { search_view::Form::Text },
        })?;
        Ok(answer.exit_code())
    }
}

impl Replay {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let answer = replay::play(&replay::Question {
            directory: self.journal.directory()?,
            session: self.session.clone(),
            pace: if self.no_wait { replay::Pace::AtOnce } else { replay::Pace::Times(self.speed) },
        })?;
        Ok(answer.exit_code())
    }
}

impl Verify {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        evidence::verify(&self.path, &self.key, &self.checkpoints, form(self.json))
    }
}

impl Prove {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        evidence::prove(&self.journal.directory()?, self.seq)
    }
}

impl VerifyProof {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        evidence::verify_proof(&self.proof, &self.key, form(self.json))
    }
}

const fn form(json: bool) -> evidence::Form {
    if json { evidence::Form::Json } else { evidence::Form::Text }
}
