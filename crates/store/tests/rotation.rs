//! Segments are bounded, sealed, removed with a tombstone, and a reader follows them without a gap.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::fs;
use std::time::Duration;

use common::*;
use journal::record::Reason;
use model::record::What;
use store::blocks;
use store::files::{Form, SegmentFile, segments};
use store::form::event::Event;
use store::line::Entry;
use store::reader::{ReadError, Reader};
use store::select::SessionSelector;
use store::writer::{Limits, Writer};

const SMALL: Limits = Limits { segment_bytes_max: 8192, ..LIMITS };

fn append(writer: &mut Writer, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        writer.append(&statement_record(number)).unwrap();
        if number % 7 == 0 {
            writer.flush(NINE_THIRTY).unwrap();
        }
    }
}

fn seal_all(home: &Home, writer: &mut Writer) {
    let unsealed =
        |home: &Home| segments(&home.journal).unwrap().iter().filter(|file| file.form == Form::Plain).count();
    flush_until(writer, |_| unsealed(home) == 1);
}

#[test]
fn segments_are_bounded_and_sealed_and_nothing_is_lost() {
    let home = Home::new();
    let (mut writer, _) = home.open(SMALL);
    append(&mut writer, 1..=200);
    // One flush that is larger than a segment.
    for number in 201..=400 {
        writer.append(&statement_record(number)).unwrap();
    }
    for file in segments(&home.journal).unwrap() {
        assert!(file.path.metadata().unwrap().len() <= SMALL.segment_bytes_max, "{}", file.path.display());
    }
    seal_all(&home, &mut writer);
    assert_eq!(home.statements(), (1..=400).collect::<Vec<_>>());
    let report = home.assert_intact();
    assert!(report.segments > 10);
    flush_until(&mut writer, |writer| writer.counters().sealed + 1 == report.segments);
}

#[test]
fn on_a_busy_host_a_few_segments_wait_to_be_sealed() {
    let count = |home: &Home, form| segments(&home.journal).unwrap().iter().filter(|file| file.form == form).count();
    // Complete segments that may wait, by the space that the journal has.
    for (bytes_max, waiting) in
        [(SMALL.bytes_max, 8), (8 * 3 * SMALL.segment_bytes_max, 3), (SMALL.segment_bytes_max, 0)]
    {
        let home = Home::new();
        let (mut writer, _) = home.open(Limits { bytes_max, ..SMALL });
        writer.set_host_busy(true);
        append(&mut writer, 1..=200);
        // The one that is written stays plain, too.
        flush_until(&mut writer, |_| count(&home, Form::Plain) == waiting + 1);
        // It hears that the last one is sealed, and would begin another one, which it would end when it is dropped.
        for _ in 0..100 {
            writer.flush(NINE_THIRTY).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(writer);
        assert_eq!(count(&home, Form::Plain), waiting + 1, "{bytes_max}");
        let (mut writer, _) = home.open(Limits { bytes_max, ..SMALL });
        seal_all(&home, &mut writer);
    }
}

#[test]
fn a_segment_ends_by_age_if_it_has_records() {
    let home = Home::new();
    let (mut writer, _) = home.open(Limits { segment_age_max: Duration::from_secs(3600), ..LIMITS });
    append(&mut writer, 1..=3);
    let mut now = NINE_THIRTY;
    for _ in 0..10 {
        now = later(now, Duration::from_secs(3601));
        writer.flush(now).unwrap();
    }
    assert_eq!(segments(&home.journal).unwrap().len(), 2);
    home.assert_intact();
}

/// A clock that ran ahead and was put right: what was begun meanwhile does not stay open until it is caught up with.
#[test]
fn a_segment_ends_by_age_whichever_way_the_clock_goes() {
    let home = Home::new();
    let (mut writer, _) = home.open(Limits { segment_age_max: Duration::from_secs(3600), ..LIMITS });
    append(&mut writer, 1..=3);
    let year = Duration::from_secs(365 * 24 * 3600);
    writer.flush(later(NINE_THIRTY, year)).unwrap();
    writer.append(&statement_record(4)).unwrap();
    assert_eq!(segments(&home.journal).unwrap().len(), 2);
    writer.flush(NINE_THIRTY).unwrap();
    writer.append(&statement_record(5)).unwrap();
    writer.settle(NINE_THIRTY).unwrap();
    assert_eq!(segments(&home.journal).unwrap().len(), 3);
    home.assert_intact();
}

#[test]
fn what_is_too_much_is_removed_with_a_tombstone() {
    let home = Home::new();
    let limits = Limits { bytes_max: 40_000, ..SMALL };
    let (mut writer, _) = home.open(limits);
    for round in 0..40 {
        append(&mut writer, round * 50 + 1..=round * 50 + 50);
        seal_all(&home, &mut writer);
    }
    writer.settle(NINE_THIRTY).unwrap();
    writer.flush(NINE_THIRTY).unwrap();
    let bytes: u64 = segments(&home.journal).unwrap().iter().map(|file| file.path.metadata().unwrap().len()).sum();
    assert!(bytes <= limits.bytes_max, "{bytes}");
    assert_eq!(home.statements().last(), Some(&2000));
    let report = home.assert_intact();
    assert!(report.first_seq > 1);
    let removed = report.removed.unwrap();
    assert_eq!((removed.through + 1, removed.reason), (report.first_seq, Reason::Size));

    // Whoever removes one more without a word is found out.
    fs::remove_file(&segments(&home.journal).unwrap()[0].path).unwrap();
    assert!(matches!(home.verify().fault.unwrap().1.why, journal::check::Why::Unaccounted));
}

#[test]
fn what_is_too_old_is_removed_with_a_tombstone() {
    let home = Home::new();
    let (mut writer, _) = home.open(Limits { age_max: Some(Duration::from_secs(24 * 3600)), ..SMALL });
    append(&mut writer, 1..=100);
    seal_all(&home, &mut writer);
    assert_eq!(home.statements().len(), 100);
    let tomorrow = later(NINE_THIRTY, Duration::from_secs(25 * 3600));
    writer.flush(tomorrow).unwrap();
    assert_eq!(home.statements().len(), 100, "not before the tombstone is durable");
    flush_from(tomorrow, &mut writer, |_| segments(&home.journal).unwrap().len() == 1);
    let report = home.assert_intact();
    assert_eq!(report.removed.unwrap().reason, Reason::Age);
    // A later writer knows what came before.
    drop(writer);
    let (mut writer, recovery) = home.open(SMALL);
    assert_eq!(recovery.last_seq, Some(report.last_seq));
    append(&mut writer, 101..=120);
    writer.settle(tomorrow).unwrap();
    home.assert_intact();
}

#[test]
fn a_follower_sees_every_record_over_segments() {
    let home = Home::new();
    let mut reader = Reader::new(&home.journal);
    let (mut writer, _) = home.open(SMALL);
    let mut seen = read(&mut reader);
    for number in 1..=300 {
        append(&mut writer, number..=number);
        // Looks now and then; sometimes several segments begin in between, and are sealed while they are read.
        if number % 47 == 0 || number > 250 {
            seen.extend(read(&mut reader));
        }
    }
    seal_all(&home, &mut writer);
    writer.settle(NINE_THIRTY).unwrap();
    seen.extend(read(&mut reader));
    assert_eq!(seen, home.entries());
    assert_eq!(statement_numbers(&seen), (1..=300).collect::<Vec<_>>());
}

#[test]
fn a_reader_goes_on_after_any_number() {
    let home = Home::new();
    let (mut writer, _) = home.open(SMALL);
    append(&mut writer, 1..=100);
    seal_all(&home, &mut writer);
    writer.settle(NINE_THIRTY).unwrap();
    let all = home.entries();
    for seq in 0..=all.len() as u64 + 1 {
        let rest = read(&mut Reader::after(&home.journal, seq));
        assert_eq!(rest, all[all.len().min(usize::try_from(seq).unwrap())..], "after {seq}");
    }
}

#[test]
fn blocks_are_the_same_before_and_after_sealing() {
    let home = Home::new();
    let (mut writer, _) = home.open(Limits { segment_bytes_max: 900_000, ..LIMITS });
    let mut lister = blocks::Lister::new(&home.journal);
    for number in 1..=1500 {
        append(&mut writer, number..=number);
        lister.list_after(0).unwrap();
    }
    writer.flush(NINE_THIRTY).unwrap();
    let before = lister.list_after(0).unwrap();
    assert!(before.len() >= 3 && before.iter().rev().skip(1).all(|block| block.complete), "{}", before.len());
    assert!(!before.last().unwrap().complete);
    let lines = |block: &blocks::Block| {
        let mut lines = Vec::new();
        blocks::read(block, &mut lines).unwrap();
        lines
    };
    let contents: Vec<_> = before.iter().map(lines).collect();
    append(&mut writer, 1501..=4000);
    seal_all(&home, &mut writer);
    let after = blocks::list(&home.journal).unwrap();
    assert!(after.windows(2).all(|pair| pair[0].last_seq() + 1 == pair[1].first_seq));
    let shape = |block: &blocks::Block| (block.segment, block.first_seq, block.records, block.earliest, block.latest);
    for (before, content) in before.iter().zip(&contents) {
        // Also through what was listed before sealing.
        assert_eq!(lines(before)[..content.len()], content[..]);
        let after = after.iter().find(|after| after.first_seq == before.first_seq).unwrap();
        if before.complete {
            assert_eq!((shape(before), &lines(after)), (shape(after), content));
        }
    }
    let wanted = after[3].last_seq();
    assert_eq!(lister.list_after(wanted).unwrap()[0].first_seq, wanted + 1);
    assert_eq!(lister.list_after(wanted - 1).unwrap()[0], after[3]);
}

#[test]
fn half_a_line_is_read_when_it_is_whole() {
    let home = Home::new();
    fs::create_dir(&home.journal).unwrap();
    let path = store::files::segment_path(&home.journal, 1, Form::Plain);
    let mut line = Vec::new();
    store::line::encode(&mut line, 1, MACHINE, &statement_record(1));
    let mut reader = Reader::new(&home.journal);
    for cut in 0..line.len() {
        fs::write(&path, &line[..cut]).unwrap();
        assert!(reader.next_entry().is_none(), "cut at {cut}");
    }
    fs::write(&path, &line).unwrap();
    assert_eq!(read(&mut reader).len(), 1);
}

#[test]
fn a_line_that_is_no_record_is_told_and_skipped() {
    let home = Home::new();
    fs::create_dir(&home.journal).unwrap();
    let newer = r#"{"v":1,"seq":3,"time":"2026-11-22T09:30:00Z","type":"verdict","more":{"a":[1]}}"#;
    let stop = r#"{"v":1,"seq":4,"time":"2026-11-22T09:30:00Z","type":"agent.stop","unknown_field":true}"#;
    let path = store::files::segment_path(&home.journal, 1, Form::Plain);
    fs::write(path, format!("garbage\n{newer}\n{stop}\n")).unwrap();
    let mut reader = Reader::new(&home.journal);
    assert!(matches!(reader.next_entry(), Some(Err(ReadError::Line { offset: 0, .. }))));
    assert_eq!(reader.next_entry().unwrap().unwrap().event, Event::Other("verdict".into()));
    assert_eq!(reader.next_entry().unwrap().unwrap().event, Event::AgentStop);
    assert!(reader.next_entry().is_none());
}

#[test]
fn a_selector_leaves_out_other_sessions() {
    let home = Home::new();
    let (mut writer, _) = home.open(LIMITS);
    let gap = |cookie| What::SessionGap { session: session_id(cookie), side: "client", bytes: None, reason: "lost" };
    let cancel = What::CancelRequested { session: session_id(77), pid: 1, target: Some(session_id(42)) };
    for what in [gap(4), gap(42), gap(421), What::AgentStopped, cancel] {
        writer.append(&at(1, what)).unwrap();
    }
    writer.settle(NINE_THIRTY).unwrap();
    // 1 is the segment record and 7 the checkpoint: they belong to no session, and to nobody who asks for one.
    let selected = |text: &str| -> Vec<u64> {
        read(&mut Reader::open(&home.journal, SessionSelector::new(text))).iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(selected("42"), [3, 5, 6]);
    assert_eq!(selected("01234567-feedbeef-42"), [3, 4, 5, 6]);
    assert_eq!(selected("01234567-FEEDBEEF-421"), [4, 5]);
    assert_eq!(selected("nothing"), [5]);
}

/// What is left of a sealed segment whose end was overwritten.
fn damage(segment: &SegmentFile) {
    let mut bytes = fs::read(&segment.path).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&segment.path, bytes).unwrap();
}

/// Up to where segments were removed, by the records from this one on.
fn tombstones(home: &Home, from: u64) -> Vec<u64> {
    let through = |entry: &Entry| match &entry.event {
        Event::SegmentsRemoved(removed) => Some(removed.through),
        _ => None,
    };
    read(&mut Reader::after(&home.journal, from - 1)).iter().filter_map(through).collect()
}

#[test]
fn a_damaged_segment_does_not_cost_the_tombstones_of_those_before_it() {
    let home = Home::new();
    let limits = Limits { age_max: Some(Duration::from_secs(3600)), ..SMALL };
    let (mut writer, _) = home.open(limits);
    append(&mut writer, 1..=200);
    seal_all(&home, &mut writer);
    let before = segments(&home.journal).unwrap();
    damage(&before[3]);
    // What it cannot tell is told, and again at every look.
    let mut now = later(NINE_THIRTY, Duration::from_secs(3 * 3600));
    let mut failed = 0;
    for number in 201..=700 {
        now = later(now, Duration::from_secs(1));
        writer.append(&statement_record(number)).unwrap();
        failed += u32::from(writer.flush(now).is_err());
        std::thread::yield_now();
    }
    writer.settle(now).unwrap();
    let first_kept = segments(&home.journal).unwrap()[0].first_seq;
    assert!(failed > 1 && first_kept > 1, "{failed} failures, kept from {first_kept}");
    assert_eq!(
        tombstones(&home, before[4].first_seq).last(),
        Some(&(first_kept - 1)),
        "segments are gone, and nothing says so"
    );
}

#[test]
fn damaged_segments_do_not_keep_the_journal_from_its_size() {
    let home = Home::new();
    let limits = Limits { bytes_max: 64 << 10, segment_bytes_max: 8192, ..LIMITS };
    let (mut writer, _) = home.open(limits);
    append(&mut writer, 1..=100);
    seal_all(&home, &mut writer);
    damage(&segments(&home.journal).unwrap()[2]);
    let mut number = 101;
    flush_until(&mut writer, |_| segments(&home.journal).unwrap()[2].form == Form::Sealed);
    while number < 20_000 && segments(&home.journal).unwrap()[0].first_seq < 100 {
        append(&mut writer, number..=number + 99);
        number += 100;
        seal_all(&home, &mut writer);
    }
    let first_kept = segments(&home.journal).unwrap()[0].first_seq;
    assert!(first_kept > 100, "after {number} records the first is {first_kept}");
    writer.settle(NINE_THIRTY).unwrap();
    assert_eq!(home.assert_intact().first_seq, first_kept);
}
