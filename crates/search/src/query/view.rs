//! Journal and index as a search sees them: blocks, the parts that fit them, and parts in memory for the rest.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use store::blocks::Unreadable;

use super::{Figures, IndexState, PLACES_MAX, SearchError, UnreadableRange};
use crate::index::builder::Builder;
use crate::index::history::{Bodies, History, HistoryError};
use crate::index::indexer::aligned;
use crate::index::part::{Body, Extent, Head};
use crate::index::stored::{self, PartError, StoredPart};
use crate::source::{Block, Blocks, Listing};

/// Bytes of parts in memory: some ten million records that are not indexed.
const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why an attempt to search came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A block is gone: the journal changed since it was listed.
    Changed,
    /// This part cannot be read.
    Part(usize),
    /// Another attempt would not help.
    Failed(SearchError),
}

/// Blocks that belong together.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// Numbers of the blocks.
    pub(super) blocks: Range<usize>,
    /// The part that tells of them; `None`: nothing is known of this block.
    pub(super) part: Option<usize>,
}

/// A journal with its index.
#[derive(Debug)]
pub(super) struct View {
    pub(super) blocks: Vec<Block>,
    /// Segments that should have blocks.
    unreadable: Vec<Unreadable>,
    parts: Vec<StoredPart>,
    /// All blocks, oldest first.
    pub(super) units: Vec<Unit>,
    /// Blocks that files of the index cover.
    covered: usize,
    state: IndexState,
}

impl View {
    /// Looks at journal and index. Only the first `parts_max` files are used. With `sessions_needed`, blocks that are
    /// not indexed are read for what they say of sessions.
    pub(super) fn open<B: Blocks>(
        source: &mut B,
        index: &Path,
        parts_max: usize,
        sessions_needed: bool,
        report_gone: bool,
    ) -> Result<Self, Trouble> {
        // The index first: blocks that are listed later can only be more.
        let (mut parts, mut state) = open_parts(index, parts_max).map_err(Trouble::Failed)?;
        let listing = source.list_after(0).map_err(|error| Trouble::Failed(error.into()))?;
        let oldest = listing.oldest().unwrap_or(u64::MAX);
        parts.retain(|part| part.extent().through_seq >= oldest);
        let (fitting, covered) = aligned(&parts, &listing);
        if fitting < parts.len() {
            state = IndexState::Damaged;
        }
        parts.truncate(fitting);
        let hidden: Vec<bool> =
            parts.iter().map(|part| listing.hides(part.extent().segment, part.extent().first_seq)).collect();
        let Listing { blocks, unreadable } = listing;
        let mut view = Self { blocks, unreadable, parts, units: Vec::new(), covered, state };
        let mut next = 0;
        for (part, hidden) in hidden.into_iter().enumerate() {
            let end = next + if hidden { 0 } else { view.extent(part).blocks };
            view.units.push(Unit { blocks: next..end, part: Some(part) });
            next = end;
        }
        if sessions_needed {
            view.index_rest(source, report_gone)?;
        } else {
            view.units.extend((covered..view.blocks.len()).map(|block| Unit { blocks: block..block + 1, part: None }));
        }
        Ok(view)
    }

    /// Makes parts in memory for what is not indexed.
    fn index_rest<B: Blocks>(&mut self, source: &mut B, report_gone: bool) -> Result<(), Trouble> {
        let mut bodies = Bodies::default();
        let mut builder = Builder::new();
        let mut begin = self.covered;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        for number in self.covered..self.blocks.len() {
            let Some(block) = self.blocks.get(number).copied() else { break };
            if builder.ends_before(block.segment) {
                bytes += self.keep(&builder, begin..number);
                builder = Builder::new();
                begin = number;
                if bytes > MEMORY_BYTES_MAX {
                    return Err(Trouble::Failed(SearchError::NotIndexed { records: self.not_indexed_records() }));
                }
            }
            let lines = match source.read(&block, &mut lines) {
                Ok(()) => Some(&*lines),
                Err(error) if error.is_gone() && !report_gone => return Err(Trouble::Changed),
                Err(_) => None,
            };
            let mut history = History::new(&self.parts, &mut bodies);
            builder.add(&block, lines, &mut history).map_err(|HistoryError { part, .. }| Trouble::Part(part))?;
        }
        if builder.extent().blocks > 0 {
            self.keep(&builder, begin..self.blocks.len());
        }
        Ok(())
    }

    /// Keeps a part in memory; returns its size.
    fn keep(&mut self, builder: &Builder, blocks: Range<usize>) -> usize {
        let bytes = builder.encode();
        let size = bytes.len();
        let part = StoredPart::in_memory(bytes).expect("what was just encoded can be decoded");
        self.units.push(Unit { blocks, part: Some(self.parts.len()) });
        self.parts.push(part);
        size
    }

    pub(super) fn extent(&self, part: usize) -> Extent {
        self.parts.get(part).map(|part| *part.extent()).unwrap_or_default()
    }

    pub(super) fn head(&self, part: usize) -> Result<Head, Trouble> {
        self.part(part, StoredPart::head)
    }

    pub(super) fn body(&self, part: usize) -> Result<Body, Trouble> {
        self.part(part, StoredPart::body)
    }

    fn part<T>(&self, part: usize, read: fn(&StoredPart) -> Result<T, PartError>) -> Result<T, Trouble> {
        self.parts.get(part).and_then(|stored| read(stored).ok()).ok_or(Trouble::Part(part))
    }

    fn not_indexed_records(&self) -> u64 {
        self.blocks.iter().skip(self.covered).map(|block| block.records).sum()
    }

    /// What is known before anything is read.
    pub(super) fn figures(&self) -> Figures {
        let covered = self.covered.checked_sub(1).and_then(|last| self.blocks.get(last));
        let mut figures = Figures {
            journal_from: self
                .blocks
                .iter()
                .map(|block| block.first_seq)
                .chain(self.unreadable.iter().map(|range| range.from))
                .min(),
            journal_through: self.blocks.last().map(Block::last_seq),
            index: self.state,
            indexed_through: covered.map(Block::last_seq),
            not_indexed_records: self.not_indexed_records(),
            blocks: self.blocks.len(),
            ..Figures::default()
        };
        figures.unreadable_segments = self.unreadable.len();
        for Unreadable { from, through, error, .. } in self.unreadable.iter().take(PLACES_MAX) {
            let why = words(error);
            figures.unreadable_ranges.push(UnreadableRange { from: *from, through: *through, why });
        }
        for pair in self.blocks.windows(2) {
            let [before, after] = pair else { continue };
            let expected = self.after_unreadable(before.last_seq().saturating_add(1));
            if after.first_seq > expected {
                figures.holes += 1;
                if figures.missing.len() < PLACES_MAX {
                    figures.missing.push((expected, after.first_seq - 1));
                }
            }
        }
        figures
    }

    /// The number that is due next, if those from here on are in segments that cannot be read.
    fn after_unreadable(&self, due: u64) -> u64 {
        let due_after = |due: u64, unreadable: &Unreadable| match unreadable.through {
            Some(through) if unreadable.from <= due && due <= through => through.saturating_add(1),
            _ => due,
        };
        self.unreadable.iter().fold(due, due_after)
    }
}

/// An error with its causes.
fn words(error: &dyn Error) -> String {
    let (mut all, mut cause) = (error.to_string(), error.source());
    while let Some(found) = cause {
        all = format!("{all}: {found}");
        cause = found.source();
    }
    all
}

/// The files of the index up to the first that cannot be opened.
fn open_parts(index: &Path, parts_max: usize) -> Result<(Vec<StoredPart>, IndexState), SearchError> {
    let numbers = stored::list(index).map_err(SearchError::Index)?;
    let mut parts: Vec<StoredPart> = Vec::new();
    for number in numbers.iter().take(parts_max) {
        let Ok(part) = StoredPart::open(stored::path(index, *number)) else { return Ok((parts, IndexState::Damaged)) };
        if let Some(before) = parts.last_mut() {
            before.close();
        }
        parts.push(part);
    }
    Ok((parts, if numbers.is_empty() { IndexState::Missing } else { IndexState::Used }))
}
