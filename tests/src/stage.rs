//! A stage: a server in a network namespace of the test's own, and an agent that sends its clients through the proxy.
//!
//! Steering happens in that namespace only. A client *inside* is on the server's host; one *outside* comes from another host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::agent::{Agent, AgentOptions, DatabaseEntry};
use crate::cluster::{Cluster, ClusterOptions};
use crate::namespace::Namespace;
use crate::process::{self, Running};
use crate::{entrance, tooling, wait};

/// Account of the workers, by number: it needs no name and has no right.
const WORKER: u32 = 65_533;

/// What the workers are called in `/proc`.
const WORKER_NAME: &str = "warder-worker";

/// What the server sees of clients from other hosts.
pub const HOP_V4: &str = "127.86.0.1";
/// The same in the other family.
pub const HOP_V6: &str = "::1";

/// What the server answers to everybody who is let in with a password.
pub const PASSWORD: &str = "the-right-one";

/// What a stage has beyond the usual.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// The server.
    pub cluster: ClusterOptions,
    /// Lines of `[database.proxy]`.
    pub guard: Vec<String>,
    /// Lines of `[proxy]`.
    pub proxy: Vec<String>,
    /// SQL that runs before the agent starts.
    pub sql: Vec<String>,
    /// The server's own certificate is presented, or another: value of `tls`.
    pub tls: Option<&'static str>,
    /// The Unix socket is told to the agent.
    pub socket: bool,
}

impl Default for StageOptions {
    fn default() -> Self {
        Self {
            cluster: ClusterOptions::default(),
            guard: vec!["steer = true".into()],
            proxy: vec!["workers = 2".into()],
            sql: Vec::new(),
            tls: None,
            socket: true,
        }
    }
}

impl StageOptions {
    /// Steered, with further lines of `[database.proxy]`.
    #[must_use]
    pub fn steered(lines: &[&str]) -> Self {
        let mut options = Self::default();
        options.guard.extend(lines.iter().map(|&line| line.to_owned()));
        options
    }

    /// Replaces the lines of `[database.proxy]`.
    #[must_use]
    pub fn guarded(lines: &[&str]) -> Self {
        Self { guard: lines.iter().map(|&line| line.to_owned()).collect(), ..Self::default() }
    }

    /// Adds a line of `pg_hba.conf` in front of `trust` for everybody.
    #[must_use]
    pub fn access(mut self, line: &str) -> Self {
        self.cluster = self.cluster.access(line);
        self
    }
}

/// Where a client runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the server's host.
    Inside,
    /// On another host.
    Outside,
}

/// Server and agent; what was steered is given back when the value is dropped.
#[derive(Debug)]
pub struct Stage {
    /// The agent.
    pub agent: Agent,
    /// The server.
    pub cluster: Cluster,
    /// The server's network namespace.
    pub namespace: Namespace,
}

impl Stage {
    /// Starts the server, then the agent; steering may take a moment more ([`Stage::wait_steered`]).
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start(options: &StageOptions) -> Result<Self> {
        Self::start_with(options, &[])
    }

    /// The same; the agent has these variables in its environment.
    ///
    /// # Errors
    /// As [`Stage::start`].
    pub fn start_with(options: &StageOptions, environment: &[(&str, &str)]) -> Result<Self> {
        let namespace = Namespace::create()?;
        let mut server = options.cluster.clone();
        server.wrapper = namespace.enter();
        if server.listen == ClusterOptions::default().listen {
            server.listen = format!("127.0.0.1,::1,{}", namespace.inside);
        }
        let cluster = Cluster::start(&server)?;
        for sql in &options.sql {
            cluster.sql(sql)?;
        }
        let mut agent = agent_options(&cluster, options);
        agent.environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let agent = Agent::start(&tooling::agent_binary()?, &agent)?;
        Ok(Self { agent, cluster, namespace })
    }

    /// The same, and waits until TCP connections are steered.
    ///
    /// # Errors
    /// As [`Stage::start`], or when steering is not in place in time.
    pub fn start_steered(options: &StageOptions) -> Result<Self> {
        let stage = Self::start(options)?;
        stage.wait_steered()?;
        Ok(stage)
    }

    /// Waits until all workers serve steered connections.
    ///
    /// # Errors
    /// When they do not in time; with what the agent said.
    pub fn wait_steered(&self) -> Result<()> {
        entrance::wait_steered(&self.agent)
    }

    /// Waits until the Unix socket is taken over.
    ///
    /// # Errors
    /// As [`Stage::wait_steered`].
    pub fn wait_taken(&self) -> Result<()> {
        entrance::wait_taken(&self.agent)
    }

    /// Waits until a plain listener of the proxy takes connections.
    ///
    /// # Errors
    /// As [`Stage::wait_steered`].
    pub fn wait_listening(&self, port: u16) -> Result<()> {
        // Address and port in hexadecimal, the state that means LISTEN; without a connection.
        let line = format!(":{port:04X} 00000000:0000 0A");
        wait::until("a plain listener", wait::PATIENCE, || {
            Ok(std::fs::read_to_string("/proc/net/tcp")?.contains(&line).then_some(()))
        })
    }

    /// Waits until the state of steering satisfies `predicate`.
    ///
    /// # Errors
    /// As [`Stage::wait_steered`].
    pub fn wait_state(&self, what: &str, predicate: impl Fn(&Value) -> bool) -> Result<()> {
        entrance::wait(&self.agent, what, predicate)
    }

    /// `warder steer status`.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn state(&self) -> Result<Value> {
        entrance::state(&self.agent)
    }

    /// `warder steer on|off`, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn steer(&self, verb: &str) -> Result<Output> {
        process::run_any(&mut self.agent.command(&["steer", verb]))
    }

    /// Processes of the workers.
    ///
    /// # Errors
    /// When the agent is not running.
    pub fn workers(&self) -> Result<Vec<u32>> {
        let mut children = process::children(self.agent.pid()?)?;
        children.retain(|&pid| process::name(pid).is_ok_and(|name| name == WORKER_NAME) && !process::ended(pid));
        Ok(children)
    }

    /// The server's address that a client there uses.
    #[must_use]
    pub fn host(&self, place: Place) -> String {
        match place {
            Place::Inside => "127.0.0.1".into(),
            Place::Outside => self.namespace.inside.clone(),
        }
    }

    /// A program at that place, its environment leading to the server as `postgres`, without encryption.
    #[must_use]
    pub fn client(&self, place: Place, program: &str) -> Command {
        let program = self.cluster.program(program);
        let mut command = match place {
            Place::Outside => process::command_dependent("TERM", program),
            Place::Inside => {
                let words = self.namespace.enter();
                let mut words = words.iter();
                let mut command = process::command_dependent("TERM", words.next().map_or("", String::as_str));
                command.args(words).arg(program);
                command
            }
        };
        command.envs(self.cluster.environment(crate::route::Route::Tcp)).env("PGHOST", self.host(place));
        command.env("PSQLRC", "/dev/null").env("PGCONNECT_TIMEOUT", "10").env("PGPASSWORD", PASSWORD);
        command
    }

    /// Runs SQL at that place.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn psql(&self, place: Place, environment: &[(&str, &str)], sql: &str) -> Result<Output> {
        let mut command = self.client(place, "psql");
        process::run_any(command.envs(environment.iter().copied()).args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]))
    }

    /// An interactive psql that prints its answers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn session(&self, place: Place, environment: &[(&str, &str)]) -> Result<Running> {
        let mut command = self.client(place, "psql");
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1"]).envs(environment.iter().copied());
        interactive(&mut command)
    }

    /// An interactive psql over the Unix socket.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn session_unix(&self, environment: &[(&str, &str)]) -> Result<Running> {
        let folder = self.cluster.socket_directory().to_string_lossy().into_owned();
        let mut command = process::command_dependent("TERM", self.cluster.program("psql"));
        command.envs(self.cluster.environment(crate::route::Route::Unix)).env("PGHOST", folder);
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1"]).env("PSQLRC", "/dev/null").envs(environment.iter().copied());
        interactive(&mut command)
    }

    /// Stops the agent and reads the ledger: sessions by `class` or `class/detail`.
    ///
    /// # Errors
    /// When the agent does not stop, or the ledger is not as documented.
    pub fn ledger_after_stop(&mut self) -> Result<BTreeMap<String, u64>> {
        self.agent.stop()?;
        self.ledger()
    }

    /// The ledger so far: sessions by `class` or `class/detail`.
    ///
    /// # Errors
    /// When it is not as documented.
    pub fn ledger(&self) -> Result<BTreeMap<String, u64>> {
        let report = self.agent.cli_json(&["coverage", "--json"])?;
        let report = report.first().context("no report")?;
        let Some(database) = report["databases"].as_array().context("no databases")?.first() else {
            return Ok(BTreeMap::new());
        };
        let classes = database["classes"].as_array().context("no classes")?;
        let total: u64 = classes.iter().filter_map(|class| class["sessions"].as_u64()).sum();
        ensure!(database["observed"]["sessions"] == total, "the classes do not add up: {database}");
        let line = |class: &Value| {
            let name = class["class"].as_str()?.to_owned();
            let name = class["detail"].as_str().map_or(name.clone(), |detail| format!("{name}/{detail}"));
            Some((name, class["sessions"].as_u64()?))
        };
        Ok(classes.iter().filter_map(line).collect())
    }

    /// Folder of its pins.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        pins(&self.cluster)
    }
}

fn interactive(command: &mut Command) -> Result<Running> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Running::start("psql", Signal::SIGTERM, command)
}

impl Drop for Stage {
    fn drop(&mut self) {
        let stopped = self.agent.stop();
        let given_back = process::run(&mut self.agent.command(&["unload"]));
        for problem in [stopped.err(), given_back.err()].into_iter().flatten() {
            eprintln!("warning: {problem:#}");
        }
    }
}

fn pins(cluster: &Cluster) -> PathBuf {
    format!("/sys/fs/bpf/warder-test-{}", cluster.port()).into()
}

fn agent_options(cluster: &Cluster, options: &StageOptions) -> AgentOptions {
    let mut entry = DatabaseEntry::of("test", cluster);
    entry.socket = entry.socket.filter(|_| options.socket);
    let mut tables = vec!["[database.proxy]".to_owned()];
    // Tables of their own come last.
    if !options.guard.iter().any(|line| line.starts_with("hop_address")) {
        tables.push(format!("hop_address = [{HOP_V4:?}, {HOP_V6:?}]"));
    }
    let (tables_of_guard, lines): (Vec<_>, Vec<_>) =
        options.guard.iter().cloned().partition(|line| line.starts_with('['));
    tables.extend(lines);
    if let Some(tls) = options.tls {
        let certificate = cluster.certificate();
        tables.push(format!("tls = {tls:?}"));
        tables.push(format!("certificate = {:?}", certificate.certificate.to_string_lossy()));
        tables.push(format!("private_key = {:?}", certificate.key.to_string_lossy()));
    }
    tables.extend(tables_of_guard);
    let place = format!("pin_directory = {:?}", pins(cluster).to_string_lossy());
    tables.extend(["[proxy]".to_owned(), format!("user = \"{WORKER}\""), place]);
    tables.extend(options.proxy.iter().cloned());
    AgentOptions { databases: vec![entry], tables, ..AgentOptions::default() }
}
