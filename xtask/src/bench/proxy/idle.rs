//! What a way holds for each idle session: resident and proportional memory of all its processes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::process::Running;
use warder_tests::route::Route;
use warder_tests::way::{Kind, Passage};
use warder_tests::{drivers, tooling, wait};

use super::super::table::markdown;
use super::variant::Variant;
use crate::progress::note;

/// Memory that a backend of the server needs, with room: fewer sessions are opened where the machine has less.
const BACKEND_BYTES: u64 = 3 * 1024 * 1024;

/// Sessions before anything is measured, enough for each worker to have one: with its first statement a worker allocates
/// what all its sessions share, several MiB where policies decide, and that is no session's.
const FIRST: u32 = 16;

/// Limits in KiB for each session (design: sharp edges, 27): plaintext, and TLS on both sides.
const PLAIN_MAX: u32 = 24;
const TLS_MAX: u32 = 64;

/// Memory of a way's processes in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    resident: u64,
    proportional: u64,
}

impl Held {
    fn by(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            sum.resident += field(&rollup, "Rss:")?;
            sum.proportional += field(&rollup, "Pss:")?;
        }
        Ok(sum)
    }
}

/// A field of `smaps_rollup` in bytes.
fn field(rollup: &str, name: &str) -> Result<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// Measures every way that has processes of its own; returns the chapter.
pub(super) fn measure(ways: &[Variant], wanted: u32, binary: Option<&Path>) -> Result<String> {
    raise_descriptors()?;
    let sessions = wanted.min(u32::try_from(available_bytes()? / BACKEND_BYTES)?);
    ensure!(sessions > 0, "the machine has no memory for the backends of sessions");
    let mut rows = Vec::new();
    for route in [Route::Tcp, Route::Tls] {
        for variant in ways.iter().filter(|variant| variant.kind != Kind::Direct) {
            note(&format!("{sessions} idle sessions through {variant} over {route}"));
            rows.push(row(variant, route, sessions, binary)?);
        }
    }
    let header =
        ["way", "transport", "at rest, MiB", "with sessions, MiB", "RSS per session, KiB", "PSS per session, KiB"];
    Ok(format!(
        "## Idle sessions through a proxy\n\n{sessions} sessions, each of which has asked once, behind {FIRST} that have ended; all processes of the way.\n\n{}\n\
         Limits of Warder: {PLAIN_MAX} KiB for a plaintext session, {TLS_MAX} KiB with TLS on both sides.\n",
        markdown(&header, &rows)
    ))
}

fn row(variant: &Variant, route: Route, sessions: u32, binary: Option<&Path>) -> Result<Vec<String>> {
    let options = ClusterOptions::default().with("max_connections", &(sessions + 50).to_string());
    let cluster = Cluster::start(&options.with("shared_buffers", "16MB"))?;
    let passage = Passage::open_with(variant.kind, &cluster, &variant.options(route, binary))?;
    let pids = passage.processes()?;
    end(hold(&passage, route, FIRST)?)?;
    let rest = settled(&pids)?;
    let clients = hold(&passage, route, sessions)?;
    let busy = settled(&pids)?;
    end(clients)?;
    let each = |busy: u64, rest: u64| format!("{:.1}", busy.saturating_sub(rest) as f64 / f64::from(sessions) / 1024.0);
    let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1_048_576.0);
    Ok(vec![
        variant.to_string(),
        route.encryption().to_owned(),
        mebibytes(rest.resident),
        mebibytes(busy.resident),
        each(busy.resident, rest.resident),
        each(busy.proportional, rest.proportional),
    ])
}

/// Clients whose sessions stand, each of which has asked once.
fn hold(passage: &Passage, route: Route, sessions: u32) -> Result<Running> {
    let mut python = Command::new(tooling::python_environment()?.join("bin/python"));
    python.envs(passage.way.environment(route)?).arg(drivers::scripts().join("idle_sessions.py"));
    python.arg(sessions.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut clients = Running::start("the clients", Signal::SIGTERM, &mut python)?;
    ensure!(clients.read_line()? == "open", "the sessions do not stand");
    Ok(clients)
}

fn end(mut clients: Running) -> Result<()> {
    clients.close_input();
    clients.wait(Duration::from_mins(2))?;
    Ok(())
}

/// What is held when two looks in a row agree.
fn settled(pids: &[u32]) -> Result<Held> {
    let mut before = Held::by(pids)?;
    wait::until("memory that does not change", wait::PATIENCE, || {
        let now = Held::by(pids)?;
        let same = now.resident == before.resident;
        before = now;
        Ok(same.then_some(now))
    })
}

fn available_bytes() -> Result<u64> {
    field(&std::fs::read_to_string("/proc/meminfo")?, "MemAvailable:")
}

/// Relays and clients need a descriptor or two for each session; they inherit the limit.
fn raise_descriptors() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_bytes() {
        let rollup = "Rss:                1024 kB\nPss:                 512 kB\n";
        assert_eq!((field(rollup, "Rss:").unwrap(), field(rollup, "Pss:").unwrap()), (1024 * 1024, 512 * 1024));
        assert!(field(rollup, "Swap:").is_err());
    }
}
