//! From what the file says to what the agent works with. All mistakes are found, not only the first.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use export::plan::{ConfigError, EXPORTS_MAX, Plan};

use super::{Account, Argv, Config, Database, Mistake, Redaction, RedactionRule, file};

/// Databases in one configuration: each is probed and has its own metric series.
const DATABASES_MAX: usize = 256;
/// Roles with a redaction of their own: the rules travel to the core in one message.
const REDACTED_ROLES_MAX: usize = 256;
/// `NAMEDATALEN - 1` of PostgreSQL.
pub(super) const ROLE_BYTES_MAX: usize = 63;
/// `sun_path` holds 108 bytes, the last one 0.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The bucket of metrics for databases beyond their bound.
const RESERVED_NAME: &str = "other";

pub(super) fn check(file: &file::File) -> Result<Config, Vec<Mistake>> {
    let mut checker = Checker { mistakes: Vec::new() };
    let config = checker.config(file);
    if checker.mistakes.is_empty() { Ok(config) } else { Err(checker.mistakes) }
}

pub(super) struct Checker {
    mistakes: Vec<Mistake>,
}

impl Checker {
    fn config(&mut self, file: &file::File) -> Config {
        let mut config = Config::default();
        self.agent(&file.agent, &mut config);
        self.journal(&file.journal, &mut config);
        self.capture(&file.capture, &mut config);
        if let Some(listen) = &file.metrics.listen {
            config.metrics_listen = self.listen(listen);
        }
        config.api = self.api(&file.api);
        config.databases = self.databases(&file.database);
        self.one_authority(&file.database);
        self.proxy(&file.proxy, &mut config);
        self.redaction(file, &mut config.redaction);
        self.keys(file, &config);
        self.outlets(file, &mut config);
        config.identity = self.identity(&file.identity);
        config
    }

    /// Rules about certificates hold for all databases, so whoever may name clients of one may name those of all.
    fn one_authority(&mut self, databases: &[Spanned<file::Database>]) {
        let guards = databases.iter().filter_map(|database| database.get_ref().proxy.as_ref());
        let mut files = guards.filter_map(|guard| guard.get_ref().client_ca_file.as_ref());
        let Some(first) = files.next() else { return };
        for other in files.filter(|other| other.get_ref() != first.get_ref()) {
            let what =
                format!("another database has \"{}\", and [[identity.certificate]] holds for both", first.get_ref());
            let remedy = "put the authorities into one file, each of which may then name anybody";
            self.mistake_at(other, "database.proxy.client_ca_file", &what, remedy);
        }
    }

    /// Keys lie outside of the journal's folder, also where only the folder was named.
    fn keys(&mut self, file: &file::File, config: &Config) {
        let directory = &config.journal.directory;
        let keys = [
            ("journal.key_file", &file.journal.key_file, &config.journal.key_file),
            ("redaction.key_file", &file.redaction.key_file, &config.redaction.key_file),
        ];
        for (key, named, _) in keys.iter().filter(|(.., path)| path.starts_with(directory)) {
            let place = named.as_ref().or(file.journal.directory.as_ref()).map(|at| at.span().start);
            let what = "the key would be copied with every copy of the journal";
            self.mistake(place, key, what, "put it outside of journal.directory");
        }
    }

    /// The default first: it makes the policy that the others change.
    fn redaction(&mut self, file: &file::File, config: &mut Redaction) {
        let redaction = &file.redaction;
        if let Some(path) = &redaction.key_file {
            self.absolute("redaction.key_file", path, &mut config.key_file);
        }
        let default = redaction.statements.as_ref().and_then(|mode| self.redaction_mode("redaction.statements", mode));
        if let Some(mode) = default {
            config.rules = vec![RedactionRule { database: None, role: None, mode }];
        }
        for database in file.database.iter().map(Spanned::get_ref) {
            let Some(mode) = &database.redaction else { continue };
            if let Some(mode) = self.redaction_mode("database.redaction", mode) {
                let database = database.name.as_ref().map(|name| name.get_ref().clone());
                config.rules.push(RedactionRule { database, role: None, mode });
            }
        }
        if let Some(first_beyond) = redaction.role.get(REDACTED_ROLES_MAX) {
            let what = format!("{} roles are more than {REDACTED_ROLES_MAX}", redaction.role.len());
            self.mistake_at(first_beyond, "redaction.role", &what, "set the default or a database instead");
        }
        for entry in &redaction.role {
            config.rules.extend(self.redacted_role(entry, &file.database));
        }
    }

    fn redacted_role(
        &mut self,
        entry: &Spanned<file::RedactedRole>,
        databases: &[Spanned<file::Database>],
    ) -> Option<RedactionRule> {
        let fields = entry.get_ref();
        let (Some(role), Some(mode)) = (&fields.name, &fields.statements) else {
            let what = "a [[redaction.role]] needs a name and what is replaced";
            self.mistake_at(entry, "redaction.role", what, "add name = \"...\" and statements = \"...\"");
            return None;
        };
        if role.get_ref().len() > ROLE_BYTES_MAX {
            let what = format!("no role has a name of {} bytes", role.get_ref().len());
            self.mistake_at(role, "redaction.role.name", &what, &format!("use at most {ROLE_BYTES_MAX}"));
        }
        if let Some(database) = &fields.database {
            let is_named = |entry: &Spanned<file::Database>| {
                entry.get_ref().name.as_ref().is_some_and(|name| name.get_ref() == database.get_ref())
            };
            // Without any [[database]] they are discovered, and their names are not known yet.
            if !databases.is_empty() && !databases.iter().any(is_named) {
                let what = format!("there is no [[database]] \"{}\"", database.get_ref());
                self.mistake_at(database, "redaction.role.database", &what, "use the name of one, or leave it out");
            }
        }
        Some(RedactionRule {
            database: fields.database.as_ref().map(|database| database.get_ref().clone()),
            role: Some(role.get_ref().clone()),
            mode: self.redaction_mode("redaction.role.statements", mode)?,
        })
    }

    fn redaction_mode(&mut self, key: &str, mode: &Spanned<String>) -> Option<String> {
        let text = mode.get_ref();
        if text.parse::<redact::policy::Mode>().is_ok() {
            return Some(text.clone());
        }
        let remedy = "use \"none\", \"literals\", \"parameters\" or \"both\"";
        self.mistake_at(mode, key, &format!("\"{text}\" is not a mode of redaction"), remedy);
        None
    }

    /// Exports and witnesses. A witness is an export as well: their names are told apart together.
    fn outlets(&mut self, file: &file::File, config: &mut Config) {
        let mut names = HashSet::new();
        for entry in &file.journal.witness {
            let witness = entry.get_ref();
            self.outlet(entry, "journal.witness", export::witness::plan(witness), &witness.name, &mut names);
        }
        for entry in &file.export {
            let export = entry.get_ref();
            self.outlet(entry, "export", Plan::check(export), &export.name, &mut names);
        }
        if names.len() > EXPORTS_MAX {
            let what = format!("{} exports and witnesses are more than {EXPORTS_MAX}", names.len());
            self.mistake(None, "export", &what, "let one receiver pass records on");
        }
        config.journal.witnesses = file.journal.witness.iter().map(|entry| entry.get_ref().clone()).collect();
        config.exports = file.export.iter().map(|entry| entry.get_ref().clone()).collect();
    }

    fn outlet<'f, T>(
        &mut self,
        at: &Spanned<T>,
        section: &str,
        plan: Result<Plan, ConfigError>,
        name: &'f str,
        names: &mut HashSet<&'f str>,
    ) {
        if let Err(error) = plan {
            self.mistake_at(at, &format!("{section}.{}", error.key), &error.text, "see docs/exports.md");
        }
        if !names.insert(name) {
            let what = format!("name \"{name}\" already belongs to another export or witness");
            self.mistake_at(at, &format!("{section}.name"), &what, "give each its own: it names the cursor");
        }
    }

    fn agent(&mut self, agent: &file::Agent, config: &mut Config) {
        if let Some(user) = agent.user.as_ref().and_then(|user| self.account("agent.user", user)) {
            if matches!(&user, Account::Number(0)) || user == Account::Name("root".into()) {
                let place = agent.user.as_ref().map(|user| user.span().start);
                let what = "root would give full power to the process that reads what clients send";
                self.mistake(place, "agent.user", what, "name an account of its own, for example \"warder\"");
            }
            config.agent.user = user;
        }
        if let Some(group) = agent.group.as_ref().and_then(|group| self.account("agent.group", group)) {
            config.agent.group = group;
        }
        if let Some(socket) = &agent.control_socket {
            self.socket_path("agent.control_socket", socket, &mut config.agent.control_socket);
        }
        if let Some(argv) = &agent.argv {
            match argv.get_ref().as_str() {
                "none" => config.agent.argv = Argv::None,
                "redacted" => config.agent.argv = Argv::Redacted,
                "full" => config.agent.argv = Argv::Full,
                other => {
                    let what = format!("\"{other}\" is not a mode of recording command lines");
                    self.mistake_at(argv, "agent.argv", &what, "use \"none\", \"redacted\" or \"full\"");
                }
            }
        }
    }

    fn journal(&mut self, journal: &file::Journal, config: &mut Config) {
        let checked = &mut config.journal;
        if let Some(directory) = &journal.directory {
            self.absolute("journal.directory", directory, &mut checked.directory);
        }
        if let Some(key_file) = &journal.key_file {
            self.absolute("journal.key_file", key_file, &mut checked.key_file);
        }
        let limits = &mut checked.limits;
        self.number(
            "journal.segment_bytes_max",
            &journal.segment_bytes_max,
            65_536..=1 << 36,
            &mut limits.segment_bytes_max,
        );
        self.number("journal.bytes_max", &journal.bytes_max, 131_072..=1 << 50, &mut limits.bytes_max);
        if let Some(bytes) = &journal.bytes_max
            && limits.bytes_max < limits.segment_bytes_max.saturating_mul(2)
        {
            let remedy = format!("use {} or more", limits.segment_bytes_max.saturating_mul(2));
            self.mistake_at(bytes, "journal.bytes_max", "this is less than two segments", &remedy);
        }
        let records = &mut limits.checkpoint_records;
        self.number("journal.checkpoint_records", &journal.checkpoint_records, 1..=1_000_000, records);
        let (mut hours, mut seconds, mut milliseconds) = (0, 0, 0);
        self.number("journal.segment_hours_max", &journal.segment_hours_max, 1..=8784, &mut hours);
        self.number("journal.checkpoint_seconds", &journal.checkpoint_seconds, 1..=3600, &mut seconds);
        let interval = &journal.sync_interval_milliseconds;
        self.number("journal.sync_interval_milliseconds", interval, 1..=60_000, &mut milliseconds);
        let mut days = 0;
        self.number("journal.days_max", &journal.days_max, 1..=36_600, &mut days);
        let limits = &mut config.journal.limits;
        let set = |value: u64, duration: Duration, limit: &mut Duration| {
            if value > 0 {
                *limit = duration;
            }
        };
        set(hours, Duration::from_secs(hours * 3600), &mut limits.segment_age_max);
        set(seconds, Duration::from_secs(seconds), &mut limits.checkpoint_interval);
        set(milliseconds, Duration::from_millis(milliseconds), &mut limits.sync_interval);
        limits.age_max = (days > 0).then(|| Duration::from_secs(days * 24 * 3600));
    }

    fn capture(&mut self, capture: &file::Capture, config: &mut Config) {
        let checked = &mut config.capture;
        self.number("capture.ring_bytes", &capture.ring_bytes, 16_384..=1 << 30, &mut checked.ring_bytes);
        if let Some(ring) = &capture.ring_bytes
            && !checked.ring_bytes.is_power_of_two()
        {
            let what = format!("{} is not a power of two", checked.ring_bytes);
            let remedy = format!("use {}", checked.ring_bytes.next_power_of_two());
            self.mistake_at(ring, "capture.ring_bytes", &what, &remedy);
        }
        self.number("capture.sessions_max", &capture.sessions_max, 16..=1 << 20, &mut checked.sessions_max);
        let statement = &capture.statement_bytes_max;
        self.number("capture.statement_bytes_max", statement, 1024..=16 << 20, &mut checked.statement_bytes_max);
        let mut seconds = checked.scan_interval.as_secs();
        self.number("capture.scan_interval_seconds", &capture.scan_interval_seconds, 1..=3600, &mut seconds);
        checked.scan_interval = Duration::from_secs(seconds);
    }

    fn listen(&mut self, listen: &Spanned<String>) -> Option<std::net::SocketAddr> {
        let text = listen.get_ref();
        if text.is_empty() {
            return None;
        }
        match text.parse::<std::net::SocketAddr>() {
            Ok(address) if address.port() != 0 => return Some(address),
            Ok(_) => {
                let what = "port 0 is a different port after every start";
                self.mistake_at(listen, "metrics.listen", what, "use a port from 1 to 65535");
            }
            Err(_not_an_address) => {
                let what = format!("\"{text}\" is not an address");
                let remedy = "use IP:PORT, for example \"127.0.0.1:9464\" or \"[::1]:9464\", or \"\" to turn it off";
                self.mistake_at(listen, "metrics.listen", &what, remedy);
            }
        }
        None
    }

    fn databases(&mut self, entries: &[Spanned<file::Database>]) -> Vec<Database> {
        if let Some(first_beyond) = entries.get(DATABASES_MAX) {
            let what = format!("{} databases are more than {DATABASES_MAX}", entries.len());
            self.mistake_at(first_beyond, "database", &what, "observe them by executable, which covers many servers");
        }
        let mut seen = HashMap::new();
        entries.iter().filter_map(|entry| self.database(entry, &mut seen)).collect()
    }

    /// `seen` maps what was claimed by earlier entries (`port 5432`) to their names.
    fn database(&mut self, entry: &Spanned<file::Database>, seen: &mut HashMap<String, String>) -> Option<Database> {
        let fields = entry.get_ref();
        let Some(name) = &fields.name else {
            self.mistake_at(entry, "database.name", "a [[database]] has no name", "add name = \"...\"");
            return None;
        };
        self.database_name(name);
        if let Some(engine) = fields.engine.as_ref().filter(|engine| engine.get_ref() != "postgresql") {
            let what = format!("engine \"{}\" is not supported", engine.get_ref());
            self.mistake_at(engine, "database.engine", &what, "use \"postgresql\", or leave it out");
        }
        if fields.port.is_none() && fields.socket.is_none() && fields.executable.is_none() {
            let what = format!("database \"{}\" has no listener", name.get_ref());
            self.mistake_at(entry, "database", &what, "add at least one of port, socket, executable");
        }
        let mut database = Database { name: name.get_ref().clone(), ..Database::default() };
        let mut port = 0u16;
        self.number("database.port", &fields.port, 1..=65_535, &mut port);
        database.port = fields.port.as_ref().map(|_| port);
        if let Some(socket) = &fields.socket {
            self.socket_path("database.socket", socket, database.socket.insert(PathBuf::new()));
        }
        if let Some(executable) = &fields.executable {
            self.absolute("database.executable", executable, database.executable.insert(PathBuf::new()));
        }
        self.claim("database.name", name, format!("name \"{}\"", name.get_ref()), &database.name, seen);
        if let Some(port) = &fields.port {
            self.claim("database.port", port, format!("port {}", port.get_ref()), &database.name, seen);
        }
        for (key, field) in [("database.socket", &fields.socket), ("database.executable", &fields.executable)] {
            if let Some(path) = field {
                self.claim(key, path, format!("path \"{}\"", path.get_ref()), &database.name, seen);
            }
        }
        database.guard = fields.proxy.as_ref().map(|guard| self.guard(guard, &database));
        database.catalogue = fields.catalogue.as_ref().and_then(|login| self.catalogue(login, &database));
        Some(database)
    }

    fn database_name(&mut self, name: &Spanned<String>) {
        let text = name.get_ref();
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        if text.is_empty() || text.len() > 32 || !text.bytes().all(allowed) {
            let what = format!("\"{text}\" is not a name");
            self.mistake_at(name, "database.name", &what, "use 1 to 32 of a-z, 0-9, _ and -");
        } else if text == RESERVED_NAME {
            let what = format!("\"{RESERVED_NAME}\" is what metrics call databases beyond their bound");
            self.mistake_at(name, "database.name", &what, "choose another name");
        }
    }

    /// Two entries must not claim the same thing: a session belongs to one database.
    fn claim<T>(&mut self, key: &str, at: &Spanned<T>, what: String, name: &str, seen: &mut HashMap<String, String>) {
        if let Some(other) = seen.get(&what) {
            let message = format!("{what} already belongs to database \"{other}\"");
            self.mistake_at(at, key, &message, "give every [[database]] its own");
        } else {
            seen.insert(what, name.to_owned());
        }
    }

    pub(super) fn account(&mut self, key: &str, account: &Spanned<file::Account>) -> Option<Account> {
        let remedy = "use a name or a number from 0 to 4294967294";
        let number = match account.get_ref() {
            file::Account::Number(number) => *number,
            file::Account::Name(name) => match name.parse() {
                Ok(number) => number,
                Err(_not_a_number) if !name.is_empty() && !name.contains([':', '/', '\0', '\n', ' ']) => {
                    return Some(Account::Name(name.clone()));
                }
                Err(_not_a_number) => {
                    self.mistake_at(account, key, &format!("\"{name}\" is not an account"), remedy);
                    return None;
                }
            },
        };
        // The largest number means "no account" to the kernel.
        match u32::try_from(number) {
            Ok(number) if number != u32::MAX => Some(Account::Number(number)),
            _ => {
                self.mistake_at(account, key, &format!("{number} is not an account"), remedy);
                None
            }
        }
    }

    fn socket_path(&mut self, key: &str, path: &Spanned<String>, checked: &mut PathBuf) {
        self.absolute(key, path, checked);
        let length = path.get_ref().len();
        if length > SOCKET_PATH_BYTES_MAX {
            let what = format!("{length} bytes are too long for a socket");
            self.mistake_at(path, key, &what, &format!("use a path of at most {SOCKET_PATH_BYTES_MAX} bytes"));
        }
    }

    pub(super) fn absolute(&mut self, key: &str, path: &Spanned<String>, checked: &mut PathBuf) {
        let text = path.get_ref();
        let parts = Path::new(text).components();
        if !text.starts_with('/') || text.contains('\0') {
            self.mistake_at(path, key, &format!("\"{text}\" is not an absolute path"), "begin it with /");
        } else if parts.into_iter().any(|part| part == std::path::Component::ParentDir) {
            self.mistake_at(path, key, &format!("\"{text}\" contains .."), "write the path without it");
        }
        *checked = text.into();
    }

    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        key: &str,
        number: &Option<Spanned<i64>>,
        range: RangeInclusive<i64>,
        checked: &mut T,
    ) {
        let Some(number) = number else { return };
        let value = *number.get_ref();
        match T::try_from(value) {
            Ok(fitting) if range.contains(&value) => *checked = fitting,
            _ => {
                let what = format!("{value} is out of range");
                self.mistake_at(number, key, &what, &format!("use {} to {}", range.start(), range.end()));
            }
        }
    }

    pub(super) fn mistake_at<T>(&mut self, at: &Spanned<T>, key: &str, what: &str, remedy: &str) {
        self.mistake(Some(at.span().start), key, what, remedy);
    }

    pub(super) fn mistake(&mut self, offset: Option<usize>, key: &str, what: &str, remedy: &str) {
        self.mistakes.push(Mistake { offset, key: key.into(), what: what.into(), remedy: remedy.into() });
    }
}
