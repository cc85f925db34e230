//! The client programs of the tests: a table, each line one driver and how it is started.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};

use crate::cluster::Cluster;
use crate::route::Route;
use crate::way::WayIn;
use crate::{process, tooling};

/// How much a driver does.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Repetitions of its script, or transactions per pgbench client.
    pub rounds: u32,
}

/// A client program that plays a fixed scene of statements.
pub struct Driver {
    /// Name in messages.
    pub name: &'static str,
    command: fn(&WayIn, Route, Amount) -> Result<Command>,
    /// The scene contains errors on purpose: the exit status says nothing.
    fails_on_purpose: bool,
}

/// All drivers: the tools people use and all wire styles.
pub const DRIVERS: &[Driver] = &[
    Driver { name: "psql", command: psql, fails_on_purpose: true },
    Driver { name: "pgbench-simple", command: |c, r, a| pgbench(c, r, a, "simple"), fails_on_purpose: false },
    Driver { name: "pgbench-extended", command: |c, r, a| pgbench(c, r, a, "extended"), fails_on_purpose: false },
    Driver { name: "pgbench-prepared", command: |c, r, a| pgbench(c, r, a, "prepared"), fails_on_purpose: false },
    Driver { name: "psycopg2", command: |c, r, a| python(c, r, a, "psycopg2_scene.py"), fails_on_purpose: false },
    Driver { name: "psycopg", command: |c, r, a| python(c, r, a, "psycopg_scene.py"), fails_on_purpose: false },
    Driver { name: "asyncpg", command: |c, r, a| python(c, r, a, "asyncpg_scene.py"), fails_on_purpose: false },
    Driver {
        name: "tokio-postgres",
        command: |c, r, a| own_program(c, r, a, "tokio-postgres-driver"),
        fails_on_purpose: false,
    },
    Driver { name: "sqlx", command: |c, r, a| own_program(c, r, a, "sqlx-driver"), fails_on_purpose: false },
    Driver { name: "node-pg", command: node, fails_on_purpose: false },
    Driver { name: "pg_dump", command: pg_dump, fails_on_purpose: false },
];

impl Driver {
    /// Plays the scene against `cluster` over `route`.
    ///
    /// # Errors
    /// When the driver is missing or its scene does not go as written.
    pub fn play(&self, cluster: &Cluster, route: Route, amount: Amount) -> Result<()> {
        self.play_along(&WayIn::direct(cluster), route, amount).map(drop)
    }

    /// Plays the scene along `way`; returns what the driver printed.
    ///
    /// # Errors
    /// As [`Driver::play`].
    pub fn play_along(&self, way: &WayIn, route: Route, amount: Amount) -> Result<Output> {
        let command = (self.command)(way, route, amount).with_context(|| format!("driver {}", self.name))?;
        let mut command = way.wrapped(command);
        command.envs(way.environment(route)?).env("PGAPPNAME", self.name);
        let output = process::run_any(&mut command)?;
        anyhow::ensure!(
            output.status.success() || self.fails_on_purpose,
            "driver {} through {way} over {route} ended with {}:\n{}{}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output)
    }
}

/// Folder of the scripts.
#[must_use]
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers")
}

fn psql(way: &WayIn, route: Route, amount: Amount) -> Result<Command> {
    let mut command = way.client("psql", route)?;
    command.args(["-Xq", "-v", &format!("route={route}"), "-v", &format!("folder={}", scripts().display())]);
    for _ in 0..amount.rounds {
        command.arg("-f").arg(scripts().join("psql_scene.sql"));
    }
    Ok(command)
}

fn pgbench(way: &WayIn, route: Route, amount: Amount, protocol: &str) -> Result<Command> {
    let mut command = way.client("pgbench", route)?;
    command.args(["-n", "-c", "4", "-j", "1", "-M", protocol, "-t", &(amount.rounds * 10).to_string()]);
    Ok(command)
}

fn python(_: &WayIn, _: Route, amount: Amount, script: &str) -> Result<Command> {
    let mut command = Command::new(tooling::python_environment()?.join("bin/python"));
    command.arg(scripts().join(script)).arg(amount.rounds.to_string());
    Ok(command)
}

fn node(_: &WayIn, _: Route, amount: Amount) -> Result<Command> {
    let mut command = Command::new("node");
    command.arg(scripts().join("node_scene.js")).arg(amount.rounds.to_string());
    // Warnings of node name its process.
    command.env("NODE_NO_WARNINGS", "1");
    command.env("NODE_PATH", tooling::node_environment()?.join("node_modules"));
    Ok(command)
}

fn own_program(_: &WayIn, _: Route, amount: Amount, name: &str) -> Result<Command> {
    let mut command = Command::new(sibling(name)?);
    command.arg(amount.rounds.to_string());
    Ok(command)
}

/// A program of this package: cargo puts it beside the folder of the test programs.
///
/// # Errors
/// When it was not built.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let found = folders.into_iter().find(|path| path.is_file());
    found.with_context(|| format!("{name} was not built beside {}", own.display()))
}

fn pg_dump(way: &WayIn, route: Route, _: Amount) -> Result<Command> {
    let mut command = way.client("pg_dump", route)?;
    command.args(["--no-sync", "-f", "/dev/null"]);
    Ok(command)
}
