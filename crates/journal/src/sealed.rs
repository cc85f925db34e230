//! A sealed segment: its lines in independent zstd frames, then the footer. `zstd -dc` gives the lines.

use std::io;

use model::time::WallTime;
use sha2::{Digest as _, Sha256};
use zstd::bulk::{Compressor, Decompressor};

use crate::block::{self, Summary};
use crate::check::{Checked, Fault, SegmentCheck, Why};
use crate::footer::{Block, Footer};
use crate::hash::{Chain, Hash};
use crate::head;
use crate::witness::Witness;

/// Compression of sealed segments: level 6 takes seven times as long for 3 to 9 per cent (`docs/journal-format.md`).
const LEVEL: i32 = 1;

/// Longest block, which is then a single line.
pub const LINES_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// Why a segment was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It is not a whole, valid segment: it stays as it is, as evidence.
    #[error("record {} cannot be sealed: {}", .0.last, .0.why)]
    Fault(Fault),
    /// The compressor refused.
    #[error("cannot compress a block")]
    Compress(#[source] io::Error),
}

/// Seals a segment, line by line, and checks it on the way.
pub struct Sealer {
    compressor: Compressor<'static>,
    check: SegmentCheck<'static>,
    stored: Sha256,
    blocks: Vec<Block>,
    /// Lines of the block under way.
    lines: Vec<u8>,
    summary: Summary,
    chain_before: Chain,
}

impl Sealer {
    /// Before the first line of the segment whose name has this number.
    pub fn new(first_seq: u64) -> Result<Self, SealError> {
        static NO_WITNESS: Witness = Witness::none();
        Ok(Self {
            compressor: Compressor::new(LEVEL).map_err(SealError::Compress)?,
            check: SegmentCheck::new(first_seq, &NO_WITNESS),
            stored: Sha256::new(),
            blocks: Vec::new(),
            lines: Vec::new(),
            summary: Summary::default(),
            chain_before: Chain::default(),
        })
    }

    /// Takes a line without its newline; appends to `out` what is to be stored next, often nothing.
    pub fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let line_bytes = line.len().saturating_add(1);
        if self.summary.is_full_for(line_bytes) {
            self.end_block(out)?;
        }
        if self.summary.records == 0 {
            // Before the first record of all, the chain is what that record says: see `finish`.
            self.chain_before = self.check.chain();
        }
        let head = self.check.line(line).map_err(SealError::Fault)?;
        self.summary.add(&head, line_bytes);
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        Ok(())
    }

    /// Appends the last block and the footer.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<Footer, SealError> {
        self.end_block(out)?;
        let checked = self.check.finish();
        if let Some(first) = self.blocks.first_mut() {
            first.chain_before = checked.chain_before;
        }
        let footer = Footer {
            journal: checked.journal,
            first_seq: checked.first_seq,
            records: checked.records,
            chain_before: checked.chain_before,
            chain_after: checked.chain_after,
            root: checked.root,
            stored_hash: Hash(self.stored.finalize().into()),
            blocks: self.blocks,
        };
        out.extend_from_slice(&footer.encode());
        Ok(footer)
    }

    fn end_block(&mut self, out: &mut Vec<u8>) -> Result<(), SealError> {
        let Summary { first_seq, records, earliest, latest, .. } = std::mem::take(&mut self.summary);
        let frame = self.compressor.compress(&self.lines).map_err(SealError::Compress)?;
        let not_a_record = || SealError::Fault(Fault { first: first_seq, last: first_seq, why: Why::NotARecord });
        let length = |bytes: usize| u32::try_from(bytes).ok().filter(|bytes| *bytes <= LINES_BYTES_MAX);
        self.blocks.push(Block {
            offset: self.blocks.last().map_or(0, |block| block.offset.saturating_add(block.stored_bytes.into())),
            stored_bytes: length(frame.len()).ok_or_else(not_a_record)?,
            lines_bytes: length(self.lines.len()).ok_or_else(not_a_record)?,
            first_seq,
            records,
            earliest: head::wall_time(&earliest).ok_or_else(not_a_record)?,
            latest: head::wall_time(&latest).ok_or_else(not_a_record)?,
            chain_before: self.chain_before,
        });
        self.stored.update(&frame);
        out.extend_from_slice(&frame);
        self.lines.clear();
        Ok(())
    }
}

/// Takes blocks apart again; keeps its memory from one to the next.
pub struct Opener {
    decompressor: Decompressor<'static>,
}

impl Opener {
    /// A new one.
    pub fn new() -> io::Result<Self> {
        Decompressor::new().map(|decompressor| Self { decompressor })
    }

    /// Puts the lines of a block into `lines`.
    pub fn open(&mut self, block: &Block, frame: &[u8], lines: &mut Vec<u8>) -> io::Result<()> {
        let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text);
        lines.clear();
        if block.lines_bytes > LINES_BYTES_MAX {
            return Err(invalid("the block claims to be longer than any record"));
        }
        lines.reserve(block.lines_bytes as usize);
        self.decompressor.decompress_to_buffer(frame, lines)?;
        if lines.len() != block.lines_bytes as usize || lines.last() != Some(&b'\n') {
            return Err(invalid("the block has another length than its segment says"));
        }
        Ok(())
    }
}

/// The check of a sealed segment: all its stored bytes, then all its lines.
pub struct SealedCheck<'w> {
    footer: Footer,
    check: SegmentCheck<'w>,
    stored: Sha256,
    opener: Opener,
    lines: Vec<u8>,
    /// First record of the block before.
    block_before: u64,
}

impl<'w> SealedCheck<'w> {
    /// Before the first block.
    pub fn new(footer: Footer, witness: &'w Witness) -> io::Result<Self> {
        let (check, block_before) = (SegmentCheck::new(footer.first_seq, witness), footer.first_seq);
        Ok(Self { footer, check, stored: Sha256::new(), opener: Opener::new()?, lines: Vec::new(), block_before })
    }

    /// Takes the stored bytes of the next block. After an error nothing more may be given.
    pub fn block(&mut self, block: &Block, frame: &[u8]) -> Result<(), Fault> {
        self.stored.update(frame);
        let last = block.first_seq.saturating_add(block.records.into()).saturating_sub(1);
        let fault = |text: &str| Fault { first: block.first_seq, last, why: Why::Sealed(text.to_owned()) };
        if let Err(error) = self.opener.open(block, frame, &mut self.lines) {
            return Err(self.check.fail(fault(&format!("a block cannot be read, {error}"))));
        }
        if block.first_seq != self.footer.first_seq && self.check.chain() != block.chain_before {
            let last = block.first_seq.saturating_sub(1);
            let why = Why::Sealed("the block does not give the chain that the footer says".to_owned());
            return Err(self.check.fail(Fault { first: self.block_before, last, why }));
        }
        self.block_before = block.first_seq;
        let mut summary = Summary::default();
        for line in block::lines(&self.lines) {
            let line_bytes = line.len().saturating_add(1);
            if summary.is_full_for(line_bytes) {
                return Err(self.check.fail(fault("the block is larger than a block may be")));
            }
            summary.add(&self.check.line(line)?, line_bytes);
        }
        let time = |text| head::wall_time(text).unwrap_or(WallTime(u64::MAX));
        let found = (summary.records, time(&summary.earliest), time(&summary.latest));
        if found != (block.records, block.earliest, block.latest) {
            return Err(self.check.fail(fault("the footer says something else about this block")));
        }
        Ok(())
    }

    /// After the last block.
    #[must_use]
    pub fn finish(mut self) -> Checked {
        let first = self.footer.first_seq;
        let mut fault = |text: &str| {
            let fault = Fault { first, last: self.footer.last_seq(), why: Why::Sealed(text.to_owned()) };
            self.check.fail(fault);
        };
        if Hash(self.stored.finalize().into()) != self.footer.stored_hash {
            fault("the stored bytes have another digest");
        }
        let mut checked = self.check.finish();
        let footer = &self.footer;
        let said = (footer.journal, footer.records, footer.chain_before, footer.chain_after, footer.root);
        let found = (checked.journal, checked.records, checked.chain_before, checked.chain_after, checked.root);
        if checked.fault.is_none() && said != found {
            let why = Why::Sealed("the footer says something else about the segment".to_owned());
            checked.fault = Some(Fault { first, last: footer.last_seq(), why });
        }
        checked
    }
}
