//! One session as it went: its records in order, each with the pause before it.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use model::time::WallTime;

use crate::filter::FilterError;
use crate::query::{Bounds, Figures, Hit, Order, Query, SearchError};
use crate::source::Blocks;

/// Records that are fetched at once. Each page looks at the whole journal's list of blocks, so pages are large; their
/// lines are bounded by [`crate::query::PAGE_BYTES_MAX`].
const PAGE: Bounds = Bounds { hits_max: 4096, blocks_max: usize::MAX };

/// A record of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Time since the record before; zero for the first, and where the clock went back.
    pub pause: Duration,
    /// When it happened.
    pub time: WallTime,
    /// The record.
    pub hit: Hit,
}

/// Plays the records of one session, or of all that a selector fits, from the first to the last.
#[derive(Debug)]
pub struct Transcript<'a, B> {
    source: &'a mut B,
    index: &'a Path,
    /// The next page; `None` after the last.
    query: Option<Query>,
    fetched: VecDeque<Hit>,
    before: Option<WallTime>,
    figures: Figures,
}

impl<'a, B: Blocks> Transcript<'a, B> {
    /// Begins at the first record of the session: a whole id, its beginning, or a cookie.
    pub fn new(source: &'a mut B, index: &'a Path, session: &str) -> Result<Self, FilterError> {
        let quoted = session.replace('\\', "\\\\").replace('"', "\\\"");
        let query = Query::new(format!("session:\"{quoted}\"").as_bytes(), WallTime(0), Order::OldestFirst)?;
        let query = Some(query);
        Ok(Self { source, index, query, fetched: VecDeque::new(), before: None, figures: Figures::default() })
    }

    /// How the last page was come by; what could not be read is that of all pages so far.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    fn fetch(&mut self) -> Result<(), SearchError> {
        while let Some(query) = self.query.take_if(|_| self.fetched.is_empty()) {
            let page = query.search(self.source, self.index, PAGE)?;
            self.query = page.next.map(|token| query.next(token));
            let before = std::mem::replace(&mut self.figures, page.figures);
            self.figures.unreadable_blocks += before.unreadable_blocks;
            self.figures.damaged_lines += before.damaged_lines;
            self.fetched.extend(page.hits);
        }
        Ok(())
    }
}

impl<B: Blocks> Iterator for Transcript<'_, B> {
    type Item = Result<Step, SearchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fetch() {
            return Some(Err(error));
        }
        let hit = self.fetched.pop_front()?;
        let time = hit.time;
        let nanos = self.before.map_or(0, |before| time.0.saturating_sub(before.0));
        self.before = Some(time);
        Some(Ok(Step { pause: Duration::from_nanos(nanos), time, hit }))
    }
}
