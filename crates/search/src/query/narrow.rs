//! What the index says without a page: which records nobody needs to read who looks for what a filter fits, and which
//! sessions somebody means. For readers that go through the journal line by line and are exact themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use model::time::WallTime;
use store::form::identity::SessionText;
use store::line;
use store::numbers::Numbers;

use super::view::{Trouble, Unit};
use super::{Bounds, IndexState, Order, Query, Search, SearchError};
use crate::filter::{Condition, Filter, Sense, SessionPattern, Term};
use crate::index::block_set::BlockSet;
use crate::plan;
use crate::source::{Block, Blocks};
use crate::token::{self, Token};

/// There are no pages here.
const UNBOUNDED: Bounds = Bounds { hits_max: usize::MAX, blocks_max: usize::MAX };

impl Query {
    /// Numbers of records that do not fit, as far as the index knows. None of what it does not cover is among them, and
    /// none of what could not be read.
    pub fn passable<B: Blocks>(&self, source: &mut B, index: &Path) -> Result<Numbers, SearchError> {
        self.attempt(source, index, UNBOUNDED, |search| search.passable()).map(|(numbers, _)| numbers)
    }

    fn of_sessions(pattern: SessionPattern) -> Self {
        let term = Term { sense: Sense::Is, condition: Condition::Session(vec![pattern]) };
        let filter = Filter { terms: vec![term], ..Filter::default() };
        let token = Token { order: Order::OldestFirst, seq: 0, now: WallTime(0), filter: token::of_filter(b"") };
        Self { filter, token, continued: false }
    }
}

/// The sessions with this id or cookie; if there are none, those whose id begins so. Only sessions of which the journal
/// has a record of their own. `None`: without a look at every record it cannot be told, because there is no sound index,
/// or part of the journal cannot be read.
pub fn sessions<B: Blocks>(
    typed: &str,
    source: &mut B,
    index: &Path,
) -> Result<Option<BTreeSet<SessionText>>, SearchError> {
    let mut find = |pattern: SessionPattern| {
        let query = Query::of_sessions(pattern.clone());
        query.attempt(source, index, UNBOUNDED, |search| search.sessions(&pattern)).map(|(found, _)| found)
    };
    if let exact @ (SessionPattern::Whole(_) | SessionPattern::Cookie(_)) = SessionPattern::new(typed) {
        let found = find(exact)?;
        if found.as_ref().is_none_or(|found| !found.is_empty()) {
            return Ok(found);
        }
    }
    find(SessionPattern::Prefix(typed.to_ascii_lowercase()))
}

impl<B: Blocks> Search<'_, B> {
    fn passable(mut self) -> Result<Numbers, Trouble> {
        let mut wanted = vec![false; self.view.blocks.len()];
        for unit in self.units()? {
            for number in self.candidates_of(&unit)? {
                if let Some(wanted) = wanted.get_mut(number) {
                    *wanted = true;
                }
            }
        }
        let mut numbers = Numbers::default();
        let passable = self.view.blocks.iter().zip(wanted).filter(|(_, wanted)| !wanted);
        passable.for_each(|(block, _)| numbers.push(block.first_seq, block.last_seq()));
        Ok(numbers)
    }

    /// Reads of each session as little as it takes to find a record of its own: mostly one block.
    fn sessions(mut self, pattern: &SessionPattern) -> Result<Option<BTreeSet<SessionText>>, Trouble> {
        let figures = &self.page.figures;
        if figures.index != IndexState::Used || figures.unreadable_segments > 0 {
            return Ok(None);
        }
        let mut found = BTreeMap::new();
        for unit in self.units()? {
            let meant: Vec<(Box<str>, BlockSet)> = match unit.part {
                None => Vec::new(),
                Some(part) => {
                    let sessions = self.view.body(part)?.sessions.into_iter();
                    sessions.filter(|session| pattern.fits(&session.id)).map(|it| (it.id, it.blocks)).collect()
                }
            };
            for number in self.candidates_of(&unit)? {
                let mut here =
                    meant.iter().filter(|(_, blocks)| blocks.contains(number - unit.blocks.start)).peekable();
                if here.peek().is_some() && here.all(|(id, _)| found.contains_key(id)) {
                    continue;
                }
                let Some(block) = self.view.blocks.get(number) else { continue };
                if !self.add_sessions(block, pattern, &mut found)? {
                    return Ok(None);
                }
            }
        }
        Ok(Some(found.into_values().collect()))
    }

    /// Adds the sessions of a block's records; false if it cannot be read.
    fn add_sessions(
        &mut self,
        block: &Block,
        pattern: &SessionPattern,
        found: &mut BTreeMap<Box<str>, SessionText>,
    ) -> Result<bool, Trouble> {
        match self.source.read(block, &mut self.lines) {
            Ok(()) => {}
            Err(error) if error.is_gone() && !self.report_gone => return Err(Trouble::Changed),
            Err(_) => return Ok(false),
        }
        let heads = self.lines.split(|byte| *byte == b'\n').filter_map(|line| line::decode_head(line).ok());
        let sessions = heads.filter_map(|head| head.session).filter(|session| pattern.fits(session.as_str()));
        found.extend(sessions.map(|session| (session.as_str().into(), session)));
        Ok(true)
    }

    /// Numbers of the blocks of a unit that may have a record that fits.
    fn candidates_of(&self, unit: &Unit) -> Result<Vec<usize>, Trouble> {
        let Some(part) = unit.part else { return Ok(unit.blocks.clone().collect()) };
        let body = self.view.body(part)?;
        let candidates = plan::candidates(body, &self.query.filter, &self.terms, &self.late).blocks;
        Ok(unit.blocks.clone().filter(|number| candidates.contains(number - unit.blocks.start)).collect())
    }
}
