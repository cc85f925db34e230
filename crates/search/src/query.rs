//! Searches a journal, page by page.
//!
//! The order of results is the order of the journal: by sequence number. The index narrows the blocks; every record of
//! a remaining block is compared with the filter itself. What the index does not cover yet is read too, so a result is
//! never older than the journal was when the search began, and [`Figures`] says how it was come by.

mod narrow;
mod page;
mod view;

use std::collections::HashSet;
use std::path::Path;

use model::time::WallTime;
use store::segment::SegmentError;

use crate::fields::Head;
use crate::filter::{Filter, FilterError, Key};
use crate::matching::{self, Fitting, SessionTerms};
use crate::plan::{self, Candidates, Late, Recorded};
use crate::source::{Block, Blocks};
use crate::token::{self, Token, TokenError};
pub use narrow::sessions;
pub use page::{Figures, Hit, IndexState, Page, UnreadableRange};
use view::{Trouble, Unit, View};

/// Bytes of lines from which on a page takes no further record; one record is always taken.
pub const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Damaged or missing places that are listed; more are counted.
pub const PLACES_MAX: usize = 16;
/// Unidentified sessions that are told apart; beyond, one that occurs in several parts is counted in each.
const UNIDENTIFIED_MAX: usize = 100_000;
/// How often the journal is listed again because it changed under the search.
const CHANGES_MAX: usize = 8;

/// Which records come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Highest sequence number first.
    #[default]
    NewestFirst,
    /// Lowest sequence number first.
    OldestFirst,
}

/// How much one page may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most records.
    pub hits_max: usize,
    /// Most blocks that are read; a page may then be short, and the next one goes on.
    pub blocks_max: usize,
}

/// A search, at one of its pages.
#[derive(Clone, Debug)]
pub struct Query {
    filter: Filter,
    token: Token,
    /// Not the first page.
    continued: bool,
}

/// Why the next page cannot be searched for.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The filter is wrong.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The token is wrong.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The journal cannot be listed or read.
    #[error("cannot read the journal")]
    Journal(#[from] SegmentError),
    /// The folder of the index is there and cannot be listed.
    #[error("cannot list the index")]
    Index(#[source] std::io::Error),
    /// Nothing fits, and nothing that could fit is recorded: not the same as an empty result.
    #[error(
        "{key:?} finds nothing because the journal has nothing like it at that time: it is not recorded before facts are \
         enabled; user, uid, login, exe and text are recorded",
        key = key.to_string()
    )]
    NotRecorded {
        /// Key of the term.
        key: Key,
    },
    /// So much is not indexed that its sessions do not fit in memory.
    #[error("{records} records are not indexed yet, too many to search without an index; let the index catch up first")]
    NotIndexed {
        /// How many.
        records: u64,
    },
}

impl Query {
    /// A search from its first page. `now` is what `24h` counts back from.
    pub fn new(filter: &[u8], now: WallTime, order: Order) -> Result<Self, FilterError> {
        let seq = match order {
            Order::NewestFirst => u64::MAX,
            Order::OldestFirst => 0,
        };
        let token = Token { order, seq, now, filter: token::of_filter(filter) };
        Ok(Self { filter: Filter::parse(filter, now)?, token, continued: false })
    }

    /// The next page of a search, from the same filter and the token of the page before.
    pub fn resume(filter: &[u8], token: &str) -> Result<Self, ResumeError> {
        let token = Token::parse(token)?;
        if token.filter != token::of_filter(filter) {
            return Err(TokenError::OtherFilter.into());
        }
        Ok(Self { filter: Filter::parse(filter, token.now)?, token, continued: true })
    }

    /// The search at the page after this one.
    #[must_use]
    pub fn next(&self, token: Token) -> Self {
        Self { token, continued: true, ..self.clone() }
    }

    /// What is searched for.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Searches for one page. `index` is the folder of the index, which may be missing, behind or damaged.
    pub fn search<B: Blocks>(&self, source: &mut B, index: &Path, bounds: Bounds) -> Result<Page, SearchError> {
        let (mut page, state) = self.attempt(source, index, bounds, |search| search.run())?;
        if state == IndexState::Damaged {
            page.figures.index = state;
        }
        Ok(page)
    }

    /// Does something with journal and index as they are now: again if the journal changed meanwhile, and without the
    /// damaged parts of the index.
    fn attempt<B: Blocks, T>(
        &self,
        source: &mut B,
        index: &Path,
        bounds: Bounds,
        work: impl Fn(Search<'_, B>) -> Result<T, Trouble>,
    ) -> Result<(T, IndexState), SearchError> {
        let (mut parts_max, mut state) = (usize::MAX, IndexState::Used);
        let mut change = 0;
        loop {
            let last = change >= CHANGES_MAX;
            let view = View::open(source, index, parts_max, plan::needs_attributes(&self.filter), last);
            match view.and_then(|view| work(Search::new(self, source, &view, bounds, last))) {
                Ok(done) => return Ok((done, state)),
                Err(Trouble::Changed) => {}
                Err(Trouble::Part(_)) if change == 0 => {}
                Err(Trouble::Part(part)) => (parts_max, state) = (parts_max.min(part), IndexState::Damaged),
                Err(Trouble::Failed(error)) => return Err(error),
            }
            change += 1;
        }
    }
}

/// One page in the making.
struct Search<'a, B> {
    query: &'a Query,
    source: &'a mut B,
    view: &'a View,
    bounds: Bounds,
    /// Blocks that are gone are reported: listing the journal again has not helped.
    report_gone: bool,
    terms: SessionTerms<'a>,
    late: Late,
    unidentified: HashSet<Box<str>>,
    /// What was met that facts and identity are asked of.
    recorded: Recorded,
    page: Page,
    page_bytes: usize,
    lines: Vec<u8>,
}

/// A line that fits.
struct Found<'l> {
    seq: u64,
    time: WallTime,
    line: &'l [u8],
}

/// Whether a page goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    More,
    Full,
}

impl<'a, B: Blocks> Search<'a, B> {
    fn new(query: &'a Query, source: &'a mut B, view: &'a View, bounds: Bounds, report_gone: bool) -> Self {
        let page = Page { figures: view.figures(), ..Page::default() };
        let terms = SessionTerms::of(&query.filter);
        let late = Late::default();
        let (unidentified, lines) = (HashSet::new(), Vec::new());
        let recorded = Recorded::default();
        Self {
            query,
            source,
            view,
            bounds,
            report_gone,
            terms,
            late,
            unidentified,
            recorded,
            page,
            page_bytes: 0,
            lines,
        }
    }

    fn run(mut self) -> Result<Page, Trouble> {
        let mut units = self.units()?;
        if self.query.token.order == Order::NewestFirst {
            units.reverse();
        }
        for unit in units {
            if self.unit(&unit)? == Flow::Full {
                break;
            }
        }
        match self.not_recorded()? {
            Some(key) => Err(Trouble::Failed(SearchError::NotRecorded { key })),
            None => Ok(self.page),
        }
    }

    /// The key for which nothing was found because nothing like it is recorded in that time.
    fn not_recorded(&mut self) -> Result<Option<Key>, Trouble> {
        let found_nothing = self.page.hits.is_empty() && self.page.next.is_none() && !self.query.continued;
        let filter = &self.query.filter;
        let is_whole = !self.page.figures.is_incomplete();
        if !found_nothing || !is_whole || Recorded::default().lacks(filter).is_none() {
            return Ok(None);
        }
        for part in self.view.units.iter().rev().filter_map(|unit| unit.part) {
            let extent = self.view.extent(part);
            if self.recorded.lacks(filter).is_some() && filter.overlaps(wall(extent.earliest), wall(extent.latest)) {
                self.recorded.add(&self.view.body(part)?);
            }
        }
        Ok(self.recorded.lacks(filter))
    }

    /// The units that may have a record that fits, oldest first.
    fn units(&mut self) -> Result<Vec<Unit>, Trouble> {
        let mut units = Vec::new();
        // From the newest on: what is late for a part is said by newer ones.
        for unit in self.view.units.iter().rev() {
            let Some(part) = unit.part else {
                units.push(unit.clone());
                continue;
            };
            let head = self.view.head(part)?;
            if self.is_ahead(unit) && plan::may_fit(&head, &self.query.filter, &self.terms, &self.late) {
                units.push(unit.clone());
            }
            self.late.add(&head, &self.terms);
        }
        units.reverse();
        Ok(units)
    }

    /// Whether a unit has records after the place where the page begins.
    fn is_ahead(&self, unit: &Unit) -> bool {
        let blocks = self.view.blocks.get(unit.blocks.clone()).unwrap_or_default();
        blocks.iter().any(|block| self.is_block_ahead(block))
    }

    fn is_block_ahead(&self, block: &Block) -> bool {
        match self.query.token.order {
            Order::NewestFirst => block.first_seq < self.query.token.seq,
            Order::OldestFirst => block.last_seq() > self.query.token.seq,
        }
    }

    fn unit(&mut self, unit: &Unit) -> Result<Flow, Trouble> {
        let candidates = match unit.part {
            None => None,
            Some(part) => {
                let extent = self.view.extent(part);
                let body = self.view.body(part)?;
                let found = plan::candidates(body, &self.query.filter, &self.terms, &self.late);
                let figures = &mut self.page.figures;
                for session in &found.unidentified {
                    if self.unidentified.len() >= UNIDENTIFIED_MAX || self.unidentified.insert(session.clone()) {
                        figures.unidentified_sessions += 1;
                        if figures.unidentified.len() < PLACES_MAX {
                            figures.unidentified.push(session.to_string());
                        }
                    }
                }
                figures.attributes_dropped += extent.attributes_dropped;
                figures.incomplete_blocks += found.incomplete.len();
                Some(found)
            }
        };
        let mut numbers: Vec<usize> = unit.blocks.clone().collect();
        if self.query.token.order == Order::NewestFirst {
            numbers.reverse();
        }
        let Candidates { blocks, fitting, .. } = candidates.unwrap_or_default();
        for number in numbers {
            let Some(block) = self.view.blocks.get(number) else { continue };
            let wanted = unit.part.is_none() || blocks.contains(number - unit.blocks.start);
            if wanted && self.is_block_ahead(block) && self.block(block, &fitting)? == Flow::Full {
                return Ok(Flow::Full);
            }
        }
        Ok(Flow::More)
    }

    fn block(&mut self, block: &Block, fitting: &Fitting) -> Result<Flow, Trouble> {
        if self.page.figures.blocks_read >= self.bounds.blocks_max || self.page.hits.len() >= self.bounds.hits_max {
            return Ok(Flow::Full);
        }
        self.page.figures.blocks_read += 1;
        let mut lines = std::mem::take(&mut self.lines);
        match self.source.read(block, &mut lines) {
            Ok(()) => {}
            Err(error) if error.is_gone() && !self.report_gone => return Err(Trouble::Changed),
            Err(_) => {
                let figures = &mut self.page.figures;
                figures.unreadable_blocks += 1;
                if figures.unreadable.len() < PLACES_MAX {
                    figures.unreadable.push(block.first_seq);
                }
                lines.clear();
            }
        }
        let flow = self.take_hits(block, &lines, fitting);
        self.lines = lines;
        Ok(flow)
    }

    /// Takes the records of a block that fit.
    fn take_hits(&mut self, block: &Block, lines: &[u8], fitting: &Fitting) -> Flow {
        let mut found = self.fitting_lines(lines, fitting);
        let token = &self.query.token;
        match token.order {
            Order::NewestFirst => found.reverse(),
            Order::OldestFirst => {}
        }
        let mut seq = match token.order {
            Order::NewestFirst => block.first_seq,
            Order::OldestFirst => block.last_seq().max(found.last().map_or(0, |hit| hit.seq)),
        };
        let mut flow = Flow::More;
        let mut left = found.len();
        for Found { seq: found_seq, time, line } in found {
            left -= 1;
            self.page_bytes += line.len();
            self.page.hits.push(Hit { seq: found_seq, time, line: line.to_vec() });
            if self.page.hits.len() >= self.bounds.hits_max || self.page_bytes >= PAGE_BYTES_MAX {
                flow = Flow::Full;
                if left > 0 {
                    seq = found_seq;
                }
                break;
            }
        }
        let full = flow == Flow::Full || self.page.figures.blocks_read >= self.bounds.blocks_max;
        self.page.next = full.then_some(Token { seq, ..*token });
        if full { Flow::Full } else { Flow::More }
    }

    fn fitting_lines<'l>(&mut self, lines: &'l [u8], fitting: &Fitting) -> Vec<Found<'l>> {
        let token = &self.query.token;
        let mut found = Vec::new();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Some(head) = Head::parse(line) else {
                self.page.figures.damaged_lines += 1;
                continue;
            };
            let ahead = match token.order {
                Order::NewestFirst => !self.query.continued || head.seq < token.seq,
                Order::OldestFirst => head.seq > token.seq,
            };
            self.page.figures.records_examined += u64::from(ahead);
            self.recorded.judged |= head.verdict.is_some() && self.query.filter.covers(head.time.0);
            if ahead && matching::fits(&self.query.filter, &self.terms, fitting, &head, line) {
                found.push(Found { seq: head.seq, time: head.time.0, line });
            }
        }
        found
    }
}

/// A time in a part.
pub(crate) fn wall(nanos: u64) -> WallTime {
    WallTime(nanos)
}
