//! The scene that `demo` plays: customer data, and clients of every kind against it.

use std::process::{Command, Stdio};

use anyhow::Result;
use nix::sys::signal::Signal;
use warder_tests::account::Account;
use warder_tests::cluster::Cluster;
use warder_tests::process::{self, Running};
use warder_tests::route::Route;
use warder_tests::{directory, drivers, tooling};

use crate::interrupt::Interrupt;
use crate::progress::note;

/// Database of the customer data.
pub(crate) const DATABASE: &str = "shop";

/// The application's role in it.
pub(crate) const ROLE: &str = "app";

/// Last statement of the scene: when it is recorded, everything is.
pub(crate) const LAST_STATEMENT: &str = "select count(*) as orders_tonight from orders;";

/// Roles and the database, as the superuser.
const ROLES: &[&str] = &["create role app login", "create role reporting login", "create database shop owner app"];

/// Customer data.
const CUSTOMERS: &str = "
    create table customers (
        id int generated always as identity primary key,
        name text not null,
        email text not null unique,
        iban text,
        country char(2) not null
    );
    create table orders (
        id int generated always as identity primary key,
        customer int not null references customers,
        placed timestamptz not null default now(),
        total numeric(10, 2) not null
    );
    insert into customers (name, email, iban, country)
        select 'Customer ' || n, 'customer' || n || '@example.com', 'DE' || lpad(n::text, 20, '0'),
               (array['DE', 'FR', 'PL', 'ES'])[1 + n % 4]
        from generate_series(1, 500) n;
    insert into orders (customer, total) select 1 + n % 500, (n * 7 % 900)::numeric + 0.99 from generate_series(1, 2000) n;
    grant select on customers, orders to reporting;
";

/// The stage: a cluster with its data, and the session that is older than the agent.
pub(crate) struct Stage<'a> {
    cluster: &'a Cluster,
    early: Running,
    proxy_port: u16,
}

/// One entrance: what the audience is told, and what happens.
struct Entrance {
    told: &'static str,
    play: fn(&mut Stage<'_>) -> Result<()>,
}

const ENTRANCES: &[Entrance] = &[
    Entrance { told: "psql over TCP", play: over_tcp },
    Entrance { told: "psql over TLS", play: over_tls },
    Entrance { told: "psql through the proxy", play: through_the_proxy },
    Entrance { told: "through the proxy: what its policies refuse", play: refused },
    Entrance { told: "psql over the Unix socket: a transaction", play: a_transaction },
    Entrance { told: "a Python script as another user", play: a_script },
    Entrance { told: "three short-lived clients", play: short_lived },
    Entrance { told: "a mistyped statement and a refused one", play: errors },
    Entrance { told: "the session that was open before the agent started", play: the_early_session },
];

impl<'a> Stage<'a> {
    /// Loads the data and opens a session, before the agent is started.
    pub(crate) fn set(cluster: &'a Cluster) -> Result<Self> {
        for statement in ROLES {
            cluster.sql(statement)?;
        }
        run(client(cluster, "psql", Route::Unix, ROLE).args(["-Xq", "-v", "ON_ERROR_STOP=1", "-c", CUSTOMERS]))?;
        let mut command = client(cluster, "psql", Route::Tcp, "reporting");
        command.arg("-XqAt").env("PGAPPNAME", "night-report");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut early = Running::start("the early session", Signal::SIGTERM, &mut command)?;
        early.write_line("select 'opened before the agent';")?;
        early.read_line()?;
        Ok(Self { cluster, early, proxy_port: 0 })
    }

    /// Plays all entrances.
    pub(crate) fn play(mut self, proxy_port: u16, interrupt: &Interrupt) -> Result<()> {
        self.proxy_port = proxy_port;
        for entrance in ENTRANCES {
            interrupt.check()?;
            note(entrance.told);
            (entrance.play)(&mut self)?;
        }
        Ok(())
    }
}

fn client(cluster: &Cluster, program: &str, route: Route, role: &str) -> Command {
    let mut command = cluster.client(program, route);
    command.env("PGUSER", role).env("PGDATABASE", DATABASE);
    command
}

fn run(command: &mut Command) -> Result<()> {
    process::run(command).map(drop)
}

fn over_tcp(stage: &mut Stage<'_>) -> Result<()> {
    let sql = "select name, country from customers where country = 'FR' order by id limit 5";
    run(client(stage.cluster, "psql", Route::Tcp, ROLE).args(["-XqAt", "-c", sql]))
}

fn over_tls(stage: &mut Stage<'_>) -> Result<()> {
    let sql = "select name, email, iban from customers where id = 42";
    run(client(stage.cluster, "psql", Route::Tls, ROLE).args(["-XqAt", "-c", sql]))
}

fn through_the_proxy(stage: &mut Stage<'_>) -> Result<()> {
    let sql = "select count(*) as customers from customers";
    let mut command = client(stage.cluster, "psql", Route::Tls, ROLE);
    run(command.env("PGPORT", stage.proxy_port.to_string()).args(["-XqAt", "-c", sql]))
}

fn refused(stage: &mut Stage<'_>) -> Result<()> {
    let mut command = client(stage.cluster, "psql", Route::Tls, ROLE);
    command.env("PGPORT", stage.proxy_port.to_string()).args(["-XqAt", "-c", "drop table orders cascade"]);
    command.args(["-c", "update customers set country = 'FR'", "-c", "delete from orders where id = 7 and total < 0"]);
    // psql says with its status that something was refused.
    process::run_any(&mut command).map(drop)
}

fn a_transaction(stage: &mut Stage<'_>) -> Result<()> {
    let mut command = client(stage.cluster, "psql", Route::Unix, ROLE);
    command.args(["-XqAt", "-c", "begin", "-c", "insert into orders (customer, total) values (42, 129.90)"]);
    run(command.args(["-c", "update customers set name = 'Customer 42 (regular)' where id = 42", "-c", "commit"]))
}

fn a_script(stage: &mut Stage<'_>) -> Result<()> {
    // The other user may not be able to read this clone.
    let script = stage.cluster.directory().join("export_customers.py");
    let nobody = Account::nobody()?;
    let source = std::fs::read_to_string(drivers::scripts().join("raw_client.py"))?;
    directory::write_owned(&script, &source, &nobody, 0o644)?;
    let mut command = process::command_as(&nobody, tooling::SYSTEM_PYTHON);
    command.arg(&script).args(["127.0.0.1", &stage.cluster.port().to_string()]);
    run(command.arg("select usename, client_addr from pg_stat_activity where datname = 'shop'").current_dir("/"))
}

fn short_lived(stage: &mut Stage<'_>) -> Result<()> {
    for route in Route::ALL {
        run(client(stage.cluster, "psql", route, ROLE).args(["-XqAt", "-c", "select 1"]))?;
    }
    Ok(())
}

fn errors(stage: &mut Stage<'_>) -> Result<()> {
    let mut command = client(stage.cluster, "psql", Route::Tcp, "reporting");
    command.args(["-XqAt", "-c", "selct count(*) from customers", "-c", "delete from orders"]);
    // psql says with its status that the server refused.
    process::run_any(&mut command).map(drop)
}

fn the_early_session(stage: &mut Stage<'_>) -> Result<()> {
    stage.early.write_line(LAST_STATEMENT)?;
    stage.early.read_line()?;
    stage.early.close_input();
    stage.early.wait(warder_tests::wait::PATIENCE).map(drop)
}
