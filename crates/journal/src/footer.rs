//! The end of a sealed segment: what is in it, where, and the digest of every byte before.
//!
//! It is a skippable frame, so that every zstd tool takes the segment for what it also is: compressed lines. All
//! numbers are little-endian.

use model::time::WallTime;

use crate::hash::{Chain, HASH_BYTES, Hash, JournalId, plain};

/// First four bytes of a skippable frame (RFC 8878, 3.1.2); sixteen values are allowed, we use the last.
const SKIPPABLE_MAGIC: [u8; 4] = 0x184D_2A5F_u32.to_le_bytes();
const FOOTER_MAGIC: [u8; 8] = *b"warder\0\x01";
const END_MAGIC: [u8; 4] = *b"wJ1\n";
/// Frame header: magic and length.
const HEADER_BYTES: usize = 8;
/// Length of the whole frame and a magic number: how a reader finds the footer from the end of the file.
pub const TRAILER_BYTES: usize = 8;
/// Most blocks of a segment; a 1 TiB segment has fewer.
const BLOCKS_MAX: u32 = 1 << 23;

/// What a sealed segment says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// Which journal.
    pub journal: JournalId,
    /// Number of the first record.
    pub first_seq: u64,
    /// Number of records.
    pub records: u64,
    /// Chain before the first record.
    pub chain_before: Chain,
    /// Chain through the last record.
    pub chain_after: Chain,
    /// Root of the tree over all records.
    pub root: Hash,
    /// SHA-256 of all bytes before the footer's frame.
    pub stored_hash: Hash,
    /// Its blocks, in order.
    pub blocks: Vec<Block>,
}

/// One frame of a sealed segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Where its frame begins in the file.
    pub offset: u64,
    /// Bytes of the frame.
    pub stored_bytes: u32,
    /// Bytes of its lines.
    pub lines_bytes: u32,
    /// Number of the first record.
    pub first_seq: u64,
    /// Number of records.
    pub records: u32,
    /// Earliest time of a record.
    pub earliest: WallTime,
    /// Latest time of a record.
    pub latest: WallTime,
    /// Chain before its first record.
    pub chain_before: Chain,
}

/// Why bytes are no footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FooterError {
    /// The end of the file is not the end of a footer.
    #[error("it does not end in a footer")]
    Absent,
    /// Its own digest is another.
    #[error("the footer was changed")]
    Changed,
    /// Its numbers contradict each other or the length of the file.
    #[error("the footer contradicts itself or the length of the file")]
    Contradictory,
}

/// Length of the footer's frame, from the last [`TRAILER_BYTES`] of the file.
pub fn frame_bytes(trailer: &[u8; TRAILER_BYTES]) -> Result<u64, FooterError> {
    let [a, b, c, d, end @ ..] = *trailer;
    if end == END_MAGIC { Ok(u32::from_le_bytes([a, b, c, d]).into()) } else { Err(FooterError::Absent) }
}

impl Footer {
    /// Number of the last record.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(self.records).saturating_sub(1)
    }

    /// Bytes before the footer's frame.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.offset.saturating_add(block.stored_bytes.into()))
    }

    /// The footer as a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&FOOTER_MAGIC);
        body.extend_from_slice(&self.journal.0);
        body.extend_from_slice(&self.first_seq.to_le_bytes());
        body.extend_from_slice(&self.records.to_le_bytes());
        for hash in [&self.chain_before.0, &self.chain_after.0, &self.root, &self.stored_hash] {
            body.extend_from_slice(&hash.0);
        }
        body.extend_from_slice(&u32::try_from(self.blocks.len()).unwrap_or(u32::MAX).to_le_bytes());
        for block in &self.blocks {
            body.extend_from_slice(&block.stored_bytes.to_le_bytes());
            body.extend_from_slice(&block.lines_bytes.to_le_bytes());
            body.extend_from_slice(&block.first_seq.to_le_bytes());
            body.extend_from_slice(&block.records.to_le_bytes());
            body.extend_from_slice(&block.earliest.0.to_le_bytes());
            body.extend_from_slice(&block.latest.0.to_le_bytes());
            body.extend_from_slice(&block.chain_before.0.0);
        }
        let body_bytes = body.len().saturating_add(HASH_BYTES).saturating_add(TRAILER_BYTES);
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        let mut frame = [&SKIPPABLE_MAGIC[..], &length(body_bytes), &body].concat();
        let hash = plain(&frame);
        frame.extend_from_slice(&hash.0);
        frame.extend_from_slice(&length(body_bytes.saturating_add(HEADER_BYTES)));
        frame.extend_from_slice(&END_MAGIC);
        frame
    }

    /// Reads a footer from its frame, the end of a file whose frames before it have `stored_bytes`.
    pub fn decode(frame: &[u8], stored_bytes: u64) -> Result<Self, FooterError> {
        let (rest, trailer) = frame.split_last_chunk::<TRAILER_BYTES>().ok_or(FooterError::Absent)?;
        if frame_bytes(trailer)? != frame.len() as u64 {
            return Err(FooterError::Changed);
        }
        let (hashed, hash) = rest.split_last_chunk::<HASH_BYTES>().ok_or(FooterError::Changed)?;
        if plain(hashed).0 != *hash {
            return Err(FooterError::Changed);
        }
        let footer = Fields(hashed).footer(frame.len()).ok_or(FooterError::Contradictory)?;
        if footer.stored_bytes() == stored_bytes && footer.is_consistent() {
            Ok(footer)
        } else {
            Err(FooterError::Contradictory)
        }
    }

    /// Blocks follow each other, and together they are the segment.
    fn is_consistent(&self) -> bool {
        let mut next_seq = self.first_seq;
        for block in &self.blocks {
            if block.first_seq != next_seq || block.records == 0 {
                return false;
            }
            next_seq = next_seq.saturating_add(block.records.into());
        }
        let first = self.blocks.first().map(|block| block.chain_before);
        first == Some(self.chain_before) && next_seq.checked_sub(self.first_seq) == Some(self.records)
    }
}

/// What is left of a frame.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn footer(mut self, frame_bytes: usize) -> Option<Footer> {
        let header = (self.array()?, u32::from_le_bytes(self.array()?), self.array()?);
        let body_bytes = u32::try_from(frame_bytes.checked_sub(HEADER_BYTES)?).ok()?;
        if header != (SKIPPABLE_MAGIC, body_bytes, FOOTER_MAGIC) {
            return None;
        }
        let mut footer = Footer {
            journal: JournalId(self.array()?),
            first_seq: self.long()?,
            records: self.long()?,
            chain_before: Chain(self.hash()?),
            chain_after: Chain(self.hash()?),
            root: self.hash()?,
            stored_hash: self.hash()?,
            blocks: Vec::new(),
        };
        let count = Some(self.int()?).filter(|count| *count <= BLOCKS_MAX)?;
        let mut offset = 0u64;
        for _ in 0..count {
            let block = self.block(offset)?;
            offset = offset.checked_add(block.stored_bytes.into())?;
            footer.blocks.push(block);
        }
        self.0.is_empty().then_some(footer)
    }

    fn block(&mut self, offset: u64) -> Option<Block> {
        Some(Block {
            offset,
            stored_bytes: self.int()?,
            lines_bytes: self.int()?,
            first_seq: self.long()?,
            records: self.int()?,
            earliest: WallTime(self.long()?),
            latest: WallTime(self.long()?),
            chain_before: Chain(self.hash()?),
        })
    }

    fn int(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn hash(&mut self) -> Option<Hash> {
        self.array().map(Hash)
    }

    fn array<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }
}
