//! Statements that a person reads before they run, all or none; and the login of whoever runs them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nix::unistd::{Uid, User};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use postgres_protocol::password::scram_sha_256;
use tokio_postgres::{Client, Config, NoTls};

/// Where the server's Unix socket is, as distributions have it.
const SOCKET_FOLDERS: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];

/// What a server has of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// There is none.
    Absent,
    /// Its comment says that it was made by this command.
    Ours,
    /// Somebody else made it.
    Foreign,
}

/// Statements, and how to show them: a verifier of a password is as good as a weak password.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    statements: Vec<String>,
    shown: Vec<String>,
}

impl Plan {
    pub(crate) fn add(&mut self, statement: String) {
        self.shown.push(statement.clone());
        self.statements.push(statement);
    }

    /// A role that can log in. Its password itself never reaches the server, nor its log.
    pub(crate) fn login_role(&mut self, state: State, role: &str, attributes: &str, password: &str) {
        let verb = if state == State::Absent { "CREATE" } else { "ALTER" };
        let begin = format!("{verb} ROLE {} {attributes} PASSWORD", escape_identifier(role));
        let verifier = escape_literal(&scram_sha_256(password.as_bytes()));
        self.statements.push(format!("{begin} {verifier}"));
        self.shown.push(format!("{begin} 'SCRAM-SHA-256$...'"));
    }

    /// By this a role is known as ours.
    pub(crate) fn comment(&mut self, role: &str, comment: &str) {
        self.add(format!("COMMENT ON ROLE {} IS {}", escape_identifier(role), escape_literal(comment)));
    }

    /// What another plan says, after this one.
    pub(crate) fn append(&mut self, other: Self) {
        self.statements.extend(other.statements);
        self.shown.extend(other.shown);
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

/// Whose a role is.
pub(crate) async fn state(client: &Client, role: &str, own_comment: &str) -> Result<State> {
    let query = "SELECT pg_catalog.shobj_description(oid, 'pg_authid') FROM pg_catalog.pg_roles WHERE rolname = $1";
    let found = client.query_opt(query, &[&role]).await.context("the server does not say which roles it has")?;
    let Some(row) = found else { return Ok(State::Absent) };
    let comment: Option<String> = row.try_get(0)?;
    Ok(if comment.as_deref() == Some(own_comment) { State::Ours } else { State::Foreign })
}

/// Databases that not everybody may connect to.
pub(crate) async fn closed_databases(client: &Client) -> Result<Vec<String>> {
    let query = "SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn \
                 AND NOT pg_catalog.has_database_privilege('public', oid, 'CONNECT') ORDER BY 1";
    let rows = client.query(query, &[]).await.context("the server does not say which databases it has")?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The server's major version.
pub(crate) async fn major(client: &Client) -> Result<u32> {
    let query = "SELECT pg_catalog.current_setting('server_version_num')";
    let row = client.query_one(query, &[]).await.context("the server does not say its version")?;
    let number: String = row.try_get(0)?;
    Ok(number.parse::<u32>().context("the server's version is no number")? / 10_000)
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
