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

impl Options {
    /// What tells tests that the long form is wanted.
    fn long_form(&self) -> Option<(&'static str, &'static str)> {
        self.long.then_some(("WARDER_LONG", "1"))
    }
}

/// Crates that are tested without root, database or BPF toolchain: all but these.
const NOT_PURE: &[&str] = &["agent-ebpf"];

/// Features of all tests that need more. Everything that they use is built with all of them: with others for each crate,
/// dependencies would be built again and again.
const FEATURES: &str = "warder-tests/end-to-end,export/receivers,steering/end-to-end,proxy/libpq,hba/server,sql/server,\
                        identity/provider,guard/server,agent/fault-points";

/// A static check and its name.
type Check = (&'static str, fn() -> Result<()>);

const CHECKS: &[Check] = &[("check: format", format), ("check: clippy", clippy), ("check: layering", layering::check)];

/// Name of the check that runs the fuzz targets, and how long each of them runs.
const FUZZ: &str = "check: fuzz targets";
const FUZZ_SECONDS: u32 = 3;
const FUZZ_SECONDS_LONG: u32 = 300;

/// End-to-end tests that wait more than they work, two at once; the others load the machine, count or measure.
const TWO_AT_ONCE: &[&str] = &[
    "api",
    "bypass",
    "catalogue",
    "cli",
    "endings",
    "exec",
    "found",
    "grants",
    "guarded",
    "hold",
    "hostile",
    "masked",
    "mcp",
    "mediation",
    "minted",
    "recorded",
    "refused",
    "secrets",
    "steering",
    "witnesses",
];

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
    match report(Prepared::new(options)) {
        Some(prepared) => {
            for (name, command) in prepared.steps() {
                match report(command) {
                    Some(mut command) => tally.tests(name, &mut command),
                    None => tally.failed += 1,
                }
            }
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
    command.args(["clippy", "--quiet", "--all-targets", "--features", FEATURES]);
    foreground(command.args(["--", "-D", "warnings"]))
}

fn unit_tests(options: &Options) -> Command {
    let mut command = cargo();
    command.args(["test", "--quiet", "--no-fail-fast", "--workspace"]);
    for package in NOT_PURE {
        command.args(["--exclude", package]);
    }
    command.args(&options.filter).envs(options.long_form());
    command
}

/// What the tests need that use a kernel, a server or a network.
struct Prepared<'a> {
    options: &'a Options,
    objects: ebpf::Objects,
    binary: PathBuf,
}

impl<'a> Prepared<'a> {
    fn new(options: &'a Options) -> Result<Self> {
        setup::for_demo()?;
        setup::for_tests()?;
        let objects = build::programs()?;
        let binary = if options.long { build::release_for_tests()? } else { build::checked(FEATURES)? };
        Ok(Self { options, objects, binary })
    }

    /// Runs of test programs and their names.
    fn steps(&self) -> Vec<(&'static str, Result<Command>)> {
        let filtered = |command: Result<Command>| command.map(|command| with(command, &self.options.filter));
        let threads = |files, count| Ok(self.tests(files, count));
        let mut steps = vec![
            ("test: steering (kernel, PostgreSQL)", filtered(threads(&["steered", "hops", "postgres", "takeover"], 1))),
            ("test: the proxy between clients and a server", filtered(self.proxy())),
            ("test: exports to servers of the distribution", filtered(threads(&["syslog"], 2))),
            ("test: pg_hba.conf against a server", filtered(threads(&["oracle"], 2))),
            ("test: tokens of a real issuer", filtered(self.identity())),
            ("test: facts against PostgreSQL's tests and a server", filtered(threads(&["regress", "server"], 1))),
            ("test: masking at a server", filtered(threads(&["canaries"], 2))),
        ];
        for (name, threads) in [("test: end to end, two at once", 2), ("test: end to end, one at a time", 1)] {
            steps.extend(self.end_to_end(threads).transpose().map(|command| (name, command)));
        }
        steps
    }

    /// Runs the tests of these files, so many at once.
    fn tests(&self, files: &[impl AsRef<str>], threads: u32) -> Command {
        let mut command = cargo();
        command.args(["test", "--no-fail-fast", "--workspace", "--features", FEATURES]);
        for package in NOT_PURE {
            command.args(["--exclude", package]);
        }
        for file in files {
            command.args(["--test", file.as_ref()]);
        }
        // Errors of these tests say what happened; a backtrace of the test harness does not add to it.
        command.env("RUST_LIB_BACKTRACE", "0").env("RUST_TEST_THREADS", threads.to_string());
        command.envs(self.objects.environment()).envs(self.options.long_form());
        command
    }

    fn proxy(&self) -> Result<Command> {
        let mut command = self.tests(&["memory", "opening", "relay", "walk"], 2);
        command.env("WARDER_LIBPQ", Major::NEWEST.libraries()?);
        Ok(command)
    }

    fn identity(&self) -> Result<Command> {
        let mut command = self.tests(&["provider"], 2);
        command.env("WARDER_NODE", warder_tests::tooling::node_environment()?);
        Ok(command)
    }

    /// Those of the tests that run so many at once; `None`: none of them is wanted.
    fn end_to_end(&self, threads: u32) -> Result<Option<Command>> {
        let mut files = test_files(&workspace().join("tests").join("tests"))?;
        // The name of a file means all tests in it.
        let filter = self.options.filter.as_ref().filter(|filter| !files.contains(filter));
        if let Some(file) = self.options.filter.as_ref().filter(|_| filter.is_none()) {
            files.retain(|name| name == file);
        }
        files.retain(|name| TWO_AT_ONCE.contains(&name.as_str()) == (threads > 1));
        if files.is_empty() {
            return Ok(None);
        }
        let mut command = self.tests(&files, threads);
        command.args(filter).env("WARDER_BIN", &self.binary);
        Ok(Some(command))
    }
}

fn with(mut command: Command, filter: &Option<String>) -> Command {
    command.args(filter);
    command
}

/// Names of the test programs whose texts are in `folder`: a file, or a folder with a `main.rs`.
fn test_files(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_program = path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
        let name = path.file_stem().filter(|_| is_program);
        names.extend(name.map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
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
    fn no_two_files_of_tests_have_one_name() {
        // Steps choose their files by name.
        let crates = std::fs::read_dir(workspace().join("crates")).unwrap();
        let mut folders: Vec<_> = crates.map(|entry| entry.unwrap().path()).collect();
        folders.extend(["agent", "tests"].map(|name| workspace().join(name)));
        let folders = folders.iter().map(|folder| folder.join("tests")).filter(|folder| folder.is_dir());
        let mut names: Vec<String> = folders.flat_map(|folder| test_files(&folder).unwrap()).collect();
        names.sort();
        for pair in names.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
    }

    #[test]
    fn tests_that_run_two_at_once_are_there() {
        let files = test_files(&workspace().join("tests").join("tests")).unwrap();
        for name in TWO_AT_ONCE {
            assert!(files.iter().any(|file| file == name), "{name}");
        }
    }

    #[test]
    fn the_closing_line_of_a_test_program_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(tally_of(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(tally_of("test result: ok"), None);
        assert_eq!(tally_of("running 3 tests"), None);
    }
}
