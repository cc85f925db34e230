//! Records to write, shared by the tests of this crate.
#![allow(dead_code, clippy::disallowed_methods, clippy::allow_attributes, reason = "every test file uses its own part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::verify::{Report, Verdict};
use model::Known;
use model::facts::{
    Action, Columns, Condition, Effect, Facts, Name, Object, OpaqueReason, StatementFacts, UnknownSchema,
};
use model::id::{BootId, DatabaseId, HostId, SessionId, SocketCookie};
use model::principal::{Actor, Principal, PrincipalKind, Proof};
use model::process::{Ancestor, Arguments, Executable, Process, ProcessKey, ProcessSource, UnknownProcess};
use model::record::{Record, What};
use model::session::{Encryption, Ledger, Login, Origin, Session, Transport};
use model::statement::{Ending, Format, Outcome, Parameter, Statement, StatementKind, Text, Transaction, Value};
use model::time::{BootTime, WallTime};
use model::verdict::{self, Denial, Judgement, Mode, Obligations, PolicyEpoch};
use store::form::event::Event;
use store::keys::KeyFiles;
use store::line::{Entry, Machine};
use store::reader::Reader;
use store::recovery::Recovery;
use store::verify::{Trust, verify};
use store::writer::{Limits, OpenError, Writer};
use tempfile::TempDir;

pub const MACHINE: Machine =
    Machine { host: HostId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), boot: BootId(0xfeed_beef << 96 | 1) };
/// Bounds that no test reaches by accident.
pub const LIMITS: Limits = Limits {
    segment_bytes_max: 1 << 30,
    segment_age_max: Duration::from_secs(1 << 30),
    bytes_max: 1 << 40,
    age_max: None,
    checkpoint_records: 1 << 40,
    checkpoint_interval: Duration::from_secs(10),
    sync_interval: Duration::from_secs(1),
};
/// 2026-11-22T09:30:00Z
pub const NINE_THIRTY: WallTime = WallTime(1_795_339_800_000_000_000);

/// A journal of a test: its folder, and its key beside it.
pub struct Home {
    _parent: TempDir,
    pub journal: PathBuf,
    pub key: PathBuf,
}

impl Home {
    pub fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let (journal, key) = (parent.path().join("journal"), parent.path().join("key"));
        Self { _parent: parent, journal, key }
    }

    pub fn open(&self, limits: Limits) -> (Writer, Recovery) {
        self.try_open(limits).unwrap()
    }

    pub fn try_open(&self, limits: Limits) -> Result<(Writer, Recovery), OpenError> {
        open(&self.journal, &self.key, limits)
    }

    /// With a key file, before any writer.
    pub fn with_key(self) -> Self {
        KeyFiles::load_or_create(&self.key).unwrap();
        self
    }

    /// All records, the journal's own included; their numbers must have no hole.
    pub fn entries(&self) -> Vec<Entry> {
        let entries = read(&mut Reader::new(&self.journal));
        assert!(entries.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq), "numbers have a hole");
        entries
    }

    /// The numbers that [`statement_record`] was given.
    pub fn statements(&self) -> Vec<u64> {
        statement_numbers(&self.entries())
    }

    /// With the key that lies beside the folder.
    pub fn verify(&self) -> Report {
        let public = store::keys::read_public(&self.key.with_extension("pub")).unwrap();
        verify(&self.journal, &Trust { keys: vec![public], ..Trust::default() }).unwrap()
    }

    /// Verifies, and the whole must be intact.
    pub fn assert_intact(&self) -> Report {
        let report = self.verify();
        assert_eq!(report.verdict(), Verdict::Intact, "{report:?}");
        report
    }

    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.journal).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub fn open(journal: &Path, key: &Path, limits: Limits) -> Result<(Writer, Recovery), OpenError> {
    Writer::open(journal, MACHINE, limits, KeyFiles::load_or_create(key).unwrap(), NINE_THIRTY)
}

pub fn read(reader: &mut Reader) -> Vec<Entry> {
    std::iter::from_fn(|| reader.next_entry()).map(Result::unwrap).collect()
}

pub fn statement_numbers(entries: &[Entry]) -> Vec<u64> {
    let number = |entry: &Entry| match &entry.event {
        Event::Statement(statement) => Some(statement.number),
        _ => None,
    };
    entries.iter().filter_map(number).collect()
}

/// Calls `flush` until `done`; time goes on by ten milliseconds with each call.
pub fn flush_until(writer: &mut Writer, done: impl FnMut(&Writer) -> bool) {
    flush_from(NINE_THIRTY, writer, done);
}

pub fn flush_from(start: WallTime, writer: &mut Writer, mut done: impl FnMut(&Writer) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut now = start;
    while !done(writer) {
        assert!(Instant::now() < deadline, "waited for a minute");
        now = later(now, Duration::from_millis(10));
        writer.flush(now).unwrap();
        std::thread::yield_now();
    }
}

pub fn later(time: WallTime, by: Duration) -> WallTime {
    WallTime(time.0 + u64::try_from(by.as_nanos()).unwrap())
}

pub fn session_id(cookie: u64) -> SessionId {
    SessionId { host: MACHINE.host, boot: MACHINE.boot, cookie: SocketCookie(cookie) }
}

pub fn at(micros: u64, what: What) -> Record {
    Record { time: WallTime(NINE_THIRTY.0 + micros * 1000), what }
}

pub fn process() -> Process {
    Process {
        key: ProcessKey { pid: 1234, start: BootTime(5_000_000) },
        name: "psql".into(),
        executable: Arc::new(Executable {
            path: "/usr/bin/psql".into(),
            device: 8 << 20 | 1,
            inode: 77,
            changed: NINE_THIRTY.0,
            truncated: true,
            deleted: false,
            memory: true,
        }),
        arguments: Arc::new(Arguments { values: vec!["psql".into(), "-h".into(), "".into()], truncated: true }),
        uid: 1000,
        gid: 1001,
        login_uid: Some(1000),
        tty: Some(136 << 20 | 2),
        cgroup: 42,
        mount_namespace: 4_026_531_841,
        ancestors: Arc::from([Ancestor {
            key: ProcessKey { pid: 1200, start: BootTime(4_000_000) },
            uid: 1000,
            name: "bash".into(),
        }]),
        source: ProcessSource::Kernel,
    }
}

pub fn session(cookie: u64) -> Session {
    Session {
        id: session_id(cookie),
        database: DatabaseId(0),
        database_name: "main".into(),
        transport: Transport::Tcp {
            client: "10.0.0.7:51000".parse().unwrap(),
            server: "[::1]:5432".parse().unwrap(),
            network_namespace: 9,
        },
        origin: Origin::Opened,
        opened: BootTime(6_000_000),
        client_cookie: None,
        client: Known::Known(Arc::new(process())),
        principal: Known::Known(Arc::new(principal())),
        peer_credentials: Some((1234, 1000)),
        server: Known::Unknown(UnknownProcess::NotSeen),
        encryption: Encryption::Tls,
        login: Login {
            protocol: Some((3, 2)),
            user: Some("alice".into()),
            database: Some("shop".into()),
            application: Some("psql".into()),
            replication: None,
            inferred: false,
            authenticated: true,
        },
        ledger: Ledger {
            socket_received: 1000,
            socket_sent: 1000,
            content_received: 1000,
            content_sent: 500,
            captured: 1500,
            overhead_received_max: 0,
            overhead_sent_max: 0,
            messages_received: 0,
            messages_sent: 0,
        },
        statements: 2,
        errors: 1,
        gaps: 0,
        mediation: None,
        class: None,
    }
}

/// A typical statement of a pooled application: prepared, two parameters, one row.
pub fn principal() -> Principal {
    let actor = |kind, id: &str| Actor { kind, id: id.into(), issuer: "https://id.example.com".into() };
    Principal {
        actor: actor(PrincipalKind::Agent, "nightly-report"),
        groups: Arc::new(["analysts", "berlin"].map(Arc::from)),
        acting_for: vec![actor(PrincipalKind::Person, "alice@example.com")],
        proof: Proof::BoundProcess,
        expires: Some(NINE_THIRTY),
        purpose: Some("figures of the quarter".into()),
    }
}

fn relation(schema: Known<Arc<str>, UnknownSchema>, name: &str) -> Object {
    Object::Relation(Name { schema, name: name.into() })
}

/// Of a statement that reads an account.
pub fn allowed() -> Judgement {
    let effect = Effect {
        action: Action::Select,
        object: relation(Known::Known("public".into()), "accounts"),
        columns: Columns::Named(["balance", "branch", "id"].map(Arc::from).to_vec()),
        condition: Condition::Some,
    };
    let facts = StatementFacts { command: "SELECT".into(), effects: vec![effect], ..StatementFacts::default() };
    let verdict = verdict::Verdict {
        epoch: PolicyEpoch(7),
        mode: Mode::Enforce,
        denial: None,
        hold: None,
        allowed_by: Arc::new(["readers".into()]),
        obligations: Obligations { rows_max: Some(1000), ..Obligations::default() },
        masked: Arc::new([verdict::Masked { rule: "amounts".into(), column: "public.accounts.balance".into() }]),
    };
    Judgement { verdict, facts: Arc::new(Facts { statements: vec![facts], opaque: None }) }
}

/// Of two statements that drop the same table, the second with code that is not understood.
pub fn refused() -> Judgement {
    let effect = Effect {
        action: Action::Drop,
        object: relation(Known::Unknown(UnknownSchema::NoCatalogue), "customers"),
        columns: Columns::None,
        condition: Condition::NotApplicable,
    };
    let first = StatementFacts { command: "DROP TABLE".into(), effects: vec![effect], ..StatementFacts::default() };
    let second = StatementFacts { opaque: vec![OpaqueReason::Code], ..first.clone() };
    let denial = Denial {
        rule: "no-drop".into(),
        what: "DROP of table public.customers".into(),
        reason: "nobody drops tables in production".into(),
        remedy: "write a migration".into(),
        sqlstate: "42501",
    };
    let verdict = verdict::Verdict {
        denial: Some(denial),
        allowed_by: Arc::new([]),
        obligations: Obligations::default(),
        masked: Arc::new([]),
        ..allowed().verdict
    };
    Judgement { verdict, facts: Arc::new(Facts { statements: vec![first, second], opaque: None }) }
}

pub fn statement() -> Statement {
    Statement {
        kind: StatementKind::Execute,
        text: Text::Whole("SELECT balance FROM accounts WHERE branch = $1 AND id = $2".into()),
        prepared: Some("s1".into()),
        portal: Some("".into()),
        parameters: Some(vec![
            Parameter { type_oid: Some(23), value: Value::Readable("17".into()) },
            Parameter { type_oid: Some(25), value: Value::Readable("alpha".into()) },
        ]),
        row_limit: 0,
        resumed: false,
        transaction_before: Some(Transaction::Idle),
        transaction_after: Some(Transaction::Idle),
        started: BootTime(1_000_000_000),
        finished: Some(BootTime(1_000_250_999)),
        outcomes: vec![Outcome::Completed { tag: "SELECT 1".into(), rows: Some(1) }],
        outcomes_dropped: 0,
        rows_sent: 1,
        notices: 0,
        copy_bytes: 0,
        ending: Ending::Answered,
        redacted: false,
        judgement: None,
    }
}

pub fn strange_statement() -> Statement {
    Statement {
        kind: StatementKind::FunctionCall { function: 99 },
        text: Text::Truncated { beginning: "a\u{1b}[31m\"\\\n".into(), bytes: 5000 },
        parameters: Some(vec![
            Parameter { type_oid: None, value: Value::Null },
            Parameter { type_oid: Some(17), value: Value::Opaque { format: Format::Binary, bytes: 12 } },
            Parameter { type_oid: None, value: Value::Redacted },
        ]),
        row_limit: 10,
        resumed: true,
        transaction_after: None,
        finished: None,
        outcomes: vec![
            Outcome::Failed { severity: "ERROR".into(), sqlstate: "42P01".into(), message: String::new() },
            Outcome::Empty,
            Outcome::Suspended { rows: 10 },
            Outcome::Returned,
            Outcome::CopyStarted { direction: model::statement::CopyDirection::Both },
        ],
        outcomes_dropped: 3,
        notices: 2,
        copy_bytes: 7,
        ending: Ending::Unanswered,
        redacted: true,
        judgement: None,
        ..statement()
    }
}

pub fn statement_record(number: u64) -> Record {
    at(number, What::Statement { session: session_id(4242), number, statement: Box::new(statement()) })
}
