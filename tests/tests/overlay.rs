//! One server binary behind two overlay mounts: two files, one real inode. Each statement is recorded once.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use warder_tests::agent::{Agent, AgentOptions, DatabaseEntry};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::process::{self, Running};
use warder_tests::route::Route;
use warder_tests::{directory, events, tooling};

/// A mount namespace of the test's own that a sleeping process keeps.
struct Mounts {
    holder: Running,
    directory: TempDir,
}

impl Mounts {
    fn new() -> Result<Self> {
        let directory = directory::private("overlay")?;
        let mut command = process::command_dependent("TERM", "unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", "echo ready; exec sleep 600"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = Running::start("the mount namespace", Signal::SIGTERM, &mut command)?;
        holder.read_line()?;
        Ok(Self { holder, directory })
    }

    fn enter(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--mount=/proc/{}/ns/mnt", self.holder.pid())]
    }

    /// Mounts `lower` once more, under `name`.
    fn add(&self, name: &str, lower: &Path) -> Result<std::path::PathBuf> {
        let point = self.directory.path().join(name);
        let empty = self.directory.path().join(format!("{name}-empty"));
        std::fs::create_dir(&point)?;
        std::fs::create_dir(&empty)?;
        let options = format!("lowerdir={}:{}", lower.display(), empty.display());
        let (first, rest) = (&self.enter()[0], &self.enter()[1..]);
        let mut mount = Command::new(first);
        mount.args(rest).args(["mount", "-t", "overlay", "overlay", "-o", &options]).arg(&point);
        process::run(&mut mount)?;
        Ok(point)
    }
}

#[test]
fn statements_of_both_mounts_are_recorded_once() -> Result<()> {
    let mounts = Mounts::new()?;
    let programs = tooling::postgres_programs()?;
    let mut clusters = Vec::new();
    for name in ["one", "two"] {
        let server = mounts.add(name, &programs)?.join("postgres");
        clusters.push(Cluster::start(&ClusterOptions {
            server: Some(server),
            wrapper: mounts.enter(),
            ..ClusterOptions::default()
        })?);
    }
    let entries = clusters.iter().zip(["one", "two"]).map(|(cluster, name)| DatabaseEntry::of(name, cluster));
    let options = AgentOptions { databases: entries.collect(), ..AgentOptions::default() };
    let agent = Agent::start(&tooling::agent_binary()?, &options)?;
    for (cluster, number) in clusters.iter().zip(0..) {
        for route in Route::ALL {
            let text = format!("select 'mount {number} over {route}'");
            process::run(cluster.client("psql", route).args(["-XqAtc", &text]))?;
            agent.events().wait_for_text(&text)?;
        }
    }
    let all = agent.events().all()?;
    for number in 0..clusters.len() {
        for route in Route::ALL {
            let text = format!("select 'mount {number} over {route}'");
            let found = events::statements(&all).filter(|statement| statement.text.as_deref() == Some(&text));
            ensure!(found.count() == 1, "{text} was not recorded exactly once");
        }
    }
    let sessions = events::sessions(&all);
    let gaps = sessions.values().find(|session| session.gaps.unwrap_or(0) > 0);
    ensure!(gaps.is_none(), "a session with gaps: {gaps:?}");
    sessions.values().next().context("no session at all").map(drop)
}
