//! `libpq_pipeline`, PostgreSQL's own test of pipelines, single-row mode and what follows an error in them.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::route::Route;
use crate::suite_regress::Results;
use crate::suite_source::Source;
use crate::way::WayIn;
use crate::{directory, process, tooling};

/// Rows that the tests work with: what PostgreSQL's own run takes, and in the long form enough that both sides wait for
/// each other.
const ROWS_SHORT: &str = "700";
const ROWS_LONG: &str = "10000";

/// Tests that send until the server is behind: how much that is differs each time. What they say is their status.
const BY_TIME: &[&str] = &["pipelined_insert", "uniqviol"];

/// Plays all of its tests; the result of each is the trace of its messages, one direction after the other (how they
/// interleave is a matter of time), and what it printed.
///
/// # Errors
/// When one of them fails.
pub fn play(way: &WayIn, route: Route) -> Result<Results> {
    let client = Source::prepared()?.pipeline_client();
    let listed = process::run(way.command(&client, route)?.arg("tests")).context("run `cargo xtask setup`")?;
    let folder = directory::private("pipeline")?;
    let rows = if tooling::long_form() { ROWS_LONG } else { ROWS_SHORT };
    let mut results = Results::new();
    for test in String::from_utf8(listed.stdout)?.lines() {
        let trace = folder.path().join(test);
        let compared = !BY_TIME.contains(&test);
        let mut command = way.command(&client, route)?;
        command.args(["-r", rows]);
        if compared {
            command.arg("-t").arg(&trace);
        }
        command.args([test, "dbname=postgres"]);
        let output = process::run(&mut command).with_context(|| format!("{test} through {way} over {route}"))?;
        let mut told = String::new();
        if compared {
            let messages = fs::read_to_string(&trace).with_context(|| format!("the trace of {test}"))?;
            told = directions(&messages) + &String::from_utf8_lossy(&output.stdout);
        }
        results.insert(test.to_owned(), told);
    }
    ensure!(!results.is_empty(), "libpq_pipeline has no tests");
    Ok(results)
}

/// The client's messages, then the server's.
fn directions(trace: &str) -> String {
    let of = |first: char| trace.lines().filter(move |line| line.starts_with(first)).map(|line| format!("{line}\n"));
    of('F').chain(of('B')).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn directions_are_told_apart() {
        assert_eq!(super::directions("F\t1\nB\t2\nF\t3\n"), "F\t1\nF\t3\nB\t2\n");
    }
}
