//! Every supported major of the server behind a way, and the newest protocol.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::drivers::{self, Amount, DRIVERS};
use warder_tests::route::Route;
use warder_tests::suite_major::{Major, ServerPrograms};
use warder_tests::suite_scenes::{self, Scene};
use warder_tests::way::{self, Kind};
use warder_tests::{process, tooling};

fn options(programs: &ServerPrograms) -> ClusterOptions {
    ClusterOptions { server_programs: Some(programs.folder()), ..ClusterOptions::default() }
}

/// The short form plays over one of them with each major.
fn routes(major: Major) -> &'static [Route] {
    match major.number {
        _ if tooling::long_form() => &[Route::Tcp, Route::Tls],
        even if even % 2 == 0 => &[Route::Tls],
        _odd => &[Route::Tcp],
    }
}

fn check(major: Major) -> Result<()> {
    let programs = ServerPrograms::of(major)?;
    // The distribution's pg_dump refuses servers that are newer than itself.
    let players = DRIVERS.iter().filter(|driver| driver.name != "pg_dump");
    let scene = Scene { server: options(&programs), amount: Amount { rounds: 1 }, drivers: players.collect() };
    let mut wrong = Vec::new();
    for &route in routes(major) {
        let direct = scene.told(Kind::Direct, route)?;
        for kind in way::under_test_over(route)? {
            wrong.extend(suite_scenes::differences(&direct, &scene.told(kind, route)?, kind, route));
            eprintln!("PostgreSQL {} through {} over {route}", major.number, kind.name());
        }
    }
    ensure!(wrong.is_empty(), "PostgreSQL {}:\n{}", major.number, wrong.join("\n"));
    Ok(())
}

#[test]
fn every_major_tells_the_same() -> Result<()> {
    Major::ALL.into_iter().try_for_each(check)
}

#[test]
fn protocol_3_2_passes_with_its_longer_keys() -> Result<()> {
    let programs = ServerPrograms::of(Major::NEWEST)?;
    for kind in way::under_test()? {
        for &route in kind.routes() {
            let cluster = Cluster::start(&options(&programs))?;
            let passage = suite_scenes::open(kind, &cluster, route)?;
            let mut python = Command::new(tooling::python_environment()?.join("bin/python"));
            python.envs(passage.way.environment(route)?).arg(drivers::scripts().join("protocol_scene.py"));
            let output = process::run(&mut python).with_context(|| format!("{} over {route}", kind.name()))?;
            let said = String::from_utf8(output.stdout)?;
            ensure!(said.trim() == "30002 cancelled 57014 alive", "{} over {route}: {said}", kind.name());
        }
    }
    Ok(())
}
