//! Memory of the agent: resident memory of all its processes plus its BPF maps, idle and with real idle sessions.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use warder_tests::agent::Agent;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::wire::RawClient;
use warder_tests::{process, wait};

use crate::progress::note;

/// Real idle sessions.
const SESSIONS: u32 = 500;

/// Limits in bytes (design: sharp edges, 27): fixed, and for each idle session.
const FIXED_MAX: u64 = 64 * 1024 * 1024;
const PER_SESSION_MAX: u64 = 2 * 1024;

/// What an agent holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Footprint {
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

    /// Cells of the table of [`HEADER`].
    pub(super) fn cells(self) -> Vec<String> {
        let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1_048_576.0);
        let kept = if self.total_bytes() <= self.limit_bytes() { "yes" } else { "NO" };
        vec![
            self.sessions.to_string(),
            mebibytes(self.resident_bytes),
            mebibytes(self.maps_bytes),
            mebibytes(self.total_bytes()),
            format!("{} ({kept})", mebibytes(self.limit_bytes())),
        ]
    }
}

/// Header of the table of footprints.
pub(super) const HEADER: &[&str] =
    &["idle sessions", "processes, MiB", "BPF maps, MiB", "together, MiB", "limit, MiB (kept)"];

/// Measures without sessions and with [`SESSIONS`] of them.
pub(super) fn measure(binary: &Path) -> Result<Vec<Footprint>> {
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
    Ok(vec![idle, busy])
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
