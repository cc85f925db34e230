//! All numbers at once, those that change by themselves brought up to date before.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::Registry;
use prometheus::proto::MetricFamily;

use crate::series::Series;

/// The registry, and what has to be computed when somebody looks.
#[derive(Debug)]
pub(crate) struct Gather {
    pub(crate) registry: Registry,
    exports: Mutex<Vec<(String, Series)>>,
    /// Number of the newest record in the journal.
    newest: AtomicU64,
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self { registry: Registry::new(), exports: Mutex::default(), newest: AtomicU64::new(0) }
    }

    pub(crate) fn newest(&self, seq: u64) {
        self.newest.fetch_max(seq, Ordering::Relaxed);
    }

    /// The series of an export, made when it is asked for first.
    pub(crate) fn export(&self, name: &str, make: impl FnOnce() -> Series) -> Series {
        let mut exports = self.exports.lock().expect("nothing panics while it holds this lock");
        if let Some((_, series)) = exports.iter().find(|(known, _)| known == name) {
            return series.clone();
        }
        let series = make();
        exports.push((name.to_owned(), series.clone()));
        series
    }

    pub(crate) fn gather(&self) -> Vec<MetricFamily> {
        let newest = self.newest.load(Ordering::Relaxed);
        let exports = self.exports.lock().expect("nothing panics while it holds this lock");
        exports.iter().for_each(|(_, series)| series.refresh(newest));
        drop(exports);
        self.registry.gather()
    }
}
