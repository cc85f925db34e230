//! Files are bounded in size and number, and a reader follows them without a gap.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::fs;
use std::path::Path;

use common::*;
use model::record::What;
use store::form::event::Event;
use store::reader::{ReadError, Reader};
use store::select::SessionSelector;
use store::writer::{Limits, Writer};

const SMALL: Limits = Limits { file_bytes_max: 4096, files_max: 3 };

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn drain(reader: &mut Reader) -> Vec<u64> {
    std::iter::from_fn(|| reader.next_entry()).map(|entry| entry.unwrap().seq).collect()
}

#[test]
fn size_and_number_of_files_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, _) = Writer::open(directory.path(), MACHINE, SMALL).unwrap();
    for number in 1..=200 {
        writer.append(&statement_record(number)).unwrap();
        if number % 3 == 0 {
            writer.flush().unwrap();
        }
    }
    // One flush that is larger than a file.
    for number in 201..=300 {
        writer.append(&statement_record(number)).unwrap();
    }
    writer.flush().unwrap();
    assert_eq!(names(directory.path()).len(), 3, "{:?}", names(directory.path()));
    for name in names(directory.path()) {
        let path = directory.path().join(&name);
        assert!(fs::metadata(&path).unwrap().len() <= SMALL.file_bytes_max, "{name}");
        if let Some(digits) = name.strip_prefix("events-") {
            let text = fs::read_to_string(&path).unwrap();
            let head = store::line::decode_head(text.lines().next().unwrap().as_bytes()).unwrap();
            assert_eq!(format!("{:020}.jsonl", head.seq), digits);
        }
    }
    let read = drain(&mut Reader::new(directory.path()));
    assert_eq!(read.last(), Some(&300));
    assert!(read.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{read:?}");
    assert_eq!(writer.counters().written, 300);
}

#[test]
fn too_many_files_of_an_earlier_configuration_are_removed_at_the_first_flush() {
    let directory = tempfile::tempdir().unwrap();
    for seq in 1..=9 {
        fs::write(directory.path().join(store::files::rotated_name(seq)), "").unwrap();
    }
    fs::write(directory.path().join("notes.txt"), "kept").unwrap();
    let (mut writer, recovery) = Writer::open(directory.path(), MACHINE, SMALL).unwrap();
    assert_eq!(recovery.last_seq, Some(9));
    writer.flush().unwrap();
    let kept =
        [store::files::rotated_name(8), store::files::rotated_name(9), "events.jsonl".into(), "notes.txt".into()];
    assert_eq!(names(directory.path()), kept);
}

#[test]
fn a_follower_sees_every_record_over_rotations() {
    let directory = tempfile::tempdir().unwrap();
    let mut reader = Reader::new(directory.path());
    let (mut writer, _) = Writer::open(directory.path(), MACHINE, Limits { files_max: 100, ..SMALL }).unwrap();
    assert!(drain(&mut reader).is_empty());
    let mut read = Vec::new();
    for number in 1..=300 {
        writer.append(&statement_record(number)).unwrap();
        if number % 5 == 0 {
            writer.flush().unwrap();
        }
        // Looks now and then; sometimes several rotations happen in between.
        if number % 47 == 0 || number > 250 {
            read.extend(drain(&mut reader));
        }
    }
    assert_eq!(read, (1..=300).collect::<Vec<_>>());
}

#[test]
fn half_a_line_is_read_when_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let mut line = Vec::new();
    store::line::encode(&mut line, 1, MACHINE, &statement_record(1));
    let mut reader = Reader::new(directory.path());
    for cut in 0..line.len() {
        fs::write(&path, &line[..cut]).unwrap();
        assert!(reader.next_entry().is_none(), "cut at {cut}");
    }
    fs::write(&path, &line).unwrap();
    assert_eq!(drain(&mut reader), [1]);
}

#[test]
fn a_line_that_is_no_record_is_told_and_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let newer = r#"{"v":1,"seq":3,"time":"2026-11-22T09:30:00Z","type":"verdict","more":{"a":[1]}}"#;
    let stop = r#"{"v":1,"seq":4,"time":"2026-11-22T09:30:00Z","type":"agent.stop","unknown_field":true}"#;
    fs::write(directory.path().join("events.jsonl"), format!("garbage\n{newer}\n{stop}\n")).unwrap();
    let mut reader = Reader::new(directory.path());
    assert!(matches!(reader.next_entry(), Some(Err(ReadError::Line { offset: 0, .. }))));
    assert_eq!(reader.next_entry().unwrap().unwrap().event, Event::Other("verdict".into()));
    assert_eq!(reader.next_entry().unwrap().unwrap().event, Event::AgentStop);
    assert!(reader.next_entry().is_none());
}

#[test]
fn a_selector_leaves_out_other_sessions() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, _) = Writer::open(directory.path(), MACHINE, LIMITS).unwrap();
    let gap = |cookie| What::SessionGap { session: session_id(cookie), side: "client", bytes: None, reason: "lost" };
    let cancel = What::CancelRequested { session: session_id(77), pid: 1, target: Some(session_id(42)) };
    for what in [gap(4), gap(42), gap(421), What::AgentStopped, cancel] {
        writer.append(&at(1, what)).unwrap();
    }
    writer.flush().unwrap();
    let selected = |text: &str| drain(&mut Reader::new(directory.path()).select(SessionSelector::new(text)));
    assert_eq!(selected("42"), [2, 4, 5]);
    assert_eq!(selected("01234567-feedbeef-42"), [2, 3, 4, 5]);
    assert_eq!(selected("01234567-FEEDBEEF-421"), [3, 4]);
    assert_eq!(selected("nothing"), [4]);
}
