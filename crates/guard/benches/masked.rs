//! What masked columns cost in the guard, without a network: `cargo bench -p guard --bench masked`. Figures are printed, never
//! asserted.
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a measurement")]

#[path = "../tests/session/wire.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod wire;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::rc::Rc;

use guard::{Book, Guard, Judge, Snapshot};
use mask::{Mask, Pattern, Protection, Rule, Settings};
use model::Known;
use model::principal::UnknownPrincipal;
use model::time::{BootTime, WallTime};
use model::verdict::{Mode, PolicyEpoch};
use nix::time::{ClockId, clock_gettime};
use policy::{PolicyFile, PolicySet, SessionContext, Transport, UtcOffset};
use recorder::EncodedJudgement;
use sql::catalogue::rows::{Column, Relation, RelationKind};
use sql::catalogue::{Builder, Catalogue};

const WIDTH: u16 = 10;
const ROWS: usize = 1_000_000;
/// Bytes that the server's socket gives at once.
const CHUNK_BYTES: usize = 16 << 10;
const TABLE: u32 = 16384;
const TEXT: u32 = 25;
const POINTS: u32 = 200_000;

const POLICIES: &str = r#"
@id("all")
@reason("everything is allowed, but for reading in clear")
permit (principal, action, resource);
"#;

struct NoRecords;

impl Book for NoRecords {
    fn judged(&mut self, _: &EncodedJudgement) {}
    fn bytes(&mut self, _: &[u8]) {}
    fn has_room(&mut self) -> bool {
        true
    }
}

fn catalogue() -> Catalogue {
    let mut builder = Builder::default();
    builder.schema("public".into());
    builder.relation(Relation {
        oid: TABLE,
        schema: "public".into(),
        name: "people".into(),
        kind: RelationKind::Table,
    });
    for number in 1..=i16::try_from(WIDTH).unwrap() {
        builder.column(Column { relation: TABLE, number, name: format!("c{number}").into() });
    }
    builder.build(1)
}

/// The first columns are masked.
fn protection(masked: u16, mask: &Mask) -> Protection {
    let columns = (1..=masked).map(|number| Pattern::parse(&format!("public.people.c{number}")).unwrap()).collect();
    let rule = Rule { name: "rule".into(), columns, tags: BTreeSet::new(), mask: mask.clone() };
    Protection::new(if masked == 0 { Vec::new() } else { vec![rule] }, Settings::default())
}

/// A session that has logged in.
fn session(protection: Protection) -> Guard {
    let file = PolicyFile { name: "bench.cedar".into(), text: POLICIES.into() };
    let judge = Judge::new(PolicySet::compile(&[file], PolicyEpoch(1)).unwrap(), Rc::default());
    judge.protect(protection);
    judge.know("shop".into(), Snapshot::new(catalogue(), BootTime(0)));
    let context = SessionContext {
        database_name: "shop".into(),
        environment: "production".into(),
        mode: Mode::Enforce,
        database: "shop".into(),
        user: "alice".into(),
        application: "".into(),
        transport: Transport::Tcp,
        encrypted: false,
        client_address: None,
        process: None,
        in_transaction: false,
        utc_offset: UtcOffset::default(),
    };
    let mut guard = Guard::new(Rc::new(judge), Known::Unknown(UnknownPrincipal::NoProof), context, false);
    let _cleared = guard.open(BootTime(1), WallTime(1), &wire::startup(), std::iter::empty()).unwrap();
    let mut greeting = wire::message(b'R', &[0; 4]);
    wire::append(&mut greeting, b'S', b"client_encoding\0UTF8\0");
    wire::append(&mut greeting, b'Z', b"I");
    let _out = guard.server(BootTime(2), &greeting);
    guard
}

fn description() -> Vec<u8> {
    let mut body = WIDTH.to_be_bytes().to_vec();
    for number in 1..=WIDTH {
        body.extend_from_slice(format!("c{number}\0").as_bytes());
        body.extend_from_slice(&TABLE.to_be_bytes());
        body.extend_from_slice(&number.to_be_bytes());
        body.extend_from_slice(&TEXT.to_be_bytes());
        body.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    }
    wire::message(b'T', &body)
}

fn row() -> Vec<u8> {
    let mut body = WIDTH.to_be_bytes().to_vec();
    for number in 0..WIDTH {
        let value = format!("123-45-{number:04}");
        body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value.as_bytes());
    }
    wire::message(b'D', &body)
}

/// Asks, and gives the description.
fn ask(guard: &mut Guard, sql: &str) {
    let mut passed = guard.client(BootTime(3), WallTime(1), &wire::query(sql), &mut NoRecords).unwrap().bytes;
    if passed.first() != Some(&b'Q') {
        // At first the guard asks itself how texts are read, and in which schemas names are looked up.
        let mut answer = [wire::message(b'1', b""), wire::message(b'2', b"")].concat();
        for value in ["on", "UTF8", "true", "public"] {
            let length = u32::try_from(value.len()).unwrap().to_be_bytes();
            wire::append(&mut answer, b'D', &[&[0, 1][..], &length, value.as_bytes()].concat());
        }
        wire::append(&mut answer, b'C', b"SELECT 3\0");
        wire::append(&mut answer, b'3', b"");
        wire::append(&mut answer, b'Z', b"I");
        let _own = guard.server(BootTime(3), &answer);
        passed = guard.client(BootTime(3), WallTime(1), b"", &mut NoRecords).unwrap().bytes;
    }
    assert_eq!(passed.first(), Some(&b'Q'), "it is refused, or waits");
    let _out = guard.server(BootTime(4), &description());
}

fn end(guard: &mut Guard) {
    let end = [wire::message(b'C', b"SELECT 1\0"), wire::message(b'Z', b"I")].concat();
    black_box(guard.server(BootTime(5), &end).len());
}

/// Processor time of this thread in nanoseconds.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec()).unwrap()
}

/// Rows a second of processor time.
fn streaming(masked: u16, mask: &Mask) -> f64 {
    let mut guard = session(protection(masked, mask));
    let row = row();
    let whole = CHUNK_BYTES / row.len() + 1;
    // Rows are cut where the socket's buffer ends.
    let rows = row.repeat(whole * row.len());
    ask(&mut guard, "select * from public.people");
    let (begin, mut passed) = (now(), 0);
    while passed < ROWS * row.len() {
        for chunk in rows.chunks(CHUNK_BYTES) {
            black_box(guard.server(BootTime(5), chunk).len());
            passed += chunk.len();
        }
    }
    let nanos = now() - begin;
    end(&mut guard);
    (passed / row.len()) as f64 * 1e9 / nanos as f64
}

/// Nanoseconds of processor time for a statement that is remembered, with one row.
fn point(masked: u16) -> f64 {
    let mut guard = session(protection(masked, &Mask::Last(4)));
    let row = row();
    let begin = now();
    for _ in 0..POINTS {
        ask(&mut guard, "select * from public.people where c10 = 'x'");
        black_box(guard.server(BootTime(5), &row).len());
        end(&mut guard);
    }
    (now() - begin) as f64 / f64::from(POINTS)
}

fn main() {
    println!("{ROWS} rows of {WIDTH} texts of 11 letters, in pieces of {} KiB", CHUNK_BYTES >> 10);
    for (name, mask) in [("null", Mask::Null), ("last", Mask::Last(4))] {
        for masked in [0, 1, 5, 10] {
            println!("  {masked:>2} of {WIDTH} masked ({name}): {:>12.0} rows/s", streaming(masked, &mask));
        }
    }
    for masked in [0, 1, 9] {
        println!("a point select, {masked} of {WIDTH} masked: {:>8.0} ns", point(masked));
    }
}
