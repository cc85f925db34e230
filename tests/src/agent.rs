//! The agent under test: `warder run -c` with a configuration of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::account::Account;
use crate::cluster::Cluster;
use crate::events::Events;
use crate::process::{self, Running};
use crate::{directory, http, wait};

/// The agent gives up when a core lives shorter than this (two seconds, and room).
const CORE_LIFE_MIN: Duration = Duration::from_secs(3);
/// Account of the agent's core process in tests: one without any right.
pub const CORE_ACCOUNT: &str = "nobody";

/// What the core process is called in `/proc`.
const CORE_NAME: &str = "warder-core";

/// A `[[database]]` of the configuration.
#[derive(Clone, Debug, Default)]
pub struct DatabaseEntry {
    /// Name in records.
    pub name: String,
    /// TCP port.
    pub port: Option<u16>,
    /// Unix socket.
    pub socket: Option<PathBuf>,
    /// The server's executable.
    pub executable: Option<PathBuf>,
}

impl DatabaseEntry {
    /// The entry that observes both listeners of a cluster.
    #[must_use]
    pub fn of(name: &str, cluster: &Cluster) -> Self {
        let (port, socket) = (Some(cluster.port()), Some(cluster.socket()));
        Self { name: name.to_owned(), port, socket, executable: None }
    }
}

/// Configuration of an agent under test.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// Databases that it observes.
    pub databases: Vec<DatabaseEntry>,
    /// Lines of the `[capture]` table.
    pub capture: Vec<String>,
    /// Port of the metrics endpoint; a free one if absent.
    pub metrics_port: Option<u16>,
    /// Lines of the `[journal]` table.
    pub journal: Vec<String>,
    /// Lines at the end: whole tables of their own.
    pub tables: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
}

/// An agent with its private directory; stopped when the value is dropped.
#[derive(Debug)]
pub struct Agent {
    running: Option<Running>,
    binary: PathBuf,
    directory: TempDir,
    metrics_port: u16,
    environment: Vec<(String, String)>,
    ready: Option<Instant>,
}

impl Agent {
    /// Writes a configuration, starts the agent and waits until its control socket answers.
    ///
    /// # Errors
    /// When it does not get ready; its messages are in the error.
    pub fn start(binary: &Path, options: &AgentOptions) -> Result<Self> {
        let core = Account::named(CORE_ACCOUNT)?;
        let directory = directory::private("agent")?;
        let metrics_port = match options.metrics_port {
            Some(port) => port,
            None => directory::free_port()?,
        };
        let environment = options.environment.clone();
        let binary = binary.to_owned();
        let mut agent = Self { running: None, binary, directory, metrics_port, environment, ready: None };
        std::fs::write(agent.configuration(), agent.configuration_text(options, &core)?)?;
        agent.run()?;
        Ok(agent)
    }

    /// An agent that observes one cluster as `test`, with default settings.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn observing(binary: &Path, cluster: &Cluster) -> Result<Self> {
        let databases = vec![DatabaseEntry::of("test", cluster)];
        Self::start(binary, &AgentOptions { databases, ..AgentOptions::default() })
    }

    fn configuration_text(&self, options: &AgentOptions, core: &Account) -> Result<String> {
        let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
        let mut lines = vec![
            "[agent]".to_owned(),
            format!("user = {:?}", core.name),
            // By number: the group's name differs between distributions.
            format!("group = {:?}", core.gid.to_string()),
            format!("control_socket = {}", quoted(&self.control_socket())),
            "[journal]".to_owned(),
            format!("directory = {}", quoted(&self.events_directory())),
            format!("key_file = {}", quoted(&self.key_file())),
        ];
        lines.extend(options.journal.iter().cloned());
        lines.extend([
            "[metrics]".to_owned(),
            format!("listen = \"127.0.0.1:{}\"", self.metrics_port),
            "[capture]".to_owned(),
        ]);
        lines.extend(options.capture.iter().cloned());
        for database in &options.databases {
            lines.push("[[database]]".to_owned());
            lines.push(format!("name = {:?}", database.name));
            lines.extend(database.port.map(|port| format!("port = {port}")));
            lines.extend(database.socket.as_ref().map(|socket| format!("socket = {}", quoted(socket))));
            lines.extend(database.executable.as_ref().map(|executable| format!("executable = {}", quoted(executable))));
        }
        lines.extend(options.tables.iter().cloned());
        Ok(lines.join("\n") + "\n")
    }

    /// Starts the agent again on the same configuration and events, after [`Agent::kill`] or [`Agent::stop`].
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn run(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = process::command_dependent("TERM", &self.binary);
        command.arg("run").arg("-c").arg(self.configuration()).envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        self.running = Some(Running::start("the agent", Signal::SIGTERM, &mut command)?);
        self.wait_ready().with_context(|| format!("the agent said:\n{}", self.log_tail()))?;
        self.ready = Some(Instant::now());
        Ok(())
    }

    /// The next start is of another program file, as after an upgrade.
    pub fn replace_binary(&mut self, binary: &Path) {
        self.binary = binary.to_owned();
    }

    /// How long ago it became ready.
    #[must_use]
    pub fn ready_for(&self) -> Duration {
        self.ready.map(|since| since.elapsed()).unwrap_or_default()
    }

    fn wait_ready(&mut self) -> Result<()> {
        wait::until("the agent's control socket", Duration::from_secs(60), || {
            if !self.alive()? {
                bail!("the agent ended at once");
            }
            let answer = process::run_any(&mut self.command(&["sessions", "--json"]))?;
            Ok(answer.status.success().then_some(()))
        })
    }

    /// Whether the agent runs.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn alive(&mut self) -> Result<bool> {
        self.running.as_mut().map_or(Ok(false), Running::alive)
    }

    /// Process id of the kernel process (the one that was started).
    ///
    /// # Errors
    /// When the agent is not running.
    pub fn pid(&self) -> Result<u32> {
        self.running.as_ref().map(Running::pid).context("the agent is not running")
    }

    /// All processes of the agent, the kernel process first.
    ///
    /// # Errors
    /// When the agent is not running.
    pub fn processes(&self) -> Result<Vec<u32>> {
        process::family(self.pid()?)
    }

    /// Process id of its core process.
    ///
    /// # Errors
    /// When it has none now.
    pub fn core(&self) -> Result<u32> {
        let mut children = process::children(self.pid()?)?.into_iter();
        let core = children.find(|&pid| process::name(pid).is_ok_and(|name| name == CORE_NAME));
        core.context("the agent has no core process")
    }

    /// Kills the core process with SIGKILL once it is old enough to be replaced; its process id.
    ///
    /// # Errors
    /// When there is none, or it does not end.
    pub fn kill_core(&self) -> Result<u32> {
        wait::until("a core that lived long enough to be replaced", wait::PATIENCE, || {
            Ok((self.ready_for() > CORE_LIFE_MIN).then_some(()))
        })?;
        let core = self.core()?;
        process::send(core, Signal::SIGKILL)?;
        wait::until("the end of the core", wait::PATIENCE, || Ok(process::ended(core).then_some(())))?;
        Ok(core)
    }

    /// Kills all processes of the agent with SIGKILL, as a crash would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        for pid in self.processes()? {
            // The second process may end by itself as soon as the first has gone.
            let _gone = process::send(pid, Signal::SIGKILL);
        }
        if let Some(mut running) = self.running.take() {
            running.wait(wait::PATIENCE)?;
        }
        Ok(())
    }

    /// Stops the agent in order.
    ///
    /// # Errors
    /// When it did not stop by itself.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        running.stop().with_context(|| self.log_tail())
    }

    /// A command of the agent's CLI on this agent's configuration.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).arg("-c").arg(self.configuration());
        command
    }

    /// Runs a CLI command that must succeed.
    ///
    /// # Errors
    /// When it fails.
    pub fn cli(&self, words: &[&str]) -> Result<Output> {
        process::run(&mut self.command(words))
    }

    /// Runs a CLI command that prints one JSON value a line, or one array.
    ///
    /// # Errors
    /// When it fails or prints something else.
    pub fn cli_json(&self, words: &[&str]) -> Result<Vec<Value>> {
        let text = String::from_utf8(self.cli(words)?.stdout)?;
        let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let values = values.collect::<Result<Vec<_>, _>>().with_context(|| format!("not JSON: {text}"))?;
        Ok(match <[Value; 1]>::try_from(values) {
            Ok([Value::Array(inner)]) => inner,
            Ok([single]) => vec![single],
            Err(values) => values,
        })
    }

    /// Its events.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(&self.events_directory())
    }

    /// What its metrics endpoint says now.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<String> {
        http::get(self.metrics_port, "/metrics")
    }

    /// URL of its metrics endpoint.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.metrics_port)
    }

    /// Its configuration file.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("warder.toml")
    }

    /// Folder of its journal.
    #[must_use]
    pub fn events_directory(&self) -> PathBuf {
        self.directory.path().join("events")
    }

    /// File of its journal's public key.
    #[must_use]
    pub fn public_key(&self) -> PathBuf {
        self.directory.path().join("key/journal.pem.pub")
    }

    /// A command of the agent's CLI that needs no configuration.
    #[must_use]
    pub fn command_alone(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words);
        command
    }

    /// File of its journal's private key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("key/journal.pem")
    }

    /// Its control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.directory.path().join("run/control.sock")
    }

    /// The socket of `warder exec`, beside it.
    #[must_use]
    pub fn exec_socket(&self) -> PathBuf {
        self.control_socket().with_file_name("exec.sock")
    }

    /// Its program.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// What it wrote to standard output and standard error.
    ///
    /// # Errors
    /// When the log can not be read.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.log_path())?).into_owned())
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("agent.log")
    }

    fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}
