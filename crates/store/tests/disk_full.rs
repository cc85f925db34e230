//! A real full disk: a small tmpfs, mounted in a namespace of the test's own thread.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::fs;
use std::path::Path;

use common::*;
use model::record::What;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use store::files::{Form, segment_path, segments};
use store::form::event::Event;
use store::writer::{AppendError, BUFFER_BYTES_MAX, Limits, WriteError};

/// Runs `test` with a journal folder of 256 KiB; not at all if this process may not mount.
fn on_a_small_disk(test: impl FnOnce(&Home) + Send + 'static) {
    if !nix::unistd::Uid::effective().is_root() {
        println!("SKIPPED: mounting a small disk needs root");
        return;
    }
    // The namespace belongs to this thread alone and ends with it.
    let thread = std::thread::spawn(move || {
        let home = Home::new();
        fs::create_dir(&home.journal).unwrap();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        mount(Some("tmpfs"), &home.journal, Some("tmpfs"), MsFlags::empty(), Some("size=256k")).unwrap();
        test(&home);
        nix::mount::umount(&home.journal).unwrap();
    });
    thread.join().unwrap();
}

fn whole_lines(journal: &Path) -> u64 {
    let bytes = fs::read(segment_path(journal, 1, Form::Plain)).unwrap();
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "half a line is left");
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[test]
fn a_full_disk_costs_what_is_counted_and_nothing_else() {
    on_a_small_disk(|home| {
        let ballast = home.journal.join("ballast");
        fs::write(&ballast, vec![0; 150_000]).unwrap();
        let (mut writer, _) = home.open(LIMITS);
        let (mut appended, mut dropped) = (0, 0);
        while dropped < 1000 {
            match writer.append(&statement_record(appended + 1)) {
                Ok(_) | Err(AppendError::Kept(_)) => appended += 1,
                Err(AppendError::Dropped) => dropped += 1,
            }
            assert!(writer.counters().buffered_bytes < BUFFER_BYTES_MAX as u64 + 4096);
        }
        assert!(matches!(writer.flush(NINE_THIRTY), Err(WriteError::Write(_))));
        let before = whole_lines(&home.journal);
        assert_eq!((writer.counters().written, writer.written()), (before, before));
        assert!(before > 100, "the disk had space for some");

        // Space again, for a part: what fits is written, in whole lines.
        fs::remove_file(&ballast).unwrap();
        assert!(writer.flush(NINE_THIRTY).is_err());
        assert!(whole_lines(&home.journal) > before);

        // Space for all.
        mount(None::<&str>, &home.journal, None::<&str>, MsFlags::MS_REMOUNT, Some("size=64m")).unwrap();
        writer.settle(NINE_THIRTY).unwrap();
        assert_eq!(writer.counters().dropped, 1000);
        assert_eq!(writer.counters().buffered_bytes, 0);
        let entries = home.entries();
        assert_eq!(home.statements(), (1..=appended).collect::<Vec<_>>());
        // The checkpoint is the last.
        let Some(Event::Loss(loss)) = entries.iter().rev().nth(1).map(|entry| &entry.event) else { panic!("no loss") };
        assert_eq!((&*loss.kind, &*loss.stage, loss.count), ("record", "core", 1000));
        assert_eq!(home.assert_intact().losses.len(), 1);
    });
}

#[test]
fn segments_go_on_when_the_old_ones_make_room() {
    on_a_small_disk(|home| {
        let limits = Limits { segment_bytes_max: 65_536, bytes_max: 131_072, ..LIMITS };
        let (mut writer, _) = home.open(limits);
        for number in 1..=5000 {
            writer.append(&statement_record(number)).unwrap();
            if number % 20 == 0 {
                // Sealing must keep up with this loop, or the disk is full for another reason.
                flush_until(&mut writer, |_| {
                    segments(&home.journal).unwrap().iter().filter(|file| file.form == Form::Plain).count() == 1
                });
            }
        }
        assert_eq!(writer.counters().dropped, 0);
        home.assert_intact();
    });
}

#[test]
fn a_disk_that_becomes_read_only_is_told_and_costs_nothing() {
    on_a_small_disk(|home| {
        let (mut writer, _) = home.open(Limits { segment_bytes_max: 8192, ..LIMITS });
        let remount =
            |flags| mount(None::<&str>, &home.journal, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>);
        for number in 1..=10 {
            writer.append(&statement_record(number)).unwrap();
        }
        // A file that is open for writing keeps a file system writable: the next segment is what fails.
        writer.settle(NINE_THIRTY).unwrap();
        drop(writer);
        remount(MsFlags::MS_RDONLY).unwrap();
        assert!(home.try_open(LIMITS).is_err(), "nothing is pretended");
        remount(MsFlags::empty()).unwrap();
        let (mut writer, _) = home.open(LIMITS);
        writer.append(&statement_record(11)).unwrap();
        writer.settle(NINE_THIRTY).unwrap();
        assert_eq!(home.statements(), (1..=11).collect::<Vec<_>>());
        home.assert_intact();
    });
}

#[test]
fn a_record_longer_than_the_buffer_is_written() {
    let home = Home::new();
    let (mut writer, _) = home.open(LIMITS);
    let mut statement = statement();
    statement.text = model::statement::Text::Whole("\u{1}".repeat(2 << 20).into());
    let what = What::Statement { session: session_id(1), number: 2, statement: Box::new(statement) };
    writer.append(&statement_record(1)).unwrap();
    writer.append(&at(1, what)).unwrap();
    writer.append(&statement_record(3)).unwrap();
    writer.settle(NINE_THIRTY).unwrap();
    assert_eq!(home.statements(), [1, 2, 3]);
    assert!(writer.counters().written_bytes > 12 << 20);
    home.assert_intact();
}
