//! The indexer: one at a time, bounded steps, exact lag, and files that are made again when they are not as they were.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::fs;

use common::generate::{Happening, Scribe, USERS, session_id};
use common::{Memory, NOW};
use search::index::indexer::{IndexError, Indexer, Progress, STEP_BLOCKS};
use search::query::{Bounds, IndexState, Order, Page, Query};
use search::transcript::Transcript;

const ALL: Bounds = Bounds { hits_max: usize::MAX, blocks_max: usize::MAX };

/// So many statements of three sessions, each opened once.
fn fill(journal: &Memory, scribe: &mut Scribe, records: u64) {
    for number in 0..records {
        let session = u8::try_from(scribe.seq % 3).unwrap();
        let what = if scribe.seq < 3 { 0 } else { 15 };
        let pick = [1 + 2 * session, 1 + 2 * session, 3, 2 + u8::try_from(number % 50).unwrap()];
        scribe.write(journal, &Happening { what, session, pick, time: 1 });
    }
}

fn catch_up(indexer: &mut Indexer<&Memory>) -> Progress {
    loop {
        let progress = indexer.step().unwrap();
        if progress.blocks_behind == 0 {
            return progress;
        }
    }
}

fn search(journal: &Memory, index: &std::path::Path, filter: &str) -> Page {
    Query::new(filter.as_bytes(), NOW, Order::NewestFirst).unwrap().search(&mut &*journal, index, ALL).unwrap()
}

#[test]
fn steps_are_bounded_and_tell_the_lag() {
    let (directory, journal) = (tempfile::tempdir().unwrap(), Memory::default());
    let mut scribe = Scribe::default();
    fill(&journal, &mut scribe, 1000);
    let mut indexer = Indexer::open(directory.path(), &journal).unwrap();
    let first = indexer.step().unwrap();
    assert!(first.blocks_behind > STEP_BLOCKS, "{first:?}");
    assert_eq!(first.records + first.records_behind, 1000 + first.records - first.indexed_through.unwrap_or(0));
    let last = catch_up(&mut indexer);
    assert_eq!(last.journal_through, Some(1000));
    assert_eq!(last.records_behind, 1000 - last.indexed_through.unwrap(), "the growing block is not indexed");
    let idle = indexer.step().unwrap();
    assert_eq!(idle, Progress { records: 0, ..last });
}

#[test]
fn a_second_indexer_is_refused() {
    let (directory, journal) = (tempfile::tempdir().unwrap(), Memory::default());
    let first = Indexer::open(directory.path(), &journal).unwrap();
    assert!(matches!(Indexer::open(directory.path(), &journal), Err(IndexError::InUse { .. })));
    drop(first);
    Indexer::open(directory.path(), &journal).unwrap();
}

#[test]
fn figures_say_how_a_page_was_come_by() {
    let (directory, journal) = (tempfile::tempdir().unwrap(), Memory::default());
    let mut scribe = Scribe::default();
    fill(&journal, &mut scribe, 300);
    let page = search(&journal, directory.path(), "user:alice");
    assert_eq!((page.figures.index, page.figures.indexed_through), (IndexState::Missing, None));
    assert_eq!(page.figures.not_indexed_records, 300);
    let found = page.hits.len();
    assert!(found > 50);
    let progress = catch_up(&mut Indexer::open(directory.path(), &journal).unwrap());
    let page = search(&journal, directory.path(), "user:alice");
    assert_eq!(page.hits.len(), found);
    assert_eq!((page.figures.index, page.figures.indexed_through), (IndexState::Used, progress.indexed_through));
    assert_eq!(page.figures.not_indexed_records, progress.records_behind);
    let nobody = search(&journal, directory.path(), "user:nobody");
    assert_eq!((nobody.hits.len(), nobody.figures.records_examined), (0, 0), "{:?}", nobody.figures);
}

#[test]
fn damage_is_found_told_and_repaired() {
    let (directory, journal) = (tempfile::tempdir().unwrap(), Memory::default());
    let mut scribe = Scribe::default();
    for _ in 0..4 {
        fill(&journal, &mut scribe, 100);
        journal.rotate(scribe.seq + 1);
    }
    fill(&journal, &mut scribe, 100);
    catch_up(&mut Indexer::open(directory.path(), &journal).unwrap());
    let whole = search(&journal, directory.path(), "user:alice").hits;
    let mut files: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "index"));
    files.sort();
    let mut bytes = fs::read(&files[1]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&files[1], bytes).unwrap();
    let page = search(&journal, directory.path(), "user:alice");
    assert_eq!((page.figures.index, page.hits), (IndexState::Damaged, whole.clone()));
    let mut indexer = Indexer::open(directory.path(), &journal).unwrap();
    let damaged: usize = (0..files.len() * 3).map(|_| indexer.step().unwrap().parts_damaged).sum();
    assert_eq!(damaged, files.len() - 1, "the damaged part and those that build on it");
    let page = search(&journal, directory.path(), "user:alice");
    assert_eq!((page.figures.index, page.hits), (IndexState::Used, whole));
}

#[test]
fn another_version_is_made_again() {
    let (directory, journal) = (tempfile::tempdir().unwrap(), Memory::default());
    fill(&journal, &mut Scribe::default(), 50);
    fs::write(directory.path().join(format!("part-{:020}.index", 1)), b"wdrindex\x63\0\0\0 and something newer")
        .unwrap();
    assert_eq!(search(&journal, directory.path(), "user:alice").figures.index, IndexState::Damaged);
    let mut indexer = Indexer::open(directory.path(), &journal).unwrap();
    assert_eq!(indexer.step().unwrap().parts_damaged, 1);
    assert_eq!(search(&journal, directory.path(), "user:alice").figures.index, IndexState::Used);
}

#[test]
fn removed_segments_leave_the_index() {
    let (directory, journal) = (tempfile::tempdir().unwrap(), Memory::default());
    let mut scribe = Scribe::default();
    for _ in 0..5 {
        fill(&journal, &mut scribe, 50);
        journal.rotate(scribe.seq + 1);
    }
    fill(&journal, &mut scribe, 50);
    let files = || fs::read_dir(directory.path()).unwrap().count() - 1;
    let mut indexer = Indexer::open(directory.path(), &journal).unwrap();
    catch_up(&mut indexer);
    let before = files();
    journal.remove_oldest(3);
    assert_eq!(indexer.step().unwrap().parts_removed, 3);
    assert_eq!(files(), before - 3);
    let page = search(&journal, directory.path(), "user:alice");
    assert_eq!(page.figures.index, IndexState::Used);
    assert!(page.hits.iter().all(|hit| hit.seq > 150) && !page.hits.is_empty());
}

#[test]
fn lines_that_are_no_record_are_counted_and_hide_nothing() {
    let (directory, journal) = (tempfile::tempdir().unwrap(), Memory::default());
    let mut scribe = Scribe::default();
    fill(&journal, &mut scribe, 30);
    scribe.seq += 1;
    journal.append(scribe.seq, "{ this is no record");
    fill(&journal, &mut scribe, 60);
    catch_up(&mut Indexer::open(directory.path(), &journal).unwrap());
    let page = search(&journal, directory.path(), "user:nobody");
    assert_eq!((page.hits.len(), page.figures.damaged_lines), (0, 1), "a damaged block is always looked at");
    assert_eq!(search(&journal, directory.path(), "").hits.len(), 90);
}

#[test]
fn a_transcript_has_every_record_of_a_session_and_its_pauses() {
    let (directory, journal) = (tempfile::tempdir().unwrap(), Memory::default());
    let mut scribe = Scribe::default();
    fill(&journal, &mut scribe, 900);
    catch_up(&mut Indexer::open(directory.path(), &journal).unwrap());
    let steps: Vec<_> = Transcript::new(&mut &journal, directory.path(), "41").unwrap().map(Result::unwrap).collect();
    assert_eq!(steps.len(), 300);
    assert!(steps.is_sorted_by_key(|step| step.hit.seq));
    assert_eq!(steps[0].pause.as_secs(), 0);
    assert!(steps[1..].iter().all(|step| step.pause.as_secs() == 3), "every third second");
    assert!(steps[0].hit.entry().is_ok());
}

#[test]
fn sessions_that_the_journal_does_not_identify_are_told() {
    let (directory, journal) = (tempfile::tempdir().unwrap(), Memory::default());
    let mut scribe = Scribe::default();
    // Three sessions are opened in a segment that retention removes; one of them is described again after it.
    fill(&journal, &mut scribe, 30);
    journal.rotate(scribe.seq + 1);
    fill(&journal, &mut scribe, 60);
    journal.rotate(scribe.seq + 1);
    let happening = |what| Happening { what, session: 1, pick: [1, 1, 3, 2], time: 1 };
    scribe.write(&journal, &happening(1));
    // Of another only the process is known.
    scribe.write(&journal, &Happening { session: 2, ..happening(3) });
    fill(&journal, &mut scribe, 60);
    let told = |filter: &str| {
        let figures = search(&journal, directory.path(), filter).figures;
        assert_eq!(figures.unidentified_sessions, figures.unidentified.len() as u64);
        figures.unidentified
    };
    let user = format!("user:\"{}\"", USERS[1]);
    assert_eq!(told(&user), [""; 0]);
    journal.remove_oldest(1);
    let ids = |numbers: &[u8]| numbers.iter().map(|number| session_id(*number)).collect::<Vec<_>>();
    for _ in 0..2 {
        let mut found = told(&user);
        found.sort();
        assert_eq!(found, ids(&[0, 2]), "each once, though they occur in two parts");
        assert_eq!(told("type:statement"), [""; 0], "nothing was asked of them");
        // The second time with an index.
        catch_up(&mut Indexer::open(directory.path(), &journal).unwrap());
    }
}
