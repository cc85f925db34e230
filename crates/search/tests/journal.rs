//! A real journal in a folder: the same records are found before and after segments are sealed, with and without index.
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use model::id::{BootId, HostId};
use model::record::{Record, What};
use model::time::WallTime;
use search::index::indexer::{Indexer, Progress};
use search::query::{Bounds, IndexState, Order, Page, Query};
use search::source::Journal;
use search::transcript::Transcript;
use store::files::{self, Form};
use store::form::event::Event;
use store::keys::KeyFiles;
use store::line::Machine;
use store::reader::Reader;
use store::writer::{Limits, Writer};

/// 2026-11-22T09:30:00Z
const NOW: WallTime = WallTime(1_795_339_800_000_000_000);
const ALL: Bounds = Bounds { hits_max: usize::MAX, blocks_max: usize::MAX };

fn writer(directory: &Path) -> Writer {
    let keys = KeyFiles::load_or_create(&directory.join("key")).unwrap();
    let machine = Machine { host: HostId(1 << 96), boot: BootId(2 << 96) };
    let limits = Limits { segment_bytes_max: 700 * 1024, sync_interval: Duration::ZERO, ..Limits::default() };
    Writer::open(&directory.join("journal"), machine, limits, keys, NOW).unwrap().0
}

/// Operators with uids from 0 to 9 in turn; long verbs, so that there are several blocks in a segment.
fn append(writer: &mut Writer, records: u32) {
    for number in 0..records {
        let verb = format!("scan {number} {}", "x".repeat(2000));
        writer.append(&Record { time: NOW, what: What::OperatorCommand { verb, uid: number % 10 } }).unwrap();
    }
    writer.settle(NOW).unwrap();
}

fn search(directory: &Path, index: &Path, filter: &str) -> Page {
    let mut journal = Journal::new(directory);
    Query::new(filter.as_bytes(), NOW, Order::OldestFirst).unwrap().search(&mut journal, index, ALL).unwrap()
}

fn catch_up(indexer: &mut Indexer<Journal>) -> Progress {
    loop {
        let progress = indexer.step().unwrap();
        if progress.blocks_behind == 0 {
            return progress;
        }
    }
}

/// Seals everything but the active segment.
fn seal(writer: &mut Writer, directory: &Path) {
    let plain = || files::segments(directory).unwrap().iter().filter(|segment| segment.form == Form::Plain).count();
    let tries = (0..6000).take_while(|_| {
        writer.flush(NOW).unwrap();
        std::thread::park_timeout(Duration::from_millis(10));
        plain() > 1
    });
    assert!(tries.count() < 6000, "segments are not sealed");
}

#[test]
fn sealing_changes_nothing_that_is_found() {
    let root = tempfile::tempdir().unwrap();
    let (directory, index, none) = (root.path().join("journal"), root.path().join("index"), root.path().join("none"));
    let mut writer = writer(root.path());
    append(&mut writer, 1500);
    let mut indexer = Indexer::open(&index, Journal::new(&directory)).unwrap();
    catch_up(&mut indexer);
    let check = |uids: usize| {
        let found = search(&directory, &index, "uid:7 type:operator");
        assert_eq!(found.hits, search(&directory, &none, "uid:7 type:operator").hits);
        assert_eq!((found.hits.len(), found.figures.index), (uids, IndexState::Used));
        assert_eq!((found.figures.holes, found.figures.unreadable_blocks, found.figures.damaged_lines), (0, 0, 0));
        assert!(found.hits.iter().all(|hit| hit.entry().is_ok()));
        found
    };
    check(150);
    seal(&mut writer, &directory);
    let sealed = check(150);
    append(&mut writer, 500);
    assert!(check(200).figures.not_indexed_records > sealed.figures.not_indexed_records);
    let progress = catch_up(&mut indexer);
    assert_eq!(progress.parts_damaged, 0, "the blocks are the same after sealing");
    assert_eq!(check(200).figures.indexed_through, progress.indexed_through);
    let nobody = search(&directory, &index, "uid:77");
    assert_eq!(nobody.hits.len(), 0);
    assert!(nobody.figures.records_examined <= progress.records_behind);
}

/// Puts other bytes where a file has its end: the footer of a sealed segment is there.
fn damage_end(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let length = bytes.len();
    bytes[length - 20..].fill(0xff);
    fs::write(path, bytes).unwrap();
}

#[test]
fn one_damaged_footer_hides_no_other_segment() {
    let root = tempfile::tempdir().unwrap();
    let (directory, index, none) = (root.path().join("journal"), root.path().join("index"), root.path().join("none"));
    let mut writer = writer(root.path());
    append(&mut writer, 1500);
    seal(&mut writer, &directory);
    catch_up(&mut Indexer::open(&index, Journal::new(&directory)).unwrap());
    append(&mut writer, 100);
    let whole = search(&directory, &none, "uid:7 type:operator");
    let segments = files::segments(&directory).unwrap();
    let (damaged, next) = (&segments[1], &segments[2]);
    damage_end(&damaged.path);
    let hidden = damaged.first_seq..next.first_seq;
    let expected: Vec<u64> = whole.hits.iter().map(|hit| hit.seq).filter(|seq| !hidden.contains(seq)).collect();
    assert!(expected.len() < whole.hits.len() && expected.len() > 50);
    let check = |index: &Path, state| {
        let found = search(&directory, index, "uid:7 type:operator");
        assert_eq!(found.hits.iter().map(|hit| hit.seq).collect::<Vec<_>>(), expected);
        let figures = found.figures;
        assert_eq!((figures.index, figures.holes, figures.unreadable_segments), (state, 0, 1));
        let range = &figures.unreadable_ranges[0];
        assert_eq!((range.from, range.through), (hidden.start, Some(hidden.end - 1)));
        assert!(range.why.contains(damaged.path.to_str().unwrap()), "{}", range.why);
        assert!(figures.is_incomplete());
    };
    check(&none, IndexState::Missing);
    check(&index, IndexState::Used);
    // The indexer goes on behind the damage, and keeps what it knew before.
    let mut indexer = Indexer::open(&index, Journal::new(&directory)).unwrap();
    append(&mut writer, 900);
    let progress = catch_up(&mut indexer);
    assert_eq!((progress.parts_damaged, progress.segments_damaged), (0, 1));
    assert!(progress.indexed_through.unwrap() > whole.figures.journal_through.unwrap());
    let found = search(&directory, &index, "uid:7 type:operator");
    assert_eq!((found.figures.index, found.hits.len()), (IndexState::Used, expected.len() + 90));
    drop(indexer);
    // As an indexer finds it that has not seen it whole.
    fs::remove_dir_all(&index).unwrap();
    catch_up(&mut Indexer::open(&index, Journal::new(&directory)).unwrap());
    assert_eq!(search(&directory, &index, "uid:7 type:operator").hits, found.hits);
}

/// Numbers of the ends of agents that a reader reads; `None` if it cannot.
fn read_all(reader: &mut Reader) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    while let Some(entry) = reader.next_entry() {
        let entry = entry.ok()?;
        numbers.extend(matches!(&entry.event, Event::AgentStop).then_some(entry.seq));
    }
    Some(numbers)
}

#[test]
fn a_reader_passes_over_what_the_index_excludes_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let (directory, index, none) = (root.path().join("journal"), root.path().join("index"), root.path().join("none"));
    let mut writer = writer(root.path());
    let stop = |writer: &mut Writer| writer.append(&Record { time: NOW, what: What::AgentStopped }).unwrap();
    append(&mut writer, 700);
    stop(&mut writer);
    append(&mut writer, 700);
    seal(&mut writer, &directory);
    catch_up(&mut Indexer::open(&index, Journal::new(&directory)).unwrap());
    // One that is not indexed, and segments that wait to be sealed.
    append(&mut writer, 700);
    stop(&mut writer);
    writer.settle(NOW).unwrap();
    let passable = |index: &Path| {
        let query = Query::new(b"type:agent.stop", NOW, Order::OldestFirst).unwrap();
        query.passable(&mut Journal::new(&directory), index).unwrap()
    };
    assert!(passable(&none).is_empty());
    let narrowed = || Reader::new(&directory).pass_over(passable(&index));
    let all = read_all(&mut Reader::new(&directory)).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(read_all(&mut narrowed()).unwrap(), all);
    let mut some = narrowed();
    let read = std::iter::from_fn(|| some.next_entry()).count();
    assert!(read > 700 && read < 1000, "of 2102 records {read} were read");
    // It does not even look at the rest: there may be anything.
    let first = &files::segments(&directory).unwrap()[0];
    assert!(passable(&index).have_all(1, 200));
    damage_begin(&first.path);
    let mut journal = Journal::new(&directory);
    let mut transcript = Transcript::new(&mut journal, &none, "none").unwrap();
    let steps = (&mut transcript).map(Result::unwrap).count();
    assert!(steps > 1500 && transcript.figures().is_incomplete(), "{steps} {:?}", transcript.figures());
    assert_eq!(read_all(&mut Reader::new(&directory)), None);
    assert_eq!(read_all(&mut narrowed()).unwrap(), all);
}

/// Puts other bytes into the first block of a sealed segment.
fn damage_begin(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[100..120].fill(0xff);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_line_hides_no_other_record() {
    let root = tempfile::tempdir().unwrap();
    let (directory, none) = (root.path().join("journal"), root.path().join("none"));
    let mut writer = writer(root.path());
    append(&mut writer, 200);
    let whole = search(&directory, &none, "type:operator");
    let active = files::segments(&directory).unwrap().pop().unwrap();
    let text = fs::read_to_string(&active.path).unwrap();
    // The first line, and one in the middle.
    let damaged = text.replacen("{\"v\":1,\"seq\"", "{\"v\":1,\"sex\"", 1).replace("scan 77 ", "scan \u{0}7\" ");
    fs::write(&active.path, damaged).unwrap();
    let found = search(&directory, &none, "type:operator");
    assert_eq!(found.hits.len(), whole.hits.len() - 1);
    assert_eq!((found.figures.damaged_lines, found.figures.holes), (2, 0));
    assert_eq!(found.figures.journal_through, whole.figures.journal_through);
    assert!(found.figures.is_incomplete() && !whole.figures.is_incomplete());
}
