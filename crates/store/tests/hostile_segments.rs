//! Folders in which somebody put what is no segment: verification ends, and does not lose what it has found.
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use common::*;
use journal::verify::Verdict;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use store::files::{Form, segment_path, segments};
use store::reader::Reader;
use store::verify::{Trust, verify};
use store::writer::Limits;

/// A journal of several segments.
fn journal() -> Home {
    let home = Home::new();
    let (mut writer, _) = home.open(Limits { segment_bytes_max: 8192, ..LIMITS });
    for number in 1..=100 {
        writer.append(&statement_record(number)).unwrap();
    }
    writer.settle(NINE_THIRTY).unwrap();
    home
}

/// Fails instead of waiting for ever.
fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(act()));
    result.recv_timeout(Duration::from_secs(30)).expect("an answer in time")
}

fn behind_the_end(home: &Home) -> PathBuf {
    segment_path(&home.journal, 1_000_000, Form::Plain)
}

fn pipe(path: &Path) {
    mkfifo(path, Mode::from_bits_truncate(0o600)).unwrap();
}

#[test]
fn a_pipe_is_no_segment_and_nobody_waits_for_it() {
    let home = journal();
    pipe(&behind_the_end(&home));
    let folder = home.journal.clone();
    let error = in_time(move || verify(&folder, &Trust::default()).map(drop).unwrap_err());
    assert!(format!("{error:?}").contains("not a regular file"), "{error:?}");
    let folder = home.journal.clone();
    let read = in_time(move || {
        let mut reader = Reader::new(&folder);
        std::iter::from_fn(|| reader.next_entry()).find_map(Result::err).map(|error| format!("{error:?}"))
    });
    assert!(read.is_some_and(|error| error.contains("not a regular file")));
}

#[test]
fn what_cannot_be_read_does_not_hide_what_was_changed_before_it() {
    let home = journal();
    fs::create_dir(behind_the_end(&home)).unwrap();
    assert!(verify(&home.journal, &Trust::default()).is_err(), "it cannot be told what is in a folder");
    let second = segments(&home.journal).unwrap().remove(1).path;
    let mut bytes = fs::read(&second).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&second, bytes).unwrap();
    assert_eq!(verify(&home.journal, &Trust::default()).unwrap().verdict(), Verdict::Broken);
}
