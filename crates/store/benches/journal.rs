//! What the journal costs: `cargo bench -p store --bench journal -- [RECORDS] [NAME]`, of a million statements or as many as
//! given, of one name or of all. Figures are printed, never asserted: machines are noisy. The records are in a temporary
//! folder until they are verified: less than 100 bytes each, and those of two segments as lines.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "a measurement")]
#![allow(clippy::disallowed_methods, reason = "a measurement needs a clock")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use model::Known;
use model::facts::{Action, Columns, Condition, Effect, Facts, Name, Object, StatementFacts};
use model::record::{Record, What};
use model::request::Request;
use model::statement::{Outcome, Parameter, Statement, Text, Value};
use model::time::{BootTime, WallTime};
use model::verdict::Judgement;
use nix::time::{ClockId, clock_gettime};
use store::files::segments;
use store::verify::{Trust, verify};
use store::writer::Limits;

const RECORDS: u64 = 1_000_000;
const FLUSH_EVERY: u64 = 500;

/// Processor time of this thread: other work on the machine does not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// Processor time of all threads.
fn process_cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

/// SplitMix64, so that every run measures the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// The seven statements of pgbench's transaction, with parameters, as sixteen clients send them.
fn pgbench(number: u64, random: &mut Random) -> Record {
    let (account, teller, branch) = (random.below(1_000_000) + 1, random.below(100) + 1, random.below(10) + 1);
    let delta = i64::try_from(random.below(10_000)).unwrap() - 5000;
    let readable = |value: String| Parameter { type_oid: Some(23), value: Value::Readable(value) };
    let (text, values, tag) = match number % 7 {
        0 => ("BEGIN;", vec![], "BEGIN"),
        1 => (
            "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2;",
            vec![delta.to_string(), account.to_string()],
            "UPDATE 1",
        ),
        2 => ("SELECT abalance FROM pgbench_accounts WHERE aid = $1;", vec![account.to_string()], "SELECT 1"),
        3 => (
            "UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2;",
            vec![delta.to_string(), teller.to_string()],
            "UPDATE 1",
        ),
        4 => (
            "UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2;",
            vec![delta.to_string(), branch.to_string()],
            "UPDATE 1",
        ),
        5 => (
            "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP);",
            vec![teller.to_string(), branch.to_string(), account.to_string(), delta.to_string()],
            "INSERT 0 1",
        ),
        _ => ("END;", vec![], "COMMIT"),
    };
    let parameters = values.into_iter().map(readable).collect();
    statement_of(number, random, text.to_owned(), Some(parameters), tag)
}

/// Statements of an application with literals, of many shapes and lengths.
fn mixed(number: u64, random: &mut Random) -> Record {
    let word = |random: &mut Random| {
        ["orders", "customers", "invoice_lines", "addresses", "sessions", "products"]
            [usize::try_from(random.below(6)).unwrap()]
    };
    let (table, other) = (word(random), word(random));
    let (id, amount) = (random.below(10_000_000), random.below(100_000));
    let text = match random.below(5) {
        0 => format!("select id, name, created_at, total from {table} where id = {id}"),
        1 => format!(
            "select a.id, sum(b.amount) from {table} a join {other} b on b.parent_id = a.id where a.id in ({id}, {amount}) and b.state = 'open' group by a.id order by 2 desc limit 50"
        ),
        2 => format!(
            "insert into {table} (parent_id, name, email, amount) values ({id}, 'user {id}', 'u{id}@example.com', {amount}.50) returning id"
        ),
        3 => format!(
            "update {table} set state = 'paid', amount = amount - {amount}, changed_at = now() where id = {id} and version = {}",
            amount % 9
        ),
        _ => format!(
            "delete from {table} where session_token = '{:032x}'",
            u128::from(random.below(u64::MAX)) << 64 | u128::from(random.below(u64::MAX))
        ),
    };
    statement_of(number, random, text, None, "SELECT 1")
}

/// The same, said before and after, as the proxy does where requests are recorded: two records for one statement.
fn asked(number: u64, _: &mut Random) -> Record {
    said_twice(number, None)
}

/// And with what was decided about it, in both.
fn judged(number: u64, _: &mut Random) -> Record {
    said_twice(number, Some(Arc::new(judgement_of(number / 2))))
}

fn said_twice(number: u64, judgement: Option<Arc<Judgement>>) -> Record {
    let mut record = pgbench(number / 2, &mut Random(number / 2));
    let What::Statement { session, statement, .. } = &mut record.what else { return record };
    statement.judgement = judgement;
    if number % 2 == 1 {
        return record;
    }
    let Statement { kind, text, prepared, portal, parameters, judgement, .. } = (**statement).clone();
    let request = Request {
        kind,
        text,
        doubtful: false,
        prepared,
        portal,
        parameters,
        row_limit: 0,
        at: BootTime(0),
        redacted: false,
        judgement,
    };
    Record { time: record.time, what: What::Requested { session: *session, request: Box::new(request) } }
}

/// What facts and policies say of a statement of pgbench's transaction.
fn judgement_of(number: u64) -> Judgement {
    let (action, table, columns): (_, _, &[&str]) = match number % 7 {
        1 => (Action::Update, "pgbench_accounts", &["abalance", "aid"]),
        2 => (Action::Select, "pgbench_accounts", &["abalance", "aid"]),
        3 => (Action::Update, "pgbench_tellers", &["tbalance", "tid"]),
        4 => (Action::Update, "pgbench_branches", &["bbalance", "bid"]),
        5 => (Action::Insert, "pgbench_history", &["aid", "bid", "delta", "mtime", "tid"]),
        _ => (Action::Transaction, "", &[]),
    };
    let effect = Effect {
        action,
        object: match table {
            "" => Object::Session(None),
            table => Object::Relation(Name { schema: Known::Known("public".into()), name: table.into() }),
        },
        columns: Columns::Named(columns.iter().map(|name| Arc::from(*name)).collect()),
        condition: if matches!(action, Action::Update | Action::Select) {
            Condition::Some
        } else {
            Condition::NotApplicable
        },
    };
    let facts = StatementFacts { effects: vec![effect], ..StatementFacts::default() };
    Judgement { facts: Arc::new(Facts { statements: vec![facts], opaque: None }), ..allowed() }
}

fn statement_of(
    number: u64,
    random: &mut Random,
    text: String,
    parameters: Option<Vec<Parameter>>,
    tag: &str,
) -> Record {
    let latency = 80_000 + random.below(900_000);
    let statement = Statement {
        text: Text::Whole(text.into()),
        prepared: None,
        portal: None,
        parameters,
        started: BootTime(1_000_000_000),
        finished: Some(BootTime(1_000_000_000 + latency)),
        outcomes: vec![Outcome::Completed { tag: tag.into(), rows: Some(1) }],
        ..statement()
    };
    let time = WallTime(NINE_THIRTY.0 + number * 40_000 + random.below(30_000));
    let session = session_id(4000 + random.below(16));
    Record { time, what: What::Statement { session, number: number / 16, statement: Box::new(statement) } }
}

/// Makes the record of a number.
type Make = fn(u64, &mut Random) -> Record;

fn measure(name: &str, statements: u64, make: Make) {
    let home = Home::new();
    let limits = Limits { bytes_max: 1 << 40, ..Limits::default() };
    let (mut writer, _) = home.open(limits);
    let mut random = Random(7);
    let mut spent = Duration::ZERO;
    let mut now = NINE_THIRTY;
    for chunk in 0..statements / FLUSH_EVERY {
        let records: Vec<Record> = (0..FLUSH_EVERY).map(|at| make(chunk * FLUSH_EVERY + at, &mut random)).collect();
        now = records.last().unwrap().time;
        let start = cpu_time();
        for record in &records {
            writer.append(record).unwrap();
        }
        writer.flush(now).unwrap();
        spent += cpu_time() - start;
    }
    writer.settle(now).unwrap();
    let written = writer.counters();
    let start = Instant::now();
    while segments(&home.journal).unwrap().iter().filter(|file| file.form == store::files::Form::Plain).count() > 1 {
        now = later(now, Duration::from_millis(1));
        writer.flush(now).unwrap();
        std::thread::yield_now();
    }
    let sealing = start.elapsed();
    drop(writer);
    let rate = statements as f64 / spent.as_secs_f64();
    println!(
        "{name}: append + flush {:.0} ns of CPU per statement, {rate:.0} a second on one core",
        spent.as_nanos() as f64 / statements as f64
    );
    println!(
        "{name}: {:.0} bytes a line, {} checkpoints, sealing went on for {sealing:?} after the last record",
        written.written_bytes as f64 / statements as f64,
        written.checkpoints
    );

    // Whole segments only: the active one is not compressed yet.
    let files = segments(&home.journal).unwrap();
    let (last, complete) = files.split_last().unwrap();
    let stored: u64 = complete.iter().map(|file| file.path.metadata().unwrap().len()).sum();
    println!(
        "{name}: {:.1} bytes stored per statement in {} sealed segments",
        stored as f64 / (last.first_seq - 1) as f64,
        complete.len()
    );
    for round in 0..3 {
        let (start, cpu_before) = (Instant::now(), process_cpu_time());
        let report = verify(&home.journal, &Trust::default()).unwrap();
        let (elapsed, cpu) = (start.elapsed(), process_cpu_time() - cpu_before);
        assert_eq!(report.verdict() as i32, 0);
        let gibibytes = report.bytes as f64 / f64::from(1 << 30);
        println!(
            "{name}: verify {round}: {:.2} GiB/s of lines, {:.2} GiB in a second of CPU, {:.2} million records a second",
            gibibytes / elapsed.as_secs_f64(),
            gibibytes / cpu.as_secs_f64(),
            report.records as f64 / elapsed.as_secs_f64() / 1e6
        );
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let statements = words.first().map_or(RECORDS, |word| word.parse().expect("RECORDS is a number"));
    let statements = statements.next_multiple_of(FLUSH_EVERY).max(FLUSH_EVERY);
    let all: [(&str, Make); 4] =
        [("pgbench", pgbench), ("mixed", mixed), ("asked, per record", asked), ("judged, per record", judged)];
    let wanted = |name: &str| words.get(1).is_none_or(|word| name.split(',').next() == Some(word));
    all.into_iter().filter(|(name, _)| wanted(name)).for_each(|(name, make)| measure(name, statements, make));
}
