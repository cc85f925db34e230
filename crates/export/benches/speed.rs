//! What exporting costs. Printed, not asserted: machines are noisy.
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "helpers of tests")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use export::config::{ExportConfig, Kind};
use export::metrics::Metrics;
use support::http::{Behaviour, Receiver};
use support::records::{all_types, statements};
use support::{Journal, sample, start, wait_for};

const RECORDS: u64 = 300_000;

/// Peak resident memory of this process.
fn peak_kibibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "measures elapsed time")]
fn measure(name: &str, config: &ExportConfig, journal: &Journal) {
    let metrics = Metrics::new("0");
    let begin = Instant::now();
    let handle = start(config, journal, &metrics);
    let delivered = format!(r#"warder_export_delivered_total{{export="{}"}}"#, config.name);
    wait_for("everything", || (sample(&metrics, &delivered) >= RECORDS as f64).then_some(()));
    let rate = RECORDS as f64 / begin.elapsed().as_secs_f64();
    handle.stop();
    println!("{name}: {rate:.0} records/s, peak {} KiB", peak_kibibytes());
}

fn main() {
    let journal = Journal::new();
    let first = all_types();
    let next = first.len() as u64 + 1;
    journal.append(first);
    journal.append(statements(next..=RECORDS));
    println!("begin: peak {} KiB", peak_kibibytes());
    let file =
        |name: &str, kind| ExportConfig { file: Some(journal.path().join(name)), ..ExportConfig::new(name, kind) };
    measure("jsonl to a file", &file("jsonl", Kind::Jsonl), &journal);
    measure("ocsf to a file", &file("ocsf", Kind::Ocsf), &journal);
    // The receiver keeps nothing, so that its memory does not count.
    let receiver = Receiver::start(|_, _| Behaviour::Status(200));
    let url = |name: &str, kind| ExportConfig { url: Some(receiver.url()), ..ExportConfig::new(name, kind) };
    measure("webhook", &url("webhook", Kind::Webhook), &journal);
    let otlp = ExportConfig { metrics_interval_seconds: Some(0), ..url("otlp", Kind::Otlp) };
    measure("otlp", &otlp, &journal);
}
