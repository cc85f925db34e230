//! A real full disk: a small tmpfs, mounted in a namespace of the test's own thread.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::fs;
use std::path::Path;

use common::*;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use store::form::event::Event;
use store::reader::Reader;
use store::writer::{AppendError, BUFFER_BYTES_MAX, Limits, WriteError, Writer};

/// Runs `test` in a folder of 256 KiB; false if this process may not mount.
fn on_a_small_disk(test: impl FnOnce(&Path) + Send + 'static) {
    if !nix::unistd::Uid::effective().is_root() {
        println!("SKIPPED: mounting a small disk needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    // The namespace belongs to this thread alone and ends with it.
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some("size=256k")).unwrap();
        test(&path);
    });
    thread.join().unwrap();
}

fn whole_lines(directory: &Path) -> u64 {
    let bytes = fs::read(directory.join("events.jsonl")).unwrap();
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "half a line is left");
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[test]
fn a_full_disk_costs_what_is_counted_and_nothing_else() {
    on_a_small_disk(|directory| {
        let ballast = directory.join("ballast");
        fs::write(&ballast, vec![0; 150_000]).unwrap();
        let (mut writer, _) = Writer::open(directory, MACHINE, LIMITS).unwrap();
        let (mut appended, mut dropped) = (0, 0);
        while dropped < 1000 {
            match writer.append(&statement_record(appended + 1)) {
                Ok(()) | Err(AppendError::Kept(_)) => appended += 1,
                Err(AppendError::Dropped) => dropped += 1,
            }
            assert!(writer.counters().buffered_bytes < BUFFER_BYTES_MAX as u64 + 4096);
        }
        assert!(matches!(writer.flush(), Err(WriteError::Write(_))));
        let before = whole_lines(directory);
        assert_eq!(writer.counters().written, before);
        assert!(before > 100, "the disk had space for some");

        // Space again, for a part: what fits is written, in whole lines.
        fs::remove_file(&ballast).unwrap();
        assert!(writer.flush().is_err());
        assert!(whole_lines(directory) > before);

        // Space for all: rotation away from the full disk is what an operator would do; here a larger one.
        mount(None::<&str>, directory, None::<&str>, MsFlags::MS_REMOUNT, Some("size=64m")).unwrap();
        writer.flush().unwrap();
        assert_eq!(writer.counters().dropped, 1000);
        assert_eq!(writer.counters().buffered_bytes, 0);
        let mut reader = Reader::new(directory);
        let entries: Vec<_> = std::iter::from_fn(|| reader.next_entry()).map(Result::unwrap).collect();
        assert_eq!(entries.len() as u64, appended + 1);
        assert!(entries.iter().zip(1..).all(|(entry, seq)| entry.seq == seq), "numbers have no gap");
        let Some(Event::Loss(loss)) = entries.last().map(|entry| &entry.event) else { panic!("no loss record") };
        assert_eq!((&*loss.kind, &*loss.stage, loss.count), ("record", "core", 1000));
    });
}

#[test]
fn rotation_goes_on_when_the_old_files_make_room() {
    on_a_small_disk(|directory| {
        let limits = Limits { file_bytes_max: 65_536, files_max: 3 };
        let (mut writer, _) = Writer::open(directory, MACHINE, limits).unwrap();
        for number in 1..=5000 {
            writer.append(&statement_record(number)).unwrap();
            if number % 20 == 0 {
                writer.flush().unwrap();
            }
        }
        assert_eq!(writer.counters().dropped, 0);
    });
}

#[test]
fn a_record_longer_than_the_buffer_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, _) = Writer::open(directory.path(), MACHINE, LIMITS).unwrap();
    let mut statement = statement();
    statement.text = model::statement::Text::Whole("\u{1}".repeat(2 << 20).into());
    let what = model::record::What::Statement { session: session_id(1), number: 1, statement: Box::new(statement) };
    writer.append(&statement_record(1)).unwrap();
    writer.append(&at(1, what)).unwrap();
    writer.append(&statement_record(2)).unwrap();
    writer.flush().unwrap();
    assert_eq!(writer.counters().written, 3);
    assert!(writer.counters().written_bytes > 12 << 20);
}
