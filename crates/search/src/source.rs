//! Where blocks of lines come from: a journal's folder. (The tests of this crate bring journals in memory, with blocks
//! far smaller than a real one's.)

use std::io;
use std::path::{Path, PathBuf};

use store::blocks::{self, Lister};
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

/// A journal, as blocks.
pub trait Blocks {
    /// First record of the oldest segment; `None` in an empty journal.
    fn oldest(&mut self) -> Result<Option<u64>, SegmentError>;
    /// All blocks with a record after this number, oldest first.
    fn list_after(&mut self, seq: u64) -> Result<Vec<Block>, SegmentError>;
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

    fn list_after(&mut self, seq: u64) -> Result<Vec<Block>, SegmentError> {
        self.listed = self.lister.list_after(seq)?;
        let listed = self.listed.iter().enumerate().map(|(number, block)| Block {
            segment: block.segment,
            first_seq: block.first_seq,
            records: block.records.into(),
            complete: block.complete,
            number,
        });
        Ok(listed.collect())
    }

    fn read(&mut self, block: &Block, lines: &mut Vec<u8>) -> Result<(), SegmentError> {
        match self.listed.get(block.number) {
            Some(listed) if listed.first_seq == block.first_seq => blocks::read(listed, lines),
            _ => Err(SegmentError::File { path: self.directory.clone(), source: io::ErrorKind::NotFound.into() }),
        }
    }
}
