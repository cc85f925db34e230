//! Where in the journal the answer is. With an index only the blocks that it leaves over are read, without one all.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

use anyhow::Result;
use search::filter::Filter;
use search::query::{Bounds, IndexState, Order, Query};
use search::source::Journal;
use store::form::event::Event;
use store::form::identity::SessionText;
use store::reader::{ReadError, Reader};
use store::select::{Fit, SessionSelector};

use super::Question;
use crate::clock;
use crate::search_view::index_folder;

/// The newest records are looked for in pages.
const PAGE: Bounds = Bounds { hits_max: 1024, blocks_max: usize::MAX };

/// A reader of what is asked for. `session` is the one that is meant.
pub(super) fn reader(question: &Question, session: Option<SessionText>) -> Result<Reader> {
    let whose = session.map(|session| format!("session:{},none", session.as_str()));
    // In quotes it is one value, whatever was typed.
    let since = question.since.as_ref().map(|since| format!("since:\"{}\"", since.replace(['"', '\\'], "?")));
    let filter = [whose, since].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let now = clock::wall();
    let query = Query::new(filter.as_bytes(), now, Order::OldestFirst)?;
    let Filter { since, .. } = *query.filter();
    let mut after = 0;
    if let Some(count) = question.last {
        let filter = format!("{filter} -type:checkpoint,segment");
        let query = Query::new(filter.as_bytes(), now, Order::NewestFirst)?;
        after = match before_last(&question.directory, query, count) {
            Some(after) => after,
            None => before_last_of(narrowed(question, session, since, 0), count)?,
        };
    }
    let reader = narrowed(question, session, since, after);
    if filter.is_empty() {
        return Ok(reader);
    }
    // An index that cannot be used is no reason not to answer; a journal that cannot be read is told by the reader.
    let passable = query.passable(&mut Journal::new(&question.directory), &index_folder(&question.directory));
    Ok(reader.pass_over(passable.unwrap_or_default()))
}

/// A reader that shows what is asked for and nothing else, and reads everything after this number.
fn narrowed(
    question: &Question,
    session: Option<SessionText>,
    since: Option<model::time::WallTime>,
    after: u64,
) -> Reader {
    let mut reader = Reader::after(&question.directory, after);
    if let Some(session) = session {
        reader = reader.select(SessionSelector::exactly(session));
    }
    match since {
        Some(since) => reader.since(since),
        None => reader,
    }
}

/// Number before that of the first of the last `count` records that fit. `None`: the index does not tell.
fn before_last(directory: &Path, mut query: Query, count: usize) -> Option<u64> {
    let (mut journal, index) = (Journal::new(directory), index_folder(directory));
    let mut left = count;
    let mut first = None;
    loop {
        let page = query.search(&mut journal, &index, Bounds { hits_max: left.min(PAGE.hits_max), ..PAGE }).ok()?;
        if page.figures.index != IndexState::Used || page.figures.is_incomplete() {
            return None;
        }
        first = page.hits.last().map(|hit| hit.seq).or(first);
        left = left.saturating_sub(page.hits.len());
        match page.next {
            Some(token) if left > 0 => query = query.next(token),
            _ if left > 0 => return Some(0),
            _ => return first.map(|seq| seq.saturating_sub(1)),
        }
    }
}

/// The same, by reading everything.
fn before_last_of(mut reader: Reader, count: usize) -> Result<u64> {
    let mut last = VecDeque::with_capacity(count);
    while let Some(entry) = reader.next_entry() {
        match entry {
            Ok(entry) if matches!(entry.event, Event::Checkpoint | Event::Segment) => {}
            Ok(entry) => {
                if last.len() == count {
                    last.pop_front();
                }
                last.push_back(entry.seq);
            }
            // Whoever is shown the records is told of it.
            Err(ReadError::Line { .. }) => {}
            Err(error @ ReadError::File { .. }) => return Err(error.into()),
        }
    }
    // With fewer, all are shown.
    Ok(if last.len() < count { 0 } else { last.front().map_or(0, |seq| seq.saturating_sub(1)) })
}

/// The sessions that `typed` means: by id or cookie, or if there are none by the beginning of their id.
pub(super) fn sessions(directory: &Path, typed: &str) -> Result<BTreeSet<SessionText>> {
    let indexed = search::query::sessions(typed, &mut Journal::new(directory), &index_folder(directory));
    if let Ok(Some(found)) = indexed {
        return Ok(found);
    }
    let selector = SessionSelector::new(typed);
    let (mut exact, mut prefix) = (BTreeSet::new(), BTreeSet::new());
    Reader::new(directory).for_each_head(|head| {
        if let Some(session) = &head.session {
            match selector.fit(session) {
                Some(Fit::Exact) => exact.insert(*session),
                Some(Fit::Prefix) => prefix.insert(*session),
                None => false,
            };
        }
    })?;
    Ok(if exact.is_empty() { prefix } else { exact })
}
