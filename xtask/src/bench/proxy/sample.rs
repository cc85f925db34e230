//! One run of pgbench: throughput, latencies and CPU time while all clients are at work. The log of pgbench says when
//! that is: what connections and TLS handshakes cost at the start is another figure, and not this one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use warder_tests::process::Running;
use warder_tests::way::WayIn;
use warder_tests::wire::RawClient;
use warder_tests::{directory, wait};

use super::super::machine;
use super::cell::Cell;
use super::variant::Variant;

/// Threads of pgbench: as many as the machines have processors that run this.
const THREADS: u32 = 2;

/// Connections that are surely made in a second, also with a handshake on both sides of a relay and other load.
const CONNECTIONS_PER_SECOND: u32 = 32;

/// How much longer than asked for a run may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// What one run said.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) round: u32,
    pub(super) cell: Cell,
    pub(super) variant: String,
    pub(super) tps: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// CPU time of the whole machine for each transaction.
    pub(super) cpu_us: f64,
}

/// Opens as many sessions at once as will be needed, and closes them: a pooler makes its own one after the other, and
/// under load some clients would get theirs only at the end of the run.
fn warm_up(way: &WayIn, clients: u32) -> Result<()> {
    let open = |_| {
        let mut client = RawClient::tcp(way.port)?;
        client.login()?;
        client.query("select 1")?;
        Ok(client)
    };
    (0..clients).map(open).collect::<Result<Vec<_>>>().map(drop)
}

/// Runs pgbench along a way.
pub(super) fn take(way: &WayIn, cell: Cell, variant: &Variant, seconds: u32) -> Result<Sample> {
    warm_up(way, cell.clients)?;
    let folder = directory::private("latencies")?;
    let said = folder.path().join("said");
    let logs = folder.path().join("logs");
    fs::create_dir(&logs)?;
    let duration = (seconds + 1 + cell.clients / CONNECTIONS_PER_SECOND).to_string();
    let mut command = way.client("pgbench", cell.route)?;
    command.args(["-S", "-n", "-M", cell.protocol, "-c", &cell.clients.to_string(), "-T", &duration, "-l"]);
    command.args(["-j", &THREADS.min(cell.clients).to_string(), "--log-prefix"]).arg(logs.join("log"));
    let output = File::create(&said)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut pgbench = Running::start("pgbench", Signal::SIGTERM, &mut command)?;
    let mut clock = Clock::default();
    let limit = PATIENCE + Duration::from_secs(u64::from(seconds));
    wait::until("the end of pgbench", limit, || {
        clock.look()?;
        Ok((!pgbench.alive()?).then_some(()))
    })?;
    ensure!(pgbench.wait(PATIENCE)?.success(), "{}", fs::read_to_string(&said).unwrap_or_default());
    let work = Work::read(&logs, cell.clients)?;
    let percentile = |hundredths| percentile(&work.latencies_us, hundredths).context("no transaction was logged");
    let transactions = work.latencies_us.len() as f64;
    Ok(Sample {
        round: 0,
        cell,
        variant: variant.to_string(),
        tps: transactions / work.length_seconds(),
        p50_us: percentile(50)?,
        p99_us: percentile(99)?,
        cpu_us: clock.busy_us(&work).context("the run was too short for a look at the processors")? / transactions,
    })
}

/// What the machine's processors were busy, as a series of looks.
#[derive(Default)]
struct Clock {
    /// Microseconds since the epoch, and busy time since boot.
    looks: Vec<(u64, Duration)>,
}

impl Clock {
    fn look(&mut self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        self.looks.push((u64::try_from(now.as_micros())?, machine::busy()?));
        Ok(())
    }

    /// Busy time within the work, from the looks inside of it, as if they were its ends.
    fn busy_us(&self, work: &Work) -> Option<f64> {
        let mut inside = self.looks.iter().filter(|(at, _)| (work.from_us..=work.to_us).contains(at));
        let (first, last) = (inside.next()?, inside.next_back()?);
        let share = last.1.saturating_sub(first.1).as_secs_f64() / (last.0 - first.0) as f64;
        Some(share * (work.to_us - work.from_us) as f64 * 1e6)
    }
}

/// Transactions that ended after all clients had begun.
#[derive(Debug, PartialEq)]
struct Work {
    /// Microseconds since the epoch: the last client's first transaction has ended.
    from_us: u64,
    /// The last transaction of all has ended.
    to_us: u64,
    /// Sorted.
    latencies_us: Vec<f64>,
}

impl Work {
    fn read(folder: &Path, clients: u32) -> Result<Self> {
        let mut text = String::new();
        for entry in fs::read_dir(folder)? {
            text.push_str(&fs::read_to_string(entry?.path())?);
        }
        Self::parse(&text, clients)
    }

    /// Lines of pgbench's log: client, transaction, latency in microseconds, script, seconds and microseconds of its end.
    fn parse(log: &str, clients: u32) -> Result<Self> {
        let mut ends: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let mut transactions = Vec::new();
        for line in log.lines() {
            let words: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().context("an odd log")?;
            let &[client, _, latency_us, _, seconds, microseconds, ..] = words.as_slice() else { continue };
            let at_us = seconds * 1_000_000 + microseconds;
            let (first, last) = ends.entry(client).or_insert((at_us, at_us));
            (*first, *last) = ((*first).min(at_us), (*last).max(at_us));
            transactions.push((at_us, latency_us));
        }
        ensure!(ends.len() == usize::try_from(clients)?, "only {} of {clients} clients did anything", ends.len());
        let from_us = ends.values().map(|(first, _)| *first).max().unwrap_or_default();
        let to_us = ends.values().map(|(_, last)| *last).max().unwrap_or_default();
        ensure!(from_us < to_us, "the clients never worked all at once");
        let inside = transactions.into_iter().filter(|(at, _)| (from_us + 1..=to_us).contains(at));
        let mut latencies_us: Vec<f64> = inside.map(|(_, latency_us)| latency_us as f64).collect();
        latencies_us.sort_by(f64::total_cmp);
        Ok(Self { from_us, to_us, latencies_us })
    }

    fn length_seconds(&self) -> f64 {
        (self.to_us - self.from_us) as f64 / 1e6
    }
}

/// The smallest value that is not exceeded by so many hundredths of them.
fn percentile(sorted: &[f64], hundredths: usize) -> Option<f64> {
    sorted.get((sorted.len() * hundredths).div_ceil(100).saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((percentile(&sorted, 50), percentile(&sorted, 99)), (Some(100.0), Some(198.0)));
        assert_eq!((percentile(&[7.0], 99), percentile(&[], 50)), (Some(7.0), None));
    }

    #[test]
    fn work_begins_when_every_client_has_answers() {
        let log = "0 1 500 0 10 0\n1 1 700 0 11 0\n0 2 300 0 11 500000\n0 3 200 0 12 0\n1 2 900 0 13 0\n";
        let work = Work::parse(log, 2).unwrap();
        assert_eq!(work, Work { from_us: 11_000_000, to_us: 13_000_000, latencies_us: vec![200.0, 300.0, 900.0] });
        assert!(Work::parse(log, 3).is_err());
    }

    #[test]
    fn busy_time_is_that_of_the_work() {
        let at = |seconds: u64, busy: u64| (seconds * 1_000_000, Duration::from_secs(busy));
        let clock = Clock { looks: vec![at(1, 0), at(2, 5), at(4, 8), at(9, 9)] };
        let work = Work { from_us: 1_500_000, to_us: 5_500_000, latencies_us: Vec::new() };
        assert_eq!(clock.busy_us(&work), Some(6e6));
        assert_eq!(Clock::default().busy_us(&work), None);
    }
}
