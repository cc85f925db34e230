//! Where blocks of lines come from.

use std::path::PathBuf;

/// One block: consecutive whole lines of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First record of the segment.
    pub segment: u64,
    /// First record of the block.
    pub first_seq: u64,
    /// How many records it has.
    pub records: u64,
    /// It does not grow any more.
    pub complete: bool,
    /// Its number in the list.
    pub number: usize,
}

impl Block {
    /// Its last record.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(self.records).saturating_sub(1)
    }
}

/// Why blocks cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The block was there when the journal was listed: list it again.
    #[error("{} is gone or was replaced since it was listed", path.display())]
    Gone {
        /// Segment.
        path: PathBuf,
    },
    /// It is damaged, or cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Folder or segment.
        path: PathBuf,
    },
}

/// A journal, as blocks.
pub trait Blocks {
    /// All blocks, oldest first.
    fn list(&self) -> Result<Vec<Block>, SourceError>;
    /// Replaces `lines` by the lines of a block.
    fn read(&self, block: &Block, lines: &mut Vec<u8>) -> Result<(), SourceError>;
}

impl<B: Blocks + ?Sized> Blocks for &B {
    fn list(&self) -> Result<Vec<Block>, SourceError> {
        (**self).list()
    }

    fn read(&self, block: &Block, lines: &mut Vec<u8>) -> Result<(), SourceError> {
        (**self).read(block, lines)
    }
}
