//! The role with which the agent reads what a database has: the statements that make it, and those that take it away.
//!
//! Its comment says whose it is: a role that somebody else made is never changed.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use nix::unistd::{Uid, User};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use postgres_protocol::password::scram_sha_256;
use tokio_postgres::{Client, Config, NoTls};

/// By this the role is known as ours.
const COMMENT: &str = "Warder reads the catalogue with it";
/// It may log in, and nothing else; more sessions than the agent ever opens would be somebody else's.
const ATTRIBUTES: &str =
    "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 8";
/// Where the server's Unix socket is, as distributions have it.
const SOCKET_FOLDERS: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];

/// What a server has of the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Ours,
}

/// Statements, and how to show them: a verifier of a password is as good as a weak password.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    statements: Vec<String>,
    shown: Vec<String>,
}

impl Plan {
    fn add(&mut self, statement: String) {
        self.shown.push(statement.clone());
        self.statements.push(statement);
    }

    /// One statement a line.
    pub(crate) fn text(&self) -> String {
        self.shown.iter().map(|statement| format!("{statement};\n")).collect()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// All of it, or nothing.
    pub(crate) async fn run(&self, client: &Client) -> Result<()> {
        let text = format!("BEGIN;\n{};\nCOMMIT", self.statements.join(";\n"));
        client.batch_execute(&text).await.context("the server refuses; nothing was changed")
    }
}

/// What makes the role, or makes it again as it should be.
pub(crate) async fn plan(client: &Client, user: &str, password: &str) -> Result<Plan> {
    let role = escape_identifier(user);
    let verb = if state(client, user).await? == State::Absent { "CREATE" } else { "ALTER" };
    let mut plan = Plan::default();
    // The password itself never reaches the server, nor its log.
    let verifier = escape_literal(&scram_sha_256(password.as_bytes()));
    plan.statements.push(format!("{verb} ROLE {role} {ATTRIBUTES} PASSWORD {verifier}"));
    plan.shown.push(format!("{verb} ROLE {role} {ATTRIBUTES} PASSWORD 'SCRAM-SHA-256$...'"));
    plan.add(format!("COMMENT ON ROLE {role} IS {}", escape_literal(COMMENT)));
    plan.add(format!("ALTER ROLE {role} SET default_transaction_read_only = on"));
    for database in closed_databases(client).await? {
        plan.add(format!("GRANT CONNECT ON DATABASE {} TO {role}", escape_identifier(&database)));
    }
    Ok(plan)
}

/// What takes it away; empty: there is none.
pub(crate) async fn undo(client: &Client, user: &str) -> Result<Plan> {
    let role = escape_identifier(user);
    let mut plan = Plan::default();
    if state(client, user).await? == State::Ours {
        for database in closed_databases(client).await? {
            plan.add(format!("REVOKE CONNECT ON DATABASE {} FROM {role}", escape_identifier(&database)));
        }
        plan.add(format!("DROP ROLE {role}"));
    }
    Ok(plan)
}

async fn state(client: &Client, user: &str) -> Result<State> {
    let query = "SELECT pg_catalog.shobj_description(oid, 'pg_authid') FROM pg_catalog.pg_roles WHERE rolname = $1";
    let found = client.query_opt(query, &[&user]).await.context("the server does not say which roles it has")?;
    let Some(row) = found else { return Ok(State::Absent) };
    let comment: Option<String> = row.try_get(0)?;
    if comment.as_deref() == Some(COMMENT) {
        return Ok(State::Ours);
    }
    bail!(
        "role {user} exists and was not made by this command: it stays as it is; name another in [database.catalogue]"
    )
}

/// Databases that not everybody may connect to.
async fn closed_databases(client: &Client) -> Result<Vec<String>> {
    let query = "SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn \
                 AND NOT pg_catalog.has_database_privilege('public', oid, 'CONNECT') ORDER BY 1";
    let rows = client.query(query, &[]).await.context("the server does not say which databases it has")?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Connects as whoever may make roles. Must run inside of a `LocalSet`.
pub(crate) async fn connect(dsn: Option<&str>) -> Result<Client> {
    let config = match dsn {
        Some(dsn) => dsn.parse().context("--dsn is neither a URI nor pairs of a key and a value")?,
        None => from_environment()?,
    };
    let connected = config.connect(NoTls).await;
    let (client, connection) = connected.context(
        "no connection to the server; this command uses no TLS: connect on its host, over the Unix socket or loopback",
    )?;
    tokio::task::spawn_local(async move {
        // How it ends is said to whoever waits for an answer.
        let _end = connection.await;
    });
    Ok(client)
}

/// The variables of libpq, with its defaults.
fn from_environment() -> Result<Config> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut config = Config::new();
    let folder = || SOCKET_FOLDERS.iter().map(PathBuf::from).find(|folder| folder.is_dir());
    match variable("PGHOST") {
        Some(host) => config.host(&host),
        None => config.host_path(folder().context("there is no folder of sockets: set PGHOST")?),
    };
    if let Some(port) = variable("PGPORT") {
        config.port(port.parse().context("PGPORT is not a port")?);
    }
    let own_name = || User::from_uid(Uid::effective()).ok().flatten().map(|user| user.name);
    config.user(variable("PGUSER").or_else(own_name).context("nobody to log in as: set PGUSER")?);
    if let Some(password) = variable("PGPASSWORD") {
        config.password(password);
    }
    config.dbname(variable("PGDATABASE").unwrap_or_else(|| "postgres".to_owned()));
    config.application_name("warder setup");
    Ok(config)
}
