//! `[database.proxy.login]`: how clients log in, and as whom the proxy does for them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::check::Checker;
use super::file;
use super::proxy::Certificate;

/// `NAMEDATALEN - 1` of PostgreSQL.
const ROLE_BYTES_MAX: usize = 63;
/// What clients ask the issuer for, unless configured.
const SCOPE: &str = "openid";
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
    /// By a proof of who they are; the proxy logs in as a service account.
    Service(Service),
    /// With a token as the password; the proxy logs in with a role that is made for this one session.
    Minted(Minted),
}

/// A login by proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What clients are asked for that show no certificate.
    pub demand: Demand,
    /// The service account's role.
    pub user: String,
    /// What proves it to the server.
    pub credential: Credential,
}

/// What clients are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Demand {
    /// A token as the password.
    Token,
    /// A token by SASL OAUTHBEARER.
    OauthBearer {
        /// Where they learn how to get one.
        discovery_url: String,
        /// What they ask the issuer for.
        scope: String,
    },
    /// Nothing: they need a certificate.
    Certificate,
}

/// What proves the service account to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// Nothing: the server asks for nothing.
    Nothing,
    /// The password in this file.
    Password(PathBuf),
    /// A certificate.
    Certificate(Certificate),
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
    OauthBearer,
    Certificate,
    Minted,
}

const MODES: [(&str, Word); 5] = [
    ("pass-through", Word::PassThrough),
    ("token", Word::Token),
    ("oauthbearer", Word::OauthBearer),
    ("certificate", Word::Certificate),
    ("minted", Word::Minted),
];

impl Checker {
    pub(super) fn login(&mut self, guard: &file::Guard) -> Login {
        let Some(entry) = &guard.login else { return Login::PassThrough };
        let fields = entry.get_ref();
        let mode = self.word(&fields.mode, "database.proxy.login.mode", &MODES).unwrap_or(Word::PassThrough);
        if mode == Word::PassThrough {
            if let Some(named) = fields.user.as_ref().or(fields.password_file.as_ref()).or(fields.certificate.as_ref())
            {
                let what = "clients log in themselves: no account of the proxy is used";
                let remedy = "remove it, or set mode = \"token\" or \"minted\"";
                self.mistake_at(named, "database.proxy.login.user", what, remedy);
            }
            return Login::PassThrough;
        }
        if guard.policies.is_empty() {
            let what = "without policies nobody asks who acts, and proofs would go unused";
            self.mistake_at(entry, "database.proxy.login.mode", what, "set policies = [...] in [database.proxy]");
        }
        let (demand, credential) = (self.demand(mode, entry, guard), self.credential(entry, guard));
        let Some(user) = &fields.user else {
            let what = "the proxy needs a role to log in as";
            self.mistake_at(entry, "database.proxy.login.user", what, "add user = \"...\", a role with few rights");
            return Login::PassThrough;
        };
        let user = self.role("database.proxy.login.user", user);
        if mode == Word::Minted {
            return self.minted(entry, user, credential);
        }
        if let Some(named) = fields.role.first() {
            let what = "all clients log in as the service account: no other role is used";
            self.mistake_at(named, "database.proxy.login.role", what, "remove it, or set mode = \"minted\"");
        }
        Login::Service(Service { demand, user, credential })
    }

    fn demand(&mut self, mode: Word, entry: &Spanned<file::Login>, guard: &file::Guard) -> Demand {
        let fields = entry.get_ref();
        let named = fields.discovery_url.as_ref().or(fields.scope.as_ref());
        if let Some(named) = named.filter(|_| mode != Word::OauthBearer) {
            let what = "only OAUTHBEARER tells clients where to get a token";
            self.mistake_at(
                named,
                "database.proxy.login.discovery_url",
                what,
                "remove it, or set mode = \"oauthbearer\"",
            );
        }
        match mode {
            Word::OauthBearer => self.oauth_bearer(entry),
            Word::Certificate => {
                if guard.client_ca_file.is_none() {
                    let what = "clients are asked for no certificate, so nobody could log in";
                    let remedy = "add client_ca_file = \"...\" to [database.proxy]";
                    self.mistake_at(entry, "database.proxy.login.mode", what, remedy);
                }
                Demand::Certificate
            }
            Word::Token | Word::Minted | Word::PassThrough => Demand::Token,
        }
    }

    /// libpq takes addresses of this form only.
    fn oauth_bearer(&mut self, entry: &Spanned<file::Login>) -> Demand {
        const KEY: &str = "database.proxy.login.discovery_url";
        let fields = entry.get_ref();
        let remedy =
            "use that of the issuer, for example \"https://issuer.example.com/.well-known/openid-configuration\"";
        let discovery_url = match &fields.discovery_url {
            None => {
                self.mistake_at(entry, KEY, "clients must be told where to get a token", remedy);
                String::new()
            }
            Some(url) => {
                let text = url.get_ref();
                if !text.starts_with("https://") || !text.contains("/.well-known/") || text.contains(['?', '#']) {
                    self.mistake_at(url, KEY, &format!("\"{text}\" is no address of an issuer's metadata"), remedy);
                }
                text.clone()
            }
        };
        let scope = fields.scope.as_ref().map_or_else(|| SCOPE.to_owned(), |scope| scope.get_ref().clone());
        Demand::OauthBearer { discovery_url, scope }
    }

    fn credential(&mut self, entry: &Spanned<file::Login>, guard: &file::Guard) -> Credential {
        let fields = entry.get_ref();
        let certificate = match (&fields.certificate, &fields.private_key) {
            (None, None) => None,
            (Some(certificate), Some(private_key)) => Some((certificate, private_key)),
            _ => {
                let what = "a certificate needs its key, and a key its certificate";
                self.mistake_at(entry, "database.proxy.login.certificate", what, "add the other one, or remove both");
                None
            }
        };
        let mut path = |key: &str, named: &Spanned<String>| {
            let mut checked = PathBuf::new();
            self.absolute(&format!("database.proxy.login.{key}"), named, &mut checked);
            checked
        };
        match (&fields.password_file, certificate) {
            (None, None) => Credential::Nothing,
            (Some(file), None) => Credential::Password(path("password_file", file)),
            (password, Some((certificate, private_key))) => {
                let files = Certificate {
                    certificate: path("certificate", certificate),
                    private_key: path("private_key", private_key),
                };
                if let Some(named) = password {
                    let what = "the service account has a certificate already";
                    self.mistake_at(named, "database.proxy.login.password_file", what, "keep one of them");
                }
                if guard.tls.as_ref().is_none_or(|tls| tls.get_ref() != "server-certificate") {
                    let what =
                        "a certificate is shown in TLS, which the hop has with tls = \"server-certificate\" only";
                    let remedy = "set it in [database.proxy], or use password_file";
                    self.mistake_at(certificate, "database.proxy.login.certificate", what, remedy);
                }
                Credential::Certificate(files)
            }
        }
    }

    fn minted(&mut self, entry: &Spanned<file::Login>, user: String, credential: Credential) -> Login {
        let fields = entry.get_ref();
        let key = "database.proxy.login.password_file";
        let password_file = match credential {
            Credential::Password(file) => file,
            Credential::Nothing | Credential::Certificate(_) => {
                let what = "whoever makes roles logs in with a password, and not without one";
                self.mistake_at(entry, key, what, "add password_file = \"...\"; `warder setup postgres` makes it");
                PathBuf::new()
            }
        };
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
