//! `cargo xtask test`: every check and test of the repository, and one closing line `N passed, N failed`.
//!
//! A step that fails does not keep the others from running, except where they need what it makes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::{Mutex, PoisonError};

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

/// End-to-end tests that wait more than they work run beside each other; the others load the machine, count or measure. The
/// longest begin first.
const BESIDE_OTHERS: &[&str] = &[
    "steering",
    "proxy_regress",
    "corpus_direct",
    "support",
    "recorded",
    "exec",
    "endings",
    "proxy_majors",
    "proxy_drivers",
    "secrets",
    "masked",
    "minted_crashes",
    "mediation",
    "mcp",
    "refused",
    "guarded",
    "witnesses",
    "minted",
    "api",
    "bypass",
    "catalogue",
    "grants",
    "proxy_chains",
    "executed_effect",
    "hold",
    "executed_effect_regress",
    "found",
    "cli",
    "hostile",
];

/// How many of them. With three on two processors some miss their time.
const LANES: u32 = 2;

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
    fn tests(&mut self, name: &str, run: impl FnOnce() -> Result<Self>) {
        match report(step(name, run)) {
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
    tally.tests("test: units (stable, no root, no BPF)", || run_tests(&mut unit_tests(options)));
    if wanted(FUZZ) {
        let seconds = if options.long { FUZZ_SECONDS_LONG } else { FUZZ_SECONDS };
        tally.check(FUZZ, || fuzz::run(seconds));
    }
    match report(Prepared::new(options)) {
        Some(prepared) => {
            for (name, command) in prepared.steps() {
                tally.tests(name, || run_tests(&mut command?));
            }
            let (beside, alone) = prepared.end_to_end()?;
            tally.tests("test: end to end, beside each other", || prepared.run_beside(&beside));
            tally.tests("test: end to end, one at a time", || prepared.run_end_to_end(&alone, 1));
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
        vec![
            ("test: steering (kernel, PostgreSQL)", filtered(threads(&["steered", "hops", "postgres", "takeover"], 1))),
            ("test: the proxy between clients and a server", filtered(self.proxy())),
            ("test: exports to servers of the distribution", filtered(threads(&["syslog"], 2))),
            ("test: pg_hba.conf against a server", filtered(threads(&["oracle"], 2))),
            ("test: tokens of a real issuer", filtered(self.identity())),
            ("test: facts against PostgreSQL's tests and a server", filtered(threads(&["regress", "server"], 1))),
            ("test: masking at a server", filtered(threads(&["canaries"], 2))),
        ]
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

    /// End-to-end tests that are wanted: which run beside each other, and which alone.
    fn end_to_end(&self) -> Result<(Vec<String>, Vec<String>)> {
        let mut files = test_files(&workspace().join("tests").join("tests"))?;
        if let Some(file) = self.options.filter.as_ref().filter(|name| files.contains(name)) {
            files = vec![file.clone()];
        }
        let place = |name: &String| BESIDE_OTHERS.iter().position(|other| other == name);
        let (mut beside, alone): (Vec<_>, Vec<_>) = files.into_iter().partition(|name| place(name).is_some());
        beside.sort_by_key(place);
        Ok((beside, alone))
    }

    /// Runs end-to-end tests of these files, so many of a file at once.
    fn run_end_to_end(&self, files: &[String], threads: u32) -> Result<Tally> {
        if files.is_empty() { Ok(Tally::default()) } else { run_tests(&mut self.end_to_end_tests(files, threads)) }
    }

    /// Runs end-to-end tests of several files at once, of each one after the other. What a file's tests print follows when
    /// they have ended.
    fn run_beside(&self, files: &[String]) -> Result<Tally> {
        if files.len() < 2 {
            return self.run_end_to_end(files, LANES);
        }
        foreground(self.end_to_end_tests(files, 1).arg("--no-run"))?;
        let (waiting, ended) = (Mutex::new(files.iter()), Mutex::new(Tally::default()));
        std::thread::scope(|scope| {
            let lane = || {
                while let Some(file) = next(&waiting) {
                    let output = self.end_to_end_tests(std::slice::from_ref(file), 1).output();
                    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                    match report(output.with_context(|| file.clone()).and_then(|output| tally_of_output(&output))) {
                        Some(tally) => ended.add(tally),
                        None => ended.failed += 1,
                    }
                }
            };
            for _ in 0..LANES {
                scope.spawn(lane);
            }
        });
        Ok(ended.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn end_to_end_tests(&self, files: &[String], threads: u32) -> Command {
        let mut command = self.tests(files, threads);
        // The name of a file means all tests in it.
        let filter = self.options.filter.as_ref().filter(|filter| !files.contains(filter));
        command.args(filter).env("WARDER_BIN", &self.binary);
        command
    }
}

/// What nobody has taken yet.
fn next<'a>(waiting: &Mutex<std::slice::Iter<'a, String>>) -> Option<&'a String> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// Passes on what a test program printed, and counts.
fn tally_of_output(output: &Output) -> Result<Tally> {
    let text = [&*output.stderr, &*output.stdout].map(String::from_utf8_lossy).concat();
    eprint!("{text}");
    let mut tally = Tally::default();
    text.lines().filter_map(tally_of).for_each(|counts| tally.add(counts));
    ensure!(output.status.success() || tally.failed > 0, "a test program ended with {}", output.status);
    Ok(tally)
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
    fn tests_that_run_beside_others_are_there() {
        let files = test_files(&workspace().join("tests").join("tests")).unwrap();
        for name in BESIDE_OTHERS {
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
