//! What a search answers: records, where it goes on, and how the answer was come by.

use model::time::WallTime;
use store::line::{self, Entry};

use crate::token::Token;

/// A record that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its number.
    pub seq: u64,
    /// When it happened.
    pub time: WallTime,
    /// Its line as it stands in the journal, without newline.
    pub line: Vec<u8>,
}

impl Hit {
    /// The record. A line that fitted has a sound head, but may have other fields than this version knows.
    pub fn entry(&self) -> Result<Entry, serde_json::Error> {
        let head = line::decode_head(&self.line)?;
        line::decode(&head, &self.line)
    }
}

/// One page of results.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Records that fit, in the order asked for.
    pub hits: Vec<Hit>,
    /// Where the next page begins; absent at the end. That page may turn out empty.
    pub next: Option<Token>,
    /// How the page was come by.
    pub figures: Figures,
}

/// What the index could do for a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexState {
    /// There is none: all blocks were looked at.
    #[default]
    Missing,
    /// It was used.
    Used,
    /// A part of it is damaged and was not used, nor what comes after it. The indexer makes it again.
    Damaged,
}

/// Records that cannot be searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRange {
    /// The first.
    pub from: u64,
    /// The last; `None`: they are at the end of the journal, and nothing says where it is.
    pub through: Option<u64>,
    /// File and reason.
    pub why: String,
}

impl Figures {
    /// Whether something that should have been looked at could not be.
    #[must_use]
    pub const fn is_incomplete(&self) -> bool {
        self.unreadable_segments > 0 || self.unreadable_blocks > 0 || self.damaged_lines > 0
    }
}

/// How a page was come by, and what it cannot know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// First record of the journal; absent if it is empty.
    pub journal_from: Option<u64>,
    /// Last record of the journal when it was searched.
    pub journal_through: Option<u64>,
    /// State of the index.
    pub index: IndexState,
    /// Last record that the index covers; absent if none.
    pub indexed_through: Option<u64>,
    /// Records after that: they were searched without the index.
    pub not_indexed_records: u64,
    /// Blocks of the journal.
    pub blocks: usize,
    /// Blocks that were read for this page.
    pub blocks_read: usize,
    /// Records that were compared with the filter for this page.
    pub records_examined: u64,
    /// Blocks that this page should have looked at and could not read: first records of some of them.
    pub unreadable: Vec<u64>,
    /// How many such blocks.
    pub unreadable_blocks: usize,
    /// Segments, or ends of segments, of which nothing can be read: some of them.
    pub unreadable_ranges: Vec<UnreadableRange>,
    /// How many of them there are in the whole journal. Nothing in them was searched.
    pub unreadable_segments: usize,
    /// Lines that are no record, in blocks that were read.
    pub damaged_lines: u64,
    /// Numbers that no record of the journal has (first, last), of some holes: records were removed or damaged.
    pub missing: Vec<(u64, u64)>,
    /// How many such holes.
    pub holes: usize,
    /// Sessions of which the journal does not say who they are, in the parts looked at: attributes did not find them.
    /// Their opening was removed by retention, or never seen.
    pub unidentified_sessions: u64,
    /// Some of them.
    pub unidentified: Vec<String>,
    /// Attributes beyond the bound of a session, in the parts looked at.
    pub attributes_dropped: u64,
    /// Blocks in the time asked for, in the parts looked at, that tell of lost or unobserved events.
    pub incomplete_blocks: usize,
}
