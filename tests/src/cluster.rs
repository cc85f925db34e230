//! A private PostgreSQL cluster: own directory, own port, own socket, TLS, its statement log as CSV.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::account::Account;
use crate::certificate::Certificate;
use crate::process::{self, Running};
use crate::route::Route;
use crate::server_log::ServerLog;
use crate::{directory, tooling, wait};

/// Settings that every cluster has. Durability is off: the data lives for seconds.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("shared_buffers", "64MB"),
    ("max_connections", "100"),
    ("autovacuum", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("lc_messages", "C"),
    ("logging_collector", "on"),
    ("log_destination", "csvlog"),
    ("log_directory", "log"),
    ("log_filename", "server.log"),
    ("log_rotation_age", "0"),
    ("log_rotation_size", "0"),
    ("ssl", "on"),
];

/// What the clusters of a test have beyond [`SETTINGS`].
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Configuration parameters, later ones win.
    pub settings: Vec<(String, String)>,
    /// Lines of `pg_hba.conf` that come before `trust` for everybody.
    pub access: Vec<String>,
    /// `listen_addresses`.
    pub listen: String,
    /// TCP port, and number of the Unix socket; a free one if absent.
    pub port: Option<u16>,
    /// Program to start the server with, where it is not the installed one (an overlay mount).
    pub server: Option<PathBuf>,
    /// Folder of `initdb` and `postgres`, where they are not the installed ones (another major).
    pub server_programs: Option<PathBuf>,
    /// Words before the server's command line, for example `nsenter --mount=...`.
    pub wrapper: Vec<String>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            settings: Vec::new(),
            access: Vec::new(),
            listen: "127.0.0.1".into(),
            port: None,
            server: None,
            server_programs: None,
            wrapper: Vec::new(),
        }
    }
}

impl ClusterOptions {
    /// Adds a configuration parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// The server logs each message of each client: the oracle of the completeness tests.
    #[must_use]
    pub fn logging_statements(self) -> Self {
        self.with("log_statement", "all").with("log_connections", "on").with("log_disconnections", "on")
    }

    /// Adds a line of `pg_hba.conf` in front of `trust` for everybody.
    #[must_use]
    pub fn access(mut self, line: &str) -> Self {
        self.access.push(line.into());
        self
    }
}

/// A running server; stopped, and its directory removed, when the value is dropped.
#[derive(Debug)]
pub struct Cluster {
    server: Running,
    options: ClusterOptions,
    directory: TempDir,
    programs: PathBuf,
    port: u16,
    certificate: Certificate,
}

impl Cluster {
    /// Makes and starts a cluster and waits until it answers.
    ///
    /// # Errors
    /// When PostgreSQL or openssl are missing, or the server does not start (its log is in the message).
    pub fn start(options: &ClusterOptions) -> Result<Self> {
        let owner = Account::postgres()?;
        let programs = tooling::postgres_programs()?;
        let directory = directory::private("pg")?;
        let tls = directory::owned(directory.path(), "tls", &owner, 0o755)?;
        directory::owned(directory.path(), "s", &owner, 0o755)?;
        let certificate = Certificate::create(&tls, &owner)?;
        let data = directory::owned(directory.path(), "data", &owner, 0o700)?;
        let server_programs = options.server_programs.as_ref().unwrap_or(&programs);
        let mut initdb = process::command_as(&owner, server_programs.join("initdb"));
        initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres", "-D"]);
        process::run(initdb.arg(&data).current_dir(directory.path()))?;
        let port = options.port.map_or_else(directory::free_port, Ok)?;
        write_access(&data, &owner, options)?;
        write_settings(&data, &owner, options, &certificate, &directory.path().join("s"), port)?;
        let server = start_server(&programs, &data, &owner, options)?;
        let mut cluster = Self { server, options: options.clone(), directory, programs, port, certificate };
        cluster.wait_ready()?;
        Ok(cluster)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let limit = Duration::from_secs(60);
        let (programs, socket, port) = (self.programs.clone(), self.socket_directory(), self.port.to_string());
        let start_log = self.directory.path().join("start.log");
        let server = &mut self.server;
        wait::until("the database server's first answer", limit, || {
            if !server.alive()? {
                let said = std::fs::read_to_string(&start_log).unwrap_or_default();
                anyhow::bail!("the database server did not start:\n{said}");
            }
            let mut probe = Command::new(programs.join("pg_isready"));
            probe.args(["-q", "-p", &port, "-h"]).arg(&socket);
            Ok(probe.status()?.success().then_some(()))
        })
    }

    /// Its TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the postmaster.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The folder of its Unix socket.
    #[must_use]
    pub fn socket_directory(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    /// Its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket_directory().join(format!(".s.PGSQL.{}", self.port))
    }

    /// The cluster's temporary directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its TLS files.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// PostgreSQL's own program of that name.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The environment that leads any driver to this cluster over `route` as the superuser.
    #[must_use]
    pub fn environment(&self, route: Route) -> Vec<(&'static str, String)> {
        let host = match route {
            Route::Tcp | Route::Tls => "127.0.0.1".to_owned(),
            Route::Unix => self.socket_directory().to_string_lossy().into_owned(),
        };
        vec![
            ("PGHOST", host),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", "postgres".into()),
            ("PGDATABASE", "postgres".into()),
            ("PGSSLMODE", route.tls_mode().into()),
            ("PGGSSENCMODE", "disable".into()),
        ]
    }

    /// A URI that leads to this cluster over `route`.
    #[must_use]
    pub fn uri(&self, route: Route, user: &str, database: &str) -> String {
        self.uri_at(self.port, route, user, database)
    }

    /// The same at another TCP port: a way in that leads to this cluster.
    #[must_use]
    pub fn uri_at(&self, port: u16, route: Route, user: &str, database: &str) -> String {
        match route {
            Route::Tcp => format!("postgresql://{user}@127.0.0.1:{port}/{database}?sslmode=disable"),
            Route::Tls => format!("postgresql://{user}@127.0.0.1:{port}/{database}?sslmode=require"),
            Route::Unix => {
                let folder = self.socket_directory().to_string_lossy().replace('/', "%2F");
                format!("postgresql://{user}@/{database}?host={folder}&port={port}")
            }
        }
    }

    /// One of PostgreSQL's client programs, with its environment set for `route`.
    #[must_use]
    pub fn client(&self, program: &str, route: Route) -> Command {
        let mut command = Command::new(self.program(program));
        command.envs(self.environment(route)).env("PSQLRC", "/dev/null").env("PGCONNECT_TIMEOUT", "20");
        command
    }

    /// Runs SQL with psql over the Unix socket; returns what it printed, unaligned.
    ///
    /// # Errors
    /// When psql or the server refuse it.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let mut command = self.client("psql", Route::Unix);
        let output = process::run(command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]))?;
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// Creates pgbench's tables.
    ///
    /// # Errors
    /// When pgbench fails.
    pub fn prepare_pgbench(&self, scale: u32) -> Result<()> {
        process::run(self.client("pgbench", Route::Unix).args(["-i", "-q", "-s", &scale.to_string()])).map(drop)
    }

    /// An interactive psql session that stays open and executes what is written to it.
    ///
    /// # Errors
    /// When psql can not be started.
    pub fn interactive(&self, route: Route, application: &str) -> Result<Running> {
        let mut command = self.client("psql", route);
        command.args(["-XqAt"]).env("PGAPPNAME", application);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Running::start("psql", Signal::SIGTERM, &mut command)
    }

    /// The server's statement log.
    #[must_use]
    pub fn log(&self) -> ServerLog {
        ServerLog::new(self.directory.path().join("data/log/server.csv"))
    }

    /// Stops the server at once and waits for its end.
    ///
    /// # Errors
    /// When it did not stop.
    pub fn stop(&mut self) -> Result<()> {
        self.server.stop()
    }

    /// Starts the server again, after [`Cluster::stop`]: same data, same listeners.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        let data = self.directory.path().join("data");
        self.server = start_server(&self.programs, &data, &Account::postgres()?, &self.options)?;
        self.wait_ready()
    }
}

fn write_access(data: &Path, owner: &Account, options: &ClusterOptions) -> Result<()> {
    let mut lines = options.access.join("\n");
    lines.push_str("\nlocal all all trust\nhost all all all trust\n");
    lines.push_str("local replication all trust\nhost replication all all trust\n");
    directory::write_owned(&data.join("pg_hba.conf"), &lines, owner, 0o600)
}

fn write_settings(
    data: &Path,
    owner: &Account,
    options: &ClusterOptions,
    certificate: &Certificate,
    sockets: &Path,
    port: u16,
) -> Result<()> {
    let own = [
        ("port", port.to_string()),
        ("listen_addresses", options.listen.clone()),
        ("unix_socket_directories", sockets.to_string_lossy().into_owned()),
        ("ssl_cert_file", certificate.certificate.to_string_lossy().into_owned()),
        ("ssl_key_file", certificate.key.to_string_lossy().into_owned()),
    ];
    let mut text = String::new();
    for (name, value) in SETTINGS {
        writeln!(text, "{name} = '{value}'")?;
    }
    for (name, value) in own.iter().map(|(name, value)| (*name, value)) {
        writeln!(text, "{name} = '{value}'")?;
    }
    for (name, value) in &options.settings {
        writeln!(text, "{name} = '{value}'")?;
    }
    directory::write_owned(&data.join("postgresql.auto.conf"), &text, owner, 0o600)
}

fn start_server(programs: &Path, data: &Path, owner: &Account, options: &ClusterOptions) -> Result<Running> {
    let said = File::create(data.with_file_name("start.log")).context("the start log could not be made")?;
    let programs = options.server_programs.as_deref().unwrap_or(programs);
    let program = options.server.clone().unwrap_or_else(|| programs.join("postgres"));
    let mut command = match options.wrapper.split_first() {
        None => process::command_as(owner, &program),
        Some((first, rest)) => {
            let mut wrapped = process::command_dependent("INT", first);
            let inner = process::command_as(owner, &program);
            wrapped.args(rest).arg(inner.get_program()).args(inner.get_args());
            wrapped
        }
    };
    command.arg("-D").arg(data).current_dir(data).stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    // Fast shutdown: sessions are cut, which is what a test that failed half-way needs.
    Running::start("the database server", Signal::SIGINT, &mut command)
}
