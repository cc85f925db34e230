//! `[database.proxy.login]`: how clients log in.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::check::Checker;
use super::file;
use super::proxy::Certificate;

/// `NAMEDATALEN - 1` of PostgreSQL.
const ROLE_BYTES_MAX: usize = 63;
/// What clients ask the issuer for, unless configured.
const SCOPE: &str = "openid";

/// How clients of a database log in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Login {
    /// As without the proxy.
    #[default]
    PassThrough,
    /// By a proof of who they are; the proxy logs in as a service account.
    Service(Service),
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    PassThrough,
    Token,
    OauthBearer,
    Certificate,
}

const MODES: [(&str, Word); 4] = [
    ("pass-through", Word::PassThrough),
    ("token", Word::Token),
    ("oauthbearer", Word::OauthBearer),
    ("certificate", Word::Certificate),
];

impl Checker {
    pub(super) fn login(&mut self, guard: &file::Guard) -> Login {
        let Some(entry) = &guard.login else { return Login::PassThrough };
        let fields = entry.get_ref();
        let mode = self.word(&fields.mode, "database.proxy.login.mode", &MODES).unwrap_or(Word::PassThrough);
        if mode == Word::PassThrough {
            if let Some(named) = fields.user.as_ref().or(fields.password_file.as_ref()).or(fields.certificate.as_ref())
            {
                let what = "clients log in themselves: no service account is used";
                self.mistake_at(named, "database.proxy.login.user", what, "remove it, or set mode = \"token\"");
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
        let length = user.get_ref().len();
        if !(1..=ROLE_BYTES_MAX).contains(&length) || user.get_ref().contains('\0') {
            let what = format!("no role has a name of {length} bytes");
            self.mistake_at(user, "database.proxy.login.user", &what, &format!("use 1 to {ROLE_BYTES_MAX}"));
        }
        Login::Service(Service { demand, user: user.get_ref().clone(), credential })
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
            Word::Token | Word::PassThrough => Demand::Token,
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
}
