//! A server whose sessions get roles of their own, an issuer of the test, and clients with its tokens.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::cluster::ClusterOptions;
use crate::events::{Credential, Event, What};
use crate::issuer::{SigningKey, key_set};
use crate::process::{self, Running};
use crate::route::Route;
use crate::stage::{Place, Stage, StageOptions};
use crate::{directory, wait};

const ISSUER: &str = "https://issuer.example.com/";
const AUDIENCE: &str = "warder";

/// Whoever is known may do everything that the server lets him.
pub const POLICIES: &str = r#"
@id("persons")
@reason("persons may do what their role may")
permit (principal is Person, action, resource);

@id("glass")
@reason("they may break the glass")
permit (principal is Person, action == Action::"BreakGlass", resource);
"#;

/// Roles of sessions that are there.
pub const ROLES: &str = "select count(*) from pg_roles where starts_with(rolname::text, 'warder_s_')";

/// Statements that run in such sessions.
pub const RUNNING: &str = "select count(*) from pg_stat_activity where starts_with(usename::text, 'warder_s_') \
                           and state = 'active'";

/// All of it. Dropped, everything ends.
pub struct Minting {
    /// Server and agent.
    pub stage: Stage,
    /// Where clients connect.
    pub port: u16,
    /// With the word of a step in it, the core dies at that step, if it was built to.
    pub fault_file: PathBuf,
    key: SigningKey,
    folder: TempDir,
}

impl Minting {
    /// Starts it, with the roles that `warder setup postgres --apply` makes.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(cluster: ClusterOptions) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let key = SigningKey::p256("first")?;
        fs::write(path("jwks.json"), key_set(&[key.jwk()]).to_string())?;
        fs::create_dir(path("policies"))?;
        fs::write(path("policies/test.cedar"), POLICIES)?;
        // The core, which has no rights, reads keys here and removes the word of a fault.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777))?;
        let port = directory::free_port()?;
        let text = |name: &str| path(name).to_string_lossy().into_owned();
        let guard = vec![
            format!("listen = [\"127.0.0.1:{port}\"]"),
            "mode = \"enforce\"".to_owned(),
            format!("policies = [{:?}]", text("policies")),
            format!(
                "[database.proxy.login]\nmode = \"minted\"\nuser = \"warder_minter\"\npassword_file = {:?}\n\
                 [[database.proxy.login.role]]\nrole = \"warder_write\"\ngroups = [\"writers\"]\n\
                 [[database.proxy.login.role]]\nrole = \"warder_read\"\ngroups = [\"readers\"]\nread_only = true\n\
                 statement_timeout_seconds = 600",
                text("minter.password")
            ),
            format!(
                "[[identity.issuer]]\nname = \"test\"\nissuer = {ISSUER:?}\naudiences = [{AUDIENCE:?}]\n\
                 groups = [\"groups\"]\nskew_seconds = 0\njwks_file = {:?}",
                text("jwks.json")
            ),
        ];
        let cluster = cluster
            .access("host all +warder_read,+warder_write all scram-sha-256")
            .access("host all warder_minter all scram-sha-256");
        let proxy = vec!["workers = 2".to_owned(), "drain_seconds = 1".to_owned()];
        let options =
            StageOptions { cluster, guard, proxy, tls: Some("server-certificate"), ..StageOptions::default() };
        let fault_file = path("fault");
        let stage = Stage::start_with(&options, &[("WARDER_FAULT_FILE", &text("fault"))])?;
        stage.wait_listening(port)?;
        let minting = Self { stage, port, fault_file, key, folder };
        minting.setup("--apply")?;
        minting.stage.cluster.sql(
            "create table kept as select generate_series(1, 100) as id;
             grant select on kept to warder_read; grant all on kept to warder_write;
             grant create, usage on schema public to warder_write; grant usage on schema public to warder_read",
        )?;
        Ok(minting)
    }

    /// `warder setup postgres`.
    ///
    /// # Errors
    /// When it refuses.
    pub fn setup(&self, verb: &str) -> Result<String> {
        let server = self.stage.cluster.uri(Route::Unix, "postgres", "postgres");
        let output = process::run(&mut self.stage.agent.command(&["setup", "postgres", verb, "--dsn", &server]))?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Other policies; they decide when the agent has seen them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn set_policies(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.folder.path().join("policies/test.cedar"), text)?)
    }

    /// A token of somebody in this group, that ends so many seconds from now.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, who: &str, group: &str, seconds: u64) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = json!({
            "iss": ISSUER, "sub": who, "aud": AUDIENCE, "iat": now - 10, "exp": now + seconds, "groups": [group],
        });
        self.key.token("ES256", &claims)
    }

    /// A grant for this time that is active at once, of whoever has this token; its number.
    ///
    /// # Errors
    /// When it is refused.
    pub fn break_glass(&self, token: &str, time: &str) -> Result<String> {
        let file = self.folder.path().join("token");
        fs::write(&file, token)?;
        let mut ask = self.stage.agent.command(&["grant", "request", "--break-glass", "--json"]);
        ask.arg("--token-file").arg(file).args([
            "--database",
            "test",
            "--action",
            "Delete",
            "--relation",
            "public.kept",
        ]);
        let output = process::run(ask.args(["--for", time, "--purpose", "cleaning"]))?;
        let granted: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        Ok(granted["grant"].as_str().with_context(|| granted.to_string())?.to_owned())
    }

    /// psql with a token, one session for these statements.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn psql(&self, token: &str, sql: &str) -> Result<Output> {
        process::run_any(self.client(token).args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]))
    }

    /// What it prints; it must not fail.
    ///
    /// # Errors
    /// When it does.
    pub fn answer(&self, token: &str, sql: &str) -> Result<String> {
        let output = self.psql(token, sql)?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{sql}: {errors}\n{}", self.stage.agent.log()?);
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// A psql that stays.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn session(&self, token: &str) -> Result<Running> {
        let mut command = self.client(token);
        command.args(["-XqAt"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        Running::start("psql", Signal::SIGTERM, &mut command)
    }

    fn client(&self, token: &str) -> Command {
        let mut command = self.stage.client(Place::Outside, "psql");
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGPASSWORD", token);
        command.env("PGUSER", "whoever").env("PGDATABASE", "postgres");
        command
    }

    /// Waits until a session runs something.
    ///
    /// # Errors
    /// When none does.
    pub fn wait_running(&self) -> Result<()> {
        wait::until("a statement that runs", wait::PATIENCE, || {
            Ok((self.stage.cluster.sql(RUNNING)? != "0").then_some(()))
        })
    }

    /// Waits until no role of a session is left.
    ///
    /// # Errors
    /// When one stays.
    pub fn wait_clean(&self) -> Result<()> {
        wait::until("the end of all roles of sessions", wait::PATIENCE, || {
            Ok((self.stage.cluster.sql(ROLES)? == "0").then_some(()))
        })
        .with_context(|| self.stage.agent.log().unwrap_or_default())
    }

    /// Waits until this was recorded.
    ///
    /// # Errors
    /// When it was not.
    pub fn wait_step(&self, step: &str, is_it: impl Fn(&Credential) -> bool) -> Result<Credential> {
        self.stage.agent.events().wait_for(step, wait::PATIENCE, |events| {
            credentials(events).find(|credential| credential.step == step && is_it(credential)).cloned()
        })
    }
}

/// What became of roles.
pub fn credentials(events: &[Event]) -> impl Iterator<Item = &Credential> {
    events.iter().filter_map(|event| match &event.what {
        What::Credential(credential) => Some(&**credential),
        _ => None,
    })
}
