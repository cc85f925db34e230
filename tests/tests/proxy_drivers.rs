//! Drivers and tools tell the same through a way as directly: plain and TLS, each scene on a fresh server.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::drivers::{self, Amount, DRIVERS};
use warder_tests::events::{self, Session};
use warder_tests::route::Route;
use warder_tests::stage::{Stage, StageOptions};
use warder_tests::suite_scenes::{self, Scene};
use warder_tests::way::{self, Kind, WayIn};
use warder_tests::{directory, process, tooling, wait};

#[test]
fn drivers_tell_the_same() -> Result<()> {
    let amount = Amount { rounds: if tooling::long_form() { 20 } else { 2 } };
    let scene = Scene { server: ClusterOptions::default(), amount, drivers: DRIVERS.iter().collect() };
    let mut wrong = Vec::new();
    for route in Route::ALL {
        if way::under_test_over(route)?.is_empty() {
            continue;
        }
        let direct = scene.told(Kind::Direct, route)?;
        for kind in way::under_test_over(route)? {
            wrong.extend(suite_scenes::differences(&direct, &scene.told(kind, route)?, kind, route));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What is done about TLS in front of the server.
fn tls_of_steered() -> &'static [&'static str] {
    if tooling::long_form() { &["relay", "server-certificate", "own-certificate"] } else { &["server-certificate"] }
}

/// A fresh server that is steered, in a network namespace of its own, and the way of its clients there.
fn steered(tls: &'static str) -> Result<(Stage, WayIn)> {
    let stage =
        Stage::start_steered(&StageOptions { tls: (tls != "relay").then_some(tls), ..StageOptions::default() })?;
    stage.cluster.prepare_pgbench(1)?;
    let way =
        WayIn { name: format!("steered, {tls}"), wrapper: stage.namespace.enter(), ..WayIn::direct(&stage.cluster) };
    Ok((stage, way))
}

/// Each session over TCP went through the proxy; those over the Unix socket are the test's own.
fn check_steered(stage: &mut Stage, sessions_min: u64) -> Result<()> {
    let ledger = stage.ledger_after_stop()?;
    let around = ledger.keys().find(|class| !matches!(class.as_str(), "mediated" | "bypass/unix_socket"));
    let mediated = ledger.get("mediated").copied().unwrap_or(0);
    ensure!(around.is_none() && mediated >= sessions_min, "not all of {sessions_min} went through: {ledger:?}");
    Ok(())
}

/// In the long form they tell the same as directly; in the short one the scripts check their answers themselves.
#[test]
fn steered_drivers_get_their_answers() -> Result<()> {
    let amount = Amount { rounds: if tooling::long_form() { 20 } else { 1 } };
    let scene = Scene { server: ClusterOptions::default(), amount, drivers: DRIVERS.iter().collect() };
    let mut wrong = Vec::new();
    for route in [Route::Tcp, Route::Tls] {
        let direct = tooling::long_form().then(|| scene.told(Kind::Direct, route)).transpose()?;
        for tls in tls_of_steered() {
            let (mut stage, way) = steered(tls)?;
            let told = scene.told_along(&way, route)?;
            wrong.extend(direct.iter().flat_map(|one| suite_scenes::differences(one, &told, Kind::Steered, route)));
            // Of psql, whose script fails on purpose, the exit says nothing.
            stage.agent.events().wait_for("the session of psql", wait::PATIENCE, |all| {
                let is_it = |one: &Session| {
                    one.application_name.as_deref() == Some("psql")
                        && one.encryption.as_deref() == Some(route.encryption())
                        && one.statements.is_some_and(|number| number > 20)
                };
                events::closed(all).any(is_it).then_some(())
            })?;
            check_steered(&mut stage, DRIVERS.len() as u64).with_context(|| format!("{way} over {route}"))?;
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// `pg_dump` along a way, in one of its formats.
fn dump(way: &WayIn, route: Route, database: &str, words: &[&str], to: &Path) -> Result<()> {
    let mut command = way.client("pg_dump", route)?;
    command.args(["--no-sync", "-d", database]).args(words).arg("-f").arg(to);
    process::run(&mut way.wrapped(command)).map(drop)
}

fn plain_dump(way: &WayIn, route: Route, database: &str, to: &Path) -> Result<String> {
    dump(way, route, database, &[], to)?;
    // Newer dumps are bracketed by a random key.
    let text = std::fs::read_to_string(to).with_context(|| to.display().to_string())?;
    let lines = text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn dumps_through(kind: Kind, route: Route) -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let passage = suite_scenes::open(kind, &cluster, route)?;
    check_dumps(&cluster, &passage.way, route)
}

/// A dump of a realistic database through the way is the direct one; what is restored through the way from the custom and
/// the folder format (four connections at once) is the original.
fn check_dumps(cluster: &Cluster, way: &WayIn, route: Route) -> Result<()> {
    cluster.sql("create database shop")?;
    let direct = WayIn::direct(cluster);
    let script = drivers::scripts().join("shop.sql");
    let mut psql = direct.client("psql", Route::Unix)?;
    process::run(psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", "shop", "-o", "/dev/null", "-f"]).arg(script))?;
    let folder = directory::private("dump")?;
    let path = |name: &str| folder.path().join(name);
    let original = plain_dump(&direct, Route::Unix, "shop", &path("original.sql"))?;
    ensure!(original.len() > 2_000_000, "the database is too small: {} bytes", original.len());
    let through = plain_dump(way, route, "shop", &path("through.sql"))?;
    ensure!(original == through, "the dump through {way} over {route} differs");
    for (format, jobs) in [("custom", "1"), ("directory", "4")] {
        let (file, copy) = (path(format), format!("copy_{format}"));
        dump(way, route, "shop", &["-F", format, "-j", jobs], &file)?;
        cluster.sql(&format!("create database {copy}"))?;
        let mut restore = way.client("pg_restore", route)?;
        restore.args(["--exit-on-error", "-j", "4", "-d", &copy]).arg(&file);
        process::run(&mut way.wrapped(restore))?;
        let copied = plain_dump(&direct, Route::Unix, &copy, &path("copy.sql"))?;
        ensure!(original == copied, "what was restored through {way} over {route} from {format} differs");
    }
    eprintln!("dumps through {way} over {route}: {} bytes, the same", original.len());
    Ok(())
}

#[test]
fn a_realistic_database_is_dumped_and_restored() -> Result<()> {
    for kind in way::under_test()? {
        for route in kind.routes() {
            dumps_through(kind, *route)?;
        }
    }
    let routes: &[Route] = if tooling::long_form() { &[Route::Tcp, Route::Tls] } else { &[Route::Tls] };
    for tls in tls_of_steered() {
        for &route in routes {
            let (mut stage, way) = steered(tls)?;
            check_dumps(&stage.cluster, &way, route)?;
            check_steered(&mut stage, 5)?;
        }
    }
    Ok(())
}
