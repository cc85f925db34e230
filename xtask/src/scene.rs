//! The scene that `demo` plays: customer data, and clients of every kind against it.

use std::process::{Command, Stdio};

use anyhow::Result;
use nix::sys::signal::Signal;
use warder_tests::account::Account;
use warder_tests::agent::Agent;
use warder_tests::cluster::Cluster;
use warder_tests::process::{self, Running};
use warder_tests::route::Route;
use warder_tests::{directory, drivers, tooling};

use crate::interrupt::Interrupt;
use crate::people::{People, Player};
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
}

/// What the clients need.
pub(crate) struct Props<'a> {
    /// The agent.
    pub(crate) agent: &'a Agent,
    /// Who they are.
    pub(crate) people: &'a People,
    /// Where the proxy is.
    pub(crate) proxy_port: u16,
}

/// One entrance: what the audience is told, and what happens.
struct Entrance {
    told: &'static str,
    play: fn(&mut Stage<'_>, &Props<'_>) -> Result<()>,
}

const ENTRANCES: &[Entrance] = &[
    Entrance { told: "an analyst with a token, through the proxy", play: an_analyst },
    Entrance { told: "an AI agent that acts for her: it reads, and may not delete", play: an_agent },
    Entrance { told: "an engineer: DROP and a DELETE without WHERE are refused, the rest is not", play: an_engineer },
    Entrance { told: "`warder exec`: a script that knows nothing of tokens", play: a_bound_script },
    Entrance { told: "a cron job that gets around the proxy, by the Unix socket", play: a_cron_job },
    Entrance { told: "psql around the proxy, over TLS", play: over_tls },
    Entrance { told: "three short-lived clients", play: short_lived },
    Entrance { told: "a mistyped statement and one without permission", play: errors },
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
        Ok(Self { cluster, early })
    }

    /// Plays all entrances.
    pub(crate) fn play(mut self, props: Props<'_>, interrupt: &Interrupt) -> Result<()> {
        for entrance in ENTRANCES {
            interrupt.check()?;
            note(entrance.told);
            (entrance.play)(&mut self, &props)?;
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

/// psql through the proxy, as somebody.
fn shown(stage: &Stage<'_>, props: &Props<'_>, player: &Player) -> Command {
    let mut command = client(stage.cluster, "psql", Route::Tls, ROLE);
    command.env("PGPORT", props.proxy_port.to_string()).env("PGPASSWORD", &player.token).arg("-XqAt");
    command
}

fn an_analyst(stage: &mut Stage<'_>, props: &Props<'_>) -> Result<()> {
    let sql = "select country, count(*) from customers group by country";
    run(shown(stage, props, props.people.player("analyst")?).args(["-c", sql]))
}

fn an_agent(stage: &mut Stage<'_>, props: &Props<'_>) -> Result<()> {
    let mut command = shown(stage, props, props.people.player("agent")?);
    command.args(["-c", "select max(total) from orders", "-c", "delete from orders where total < 10"]);
    refused(&mut command)
}

fn an_engineer(stage: &mut Stage<'_>, props: &Props<'_>) -> Result<()> {
    let mut command = shown(stage, props, props.people.player("engineer")?);
    command.args(["-c", "drop table orders cascade", "-c", "delete from orders", "-c"]);
    refused(command.arg("delete from orders where id = 7"))
}

/// psql says with its status that something was refused.
fn refused(command: &mut Command) -> Result<()> {
    process::run_any(command).map(drop)
}

fn a_bound_script(stage: &mut Stage<'_>, props: &Props<'_>) -> Result<()> {
    let script = stage.cluster.directory().join("monthly_report.sh");
    std::fs::write(&script, include_str!("demo/monthly_report.sh"))?;
    let mut command = Command::new(props.agent.binary());
    command.arg("exec").arg("--socket").arg(props.agent.exec_socket());
    command.arg("--token-file").arg(&props.people.player("analyst")?.file);
    command.args(["--purpose", "INC-4711: customers by country", "--", "sh"]).arg(script);
    command.envs(stage.cluster.environment(Route::Tls)).env("PGPORT", props.proxy_port.to_string());
    run(command.env("PGUSER", ROLE).env("PGDATABASE", DATABASE))
}

fn a_cron_job(stage: &mut Stage<'_>, _props: &Props<'_>) -> Result<()> {
    // The other user may not be able to read this clone.
    let script = stage.cluster.directory().join("export_customers.py");
    let nobody = Account::nobody()?;
    let source = std::fs::read_to_string(drivers::scripts().join("raw_client.py"))?;
    directory::write_owned(&script, &source, &nobody, 0o644)?;
    let mut command = process::command_as(&nobody, tooling::SYSTEM_PYTHON);
    command.arg(&script).arg(stage.cluster.socket_directory()).arg(stage.cluster.port().to_string());
    run(command.arg("select usename, client_addr from pg_stat_activity where datname = 'shop'").current_dir("/"))
}

fn over_tls(stage: &mut Stage<'_>, _props: &Props<'_>) -> Result<()> {
    let sql = "select name, email, iban from customers where id = 42";
    run(client(stage.cluster, "psql", Route::Tls, ROLE).args(["-XqAt", "-c", sql]))
}

fn short_lived(stage: &mut Stage<'_>, _props: &Props<'_>) -> Result<()> {
    for route in Route::ALL {
        run(client(stage.cluster, "psql", route, ROLE).args(["-XqAt", "-c", "select 1"]))?;
    }
    Ok(())
}

fn errors(stage: &mut Stage<'_>, _props: &Props<'_>) -> Result<()> {
    let mut command = client(stage.cluster, "psql", Route::Tcp, "reporting");
    refused(command.args(["-XqAt", "-c", "selct count(*) from customers", "-c", "delete from orders"]))
}

fn the_early_session(stage: &mut Stage<'_>, _props: &Props<'_>) -> Result<()> {
    stage.early.write_line(LAST_STATEMENT)?;
    stage.early.read_line()?;
    stage.early.close_input();
    stage.early.wait(warder_tests::wait::PATIENCE).map(drop)
}
