//! Figures of the proxy: what its workers count themselves, and what the kernel counts of steering.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};
use prometheus::{IntCounterVec, IntGaugeVec};

/// How steering of one database is.
#[derive(Clone, Debug)]
pub struct SteeringFigures<'a> {
    /// Name in the configuration.
    pub database: &'a str,
    /// The kernel sends its clients to the proxy.
    pub attached: bool,
    /// Listeners that take connections.
    pub live_workers: u64,
    /// What became of connections, in fixed words, since the steering was made.
    pub connections: [(&'static str, u64); 5],
}

/// What one worker has counted since it started.
#[derive(Clone, Debug)]
pub struct WorkerFigures<'a> {
    /// Connections accepted, by the way they came.
    pub accepted: Vec<(&'static str, u64)>,
    /// Connections that are open, by the way they came.
    pub sessions: Vec<(&'static str, u64)>,
    /// Of these, those that have not started up.
    pub startups: u64,
    /// Refusals by reason.
    pub refusals: Vec<(&'static str, u64)>,
    /// Failed TLS handshakes: side, reason.
    pub handshake_failures: Vec<(&'static str, &'static str, u64)>,
    /// Cancel requests forwarded.
    pub cancels: u64,
    /// Accepts that failed.
    pub accept_failures: u64,
    /// Requests forwarded without a record.
    pub unrecorded: u64,
    /// Answers and events without a record.
    pub outcomes_unrecorded: u64,
    /// Streams that stopped being the protocol.
    pub not_the_protocol: u64,
    /// Values that clients got masked.
    pub masked_cells: u64,
    /// Pieces of client streams by the proxy's own time: bucket `n` holds those of at most `2^n` microseconds, the last
    /// all longer ones.
    pub latency_buckets: &'a [u64],
    /// Sum of these times.
    pub latency_sum: Duration,
}

/// Totals that start again with each worker, as counters that do not.
#[derive(Debug, Default)]
pub(crate) struct Restarting(Mutex<HashMap<(usize, String), u64>>);

impl Restarting {
    /// How much a worker's total has grown since it was last told.
    pub(crate) fn growth(&self, worker: usize, name: String, total: u64) -> u64 {
        let mut totals = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = totals.insert((worker, name), total).unwrap_or_default();
        // Less than before: another process counts.
        total.checked_sub(before).unwrap_or(total)
    }
}

/// The families of the workers.
#[derive(Debug)]
pub(crate) struct ProxyFamilies {
    pub(crate) sessions: IntGaugeVec,
    pub(crate) accepted: IntCounterVec,
    pub(crate) refusals: IntCounterVec,
    pub(crate) handshake_failures: IntCounterVec,
    pub(crate) events: IntCounterVec,
    pub(crate) connections: IntCounterVec,
    pub(crate) time: ProxyTime,
    pub(crate) restarting: Restarting,
}

impl ProxyFamilies {
    /// Takes over what a worker says.
    pub(crate) fn worker(&self, worker: usize, figures: &WorkerFigures<'_>) {
        let number = worker.to_string();
        for (listener, count) in &figures.sessions {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.sessions.with_label_values(&[&*number, *listener]).set(count);
        }
        let startups = i64::try_from(figures.startups).unwrap_or(i64::MAX);
        self.sessions.with_label_values(&[&*number, "starting"]).set(startups);
        for (listener, total) in &figures.accepted {
            let growth = self.restarting.growth(worker, format!("accepted {listener}"), *total);
            self.accepted.with_label_values(&[*listener]).inc_by(growth);
        }
        for (reason, total) in &figures.refusals {
            let growth = self.restarting.growth(worker, format!("refused {reason}"), *total);
            self.refusals.with_label_values(&[*reason]).inc_by(growth);
        }
        for (side, reason, total) in &figures.handshake_failures {
            let growth = self.restarting.growth(worker, format!("handshake {side} {reason}"), *total);
            self.handshake_failures.with_label_values(&[*side, *reason]).inc_by(growth);
        }
        for (event, total) in [
            ("cancel_forwarded", figures.cancels),
            ("accept_failed", figures.accept_failures),
            ("forwarded_unrecorded", figures.unrecorded),
            ("outcome_unrecorded", figures.outcomes_unrecorded),
            ("not_the_protocol", figures.not_the_protocol),
            ("value_masked", figures.masked_cells),
        ] {
            let growth = self.restarting.growth(worker, event.to_owned(), total);
            self.events.with_label_values(&[event]).inc_by(growth);
        }
        self.time(worker, figures);
    }

    fn time(&self, worker: usize, figures: &WorkerFigures<'_>) {
        let mut all = self.time.locked();
        all.buckets.resize(figures.latency_buckets.len(), 0);
        for (place, total) in figures.latency_buckets.iter().enumerate() {
            let growth = self.restarting.growth(worker, format!("time {place}"), *total);
            if let Some(bucket) = all.buckets.get_mut(place) {
                *bucket += growth;
            }
        }
        let nanos = u64::try_from(figures.latency_sum.as_nanos()).unwrap_or(u64::MAX);
        all.sum_nanos += self.restarting.growth(worker, "time".to_owned(), nanos);
    }
}

/// The proxy's own time as a histogram whose buckets somebody else has filled.
#[derive(Clone, Debug)]
pub(crate) struct ProxyTime {
    description: Desc,
    times: Arc<Mutex<Times>>,
}

#[derive(Debug, Default)]
struct Times {
    buckets: Vec<u64>,
    sum_nanos: u64,
}

impl ProxyTime {
    pub(crate) fn new(name: &str, help: &str) -> prometheus::Result<Self> {
        let description = Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())?;
        Ok(Self { description, times: Arc::default() })
    }

    fn locked(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Collector for ProxyTime {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let times = self.locked();
        let mut histogram = Histogram::default();
        let (mut buckets, mut count, mut bound) = (Vec::new(), 0, 1e-6);
        for (place, in_bucket) in times.buckets.iter().enumerate() {
            count += in_bucket;
            // The last one has no bound: it is the count of all.
            if place + 1 < times.buckets.len() {
                let mut bucket = Bucket::default();
                bucket.set_cumulative_count(count);
                bucket.set_upper_bound(bound);
                buckets.push(bucket);
            }
            bound *= 2.0;
        }
        histogram.set_sample_count(count);
        histogram.set_sample_sum(Duration::from_nanos(times.sum_nanos).as_secs_f64());
        histogram.set_bucket(buckets);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(self.description.fq_name.clone());
        family.set_help(self.description.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}
