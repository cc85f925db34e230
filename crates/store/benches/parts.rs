//! What the parts of one statement's way into the journal cost: `cargo bench -p store --bench parts`.
//!
//! Processor time of this thread, in small pieces; the smallest and the median of them are printed, so that other work
//! on the machine shows as a distance between the two.
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a measurement")]
#![allow(clippy::disallowed_methods, reason = "a measurement needs a clock")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Duration;

use common::*;
use journal::author::Place;
use journal::hash::{Chain, Hash, JournalId, leaf, leaves};
use journal::tree::Tree;
use model::record::{Record, What};
use model::statement::{Outcome, Statement, Text, Transaction};
use model::time::{BootTime, WallTime};
use nix::time::{ClockId, clock_gettime};
use store::line;
use store::writer::Limits;

/// Records of one measurement: what the core takes out of the ring at once under load.
const RECORDS: usize = 1000;
const ROUNDS: usize = 400;

/// What `pgbench -S` makes, 25 us apart.
fn records() -> Vec<Record> {
    let record = |number: u64| {
        let aid = 1 + number * 7919 % 100_000;
        let text = format!("SELECT abalance FROM pgbench_accounts WHERE aid = {aid};");
        let statement = Statement {
            text: Text::Whole(text.into()),
            prepared: None,
            portal: None,
            parameters: None,
            started: BootTime(1_000_000_000),
            finished: Some(BootTime(1_000_080_000 + number % 97 * 1000)),
            outcomes: vec![Outcome::Completed { tag: "SELECT 1".into(), rows: Some(1) }],
            transaction_before: Some(Transaction::Idle),
            transaction_after: Some(Transaction::Idle),
            ..statement()
        };
        let time = WallTime(NINE_THIRTY.0 + number * 25_000);
        let session = session_id(4000 + number % 8);
        Record { time, what: What::Statement { session, number: 100_000 + number / 8, statement: Box::new(statement) } }
    };
    (0..RECORDS as u64).map(record).collect()
}

/// Runs a part many times and prints what it costs for a record.
fn measure(name: &str, mut part: impl FnMut()) {
    let cpu_time = || -> Duration { clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into() };
    let once = |_| {
        let start = cpu_time();
        part();
        (cpu_time() - start).as_secs_f64() * 1e9 / RECORDS as f64
    };
    let mut all: Vec<f64> = (0..ROUNDS).map(once).collect();
    all.sort_by(f64::total_cmp);
    println!("{name:32} {:6.0} ns, at best {:.0}", all[ROUNDS / 2], all[0]);
}

fn main() {
    let records = records();
    let mut out = Vec::with_capacity(1 << 20);
    let encode = |out: &mut Vec<u8>| {
        out.clear();
        for (seq, record) in (1_000_000..).zip(&records) {
            line::encode(out, seq, MACHINE, record);
        }
    };
    encode(&mut out);
    let lines = out.clone();
    let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    println!("{}", String::from_utf8_lossy(lines[0]));
    println!("{} bytes a line", out.len() / RECORDS);

    measure("its line", || encode(&mut out));
    measure("its leaf", || {
        lines.iter().for_each(|line| {
            black_box(leaf(line));
        })
    });
    let mut chain = Chain::start(JournalId::default());
    let pairs = || {
        lines.as_chunks::<2>().0.iter().for_each(|[first, second]| {
            black_box(leaves(first, second));
        });
    };
    measure("its leaf, of two", pairs);
    measure("its link", || lines.iter().for_each(|_| chain = chain.next(&Hash([7; 32]))));
    let mut tree = Tree::new();
    measure("its place in the tree", || lines.iter().for_each(|_| tree.push(Hash([7; 32]))));
    let mut place = Place::start(JournalId::default());
    measure("leaf, link and tree", || lines.iter().for_each(|line| place.push(line)));
    let mut place = Place::start(JournalId::default());
    let mut two = |[first, second]: &[&[u8]; 2]| place.push_two(first, second);
    measure("leaf, link and tree, of two", || lines.as_chunks().0.iter().for_each(&mut two));

    let home = Home::new();
    let (mut writer, _) = home.open(Limits { bytes_max: 1 << 40, ..Limits::default() });
    let mut now = NINE_THIRTY;
    measure("append and flush", || {
        for record in &records {
            writer.append(record).unwrap();
        }
        now = later(now, Duration::from_millis(20));
        writer.flush(now).unwrap();
    });
    writer.settle(now).unwrap();
}
