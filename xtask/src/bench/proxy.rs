//! What a relay in front of a server costs: direct, HAProxy, PgBouncer in session mode and Warder, interleaved in each
//! round; and what idle sessions through each of them hold.

mod cell;
mod idle;
mod sample;
mod variant;

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::process;
use warder_tests::way::Passage;

use self::cell::Cell;
use self::sample::Sample;
use self::variant::Variant;
use super::document;
use super::statistics::Summary;
use super::table::markdown;
use crate::progress::{note, step};
use crate::{build, setup};

/// pgbench scale: 100,000 accounts fit into shared buffers.
const SCALE: u32 = 1;

/// What the others are compared with.
const BASE: &str = "direct";
/// What users would pick instead: neither slower nor later than this.
const RIVAL: &str = "pgbouncer";

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds; each measures every way once in every cell
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only these cells, `PROTOCOL/CLIENTS/TRANSPORT` or a part of it: `tls`, `prepared/8`, `simple/1/plain`
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// Ways that are compared; Warder's may have words for `tls` and `record` behind them: `steered:relay:written`. `steered`
    /// attaches to the network namespace that this runs in: give it one of its own (`unshare --net`, and `ip link set lo up`)
    #[arg(long, value_delimiter = ',', default_value = "direct,haproxy,pgbouncer,listener,governed:memory,governed")]
    ways: Vec<Variant>,
    /// Idle sessions of the measurement of memory; 0 leaves it out
    #[arg(long, default_value_t = 5_000)]
    idle: u32,
    /// Leave throughput out
    #[arg(long)]
    only_memory: bool,
    /// Put the chapters into docs/benchmarks.md
    #[arg(long)]
    write: bool,
}

/// Measures and prints; the chapters are the only thing on standard output.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::for_demo()?;
    setup::for_tests()?;
    let binary = options.ways.iter().any(Variant::is_warder).then(build::release).transpose()?;
    let mut chapters = Vec::new();
    if !options.only_memory {
        let cells = Cell::chosen(&options.cells)?;
        let samples = step("bench: throughput and latency", || measure(options, &cells, binary.as_deref()))?;
        chapters.push(chapter(options, &cells, &samples)?);
    }
    if options.idle > 0 {
        let idle = step("bench: idle sessions", || idle::measure(&options.ways, options.idle, binary.as_deref()))?;
        chapters.push(idle);
    }
    for chapter in &chapters {
        println!("{chapter}");
        if options.write {
            document::replace_chapter(chapter)?;
        }
    }
    Ok(())
}

fn measure(options: &Options, cells: &[Cell], binary: Option<&std::path::Path>) -> Result<Vec<Sample>> {
    let cluster = Cluster::start(&ClusterOptions::default().with("max_connections", "300"))?;
    cluster.prepare_pgbench(SCALE)?;
    let mut samples = Vec::new();
    for round in 0..options.rounds {
        let mut order = options.ways.clone();
        // Each way comes first, second, ... equally often.
        let shift = usize::try_from(round)? % order.len().max(1);
        order.rotate_left(shift);
        for (number, cell) in cells.iter().enumerate() {
            note(&format!("round {} of {}, cell {} of {}: {cell}", round + 1, options.rounds, number + 1, cells.len()));
            // Neighbours in time are compared: the load of the machine changes.
            for variant in &order {
                let sample = measure_one(options, &cluster, *cell, variant, binary);
                samples.push(Sample { round, ..sample.with_context(|| format!("{cell} through {variant}"))? });
            }
        }
    }
    Ok(samples)
}

/// What stands for a way stands during its own turn only: programs on the server's executable would slow the others.
fn measure_one(
    options: &Options,
    cluster: &Cluster,
    cell: Cell,
    variant: &Variant,
    binary: Option<&std::path::Path>,
) -> Result<Sample> {
    let passage = Passage::open_with(variant.kind, cluster, &variant.options(cell.route, binary))?;
    let sample = sample::take(&passage.way, cell, variant, options.seconds)?;
    for pid in passage.processes()? {
        ensure!(!process::ended(pid), "a process of {variant} ended under load");
    }
    Ok(sample)
}

fn chapter(options: &Options, cells: &[Cell], samples: &[Sample]) -> Result<String> {
    let header = ["clients", "way", "TPS", "TPS ratio", "p50, ms", "p99, ms", "p99 ratio", "CPU, us", "CPU ratio"];
    let mut text = String::from("## Proxy\n\n");
    writeln!(
        text,
        "What `cargo xtask bench proxy` measured: `pgbench -S`, {} rounds of {} s for each way and cell; every round runs",
        options.rounds, options.seconds
    )?;
    writeln!(
        text,
        "every way once in every cell, in turning order, and counts while all clients are connected and at work. Ratios are against the direct run of the same round and cell.\n\
         Figures are the median (minimum to maximum). CPU is the busy time of the whole machine for each transaction.\n\
         With TLS, PgBouncer and Warder (`server-certificate`) encrypt on both sides; HAProxy relays bytes.\n"
    )?;
    writeln!(text, "{}.", super::machine_description())?;
    for (title, group) in Cell::groups(cells) {
        let rows: Vec<Vec<String>> = group.iter().flat_map(|cell| rows(options, samples, *cell)).collect();
        write!(text, "\n### {title}\n\n{}", markdown(&header, &rows))?;
    }
    write!(text, "\n{}", verdict(options, cells, samples))?;
    Ok(text)
}

fn rows(options: &Options, samples: &[Sample], cell: Cell) -> Vec<Vec<String>> {
    options.ways.iter().filter_map(|variant| row(samples, cell, variant)).collect()
}

fn row(samples: &[Sample], cell: Cell, variant: &Variant) -> Option<Vec<String>> {
    let name = variant.to_string();
    let of = |figure: fn(&Sample) -> f64| Summary::of(of(samples, cell, &name).map(figure));
    let cells = |value: Option<Summary>, digits: usize| match value {
        Some(summary) => format!("{summary:.digits$}"),
        None => "-".to_owned(),
    };
    Some(vec![
        cell.clients.to_string(),
        name.clone(),
        format!("{:.0}", of(|sample| sample.tps)?),
        cells(ratio(samples, cell, &name, BASE, |sample| sample.tps), 2),
        format!("{:.3}", of(|sample| sample.p50_us / 1e3)?),
        format!("{:.3}", of(|sample| sample.p99_us / 1e3)?),
        cells(ratio(samples, cell, &name, BASE, |sample| sample.p99_us), 2),
        format!("{:.0}", of(|sample| sample.cpu_us)?),
        cells(ratio(samples, cell, &name, BASE, |sample| sample.cpu_us), 2),
    ])
}

fn of<'a>(samples: &'a [Sample], cell: Cell, variant: &'a str) -> impl Iterator<Item = &'a Sample> {
    samples.iter().filter(move |sample| sample.cell == cell && sample.variant == variant)
}

/// A figure against that of `base` in the same round.
fn ratio(samples: &[Sample], cell: Cell, name: &str, base: &str, figure: fn(&Sample) -> f64) -> Option<Summary> {
    let pair = |sample: &Sample| {
        let other = of(samples, cell, base).find(|other| other.round == sample.round)?;
        Some(figure(sample) / figure(other))
    };
    Summary::of(of(samples, cell, name).filter_map(pair))
}

/// Cells in which Warder falls behind what users would pick instead.
fn verdict(options: &Options, cells: &[Cell], samples: &[Sample]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for variant in options.ways.iter().filter(|variant| variant.is_warder()) {
        let name = variant.to_string();
        let behind = |cell: &&Cell| {
            let tps = ratio(samples, **cell, &name, RIVAL, |sample| sample.tps);
            let p99 = ratio(samples, **cell, &name, RIVAL, |sample| sample.p99_us);
            tps.is_some_and(|tps| tps.median < 1.0) || p99.is_some_and(|p99| p99.median > 1.0)
        };
        let short: Vec<String> = cells.iter().filter(behind).map(|cell| describe(samples, *cell, &name)).collect();
        let kept = cells.len() - short.len();
        lines
            .push(format!("- {name}: kept in {kept} of {} cells. {}", cells.len(), short.join("; ")).trim_end().into());
    }
    if lines.is_empty() || !options.ways.iter().any(|variant| variant.to_string() == RIVAL) {
        return String::new();
    }
    let target = "Target: in every cell TPS not lower and p99 not higher than PgBouncer's in the same round (medians).";
    format!("{target}\n{}\n", lines.join("\n"))
}

fn describe(samples: &[Sample], cell: Cell, name: &str) -> String {
    let median = |figure: fn(&Sample) -> f64| {
        ratio(samples, cell, name, RIVAL, figure).map_or(f64::NAN, |summary| summary.median)
    };
    format!("{cell}: TPS {:.2}, p99 {:.2}", median(|sample| sample.tps), median(|sample| sample.p99_us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warder_tests::route::Route;

    const CELL: Cell = Cell { protocol: "simple", clients: 1, route: Route::Tcp };

    fn sample(round: u32, variant: &str, tps: f64) -> Sample {
        Sample { round, cell: CELL, variant: variant.into(), tps, p50_us: 1.0, p99_us: 2.0, cpu_us: 3.0 }
    }

    #[test]
    fn ratios_compare_the_same_round() {
        let samples = [
            sample(0, "direct", 100.0),
            sample(0, "haproxy", 50.0),
            sample(1, "direct", 10.0),
            sample(1, "haproxy", 9.0),
        ];
        let ratio = ratio(&samples, CELL, "haproxy", "direct", |sample| sample.tps).unwrap();
        assert_eq!(format!("{ratio:.2}"), "0.70 (0.50 to 0.90)");
        assert!(super::ratio(&samples, CELL, "haproxy", "pgbouncer", |sample| sample.tps).is_none());
    }
}
