//! PostgreSQL's regression and isolation tests, played along a way. What is compared are the results of two runs, file
//! by file, and never the expected files: both runs may differ from them for reasons of the machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::account::Account;
use crate::cluster::{Cluster, ClusterOptions};
use crate::process::Running;
use crate::route::Route;
use crate::suite_source::Source;
use crate::way::WayIn;
use crate::{directory, process, tooling};

/// How long a whole suite may take; it takes one or two minutes.
const PATIENCE: Duration = Duration::from_mins(20);

/// Seconds that a step of an isolation test may wait for another session. Along a way that changes process ids, no
/// step is ever seen to wait, and each test takes this long.
const STEP_SECONDS_MAX: u32 = 60;

/// Which of PostgreSQL's suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// `src/test/regress`: SQL, one session a file.
    Regress,
    /// `src/test/isolation`: several sessions in a fixed order.
    Isolation,
}

impl Suite {
    const fn folder(self) -> &'static str {
        match self {
            Self::Regress => "regress",
            Self::Isolation => "isolation",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Regress => "regress/pg_regress",
            Self::Isolation => "isolation/pg_isolation_regress",
        }
    }

    const fn schedule(self) -> &'static str {
        match self {
            Self::Regress => "parallel_schedule",
            Self::Isolation => "isolation_schedule",
        }
    }
}

/// Which tests of a suite are run.
#[derive(Clone, Copy, Debug)]
pub enum Selection {
    /// The suite's own schedule.
    Everything,
    /// These, in lines of tests that run at the same time.
    Chosen(&'static [&'static str]),
}

/// Files that a run wrote, by name.
pub type Results = BTreeMap<String, String>;

/// A server for one run: the suites change it.
///
/// # Errors
/// When it does not start.
pub fn fresh_cluster() -> Result<Cluster> {
    let options = ClusterOptions::default().with("max_prepared_transactions", "2").with("max_connections", "200");
    Cluster::start(&options)
}

/// Plays a suite along `way`, which leads to `cluster`.
///
/// # Errors
/// When the suite is not installed or cannot be played; tests that fail are no error.
pub fn play(suite: Suite, selection: Selection, cluster: &Cluster, way: &WayIn, route: Route) -> Result<Results> {
    let owner = Account::postgres()?;
    let stage = Stage::set(suite, selection, &owner)?;
    let mut command = process::command_as(&owner, tests_of_server(cluster)?.join(suite.program()));
    command.envs(way.environment(route)?).env_remove("PGDATABASE").current_dir(&stage.output);
    let host = way.environment(route)?.into_iter().find(|(name, _)| *name == "PGHOST").map(|(_, host)| host);
    let option = |name: &str, value: &dyn AsRef<Path>| format!("--{name}={}", value.as_ref().display());
    command.args([option("inputdir", &stage.input), option("outputdir", &stage.output)]);
    command.args([option("dlpath", &stage.libraries), option("schedule", &stage.schedule)]);
    command.args([option("bindir", &tooling::postgres_programs()?), option("host", &host.context("no host")?)]);
    command.args([format!("--port={}", way.port), "--user=postgres".to_owned()]);
    command.args(["--max-concurrent-tests=20", "--dbname=regression"]);
    let said = stage.output.join("said");
    let file = fs::File::create(&said)?;
    command.env("PGISOLATIONTIMEOUT", STEP_SECONDS_MAX.to_string());
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut running = Running::start(suite.program(), Signal::SIGTERM, &mut command)?;
    running.wait(PATIENCE).with_context(|| format!("{suite:?} through {way}"))?;
    let results = stage.results()?;
    ensure!(!results.is_empty(), "no results:\n{}", fs::read_to_string(&said).unwrap_or_default());
    Ok(results)
}

/// `pg_regress` and its siblings, as the distribution installs them with the server.
fn tests_of_server(cluster: &Cluster) -> Result<PathBuf> {
    let programs = cluster.program("postgres");
    let version = programs.ancestors().nth(2).context("the server is in no folder")?;
    Ok(version.join("lib/pgxs/src/test"))
}

/// Folders of one run, which the server can read and write.
struct Stage {
    input: PathBuf,
    output: PathBuf,
    libraries: PathBuf,
    schedule: PathBuf,
    _directory: TempDir,
}

impl Stage {
    fn set(suite: Suite, selection: Selection, owner: &Account) -> Result<Self> {
        let source = Source::prepared()?;
        ensure!(source.library().is_file(), "no regression tests: run `cargo xtask setup`");
        let directory = directory::private("regress")?;
        let output = directory::owned(directory.path(), "out", owner, 0o755)?;
        let libraries = directory::owned(directory.path(), "lib", owner, 0o755)?;
        let input = directory.path().join("in");
        process::run(Command::new("cp").arg("--recursive").arg(source.suite(suite.folder())).arg(&input))?;
        let mut libraries_wanted = vec![source.library()];
        let extensions = tooling::postgres_programs()?.with_file_name("lib");
        libraries_wanted.extend(["autoinc.so", "refint.so"].map(|name| extensions.join(name)));
        process::run(Command::new("cp").args(libraries_wanted).arg(&libraries))?;
        process::run(Command::new("chmod").args(["-R", "a+rX"]).arg(directory.path()))?;
        let schedule = match selection {
            Selection::Everything => input.join(suite.schedule()),
            Selection::Chosen(lines) => {
                let path = directory.path().join("schedule");
                let text: String = lines.iter().map(|line| format!("test: {line}\n")).collect();
                directory::write_owned(&path, &text, owner, 0o644)?;
                path
            }
        };
        Ok(Self { input, output, libraries, schedule, _directory: directory })
    }

    /// The files in `results`; the folder of the run, which is another one each time, is left out of them.
    fn results(&self) -> Result<Results> {
        let own = self._directory.path().to_string_lossy().into_owned();
        let mut results = Results::new();
        for entry in fs::read_dir(self.output.join("results")).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "out") {
                let text = String::from_utf8_lossy(&fs::read(entry.path())?).replace(&own, "FOLDER");
                results.insert(entry.file_name().to_string_lossy().into_owned(), text);
            }
        }
        Ok(results)
    }
}

/// What two runs say differently: a few lines for each file.
#[must_use]
pub fn differences(direct: &Results, through: &Results) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = direct.keys().chain(through.keys()).collect();
    let of = |name: &String| match (direct.get(name), through.get(name)) {
        (Some(one), Some(other)) if one == other => None,
        (Some(one), Some(other)) => Some(format!("{name} differs:\n{}", first_differences(one, other))),
        (Some(_), None) => Some(format!("{name} is missing through the way")),
        (None, _) => Some(format!("{name} is there through the way only")),
    };
    names.into_iter().filter_map(of).collect()
}

/// The first lines that differ.
fn first_differences(one: &str, other: &str) -> String {
    const SHOWN: usize = 6;
    let mut text = String::new();
    let (mut left, mut right) = (one.lines(), other.lines());
    let mut shown = 0;
    for number in 1_u32.. {
        let (direct, through) = (left.next(), right.next());
        if (direct.is_none() && through.is_none()) || shown == SHOWN {
            break;
        }
        if direct != through {
            shown += 1;
            let line = |line: Option<&str>| line.unwrap_or("(end)").chars().take(160).collect::<String>();
            let _ = writeln!(text, "  {number} direct:  {}\n  {number} through: {}", line(direct), line(through));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(files: &[(&str, &str)]) -> Results {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn every_difference_is_told() {
        let direct = results(&[("a.out", "1\n2\n"), ("b.out", "same"), ("c.out", "")]);
        let through = results(&[("a.out", "1\n3\n"), ("b.out", "same"), ("d.out", "")]);
        let found = differences(&direct, &through);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("2 direct:  2") && found[0].contains("2 through: 3"), "{found:?}");
        assert!(found[1].contains("c.out is missing") && found[2].contains("d.out is there"), "{found:?}");
        assert_eq!(differences(&direct, &direct), Vec::<String>::new());
    }
}
