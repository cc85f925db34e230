//! A journal written by hand, and receivers that misbehave as told.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod authority;
pub(crate) mod http;
pub(crate) mod records;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use export::config::{ExportConfig, Identity};
use export::export::{Export, Handle};
use export::metrics::Metrics;
use export::plan::Plan;
use serde_json::Value;

/// How long anything may take that must happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// A folder with records, written as the agent writes them: whole lines, appended.
pub(crate) struct Journal {
    pub(crate) folder: tempfile::TempDir,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        store::files::segment_path(self.path(), 1, store::files::Form::Plain)
    }

    pub(crate) fn append(&self, lines: impl IntoIterator<Item = String>) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.file()).unwrap();
        for line in lines {
            file.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
    }

    /// As if there had never been other records.
    pub(crate) fn replace(&self, lines: impl IntoIterator<Item = String>) {
        std::fs::remove_file(self.file()).unwrap();
        self.append(lines);
    }
}

pub(crate) fn identity() -> Identity {
    Identity { version: "0.1.0".into(), host: "00112233445566778899aabbccddeeff".into(), host_name: Some("db1".into()) }
}

pub(crate) fn start(config: &ExportConfig, journal: &Journal, metrics: &Metrics) -> Handle {
    Export::start(&Plan::check(config).unwrap(), journal.path(), &identity(), metrics).unwrap()
}

/// Waits until `condition` gives something; fails the test if it does not in time.
#[expect(clippy::disallowed_methods, reason = "a deadline needs a clock")]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub(crate) fn seq(record: &Value) -> Option<u64> {
    record["seq"].as_u64()
}

pub(crate) fn json_lines(bytes: &[u8]) -> Vec<Value> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// The value of a sample, 0 if there is none.
pub(crate) fn sample(metrics: &Metrics, name: &str) -> f64 {
    let text = metrics.render();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
}
