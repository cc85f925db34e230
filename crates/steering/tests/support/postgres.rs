//! A PostgreSQL server in a namespace of the test's.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::network::Place;
use super::until;

/// Removed with everything when it is dropped.
pub(crate) struct Postgres {
    server: Option<Child>,
    programs: PathBuf,
    namespace: PathBuf,
    folder: TempDir,
}

impl Postgres {
    /// `access` is `pg_hba.conf`.
    pub(crate) fn start(place: &Place, access: &str) -> Result<Self> {
        let found = std::fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
        let mut versions: Vec<PathBuf> = found.flatten().map(|entry| entry.path().join("bin")).collect();
        versions.sort();
        let programs = versions.pop().context("PostgreSQL is not installed")?;
        let folder = TempDir::new()?;
        ensure!(Command::new("chown").arg("postgres:postgres").arg(folder.path()).status()?.success(), "chown");
        ensure!(Command::new("chmod").arg("755").arg(folder.path()).status()?.success(), "chmod");
        let mut made = Self { server: None, programs, namespace: place.path(), folder };
        let mut initdb = made.command("postgres", "initdb");
        initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "-D"]).arg(made.data());
        let output = initdb.output()?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(made.data().join("pg_hba.conf"), access)?;
        let socket = made.folder.path().display();
        let settings = format!("listen_addresses = '*'\nunix_socket_directories = '{socket}'\nfsync = off\n");
        std::fs::write(made.data().join("postgresql.auto.conf"), settings)?;
        made.start_again()?;
        Ok(made)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    /// A program of PostgreSQL as a user of the system, in the server's namespace.
    fn command(&self, user: &str, program: &str) -> Command {
        self.command_in(&self.namespace, user, program)
    }

    fn command_in(&self, namespace: &Path, user: &str, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespace.display())).arg("setpriv");
        let group = if user == "nobody" { "nogroup" } else { user };
        command.args(["--reuid", user, "--regid", group, "--clear-groups", "--"]);
        command.arg(self.programs.join(program)).current_dir("/").env_clear().stdin(Stdio::null());
        command
    }

    pub(crate) fn start_again(&mut self) -> Result<()> {
        let log = std::fs::File::create(self.folder.path().join("log"))?;
        let mut command = self.command("postgres", "postgres");
        command.arg("-D").arg(self.data()).stdout(log.try_clone()?).stderr(log);
        self.server = Some(command.spawn()?);
        until("the database server", || {
            let alive = self.server.as_mut().is_some_and(|server| matches!(server.try_wait(), Ok(None)));
            let said = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            ensure!(alive, "the database server did not start:\n{}", said());
            Ok(said().contains("ready to accept connections").then_some(()))
        })
    }

    /// With `SIGINT` (fast) it removes its socket, with `SIGKILL` it does not.
    pub(crate) fn stop(&mut self, signal: Signal) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            kill(Pid::from_raw(i32::try_from(server.id())?), signal)?;
            server.wait()?;
        }
        Ok(())
    }

    /// Runs psql as a user of the system; `words` say how it connects.
    pub(crate) fn psql(&self, user: &str, words: &[&str], sql: &str) -> Result<Output> {
        Self::ask(self.command(user, "psql"), words, sql)
    }

    /// Runs psql in another namespace.
    pub(crate) fn psql_from(&self, place: &Place, words: &[&str], sql: &str) -> Result<Output> {
        Self::ask(self.command_in(&place.path(), "nobody", "psql"), words, sql)
    }

    fn ask(mut command: Command, words: &[&str], sql: &str) -> Result<Output> {
        command.args(["-XqAt", "-d", "postgres"]).args(words).args(["-c", sql]);
        command.env("PGCONNECT_TIMEOUT", "10");
        Ok(command.output()?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.stop(Signal::SIGQUIT) {
            eprintln!("warning: {error:#}");
        }
    }
}

/// What psql printed.
pub(crate) fn printed(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
