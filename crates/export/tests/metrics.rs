//! What monitoring sees: names, labels and values of the text format, and the endpoint that serves it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use export::config::{ExportConfig, Identity, Kind};
use export::export::Export;
use export::metrics::{DATABASES_MAX, JournalTotals, Metrics, ProbeState};
use export::plan::Plan;
use export::proxy::{SteeringFigures, WorkerFigures};
use export::verdicts::RULES_MAX;
use model::Known;
use model::access::{AccessChange, AccessEvent, ChangedBy, Grant, GrantId, GrantState, Holder, Scope};
use model::coverage::{BypassReason, Class, ClassCount, Coverage};
use model::credential::{AccessEnd, Confirmation, Credential, CredentialStep};
use model::facts::{Facts, OpaqueReason, StatementFacts};
use model::id::{BootId, DatabaseId, HostId, SessionId, SocketCookie};
use model::mediation::{Mediation, RelayCounts};
use model::principal::{Actor, PrincipalKind, UnknownPrincipal};
use model::process::{Arguments, Executable, Process, ProcessKey, ProcessSource, UnknownProcess};
use model::record::{Record, What};
use model::request::Request;
use model::session::{Encryption, Ledger, Login, Origin, Session, Transport};
use model::statement::{Ending, Outcome, Statement, StatementKind, Text};
use model::time::{BootTime, WallTime};
use model::verdict::{Denial, Judgement, Mode, Obligations, PolicyEpoch, Verdict};

fn id(cookie: u64) -> SessionId {
    SessionId { host: HostId(1), boot: BootId(2), cookie: SocketCookie(cookie) }
}

fn session(cookie: u64, database: &str) -> Session {
    Session {
        id: id(cookie),
        database: DatabaseId(0),
        database_name: database.into(),
        transport: Transport::Unix { path: "/run/s".into() },
        origin: Origin::Opened,
        opened: BootTime(0),
        client_cookie: None,
        client: Known::Unknown(UnknownProcess::Gone),
        principal: Known::Unknown(UnknownPrincipal::NotAsked),
        peer_credentials: None,
        server: Known::Unknown(UnknownProcess::NotSeen),
        encryption: Encryption::Plaintext,
        login: Login { user: Some("evil\"} 1\n".into()), ..Login::default() },
        ledger: Ledger::default(),
        statements: 0,
        errors: 0,
        gaps: 0,
        mediation: None,
        class: None,
    }
}

fn ledger(received: u64, sent: u64, seen: u64) -> Ledger {
    Ledger {
        socket_received: received,
        socket_sent: sent,
        content_received: received,
        content_sent: seen,
        captured: 5,
        ..Ledger::default()
    }
}

fn statement(cookie: u64, sqlstate: Option<&str>) -> What {
    let outcome = sqlstate.map(|code| Outcome::Failed {
        severity: "ERROR".into(),
        sqlstate: code.into(),
        message: String::new(),
    });
    let statement = Statement {
        kind: StatementKind::Simple,
        text: Text::Whole("select 1".into()),
        prepared: None,
        portal: None,
        parameters: None,
        row_limit: 0,
        resumed: false,
        transaction_before: None,
        transaction_after: None,
        started: BootTime(0),
        finished: Some(BootTime(2_000_000)),
        outcomes: outcome.into_iter().collect(),
        outcomes_dropped: 0,
        rows_sent: 0,
        notices: 0,
        copy_bytes: 0,
        ending: Ending::Answered,
        redacted: false,
        judgement: None,
    };
    What::Statement { session: id(cookie), number: 1, statement: Box::new(statement) }
}

fn observe(metrics: &Metrics, what: What) {
    metrics.observe(&Record { time: WallTime(0), what });
}

/// Parses the text format strictly: `# HELP`, `# TYPE`, then samples of that family only.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split_once(' ').expect("a help text").0.to_owned();
            assert!(family.starts_with("warder_"), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, family);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            assert!(line.starts_with(&family), "{line}");
            let (name, value) = line.rsplit_once(' ').expect("a value");
            assert!(samples.insert(name.to_owned(), value.parse().expect(line)).is_none(), "twice: {name}");
        }
    }
    samples
}

fn check(metrics: &Metrics, expected: &[(&str, f64)]) {
    let samples = parse(&metrics.render());
    for (name, value) in expected {
        assert_eq!(samples.get(*name), Some(value), "{name}\n{}", metrics.render());
    }
}

#[test]
fn a_session_from_open_to_close() {
    let metrics = Metrics::new("0.1.0");
    observe(&metrics, What::SessionOpened(Arc::new(session(1, "main"))));
    check(&metrics, &[("warder_sessions_live{database=\"main\",transport=\"unix\"}", 1.0)]);
    assert!(!metrics.render().contains("coverage_ratio"), "no byte has passed: coverage is unknown, not 0");
    for code in [None, Some("42P01"), Some("42601"), Some("ZZ123"), Some("x")] {
        observe(&metrics, statement(1, code));
    }
    metrics.observe_session(&Session { ledger: ledger(100, 100, 0), ..session(1, "main") });
    check(&metrics, &[("warder_coverage_ratio{database=\"main\"}", 0.5)]);
    let closed = Session { ledger: ledger(100, 300, 300), ..session(1, "main") };
    observe(&metrics, What::SessionGap { session: id(1), side: "client", bytes: None, reason: "lost" });
    observe(&metrics, What::SessionClosed { session: Arc::new(closed), duration: 0, missed: true });
    check(
        &metrics,
        &[
            ("warder_sessions_opened_total{database=\"main\",origin=\"opened\",transport=\"unix\"}", 1.0),
            ("warder_sessions_live{database=\"main\",transport=\"unix\"}", 0.0),
            ("warder_sessions_closed_total{database=\"main\",transport=\"unix\"}", 1.0),
            ("warder_sessions_missed_total{what=\"close\"}", 1.0),
            ("warder_unattributed_sessions_total{reason=\"gone\"}", 1.0),
            ("warder_statements_total{database=\"main\",ending=\"answered\",kind=\"simple\"}", 5.0),
            ("warder_statement_errors_total{database=\"main\",sqlstate_class=\"42\"}", 2.0),
            ("warder_statement_errors_total{database=\"main\",sqlstate_class=\"other\"}", 2.0),
            ("warder_statement_duration_seconds_count{database=\"main\"}", 5.0),
            ("warder_statement_duration_seconds_bucket{database=\"main\",le=\"0.001\"}", 0.0),
            ("warder_statement_duration_seconds_bucket{database=\"main\",le=\"0.0025\"}", 5.0),
            ("warder_session_bytes_total{database=\"main\",direction=\"received\",layer=\"socket\"}", 100.0),
            ("warder_session_bytes_total{database=\"main\",direction=\"sent\",layer=\"socket\"}", 300.0),
            ("warder_session_bytes_total{database=\"main\",direction=\"sent\",layer=\"content\"}", 300.0),
            ("warder_session_bytes_total{database=\"main\",direction=\"both\",layer=\"captured\"}", 5.0),
            ("warder_coverage_ratio{database=\"main\"}", 1.0),
            ("warder_session_gaps_total{database=\"main\",reason=\"lost\"}", 1.0),
            ("warder_build_info{version=\"0.1.0\"}", 1.0),
        ],
    );
    assert!(!metrics.render().contains("evil"));
}

#[test]
fn totals_of_others_never_go_back() {
    let metrics = Metrics::new("0.1.0");
    for hits in [5, 9, 3] {
        metrics.probe("be_tls_read", ProbeState { attached: 2, hits, duplicates: 1 });
        metrics.program("send_length", Duration::from_millis(hits * 100), hits);
    }
    metrics.journal(&JournalTotals { records: 10, bytes: 4000, ..JournalTotals::default() });
    metrics.journal(&JournalTotals {
        records: 12,
        bytes: 4800,
        dropped: 1,
        last_record: 12,
        durable_record: 11,
        ..JournalTotals::default()
    });
    metrics.map("sessions", 3, 16_384);
    metrics.ring(8 << 20, 4096);
    metrics.scanned();
    metrics.observed_databases(2);
    observe(&metrics, What::Lost { kind: "content", stage: "kernel", count: 4 });
    check(
        &metrics,
        &[
            ("warder_probe_attached{probe=\"be_tls_read\"}", 2.0),
            ("warder_probe_hits_total{probe=\"be_tls_read\"}", 9.0),
            ("warder_probe_duplicates_total{probe=\"be_tls_read\"}", 1.0),
            ("warder_bpf_runs_total{program=\"send_length\"}", 9.0),
            ("warder_bpf_run_seconds_total{program=\"send_length\"}", 0.9),
            ("warder_journal_records_total", 12.0),
            ("warder_journal_bytes_total", 4800.0),
            ("warder_journal_dropped_total", 1.0),
            ("warder_journal_last_record", 12.0),
            ("warder_journal_durable_record", 11.0),
            ("warder_map_entries{map=\"sessions\"}", 3.0),
            ("warder_map_capacity{map=\"sessions\"}", 16_384.0),
            ("warder_ring_bytes", 8_388_608.0),
            ("warder_ring_used_bytes", 4096.0),
            ("warder_scans_total", 1.0),
            ("warder_observed_databases", 2.0),
            ("warder_lost_events_total{kind=\"content\",stage=\"kernel\"}", 4.0),
        ],
    );
}

#[test]
fn databases_beyond_the_bound_share_one_name() {
    let metrics = Metrics::new("0.1.0");
    for number in 0..DATABASES_MAX as u64 + 10 {
        observe(&metrics, What::SessionOpened(Arc::new(session(number + 1, &format!("db{number}")))));
        observe(&metrics, statement(number + 1, None));
    }
    observe(&metrics, statement(999, None));
    check(&metrics, &[("warder_statements_total{database=\"other\",ending=\"answered\",kind=\"simple\"}", 11.0)]);
    let names = parse(&metrics.render()).keys().filter(|name| name.starts_with("warder_sessions_live{")).count();
    assert_eq!(names, DATABASES_MAX + 1);
}

fn mediated(cookie: u64) -> Session {
    let counts =
        RelayCounts { from_client: 1, to_client: 2, to_upstream: 3, from_upstream: 4, ..RelayCounts::default() };
    let mediation = Mediation { counts, refused: Some("pg_hba"), ..Mediation::of(SocketCookie(9)) };
    Session { ledger: ledger(1, 1, 1), mediation: Some(Box::new(mediation)), ..session(cookie, "main") }
}

/// A request that was decided about.
fn judged(cookie: u64, rule: Option<&str>, mode: Mode, opaque: Option<OpaqueReason>) -> What {
    let denial = rule.map(|rule| Denial {
        rule: rule.into(),
        what: "it".into(),
        reason: "because".into(),
        remedy: "ask".into(),
        sqlstate: "42501",
    });
    let verdict = Verdict {
        epoch: PolicyEpoch(1),
        mode,
        denial,
        hold: None,
        allowed_by: Arc::new([]),
        obligations: Obligations::default(),
        masked: Arc::new([]),
    };
    let facts = StatementFacts { opaque: opaque.into_iter().collect(), ..StatementFacts::default() };
    let facts = Arc::new(Facts { statements: vec![facts], opaque: None });
    let request = Request {
        kind: StatementKind::Simple,
        text: Text::Whole("select 1".into()),
        doubtful: false,
        prepared: None,
        portal: None,
        parameters: None,
        row_limit: 0,
        at: BootTime(0),
        redacted: false,
        judgement: Some(Arc::new(Judgement { verdict, facts })),
    };
    What::Requested { session: id(cookie), request: Box::new(request) }
}

#[test]
fn verdicts_and_rules_are_counted_within_a_bound() {
    let metrics = Metrics::new("0.1.0");
    observe(&metrics, What::SessionOpened(Arc::new(session(1, "main"))));
    observe(&metrics, judged(1, None, Mode::Enforce, None));
    observe(&metrics, judged(1, None, Mode::Warn, Some(OpaqueReason::Code)));
    observe(&metrics, judged(1, Some("no-drop"), Mode::Enforce, None));
    observe(&metrics, judged(1, Some("no-drop"), Mode::Observe, None));
    observe(&metrics, judged(2, Some("default"), Mode::Warn, Some(OpaqueReason::Syntax)));
    // What comes of it is the same message once more.
    observe(&metrics, statement(1, None));
    for number in 0..RULES_MAX + 8 {
        observe(&metrics, judged(1, Some(&format!("rule-{number}")), Mode::Enforce, None));
    }
    check(
        &metrics,
        &[
            ("warder_verdicts_total{database=\"main\",decision=\"allowed\",opaque=\"\"}", 1.0),
            ("warder_verdicts_total{database=\"main\",decision=\"allowed\",opaque=\"code\"}", 1.0),
            ("warder_verdicts_total{database=\"main\",decision=\"would_refuse\",opaque=\"\"}", 1.0),
            ("warder_verdicts_total{database=\"main\",decision=\"refused\",opaque=\"\"}", 1.0 + RULES_MAX as f64 + 8.0),
            ("warder_verdicts_total{database=\"other\",decision=\"would_refuse\",opaque=\"syntax\"}", 1.0),
            ("warder_rules_total{rule=\"no-drop\"}", 2.0),
            ("warder_rules_total{rule=\"default\"}", 1.0),
            ("warder_rules_total{rule=\"rule-0\"}", 1.0),
            ("warder_rules_total{rule=\"other\"}", 10.0),
        ],
    );
    let rules = parse(&metrics.render()).keys().filter(|name| name.starts_with("warder_rules_total")).count();
    assert_eq!(rules, RULES_MAX + 1);
}

fn process() -> Arc<Process> {
    Arc::new(Process {
        key: ProcessKey { pid: 7, start: BootTime(1) },
        name: "psql".into(),
        executable: Arc::new(Executable {
            path: "/usr/bin/psql".into(),
            device: 1,
            inode: 2,
            changed: 3,
            truncated: false,
            deleted: false,
            memory: false,
        }),
        arguments: Arc::new(Arguments { values: Vec::new(), truncated: false }),
        uid: 0,
        gid: 0,
        login_uid: None,
        tty: None,
        cgroup: 0,
        mount_namespace: 0,
        ancestors: Vec::new().into(),
        source: ProcessSource::Kernel,
    })
}

fn observe_mediation(metrics: &Metrics) {
    observe(metrics, What::Bypass { session: Arc::new(session(1, "main")), reason: BypassReason::UnixSocket });
    observe(
        metrics,
        What::BypassRefused {
            database_name: "main".into(),
            server: "127.0.0.1:5432".parse().unwrap(),
            client: process(),
        },
    );
    let (figure, when) = ("bytes_to_server", "end");
    observe(metrics, What::IntegrityAlert { session: id(1), figure, proxy: 1, kernel: 2, when });
    let count = ClassCount { sessions: 3, open: 2, bytes: 100 };
    let classes = vec![(Class::Mediated, count), (Class::AllowedDirect("standby".into()), count)];
    let (from, to) = (WallTime(0), WallTime(60));
    let coverage =
        Coverage { database: DatabaseId(0), database_name: "main".into(), from, to, classes, lost_events: 0 };
    observe(metrics, What::Coverage(Arc::new(coverage)));
}

fn steering(attached: bool, live_workers: u64) -> SteeringFigures<'static> {
    let connections = [("steered", 9), ("hop", 9), ("direct", 1), ("passed_open", 0), ("dropped_closed", 0)];
    SteeringFigures { database: "main", attached, live_workers, connections }
}

/// A worker that has counted everything `count` times.
fn worker(count: u64) -> WorkerFigures<'static> {
    let buckets: &'static [u64] = if count == 5 { &[5, 5, 5] } else { &[2, 2, 2] };
    WorkerFigures {
        accepted: vec![("steered", count)],
        sessions: vec![("steered", count)],
        startups: 0,
        refusals: vec![("access", count)],
        handshake_failures: vec![("client", "alert", count)],
        cancels: count,
        accept_failures: 0,
        unrecorded: 0,
        outcomes_unrecorded: 0,
        not_the_protocol: 0,
        masked_cells: 0,
        latency_buckets: buckets,
        latency_sum: Duration::from_micros(count),
    }
}

#[test]
fn the_two_witnesses_are_counted() {
    let metrics = Metrics::new("0.1.0");
    observe(&metrics, What::SessionOpened(Arc::new(session(1, "main"))));
    observe_mediation(&metrics);
    observe_mediation(&metrics);
    observe(&metrics, What::SessionClosed { session: Arc::new(mediated(1)), duration: 0, missed: false });
    metrics.steering(&steering(false, 0));
    metrics.heartbeat(1, Duration::from_millis(1500));
    metrics.proxy_worker(0, &worker(5));
    // Another process in its place counts from zero again.
    metrics.proxy_worker(0, &worker(2));
    check(
        &metrics,
        &[
            ("warder_bypass_sessions_total{database=\"main\",reason=\"unix_socket\"}", 2.0),
            ("warder_bypass_refused_total{database=\"main\"}", 2.0),
            ("warder_integrity_alerts_total{database=\"main\",figure=\"bytes_to_server\"}", 2.0),
            ("warder_coverage_sessions_total{class=\"mediated\",database=\"main\",detail=\"\"}", 6.0),
            ("warder_coverage_bytes_total{class=\"allowed_direct\",database=\"main\",detail=\"standby\"}", 200.0),
            ("warder_coverage_sessions_open{class=\"mediated\",database=\"main\",detail=\"\"}", 2.0),
            ("warder_relay_bytes_total{database=\"main\",direction=\"to_server\"}", 3.0),
            ("warder_proxy_refusals_total{reason=\"access\"}", 7.0),
            ("warder_proxy_accepted_total{listener=\"steered\"}", 7.0),
            ("warder_proxy_sessions{listener=\"steered\",worker=\"0\"}", 2.0),
            ("warder_proxy_handshake_failures_total{reason=\"alert\",side=\"client\"}", 7.0),
            ("warder_proxy_events_total{event=\"cancel_forwarded\"}", 7.0),
            ("warder_proxy_time_seconds_bucket{le=\"0.000001\"}", 7.0),
            ("warder_proxy_time_seconds_bucket{le=\"0.000002\"}", 14.0),
            ("warder_proxy_time_seconds_bucket{le=\"+Inf\"}", 21.0),
            ("warder_steering_connections_total{database=\"main\",outcome=\"steered\"}", 9.0),
            ("warder_steering_attached{database=\"main\"}", 0.0),
            ("warder_worker_heartbeat_age_seconds{worker=\"1\"}", 1.5),
        ],
    );
}

fn asked_for_access() -> What {
    let actor = Actor { kind: PrincipalKind::Person, id: "anna".into(), issuer: "https://issuer.example.com".into() };
    let holder = Holder { actor, acting_for: Vec::new() };
    let grant = Grant {
        id: GrantId::parse("g-7k3f9q2d").unwrap(),
        holder: holder.clone(),
        scope: Scope {
            database: "main".into(),
            sql_database: None,
            actions: ["Read".into()].into(),
            relations: ["*".into()].into(),
        },
        purpose: "".into(),
        ticket: None,
        duration: 0,
        once: None,
        break_glass: false,
        renews: None,
        rule: "ask".into(),
        requested: WallTime(0),
    };
    What::Access(Box::new(AccessEvent {
        grant: Arc::new(grant),
        change: AccessChange::Requested,
        state: GrantState::Requested,
        by: ChangedBy::Holder(holder),
        reason: "".into(),
        approvals: (0, 1),
        not_after: None,
    }))
}

fn ended_credential() -> What {
    What::Credential(Box::new(Credential {
        step: CredentialStep::Ended,
        role: None,
        database_name: "main".into(),
        session: None,
        principal: None,
        until: None,
        end: Some(AccessEnd::Session),
        confirmation: Some(Confirmation::Kernel),
        latency: Some(2_000_000),
        detail: None,
    }))
}

/// Every family is documented, and nothing else is.
#[test]
fn the_documentation_names_every_family() {
    let metrics = Metrics::new("0.1.0");
    observe(&metrics, What::SessionOpened(Arc::new(Session { origin: Origin::MissedOpen, ..session(1, "main") })));
    observe(&metrics, statement(1, Some("42601")));
    observe(&metrics, judged(1, Some("no-drop"), Mode::Enforce, None));
    observe(&metrics, What::SessionGap { session: id(1), side: "client", bytes: None, reason: "lost" });
    observe(&metrics, What::Lost { kind: "content", stage: "kernel", count: 4 });
    observe(&metrics, What::SessionClosed { session: Arc::new(mediated(1)), duration: 0, missed: true });
    observe(&metrics, asked_for_access());
    observe(&metrics, ended_credential());
    observe_mediation(&metrics);
    metrics.steering(&steering(true, 2));
    metrics.heartbeat(0, Duration::ZERO);
    metrics.proxy_worker(0, &worker(1));
    metrics.probe("p", ProbeState::default());
    metrics.map("m", 0, 1);
    metrics.catalogue("m", "read");
    metrics.program("p", Duration::ZERO, 0);
    let journal = tempfile::tempdir().unwrap();
    let config = ExportConfig { file: Some(journal.path().join("out")), ..ExportConfig::new("file", Kind::Jsonl) };
    let identity = Identity { version: "1".into(), host: "00".into(), host_name: None };
    let plan = Plan::check(&config).unwrap();
    Export::start(&plan, journal.path(), &identity, &metrics).unwrap().stop();
    let text = metrics.render();
    let rendered: BTreeMap<_, _> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let documentation = include_str!("../../../docs/metrics.md");
    let rows = documentation.lines().filter_map(|line| line.strip_prefix("| `warder_"));
    let documented: BTreeMap<String, &str> = rows
        .map(|row| {
            let (name, rest) = row.split_once('`').expect("a name in backquotes");
            (format!("warder_{name}"), rest.trim_start_matches([' ', '|']).split(' ').next().unwrap())
        })
        .collect();
    let rendered: BTreeMap<String, &str> = rendered.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
    assert_eq!(rendered, documented);
}

#[test]
fn the_endpoint_answers_scrapers_and_outlives_bad_clients() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ask = async |request: &'static str| {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let client = async {
            // Clients that say nothing hold connections, but fewer than there are.
            let mut idle = Vec::new();
            for _ in 0..63 {
                idle.push(tokio::net::TcpStream::connect(address).await.unwrap());
            }
            let metrics = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
            assert!(
                metrics.contains("content-type: text/plain; version=0.0.4") && metrics.ends_with("warder_test 1\n")
            );
            assert!(ask("GET /healthz HTTP/1.0\r\n\r\n").await.ends_with("ok\n"));
            assert!(ask("GET /secret HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 404"));
            assert!(
                ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await.starts_with("HTTP/1.1 405")
            );
            assert!(ask("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
            // All connections taken: the next client waits until one is given up, and is then served.
            idle.push(tokio::net::TcpStream::connect(address).await.unwrap());
            let (metrics, ()) = tokio::join!(ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), async { idle.clear() });
            assert!(metrics.starts_with("HTTP/1.1 200"));
            // Many that never say anything, and stay: they are given up one after the other.
            for _ in 0..150 {
                idle.push(tokio::net::TcpStream::connect(address).await.unwrap());
            }
            let asked = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
            let metrics =
                tokio::time::timeout(Duration::from_secs(9), asked).await.expect("within a scraper's patience");
            assert!(metrics.starts_with("HTTP/1.1 200"));
        };
        tokio::select! {
            never = export::http::serve(listener, || "warder_test 1\n".into()) => match never {},
            () = client => {}
        }
    });
}
