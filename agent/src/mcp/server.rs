//! The tools: names, arguments, bounds. What they do is in the files beside this one.

use std::time::Duration;

use identity::proof::Proofs;
use identity::secret::Secret;
use model::access::Holder;
use model::principal::Principal;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::CallToolResult;
use rmcp::schemars::JsonSchema;
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, tool, tool_handler, tool_router};
use serde::Deserialize;
use serde_json::{Value, json};
use store::form::access::HolderForm;

use super::answer::{self, Answer, Failure};
use super::databases::{self, Place};
use super::statement::{self, Notices, Statement};
use super::{foresight, grants};
use crate::clock;
use crate::config::{Config, Database};
use crate::control::grants::{GrantAsk, GrantVerb, GrantView};
use crate::policies::explain;
use crate::policies::trial::Deed;
use crate::token_file::TokenFile;

/// The SQL database where none is named: every server has it.
const SQL_DATABASE: &str = "postgres";
const ROWS_DEFAULT: u32 = 100;
const ROWS_MAX: u32 = 1000;
const SECONDS_DEFAULT: u32 = 60;
const SECONDS_MAX: u32 = 600;
/// Longest text of a statement, in bytes.
const SQL_MAX: usize = 1 << 20;

/// Serves the tools.
pub(super) struct Server {
    config: Config,
    token: TokenFile,
    proofs: Proofs,
}

/// A text and where it is for.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct ExplainStatement {
    /// Name of the database, as list_databases says it.
    database: String,
    /// SQL database on that server; without it: postgres.
    sql_database: Option<String>,
    /// The SQL text. Write names with their schema: here is no catalogue to look them up in.
    sql: String,
}

/// A text that is run.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct RunStatement {
    /// Name of the database, as list_databases says it.
    database: String,
    /// SQL database on that server; without it: postgres.
    sql_database: Option<String>,
    /// The SQL text; each call is a session of its own, so that a transaction has to be in one text.
    sql: String,
    /// Rows that the answer has at most, 1 to 1000; without it: 100. The statement runs as a whole in any case.
    max_rows: Option<u32>,
    /// After how many seconds it is cancelled, 1 to 600; without it: 60. Waiting for an approval counts.
    timeout_seconds: Option<u32>,
}

/// What access is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct RequestGrant {
    /// Name of the database, as list_databases says it.
    database: String,
    /// Only in this SQL database; without it: in each of that server.
    sql_database: Option<String>,
    /// What for; it is recorded, and whoever approves reads it.
    purpose: String,
    /// Actions as policies call them (Select, Insert, Update, Delete, Create, Alter, Drop, ...), or groups of them (Read, Write, Ddl).
    actions: Vec<String>,
    /// Relations: schema.name, schema.* for all of a schema, * for everything.
    relations: Vec<String>,
    /// For how many seconds, from when it is active.
    duration_seconds: u64,
    /// Ticket of another system.
    ticket: Option<String>,
}

/// Which grant.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct GrantStatus {
    /// Its number, like g-7k3f9q2d; without it: all of yours.
    grant: Option<String>,
}

#[tool_router]
impl Server {
    /// Before anything is served: mistakes in the configuration end the command.
    pub(super) fn new(config: Config, token: TokenFile) -> anyhow::Result<Self> {
        let proofs = Proofs::new(&config.identity.issuers, &config.identity.certificates)?;
        token.token()?;
        Ok(Self { config, token, proofs })
    }

    #[tool(
        description = "List the databases that can be reached, who you are to them, and whether you may open a session.",
        annotations(read_only_hint = true)
    )]
    async fn list_databases(&self) -> CallToolResult {
        answer::result(self.databases().await)
    }

    #[tool(
        description = "Say what the policies would decide about an SQL text, step by step, without running it. A forecast: \
                       what the database's catalogue and your process add is not known here.",
        annotations(read_only_hint = true)
    )]
    async fn explain_statement(&self, Parameters(wanted): Parameters<ExplainStatement>) -> CallToolResult {
        answer::result(self.explanation(wanted).await)
    }

    #[tool(
        description = "Run an SQL text under your token. Values are text as PostgreSQL writes them, or null. A refusal says \
                       rule, why and how_to_proceed; do not try to get around it. The call waits while somebody has to \
                       approve the statement.",
        annotations(destructive_hint = true)
    )]
    async fn run_statement(
        &self,
        Parameters(wanted): Parameters<RunStatement>,
        context: RequestContext<RoleServer>,
    ) -> CallToolResult {
        let notices = Notices::default();
        let answer = self.results(wanted, &notices, context.ct.cancelled()).await;
        answer::result_with(answer, notices.into_values())
    }

    #[tool(
        description = "Ask for access to what is refused, for a purpose and a time. Somebody else decides; grant_status \
                       says how it stands.",
        annotations(destructive_hint = false)
    )]
    async fn request_grant(&self, Parameters(wanted): Parameters<RequestGrant>) -> CallToolResult {
        answer::result(self.requested(wanted).await)
    }

    #[tool(description = "Say how a grant stands, or all of yours.", annotations(read_only_hint = true))]
    async fn grant_status(&self, Parameters(wanted): Parameters<GrantStatus>) -> CallToolResult {
        answer::result(self.status(wanted).await)
    }
}

#[tool_handler(
    name = "warder",
    instructions = "Databases behind Warder: policies decide about each statement, and everything is recorded. Where a \
                    statement is refused, read rule, why and how_to_proceed; explain_statement forecasts decisions, and \
                    request_grant asks people for access."
)]
impl ServerHandler for Server {}

impl Server {
    async fn databases(&self) -> Answer {
        let who = self.who().await?;
        let held = HolderForm::from(&Holder::from(&who)).into_owned();
        let active = self.grants().await;
        let listed = |database: &Database| match databases::place(database) {
            Err(why) => json!({ "database": database.name, "reachable": false, "why": why }),
            Ok(place) => json!({
                "database": place.name,
                "reachable": true,
                "environment": place.guard.environment,
                "session": self.opening(&place, &who, active.as_deref().unwrap_or_default()),
            }),
        };
        let databases: Vec<Value> = self.config.databases.iter().map(listed).collect();
        let value = json!({ "you": held, "databases": databases });
        Ok(with_doubt(value, active.err()))
    }

    /// Whether a session may be opened; unknown, with its reason, where the policies cannot be read.
    fn opening(&self, place: &Place<'_>, who: &Principal, grants: &[GrantView]) -> Value {
        let active = foresight::active(grants, who, place.name);
        match foresight::foresee(place, who.clone(), active, SQL_DATABASE, Deed::Open) {
            Ok(outcome) => explain::json(&outcome),
            Err(failure) => json!({ "verdict": "unknown", "because": failure }),
        }
    }

    async fn explanation(&self, wanted: ExplainStatement) -> Answer {
        let place = databases::find(&self.config, &wanted.database)?;
        let sql = bounded(wanted.sql)?;
        let who = self.who().await?;
        let known = self.grants().await;
        let active = foresight::active(known.as_deref().unwrap_or_default(), &who, place.name);
        let sql_database = wanted.sql_database.as_deref().unwrap_or(SQL_DATABASE);
        let outcome = foresight::foresee(&place, who, active, sql_database, Deed::Sql(sql))?;
        Ok(with_doubt(explain::json(&outcome), known.err()))
    }

    async fn results(&self, wanted: RunStatement, notices: &Notices, given_up: impl Future<Output = ()>) -> Answer {
        let place = databases::find(&self.config, &wanted.database)?;
        let sql = bounded(wanted.sql)?;
        let rows = wanted.max_rows.unwrap_or(ROWS_DEFAULT).clamp(1, ROWS_MAX);
        let seconds = wanted.timeout_seconds.unwrap_or(SECONDS_DEFAULT).clamp(1, SECONDS_MAX);
        let statement = Statement {
            sql: &sql,
            sql_database: wanted.sql_database.as_deref().unwrap_or(SQL_DATABASE),
            rows_max: rows as usize,
            patience: Duration::from_secs(seconds.into()),
        };
        statement::run(&place, &self.secret()?, &statement, notices, given_up).await
    }

    async fn requested(&self, wanted: RequestGrant) -> Answer {
        databases::find(&self.config, &wanted.database)?;
        let ask = GrantAsk {
            token: Some(self.token_text()?),
            database_entry: Some(wanted.database),
            database: wanted.sql_database,
            actions: wanted.actions,
            relations: wanted.relations,
            seconds: Some(wanted.duration_seconds),
            purpose: wanted.purpose,
            ticket: wanted.ticket,
            ..GrantAsk::default()
        };
        grants::answer(&self.ask(GrantVerb::Request, ask).await?)
    }

    async fn status(&self, wanted: GrantStatus) -> Answer {
        if wanted.grant.is_some() {
            let ask = GrantAsk { grant: wanted.grant, ..GrantAsk::default() };
            return grants::answer(&self.ask(GrantVerb::Show, ask).await?);
        }
        let own = HolderForm::from(&Holder::from(&self.who().await?)).into_owned();
        let mut all = self.grants().await?;
        all.retain(|grant| grant.holder == own);
        grants::answer(&all)
    }

    async fn grants(&self) -> Result<Vec<GrantView>, Failure> {
        self.ask(GrantVerb::List, GrantAsk::default()).await
    }

    async fn ask(&self, verb: GrantVerb, ask: GrantAsk) -> Result<Vec<GrantView>, Failure> {
        grants::ask(self.config.agent.control_socket.clone(), verb, ask).await
    }

    /// Read anew each time: `warder login` puts new ones there.
    fn secret(&self) -> Result<Secret, Failure> {
        self.token.token().map_err(|error| Failure::of("token", &error))
    }

    fn token_text(&self) -> Result<String, Failure> {
        let secret = self.secret()?;
        String::from_utf8(secret.expose().to_vec()).map_err(|error| Failure::of("token", &error.into()))
    }

    /// Who the token proves, verified as the agent does it.
    async fn who(&self) -> Result<Principal, Failure> {
        let verified = self.proofs.verify_token(&self.secret()?, clock::wall()).await;
        let remedy = "get a new token (warder login); if it stays so, tell the people who run Warder";
        let verified =
            verified.map_err(|error| Failure::new("token", format!("the token proves nothing: {error}"), remedy))?;
        Ok(verified.principal().clone())
    }
}

/// A forecast says so where it was made without the grants.
fn with_doubt(mut forecast: Value, unknown: Option<Failure>) -> Value {
    if let (Value::Object(fields), Some(failure)) = (&mut forecast, unknown) {
        fields.insert("grants_unknown".into(), json!(failure));
    }
    forecast
}

fn bounded(sql: String) -> Result<String, Failure> {
    if sql.len() <= SQL_MAX {
        return Ok(sql);
    }
    let message = format!("{} bytes are more than the {SQL_MAX} that a text may have", sql.len());
    Err(Failure::new("too_long", message, "split it"))
}
