//! What a crash leaves is repaired, told, and continued.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use common::*;
use model::record::What;
use model::time::WallTime;
use store::alive::Alive;
use store::reader::Reader;
use store::recovery::Recovery;
use store::writer::{Limits, OpenError, Writer};

fn write(directory: &Path, count: u64) {
    let (mut writer, _) = Writer::open(directory, MACHINE, LIMITS).unwrap();
    for number in 1..=count {
        writer.append(&statement_record(number)).unwrap();
    }
    writer.flush().unwrap();
}

fn tear(directory: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(directory.join("events.jsonl")).unwrap().write_all(bytes).unwrap();
}

fn reopen(directory: &Path) -> (Writer, Recovery) {
    Writer::open(directory, MACHINE, LIMITS).unwrap()
}

fn seqs(directory: &Path) -> Vec<u64> {
    let mut reader = Reader::new(directory);
    std::iter::from_fn(|| reader.next_entry()).map(|entry| entry.unwrap().seq).collect()
}

#[test]
fn an_empty_folder_has_nothing_to_recover() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("events");
    let (writer, recovery) = reopen(&directory);
    assert_eq!(recovery, Recovery::default());
    assert_eq!(recovery.unobserved_since(), None);
    assert_eq!(writer.counters().written, 0);
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o750);
    assert_eq!(fs::metadata(directory.join("events.jsonl")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn numbers_continue_after_the_last_whole_record() {
    for torn in [&b""[..], b"{\"v\":1,\"seq\":6,\"ti", b"\0\0\0\0", b"x"] {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), 5);
        tear(directory.path(), torn);
        let (mut writer, recovery) = reopen(directory.path());
        let time = WallTime(NINE_THIRTY.0 + 5000);
        assert_eq!(recovery.last_seq, Some(5));
        assert_eq!((recovery.last_time, recovery.unobserved_since()), (Some(time), Some(time)));
        assert_eq!(recovery.torn_bytes, torn.len() as u64);
        assert!(!recovery.stopped);
        writer.append(&at(9, What::AgentStopped)).unwrap();
        writer.flush().unwrap();
        drop(writer);
        assert_eq!(seqs(directory.path()), [1, 2, 3, 4, 5, 6]);
        assert!(reopen(directory.path()).1.stopped);
    }
}

#[test]
fn every_cut_of_the_file_is_recovered() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 3);
    let path = directory.path().join("events.jsonl");
    let whole = fs::read(&path).unwrap();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let lines = whole[..cut].iter().filter(|&&byte| byte == b'\n').count() as u64;
        let (mut writer, recovery) = reopen(directory.path());
        assert_eq!(recovery.last_seq, (lines > 0).then_some(lines), "cut at {cut}");
        writer.append(&at(9, What::AgentStopped)).unwrap();
        writer.flush().unwrap();
        drop(writer);
        assert_eq!(seqs(directory.path()), (1..=lines + 1).collect::<Vec<_>>(), "cut at {cut}");
    }
}

#[test]
fn a_whole_but_unreadable_last_line_does_not_restart_the_numbers() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 2);
    tear(directory.path(), b"garbage\n");
    assert_eq!(reopen(directory.path()).1.last_seq, Some(2));
}

#[test]
fn a_long_last_line_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let mut statement = statement();
    statement.text = model::statement::Text::Whole("x".repeat(300_000).into());
    let (mut writer, _) = reopen(directory.path());
    let what = What::Statement { session: session_id(1), number: 1, statement: Box::new(statement) };
    writer.append(&at(1, what)).unwrap();
    writer.flush().unwrap();
    drop(writer);
    tear(directory.path(), "y".repeat(200_000).as_bytes());
    let (_, recovery) = reopen(directory.path());
    assert_eq!((recovery.last_seq, recovery.torn_bytes), (Some(1), 200_000));
}

#[test]
fn the_numbers_of_an_empty_file_come_from_the_rotated_one() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 4);
    let rotated = directory.path().join(store::files::rotated_name(1));
    fs::rename(directory.path().join("events.jsonl"), rotated).unwrap();
    assert_eq!(reopen(directory.path()).1.last_seq, Some(4));
}

#[test]
fn the_heartbeat_says_since_when_nothing_was_observed() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 1);
    let later = WallTime(NINE_THIRTY.0 + 60_000_000_000);
    Alive::open(directory.path()).unwrap().touch(later).unwrap();
    let (_, recovery) = reopen(directory.path());
    assert_eq!(recovery.last_alive, Some(later));
    assert_eq!(recovery.unobserved_since(), Some(later));
}

#[test]
fn a_folder_has_one_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = reopen(directory.path());
    let second = Writer::open(directory.path(), MACHINE, LIMITS);
    assert!(matches!(second, Err(OpenError::InUse { .. })));
    drop(first);
    reopen(directory.path());
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, "kept").unwrap();
    symlink(&target, directory.path().join("events.jsonl")).unwrap();
    let opened = Writer::open(directory.path(), MACHINE, LIMITS);
    assert!(matches!(opened, Err(OpenError::File { .. })));
    assert_eq!(fs::read_to_string(target).unwrap(), "kept");
}

#[test]
fn a_removed_file_is_replaced_and_an_emptied_one_continued() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let (mut writer, _) = Writer::open(directory.path(), MACHINE, Limits { file_bytes_max: 65_536, ..LIMITS }).unwrap();
    let mut append = |number| {
        writer.append(&statement_record(number)).unwrap();
        writer.flush().unwrap();
    };
    append(1);
    fs::remove_file(&path).unwrap();
    append(2);
    assert_eq!(seqs(directory.path()), [2]);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    append(3);
    assert_eq!(seqs(directory.path()), [3]);
}

/// A process is killed while it writes at full speed; what it wrote is whole up to its last line.
#[test]
fn nothing_but_the_last_line_is_torn_by_sigkill() {
    if let Some(directory) = std::env::var_os("STORE_TEST_WRITE_FOREVER") {
        let (mut writer, _) = reopen(Path::new(&directory));
        for number in 1.. {
            writer.append(&statement_record(number)).unwrap();
            if number % 7 == 0 {
                writer.flush().unwrap();
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_but_the_last_line_is_torn_by_sigkill"])
        .env("STORE_TEST_WRITE_FOREVER", directory.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let path = directory.path().join("events.jsonl");
    while fs::metadata(&path).map_or(0, |file| file.len()) < 500_000 {
        assert!(child.try_wait().unwrap().is_none(), "the writer ended by itself");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (_, recovery) = reopen(directory.path());
    let read = seqs(directory.path());
    assert_eq!(read.len() as u64, recovery.last_seq.unwrap());
    assert!(read.is_sorted());
}
