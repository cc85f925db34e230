//! PostgreSQL's own tests say the same through a way as directly: regression, isolation, pipelines of libpq.

use anyhow::{Result, ensure};
use warder_tests::route::Route;
use warder_tests::suite_pipeline;
use warder_tests::suite_regress::{self, Selection, Suite};
use warder_tests::tooling;
use warder_tests::way::{self, Kind, Passage};

/// The short form: what the wire is made of, and little that is only about planning. `test_setup` makes the tables.
const REGRESS_SHORT: &[&str] = &[
    "test_setup",
    // Every type's text form, both directions.
    "boolean char name varchar text int2 int4 int8 oid float4 float8 bit numeric uuid enum money rangetypes",
    "strings date time timetz timestamp timestamptz interval inet json jsonb arrays",
    // COPY in all its forms, and errors in it.
    "copy copyselect copydml insert",
    "create_index",
    // Transactions, cursors, prepared statements, errors and what follows them.
    "transactions portals prepare prepared_xacts errors plancache portals_p2",
    // What clients set and what the server tells by itself; psql's own ways.
    "guc async psql psql_crosstab largeobject",
    // Roles, sessions that become another user, notices from functions.
    "privileges rolenames plpgsql",
];

/// The short form of the isolation tests: blocked sessions, deadlocks, cancelled and lost ones, notifications.
const ISOLATION_SHORT: &[&str] = &[
    "read-only-anomaly",
    "simple-write-skew",
    "deadlock-simple",
    "lock-update-delete",
    "nowait",
    "skip-locked",
    "async-notify",
    "timeouts",
    "two-ids",
    "insert-conflict-do-nothing",
];

fn selection(short: &'static [&'static str]) -> Selection {
    if tooling::long_form() { Selection::Everything } else { Selection::Chosen(short) }
}

/// Plays a suite directly and through each way, each time on a fresh server.
fn check(suite: Suite, selection: Selection, route: Route) -> Result<()> {
    if way::under_test_over(route)?.is_empty() {
        return Ok(());
    }
    let direct = played(suite, selection, Kind::Direct, route)?;
    let mut wrong = Vec::new();
    for kind in way::under_test_over(route)? {
        let through = played(suite, selection, kind, route)?;
        let found = suite_regress::differences(&direct, &through);
        eprintln!("{suite:?} through {} over {route}: {} files, {} differ", kind.name(), direct.len(), found.len());
        wrong.extend(found.into_iter().map(|text| format!("{}: {text}", kind.name())));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn played(suite: Suite, selection: Selection, kind: Kind, route: Route) -> Result<suite_regress::Results> {
    let cluster = suite_regress::fresh_cluster()?;
    let passage = Passage::open(kind, &cluster)?;
    suite_regress::play(suite, selection, &cluster, &passage.way, route)
}

#[test]
fn regression_tests_say_the_same() -> Result<()> {
    [Route::Tcp, Route::Unix].into_iter().try_for_each(|route| check(Suite::Regress, selection(REGRESS_SHORT), route))
}

/// PgBouncer changes start-up parameters: a comparison that finds nothing there finds nothing anywhere.
#[test]
fn the_comparison_finds_what_a_pooler_changes() -> Result<()> {
    let chosen = Selection::Chosen(&["test_setup", "guc timestamp"]);
    let direct = played(Suite::Regress, chosen, Kind::Direct, Route::Tcp)?;
    let through = played(Suite::Regress, chosen, Kind::PgBouncer, Route::Tcp)?;
    let found = suite_regress::differences(&direct, &through);
    ensure!(direct.len() == 3 && found.len() == 2, "{found:?}");
    Ok(())
}

/// The short form waits for locks over TCP only: relays differ little in it.
#[test]
fn isolation_tests_say_the_same() -> Result<()> {
    let routes: &[Route] = if tooling::long_form() { &[Route::Tcp, Route::Unix] } else { &[Route::Tcp] };
    routes.iter().try_for_each(|&route| check(Suite::Isolation, selection(ISOLATION_SHORT), route))
}

#[test]
fn pipelines_of_libpq_say_the_same() -> Result<()> {
    let mut wrong = Vec::new();
    for route in Route::ALL {
        if way::under_test_over(route)?.is_empty() {
            continue;
        }
        let direct = traced(Kind::Direct, route)?;
        for kind in way::under_test_over(route)? {
            let found = suite_regress::differences(&direct, &traced(kind, route)?);
            eprintln!("libpq_pipeline through {} over {route}: {} tests", kind.name(), direct.len());
            wrong.extend(found.into_iter().map(|text| format!("{} over {route}: {text}", kind.name())));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn traced(kind: Kind, route: Route) -> Result<suite_regress::Results> {
    let cluster = suite_regress::fresh_cluster()?;
    let passage = Passage::open(kind, &cluster)?;
    suite_pipeline::play(&passage.way, route)
}
