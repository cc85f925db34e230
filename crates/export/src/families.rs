//! Every metric family: its name, labels and help text. `docs/metrics.md` explains them; a test keeps the two equal.

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::proxy::{ProxyFamilies, ProxyTime, Restarting};
use crate::series::SeriesFamilies;

/// Upper bounds of statement durations in seconds: from a cached point select to a report.
const DURATION_BUCKETS: [f64; 16] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

pub(crate) struct Families {
    pub(crate) sessions_opened: IntCounterVec,
    pub(crate) sessions_live: IntGaugeVec,
    pub(crate) sessions_closed: IntCounterVec,
    pub(crate) sessions_missed: IntCounterVec,
    pub(crate) unattributed_sessions: IntCounterVec,
    pub(crate) statements: IntCounterVec,
    pub(crate) statement_errors: IntCounterVec,
    pub(crate) verdicts: IntCounterVec,
    pub(crate) rules: IntCounterVec,
    pub(crate) statement_duration: HistogramVec,
    pub(crate) session_bytes: IntCounterVec,
    pub(crate) coverage: GaugeVec,
    pub(crate) session_gaps: IntCounterVec,
    pub(crate) lost_events: IntCounterVec,
    pub(crate) bypass_sessions: IntCounterVec,
    pub(crate) bypass_refused: IntCounterVec,
    pub(crate) catalogue_reads: IntCounterVec,
    pub(crate) access_changes: IntCounterVec,
    pub(crate) credentials: IntCounterVec,
    pub(crate) access_end: HistogramVec,
    pub(crate) integrity_alerts: IntCounterVec,
    pub(crate) coverage_sessions: IntCounterVec,
    pub(crate) coverage_bytes: IntCounterVec,
    pub(crate) coverage_open: IntGaugeVec,
    pub(crate) steering_attached: IntGaugeVec,
    pub(crate) steering_workers: IntGaugeVec,
    pub(crate) heartbeat_age: GaugeVec,
    pub(crate) relay_bytes: IntCounterVec,
    pub(crate) proxy: ProxyFamilies,
    pub(crate) own: OwnFamilies,
    pub(crate) exports: SeriesFamilies,
}

/// Families about the agent itself.
pub(crate) struct OwnFamilies {
    pub(crate) probe_attached: IntGaugeVec,
    pub(crate) probe_hits: IntCounterVec,
    pub(crate) probe_duplicates: IntCounterVec,
    pub(crate) map_entries: IntGaugeVec,
    pub(crate) map_capacity: IntGaugeVec,
    pub(crate) bpf_run_seconds: CounterVec,
    pub(crate) bpf_runs: IntCounterVec,
    pub(crate) journal: JournalFamilies,
    pub(crate) ring_bytes: IntGauge,
    pub(crate) ring_used_bytes: IntGauge,
    pub(crate) scans: IntCounter,
    pub(crate) observed_databases: IntGauge,
    pub(crate) build_info: IntGaugeVec,
}

/// Families about the journal.
pub(crate) struct JournalFamilies {
    pub(crate) records: IntCounter,
    pub(crate) bytes: IntCounter,
    pub(crate) dropped: IntCounter,
    pub(crate) in_doubt: IntCounter,
    pub(crate) checkpoints: IntCounter,
    pub(crate) sealed: IntCounter,
    pub(crate) last_record: IntGauge,
    pub(crate) durable_record: IntGauge,
    pub(crate) unsigned_records: IntGauge,
    pub(crate) index_lag: IntGauge,
    pub(crate) write_failing: IntGauge,
}

impl JournalFamilies {
    fn new(r: &Names<'_>) -> Self {
        Self {
            records: r.counter("journal_records_total", "Records written to the journal."),
            bytes: r.counter("journal_bytes_total", "Bytes written to the journal, before compression."),
            dropped: r.counter("journal_dropped_total", "Records dropped because the journal could not be written."),
            in_doubt: r.counter(
                "journal_in_doubt_total",
                "Records written that may not survive a power failure, because fdatasync failed.",
            ),
            checkpoints: r.counter("journal_checkpoints_total", "Signed checkpoints."),
            sealed: r.counter("journal_sealed_segments_total", "Segments compressed and sealed."),
            last_record: r.gauge("journal_last_record", "Number of the last written record."),
            durable_record: r
                .gauge("journal_durable_record", "Number of the last record that survives a power failure."),
            unsigned_records: r.gauge("journal_unsigned_records", "Records after the last checkpoint."),
            index_lag: r.gauge("index_lag_records", "Records that the search index does not cover yet."),
            write_failing: r.gauge("journal_write_failing", "1 while the journal cannot be written, 0 otherwise."),
        }
    }
}

impl Families {
    pub(crate) fn new(registry: &Registry) -> Self {
        let r = Names { registry };
        Self {
            sessions_opened: r.counters(
                "sessions_opened_total",
                "Sessions that became known.",
                &["database", "transport", "origin"],
            ),
            sessions_live: r.gauges("sessions_live", "Sessions that are open now.", &["database", "transport"]),
            sessions_closed: r.counters("sessions_closed_total", "Sessions that ended.", &["database", "transport"]),
            sessions_missed: r.counters(
                "sessions_missed_total",
                "Openings and closings that a scan found instead of the live events.",
                &["what"],
            ),
            unattributed_sessions: r.counters(
                "unattributed_sessions_total",
                "Sessions that ended without a known client process, by reason.",
                &["reason"],
            ),
            statements: r.counters("statements_total", "Statements recorded.", &["database", "kind", "ending"]),
            verdicts: r.counters(
                "verdicts_total",
                "Requests that were decided about, by decision and by the first reason why they are not understood.",
                &["database", "decision", "opaque"],
            ),
            rules: r.counters("rules_total", "Requests that a rule refused, or would have refused.", &["rule"]),
            statement_errors: r.counters(
                "statement_errors_total",
                "Errors that statements ended with, by class of SQLSTATE.",
                &["database", "sqlstate_class"],
            ),
            statement_duration: r.histograms(
                "statement_duration_seconds",
                "From receipt of a statement to its last response.",
                &["database"],
            ),
            session_bytes: r.counters(
                "session_bytes_total",
                "Bytes of sessions: on the socket, through the content probes, copied out.",
                &["database", "direction", "layer"],
            ),
            coverage: r.register(GaugeVec::new(
                r.options("coverage_ratio", "Share of socket bytes that the content probes account for."),
                &["database"],
            )),
            session_gaps: r.counters(
                "session_gaps_total",
                "Gaps in the observed streams of sessions.",
                &["database", "reason"],
            ),
            lost_events: r.counters("lost_events_total", "Events lost, by kind and stage.", &["kind", "stage"]),
            catalogue_reads: r.counters(
                "catalogue_reads_total",
                "Readings of what an SQL database has, for policies, by outcome.",
                &["database", "outcome"],
            ),
            credentials: r.counters(
                "credentials_total",
                "Steps of roles that were made for one session.",
                &["database", "step"],
            ),
            access_end: r.histograms(
                "access_end_duration_seconds",
                "From the decision that an access ends until the kernel saw the server's socket closed.",
                &["database", "end"],
            ),
            bypass_sessions: r.counters(
                "bypass_sessions_total",
                "Sessions that got around the proxy of a guarded database, by reason.",
                &["database", "reason"],
            ),
            bypass_refused: r.counters(
                "bypass_refused_total",
                "Local processes that wanted to get around the proxy of a guarded database and were refused.",
                &["database"],
            ),
            access_changes: r.counters(
                "access_changes_total",
                "What became of grants.",
                &["database", "change"],
            ),
            integrity_alerts: r.counters(
                "integrity_alerts_total",
                "Figures on which the proxy and the kernel disagree.",
                &["database", "figure"],
            ),
            coverage_sessions: r.counters(
                "coverage_sessions_total",
                "Sessions by the way they took to the server, as the coverage ledger counted them.",
                &["database", "class", "detail"],
            ),
            coverage_bytes: r.counters(
                "coverage_bytes_total",
                "Bytes of sessions by the way they took to the server, as the coverage ledger counted them.",
                &["database", "class", "detail"],
            ),
            coverage_open: r.gauges(
                "coverage_sessions_open",
                "Sessions that were open at the end of the last interval of the coverage ledger.",
                &["database", "class", "detail"],
            ),
            steering_attached: r.gauges(
                "steering_attached",
                "1: the kernel sends clients of this database to the proxy; 0: it should, and does not.",
                &["database"],
            ),
            steering_workers: r.gauges(
                "steering_live_workers",
                "Workers of the proxy that the kernel finds alive for this database.",
                &["database"],
            ),
            heartbeat_age: r.register(GaugeVec::new(
                r.options("worker_heartbeat_age_seconds", "Since the last sign of life of a worker of the proxy."),
                &["worker"],
            )),
            relay_bytes: r.counters(
                "relay_bytes_total",
                "Bytes that the proxy relayed on its sockets, counted at the end of a session.",
                &["database", "direction"],
            ),
            proxy: ProxyFamilies {
                sessions: r.gauges(
                    "proxy_sessions",
                    "Connections that a worker of the proxy has open, by the way they came; `starting`: of these, not yet started up.",
                    &["worker", "listener"],
                ),
                accepted: r.counters("proxy_accepted_total", "Connections that the proxy accepted.", &["listener"]),
                refusals: r.counters(
                    "proxy_refusals_total",
                    "Connections that the proxy itself refused, by reason.",
                    &["reason"],
                ),
                handshake_failures: r.counters(
                    "proxy_handshake_failures_total",
                    "TLS handshakes of the proxy that failed, with clients and with servers.",
                    &["side", "reason"],
                ),
                events: r.counters("proxy_events_total", "What happened in the proxy's workers.", &["event"]),
                connections: r.counters(
                    "steering_connections_total",
                    "What became of connections to steered addresses.",
                    &["database", "outcome"],
                ),
                time: r.register(ProxyTime::new(
                    "warder_proxy_time_seconds",
                    "The proxy's own time from reading a piece of a client's stream to writing it to the server.",
                )),
                restarting: Restarting::default(),
            },
            own: OwnFamilies::new(&r),
            exports: SeriesFamilies::new(&r),
        }
    }
}

impl OwnFamilies {
    fn new(r: &Names<'_>) -> Self {
        Self {
            probe_attached: r.gauges(
                "probe_attached",
                "Places where a probe is attached; 0 is not attached.",
                &["probe"],
            ),
            probe_hits: r.counters("probe_hits_total", "Hits of a probe.", &["probe"]),
            probe_duplicates: r.counters(
                "probe_duplicates_total",
                "Hits that repeated another attachment's hit and were discarded.",
                &["probe"],
            ),
            map_entries: r.gauges("map_entries", "Entries in a kernel map.", &["map"]),
            map_capacity: r.gauges("map_capacity", "Largest number of entries of a kernel map.", &["map"]),
            bpf_run_seconds: r.register(CounterVec::new(
                r.options("bpf_run_seconds_total", "Time spent in a kernel program within the sampled windows."),
                &["program"],
            )),
            bpf_runs: r.counters(
                "bpf_runs_total",
                "Runs of a kernel program within the sampled windows.",
                &["program"],
            ),
            journal: JournalFamilies::new(r),
            ring_bytes: r.gauge("ring_bytes", "Size of the ring buffer between kernel and core."),
            ring_used_bytes: r.gauge("ring_used_bytes", "Bytes in the ring buffer when it was last looked at."),
            scans: r.counter("scans_total", "Scans by the healing iterators."),
            observed_databases: r.gauge("observed_databases", "Databases that are observed now."),
            build_info: r.gauges("build_info", "Version of the agent; always 1.", &["version"]),
        }
    }
}

impl SeriesFamilies {
    fn new(r: &Names<'_>) -> Self {
        Self {
            delivered: r.counters("export_delivered_total", "Records that a receiver took.", &["export"]),
            failed: r.counters(
                "export_failed_attempts_total",
                "Attempts to deliver that failed, by reason.",
                &["export", "reason"],
            ),
            lost: r.counters(
                "export_lost_total",
                "Records that a receiver does not get, by reason.",
                &["export", "reason"],
            ),
            lag_records: r.gauges(
                "export_lag_records",
                "Records in the journal that are not delivered yet.",
                &["export"],
            ),
            lag_seconds: r.register(GaugeVec::new(
                r.options("export_lag_seconds", "Age of the oldest record that waits for its receiver."),
                &["export"],
            )),
        }
    }
}

struct Names<'a> {
    registry: &'a Registry,
}

impl Names<'_> {
    fn options(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("warder")
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        let collector = collector.expect("names and labels above are valid");
        self.registry.register(Box::new(collector.clone())).expect("names above are distinct");
        collector
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(self.options(name, help), labels))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(self.options(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(self.options(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(self.options(name, help)))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let options = HistogramOpts { common_opts: self.options(name, help), buckets: DURATION_BUCKETS.to_vec() };
        self.register(HistogramVec::new(options, labels))
    }
}

/// Raises a counter to a total that somebody else counts (the kernel, the writer).
pub(crate) fn catch_up(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// The same for a total in seconds.
pub(crate) fn catch_up_seconds(counter: &Counter, total: f64) {
    counter.inc_by((total - counter.get()).max(0.0));
}
