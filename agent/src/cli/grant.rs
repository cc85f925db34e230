//! `warder grant`: ask for access, see who has it, decide.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{ConfigArg, EXIT_CODES};
use crate::control::client;
use crate::control::grants::{GrantAsk, GrantVerb, GrantView};
use crate::token_file::TokenFile;
use crate::{terminal, words};

/// Largest token that an issuer is believed.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

#[derive(Debug, Subcommand)]
pub(super) enum Grant {
    /// Ask for access
    #[command(after_help = EXIT_CODES)]
    Request(Request),
    /// List what is asked for, active, and over
    #[command(after_help = EXIT_CODES)]
    List(List),
    /// Show one grant with its story
    #[command(after_help = EXIT_CODES)]
    Show(Which),
    /// Say yes to what somebody asks for
    #[command(after_help = EXIT_CODES)]
    Approve(Decision),
    /// Say no to it
    #[command(after_help = EXIT_CODES)]
    Deny(Decision),
    /// Take active access back; as root without a token
    #[command(after_help = EXIT_CODES)]
    Revoke(Decision),
    /// Ask for what an active grant of yours covers, for longer
    #[command(after_help = EXIT_CODES)]
    Renew(Renew),
    /// Take back what you have asked for
    #[command(after_help = EXIT_CODES)]
    Withdraw(Decision),
    /// Say that you have looked at what a broken glass was for
    #[command(after_help = EXIT_CODES)]
    Review(Decision),
}

#[derive(Debug, Args)]
pub(super) struct Request {
    /// Name of a [[database]]
    #[arg(long, value_name = "NAME")]
    database: String,
    /// Only in this SQL database [default: each of that server]
    #[arg(long, value_name = "NAME")]
    sql_database: Option<String>,
    /// An action as policies call it, or a group: Delete, Read; several times
    #[arg(long = "action", value_name = "ACTION", required = true)]
    actions: Vec<String>,
    /// schema.name, schema.* for all of a schema, * for everything; several times
    #[arg(long = "relation", value_name = "NAME", required = true)]
    relations: Vec<String>,
    /// For how long: 30m, 8h
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    seconds: u64,
    /// What for; it is recorded, and approvers read it
    #[arg(long)]
    purpose: String,
    /// Ticket of another system
    #[arg(long)]
    ticket: Option<String>,
    /// At once; somebody looks at it afterwards
    #[arg(long)]
    break_glass: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Also those that are over
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    show: Shown,
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Its number: g-7k3f9q2d
    grant: String,
    #[command(flatten)]
    show: Shown,
}

#[derive(Debug, Args)]
pub(super) struct Decision {
    /// Its number: g-7k3f9q2d
    grant: String,
    /// Why; it is recorded
    #[arg(long, default_value = "")]
    reason: String,
    /// What you have seen (digest of warder grant show --json): refused if something else was asked for
    #[arg(long, value_name = "SHA256")]
    digest: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Renew {
    /// Its number: g-7k3f9q2d
    grant: String,
    /// For how long [default: as before]
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    seconds: Option<u64>,
    /// What for [default: as before]
    #[arg(long, default_value = "")]
    purpose: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// File with your token [default: where warder login keeps it]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    show: Shown,
}

#[derive(Debug, Args)]
struct Shown {
    /// One JSON object for each grant
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl Grant {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Request(request) => request.run(),
            Self::List(list) => list.run(),
            Self::Show(which) => {
                let ask = GrantAsk { grant: Some(which.grant), ..GrantAsk::default() };
                which.show.tell(GrantVerb::Show, ask)
            }
            Self::Approve(decision) => decision.run(GrantVerb::Approve),
            Self::Deny(decision) => decision.run(GrantVerb::Deny),
            Self::Revoke(decision) => decision.run(GrantVerb::Revoke),
            Self::Withdraw(decision) => decision.run(GrantVerb::Withdraw),
            Self::Review(decision) => decision.run(GrantVerb::Review),
            Self::Renew(Renew { grant, seconds, purpose, common }) => {
                let token = Some(common.token()?);
                let ask = GrantAsk { token, grant: Some(grant), seconds, purpose, ..GrantAsk::default() };
                common.show.tell(GrantVerb::Renew, ask)
            }
        }
    }
}

impl Request {
    fn run(self) -> anyhow::Result<()> {
        let ask = GrantAsk {
            token: Some(self.common.token()?),
            database_entry: Some(self.database),
            database: self.sql_database,
            actions: self.actions,
            relations: self.relations,
            seconds: Some(self.seconds),
            purpose: self.purpose,
            ticket: self.ticket,
            break_glass: self.break_glass,
            ..GrantAsk::default()
        };
        self.common.show.tell(GrantVerb::Request, ask)
    }
}

impl Decision {
    fn run(self, verb: GrantVerb) -> anyhow::Result<()> {
        // An operator who takes access back needs no token; whoever names one is asked for it.
        let needs_none = verb == GrantVerb::Revoke && self.common.token_file.is_none();
        let token = if needs_none { self.common.token().ok() } else { Some(self.common.token()?) };
        let Self { grant, reason, digest, common } = self;
        let ask = GrantAsk { token, grant: Some(grant), reason, digest, ..GrantAsk::default() };
        common.show.tell(verb, ask)
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let socket = self.show.config.load()?.agent.control_socket;
        let ask = GrantAsk { open: !self.all, ..GrantAsk::default() };
        let mut grants = client::grants(&socket, GrantVerb::List, ask)?;
        grants.sort_by_key(|grant| grant.requested.0);
        if !self.show.json && grants.is_empty() {
            return Ok(terminal::print("no grants\n")?);
        }
        if self.show.json { self.show.print(&grants) } else { Ok(terminal::print(&table(&grants)?)?) }
    }
}

impl Common {
    fn token(&self) -> anyhow::Result<String> {
        let file = TokenFile::new(self.token_file.clone())?;
        read_token(file.path())
    }
}

impl Shown {
    fn tell(&self, verb: GrantVerb, ask: GrantAsk) -> anyhow::Result<()> {
        let socket = self.config.load()?.agent.control_socket;
        self.print(&client::grants(&socket, verb, ask)?)
    }

    fn print(&self, grants: &[GrantView]) -> anyhow::Result<()> {
        let mut text = String::new();
        for grant in grants {
            if self.json {
                writeln!(text, "{}", terminal::escape_json(&serde_json::to_string(grant)?))?;
            } else {
                describe(grant, &mut text)?;
            }
        }
        Ok(terminal::print(&text)?)
    }
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    let about = || format!("the token in {} cannot be read; log in (warder login), or name a file", path.display());
    let mut text = String::new();
    std::fs::File::open(path)
        .with_context(about)?
        .take(TOKEN_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(about)?;
    ensure!(text.len() as u64 <= TOKEN_BYTES_MAX, "{} is too long for a token", path.display());
    Ok(text.trim_end().to_owned())
}

/// `90s`, `30m`, `8h`, `2d`.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "write a number and one of s, m, h, d, for example 8h".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number = text.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok()).ok_or_else(wrong)?;
    number.checked_mul(seconds).filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

fn needs_review(grant: &GrantView) -> bool {
    matches!(grant.review.as_deref(), Some("due" | "overdue"))
}

fn table(grants: &[GrantView]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for grant in grants {
        let until = match (&*grant.state, grant.not_after, grant.decide_by) {
            ("active", Some(end), _) => format!("until {}", words::second(end)),
            ("requested", _, Some(end)) => {
                format!(
                    "{} of {} approvals, until {}",
                    grant.approvals.len(),
                    grant.approvals_needed,
                    words::second(end)
                )
            }
            _ => String::new(),
        };
        let review = if needs_review(grant) { ", to be reviewed" } else { "" };
        let line = format!(
            "{}  {:9}  {}  {} on {} in {}  {until}{review}",
            grant.grant,
            grant.state,
            words::holder(&grant.holder),
            grant.scope.actions.join(","),
            grant.scope.relations.join(","),
            grant.scope.database_entry,
        );
        writeln!(text, "{}", terminal::escape(line.trim_end()))?;
    }
    Ok(text)
}

fn describe(grant: &GrantView, text: &mut String) -> std::fmt::Result {
    let mut line = |name: &str, value: &str| writeln!(text, "  {name:10} {}", terminal::escape(value));
    let glass = if grant.break_glass { ", broken glass" } else { "" };
    line("grant", &format!("{} ({}{glass})", grant.grant, grant.state))?;
    line("holder", &format!("{} {}", grant.holder.actor.kind, words::holder(&grant.holder)))?;
    line("actions", &grant.scope.actions.join(", "))?;
    line("relations", &grant.scope.relations.join(", "))?;
    let sql_database = grant.scope.database.as_deref().map_or(String::new(), |name| format!(", SQL database {name}"));
    line("database", &format!("{}{sql_database}", grant.scope.database_entry))?;
    line("purpose", &grant.purpose)?;
    if let Some(ticket) = &grant.ticket {
        line("ticket", ticket)?;
    }
    line("for", &words::duration(grant.seconds.saturating_mul(1_000_000)))?;
    line("rule", &grant.rule)?;
    line("requested", &words::second(grant.requested))?;
    for approval in &grant.approvals {
        let reason = if approval.reason.is_empty() { String::new() } else { format!(": {}", approval.reason) };
        line("approved", &format!("{} by {}{reason}", words::second(approval.at), words::holder(&approval.by)))?;
    }
    if let Some(end) = grant.decide_by {
        let (have, need) = (grant.approvals.len(), grant.approvals_needed);
        line("waits", &format!("{have} of {need} approvals, denied {} if nobody decides", words::second(end)))?;
        line("approve", &format!("warder grant approve {}", grant.grant))?;
    }
    if let Some(end) = grant.not_after {
        line("ends", &words::second(end))?;
    }
    if let Some(review) = &grant.review {
        line("review", review)?;
    }
    grant.statement.as_ref().map_or(Ok(()), |statement| describe_statement(statement, text))
}

/// What an approver looks at: the statement that waits.
fn describe_statement(statement: &Value, text: &mut String) -> std::fmt::Result {
    let mut line = |name: &str, value: &str| writeln!(text, "  {name:10} {}", terminal::escape(value));
    let said = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let of = |name: &str| statement.get(name).map(said).unwrap_or_default();
    let each = |name: &str| statement.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    line("statement", &of("statement"))?;
    for (number, value) in each("parameters").iter().enumerate() {
        line("", &format!("${} = {}", number.saturating_add(1), said(value)))?;
    }
    line("sha256", &of("sha256"))?;
    line("why", &format!("{}: {}", of("what"), of("reason")))?;
    for effect in each("effects") {
        let part = |name: &str| effect.get(name).map(said).unwrap_or_default();
        let rows = if part("every_row") == "true" { ", every row" } else { "" };
        line("does", &format!("{} {} {}{rows}", part("action"), part("object"), part("name")))?;
    }
    for name in ["principal", "process", "estimate", "locks"] {
        line(name, &of(name))?;
    }
    Ok(())
}
