//! Events in short, records as lines.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::Known;
use model::coverage::{Class, ClassCount};
use model::id::{BootId, DatabaseId, HostId, SocketCookie};
use model::kernel::KernelEvent;
use model::mediation::{Leg, MediationEvent};
use model::process::{Arguments, Executable, Process, ProcessKey, ProcessSource};
use model::record::{Record, What};
use model::session::{Encryption, Ledger, Origin, Session, Transport};
use model::statement::{Ending, Outcome, Statement, StatementKind, Text};
use model::time::{BootTime, ClockOffset};
use model::wire::WireEvent;
use sessions::{Limits, Sessions};

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Kernel(KernelEvent),
    Wire(u64, u64, WireEvent),
    Mediation(MediationEvent),
    /// Of a worker's plaintext, by the proxy's accepted socket.
    Mediated(u64, u64, WireEvent),
    Tick(u64),
}

pub(crate) fn ms(at: u64) -> BootTime {
    BootTime(at * 1_000_000)
}

pub(crate) fn key(pid: u32) -> ProcessKey {
    ProcessKey { pid, start: BootTime(u64::from(pid)) }
}

pub(crate) fn process(pid: u32, path: &str) -> Arc<Process> {
    Arc::new(Process {
        key: key(pid),
        name: "name".to_owned(),
        executable: Arc::new(Executable {
            path: path.to_owned(),
            device: 1,
            inode: 2,
            changed: 3,
            truncated: false,
            deleted: false,
            memory: false,
        }),
        arguments: Arc::new(Arguments { values: vec![path.to_owned()], truncated: false }),
        uid: 1000,
        gid: 1000,
        login_uid: None,
        tty: None,
        cgroup: 1,
        mount_namespace: 1,
        ancestors: Arc::from([]),
        source: ProcessSource::Kernel,
    })
}

pub(crate) fn tcp(client: &str) -> Transport {
    let address = |ip: &str, port| SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), port);
    Transport::Tcp { client: address(client, 40_000), server: address("10.0.0.1", 5432), network_namespace: 1 }
}

pub(crate) fn unix() -> Transport {
    Transport::Unix { path: "/run/.s.PGSQL.5432".to_owned() }
}

pub(crate) fn opened_as(cookie: u64, at: u64, transport: Transport, client: Option<u64>, origin: Origin) -> Step {
    opened_leg(Leg::Direct, cookie, at, transport, client, origin)
}

pub(crate) fn opened_leg(
    leg: Leg,
    cookie: u64,
    at: u64,
    transport: Transport,
    client: Option<u64>,
    origin: Origin,
) -> Step {
    Step::Kernel(KernelEvent::Opened {
        cookie: SocketCookie(cookie),
        at: ms(at),
        database: DatabaseId(0),
        transport,
        client_cookie: client.map(SocketCookie),
        peer_credentials: None,
        origin,
        leg,
    })
}

pub(crate) fn opened(cookie: u64, at: u64) -> Step {
    opened_as(cookie, at, unix(), Some(cookie + 1000), Origin::Opened)
}

pub(crate) fn owned(cookie: u64, at: u64, pid: u32) -> Step {
    Step::Kernel(KernelEvent::Owned {
        cookie: SocketCookie(cookie),
        at: ms(at),
        process: process(pid, "/postgres"),
        title: None,
    })
}

pub(crate) fn connected(cookie: Option<u64>, client: u64, at: u64, pid: u32) -> Step {
    Step::Kernel(KernelEvent::Connected {
        client_cookie: SocketCookie(client),
        cookie: cookie.map(SocketCookie),
        at: ms(at),
        process: process(pid, "/psql"),
    })
}

pub(crate) fn closed(cookie: u64, at: u64, received: u64) -> Step {
    let ledger = Ledger { socket_received: received, ..Ledger::default() };
    Step::Kernel(KernelEvent::Closed { cookie: SocketCookie(cookie), at: ms(at), ledger, missed: false })
}

pub(crate) fn counted(cookie: u64, received: u64) -> Step {
    let ledger = Ledger { socket_received: received, ..Ledger::default() };
    Step::Kernel(KernelEvent::Counted { cookie: SocketCookie(cookie), ledger })
}

pub(crate) fn encrypted(cookie: u64, encryption: Encryption) -> Step {
    Step::Kernel(KernelEvent::Encrypted { cookie: SocketCookie(cookie), encryption })
}

pub(crate) fn wire(cookie: u64, at: u64, event: WireEvent) -> Step {
    Step::Wire(cookie, at, event)
}

pub(crate) fn startup(cookie: u64, at: u64, parameters: &[(&str, &str)]) -> Step {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    wire(cookie, at, WireEvent::Startup { protocol: (3, 0), parameters })
}

/// Plaintext, start-up as `alice` on `app`, accepted.
pub(crate) fn login(cookie: u64, at: u64) -> Vec<Step> {
    vec![
        wire(cookie, at, WireEvent::Encryption(Encryption::Plaintext)),
        startup(cookie, at, &[("user", "alice"), ("database", "app")]),
        wire(cookie, at, WireEvent::AuthenticationRequested("scram-sha-256")),
        wire(cookie, at, WireEvent::Authenticated),
    ]
}

/// A session that is fully known from the first record on.
pub(crate) fn whole(cookie: u64, at: u64, client: u32, server: u32) -> Vec<Step> {
    let mut steps =
        vec![opened(cookie, at), connected(Some(cookie), cookie + 1000, at, client), owned(cookie, at, server)];
    steps.extend(login(cookie, at));
    steps
}

pub(crate) fn statement(at: u64, text: &str) -> Box<Statement> {
    let failed = text.starts_with("bad");
    let failure = Outcome::Failed { severity: "ERROR".into(), sqlstate: "42601".into(), message: "m".into() };
    let done = Outcome::Completed { tag: "SELECT 1".into(), rows: Some(1) };
    Box::new(Statement {
        kind: StatementKind::Simple,
        text: Text::Whole(Arc::from(text)),
        prepared: None,
        portal: None,
        parameters: None,
        row_limit: 0,
        resumed: false,
        transaction_before: None,
        transaction_after: None,
        started: ms(at),
        finished: Some(ms(at + 1)),
        outcomes: vec![if failed { failure } else { done }],
        outcomes_dropped: 0,
        rows_sent: 0,
        notices: 0,
        copy_bytes: 0,
        ending: Ending::Answered,
        redacted: false,
        judgement: None,
    })
}

pub(crate) fn query(cookie: u64, at: u64, text: &str) -> Step {
    wire(cookie, at, WireEvent::Statement(statement(at, text)))
}

pub(crate) fn subject(limits: Limits) -> Sessions {
    let mut sessions = Sessions::new(HostId(1 << 96), BootId(2 << 96), limits);
    sessions.set_clock(ClockOffset { nanos: 0 });
    sessions.name_database(DatabaseId(0), Arc::from("main"));
    sessions
}

pub(crate) fn run(sessions: &mut Sessions, steps: impl IntoIterator<Item = Step>) -> Vec<Record> {
    let mut out = Vec::new();
    for step in steps {
        match step {
            Step::Kernel(event) => sessions.on_kernel(event, &mut out),
            Step::Wire(cookie, at, event) => sessions.on_wire(SocketCookie(cookie), ms(at), event, &mut out),
            Step::Mediation(event) => sessions.on_mediation(event, &mut out),
            Step::Mediated(cookie, at, event) => {
                sessions.on_wire_mediated(SocketCookie(cookie), ms(at), event, &mut out);
            }
            Step::Tick(at) => sessions.on_tick(ms(at), &mut out),
        }
    }
    out
}

pub(crate) fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(line).collect()
}

fn line(record: &Record) -> String {
    let at = record.time.0 / 1_000_000;
    let cookie = |id: &model::id::SessionId| id.cookie.0;
    let rest = match &record.what {
        What::SessionOpened(session) => format!("open {}", shown(session)),
        What::SessionChanged(session) => format!("change {}", shown(session)),
        What::SessionClosed { session, duration, missed } => {
            let missed = if *missed { " missed" } else { "" };
            let bytes = session.ledger.socket_received;
            format!("close {} after {} bytes {bytes}{missed}", shown(session), duration / 1_000_000)
        }
        What::Requested { session, request } => format!("request {} {:?}", cookie(session), request.text),
        What::Statement { session, number, statement } => match &statement.text {
            Text::Whole(text) => format!("statement {} #{number} {text}", cookie(session)),
            other => format!("statement {} #{number} {other:?}", cookie(session)),
        },
        What::CancelRequested { session, pid, target } => {
            format!("cancel {} pid {pid} target {:?}", cookie(session), target.as_ref().map(cookie))
        }
        What::Refused { session, by, logged_in, sqlstate, .. } => {
            let what = if *logged_in { "ended" } else { "refused" };
            format!("{what} {} {sqlstate} by {by}", cookie(session))
        }
        What::SessionGap { session, side, bytes, reason } => {
            format!("gap {} {side} {bytes:?} {reason}", cookie(session))
        }
        What::ProcessChanged { session, change, process, pid } => {
            let path = process.as_ref().map_or("", |process| process.executable.path.as_str());
            format!("{change} {} pid {pid} {path}", cookie(session)).trim_end().to_owned()
        }
        What::Bypass { session, reason } => format!("bypass {} {}", shown(session), reason.word()),
        What::BypassRefused { database_name, server, client } => {
            format!("bypass refused {database_name} {server} pid {}", client.key.pid)
        }
        What::IntegrityAlert { session, figure, proxy, kernel, when } => {
            format!("integrity {} {figure} {proxy} {kernel} {when}", cookie(session))
        }
        What::Coverage(coverage) => {
            let class = |(class, count): &(Class, ClassCount)| {
                let detail = class.detail().map_or_else(String::new, |detail| format!("({detail})"));
                format!(" {}{detail}={}/{}/{}", class.word(), count.sessions, count.open, count.bytes)
            };
            format!("coverage {}{}", coverage.database_name, coverage.classes.iter().map(class).collect::<String>())
        }
        What::Lost { kind, stage, count } => format!("lost {kind} {stage} {count}"),
        other => format!("{other:?}"),
    };
    format!("{at} {rest}")
}

pub(crate) fn shown(session: &Session) -> String {
    let mut out = format!("{} {}", session.id.cookie.0, session.database_name);
    let end = |end: &Known<Arc<Process>, _>| match end {
        Known::Known(process) => format!("{}{}", process.key.pid, process.executable.path),
        Known::Unknown(reason) => format!("{reason:?}"),
    };
    let _ = write!(out, " client={} server={}", end(&session.client), end(&session.server));
    let login = &session.login;
    let _ = write!(
        out,
        " {}@{}{}{} {:?}",
        login.user.as_deref().unwrap_or("?"),
        login.database.as_deref().unwrap_or("?"),
        if login.inferred { " inferred" } else { "" },
        if login.authenticated { " in" } else { "" },
        session.encryption
    );
    if session.statements + session.gaps > 0 {
        let _ = write!(out, " n={}/{}/{}", session.statements, session.errors, session.gaps);
    }
    out
}

/// Runs the steps on a new subject and compares the records.
#[track_caller]
pub(crate) fn check(steps: impl IntoIterator<Item = Step>, expected: &[&str]) -> Sessions {
    let mut sessions = subject(Limits::default());
    let records = run(&mut sessions, steps);
    assert_eq!(lines(&records), expected);
    sessions
}
