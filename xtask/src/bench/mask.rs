//! What masking costs those who wait for results: a long result with more and more of its columns masked, memory while a
//! longer one passes, and point selects.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::route::Route;
use warder_tests::way::{Kind, Passage, PassageOptions, WayIn};
use warder_tests::wire::{RawClient, query};
use warder_tests::{directory, process, wait};

use super::document;
use super::statistics::Summary;
use super::table::markdown;
use crate::progress::{note, step};
use crate::{build, setup};

/// Masked columns of the ten that each table has: one table for each of these.
const MASKED: [u32; 4] = [0, 1, 5, 10];
const COLUMNS: u32 = 10;
/// Rows of a table, and how often a statement asks for each of them.
const TABLE_ROWS: u32 = 100_000;
const TIMES: u32 = 10;
const TIMES_LONG: u32 = 100;
/// What every text begins with; where it is masked nobody sees that.
const CANARY: &str = "zq7";
/// What it looks like then.
const MASKED_TEXT: &str = "***";
/// Role that reads the catalogue; the server asks nobody for a password.
const ROLE: &str = "warder_catalogue";

const POLICY: &str = "@id(\"all\")\n@reason(\"all but reading in clear\")\npermit (principal, action, resource);\n";

/// How masking is measured.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds; each measures everything once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement of point selects
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Put the chapter into docs/benchmarks.md
    #[arg(long)]
    write: bool,
}

/// Measures and prints; the chapter is the only thing on standard output.
pub(super) fn run(options: &Options) -> Result<()> {
    setup::for_demo()?;
    let binary = build::release()?;
    let chapter = step("bench: masking", || measure(options, &binary))?;
    println!("{chapter}");
    if options.write { document::replace_chapter(&chapter) } else { Ok(()) }
}

/// One way to one table.
#[derive(Clone, Copy)]
struct Subject<'a> {
    way: &'a WayIn,
    masked: u32,
}

impl Subject<'_> {
    fn name(self) -> String {
        format!("{}, {} of {COLUMNS} masked", self.way, self.masked)
    }
}

/// What one round said about one subject.
struct Sample {
    rows_per_second: f64,
    /// Microseconds for a point select: in simple texts, and prepared.
    points_us: [f64; 2],
}

fn measure(options: &Options, binary: &Path) -> Result<String> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.sql(&tables())?;
    let folder = directory::private("masking")?;
    let passage = open(&cluster, folder.path(), binary)?;
    let direct = WayIn::direct(&cluster);
    let mut subjects = vec![Subject { way: &direct, masked: 0 }];
    subjects.extend(MASKED.map(|masked| Subject { way: &passage.way, masked }));
    let mut samples: Vec<Vec<Sample>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        note(&format!("round {} of {}", round + 1, options.rounds));
        for turn in 0..subjects.len() {
            let place = (turn + usize::try_from(round)?) % subjects.len();
            let subject = subjects[place];
            let rows_per_second = stream(subject, TIMES)?;
            let points_us = [point(subject, "simple", options.seconds)?, point(subject, "prepared", options.seconds)?];
            samples[place].push(Sample { rows_per_second, points_us });
        }
    }
    note("memory");
    let grown = grown(&passage, Subject { way: &passage.way, masked: 5 })?;
    Ok(chapter(options, &subjects, &samples, grown))
}

/// One table for each number of masked columns.
fn tables() -> String {
    let mut sql = format!("create role {ROLE} login;\n");
    for masked in MASKED {
        let texts = (1..COLUMNS).map(|number| format!("'{CANARY}-' || lpad(i::text, 7, '0') as c{number}"));
        let columns = texts.collect::<Vec<_>>().join(", ");
        let (table, key) = (format!("people_{masked}"), format!("c{COLUMNS}"));
        let rows = format!("select {columns}, i as {key} from generate_series(1, {TABLE_ROWS}) i");
        sql.push_str(&format!("create table {table} as {rows};\nalter table {table} add primary key ({key});\n"));
    }
    sql.push_str("analyze;\n");
    sql
}

/// An agent that masks, once it knows the catalogue.
fn open(cluster: &Cluster, folder: &Path, binary: &Path) -> Result<Passage> {
    let mut masking = String::new();
    for masked in MASKED.into_iter().filter(|masked| *masked > 0) {
        let columns: Vec<String> = (1..=masked).map(|number| format!("\"public.people_{masked}.c{number}\"")).collect();
        let columns = columns.join(", ");
        writeln!(
            masking,
            "[[protect]]\nname = \"rule-{masked}\"\ncolumns = [{columns}]\nmask = \"last\"\nletters = 4\n"
        )?;
    }
    for (name, text) in [("bench.cedar", POLICY), ("bench.masking.toml", &masking), ("password", "unused")] {
        fs::write(folder.join(name), text)?;
        fs::set_permissions(folder.join(name), Permissions::from_mode(0o600))?;
    }
    let passage = Passage::open_with(
        Kind::Listener,
        cluster,
        &PassageOptions {
            tls: Some("server-certificate"),
            database: vec![
                "mode = \"enforce\"".into(),
                format!("policies = [{:?}]", folder.to_string_lossy()),
                format!("[database.catalogue]\nuser = {ROLE:?}\npassword_file = {:?}", folder.join("password")),
            ],
            binary: Some(binary.to_path_buf()),
            ..PassageOptions::default()
        },
    )?;
    wait::until("the agent to know the catalogue", wait::PATIENCE, || {
        let mut psql = passage.way.client("psql", Route::Tcp)?;
        psql.args(["-XqAt", "-c", "select c1 from people_1 limit 1"]);
        let output = process::run_any(&mut psql)?;
        Ok(output.stdout.starts_with(b"*").then_some(()))
    })?;
    Ok(passage)
}

/// Rows a second of a long result, read as fast as they come.
fn stream(subject: Subject<'_>, times: u32) -> Result<f64> {
    let mut stream = TcpStream::connect(("127.0.0.1", subject.way.port))?;
    let mut client = RawClient::connected(stream.try_clone()?)?;
    client.login()?;
    let text = format!("select p.* from people_{} p, generate_series(1, {times})", subject.masked);
    let begin = Instant::now();
    client.send(&query(text.as_bytes()))?;
    let mut buffer = vec![0; 256 << 10];
    let (mut tail, mut bytes) = (Vec::new(), 0);
    while tail != b"Z\0\0\0\x05I" {
        let count = stream.read(&mut buffer)?;
        let chunk = buffer.get(..count).filter(|chunk| !chunk.is_empty()).context("the connection ended")?;
        if bytes == 0 {
            let has = |wanted: &str| chunk.windows(wanted.len()).any(|window| window == wanted.as_bytes());
            let is_it = has(CANARY) == (subject.masked < COLUMNS) && has(MASKED_TEXT) == (subject.masked > 0);
            ensure!(is_it, "{} is not what it is called", subject.name());
        }
        bytes += count;
        tail.extend_from_slice(chunk.get(count.saturating_sub(6)..).unwrap_or_default());
        tail.drain(..tail.len().saturating_sub(6));
    }
    // Nine texts of eleven letters and a number stand in a row.
    let rows = TABLE_ROWS * times;
    ensure!(bytes > 130 * usize::try_from(rows)?, "{}: only {bytes} bytes", subject.name());
    Ok(f64::from(rows) / begin.elapsed().as_secs_f64())
}

/// Microseconds of one client for a point select.
fn point(subject: Subject<'_>, protocol: &str, seconds: u32) -> Result<f64> {
    let folder = directory::private("script")?;
    let script = folder.path().join("point.sql");
    let table = format!("people_{}", subject.masked);
    fs::write(&script, format!("\\set id random(1, {TABLE_ROWS})\nselect * from {table} where c{COLUMNS} = :id;\n"))?;
    let mut pgbench = subject.way.client("pgbench", Route::Tcp)?;
    pgbench.args(["-n", "-M", protocol, "-c", "1", "-T", &seconds.to_string(), "-f"]).arg(&script);
    let output = process::run(&mut pgbench)?.stdout;
    let tps = String::from_utf8_lossy(&output);
    let tps = tps.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    Ok(1e6 / tps.context("pgbench did not say how many")?.parse::<f64>()?)
}

/// Bytes that all processes of a way grow by while a result passes that is longer still.
fn grown(passage: &Passage, subject: Subject<'_>) -> Result<u64> {
    let pids = passage.processes()?;
    let held = || pids.iter().map(|pid| process::resident_bytes(*pid)).sum::<Result<u64>>();
    let before = held()?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let peak = scope.spawn(|| {
            let mut peak = before;
            while !is_over.load(Ordering::Relaxed) {
                peak = peak.max(held()?);
                thread::sleep(Duration::from_millis(50));
            }
            Ok::<_, anyhow::Error>(peak)
        });
        let streamed = stream(subject, TIMES_LONG);
        is_over.store(true, Ordering::Relaxed);
        let peak = peak.join().map_err(|_panic| anyhow::anyhow!("the look at memory ended early"))??;
        streamed.map(|_| peak - before)
    })
}

fn chapter(options: &Options, subjects: &[Subject<'_>], samples: &[Vec<Sample>], grown: u64) -> String {
    let header =
        ["", "rows/s", "of unmasked", "point select, simple, us", "more than unmasked", "prepared, us", "more"];
    let unmasked = &samples[1];
    let row = |(subject, samples): (&Subject<'_>, &Vec<Sample>)| {
        let of = |figure: &dyn Fn(&Sample, &Sample) -> f64, digits: usize| {
            let pairs = samples.iter().zip(unmasked);
            Summary::of(pairs.map(|(sample, other)| figure(sample, other)))
                .map_or("-".to_owned(), |summary| format!("{summary:.digits$}"))
        };
        vec![
            subject.name(),
            of(&|sample, _| sample.rows_per_second, 0),
            of(&|sample, other| sample.rows_per_second / other.rows_per_second, 2),
            of(&|sample, _| sample.points_us[0], 1),
            of(&|sample, other| sample.points_us[0] - other.points_us[0], 1),
            of(&|sample, _| sample.points_us[1], 1),
            of(&|sample, other| sample.points_us[1] - other.points_us[1], 1),
        ]
    };
    let rows: Vec<Vec<String>> = subjects.iter().zip(samples).map(row).collect();
    format!(
        "## Masked results\n\n\
         What `cargo xtask bench mask` measured: {} rows of nine texts of 11 letters and a number, masked by `last`, read by one\n\
         client as fast as they come; and `select *` of one row by its key, by one `pgbench`, {} s each. Median (minimum to\n\
         maximum) of {} rounds in turning order; ratios and differences are against the unmasked table through the same agent in\n\
         the same round. {}.\n\n{}\n\
         While {} million rows with 5 masked columns pass, all processes of the agent grow by {:.1} MiB (limit: 16).\n\
         Targets: with one masked column at least 0.70 of the unmasked rows/s; a point select at most 3 us more.\n",
        TABLE_ROWS * TIMES,
        options.seconds,
        options.rounds,
        super::machine_description(),
        markdown(&header, &rows),
        TABLE_ROWS * TIMES_LONG / 1_000_000,
        grown as f64 / 1_048_576.0,
    )
}
