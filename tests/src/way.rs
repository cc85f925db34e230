//! Ways in: how a client of the suites reaches a server, and what has to stand for it.
//!
//! A suite is played through a way and directly, and both must tell the same. The relays that users would choose
//! instead are ways, too: they show that a suite works, and what it would find.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::agent::{Agent, AgentOptions, DatabaseEntry};
use crate::cluster::Cluster;
use crate::relay::{Encryption, Relay, Upstream};
use crate::route::Route;
use crate::{directory, entrance, tooling};

/// Ways that the suites prove unless `WARDER_WAYS` names others. `governed` is asked for by name, for the time that the suite
/// takes. `steered` attaches to the network namespace of whoever runs
/// the suites; `steering.rs`, and for the drivers `proxy_drivers.rs`, prove it in namespaces of their own.
const USUAL: &[Kind] = &[Kind::Listener, Kind::TakenOver];

/// Of a server that admits everybody from everywhere, steered.
const STEERED: &str = "steer = true\nhop_address = [\"127.86.0.1\", \"::1\"]";

/// Account of Warder's workers, by number: it needs no name and has no right.
const WORKER: u32 = 65_533;

/// Host of everything that the suites start.
pub const HOST: &str = "127.0.0.1";

/// Where a client connects to.
#[derive(Clone, Debug)]
pub struct WayIn {
    /// Name in messages.
    pub name: String,
    /// TCP port on [`HOST`].
    pub port: u16,
    /// Folder of the Unix socket, if the way has one.
    pub socket_directory: Option<PathBuf>,
    /// The authority that signed what it presents with TLS.
    pub authority: PathBuf,
    /// Words in front of a client, for example those that lead into a network namespace.
    pub wrapper: Vec<String>,
}

impl WayIn {
    /// The server itself.
    #[must_use]
    pub fn direct(cluster: &Cluster) -> Self {
        Self {
            name: "direct".into(),
            port: cluster.port(),
            socket_directory: Some(cluster.socket_directory()),
            authority: cluster.certificate().authority.clone(),
            wrapper: Vec::new(),
        }
    }

    /// A TCP port that leads to `cluster`.
    #[must_use]
    pub fn port(name: &str, port: u16, cluster: &Cluster) -> Self {
        Self { name: name.into(), port, socket_directory: None, ..Self::direct(cluster) }
    }

    /// The environment that leads any driver along this way as the superuser. Clients with TLS believe nobody but the
    /// server's authority, and only its certificate for this host.
    ///
    /// # Errors
    /// When the way has no Unix socket, and that is asked for.
    pub fn environment(&self, route: Route) -> Result<Vec<(&'static str, String)>> {
        let host = match (route, &self.socket_directory) {
            (Route::Tcp | Route::Tls, _) => HOST.to_owned(),
            (Route::Unix, Some(folder)) => folder.to_string_lossy().into_owned(),
            (Route::Unix, None) => anyhow::bail!("{self} has no Unix socket"),
        };
        let tls_mode = if route == Route::Tls { "verify-full" } else { route.tls_mode() };
        let authority = self.authority.to_string_lossy().into_owned();
        Ok(vec![
            ("PGHOST", host),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", "postgres".into()),
            ("PGDATABASE", "postgres".into()),
            ("PGSSLMODE", tls_mode.into()),
            ("PGSSLROOTCERT", authority.clone()),
            ("PGGSSENCMODE", "disable".into()),
            ("PGCONNECT_TIMEOUT", "20".into()),
            ("PSQLRC", "/dev/null".into()),
            ("WARDER_TLS_AUTHORITY", authority),
        ])
    }

    /// A whole command line behind the words of [`WayIn::wrapper`].
    #[must_use]
    pub fn wrapped(&self, command: Command) -> Command {
        let Some((first, rest)) = self.wrapper.split_first() else { return command };
        let mut wrapped = Command::new(first);
        wrapped.args(rest).arg(command.get_program()).args(command.get_args());
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapped
    }

    /// A program with its environment set for this way.
    ///
    /// # Errors
    /// As [`WayIn::environment`].
    pub fn command(&self, program: impl AsRef<OsStr>, route: Route) -> Result<Command> {
        let mut command = Command::new(program);
        command.envs(self.environment(route)?);
        Ok(command)
    }

    /// One of PostgreSQL's client programs.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or as [`WayIn::environment`].
    pub fn client(&self, program: &str, route: Route) -> Result<Command> {
        self.command(tooling::postgres_programs()?.join(program), route)
    }
}

impl fmt::Display for WayIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Kinds of ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing in between.
    Direct,
    /// HAProxy as a relay of bytes.
    HaProxy,
    /// PgBouncer in session mode.
    PgBouncer,
    /// Warder's plain listener.
    Listener,
    /// Warder's plain listener, in enforce, with a policy that permits everything.
    Governed,
    /// Warder, steered: the server's own address.
    Steered,
    /// Warder on the server's own Unix socket.
    TakenOver,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Direct, Self::HaProxy, Self::PgBouncer, Self::Listener, Self::Governed, Self::Steered, Self::TakenOver];

    /// Name in messages, tables and `WARDER_WAYS`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::HaProxy => "haproxy",
            Self::PgBouncer => "pgbouncer",
            Self::Listener => "listener",
            Self::Governed => "governed",
            Self::Steered => "steered",
            Self::TakenOver => "taken-over",
        }
    }

    /// How clients can reach it.
    #[must_use]
    pub const fn routes(self) -> &'static [Route] {
        match self {
            Self::Direct | Self::PgBouncer => &Route::ALL,
            Self::HaProxy | Self::Listener | Self::Governed | Self::Steered => &[Route::Tcp, Route::Tls],
            Self::TakenOver => &[Route::Unix],
        }
    }

    /// Whether it is Warder.
    #[must_use]
    pub const fn is_warder(self) -> bool {
        matches!(self, Self::Listener | Self::Governed | Self::Steered | Self::TakenOver)
    }

    fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).with_context(|| format!("no way is called '{name}'"))
    }
}

/// The ways that the suites prove: `WARDER_WAYS` (names with commas in between), else [`USUAL`].
///
/// # Errors
/// When a name is wrong.
pub fn under_test() -> Result<Vec<Kind>> {
    match std::env::var("WARDER_WAYS") {
        Ok(names) => names.split(',').map(|name| Kind::named(name.trim())).collect(),
        Err(_) => Ok(USUAL.to_vec()),
    }
}

/// Those of them that a client reaches over `route`.
///
/// # Errors
/// As [`under_test`].
pub fn under_test_over(route: Route) -> Result<Vec<Kind>> {
    Ok(under_test()?.into_iter().filter(|kind| kind.routes().contains(&route)).collect())
}

/// How a passage to a server is made.
#[derive(Clone, Debug, Default)]
pub struct PassageOptions {
    /// What PgBouncer encrypts towards the server (it decides for all clients at once).
    pub encryption: Encryption,
    /// `tls` of Warder's proxy; its default if empty.
    pub tls: Option<&'static str>,
    /// More lines of `[database.proxy]`.
    pub database: Vec<String>,
    /// More lines of `[proxy]`.
    pub proxy: Vec<String>,
    /// Whole tables at the end of Warder's configuration.
    pub tables: Vec<String>,
    /// Warder's program, if it is not [`tooling::agent_binary`].
    pub binary: Option<PathBuf>,
}

/// A way that stands; what stands for it is stopped when the value is dropped.
#[derive(Debug)]
pub struct Passage {
    /// Where clients connect to.
    pub way: WayIn,
    guard: Guard,
}

#[derive(Debug)]
enum Guard {
    Nothing,
    Relay(Box<Relay>),
    Agent(Box<Agent>),
}

impl Passage {
    /// Makes a way of that kind to a server.
    ///
    /// # Errors
    /// When what has to stand for it does not start.
    pub fn open(kind: Kind, cluster: &Cluster) -> Result<Self> {
        Self::open_with(kind, cluster, &PassageOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Passage::open`].
    pub fn open_with(kind: Kind, cluster: &Cluster, options: &PassageOptions) -> Result<Self> {
        let entry = DatabaseEntry::of("test", cluster);
        Self::stand(kind, &Upstream::server(cluster, options.encryption), cluster, entry, options)
    }

    /// Makes a way of that kind to `target`, which leads to `cluster` itself.
    ///
    /// # Errors
    /// As [`Passage::open`].
    pub fn open_before(kind: Kind, cluster: &Cluster, target: &WayIn) -> Result<Self> {
        let entry = DatabaseEntry { name: "test".into(), port: Some(target.port), ..DatabaseEntry::default() };
        let upstream = Upstream::way(target, cluster, Encryption::Plain);
        // A pooler has no rules of its own for Warder to compare.
        let rules = format!("access_file = {:?}", cluster.directory().join("data/pg_hba.conf").to_string_lossy());
        let options = PassageOptions { database: vec![rules], ..PassageOptions::default() };
        Self::stand(kind, &upstream, cluster, entry, &options)
    }

    fn stand(
        kind: Kind,
        upstream: &Upstream,
        cluster: &Cluster,
        entry: DatabaseEntry,
        options: &PassageOptions,
    ) -> Result<Self> {
        match kind {
            Kind::Direct => Ok(Self { way: upstream.target().clone(), guard: Guard::Nothing }),
            Kind::HaProxy => Ok(Self::of_relay(Relay::haproxy(upstream)?)),
            Kind::PgBouncer => Ok(Self::of_relay(Relay::pgbouncer(upstream)?)),
            Kind::Listener => {
                let port = directory::free_port()?;
                let agent = agent(cluster, entry, options, &format!("listen = [\"{HOST}:{port}\"]"))?;
                Ok(Self { way: WayIn::port(kind.name(), port, cluster), guard: Guard::Agent(Box::new(agent)) })
            }
            Kind::Governed => {
                let mut options = options.clone();
                options.tls = Some("server-certificate");
                options.database.extend(permissive());
                let through = Self::stand(Kind::Listener, upstream, cluster, entry, &options)?;
                Ok(Self { way: WayIn { name: kind.name().into(), ..through.way }, ..through })
            }
            Kind::Steered | Kind::TakenOver => {
                let is_steered = kind == Kind::Steered;
                let lines = if is_steered { STEERED } else { "take_over_socket = true" };
                let agent = agent(cluster, entry, options, lines)?;
                if is_steered {
                    entrance::wait_steered(&agent)?
                } else {
                    entrance::wait_taken(&agent)?
                };
                let way = WayIn { name: kind.name().into(), ..upstream.target().clone() };
                Ok(Self { way, guard: Guard::Agent(Box::new(agent)) })
            }
        }
    }

    /// The way through a relay that stands.
    #[must_use]
    pub fn of_relay(relay: Relay) -> Self {
        Self { way: relay.way().clone(), guard: Guard::Relay(Box::new(relay)) }
    }

    /// The processes that stand for it.
    ///
    /// # Errors
    /// When they have ended.
    pub fn processes(&self) -> Result<Vec<u32>> {
        match &self.guard {
            Guard::Nothing => Ok(Vec::new()),
            Guard::Relay(relay) => relay.processes(),
            Guard::Agent(agent) => agent.processes(),
        }
    }

    /// The agent, if the way is Warder's.
    #[must_use]
    pub fn agent(&self) -> Option<&Agent> {
        match &self.guard {
            Guard::Agent(agent) => Some(agent),
            Guard::Nothing | Guard::Relay(_) => None,
        }
    }
}

/// Lines of `[database.proxy]`: enforced, and everything is permitted.
fn permissive() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    let policies = root.join("policies/transparency");
    vec!["mode = \"enforce\"".into(), format!("policies = [{:?}]", policies.to_string_lossy())]
}

/// An agent that mediates one database.
fn agent(cluster: &Cluster, entry: DatabaseEntry, options: &PassageOptions, entrance: &str) -> Result<Agent> {
    // The entry of the database is the last before these tables: they belong to it.
    let mut tables = vec!["[database.proxy]".to_owned(), entrance.to_owned()];
    tables.extend(options.tls.map(|tls| format!("tls = {tls:?}")));
    if options.tls.is_some_and(|tls| tls != "relay") {
        let path = |path: &Path| format!("{:?}", path.to_string_lossy());
        let certificate = cluster.certificate();
        tables.push(format!("certificate = {}", path(&certificate.certificate)));
        tables.push(format!("private_key = {}", path(&certificate.key)));
    }
    tables.extend(options.database.iter().cloned());
    // An account of its own, and a place of its own: other agents may run on this host.
    let place = format!("pin_directory = \"/sys/fs/bpf/warder-test-{}\"", cluster.port());
    tables.extend(["[proxy]".to_owned(), format!("user = \"{WORKER}\""), place]);
    tables.extend(options.proxy.iter().cloned());
    tables.extend(options.tables.iter().cloned());
    let databases = vec![entry];
    let binary = options.binary.clone().map_or_else(tooling::agent_binary, Ok)?;
    Agent::start(&binary, &AgentOptions { databases, tables, ..AgentOptions::default() })
}
