//! `cargo xtask test`: every check and test of the repository, and one closing line `N passed, N failed`.
//!
//! A step that fails does not keep the others from running, except where they need what it makes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use warder_tests::suite_major::Major;

use crate::progress::step;
use crate::shell::{cargo, foreground, workspace};
use crate::{build, ebpf, fuzz, layering, setup};

/// How the tests are run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The long form: more repetitions, more clients
    #[arg(long)]
    long: bool,
    /// Only checks and tests whose name contains this, or the end-to-end tests of the file of that name
    filter: Option<String>,
}

/// Crates that are tested without root, database or BPF toolchain: all but these.
const NOT_PURE: &[&str] = &["agent-ebpf"];

/// A static check and its name.
type Check = (&'static str, fn() -> Result<()>);

const CHECKS: &[Check] = &[("check: format", format), ("check: clippy", clippy), ("check: layering", layering::check)];

/// Name of the check that runs the fuzz targets, and how long each of them runs.
const FUZZ: &str = "check: fuzz targets";
const FUZZ_SECONDS: u32 = 5;
const FUZZ_SECONDS_LONG: u32 = 300;

/// Passed and failed tests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// One check that is not a test program: passed or failed.
    fn check(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        let passed = report(step(name, work)).is_some();
        self.add(Self { passed: u64::from(passed), failed: u64::from(!passed) });
    }

    /// A run of test programs; one that fails without a failed test (it did not compile) is a failure, too.
    fn tests(&mut self, name: &str, command: &mut Command) {
        match report(step(name, || run_tests(command))) {
            Some(tally) => self.add(tally),
            None => self.failed += 1,
        }
    }
}

/// Runs everything.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    setup::for_units()?;
    let mut tally = Tally::default();
    let wanted = |name: &str| options.filter.as_deref().is_none_or(|filter| name.contains(filter));
    for (name, check) in CHECKS.iter().filter(|(name, _)| wanted(name)) {
        tally.check(name, check);
    }
    tally.tests("test: units (stable, no root, no BPF)", &mut unit_tests(options));
    if wanted(FUZZ) {
        let seconds = if options.long { FUZZ_SECONDS_LONG } else { FUZZ_SECONDS };
        tally.check(FUZZ, || fuzz::run(seconds));
    }
    match report(prepare_end_to_end()) {
        Some((objects, binary)) => {
            tally.tests("test: steering (kernel, PostgreSQL)", &mut steering_tests(options, &objects));
            match report(proxy_tests(options)) {
                Some(mut command) => tally.tests("test: the proxy between clients and a server", &mut command),
                None => tally.failed += 1,
            }
            tally.tests("test: exports to servers of the distribution", &mut receiver_tests(options));
            tally.tests("test: pg_hba.conf against a server", &mut access_tests(options));
            match report(identity_tests(options)) {
                Some(mut command) => tally.tests("test: tokens of a real issuer", &mut command),
                None => tally.failed += 1,
            }
            tally.tests("test: facts against PostgreSQL's tests and a server", &mut analysis_tests(options));
            tally.tests("test: end to end (kernel, PostgreSQL)", &mut end_to_end_tests(options, &binary));
        }
        None => tally.failed += 1,
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints an error where it is handled.
fn report<T>(outcome: Result<T>) -> Option<T> {
    outcome.map_err(|error| eprintln!("error: {error:#}")).ok()
}

fn format() -> Result<()> {
    foreground(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let mut command = cargo();
    command.args([
        "clippy",
        "--quiet",
        "--all-targets",
        "--features",
        "warder-tests/end-to-end,export/receivers,steering/end-to-end,proxy/libpq,hba/server,identity/provider",
    ]);
    foreground(command.args(["--", "-D", "warnings"]))
}

fn unit_tests(options: &Options) -> Command {
    let mut command = cargo();
    command.args(["test", "--quiet", "--no-fail-fast", "--workspace"]);
    for package in NOT_PURE {
        command.args(["--exclude", package]);
    }
    command.args(&options.filter);
    command
}

fn receiver_tests(options: &Options) -> Command {
    let mut command = cargo();
    command.args(["test", "--quiet", "--no-fail-fast", "--package", "export", "--features", "receivers"]);
    command.args(["--test", "syslog"]).args(&options.filter);
    command
}

fn steering_tests(options: &Options, objects: &ebpf::Objects) -> Command {
    let mut command = cargo();
    command.args(["test", "--no-fail-fast", "--package", "steering", "--features", "end-to-end", "--test", "*"]);
    command.args(&options.filter).args(["--", "--test-threads=1"]);
    command.env("RUST_LIB_BACKTRACE", "0").envs(objects.environment());
    command
}

fn proxy_tests(options: &Options) -> Result<Command> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--no-fail-fast", "--package", "proxy", "--features", "libpq", "--tests"]);
    command.args(&options.filter).args(["--", "--test-threads=2"]);
    command.env("WARDER_LIBPQ", Major::NEWEST.libraries()?);
    Ok(command)
}

fn identity_tests(options: &Options) -> Result<Command> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--no-fail-fast", "--package", "identity", "--features", "provider"]);
    command.args(["--test", "provider"]).args(&options.filter);
    command.env("WARDER_NODE", warder_tests::tooling::node_environment()?);
    Ok(command)
}

fn access_tests(options: &Options) -> Command {
    let mut command = cargo();
    command.args(["test", "--quiet", "--no-fail-fast", "--package", "hba", "--features", "server"]);
    command.args(["--test", "oracle"]).args(&options.filter);
    command
}

fn analysis_tests(options: &Options) -> Command {
    let mut command = cargo();
    command.args(["test", "--quiet", "--no-fail-fast", "--package", "sql", "--features", "server"]);
    command.args(["--test", "regress", "--test", "server"]).args(&options.filter).args(["--", "--test-threads=1"]);
    command
}

fn prepare_end_to_end() -> Result<(ebpf::Objects, PathBuf)> {
    setup::for_demo()?;
    setup::for_tests()?;
    Ok((build::programs()?, build::release_for_tests()?))
}

fn end_to_end_tests(options: &Options, binary: &Path) -> Command {
    let mut command = cargo();
    command.args(["test", "--no-fail-fast", "--package", "warder-tests", "--features", "end-to-end", "--bins"]);
    match &options.filter {
        // The name of a file means all tests in it.
        Some(file) if has_test_file(file) => command.args(["--test", file]),
        filter => command.args(["--test", "*"]).args(filter),
    };
    // The machine is small and the tests load it: one after the other.
    command.args(["--", "--test-threads=1"]);
    // Errors of these tests say what happened; a backtrace of the test harness does not add to it.
    command.env("RUST_LIB_BACKTRACE", "0").env("WARDER_BIN", binary);
    command.env("WARDER_LONG", if options.long { "1" } else { "0" });
    command
}

fn has_test_file(name: &str) -> bool {
    workspace().join("tests").join("tests").join(format!("{name}.rs")).is_file()
}

/// Runs test programs, passes on what they print, and counts.
fn run_tests(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("the output is piped")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        eprintln!("{line}");
        tally.add(tally_of(&line).unwrap_or_default());
    }
    let status = child.wait()?;
    ensure!(status.success() || tally.failed > 0, "{} ended with {status}", warder_tests::process::line(command));
    Ok(tally)
}

/// Counts of a closing line of a test program: `test result: ok. 3 passed; 0 failed; ...`.
fn tally_of(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        let part = counts.split(';').find(|part| part.trim_end().ends_with(word))?;
        part.trim().split(' ').next()?.parse::<u64>().ok()
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_of_a_test_program_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(tally_of(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(tally_of("test result: ok"), None);
        assert_eq!(tally_of("running 3 tests"), None);
    }
}
