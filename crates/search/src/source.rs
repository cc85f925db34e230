//! Where blocks of lines come from: a journal's folder. (The tests of this crate bring journals in memory, with blocks
//! far smaller than a real one's.)

use std::io;
use std::path::{Path, PathBuf};

use store::blocks::{self, Lister, Unreadable};
use store::files;
use store::segment::SegmentError;

/// One block: consecutive whole lines of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First record of the segment.
    pub segment: u64,
    /// First record of the block.
    pub first_seq: u64,
    /// How many records it has; at least one.
    pub records: u64,
    /// It does not grow any more.
    pub complete: bool,
    /// Its place in the list that it comes from; of use only to its source, until that lists again.
    pub number: usize,
}

impl Block {
    /// Its last record.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(self.records).saturating_sub(1)
    }
}

/// What a journal consists of.
#[derive(Debug, Default)]
pub struct Listing {
    /// Blocks, oldest first.
    pub blocks: Vec<Block>,
    /// Segments, or ends of segments, that are not in them, oldest first.
    pub unreadable: Vec<Unreadable>,
}

impl Listing {
    /// First record, readable or not.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let unreadable = self.unreadable.first().map(|unreadable| unreadable.from);
        self.blocks.first().map(|block| block.first_seq).into_iter().chain(unreadable).min()
    }

    /// Whether the blocks from this record of this segment on cannot be read.
    pub(crate) fn hides(&self, segment: u64, from: u64) -> bool {
        self.unreadable.iter().any(|unreadable| unreadable.segment == segment && unreadable.from <= from)
    }
}

/// A journal, as blocks.
pub trait Blocks {
    /// First record of the oldest segment; `None` in an empty journal.
    fn oldest(&mut self) -> Result<Option<u64>, SegmentError>;
    /// All blocks with a record after this number, oldest first, and what should have some and cannot be read.
    fn list_after(&mut self, seq: u64) -> Result<Listing, SegmentError>;
    /// Replaces `lines` by the lines of a block of the latest list.
    fn read(&mut self, block: &Block, lines: &mut Vec<u8>) -> Result<(), SegmentError>;
}

/// Whether reading again would fail again: the bytes are not what they were.
pub(crate) fn is_damage(error: &SegmentError) -> bool {
    match error {
        SegmentError::Damaged { .. } => true,
        SegmentError::File { source, .. } => {
            matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
    }
}

/// The journal in a folder, which an agent may be writing.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    lister: Lister,
    listed: Vec<blocks::Block>,
}

impl Journal {
    /// The journal in this folder. Nothing is read yet.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), lister: Lister::new(directory), listed: Vec::new() }
    }
}

impl Blocks for Journal {
    fn oldest(&mut self) -> Result<Option<u64>, SegmentError> {
        let segments = files::segments(&self.directory);
        let segments = segments.map_err(|source| SegmentError::File { path: self.directory.clone(), source })?;
        Ok(segments.first().map(|segment| segment.first_seq))
    }

    fn list_after(&mut self, seq: u64) -> Result<Listing, SegmentError> {
        let blocks::Listing { blocks, unreadable } = self.lister.list_readable_after(seq)?;
        self.listed = blocks;
        let listed = self.listed.iter().enumerate().map(|(number, block)| Block {
            segment: block.segment,
            first_seq: block.first_seq,
            records: block.records.into(),
            complete: block.complete,
            number,
        });
        Ok(Listing { blocks: listed.collect(), unreadable })
    }

    fn read(&mut self, block: &Block, lines: &mut Vec<u8>) -> Result<(), SegmentError> {
        match self.listed.get(block.number) {
            Some(listed) if listed.first_seq == block.first_seq => blocks::read(listed, lines),
            _ => Err(SegmentError::File { path: self.directory.clone(), source: io::ErrorKind::NotFound.into() }),
        }
    }
}
