//! Drivers and tools tell the same through a way as directly: plain and TLS, each scene on a fresh server.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::drivers::{self, Amount, DRIVERS};
use warder_tests::route::Route;
use warder_tests::suite_scenes::{self, Scene};
use warder_tests::way::{self, Kind, WayIn};
use warder_tests::{directory, process, tooling};

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

/// `pg_dump` along a way, in one of its formats.
fn dump(way: &WayIn, route: Route, database: &str, words: &[&str], to: &Path) -> Result<()> {
    let mut command = way.client("pg_dump", route)?;
    command.args(["--no-sync", "-d", database]).args(words).arg("-f").arg(to);
    process::run(&mut command).map(drop)
}

fn plain_dump(way: &WayIn, route: Route, database: &str, to: &Path) -> Result<String> {
    dump(way, route, database, &[], to)?;
    // Newer dumps are bracketed by a random key.
    let text = std::fs::read_to_string(to).with_context(|| to.display().to_string())?;
    let lines = text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// A dump through the way is the direct one; what is restored through the way from the custom and the folder format
/// (four connections at once) is the original.
fn check_dumps(kind: Kind, route: Route) -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.sql("create database shop")?;
    let direct = WayIn::direct(&cluster);
    let script = drivers::scripts().join("shop.sql");
    let mut psql = direct.client("psql", Route::Unix)?;
    process::run(psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", "shop", "-o", "/dev/null", "-f"]).arg(script))?;
    let passage = suite_scenes::open(kind, &cluster, route)?;
    let folder = directory::private("dump")?;
    let path = |name: &str| folder.path().join(name);
    let original = plain_dump(&direct, Route::Unix, "shop", &path("original.sql"))?;
    ensure!(original.len() > 2_000_000, "the database is too small: {} bytes", original.len());
    let through = plain_dump(&passage.way, route, "shop", &path("through.sql"))?;
    ensure!(original == through, "the dump through {} over {route} differs", kind.name());
    for (format, jobs) in [("custom", "1"), ("directory", "4")] {
        let (file, copy) = (path(format), format!("copy_{format}"));
        dump(&passage.way, route, "shop", &["-F", format, "-j", jobs], &file)?;
        cluster.sql(&format!("create database {copy}"))?;
        let mut restore = passage.way.client("pg_restore", route)?;
        process::run(restore.args(["--exit-on-error", "-j", "4", "-d", &copy]).arg(&file))?;
        let copied = plain_dump(&direct, Route::Unix, &copy, &path("copy.sql"))?;
        ensure!(original == copied, "what was restored through {} over {route} from {format} differs", kind.name());
    }
    eprintln!("dumps through {} over {route}: {} bytes, the same", kind.name(), original.len());
    Ok(())
}

#[test]
fn a_realistic_database_is_dumped_and_restored() -> Result<()> {
    for kind in way::under_test()? {
        for route in kind.routes() {
            check_dumps(kind, *route)?;
        }
    }
    Ok(())
}
