//! All numbers of the agent in one place: fed with records, and with totals that others count.
//!
//! Labels never carry what a client chose: databases are entries of the configuration, at most
//! [`DATABASES_MAX`] of them, everything else comes from fixed sets of words.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use model::Known;
use model::coverage::Coverage;
use model::credential::Credential;
use model::id::SocketCookie;
use model::mediation::Mediation;
use model::process::UnknownProcess;
use model::record::{Record, What};
use model::session::{Ledger, Origin, Session, Transport};
use model::verdict::Judgement;
use prometheus::TextEncoder;

use crate::database::Database;
use crate::families::{Families, catch_up, catch_up_seconds};
use crate::gather::Gather;
use crate::proxy::{SteeringFigures, WorkerFigures};
use crate::series::Series;
use crate::verdicts::Rules;

/// Databases with series of their own; the others share the name [`OTHER`]. A database has about a hundred series.
pub const DATABASES_MAX: usize = 64;

/// Name of all databases beyond [`DATABASES_MAX`], and of statements whose session is not known.
pub const OTHER: &str = "other";

/// Sessions whose ledger is followed; the largest `sessions_max` of the configuration.
const SESSIONS_MAX: usize = 1 << 20;

/// State of one probe, as counted by the kernel side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeState {
    /// Places where it is attached.
    pub attached: u64,
    /// Hits since it was loaded.
    pub hits: u64,
    /// Hits that were discarded as duplicates.
    pub duplicates: u64,
}

/// What the journal did so far, and where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalTotals {
    /// Records written.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Records dropped.
    pub dropped: u64,
    /// Records written that a power failure may take.
    pub in_doubt: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Segments sealed.
    pub sealed: u64,
    /// Last written record.
    pub last_record: u64,
    /// Last durable record.
    pub durable_record: u64,
    /// Records after the last checkpoint.
    pub unsigned_records: u64,
    /// Records that the index does not cover yet.
    pub index_lag: u64,
    /// It cannot be written now.
    pub write_failing: bool,
}

/// All metrics of the agent.
pub struct Metrics {
    gather: Arc<Gather>,
    families: Families,
    observed: Mutex<Observed>,
}

#[derive(Default)]
struct Observed {
    databases: Vec<Database>,
    sessions: HashMap<SocketCookie, Live>,
    rules: Rules,
}

/// What is remembered of a live session.
struct Live {
    database: usize,
    transport: &'static str,
    ledger: Ledger,
}

impl Metrics {
    /// Metrics at zero. `version` is the agent's.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let gather = Gather::new();
        let families = Families::new(&gather.registry);
        families.own.build_info.with_label_values(&[version]).set(1);
        Self { gather: Arc::new(gather), families, observed: Mutex::default() }
    }

    /// Counts a record. To be called once for every record, in order.
    pub fn observe(&self, record: &Record) {
        match &record.what {
            What::Statement { session, statement, .. } => {
                let mut observed = self.observed();
                let database = observed.database_of(&self.families, session.cookie);
                observed.databases[database].statement(&self.families, statement);
            }
            What::Requested { session, request } => {
                if let Some(judgement) = &request.judgement {
                    self.judged(session.cookie, judgement);
                }
            }
            What::SessionOpened(session) => self.opened(session),
            What::SessionChanged(session) => self.observe_session(session),
            What::SessionClosed { session, missed, .. } => {
                if *missed {
                    self.families.sessions_missed.with_label_values(&["close"]).inc();
                }
                self.closed(session);
            }
            What::SessionGap { session, reason, .. } => {
                let mut observed = self.observed();
                let database = observed.database_of(&self.families, session.cookie);
                self.families.session_gaps.with_label_values(&[&*observed.databases[database].name, *reason]).inc();
            }
            What::Lost { kind, stage, count } => {
                self.families.lost_events.with_label_values(&[*kind, *stage]).inc_by(*count);
            }
            What::Bypass { session, reason } => {
                let mut observed = self.observed();
                let database = observed.database(&self.families, &session.database_name);
                let labels = [&*observed.databases[database].name, reason.word()];
                self.families.bypass_sessions.with_label_values(&labels).inc();
            }
            What::BypassRefused { database_name, .. } => {
                let mut observed = self.observed();
                let database = observed.database(&self.families, database_name);
                self.families.bypass_refused.with_label_values(&[&*observed.databases[database].name]).inc();
            }
            What::IntegrityAlert { session, figure, .. } => {
                let mut observed = self.observed();
                let database = observed.database_of(&self.families, session.cookie);
                let labels = [&*observed.databases[database].name, *figure];
                self.families.integrity_alerts.with_label_values(&labels).inc();
            }
            What::Access(event) => {
                let labels = [&*event.grant.scope.database, event.change.word()];
                self.families.access_changes.with_label_values(&labels).inc();
            }
            What::Coverage(coverage) => self.coverage(coverage),
            What::Credential(credential) => self.credential(credential),
            What::AgentStarted { .. }
            | What::AgentStopped
            | What::NotObserved { .. }
            | What::CancelRequested { .. }
            | What::Refused { .. }
            | What::ProcessChanged { .. }
            | What::Proxy { .. }
            | What::OperatorCommand { .. } => {}
        }
    }

    /// What was decided about a request. Rules have the names that policies give them.
    fn judged(&self, session: SocketCookie, judgement: &Judgement) {
        let mut observed = self.observed();
        let database = observed.database_of(&self.families, session);
        observed.databases[database].verdict(&self.families, judgement);
        if let Some(denial) = &judgement.verdict.denial {
            observed.rules.count(&self.families, &denial.rule);
        }
    }

    /// Accounts for the bytes of a live session. To be called whenever its ledger is refreshed; records of its
    /// change and end do so by themselves.
    pub fn observe_session(&self, session: &Session) {
        let mut observed = self.observed();
        let Observed { databases, sessions, .. } = &mut *observed;
        if let Some(live) = sessions.get_mut(&session.id.cookie) {
            databases[live.database].ledger(&self.families, &live.ledger, &session.ledger);
            live.ledger = session.ledger;
        }
    }

    /// One interval of the coverage ledger. Rules have the names of the configuration.
    fn coverage(&self, coverage: &Coverage) {
        let mut observed = self.observed();
        let database = observed.database(&self.families, &coverage.database_name);
        let name = &*observed.databases[database].name;
        for (class, count) in &coverage.classes {
            let labels = [name, class.word(), class.detail().unwrap_or_default()];
            self.families.coverage_sessions.with_label_values(&labels).inc_by(count.sessions);
            self.families.coverage_bytes.with_label_values(&labels).inc_by(count.bytes);
            self.families.coverage_open.with_label_values(&labels).set(clamped(count.open));
        }
    }

    /// A step of an access.
    fn credential(&self, credential: &Credential) {
        let mut observed = self.observed();
        let database = observed.database(&self.families, &credential.database_name);
        let name = &*observed.databases[database].name;
        self.families.credentials.with_label_values(&[name, credential.step.word()]).inc();
        if let Some((end, latency)) = credential.end.zip(credential.latency) {
            self.families.access_end.with_label_values(&[name, end.word()]).observe(latency as f64 / 1e9);
        }
    }

    /// The catalogue of an SQL database was `read`, or that has `failed`.
    pub fn catalogue(&self, database: &str, outcome: &'static str) {
        let mut observed = self.observed();
        let database = observed.database(&self.families, database);
        let labels = [&*observed.databases[database].name, outcome];
        self.families.catalogue_reads.with_label_values(&labels).inc();
    }

    /// How steering of a database is.
    pub fn steering(&self, figures: &SteeringFigures<'_>) {
        let mut observed = self.observed();
        let database = observed.database(&self.families, figures.database);
        let name = &*observed.databases[database].name;
        self.families.steering_attached.with_label_values(&[name]).set(figures.attached.into());
        self.families.steering_workers.with_label_values(&[name]).set(clamped(figures.live_workers));
        for (outcome, total) in figures.connections {
            // Another steering of the same database counts from zero again.
            let growth = self.families.proxy.restarting.growth(usize::MAX, format!("{name} {outcome}"), total);
            self.families.proxy.connections.with_label_values(&[name, outcome]).inc_by(growth);
        }
    }

    /// How long ago a worker gave a sign of life. Workers have numbers from 0.
    pub fn heartbeat(&self, worker: u32, age: Duration) {
        self.families.heartbeat_age.with_label_values(&[&worker.to_string()]).set(age.as_secs_f64());
    }

    /// What a worker of the proxy has counted.
    pub fn proxy_worker(&self, worker: usize, figures: &WorkerFigures<'_>) {
        self.families.proxy.worker(worker, figures);
    }

    /// The proxy's part in a session that has ended.
    fn mediated(&self, name: &str, mediation: &Mediation) {
        let counts = &mediation.counts;
        for (direction, bytes) in [
            ("from_client", counts.from_client),
            ("to_client", counts.to_client),
            ("to_server", counts.to_upstream),
            ("from_server", counts.from_upstream),
        ] {
            self.families.relay_bytes.with_label_values(&[name, direction]).inc_by(bytes);
        }
    }

    /// State of a probe.
    pub fn probe(&self, probe: &str, state: ProbeState) {
        self.families.own.probe_attached.with_label_values(&[probe]).set(clamped(state.attached));
        catch_up(&self.families.own.probe_hits.with_label_values(&[probe]), state.hits);
        catch_up(&self.families.own.probe_duplicates.with_label_values(&[probe]), state.duplicates);
    }

    /// Filling of a kernel map.
    pub fn map(&self, map: &str, entries: u64, capacity: u64) {
        self.families.own.map_entries.with_label_values(&[map]).set(clamped(entries));
        self.families.own.map_capacity.with_label_values(&[map]).set(clamped(capacity));
    }

    /// Totals of a kernel program since it was loaded.
    pub fn program(&self, program: &str, run_time: Duration, runs: u64) {
        catch_up_seconds(&self.families.own.bpf_run_seconds.with_label_values(&[program]), run_time.as_secs_f64());
        catch_up(&self.families.own.bpf_runs.with_label_values(&[program]), runs);
    }

    /// Totals and position of the journal; exports lag behind its last record.
    pub fn journal(&self, totals: &JournalTotals) {
        let families = &self.families.own.journal;
        catch_up(&families.records, totals.records);
        catch_up(&families.bytes, totals.bytes);
        catch_up(&families.dropped, totals.dropped);
        catch_up(&families.in_doubt, totals.in_doubt);
        catch_up(&families.checkpoints, totals.checkpoints);
        catch_up(&families.sealed, totals.sealed);
        families.last_record.set(clamped(totals.last_record));
        families.durable_record.set(clamped(totals.durable_record));
        families.unsigned_records.set(clamped(totals.unsigned_records));
        families.index_lag.set(clamped(totals.index_lag));
        families.write_failing.set(totals.write_failing.into());
        self.newest_record(totals.last_record);
    }

    /// Size and filling of the ring buffer.
    pub fn ring(&self, bytes: u64, used_bytes: u64) {
        self.families.own.ring_bytes.set(clamped(bytes));
        self.families.own.ring_used_bytes.set(clamped(used_bytes));
    }

    /// A scan has ended.
    pub fn scanned(&self) {
        self.families.own.scans.inc();
    }

    /// How many databases are observed.
    pub fn observed_databases(&self, count: u64) {
        self.families.own.observed_databases.set(clamped(count));
    }

    /// Number of the newest record in the journal; what exports lag behind.
    pub fn newest_record(&self, seq: u64) {
        self.gather.newest(seq);
    }

    pub(crate) fn export(&self, name: &str) -> Series {
        self.gather.export(name, || self.families.exports.series(name))
    }

    pub(crate) fn gatherer(&self) -> Arc<Gather> {
        Arc::clone(&self.gather)
    }

    /// The metrics in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        TextEncoder::new().encode_utf8(&self.gather.gather(), &mut text).expect("families have names and values");
        text
    }

    fn opened(&self, session: &Session) {
        let transport = transport_word(&session.transport);
        let mut observed = self.observed();
        let database = observed.database(&self.families, &session.database_name);
        let name = &*observed.databases[database].name;
        self.families.sessions_opened.with_label_values(&[name, transport, origin_word(session.origin)]).inc();
        if session.origin == Origin::MissedOpen {
            self.families.sessions_missed.with_label_values(&["open"]).inc();
        }
        let known = observed.sessions.contains_key(&session.id.cookie);
        if !known && observed.sessions.len() < SESSIONS_MAX {
            let name = &*observed.databases[database].name;
            self.families.sessions_live.with_label_values(&[name, transport]).inc();
            observed.sessions.insert(session.id.cookie, Live { database, transport, ledger: Ledger::default() });
        }
        drop(observed);
        self.observe_session(session);
    }

    fn closed(&self, session: &Session) {
        self.observe_session(session);
        if let Known::Unknown(why) = session.client {
            self.families.unattributed_sessions.with_label_values(&[unknown_word(why)]).inc();
        }
        let mut observed = self.observed();
        let database = observed.database(&self.families, &session.database_name);
        let name = &*observed.databases[database].name;
        self.families.sessions_closed.with_label_values(&[name, transport_word(&session.transport)]).inc();
        if let Some(mediation) = &session.mediation {
            self.mediated(name, mediation);
        }
        if let Some(live) = observed.sessions.remove(&session.id.cookie) {
            let name = &*observed.databases[live.database].name;
            self.families.sessions_live.with_label_values(&[name, live.transport]).dec();
        }
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().expect("nothing panics while it holds this lock")
    }
}

impl Observed {
    /// Index of the database with this name, or of [`OTHER`].
    fn database(&mut self, families: &Families, name: &str) -> usize {
        let position = |databases: &[Database], name: &str| databases.iter().position(|database| database.name == name);
        if let Some(index) = position(&self.databases, name) {
            return index;
        }
        let name = if self.databases.len() < DATABASES_MAX { name } else { OTHER };
        position(&self.databases, name).unwrap_or_else(|| {
            self.databases.push(Database::new(families, name));
            self.databases.len() - 1
        })
    }

    fn database_of(&mut self, families: &Families, session: SocketCookie) -> usize {
        match self.sessions.get(&session) {
            Some(live) => live.database,
            None => self.database(families, OTHER),
        }
    }
}

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

const fn transport_word(transport: &Transport) -> &'static str {
    match transport {
        Transport::Tcp { .. } => "tcp",
        Transport::Unix { .. } => "unix",
    }
}

const fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Opened => "opened",
        Origin::FoundAtStart => "found_at_start",
        Origin::MissedOpen => "missed_open",
    }
}

const fn unknown_word(why: UnknownProcess) -> &'static str {
    match why {
        UnknownProcess::Remote => "remote",
        UnknownProcess::NotSeen => "not_seen",
        UnknownProcess::Gone => "gone",
    }
}
