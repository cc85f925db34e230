//! Cases beside policies: who does what from where, and what is expected (`NAME.test.toml`).

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use journal::time::Timestamp;
use model::facts::OpaqueReason;
use model::time::WallTime;
use model::verdict::Mode;
use policy::{SessionContext, Transport, UtcOffset};
use serde::Deserialize;

use super::trial::{Deed, Outcome, Trial};
use super::{granted, who};

/// Cases of one file.
const CASES_MAX: usize = 10_000;

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file that it is in.
    pub file: Arc<str>,
    /// What it shows.
    pub name: String,
    /// What is tried.
    pub trial: Trial,
    /// What is expected.
    expect: Expect,
    /// The policy that decides: one that allows it, or the one that denies it or has it wait.
    rule: Option<String>,
    /// The bound on rows.
    max_rows: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Permit,
    /// It runs once somebody has approved it.
    Hold,
    Refuse,
}

impl Expect {
    /// What came of a case, and the policies that say so.
    fn found(outcome: &Outcome) -> (Self, Vec<&str>) {
        match (outcome.denial(), outcome.hold()) {
            (Some(denial), _) => (Self::Refuse, vec![&*denial.rule]),
            (None, Some(hold)) => (Self::Hold, vec![&*hold.rule]),
            (None, None) => (Self::Permit, outcome.allowed_by()),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Hold => "hold",
            Self::Refuse => "refuse",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    defaults: Form,
    #[serde(default, rename = "case")]
    cases: Vec<CaseForm>,
}

#[derive(Debug, Deserialize)]
struct CaseForm {
    name: String,
    expect: Expect,
    rule: Option<String>,
    max_rows: Option<u64>,
    sql: Option<String>,
    open: Option<Opening>,
    opaque: Option<String>,
    #[serde(flatten)]
    form: Form,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Opening {
    Session,
    Replication,
}

/// Circumstances as they are written. What is not written is as in a plain session over TCP.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// Who acts.
    pub who: Option<String>,
    /// The client's process.
    pub process: Option<String>,
    /// Name of the database in the configuration.
    pub database: Option<String>,
    /// Its environment.
    pub environment: Option<String>,
    /// SQL database.
    pub sql_database: Option<String>,
    /// Database role.
    pub user: Option<String>,
    /// `application_name`.
    pub application: Option<String>,
    /// `tcp` or `unix`.
    pub transport: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// The moment, UTC: `2026-11-24T10:00:00Z`.
    pub at: Option<String>,
    /// An active grant: `Delete,Read on public.orders`, and `in NAME` for one SQL database only.
    pub grant: Option<String>,
}

/// A Tuesday, 10 o'clock: the moment of whatever names none.
pub const MOMENT: &str = "2026-11-24T10:00:00Z";

impl Form {
    /// Each value of this form, or else that of the other.
    fn or(self, other: &Self) -> Self {
        macro_rules! merge {
            ($($field:ident),+) => { Self { $($field: self.$field.or_else(|| other.$field.clone()),)+ } };
        }
        merge!(who, process, database, environment, sql_database, user, application, transport, address, at, grant)
    }

    /// The trial of a deed under these circumstances.
    pub fn trial(&self, deed: Deed) -> Result<Trial> {
        let said = |text: &Option<String>, default: &str| Arc::from(text.as_deref().unwrap_or(default));
        let who = self.who.as_deref().ok_or_else(|| anyhow!("nobody acts: who = {:?}", who::WHO))?;
        let process = self.process.as_deref().map(who::process).transpose().map_err(|error| anyhow!(error))?;
        let grant = self.grant.as_deref().map(granted::grant).transpose().map_err(|error| anyhow!(error))?;
        let now = self.at.as_deref().unwrap_or(MOMENT);
        Ok(Trial {
            who: who::principal(who).map_err(|error| anyhow!(error))?,
            now: moment(now).ok_or_else(|| anyhow!("at = {now:?}: write a time as in {MOMENT}"))?,
            session: SessionContext {
                database_name: said(&self.database, "shop"),
                environment: said(&self.environment, "production"),
                mode: Mode::Enforce,
                database: said(&self.sql_database, "shop"),
                user: said(&self.user, "app"),
                application: said(&self.application, ""),
                transport: self.transport()?,
                encrypted: false,
                client_address: self.address.as_deref().map(str::parse).transpose()?,
                process,
                in_transaction: false,
                utc_offset: UtcOffset::default(),
            },
            grants: grant.into_iter().collect(),
            deed,
        })
    }

    fn transport(&self) -> Result<Transport> {
        let word = self.transport.as_deref().unwrap_or("tcp");
        let transport = Transport::ALL.iter().find(|transport| transport.word() == word).copied();
        transport.ok_or_else(|| anyhow!("transport = {word:?}: write \"tcp\" or \"unix\""))
    }
}

fn moment(text: &str) -> Option<WallTime> {
    Timestamp::parse(text).map(|timestamp| timestamp.0)
}

fn opaque(word: &str) -> Result<OpaqueReason> {
    let reason = OpaqueReason::ALL.iter().find(|reason| reason.word() == word).copied();
    let words = || OpaqueReason::ALL.iter().map(|reason| reason.word()).collect::<Vec<_>>().join(", ");
    reason.ok_or_else(|| anyhow!("opaque = {word:?}: write one of {}", words()))
}

/// Reads a case file.
pub fn read(name: &str, text: &str) -> Result<Vec<Case>> {
    let file: File = toml::from_str(text)?;
    ensure!(file.cases.len() <= CASES_MAX, "there are more than {CASES_MAX} cases");
    let name: Arc<str> = name.into();
    file.cases.into_iter().map(|form| form.case(&name, &file.defaults)).collect()
}

impl CaseForm {
    fn case(self, file: &Arc<str>, defaults: &Form) -> Result<Case> {
        let deed = match (self.sql, self.open, self.opaque) {
            (Some(sql), None, None) => Deed::Sql(sql),
            (None, Some(Opening::Session), None) => Deed::Open,
            (None, Some(Opening::Replication), None) => Deed::Replicate,
            (None, None, Some(word)) => Deed::Opaque(opaque(&word).with_context(|| self.name.clone())?),
            _ => bail!("{:?}: write either sql, open = \"session\" or \"replication\", or opaque", self.name),
        };
        let trial = self.form.or(defaults).trial(deed).map_err(|error| error.context(self.name.clone()))?;
        let Self { name, expect, rule, max_rows, .. } = self;
        Ok(Case { file: Arc::clone(file), name, trial, expect, rule, max_rows })
    }
}

impl Case {
    /// What differs from what is expected; `None`: nothing.
    #[must_use]
    pub fn difference(&self, outcome: &Outcome) -> Option<Difference> {
        let by = |rule: &String| format!(" by {rule}");
        let expected = self.expect.word().to_owned() + &self.rule.as_ref().map_or_else(String::new, by);
        let (found, decided_by) = Expect::found(outcome);
        let rows = outcome.obligations().filter_map(|bounds| bounds.rows_max).min();
        let rule_differs = self.rule.as_deref().is_some_and(|rule| !decided_by.contains(&rule));
        let rows_differ = self.max_rows.is_some() && self.max_rows != rows;
        if found == self.expect && !rule_differs && !rows_differ {
            return None;
        }
        let bound = |rows: Option<u64>| rows.map_or(String::new(), |rows| format!(", at most {rows} rows"));
        Some(Difference {
            expected: expected + &bound(self.max_rows),
            found: format!("{} by {}{}", found.word(), decided_by.join(", "), bound(rows)),
        })
    }
}

/// How a case did not come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}
