//! What a crash leaves is repaired, told, and continued.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use common::*;
use journal::verify::Verdict;
use model::record::What;
use model::time::WallTime;
use store::alive::Alive;
use store::files::{Form, segment_path, segments};
use store::form::event::Event;
use store::reader::Reader;
use store::recovery::Recovery;
use store::writer::{Limits, OpenError};

/// A journal with these statements; its first segment.
fn written(home: &Home, count: u64) -> PathBuf {
    let (mut writer, _) = home.open(LIMITS);
    for number in 1..=count {
        writer.append(&statement_record(number)).unwrap();
    }
    writer.settle(NINE_THIRTY).unwrap();
    segment_path(&home.journal, 1, Form::Plain)
}

fn tear(path: &PathBuf, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// Opens the journal again and writes one more record; what was recovered.
fn go_on(home: &Home) -> Recovery {
    let (mut writer, recovery) = home.open(LIMITS);
    writer.append(&statement_record(99)).unwrap();
    writer.settle(NINE_THIRTY).unwrap();
    recovery
}

#[test]
fn an_empty_folder_has_nothing_to_recover() {
    let home = Home::new();
    let (mut writer, recovery) = home.open(LIMITS);
    assert_eq!(recovery, Recovery::default());
    assert_eq!(recovery.unobserved_since(), None);
    assert_eq!((writer.counters().written, writer.written(), writer.durable()), (0, 0, 0));
    writer.flush(NINE_THIRTY).unwrap();
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.journal), 0o750);
    assert_eq!(mode(&segment_path(&home.journal, 1, Form::Plain)), 0o640);
    assert_eq!((mode(&home.key), mode(&home.key.with_extension("pub"))), (0o600, 0o644));
    // Not even an attacker who comes first finds a journal that nobody has signed.
    home.assert_intact();
}

#[test]
fn history_continues_after_the_last_whole_record() {
    // segment, five statements, checkpoint
    for torn in [&b""[..], b"{\"v\":1,\"seq\":8,\"ti", b"\0\0\0\0", b"x"] {
        let home = Home::new();
        let path = written(&home, 5);
        tear(&path, torn);
        let report = home.verify();
        assert_eq!((report.verdict(), report.torn_bytes), (Verdict::Intact, torn.len() as u64));
        let recovery = go_on(&home);
        assert_eq!((recovery.last_seq, recovery.torn_bytes), (Some(7), torn.len() as u64));
        assert_eq!((recovery.stopped, recovery.kept_as), (false, None));
        assert_eq!(home.statements(), [1, 2, 3, 4, 5, 99]);
        let repaired = home.entries().into_iter().find_map(|entry| match entry.event {
            Event::Recovered(recovered) => Some((recovered.torn_bytes, recovered.last_seq)),
            _ => None,
        });
        assert_eq!(repaired, (!torn.is_empty()).then_some((torn.len() as u64, Some(7))));
        home.assert_intact();
    }
}

#[test]
fn a_stop_is_told_from_a_crash() {
    let home = Home::new();
    let (mut writer, _) = home.open(LIMITS);
    writer.append(&at(9000, What::AgentStopped)).unwrap();
    writer.settle(NINE_THIRTY).unwrap();
    drop(writer);
    let (_, recovery) = home.open(LIMITS);
    assert!(recovery.stopped);
    assert!(!{
        go_on(&home);
        home.open(LIMITS).1.stopped
    });
}

#[test]
fn every_cut_of_the_file_is_recovered() {
    let original = Home::new();
    let whole = fs::read(written(&original, 3)).unwrap();
    // Every place around the ends of lines, and some of the others.
    let near_an_end = |cut: usize| whole[cut.saturating_sub(2)..whole.len().min(cut + 2)].contains(&b'\n');
    for cut in (0..=whole.len()).filter(|cut| cut % 13 == 0 || near_an_end(*cut)) {
        let home = Home::new();
        fs::create_dir(&home.journal).unwrap();
        fs::copy(&original.key, &home.key).unwrap();
        fs::write(segment_path(&home.journal, 1, Form::Plain), &whole[..cut]).unwrap();
        let lines = whole[..cut].iter().filter(|&&byte| byte == b'\n').count() as u64;
        let recovery = go_on(&home);
        assert_eq!(recovery.last_seq, (lines > 0).then_some(lines), "cut at {cut}");
        let mut expected: Vec<u64> = (1..=lines.saturating_sub(1).min(3)).collect();
        expected.push(99);
        assert_eq!(home.statements(), expected, "cut at {cut}");
        home.assert_intact();
    }
}

#[test]
fn whole_lines_that_are_removed_are_kept_elsewhere() {
    let home = Home::new();
    let path = written(&home, 2);
    tear(&path, b"garbage\nand more");
    let recovery = go_on(&home);
    let kept = home.journal.join(recovery.kept_as.unwrap());
    assert_eq!(fs::read(kept).unwrap(), b"garbage\nand more");
    assert_eq!(home.statements(), [1, 2, 99]);
    home.assert_intact();
}

/// To go on after a record that does not fit to its checkpoint would sign the change.
#[test]
fn a_changed_record_is_not_signed_by_the_next_writer() {
    let home = Home::new();
    let (mut writer, _) = home.open(Limits { checkpoint_records: 5, ..LIMITS });
    for number in 1..=20 {
        writer.append(&statement_record(number)).unwrap();
    }
    writer.settle(NINE_THIRTY).unwrap();
    drop(writer);
    let path = segment_path(&home.journal, 1, Form::Plain);
    let text = fs::read_to_string(&path).unwrap();
    let changed = text.replacen("\"number\":9,", "\"number\":8,", 1);
    fs::write(&path, &changed).unwrap();
    assert_eq!(home.verify().verdict(), Verdict::Broken);
    let recovery = go_on(&home);
    // The first five records were signed, one of them the segment's; then five with the changed one.
    assert_eq!(home.statements(), [1, 2, 3, 4, 99]);
    let kept = fs::read_to_string(home.journal.join(recovery.kept_as.unwrap())).unwrap();
    assert!(changed.ends_with(&kept) && kept.contains("\"number\":20,"));
    home.assert_intact();
}

#[test]
fn a_long_last_line_is_found() {
    let home = Home::new();
    let mut statement = statement();
    statement.text = model::statement::Text::Whole("x".repeat(300_000).into());
    let (mut writer, _) = home.open(LIMITS);
    let what = What::Statement { session: session_id(1), number: 1, statement: Box::new(statement) };
    writer.append(&at(1, what)).unwrap();
    writer.settle(NINE_THIRTY).unwrap();
    drop(writer);
    tear(&segment_path(&home.journal, 1, Form::Plain), "y".repeat(200_000).as_bytes());
    let (_, recovery) = home.open(LIMITS);
    assert_eq!((recovery.last_seq, recovery.torn_bytes), (Some(3), 200_000));
}

#[test]
fn a_segment_that_has_not_begun_continues_the_one_before() {
    for (sealed, beginning) in [(false, &b""[..]), (false, b"{\"v\":1,"), (true, b""), (true, b"garbage\n")] {
        let home = Home::new();
        let (mut writer, _) = home.open(Limits { segment_bytes_max: 4096, ..LIMITS });
        for number in 1..=30 {
            writer.append(&statement_record(number)).unwrap();
        }
        writer.flush(NINE_THIRTY).unwrap();
        let complete = |home: &Home| segments(&home.journal).unwrap().into_iter().rev().nth(1).unwrap();
        if sealed {
            flush_until(&mut writer, |_| complete(&home).form == Form::Sealed);
        }
        drop(writer);
        let last = segments(&home.journal).unwrap().pop().unwrap();
        let lost = fs::read_to_string(&last.path).unwrap().matches("\"type\":\"statement\"").count();
        fs::write(&last.path, beginning).unwrap();
        let recovery = go_on(&home);
        assert_eq!(recovery.last_seq, Some(last.first_seq - 1));
        let mut expected: Vec<u64> = (1..=30 - lost as u64).collect();
        expected.push(99);
        assert_eq!(home.statements(), expected);
        home.assert_intact();
    }
}

#[test]
fn what_an_interrupted_sealing_leaves_is_tidied_up() {
    let home = Home::new();
    let (mut writer, _) = home.open(Limits { segment_bytes_max: 4096, ..LIMITS });
    for number in 1..=30 {
        writer.append(&statement_record(number)).unwrap();
    }
    writer.flush(NINE_THIRTY).unwrap();
    let plain = fs::read(segment_path(&home.journal, 1, Form::Plain)).unwrap();
    flush_until(&mut writer, |writer| writer.counters().sealed > 2);
    drop(writer);
    // Killed before the lines were removed, and in the middle of another one.
    fs::write(segment_path(&home.journal, 1, Form::Plain), plain).unwrap();
    fs::write(home.journal.join("segment-00000000000000000009.jsonl.zst.tmp"), "half").unwrap();
    home.assert_intact();
    let (_writer, _) = home.open(LIMITS);
    assert!(!segment_path(&home.journal, 1, Form::Plain).exists());
    assert!(home.names().iter().all(|name| !name.ends_with("tmp")), "{:?}", home.names());
    assert_eq!(home.statements(), (1..=30).collect::<Vec<_>>());
}

#[test]
fn the_heartbeat_says_since_when_nothing_was_observed() {
    let home = Home::new();
    written(&home, 1);
    let later = WallTime(NINE_THIRTY.0 + 60_000_000_000);
    Alive::open(&home.journal).unwrap().touch(later).unwrap();
    let (_, recovery) = home.open(LIMITS);
    assert_eq!(recovery.last_alive, Some(later));
    assert_eq!(recovery.unobserved_since(), Some(later));
}

#[test]
fn a_folder_has_one_writer() {
    let home = Home::new();
    let (first, _) = home.open(LIMITS);
    assert!(matches!(home.try_open(LIMITS), Err(OpenError::InUse { .. })));
    drop(first);
    home.open(LIMITS);
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let home = Home::new();
    let path = written(&home, 1);
    let target = home.key.with_extension("target");
    fs::rename(&path, &target).unwrap();
    symlink(&target, &path).unwrap();
    let before = fs::read(&target).unwrap();
    assert!(matches!(home.try_open(LIMITS), Err(OpenError::Recover { .. } | OpenError::File { .. })));
    assert_eq!(fs::read(target).unwrap(), before);
}

/// What somebody removes under a running writer is gone, and verification says so; what follows is recorded.
#[test]
fn a_removed_file_is_replaced_and_an_emptied_one_continued() {
    let home = Home::new();
    let (mut writer, _) = home.open(LIMITS);
    let mut append = |number| {
        writer.append(&statement_record(number)).unwrap();
        writer.flush(NINE_THIRTY).unwrap();
    };
    append(1);
    let path = segment_path(&home.journal, 1, Form::Plain);
    fs::remove_file(&path).unwrap();
    append(2);
    let statements = || statement_numbers(&read(&mut Reader::new(&home.journal)));
    assert_eq!(statements(), [2]);
    assert_eq!(home.verify().verdict(), Verdict::Broken);
    append(3);
    let last = segments(&home.journal).unwrap().pop().unwrap().path;
    assert_ne!(last, path, "a new segment began");
    OpenOptions::new().write(true).open(&last).unwrap().set_len(0).unwrap();
    append(4);
    append(5);
    assert_eq!(statements(), [2, 4, 5]);
}

/// The whole folder goes, and comes back empty: what is recorded from then on survives the next start.
#[test]
fn a_removed_folder_that_is_made_again_goes_on_with_a_segment_of_its_own() {
    let home = Home::new();
    let (mut writer, _) = home.open(LIMITS);
    writer.append(&statement_record(1)).unwrap();
    writer.flush(NINE_THIRTY).unwrap();
    fs::remove_dir_all(&home.journal).unwrap();
    writer.append(&statement_record(2)).unwrap();
    for _ in 0..3 {
        writer.flush(NINE_THIRTY).unwrap_err();
    }
    fs::create_dir(&home.journal).unwrap();
    for number in 2..5 {
        writer.flush(NINE_THIRTY).unwrap();
        writer.append(&statement_record(number + 1)).unwrap();
    }
    writer.flush(NINE_THIRTY).unwrap();
    let statements = || statement_numbers(&read(&mut Reader::new(&home.journal)));
    assert_eq!(statements(), [2, 3, 4, 5]);
    drop(writer);
    home.open(LIMITS);
    assert_eq!(statements(), [2, 3, 4, 5]);
}

#[test]
fn keys_are_exchanged_with_a_signed_record() {
    let home = Home::new();
    written(&home, 3);
    let old = store::keys::read_public(&home.key.with_extension("pub")).unwrap();
    let (mut writer, _) = home.open(LIMITS);
    let new = writer.rotate_key(NINE_THIRTY).unwrap();
    assert_ne!(new, old.id());
    assert_eq!(writer.key(), new);
    drop(writer);
    go_on(&home);
    // Whoever knows one of the two keys can verify all of it.
    assert_eq!(home.assert_intact().trusted[0].id(), new);
    let trust = store::verify::Trust { keys: vec![old], ..Default::default() };
    let report = store::verify::verify(&home.journal, &trust).unwrap();
    assert_eq!((report.verdict(), report.unsigned_tail, report.trusted.len()), (Verdict::Intact, 0, 2));
}

#[test]
fn an_interrupted_exchange_of_keys_is_finished_or_forgotten() {
    for recorded in [true, false] {
        let home = Home::new();
        written(&home, 1);
        let next = home.key.with_file_name("key.next");
        let before = fs::read(&home.key).unwrap();
        if recorded {
            // Killed between the record and the new name of the file.
            home.open(LIMITS).0.rotate_key(NINE_THIRTY).unwrap();
            fs::rename(&home.key, &next).unwrap();
            fs::write(&home.key, before).unwrap();
            fs::set_permissions(&home.key, fs::Permissions::from_mode(0o600)).unwrap();
        } else {
            fs::copy(Home::new().with_key().key, &next).unwrap();
        }
        go_on(&home);
        assert!(!next.exists());
        home.assert_intact();
    }
}

#[test]
fn a_key_that_was_replaced_without_the_old_one_is_told() {
    let home = Home::new();
    written(&home, 3);
    let old = store::keys::read_public(&home.key.with_extension("pub")).unwrap();
    fs::remove_file(&home.key).unwrap();
    go_on(&home);
    let verify =
        |keys| store::verify::verify(&home.journal, &store::verify::Trust { keys, ..Default::default() }).unwrap();
    let report = verify(vec![old]);
    assert_eq!(report.verdict(), Verdict::CannotVerify);
    assert_eq!((report.intact_up_to.unwrap().0, report.unvouched.len()), (5, 1));
    // The new key covers what is before it.
    home.assert_intact();
}
