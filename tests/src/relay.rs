//! What users would put in front of a server instead: HAProxy as a relay of bytes, PgBouncer in session mode. Private
//! processes without rights, with a configuration of their own in a temporary directory.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::account::Account;
use crate::certificate::Certificate;
use crate::cluster::Cluster;
use crate::process::{self, Running};
use crate::way::{HOST, WayIn};
use crate::{directory, tooling, wait};

/// Connections that a relay may hold.
const CONNECTIONS_MAX: u32 = 6_000;

/// Folder of the unpacked programs and their libraries.
///
/// # Errors
/// When there is no cache folder.
pub fn directory() -> Result<PathBuf> {
    Ok(tooling::cache_directory()?.join("relays"))
}

/// What a relay encrypts towards the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// Nothing.
    #[default]
    Plain,
    /// Everything. For relays that end TLS: those that relay bytes do what the client does.
    Tls,
}

/// Where a relay leads to.
#[derive(Clone, Debug)]
pub struct Upstream {
    way: WayIn,
    encryption: Encryption,
    certificate: Certificate,
}

impl Upstream {
    /// A server.
    #[must_use]
    pub fn server(cluster: &Cluster, encryption: Encryption) -> Self {
        Self::way(&WayIn::direct(cluster), cluster, encryption)
    }

    /// Another way to that server.
    #[must_use]
    pub fn way(way: &WayIn, cluster: &Cluster, encryption: Encryption) -> Self {
        Self { way: way.clone(), encryption, certificate: cluster.certificate().clone() }
    }

    /// Where it leads to.
    #[must_use]
    pub fn target(&self) -> &WayIn {
        &self.way
    }
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    running: Running,
    way: WayIn,
    _directory: TempDir,
}

impl Relay {
    /// HAProxy in TCP mode.
    ///
    /// # Errors
    /// When it does not start.
    pub fn haproxy(upstream: &Upstream) -> Result<Self> {
        Self::start("haproxy", Signal::SIGUSR1, upstream, haproxy_configuration, |program, configuration| {
            let mut command = process::command_as(&Account::postgres()?, program);
            command.args(["-db", "-f"]).arg(configuration);
            Ok(command)
        })
    }

    /// PgBouncer in session mode.
    ///
    /// # Errors
    /// When it does not start.
    pub fn pgbouncer(upstream: &Upstream) -> Result<Self> {
        Self::start("pgbouncer", Signal::SIGTERM, upstream, pgbouncer_configuration, |program, configuration| {
            let mut command = process::command_as(&Account::postgres()?, program);
            command.arg(configuration);
            Ok(command)
        })
    }

    fn start(
        name: &str,
        stop: Signal,
        upstream: &Upstream,
        configuration: fn(&Upstream, &Path, u16) -> String,
        command: fn(&Path, &Path) -> Result<Command>,
    ) -> Result<Self> {
        let owner = Account::postgres()?;
        let directory = directory::private(name)?;
        let folder = directory::owned(directory.path(), "s", &owner, 0o755)?;
        let programs = copied_programs(directory.path())?;
        let port = directory::free_port()?;
        let file = directory.path().join("relay.conf");
        directory::write_owned(&file, &configuration(upstream, &folder, port), &owner, 0o600)?;
        let said = directory.path().join("relay.log");
        let log = File::create(&said)?;
        let mut command = command(&programs.join(name), &file)?;
        command.env("LD_LIBRARY_PATH", programs.join("lib")).current_dir(&folder);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut running = Running::start(name, stop, &mut command)?;
        wait::until(&format!("{name}'s listener"), wait::PATIENCE, || {
            if !running.alive()? {
                bail!("{name} ended; it said:\n{}", std::fs::read_to_string(&said).unwrap_or_default());
            }
            Ok(TcpStream::connect((HOST, port)).ok())
        })?;
        let socket_directory = (name == "pgbouncer").then_some(folder);
        let authority = upstream.certificate.authority.clone();
        let way = WayIn { name: name.into(), port, socket_directory, authority, wrapper: Vec::new() };
        Ok(Self { running, way, _directory: directory })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn way(&self) -> &WayIn {
        &self.way
    }

    /// Its processes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn processes(&self) -> Result<Vec<u32>> {
        process::family(self.running.pid())
    }
}

/// Programs and libraries where any account can reach them.
fn copied_programs(parent: &Path) -> Result<PathBuf> {
    let unpacked = directory()?.join("usr");
    let programs = parent.join("programs");
    let libraries = unpacked.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH));
    let copy = |from: &Path, to: &Path| {
        process::run(Command::new("cp").arg("--recursive").arg("--no-dereference").arg(from).arg(to))
    };
    copy(&unpacked.join("sbin"), &programs).context("no relays: run `cargo xtask setup`")?;
    if libraries.is_dir() {
        copy(&libraries, &programs.join("lib"))?;
    }
    process::run(Command::new("chmod").args(["-R", "a+rX"]).arg(&programs))?;
    Ok(programs)
}

fn haproxy_configuration(upstream: &Upstream, _: &Path, port: u16) -> String {
    format!(
        "global\n  maxconn {CONNECTIONS_MAX}\n\
         defaults\n  mode tcp\n  timeout connect 20s\n  timeout client 1h\n  timeout server 1h\n  \
         option clitcpka\n  option srvtcpka\n\
         listen server\n  bind {HOST}:{port}\n  server one {HOST}:{}\n",
        upstream.way.port
    )
}

/// Names and passwords come from the server itself, so that roles which a suite makes are there, too.
fn pgbouncer_configuration(upstream: &Upstream, folder: &Path, port: u16) -> String {
    let server_tls = match upstream.encryption {
        Encryption::Plain => "disable",
        Encryption::Tls => "require",
    };
    format!(
        "[databases]\n* = host={HOST} port={} auth_user=postgres\n\
         [pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir = {}\n\
         auth_type = trust\nauth_user = postgres\n\
         auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1\n\
         pool_mode = session\nmax_client_conn = {CONNECTIONS_MAX}\ndefault_pool_size = {CONNECTIONS_MAX}\n\
         ignore_startup_parameters = extra_float_digits, options, search_path, intervalstyle, geqo\n\
         client_tls_sslmode = allow\nclient_tls_cert_file = {}\nclient_tls_key_file = {}\n\
         server_tls_sslmode = {server_tls}\n\
         log_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n",
        upstream.way.port,
        folder.display(),
        upstream.certificate.certificate.display(),
        upstream.certificate.key.display(),
    )
}
