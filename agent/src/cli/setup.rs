//! `warder setup`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use store::keys::{random_secret, read_secret, write_secret};
use tokio::task::LocalSet;
use zeroize::Zeroizing;

use super::{ConfigArg, EXIT_CODES};
use crate::config::catalogue::CatalogueLogin;
use crate::config::{Config, Database};
use crate::setup_plan::Plan;
use crate::{catalogue_role, minting_roles, setup_plan, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum Setup {
    /// Make the roles that the agent needs: one that reads which objects a database has, and those that minting needs
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
    /// Take the roles away again, except for groups that were given something; the password files stay
    #[arg(long)]
    undo: bool,
    /// Name of a [[database]] [default: the only one that needs roles]
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
        let database = arguments.database(&config)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let said = LocalSet::new().block_on(&runtime, arguments.carry_out(database))?;
        Ok(terminal::print(&said)?)
    }
}

impl Postgres {
    fn database<'a>(&self, config: &'a Config) -> Result<&'a Database> {
        let is_meant = |name: &str| self.database.as_deref().is_none_or(|wanted| wanted == name);
        let needs_roles = |database: &&Database| database.catalogue.is_some() || database.minted().is_some();
        let databases = config.databases.iter().filter(|database| is_meant(&database.name));
        let databases: Vec<&Database> = databases.filter(needs_roles).collect();
        match databases[..] {
            [database] => Ok(database),
            [] => bail!(
                "no such database has a [database.catalogue] with user and password_file, or a [database.proxy.login] \
                 with mode = \"minted\": add it first"
            ),
            _ => bail!("several databases need roles: name one with --database"),
        }
    }

    async fn carry_out(&self, database: &Database) -> Result<String> {
        let client = setup_plan::connect(self.dsn.as_deref()).await?;
        let mut plan = Plan::default();
        if let Some(login) = &database.catalogue {
            plan.append(match self.undo {
                true => catalogue_role::undo(&client, &login.user).await?,
                false => catalogue_role::plan(&client, &login.user, &self.password(&login.password_file)?).await?,
            });
        }
        if let Some(minted) = database.minted() {
            plan.append(match self.undo {
                true => minting_roles::undo(&client, minted).await?,
                false => minting_roles::plan(&client, minted, &self.password(&minted.password_file)?).await?,
            });
        }
        if plan.is_empty() {
            return Ok("there are no such roles\n".to_owned());
        }
        let mut said = plan.text();
        if !self.plan {
            plan.run(&client).await?;
            said += "-- done\n";
        }
        if !self.undo {
            said += &remarks(database)?;
        }
        Ok(said)
    }

    /// The one in the file. To apply, a new one is kept there before the server hears of it.
    fn password(&self, path: &Path) -> Result<Zeroizing<String>> {
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

/// What has to be done besides.
fn remarks(database: &Database) -> Result<String> {
    let mut said = String::new();
    if let Some(CatalogueLogin { user, .. }) = &database.catalogue {
        writeln!(
            said,
            "-- pg_hba.conf must let it in from this host, for example: host all {user} 127.0.0.1/32 scram-sha-256"
        )?;
    }
    if let Some(minted) = database.minted() {
        said += &minting_roles::remarks(minted);
    }
    Ok(said)
}
