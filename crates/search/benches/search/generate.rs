//! A journal as a busy server makes it: half of the statements from 200 connections of a pool that stay open, half from
//! short sessions of many people and programs, and now and then an auditor.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use model::Known;
use model::id::{BootId, DatabaseId, HostId, SessionId, SocketCookie};
use model::principal::UnknownPrincipal;
use model::process::{Ancestor, Arguments, Executable, Process, ProcessKey, ProcessSource, UnknownProcess};
use model::record::{Record, What};
use model::session::{Encryption, Ledger, Login, Origin, Session, Transport};
use model::statement::{Ending, Outcome, Parameter, Statement, StatementKind, Text, Transaction, Value};
use model::time::{BootTime, WallTime};
use store::files::{self, Form};
use store::keys::KeyFiles;
use store::line::Machine;
use store::writer::{Limits, Writer};

/// When the last record is made: `since:` counts back from here. 2026-11-22T09:30:00Z
pub(crate) const END: WallTime = WallTime(1_795_339_800_000_000_000);

/// What is asked: common, rare and absent identities, with and without a time.
pub(crate) const QUESTIONS: [&str; 12] = [
    "user:app",
    "user:app since:1h",
    "user:person7 exe:psql since:1h",
    "user:auditor",
    "user:auditor since:1h",
    "user:auditor type:statement sqlstate:42",
    "uid:2007 exe:/usr/bin/pg_dump until:30m",
    "user:nobody",
    "uid:4000000 exe:/nowhere since:24h",
    "pid:4000000000",
    "client:192.0.2.0/24",
    "session:77",
];

/// Cookies of sessions that are read as a whole: a connection of the pool, and a short session.
pub(crate) const SESSIONS: [&str; 2] = ["77", "250"];

const MACHINE: Machine = Machine { host: HostId(0x0123_4567 << 96 | 1), boot: BootId(0xfeed_beef << 96 | 1) };
const NANOS_PER_RECORD: u64 = 400_000;
const POOLED: u64 = 200;
/// Statements of a short session, and how many short sessions are open at a time.
const STATEMENTS: u64 = 36;
const OPEN: u64 = 100;
/// Every so many short sessions one is the auditor's.
const AUDITOR_EVERY: u64 = 20_000;
const FLUSH_EVERY: u64 = 500;

/// Makes the journal; returns the number of its records, its own included.
pub(crate) fn journal(keys: &Path, directory: &Path, records: u64) -> Result<u64> {
    let begin = END.0 - records * NANOS_PER_RECORD;
    let mut writer = open(keys, directory, WallTime(begin))?;
    let mut world = World::default();
    let mut last = 0;
    for number in 0..records {
        let time = WallTime(begin + number * NANOS_PER_RECORD);
        last = writer.append(&Record { time, what: world.next(number) })?;
        if number.is_multiple_of(FLUSH_EVERY) {
            writer.flush(time)?;
        }
    }
    writer.settle(END)?;
    Ok(last)
}

/// Waits until all segments but the active one are sealed.
pub(crate) fn seal(keys: &Path, directory: &Path) -> Result<()> {
    let mut writer = open(keys, directory, END)?;
    while files::segments(directory)?.iter().filter(|segment| segment.form == Form::Plain).count() > 1 {
        writer.flush(END)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn open(keys: &Path, directory: &Path, now: WallTime) -> Result<Writer> {
    let limits = Limits {
        bytes_max: u64::MAX,
        checkpoint_interval: Duration::from_secs(3600),
        sync_interval: Duration::from_secs(20),
        ..Limits::default()
    };
    let keys = KeyFiles::load_or_create(&keys.join("key"))?;
    Ok(Writer::open(directory, MACHINE, limits, keys, now)?.0)
}

#[derive(Default)]
struct World {
    pooled: Vec<SessionId>,
    short: Vec<Short>,
    sessions: u64,
    /// Pseudo-random, the same in every run.
    dice: u64,
}

struct Short {
    session: Arc<Session>,
    done: u64,
}

impl World {
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    fn next(&mut self, number: u64) -> What {
        if number < POOLED {
            let session = self.session("app", 999, "/opt/app/server");
            self.pooled.push(session.id);
            return What::SessionOpened(Arc::new(session));
        }
        if number.is_multiple_of(2) {
            let pooled = usize::try_from(self.roll(POOLED)).unwrap_or(0);
            return self.statement(self.pooled[pooled], number);
        }
        let at = usize::try_from(self.roll(OPEN)).unwrap_or(0);
        if at >= self.short.len() {
            return self.open();
        }
        self.short[at].done += 1;
        if self.short[at].done > STATEMENTS {
            let Short { session, .. } = self.short.swap_remove(at);
            return What::SessionClosed { session, duration: 1_000_000_000, missed: false };
        }
        let id = self.short[at].session.id;
        self.statement(id, number)
    }

    fn open(&mut self) -> What {
        let person = self.roll(60);
        let exes = ["/usr/bin/psql", "/usr/bin/pg_dump", "/usr/bin/python3.11", "/usr/lib/jvm/bin/java"];
        let exe = exes[usize::try_from(self.roll(4)).unwrap_or(0)];
        let auditor = self.sessions % AUDITOR_EVERY == AUDITOR_EVERY / 2;
        let user = if auditor { "auditor".to_owned() } else { format!("person{person}") };
        let uid = if auditor { 1234 } else { 2000 + u32::try_from(person).unwrap_or(0) };
        let session = Arc::new(self.session(&user, uid, exe));
        self.short.push(Short { session: Arc::clone(&session), done: 0 });
        What::SessionOpened(session)
    }

    fn session(&mut self, user: &str, uid: u32, exe: &str) -> Session {
        self.sessions += 1;
        let pid = 1000 + u32::try_from(self.roll(4_000_000)).unwrap_or(0);
        let address = [10, 0, 0, u8::try_from(self.roll(200)).unwrap_or(0)];
        Session {
            id: SessionId { host: MACHINE.host, boot: MACHINE.boot, cookie: SocketCookie(self.sessions + 20) },
            database: DatabaseId(0),
            database_name: "main".into(),
            transport: Transport::Tcp {
                client: (address, 40_000 + u16::try_from(self.sessions % 20_000).unwrap_or(0)).into(),
                server: ([10, 0, 0, 1], 5432).into(),
                network_namespace: 4_026_531_840,
            },
            origin: Origin::Opened,
            opened: BootTime(6_000_000),
            client_cookie: None,
            client: Known::Known(Arc::new(process(pid, uid, exe))),
            principal: Known::Unknown(UnknownPrincipal::NotAsked),
            peer_credentials: None,
            server: Known::Unknown(UnknownProcess::NotSeen),
            encryption: Encryption::Tls,
            login: Login {
                protocol: Some((3, 0)),
                user: Some(user.to_owned()),
                database: Some("shop".into()),
                application: Some(exe.rsplit('/').next().unwrap_or(exe).to_owned()),
                replication: None,
                inferred: false,
                authenticated: true,
            },
            ledger: Ledger { socket_received: self.sessions * 7, socket_sent: self.sessions * 31, ..Ledger::default() },
            statements: STATEMENTS,
            errors: 0,
            gaps: 0,
            mediation: None,
            class: None,
        }
    }

    fn statement(&mut self, session: SessionId, number: u64) -> What {
        let (branch, id, micros) = (self.roll(100), self.roll(100_000), 90 + self.roll(400));
        let failed = self.roll(500) == 0;
        let done = Outcome::Completed { tag: "SELECT 1".into(), rows: Some(1) };
        let error =
            Outcome::Failed { severity: "ERROR".into(), sqlstate: "42P01".into(), message: "no such relation".into() };
        let parameter = |value: u64| Parameter { type_oid: Some(23), value: Value::Readable(value.to_string()) };
        let started = BootTime(number * NANOS_PER_RECORD);
        let statement = Statement {
            kind: StatementKind::Execute,
            text: Text::Whole("SELECT balance FROM accounts WHERE branch = $1 AND id = $2".into()),
            prepared: Some("s1".into()),
            portal: Some("".into()),
            parameters: Some(vec![parameter(branch), parameter(id)]),
            row_limit: 0,
            resumed: false,
            transaction_before: Some(Transaction::Idle),
            transaction_after: Some(Transaction::Idle),
            started,
            finished: Some(BootTime(started.0 + micros * 1000)),
            outcomes: vec![if failed { error } else { done }],
            outcomes_dropped: 0,
            rows_sent: 1,
            notices: 0,
            copy_bytes: 0,
            ending: Ending::Answered,
            redacted: false,
            judgement: None,
        };
        What::Statement { session, number: number % 1000, statement: Box::new(statement) }
    }
}

fn process(pid: u32, uid: u32, exe: &str) -> Process {
    let ancestor = Ancestor { key: ProcessKey { pid: 900, start: BootTime(1_000_000) }, uid, name: "bash".into() };
    Process {
        key: ProcessKey { pid, start: BootTime(5_000_000) },
        name: exe.rsplit('/').next().unwrap_or(exe).to_owned(),
        executable: Arc::new(Executable {
            path: exe.to_owned(),
            device: 8 << 20 | 1,
            inode: 77,
            changed: END.0,
            truncated: false,
            deleted: false,
            memory: false,
        }),
        arguments: Arc::new(Arguments { values: vec![exe.to_owned(), "shop".into()], truncated: false }),
        uid,
        gid: uid,
        login_uid: Some(uid),
        tty: None,
        cgroup: 42,
        mount_namespace: 4_026_531_841,
        ancestors: Arc::from([ancestor]),
        source: ProcessSource::Kernel,
    }
}
