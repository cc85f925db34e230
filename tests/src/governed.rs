//! A server behind enforced policies, with an issuer whose tokens are the passwords: what grants, holds and agents are
//! tried on.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::account::Account;
use crate::cluster::ClusterOptions;
use crate::directory;
use crate::process::Running;
use crate::stage::{Place, Stage, StageOptions};
use crate::tokens::Tokens;

/// How long the tokens are good: longer than any test.
const LIFE: Duration = Duration::from_secs(3000);

/// Of the role `service`.
const SERVICE_PASSWORD: &str = "a password of the service account";
/// It logs in with it, from everywhere.
const SERVICE_ACCESS: &str = "host all service all scram-sha-256";

/// As whom the proxy logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// As `postgres`, which the server lets in without a password.
    Superuser,
    /// As `service`, a role without rights, with a password.
    Service,
}

/// The server, its agent, and whoever is believed.
pub struct Governed {
    /// Server and agent; the database is called `test` in its configuration.
    pub stage: Stage,
    /// Where clients connect.
    pub port: u16,
    tokens: Tokens,
    _policies: TempDir,
}

impl Governed {
    /// With these policies, and a database in which `sql` was run.
    ///
    /// # Errors
    /// When the server or the agent does not start.
    pub fn start(policies: &str, sql: &str) -> Result<Self> {
        Self::start_as(policies, sql, Login::Superuser)
    }

    /// The same, with this login of the proxy at the server.
    ///
    /// # Errors
    /// As [`Governed::start`].
    pub fn start_as(policies: &str, sql: &str, login: Login) -> Result<Self> {
        let (tokens, folder, port) = (Tokens::new()?, directory::private("policies")?, directory::free_port()?);
        std::fs::write(folder.path().join("test.cedar"), policies)?;
        let password = folder.path().join("service.password");
        std::fs::write(&password, SERVICE_PASSWORD)?;
        std::fs::set_permissions(&password, Permissions::from_mode(0o600))?;
        let (account, access) = match login {
            Login::Superuser => ("user = \"postgres\"".to_owned(), None),
            Login::Service => {
                let password = password.to_string_lossy();
                (format!("user = \"service\", password_file = {password:?}"), Some(SERVICE_ACCESS.to_owned()))
            }
        };
        let mut sql = vec![sql.to_owned()];
        if login == Login::Service {
            sql.insert(0, format!("create role service login password '{SERVICE_PASSWORD}'"));
        }
        let stage = Stage::start(&StageOptions {
            cluster: ClusterOptions { access: access.into_iter().collect(), ..ClusterOptions::default() },
            guard: vec![
                format!("listen = [\"127.0.0.1:{port}\"]"),
                "mode = \"enforce\"".into(),
                format!("policies = [{:?}]", folder.path().to_string_lossy()),
                format!("login = {{ mode = \"token\", {account} }}"),
            ],
            sql,
            tls: Some("server-certificate"),
            proxy: std::iter::once("workers = 2".into()).chain(tokens.tables()).collect(),
            ..StageOptions::default()
        })?;
        let governed = Self { stage, tokens, port, _policies: folder };
        governed.wait_listening()?;
        Ok(governed)
    }

    /// Waits until the proxy takes connections.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_listening(&self) -> Result<()> {
        self.stage.wait_listening(self.port)
    }

    /// A token of a person with these further claims.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, person: &str, further: &Value) -> Result<String> {
        self.tokens.token(person, further, LIFE)
    }

    /// The same that ends so much later.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token_until(&self, person: &str, life: Duration) -> Result<String> {
        self.tokens.token(person, &json!({}), life)
    }

    /// The same in a file of root's.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn token_file(&self, person: &str, further: &Value) -> Result<PathBuf> {
        self.tokens.file(&format!("{person}.token"), &self.token(person, further)?, &Account::named("root")?)
    }

    /// A person's psql, which stays open.
    ///
    /// # Errors
    /// When it does not start.
    pub fn session(&self, person: &str) -> Result<Running> {
        self.session_with(person, &self.token(person, &json!({}))?)
    }

    /// The same with this token.
    ///
    /// # Errors
    /// When it does not start.
    pub fn session_with(&self, person: &str, token: &str) -> Result<Running> {
        let port = self.port.to_string();
        let environment = [("PGHOST", "127.0.0.1"), ("PGPORT", &*port), ("PGUSER", person), ("PGPASSWORD", token)];
        let mut psql = self.stage.session(Place::Outside, &environment)?;
        psql.write_line("\\set ON_ERROR_STOP 0")?;
        Ok(psql)
    }
}
