//! pgbench -S, 8 clients: unobserved, observed, pgaudit, `log_statement = all`; interleaved in each round.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use warder_tests::agent::Agent;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::route::Route;
use warder_tests::{process, wait};

use super::document;
use super::machine;
use super::memory;
use super::statistics::Summary;
use super::table::markdown;
use crate::progress::{note, step};
use crate::{build, setup};

/// pgbench scale: 100,000 accounts fit into shared buffers.
const SCALE: u32 = 1;
/// Concurrent clients.
const CLIENTS: u32 = 8;

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds; each measures every variant once over every route
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only measure the server's own ways (no agent)
    #[arg(long)]
    without_agent: bool,
    /// Put the tables into docs/benchmarks.md
    #[arg(long, conflicts_with = "without_agent")]
    write: bool,
}

/// What watches the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Unobserved,
    Observed,
    Pgaudit,
    LogStatement,
}

impl Variant {
    const ALL: [Self; 4] = [Self::Unobserved, Self::Observed, Self::Pgaudit, Self::LogStatement];

    const fn name(self) -> &'static str {
        match self {
            Self::Unobserved => "unobserved",
            Self::Observed => "observed by Warder",
            Self::Pgaudit => "pgaudit.log = all",
            Self::LogStatement => "log_statement = all",
        }
    }
}

/// One run of pgbench.
#[derive(Clone, Copy, Debug)]
struct Sample {
    round: u32,
    variant: Variant,
    route: Route,
    tps: f64,
    cpu_us: f64,
}

/// The servers: observed and unobserved runs use the same one.
struct Servers {
    plain: Cluster,
    pgaudit: Cluster,
    logging: Cluster,
}

impl Servers {
    fn start() -> Result<Self> {
        let start = |options: &ClusterOptions| {
            let cluster = Cluster::start(options)?;
            cluster.prepare_pgbench(SCALE)?;
            Ok::<_, anyhow::Error>(cluster)
        };
        let options = ClusterOptions::default;
        let servers = Self {
            plain: start(&options())?,
            pgaudit: start(&options().with("shared_preload_libraries", "pgaudit").with("pgaudit.log", "all"))?,
            logging: start(&options().with("log_statement", "all"))?,
        };
        ensure_logs(&servers.pgaudit, "AUDIT: SESSION")?;
        ensure_logs(&servers.logging, "statement: ")?;
        Ok(servers)
    }

    fn of(&self, variant: Variant) -> &Cluster {
        match variant {
            Variant::Unobserved | Variant::Observed => &self.plain,
            Variant::Pgaudit => &self.pgaudit,
            Variant::LogStatement => &self.logging,
        }
    }
}

/// A server that does not log would make an unfair comparison.
fn ensure_logs(cluster: &Cluster, beginning: &str) -> Result<()> {
    cluster.sql("select 'is this logged?'")?;
    wait::until(&format!("a log line '{beginning}...'"), wait::PATIENCE, || {
        let entries = cluster.log().entries()?;
        let ours = |message: &str| message.starts_with(beginning) && message.contains("is this logged?");
        Ok(entries.iter().any(|entry| ours(&entry.message)).then_some(()))
    })
}

/// Measures and prints; the tables are the only thing on standard output.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::for_demo()?;
    setup::for_tests()?;
    let binary = if options.without_agent { None } else { Some(build::release()?) };
    let samples = step("bench: throughput and CPU time", || measure(options, binary.as_deref()))?;
    let memory = match &binary {
        Some(binary) => Some(step("bench: memory", || memory::measure(binary))?),
        None => None,
    };
    let mut chapters = vec![chapter(options, &samples)?];
    chapters.extend(memory.map(|memory| memory.chapter()));
    println!("{}", chapters.join("\n"));
    if options.write {
        chapters.iter().try_for_each(|chapter| document::replace_chapter(chapter))?;
    }
    Ok(())
}

fn measure(options: &Options, binary: Option<&Path>) -> Result<Vec<Sample>> {
    let servers = Servers::start()?;
    let mut samples = Vec::new();
    for round in 0..options.rounds {
        note(&format!("round {} of {}", round + 1, options.rounds));
        let mut order: Vec<Variant> = Variant::ALL.to_vec();
        order.retain(|variant| binary.is_some() || *variant != Variant::Observed);
        // Each variant comes first, second, ... equally often.
        let shift = usize::try_from(round)? % order.len();
        order.rotate_left(shift);
        // Neighbours in time are compared: the load of the machine changes.
        for route in Route::ALL {
            for variant in &order {
                let (tps, cpu_us) = measure_one(options, &servers, *variant, route, binary)?;
                samples.push(Sample { round, variant: *variant, route, tps, cpu_us });
            }
        }
    }
    Ok(samples)
}

fn measure_one(
    options: &Options,
    servers: &Servers,
    variant: Variant,
    route: Route,
    binary: Option<&Path>,
) -> Result<(f64, f64)> {
    let cluster = servers.of(variant);
    // Unobserved means: no probe on the server's executable. So the agent runs only in its own turns.
    let agent = match (variant, binary) {
        (Variant::Observed, Some(binary)) => Some(Agent::observing(binary, cluster)?),
        _ => None,
    };
    let measured = pgbench(cluster, route, options.seconds)?;
    if let Some(mut agent) = agent {
        ensure!(agent.alive()?, "the agent ended under load; it said:\n{}", agent.log()?);
        agent.stop()?;
    }
    Ok(measured)
}

/// Transactions a second, and CPU time of the whole machine for each in microseconds.
fn pgbench(cluster: &Cluster, route: Route, seconds: u32) -> Result<(f64, f64)> {
    let before = machine::busy()?;
    let mut command = cluster.client("pgbench", route);
    command.args(["-S", "-n", "-j", "2", "-c", &CLIENTS.to_string(), "-T", &seconds.to_string()]);
    let output = String::from_utf8(process::run(&mut command)?.stdout)?;
    let busy = machine::busy()?.saturating_sub(before);
    let transactions = number_after(&output, "number of transactions actually processed: ")?;
    let tps = number_after(&output, "tps = ")?;
    Ok((tps, microseconds(busy) / transactions))
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn number_after(output: &str, label: &str) -> Result<f64> {
    let (_, rest) = output.split_once(label).with_context(|| format!("pgbench did not print '{label}': {output}"))?;
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().with_context(|| format!("pgbench printed no number after '{label}'"))
}

fn chapter(options: &Options, samples: &[Sample]) -> Result<String> {
    let header = ["route", "variant", "TPS", "TPS ratio", "CPU per transaction, us", "CPU ratio"];
    let mut rows = Vec::new();
    for route in Route::ALL {
        for variant in Variant::ALL {
            rows.extend(row(samples, route, variant));
        }
    }
    let mut text = String::from("## Observing\n\n");
    writeln!(
        text,
        "What `cargo xtask bench observe` measured: `pgbench -S`, {CLIENTS} clients, {} rounds of {} s each;",
        options.rounds, options.seconds
    )?;
    writeln!(
        text,
        "every round runs every variant once, in turning order. Ratios are against the unobserved run of the same"
    )?;
    writeln!(
        text,
        "round and route. Figures are the median (minimum to maximum). CPU is the busy time of the whole machine.\n"
    )?;
    writeln!(text, "{}.\n", super::machine_description())?;
    text.push_str(&markdown(&header, &rows));
    text.push_str("\nTargets: TPS ratio at least 0.95 over TCP and Unix, 0.92 over TLS, and better than pgaudit and log_statement.\n");
    Ok(text)
}

fn row(samples: &[Sample], route: Route, variant: Variant) -> Option<Vec<String>> {
    let of = |variant| samples.iter().filter(move |sample| sample.route == route && sample.variant == variant);
    let base = |sample: &Sample| of(Variant::Unobserved).find(|other| other.round == sample.round);
    let tps = Summary::of(of(variant).map(|sample| sample.tps))?;
    let cpu = Summary::of(of(variant).map(|sample| sample.cpu_us))?;
    let tps_ratio = Summary::of(of(variant).filter_map(|sample| Some(sample.tps / base(sample)?.tps)))?;
    let cpu_ratio = Summary::of(of(variant).filter_map(|sample| Some(sample.cpu_us / base(sample)?.cpu_us)))?;
    Some(vec![
        route.to_string(),
        variant.name().to_owned(),
        format!("{tps:.0}"),
        tps_ratio.to_string(),
        format!("{cpu:.0}"),
        cpu_ratio.to_string(),
    ])
}
