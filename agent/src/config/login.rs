//! `[database.proxy.login]`: how clients log in, and as whom the proxy does for them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::check::Checker;
use super::file;

/// `NAMEDATALEN - 1` of PostgreSQL.
const ROLE_BYTES_MAX: usize = 63;
/// How long a minted role lives at most unless the configuration says otherwise: a working day.
const LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// Entries of `[[database.proxy.login.role]]`.
const ROLES_MAX: usize = 64;
/// Groups, or schemas, of one entry.
const NAMES_MAX: usize = 64;
/// Longest name of a group of principals, in bytes.
const GROUP_BYTES_MAX: usize = 255;

/// How clients of a database log in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Login {
    /// As without the proxy.
    #[default]
    PassThrough,
    /// With a token as the password; the proxy logs in as a service account.
    Token(Account),
    /// With a token as the password; the proxy logs in with a role that is made for this one session.
    Minted(Minted),
}

/// The service account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The role.
    pub user: String,
    /// File with its password; `None`: the server asks for none.
    pub password_file: Option<PathBuf>,
}

/// How roles for single sessions are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minted {
    /// The role that makes them (`warder setup postgres` makes it).
    pub user: String,
    /// File with its password, read anew for each connection; absolute.
    pub password_file: PathBuf,
    /// Where it logs in.
    pub sql_database: String,
    /// How long an access lasts at most.
    pub lifetime: Duration,
    /// Whose rights a role gets: the first entry that fits. Not empty.
    pub roles: Vec<MintedRole>,
}

/// Whose rights a minted role gets, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintedRole {
    /// The role with the rights.
    pub role: String,
    /// Of these groups a principal must be in one; empty: everybody.
    pub groups: Vec<String>,
    /// Its transactions begin as read-only ones.
    pub read_only: bool,
    /// Its statements end after this time.
    pub statement_timeout: Option<Duration>,
    /// Its schemas; empty: the server's own default.
    pub search_path: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    PassThrough,
    Token,
    Minted,
}

const MODES: [(&str, Word); 3] =
    [("pass-through", Word::PassThrough), ("token", Word::Token), ("minted", Word::Minted)];

impl Checker {
    pub(super) fn login(&mut self, guard: &file::Guard) -> Login {
        let Some(entry) = &guard.login else { return Login::PassThrough };
        let fields = entry.get_ref();
        let mode = self.word(&fields.mode, "database.proxy.login.mode", &MODES).unwrap_or(Word::PassThrough);
        if mode == Word::PassThrough {
            if let Some(named) = fields.user.as_ref().or(fields.password_file.as_ref()) {
                let what = "clients log in themselves: no account of the proxy is used";
                let remedy = "remove it, or set mode = \"token\" or \"minted\"";
                self.mistake_at(named, "database.proxy.login.user", what, remedy);
            }
            return Login::PassThrough;
        }
        if guard.policies.is_empty() {
            let what = "without policies nobody asks who acts, and tokens would go unused";
            self.mistake_at(entry, "database.proxy.login.mode", what, "set policies = [...] in [database.proxy]");
        }
        let Some(user) = &fields.user else {
            let what = "the proxy needs a role to log in as";
            self.mistake_at(entry, "database.proxy.login.user", what, "add user = \"...\", a role with few rights");
            return Login::PassThrough;
        };
        let user = self.role("database.proxy.login.user", user);
        let password_file = fields.password_file.as_ref().map(|path| {
            let mut checked = PathBuf::new();
            self.absolute("database.proxy.login.password_file", path, &mut checked);
            checked
        });
        if mode == Word::Minted {
            return self.minted(entry, user, password_file);
        }
        if let Some(named) = fields.role.first() {
            let what = "all clients log in as the service account: no other role is used";
            self.mistake_at(named, "database.proxy.login.role", what, "remove it, or set mode = \"minted\"");
        }
        Login::Token(Account { user, password_file })
    }

    fn minted(&mut self, entry: &Spanned<file::Login>, user: String, password_file: Option<PathBuf>) -> Login {
        let fields = entry.get_ref();
        let key = "database.proxy.login.password_file";
        let password_file = password_file.unwrap_or_else(|| {
            let what = "whoever makes roles must not be able to log in without a password";
            self.mistake_at(entry, key, what, "add password_file = \"...\"; `warder setup postgres` makes it");
            PathBuf::new()
        });
        let mut minutes = LIFETIME.as_secs() / 60;
        let key = "database.proxy.login.lifetime_minutes";
        self.number(key, &fields.lifetime_minutes, 1..=7 * 24 * 60, &mut minutes);
        if fields.role.is_empty() || fields.role.len() > ROLES_MAX {
            let what = format!("a minted role has the rights of another one, and {} are named", fields.role.len());
            let remedy = format!("add 1 to {ROLES_MAX} times [[database.proxy.login.role]] with role = \"...\"");
            self.mistake_at(entry, "database.proxy.login.role", &what, &remedy);
        }
        let roles = fields.role.iter().filter_map(|entry| self.minted_role(entry)).collect();
        let sql_database = fields
            .sql_database
            .as_ref()
            .map_or_else(|| "postgres".to_owned(), |name| self.role("database.proxy.login.sql_database", name));
        Login::Minted(Minted { user, password_file, sql_database, lifetime: Duration::from_secs(minutes * 60), roles })
    }

    fn minted_role(&mut self, entry: &Spanned<file::MintedRole>) -> Option<MintedRole> {
        let fields = entry.get_ref();
        let Some(role) = &fields.role else {
            let what = "an entry needs the role whose rights it gives";
            self.mistake_at(entry, "database.proxy.login.role.role", what, "add role = \"...\"");
            return None;
        };
        let mut seconds = 0;
        let key = "database.proxy.login.role.statement_timeout_seconds";
        self.number(key, &fields.statement_timeout_seconds, 1..=7 * 86_400, &mut seconds);
        Some(MintedRole {
            role: self.role("database.proxy.login.role.role", role),
            groups: self.names("database.proxy.login.role.groups", &fields.groups, GROUP_BYTES_MAX),
            read_only: fields.read_only,
            statement_timeout: (seconds > 0).then(|| Duration::from_secs(seconds)),
            search_path: self.names("database.proxy.login.role.search_path", &fields.search_path, ROLE_BYTES_MAX),
        })
    }

    /// Something that PostgreSQL has by a name.
    fn role(&mut self, key: &str, entry: &Spanned<String>) -> String {
        self.name(key, entry, ROLE_BYTES_MAX)
    }

    fn names(&mut self, key: &str, entries: &[Spanned<String>], bytes_max: usize) -> Vec<String> {
        if let Some(beyond) = entries.get(NAMES_MAX) {
            let what = format!("{} names are more than {NAMES_MAX}", entries.len());
            self.mistake_at(beyond, key, &what, "write another entry for the others");
        }
        entries.iter().map(|entry| self.name(key, entry, bytes_max)).collect()
    }

    fn name(&mut self, key: &str, entry: &Spanned<String>, bytes_max: usize) -> String {
        let name = entry.get_ref();
        if !(1..=bytes_max).contains(&name.len()) || name.contains('\0') {
            let what = format!("there is no such name with {} bytes", name.len());
            self.mistake_at(entry, key, &what, &format!("use 1 to {bytes_max}"));
        }
        name.clone()
    }
}
