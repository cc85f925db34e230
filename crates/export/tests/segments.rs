//! The real writer at work: segments begin, are sealed and removed while exports read them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use export::config::{ExportConfig, Kind};
use export::metrics::Metrics;
use model::id::{BootId, HostId};
use model::record::{Record, What};
use model::time::WallTime;
use serde_json::Value;
use store::files::{Form, segments};
use store::keys::KeyFiles;
use store::line::Machine;
use store::reader::Reader;
use store::writer::{Limits, Writer};
use support::http::{Behaviour, Receiver};
use support::{Journal, json_lines, seq, start, wait_for};

const RECORDS: u64 = 20_000;
/// 2026-11-22T09:30:00Z
const NINE_THIRTY: u64 = 1_795_339_800_000_000_000;

fn now(record: u64) -> WallTime {
    WallTime(NINE_THIRTY + record * 1_000_000)
}

fn writer(journal: &Path, key: &Path, limits: Limits) -> Writer {
    let machine = Machine { host: HostId(1), boot: BootId(2) };
    Writer::open(journal, machine, limits, KeyFiles::load_or_create(key).unwrap(), now(0)).unwrap().0
}

fn limits() -> Limits {
    Limits { segment_bytes_max: 128 << 10, sync_interval: Duration::from_millis(10), ..Limits::default() }
}

fn append(writer: &mut Writer, records: std::ops::Range<u64>) {
    for number in records {
        let uid = u32::try_from(number).unwrap();
        let what = What::OperatorCommand { verb: "scan".into(), uid };
        writer.append(&Record { time: now(number), what }).unwrap();
        if number % 100 == 0 {
            writer.flush(now(number)).unwrap();
        }
    }
}

fn sealed(journal: &Path) -> usize {
    segments(journal).unwrap().iter().filter(|segment| segment.form == Form::Sealed).count()
}

#[test]
fn segments_that_begin_and_are_sealed_are_exported_as_they_stand() {
    let journal = Journal::new();
    let key = tempfile::tempdir().unwrap();
    let mut writer = writer(journal.path(), &key.path().join("key"), limits());
    let out = key.path().join("out");
    let config = ExportConfig { file: Some(out.clone()), ..ExportConfig::new("copy", Kind::Jsonl) };
    let metrics = Metrics::new("0");
    let mut handle = start(&config, &journal, &metrics);
    for part in 0..4 {
        append(&mut writer, part * RECORDS / 4..(part + 1) * RECORDS / 4);
        if part == 1 {
            writer.rotate_key(now((part + 1) * RECORDS / 4)).unwrap();
        }
        // The next one begins in the middle of segments, sealed and not.
        handle.stop();
        handle = start(&config, &journal, &metrics);
    }
    // A segment is sealed once it is on the disk, and a writer that is left alone does not look.
    wait_for("sealed segments", || {
        writer.settle(now(RECORDS)).unwrap();
        (sealed(journal.path()) > 5).then_some(())
    });
    let last = writer.written();
    let lines = || json_lines(&std::fs::read(&out).unwrap_or_default());
    wait_for("all records", || (lines().last().and_then(seq) == Some(last)).then_some(()));
    handle.stop();
    let mut reader = Reader::new(journal.path());
    let mut expected = Vec::new();
    while let Some(entry) = reader.next_entry() {
        entry.unwrap();
        expected.extend_from_slice(reader.last_line());
        expected.push(b'\n');
    }
    assert!(std::fs::read(&out).unwrap() == expected, "byte for byte");
    assert_eq!(lines().len() as u64, last);
}

#[test]
fn segments_that_are_removed_before_their_delivery_are_told() {
    let journal = Journal::new();
    let key = tempfile::tempdir().unwrap();
    let limits = Limits { bytes_max: 512 << 10, ..limits() };
    let mut writer = writer(journal.path(), &key.path().join("key"), limits);
    let receiver = Receiver::start(|_, _| Behaviour::Take(Vec::new()));
    let config = ExportConfig { url: Some(receiver.url()), ..ExportConfig::new("hook", Kind::Webhook) };
    let metrics = Metrics::new("0");
    append(&mut writer, 0..100);
    start(&config, &journal, &metrics).stop();
    let all = || -> Vec<Value> {
        receiver
            .taken()
            .iter()
            .flat_map(|request| serde_json::from_slice::<Vec<Value>>(&request.body).unwrap())
            .collect()
    };
    let before = all().len();
    assert!(before > 0);
    let mut number = 100;
    wait_for("a removed segment", || {
        append(&mut writer, number..number + 1_000);
        number += 1_000;
        writer.settle(now(number)).unwrap();
        (segments(journal.path()).unwrap().first()?.first_seq > 2_000).then_some(())
    });
    let last = writer.written();
    let handle = start(&config, &journal, &metrics);
    wait_for("the newest", || (all().iter().filter_map(seq).max() == Some(last)).then_some(()));
    handle.stop();
    let delivered: BTreeSet<u64> = all().iter().filter_map(seq).collect();
    let told: BTreeSet<u64> = all()
        .iter()
        .filter(|record| record["stage"] == "export")
        .flat_map(|loss| {
            assert_eq!(loss["reason"], "removed");
            loss["first"].as_u64().unwrap()..=loss["last"].as_u64().unwrap()
        })
        .collect();
    assert!(!told.is_empty() && delivered.is_disjoint(&told));
    assert_eq!(delivered.union(&told).copied().collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>());
}
