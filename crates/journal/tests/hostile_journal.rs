//! Journals that were made to wear out whoever verifies them: the verifier's memory and time are bounded by what a real
//! journal needs.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    reason = "helpers of tests; time is tested"
)]

mod common;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use common::*;
use journal::author::{Author, Place};
use journal::check::{Checked, KeyEvent, LOSS_BYTES_MAX, SegmentCheck, Why};
use journal::hash::JournalId;
use journal::verify::Verifier;
use journal::witness::Witness;
use model::time::WallTime;

const TIME: WallTime = WallTime(NINE_THIRTY);

#[test]
fn a_loss_of_any_length_is_listed_by_its_beginning() {
    static NO_WITNESS: Witness = Witness::none();
    let mut first = Vec::new();
    Author::new(Place::start(JOURNAL), key(1), 0).segment(&mut first, TIME);
    let mut check = SegmentCheck::new(1, &NO_WITNESS);
    check.line(first.trim_ascii_end()).expect("the first record");
    let mut line = r#"{"v":1,"seq":2,"time":"2026-11-22T09:30:00.000000Z","type":"loss","text":""#.to_owned();
    // A character of two bytes lies across every bound.
    (0..1 << 20).for_each(|_| write!(line, "\u{e9}").expect("a string"));
    line.push_str("\"}");
    check.line(line.as_bytes()).expect("a record");
    let checked = check.finish();
    assert_eq!((checked.fault, checked.losses_count), (None, 1));
    let listed: usize = checked.losses.iter().map(|loss| loss.line.len()).sum();
    assert!((1..LOSS_BYTES_MAX + 8).contains(&listed), "{listed} bytes of it are kept");
}

/// Where a key is looked for among all before it, this takes half a minute, and a gigabyte of hand-overs hours.
#[test]
fn many_keys_do_not_slow_each_other_down() {
    const KEYS: u32 = 60_000;
    let keys: Vec<_> = (0..KEYS).map(many_key).collect();
    let mut checked = empty();
    let time = *b"2026-11-22T09:30:00.000000Z";
    for (pair, seq) in keys.windows(2).zip((2_u64..).step_by(2)) {
        if let [from, to] = *pair {
            checked.key_events.push(KeyEvent::HandedOver { seq, from, to, signed: seq < u64::from(KEYS) });
            checked.key_events.push(KeyEvent::Signed { seq: seq + 1, time, by: to });
        }
    }
    checked.records = u64::from(KEYS) * 2;
    checked.key = keys.first().copied();
    let witness = Witness::none();
    let mut verifier = Verifier::new(&[], &witness);
    let start = Instant::now();
    verifier.segment(checked);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let report = verifier.finish();
    assert_eq!((report.trusted.len(), report.unvouched.len()), (KEYS as usize / 2, KEYS as usize / 2));
}

fn many_key(number: u32) -> journal::key::PublicKey {
    let mut secret = [5; 32];
    secret[..4].copy_from_slice(&number.to_le_bytes());
    journal::key::SigningKey::new(&journal::key::Secret::take(&mut secret)).public()
}

fn empty() -> Checked {
    static NO_WITNESS: Witness = Witness::none();
    SegmentCheck::new(1, &NO_WITNESS).finish()
}

/// Two journals on one key: the checkpoints of one prove nothing about the other, and the answer says so.
#[test]
fn checkpoints_of_another_journal_are_named() {
    let line = |journal, text: &str| {
        let mut author = Author::new(Place::start(journal), key(1), 0);
        let mut out = Vec::new();
        author.segment(&mut out, TIME);
        statement(&mut author, &mut out, TIME, "statement", text);
        author.checkpoint(&mut out, TIME);
        out
    };
    let verdict = |journal: &[u8], witness: &[u8]| {
        let lines: Vec<&[u8]> = witness.split_inclusive(|&byte| byte == b'\n').collect();
        let witness = Witness::parse(lines.last().expect("a checkpoint")).expect("a checkpoint");
        let mut check = SegmentCheck::new(1, &witness);
        let _ = journal.trim_ascii_end().split(|&byte| byte == b'\n').try_for_each(|line| check.line(line).map(drop));
        check.finish().fault.map(|fault| fault.why)
    };
    let other = JournalId([7; 16]);
    assert_eq!(verdict(&line(JOURNAL, "a"), &line(JOURNAL, "a")), None);
    assert_eq!(verdict(&line(JOURNAL, "a"), &line(JOURNAL, "b")), Some(Why::Rewritten));
    assert_eq!(verdict(&line(JOURNAL, "a"), &line(other, "a")), Some(Why::OtherJournal));
}
