//! What earlier parts know of a session that occurs again.

use std::collections::{HashMap, VecDeque};

use super::bloom;
use super::part::{Body, SESSION};
use super::stored::{PartError, StoredPart};

/// Bodies kept: the previous part, which knows nearly every session that goes on, and one more.
const BODIES_KEPT: usize = 2;

/// Attributes of a session: kind and value.
pub(crate) type Attributes = Vec<(u8, Box<str>)>;

/// A part that is needed cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a part of the index is damaged")]
pub(crate) struct HistoryError {
    /// Which one.
    pub(crate) part: usize,
    #[source]
    pub(crate) source: PartError,
}

/// The parts before the one that is being made.
#[derive(Debug)]
pub(crate) struct History<'a> {
    /// Oldest first.
    parts: &'a [StoredPart],
    bodies: &'a mut Bodies,
}

/// Parts that were read lately.
#[derive(Debug, Default)]
pub(crate) struct Bodies(VecDeque<Known>);

#[derive(Debug)]
struct Known {
    first_seq: u64,
    through_seq: u64,
    body: Body,
    sessions: HashMap<Box<str>, usize>,
}

impl<'a> History<'a> {
    pub(crate) fn new(parts: &'a [StoredPart], bodies: &'a mut Bodies) -> Self {
        Self { parts, bodies }
    }

    /// What the latest part in which a session occurs knows of it; `None` if it occurs in none.
    pub(crate) fn attributes(&mut self, session: &str) -> Result<Option<Attributes>, HistoryError> {
        let hash = bloom::hash(SESSION, session.as_bytes());
        for (part, stored) in self.parts.iter().enumerate().rev() {
            let error = |source| HistoryError { part, source };
            if let Some(known) = self.bodies.get(stored) {
                if let Some(found) = known.attributes(session) {
                    return Ok(Some(found));
                }
                continue;
            }
            if !stored.head().map_err(error)?.bloom.may_contain(hash) {
                continue;
            }
            let known = self.bodies.read(stored).map_err(error)?;
            if let Some(found) = known.attributes(session) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Bodies {
    fn get(&self, stored: &StoredPart) -> Option<&Known> {
        let extent = stored.extent();
        self.0.iter().find(|known| (known.first_seq, known.through_seq) == (extent.first_seq, extent.through_seq))
    }

    fn read(&mut self, stored: &StoredPart) -> Result<&Known, PartError> {
        let body = stored.body()?;
        let sessions = body.sessions.iter().enumerate().map(|(number, entry)| (entry.id.clone(), number)).collect();
        let extent = stored.extent();
        self.0.truncate(BODIES_KEPT - 1);
        self.0.push_front(Known { first_seq: extent.first_seq, through_seq: extent.through_seq, body, sessions });
        Ok(&self.0[0])
    }
}

impl Known {
    fn attributes(&self, session: &str) -> Option<Attributes> {
        let entry = self.body.sessions.get(*self.sessions.get(session)?)?;
        let terms = entry.terms.iter().filter_map(|term| self.body.terms.get(*term as usize));
        Some(terms.map(|term| (term.kind, term.value.clone())).collect())
    }
}
