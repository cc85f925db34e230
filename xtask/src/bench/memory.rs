//! Memory of the agent: resident memory of all its processes plus its BPF maps, without sessions, with real idle ones,
//! and with many that are replayed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use warder_tests::agent::Agent;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::wire::RawClient;
use warder_tests::{process, wait};

use super::document;
use super::replay::{self, Replayed};
use super::table::markdown;
use crate::progress::{note, step};
use crate::{build, setup};

/// Real idle sessions.
const SESSIONS: u32 = 500;

/// Limits in bytes (design: sharp edges, 27): fixed, and for each idle session.
const FIXED_MAX: u64 = 64 * 1024 * 1024;
const PER_SESSION_MAX: u64 = 2 * 1024;

/// How memory is measured.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Put the chapter into docs/benchmarks.md
    #[arg(long)]
    write: bool,
}

/// Measures and prints; the chapter is the only thing on standard output.
pub(super) fn run(options: &Options) -> Result<()> {
    setup::for_demo()?;
    let binary = build::release()?;
    let chapter = step("bench: memory", || measure(&binary))?.chapter();
    println!("{chapter}");
    if options.write { document::replace_chapter(&chapter) } else { Ok(()) }
}

/// What was measured.
pub(super) struct Memory {
    idle: Footprint,
    busy: Footprint,
    replayed: Replayed,
}

/// What an agent holds.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    /// Sessions at that time.
    sessions: u32,
    /// Resident memory of all processes.
    resident_bytes: u64,
    /// Memory charged for BPF maps.
    maps_bytes: u64,
}

impl Footprint {
    fn of(agent: &Agent, sessions: u32) -> Result<Self> {
        let (mut resident_bytes, mut maps) = (0, BTreeMap::new());
        for pid in agent.processes()? {
            resident_bytes += process::resident_bytes(pid)?;
            maps.extend(maps_of(pid)?);
        }
        Ok(Self { sessions, resident_bytes, maps_bytes: maps.values().sum() })
    }

    fn total_bytes(self) -> u64 {
        self.resident_bytes + self.maps_bytes
    }

    fn limit_bytes(self) -> u64 {
        FIXED_MAX + u64::from(self.sessions) * PER_SESSION_MAX
    }

    /// Cells of the table of [`HEADER`]; the sessions are `kind` ones.
    fn cells(self, kind: &str) -> Vec<String> {
        let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1_048_576.0);
        let kept = if self.total_bytes() <= self.limit_bytes() { "yes" } else { "NO" };
        vec![
            format!("{}{kind}", self.sessions),
            mebibytes(self.resident_bytes),
            mebibytes(self.maps_bytes),
            mebibytes(self.total_bytes()),
            format!("{} ({kept})", mebibytes(self.limit_bytes())),
        ]
    }
}

/// Header of the table of footprints.
const HEADER: &[&str] = &["idle sessions", "processes, MiB", "BPF maps, MiB", "together, MiB", "limit, MiB (kept)"];

impl Memory {
    /// The agent's footprint with the replayed sessions: what they hold is added to the agent without sessions. BPF
    /// maps have all their room from the start.
    fn with_replayed(&self) -> Footprint {
        let Replayed { sessions, own_client_bytes, .. } = self.replayed;
        Footprint { sessions, resident_bytes: self.idle.resident_bytes + own_client_bytes, ..self.idle }
    }

    /// The chapter of docs/benchmarks.md.
    pub(super) fn chapter(&self) -> String {
        let rows = [self.idle.cells(""), self.busy.cells(""), self.with_replayed().cells(" (replayed)")];
        let Replayed { sessions, own_client_bytes, one_client_bytes } = self.replayed;
        let each = |bytes: u64| bytes / u64::from(sessions.max(1));
        format!(
            "## Memory\n\n{}\n\
             Replayed: the ring records of one real session (login, one query), under {sessions} cookies through decoder,\n\
             sessions and metrics. Each holds {} bytes if it has a client process of its own, {} if one process holds all;\n\
             the limit is {PER_SESSION_MAX}.\n",
            markdown(HEADER, &rows),
            each(own_client_bytes),
            each(one_client_bytes),
        )
    }
}

/// Measures without sessions, with [`SESSIONS`] of them, and with replayed ones.
pub(super) fn measure(binary: &Path) -> Result<Memory> {
    let options = ClusterOptions::default().with("max_connections", &(SESSIONS + 20).to_string());
    let cluster = Cluster::start(&options)?;
    let mut agent = Agent::observing(binary, &cluster)?;
    let idle = Footprint::of(&agent, 0)?;
    note(&format!("opening {SESSIONS} sessions"));
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = RawClient::unix(&cluster.socket())?;
        client.login()?;
        client.query("select 1")?;
        clients.push(client);
    }
    wait::until("all sessions in the agent's list", wait::PATIENCE, || {
        let listed = agent.cli_json(&["sessions", "--json"])?.len();
        Ok((listed >= clients.len()).then_some(()))
    })?;
    let busy = Footprint::of(&agent, SESSIONS)?;
    ensure!(agent.alive()?, "the agent ended");
    drop(clients);
    agent.stop()?;
    note("recording a session and replaying it");
    let replayed = replay::measure(&cluster)?;
    Ok(Memory { idle, busy, replayed })
}

/// Memory of each BPF map that the process holds open, by map id.
fn maps_of(pid: u32) -> Result<BTreeMap<u64, u64>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may close between the listing and the look.
        let Ok(text) = std::fs::read_to_string(entry?.path()) else { continue };
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<u64>().ok()
        };
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            found.insert(id, bytes);
        }
    }
    Ok(found)
}
