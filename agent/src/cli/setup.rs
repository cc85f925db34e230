//! `warder setup`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use store::keys::{random_secret, read_secret, write_secret};
use tokio::task::LocalSet;
use zeroize::Zeroizing;

use super::{ConfigArg, EXIT_CODES};
use crate::config::Config;
use crate::config::catalogue::CatalogueLogin;
use crate::{catalogue_role, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum Setup {
    /// Make the role with which the agent reads which objects a database has; it needs no right beyond a login
    #[command(after_help = EXIT_CODES)]
    Postgres(Postgres),
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("verb").required(true).args(["plan", "apply", "undo"])))]
pub(super) struct Postgres {
    /// Show the statements, and change nothing
    #[arg(long)]
    plan: bool,
    /// Show the statements and run them; makes the password file where there is none. Can be repeated
    #[arg(long)]
    apply: bool,
    /// Take the role away again; the password file stays
    #[arg(long)]
    undo: bool,
    /// Name of a [[database]] [default: the only one with a [database.catalogue]]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Where to log in as somebody who may make roles [default: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE]
    #[arg(long, value_name = "DSN")]
    dsn: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
}

impl Setup {
    pub(super) fn run(&self) -> Result<()> {
        let Self::Postgres(arguments) = self;
        let config = arguments.config.load()?;
        let login = arguments.login(&config)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let said = LocalSet::new().block_on(&runtime, arguments.carry_out(login))?;
        Ok(terminal::print(&said)?)
    }
}

impl Postgres {
    fn login<'a>(&self, config: &'a Config) -> Result<&'a CatalogueLogin> {
        let is_meant = |name: &str| self.database.as_deref().is_none_or(|wanted| wanted == name);
        let databases = config.databases.iter().filter(|database| is_meant(&database.name));
        let logins: Vec<&CatalogueLogin> = databases.filter_map(|database| database.catalogue.as_ref()).collect();
        match logins[..] {
            [login] => Ok(login),
            [] => bail!("no such database has a [database.catalogue] with user and password_file: add it first"),
            _ => bail!("several databases have a [database.catalogue]: name one with --database"),
        }
    }

    async fn carry_out(&self, login: &CatalogueLogin) -> Result<String> {
        let client = catalogue_role::connect(self.dsn.as_deref()).await?;
        if self.undo {
            let plan = catalogue_role::undo(&client, &login.user).await?;
            if plan.is_empty() {
                return Ok(format!("there is no role {}\n", terminal::escape(&login.user)));
            }
            plan.run(&client).await?;
            return Ok(plan.text() + "-- done\n");
        }
        let password = self.password(login)?;
        let plan = catalogue_role::plan(&client, &login.user, &password).await?;
        let mut said = plan.text();
        if self.apply {
            plan.run(&client).await?;
            said += "-- done\n";
        }
        let user = &login.user;
        writeln!(
            said,
            "-- pg_hba.conf must let it in from this host, for example: host all {user} 127.0.0.1/32 scram-sha-256"
        )?;
        Ok(said)
    }

    /// The one in the file. To apply, a new one is kept there before the server hears of it.
    fn password(&self, login: &CatalogueLogin) -> Result<Zeroizing<String>> {
        let path = &login.password_file;
        if let Some(text) = read_secret(path)? {
            let password = text.lines().next().filter(|line| !line.is_empty());
            return Ok(Zeroizing::new(password.with_context(|| format!("{} is empty", path.display()))?.to_owned()));
        }
        let mut password = Zeroizing::new(String::with_capacity(64));
        for byte in *random_secret(path)? {
            write!(password, "{byte:02x}")?;
        }
        if self.apply {
            write_secret(path, &password)?;
        }
        Ok(password)
    }
}
