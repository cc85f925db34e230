//! `[proxy]` and `[database.proxy]`: what goes through the proxy, and how.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::check::Checker;
use super::login::Login;
use super::{Account, Config, Database, file};

/// Allowed-direct sources of one database: each is an entry of a kernel map.
const DIRECT_MAX: usize = 256;
/// Files and folders of policies of one database.
const POLICIES_MAX: usize = 64;
/// Plain listeners of one database.
const LISTEN_MAX: usize = 16;
/// Workers of one agent: each has rings and listeners of its own.
const WORKERS_MAX: i64 = 32;
/// Workers unless the configuration says otherwise: beyond, the database itself needs the processors.
const WORKERS_DEFAULT_MAX: usize = 4;

/// `[proxy]`: bounds of all workers together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Account of the workers: neither root nor the core's.
    pub user: Account,
    /// Processes.
    pub workers: u32,
    /// Sessions at once.
    pub sessions_max: u32,
    /// Of these, from one client address.
    pub sessions_per_address_max: u32,
    /// How long a client may take until its start-up packet goes to the server.
    pub startup: Duration,
    /// How long a session may be silent; `None`: for ever.
    pub idle: Option<Duration>,
    /// How long sessions may go on when a worker is asked to stop.
    pub drain: Duration,
    /// Where steering is pinned; on a BPF file system.
    pub pin_directory: PathBuf,
}

impl Default for Proxy {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_DEFAULT_MAX);
        Self {
            user: Account::Name("warder-proxy".into()),
            workers: u32::try_from(processors).unwrap_or(1),
            sessions_max: 10_000,
            sessions_per_address_max: 10_000,
            startup: Duration::from_secs(60),
            idle: None,
            drain: Duration::from_secs(10),
            pin_directory: "/sys/fs/bpf/warder".into(),
        }
    }
}

/// `[database.proxy]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// TCP connections are steered from the start.
    pub steer: bool,
    /// The database's Unix socket is taken over from the start.
    pub take_over_socket: bool,
    /// Addresses that the proxy itself listens on.
    pub listen: Vec<SocketAddr>,
    /// Where connections to these addresses lead.
    pub upstream: SocketAddr,
    /// What is done about TLS.
    pub tls: Tls,
    /// Whose certificates clients may show; `None`: they are asked for none.
    pub clients: Option<ClientAuthorities>,
    /// Source addresses of hops for clients on other hosts, at most one for each family.
    pub hop_address: Vec<IpAddr>,
    /// The server's `pg_hba.conf`; `None`: found by the server's command line.
    pub access_file: Option<PathBuf>,
    /// What a missing proxy means.
    pub fail: Fail,
    /// How far the policies go; `enforce` also refuses what cannot be recorded.
    pub mode: Mode,
    /// Files and folders of policies; none: nothing is decided.
    pub policies: Vec<PathBuf>,
    /// What policies call the environment.
    pub environment: String,
    /// Minutes that the clock of policies is ahead of UTC.
    pub utc_offset: i16,
    /// The kernel's copy of what mediated sessions say.
    pub content: Content,
    /// How safe the record of a request is before it is forwarded.
    pub record: Record,
    /// Who may connect directly.
    pub direct: Vec<Direct>,
    /// The control group whose processes may not connect directly; `None`: all may.
    pub refuse_direct: Option<PathBuf>,
    /// How clients log in.
    pub login: Login,
}

/// What is done about TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tls {
    /// The ciphertext is relayed unread.
    Relay,
    /// The proxy presents the server's own certificate, on both sides of it.
    ServerCertificate(Certificate),
    /// The proxy presents another certificate; its hop is plaintext.
    OwnCertificate(Certificate),
}

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The chain.
    pub certificate: PathBuf,
    /// The private key.
    pub private_key: PathBuf,
}

/// Whose certificates clients may show, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAuthorities {
    /// The authorities.
    pub ca_file: PathBuf,
    /// Their revocation lists; `None`: revocation is not checked.
    pub crl_file: Option<PathBuf>,
}

/// How far policies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Decisions are recorded.
    Observe,
    /// And clients are told.
    Warn,
    /// And what is not allowed does not run.
    Enforce,
}

/// What the kernel does with a connection when no worker lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fail {
    /// It goes to the database.
    Open,
    /// It is dropped.
    Closed,
}

/// The kernel's copy of what mediated sessions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Of each session.
    Always,
    /// Of one in sixteen.
    Sampled,
    /// Of none.
    Off,
}

/// How safe a record is before what it says may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// In memory that outlives the worker.
    Memory,
    /// In the journal's file.
    Written,
    /// Synced to the disk.
    Durable,
}

impl Record {
    /// Unless the configuration says otherwise: what is enforced runs only when its line is out of the agent's hands.
    const fn usual_of(mode: Mode) -> Self {
        match mode {
            Mode::Observe | Mode::Warn => Self::Memory,
            Mode::Enforce => Self::Written,
        }
    }
}

/// Who may connect directly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direct {
    /// Name in records.
    pub name: String,
    /// Source network: address and length of its prefix.
    pub source: (IpAddr, u8),
}

impl Checker {
    pub(super) fn proxy(&mut self, proxy: &file::Proxy, config: &mut Config) {
        let user = proxy.user.as_ref().and_then(|user| self.account("proxy.user", user));
        if let Some(user) = user {
            config.proxy.user = user;
        }
        let place = proxy.user.as_ref().map(|user| user.span().start);
        let what = match &config.proxy.user {
            Account::Number(0) => Some("root would give full power to the processes that read what clients send"),
            Account::Name(name) if name == "root" => {
                Some("root would give full power to the processes that read what clients send")
            }
            user if config.has_guards() && *user == config.agent.user => {
                Some("with the core's account a worker that was taken over could rewrite the journal")
            }
            _ => None,
        };
        if let Some(what) = what {
            self.mistake(place, "proxy.user", what, "name an account of its own, for example \"warder-proxy\"");
        }
        let checked = &mut config.proxy;
        self.number("proxy.workers", &proxy.workers, 1..=WORKERS_MAX, &mut checked.workers);
        self.number("proxy.sessions_max", &proxy.sessions_max, 1..=1_000_000, &mut checked.sessions_max);
        let per_address = &proxy.sessions_per_address_max;
        self.number(
            "proxy.sessions_per_address_max",
            per_address,
            1..=1_000_000,
            &mut checked.sessions_per_address_max,
        );
        let (mut startup, mut idle, mut drain) = (checked.startup.as_secs(), 0, checked.drain.as_secs());
        self.number("proxy.startup_seconds", &proxy.startup_seconds, 1..=3600, &mut startup);
        self.number("proxy.idle_seconds", &proxy.idle_seconds, 0..=31_536_000, &mut idle);
        self.number("proxy.drain_seconds", &proxy.drain_seconds, 0..=3600, &mut drain);
        checked.startup = Duration::from_secs(startup);
        checked.idle = (idle > 0).then(|| Duration::from_secs(idle));
        checked.drain = Duration::from_secs(drain);
        if let Some(directory) = &proxy.pin_directory {
            self.absolute("proxy.pin_directory", directory, &mut checked.pin_directory);
        }
    }

    pub(super) fn guard(&mut self, entry: &Spanned<file::Guard>, database: &Database) -> Guard {
        let fields = entry.get_ref();
        let steer = fields.steer.unwrap_or(false);
        let take_over_socket = fields.take_over_socket.as_ref().is_some_and(|wanted| *wanted.get_ref());
        let wants_port = steer || take_over_socket || !fields.listen.is_empty();
        if wants_port && database.port.is_none() {
            let what = "the server is found by its port";
            self.mistake_at(entry, "database.proxy", what, "add port = ... to the [[database]]");
        }
        if let Some(wanted) = fields.take_over_socket.as_ref().filter(|_| take_over_socket)
            && database.socket.is_none()
        {
            let what = "there is no socket to take over";
            self.mistake_at(
                wanted,
                "database.proxy.take_over_socket",
                what,
                "add socket = \"...\" to the [[database]]",
            );
        }
        let mode = self.word(&fields.mode, "database.proxy.mode", &MODES).unwrap_or(Mode::Observe);
        let default_upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, database.port.unwrap_or_default()));
        Guard {
            steer,
            take_over_socket,
            listen: self.addresses("database.proxy.listen", &fields.listen),
            upstream: self.upstream(&fields.upstream).unwrap_or(default_upstream),
            tls: self.tls_of_governed(entry),
            clients: self.clients(fields),
            hop_address: self.hop_addresses(&fields.hop_address),
            access_file: fields.access_file.as_ref().map(|path| {
                let mut checked = PathBuf::new();
                self.absolute("database.proxy.access_file", path, &mut checked);
                checked
            }),
            fail: self.fail(fields, mode == Mode::Enforce),
            mode,
            policies: self.policies(&fields.policies),
            environment: fields.environment.as_ref().map_or_else(String::new, |name| name.get_ref().clone()),
            utc_offset: self.utc_offset(&fields.utc_offset),
            content: self.word(&fields.content, "database.proxy.content", &CONTENTS).unwrap_or(Content::Off),
            record: self.word(&fields.record, "database.proxy.record", &RECORDS).unwrap_or(Record::usual_of(mode)),
            direct: self.direct(&fields.direct),
            refuse_direct: self.refuse_direct(&fields.refuse_direct, database),
            login: self.login(fields),
        }
    }

    fn fail(&mut self, fields: &file::Guard, enforce: bool) -> Fail {
        let open = fields.danger_fail_open.as_ref().filter(|wanted| *wanted.get_ref());
        if let Some(wanted) = open.filter(|_| !enforce) {
            let what = "without mode = \"enforce\" connections pass anyway when the proxy is gone";
            self.mistake_at(wanted, "database.proxy.danger_fail_open", what, "remove it");
        }
        if enforce && open.is_none() { Fail::Closed } else { Fail::Open }
    }

    fn tls(&mut self, entry: &Spanned<file::Guard>) -> Tls {
        let fields = entry.get_ref();
        let kind = self.word(&fields.tls, "database.proxy.tls", &TLS).unwrap_or(TlsWord::Relay);
        let named = fields.certificate.as_ref().or(fields.private_key.as_ref());
        if kind == TlsWord::Relay {
            if let Some(named) = named {
                let what = "ciphertext is relayed: no certificate is used";
                let remedy = "remove it, or set tls = \"server-certificate\" or \"own-certificate\"";
                self.mistake_at(named, "database.proxy.certificate", what, remedy);
            }
            return Tls::Relay;
        }
        let (Some(chain), Some(key)) = (&fields.certificate, &fields.private_key) else {
            let what = "to end TLS here, the proxy needs a certificate and its key";
            self.mistake_at(entry, "database.proxy.tls", what, "add certificate = \"...\" and private_key = \"...\"");
            return Tls::Relay;
        };
        let mut files = Certificate { certificate: PathBuf::new(), private_key: PathBuf::new() };
        self.absolute("database.proxy.certificate", chain, &mut files.certificate);
        self.absolute("database.proxy.private_key", key, &mut files.private_key);
        if kind == TlsWord::Server { Tls::ServerCertificate(files) } else { Tls::OwnCertificate(files) }
    }

    /// Decisions need plaintext: ciphertext that is relayed unread would get around them.
    fn tls_of_governed(&mut self, entry: &Spanned<file::Guard>) -> Tls {
        let tls = self.tls(entry);
        if let Some(policies) = entry.get_ref().policies.first().filter(|_| tls == Tls::Relay) {
            let what = "policies need to read what clients say, and tls = \"relay\" passes ciphertext on unread";
            let remedy = "set tls = \"server-certificate\" with certificate and private_key of the server";
            self.mistake_at(policies, "database.proxy.policies", what, remedy);
        }
        tls
    }

    /// A certificate that nobody asks the policies about would say nothing.
    fn clients(&mut self, fields: &file::Guard) -> Option<ClientAuthorities> {
        let Some(named) = &fields.client_ca_file else {
            if let Some(named) = &fields.client_crl_file {
                let what = "without client_ca_file clients are asked for no certificate";
                self.mistake_at(named, "database.proxy.client_crl_file", what, "remove it, or add client_ca_file");
            }
            return None;
        };
        if fields.policies.is_empty() {
            let what = "without policies nobody asks who acts, and certificates would go unused";
            self.mistake_at(named, "database.proxy.client_ca_file", what, "set policies = [...] in [database.proxy]");
        }
        let mut ca_file = PathBuf::new();
        self.absolute("database.proxy.client_ca_file", named, &mut ca_file);
        let crl_file = fields.client_crl_file.as_ref().map(|named| {
            let mut checked = PathBuf::new();
            self.absolute("database.proxy.client_crl_file", named, &mut checked);
            checked
        });
        Some(ClientAuthorities { ca_file, crl_file })
    }

    fn policies(&mut self, entries: &[Spanned<String>]) -> Vec<PathBuf> {
        if let Some(beyond) = entries.get(POLICIES_MAX) {
            let what = format!("{} paths are more than {POLICIES_MAX}", entries.len());
            self.mistake_at(beyond, "database.proxy.policies", &what, "put the files into one folder");
        }
        let path = |entry: &Spanned<String>| {
            let mut checked = PathBuf::new();
            self.absolute("database.proxy.policies", entry, &mut checked);
            checked
        };
        entries.iter().map(path).collect()
    }

    /// `+HH:MM`, `-HH:MM`.
    fn utc_offset(&mut self, entry: &Option<Spanned<String>>) -> i16 {
        let Some(entry) = entry else { return 0 };
        let minutes = minutes(entry.get_ref());
        if minutes.is_none() {
            let what = format!("\"{}\" is not an offset", entry.get_ref());
            self.mistake_at(entry, "database.proxy.utc_offset", &what, "use hours and minutes, for example \"+02:00\"");
        }
        minutes.unwrap_or(0)
    }

    fn addresses(&mut self, key: &str, entries: &[Spanned<String>]) -> Vec<SocketAddr> {
        if let Some(beyond) = entries.get(LISTEN_MAX) {
            let what = format!("{} addresses are more than {LISTEN_MAX}", entries.len());
            self.mistake_at(beyond, key, &what, "listen on 0.0.0.0 or [::]");
        }
        entries.iter().filter_map(|entry| self.address(key, entry)).collect()
    }

    fn upstream(&mut self, entry: &Option<Spanned<String>>) -> Option<SocketAddr> {
        entry.as_ref().and_then(|entry| self.address("database.proxy.upstream", entry))
    }

    pub(super) fn address(&mut self, key: &str, entry: &Spanned<String>) -> Option<SocketAddr> {
        let text = entry.get_ref();
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Some(address),
            Ok(_) | Err(_) => {
                let what = format!("\"{text}\" is not an address with a port");
                self.mistake_at(entry, key, &what, "use IP:PORT, for example \"127.0.0.1:6432\" or \"[::1]:6432\"");
                None
            }
        }
    }

    fn hop_addresses(&mut self, entries: &[Spanned<String>]) -> Vec<IpAddr> {
        let key = "database.proxy.hop_address";
        let mut addresses: Vec<IpAddr> = Vec::new();
        for entry in entries {
            let text = entry.get_ref();
            match text.parse::<IpAddr>() {
                Ok(address) if addresses.iter().any(|known| known.is_ipv4() == address.is_ipv4()) => {
                    self.mistake_at(entry, key, "this family has an address already", "keep one of each family");
                }
                Ok(address) => addresses.push(address),
                Err(_not_an_address) => {
                    let what = format!("\"{text}\" is not an address");
                    self.mistake_at(entry, key, &what, "use an address of this host, for example \"127.86.0.1\"");
                }
            }
        }
        addresses
    }

    fn direct(&mut self, entries: &[Spanned<file::Direct>]) -> Vec<Direct> {
        if let Some(beyond) = entries.get(DIRECT_MAX) {
            let what = format!("{} rules are more than {DIRECT_MAX}", entries.len());
            self.mistake_at(beyond, "database.proxy.direct", &what, "join networks");
        }
        entries.iter().filter_map(|entry| self.direct_rule(entry)).collect()
    }

    fn direct_rule(&mut self, entry: &Spanned<file::Direct>) -> Option<Direct> {
        let (Some(name), Some(source)) = (&entry.get_ref().name, &entry.get_ref().source) else {
            let what = "a rule needs a name and a source";
            self.mistake_at(entry, "database.proxy.direct", what, "add name = \"...\" and source = \"NETWORK\"");
            return None;
        };
        let Some(network) = network(source.get_ref()) else {
            let what = format!("\"{}\" is not a network", source.get_ref());
            let remedy = "use ADDRESS/LENGTH with no bit set behind the prefix, for example \"10.0.0.0/8\"";
            self.mistake_at(source, "database.proxy.direct.source", &what, remedy);
            return None;
        };
        Some(Direct { name: name.get_ref().clone(), source: network })
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        entry: &Option<Spanned<String>>,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let entry = entry.as_ref()?;
        let text = entry.get_ref();
        let found = words.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.mistake_at(entry, key, &format!("\"{text}\" is not known"), &format!("use {}", known.join(" or ")));
        }
        found
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TlsWord {
    Relay,
    Server,
    Own,
}

const TLS: [(&str, TlsWord); 3] =
    [("relay", TlsWord::Relay), ("server-certificate", TlsWord::Server), ("own-certificate", TlsWord::Own)];
const MODES: [(&str, Mode); 3] = [("observe", Mode::Observe), ("warn", Mode::Warn), ("enforce", Mode::Enforce)];
const CONTENTS: [(&str, Content); 3] =
    [("off", Content::Off), ("sampled", Content::Sampled), ("always", Content::Always)];
const RECORDS: [(&str, Record); 3] =
    [("memory", Record::Memory), ("written", Record::Written), ("durable", Record::Durable)];

/// Minutes of `+HH:MM`.
fn minutes(text: &str) -> Option<i16> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (hours.parse::<i16>().ok()?, minutes.parse::<i16>().ok()?);
    ((0..=14).contains(&hours) && (0..60).contains(&minutes)).then_some(sign * (hours * 60 + minutes))
}

/// `ADDRESS/LENGTH`, or one address.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address.parse::<IpAddr>().ok()?, Some(length.parse::<u8>().ok()?)),
        None => (text.parse().ok()?, None),
    };
    let (bits, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let length = length.unwrap_or(width);
    let behind = bits.checked_shl(u32::from(length)).unwrap_or(0);
    (length <= width && behind == 0).then_some((address, length))
}
