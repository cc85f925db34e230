//! The numbers of one export, for Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::time::WallTime;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge};

use crate::clock;

/// The series of one export. Shared between its thread and whoever renders.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    name: String,
    delivered: IntCounter,
    failed: IntCounterVec,
    lost: IntCounterVec,
    lag_records: IntGauge,
    lag_seconds: Gauge,
    position: Arc<Position>,
}

#[derive(Debug, Default)]
struct Position {
    /// Number of the last record that needs no more delivery.
    delivered: AtomicU64,
    /// Time of the oldest record that waits; 0: none does.
    waiting_since: AtomicU64,
}

/// The families of exports.
#[derive(Debug)]
pub(crate) struct SeriesFamilies {
    pub(crate) delivered: IntCounterVec,
    pub(crate) failed: IntCounterVec,
    pub(crate) lost: IntCounterVec,
    pub(crate) lag_records: prometheus::IntGaugeVec,
    pub(crate) lag_seconds: prometheus::GaugeVec,
}

impl SeriesFamilies {
    pub(crate) fn series(&self, name: &str) -> Series {
        let labels = [name];
        let series = Series {
            name: name.to_owned(),
            delivered: self.delivered.with_label_values(&labels),
            failed: self.failed.clone(),
            lost: self.lost.clone(),
            lag_records: self.lag_records.with_label_values(&labels),
            lag_seconds: self.lag_seconds.with_label_values(&labels),
            position: Arc::default(),
        };
        // An alert on an increase needs the zero before it.
        series.lost("removed", 0);
        series.failed.with_label_values(&[name, "connect"]).inc_by(0);
        series
    }
}

impl Series {
    /// The receiver took this many records.
    pub(crate) fn delivered(&self, records: u64) {
        self.delivered.inc_by(records);
        self.position.waiting_since.store(0, Ordering::Relaxed);
    }

    /// Everything up to `seq` is done with.
    pub(crate) fn delivered_to(&self, seq: u64) {
        self.position.delivered.store(seq, Ordering::Relaxed);
    }

    /// A batch waits whose first record is from `oldest`.
    pub(crate) fn waiting_since(&self, oldest: Option<WallTime>) {
        self.position.waiting_since.store(oldest.map_or(0, |time| time.0), Ordering::Relaxed);
    }

    /// An attempt failed. `reason` is a fixed word.
    pub(crate) fn failed(&self, reason: &'static str) {
        self.failed.with_label_values(&[&*self.name, reason]).inc();
    }

    /// Records that the receiver will not get. `reason` is one of the cursor's words.
    pub(crate) fn lost(&self, reason: &str, records: u64) {
        self.lost.with_label_values(&[&*self.name, reason]).inc_by(records);
    }

    /// Brings the lags up to date. `newest` is the number of the newest record in the journal.
    pub(crate) fn refresh(&self, newest: u64) {
        let records = newest.saturating_sub(self.position.delivered.load(Ordering::Relaxed));
        self.lag_records.set(i64::try_from(records).unwrap_or(i64::MAX));
        let since = self.position.waiting_since.load(Ordering::Relaxed);
        let nanos = if since == 0 { 0 } else { clock::wall().0.saturating_sub(since) };
        self.lag_seconds.set(nanos as f64 / 1e9);
    }
}
