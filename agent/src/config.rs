//! The configuration: what the file may say ([`file`]), and what the agent works with ([`Config`]).
//!
//! Every key is checked here, at the door; behind it there are no strings that still need checking. Each mistake is
//! one line: `file:line: key: what is wrong; what to do`.

pub mod api;
pub mod catalogue;
mod check;
mod file;
pub mod identity;
pub mod login;
pub mod proxy;
mod refusal;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::Api;
use catalogue::CatalogueLogin;
use export::config::ExportConfig;
use export::witness::WitnessConfig;
use identity::Identity;
use login::{Login, Minted};
use proxy::{Guard, Proxy};
use redact::policy::{Mode, Policy, UnknownMode};
use serde::{Deserialize, Serialize};

/// Where the configuration is looked for unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/warder/warder.toml";

/// Longest configuration file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it came from; `None`: there is no file, all keys have their defaults.
    pub path: Option<PathBuf>,
    /// Accounts and control.
    pub agent: Agent,
    /// Where records go.
    pub journal: Journal,
    /// Address of the Prometheus endpoint; `None`: off.
    pub metrics_listen: Option<SocketAddr>,
    /// Where `warder api` listens.
    pub api: Api,
    /// Bounds of the kernel side.
    pub capture: Capture,
    /// What is taken out of statements before they are written.
    pub redaction: Redaction,
    /// Where records are sent.
    pub exports: Vec<ExportConfig>,
    /// Who is believed about who acts.
    pub identity: Identity,
    /// Bounds of the proxy, where a database has one.
    pub proxy: Proxy,
    /// Databases to observe; empty: every listener of a process whose executable is called `postgres`.
    pub databases: Vec<Database>,
}

/// `[agent]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Account of the core process; never root.
    pub user: Account,
    /// Group of the core process, the control socket and the files.
    pub group: Account,
    /// Control socket; absolute, short enough for a socket address.
    pub control_socket: PathBuf,
    /// Command lines in records.
    pub argv: Argv,
}

/// A user or group, as configured. Numbers need no entry in the host's databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Account {
    /// By name.
    Name(String),
    /// By number.
    Number(u32),
}

/// What of command lines goes into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argv {
    /// Nothing.
    None,
    /// Everything but what may be a secret.
    Redacted,
    /// Everything.
    Full,
}

/// `[journal]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Folder of the segments; absolute.
    pub directory: PathBuf,
    /// File of the key that signs; absolute.
    pub key_file: PathBuf,
    /// Bounds of that folder.
    pub limits: store::writer::Limits,
    /// Who keeps its checkpoints elsewhere.
    pub witnesses: Vec<WitnessConfig>,
}

/// `[capture]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Ring buffer between kernel and core; a power of two.
    pub ring_bytes: u32,
    /// Sessions observed at once.
    pub sessions_max: u32,
    /// Captured bytes of one client message.
    pub statement_bytes_max: u32,
    /// Period of the healing iterators.
    pub scan_interval: Duration,
}

/// `[redaction]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redaction {
    /// The default first, then what databases and roles say.
    pub rules: Vec<RedactionRule>,
    /// Key of the fingerprints that stand for values; absolute.
    pub key_file: PathBuf,
}

/// What is replaced in the statements of a database, of a role, of a role in a database, or (neither) of all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedactionRule {
    /// Name of a database in the configuration.
    pub database: Option<String>,
    /// Role that a session logged in as.
    pub role: Option<String>,
    /// `none`, `literals`, `parameters` or `both`.
    pub mode: String,
}

impl Redaction {
    /// The policy that these rules are, or the mode that is none.
    pub fn policy(&self) -> Result<Policy, UnknownMode> {
        let mut policy = Policy::default();
        for RedactionRule { database, role, mode } in &self.rules {
            let mode: Mode = mode.parse()?;
            match (database, role) {
                (None, None) => policy = Policy::new(mode),
                (Some(database), None) => policy.set_database(database, mode),
                (None, Some(role)) => policy.set_role(role, mode),
                (Some(database), Some(role)) => policy.set_role_in(database, role, mode),
            }
        }
        Ok(policy)
    }

    /// Whether values are replaced anywhere, so that the key is needed.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.policy().is_ok_and(|policy| !policy.is_none())
    }
}

/// One `[[database]]`; at least one of port, socket and executable is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Name in records and metrics.
    pub name: String,
    /// TCP port of the server.
    pub port: Option<u16>,
    /// Unix socket of the server; absolute.
    pub socket: Option<PathBuf>,
    /// Executable of the server; absolute.
    pub executable: Option<PathBuf>,
    /// Its connections go through the proxy, in this way.
    pub guard: Option<Guard>,
    /// The login that reads its catalogue; `None`: names without a schema stay without one.
    pub catalogue: Option<CatalogueLogin>,
}

impl Database {
    /// How roles are made for its sessions, where that is configured.
    #[must_use]
    pub const fn minted(&self) -> Option<&Minted> {
        match &self.guard {
            Some(Guard { login: Login::Minted(minted), .. }) => Some(minted),
            _ => None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: None,
            agent: Agent {
                user: Account::Name("warder".into()),
                group: Account::Name("warder".into()),
                control_socket: "/run/warder/control.sock".into(),
                argv: Argv::Redacted,
            },
            journal: Journal {
                directory: "/var/lib/warder/journal".into(),
                key_file: "/var/lib/warder/key/journal.pem".into(),
                limits: store::writer::Limits::default(),
                witnesses: Vec::new(),
            },
            metrics_listen: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            api: Api::default(),
            capture: Capture {
                ring_bytes: 8 << 20,
                sessions_max: 16_384,
                statement_bytes_max: 1 << 20,
                scan_interval: Duration::from_secs(30),
            },
            redaction: Redaction {
                rules: vec![RedactionRule { database: None, role: None, mode: "none".into() }],
                key_file: "/var/lib/warder/key/redaction.key".into(),
            },
            exports: Vec::new(),
            identity: Identity::default(),
            proxy: Proxy::default(),
            databases: Vec::new(),
        }
    }
}

impl Config {
    /// Loads the file that was named, which must exist, or else the default file, which need not.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_PATH));
        match read(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(ConfigError::unreadable(path, &error)),
        }
    }

    /// Whether a database has a proxy.
    #[must_use]
    pub fn has_guards(&self) -> bool {
        self.databases.iter().any(|database| database.guard.is_some())
    }

    /// Whether requests to the database of this name are recorded before they are forwarded.
    pub(crate) fn is_announced(&self, name: &str) -> bool {
        let guard = self.databases.iter().find(|database| database.name == name).and_then(|found| found.guard.as_ref());
        guard.is_some_and(|guard| guard.record != proxy::Record::Memory)
    }

    /// Checks the text of a configuration file; `path` is only for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file = file::File::parse(text).map_err(|mistake| ConfigError::new(path, text, vec![mistake]))?;
        let mut config = check::check(&file).map_err(|mistakes| ConfigError::new(path, text, mistakes))?;
        config.path = Some(path.to_owned());
        Ok(config)
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let count = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if count as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "longer than 1 MiB"));
    }
    Ok(text)
}

/// One mistake, before its place is known as a line.
#[derive(Debug)]
struct Mistake {
    /// Byte offset in the text, where there is a place: of a value, or of the table that it stands in or is missing from.
    offset: Option<usize>,
    key: String,
    what: String,
    remedy: String,
}

/// All mistakes of a configuration, one line each.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    lines: Vec<String>,
}

impl ConfigError {
    fn new(path: &Path, text: &str, mut mistakes: Vec<Mistake>) -> Self {
        for Mistake { offset, key, .. } in &mut mistakes {
            *offset = offset.map(|offset| file::place_of(text, offset, key));
        }
        mistakes.sort_by_key(|mistake| mistake.offset);
        let line = |offset: usize| text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1;
        let lines = mistakes
            .into_iter()
            .map(|Mistake { offset, key, what, remedy }| {
                let place = offset.map(line).map_or(String::new(), |line| format!("{line}: "));
                crate::terminal::escape(&format!("{}:{place}{key}: {what}; {remedy}", path.display())).into_owned()
            })
            .collect();
        Self { lines }
    }

    fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "create it, or leave out -c to use the defaults",
            std::io::ErrorKind::PermissionDenied => "run as root, or as a member of the group that may read it",
            std::io::ErrorKind::InvalidData => "store it as UTF-8 text",
            _ => "name a configuration file (TOML)",
        };
        let path = path.display().to_string();
        Self {
            lines: vec![format!(
                "{}: cannot read the configuration ({error}); {remedy}",
                crate::terminal::escape(&path)
            )],
        }
    }

    /// The mistakes, one line each.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}
