//! A journal in memory with small blocks, and another answer to every question: all lines, one by one.
#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses its own part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]

pub mod brute;
pub mod generate;

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;

use model::time::WallTime;
use search::source::{Block, Blocks, Listing};
use store::segment::SegmentError;

/// Lines of a block in these tests.
pub const BLOCK_BYTES: usize = 1200;
/// 2026-11-22T09:30:00Z
pub const NOW: WallTime = WallTime(1_795_339_800_000_000_000);

/// A journal that can grow, rotate and lose its oldest segments.
#[derive(Debug, Default)]
pub struct Memory {
    segments: RefCell<Vec<Segment>>,
}

#[derive(Clone, Debug)]
struct Segment {
    first_seq: u64,
    lines: Vec<(u64, Vec<u8>)>,
}

impl Memory {
    pub fn append(&self, seq: u64, line: &str) {
        let mut segments = self.segments.borrow_mut();
        if segments.is_empty() {
            segments.push(Segment { first_seq: seq, lines: Vec::new() });
        }
        segments.last_mut().unwrap().lines.push((seq, line.as_bytes().to_vec()));
    }

    /// The next record begins a new segment.
    pub fn rotate(&self, next_seq: u64) {
        let mut segments = self.segments.borrow_mut();
        if segments.last().is_some_and(|segment| !segment.lines.is_empty()) {
            segments.push(Segment { first_seq: next_seq, lines: Vec::new() });
        }
    }

    /// Removes the oldest segments, but never the last.
    pub fn remove_oldest(&self, count: usize) {
        let mut segments = self.segments.borrow_mut();
        let count = count.min(segments.len().saturating_sub(1));
        segments.drain(..count);
    }

    pub fn segments(&self) -> usize {
        self.segments.borrow().len()
    }

    pub fn lines(&self) -> Vec<String> {
        let segments = self.segments.borrow();
        let lines = segments.iter().flat_map(|segment| &segment.lines);
        lines.map(|(_, line)| String::from_utf8(line.clone()).unwrap()).collect()
    }

    /// Blocks with their lines: cut before the line that would not fit any more.
    fn blocks(&self) -> Vec<(Block, Vec<u8>)> {
        let segments = self.segments.borrow();
        let mut blocks: Vec<(Block, Vec<u8>)> = Vec::new();
        for (number, segment) in segments.iter().enumerate() {
            let first = blocks.len();
            for (seq, line) in &segment.lines {
                let full = blocks[first..].last().is_none_or(|(_, lines)| lines.len() + line.len() > BLOCK_BYTES);
                if full {
                    let block = Block {
                        segment: segment.first_seq,
                        first_seq: *seq,
                        records: 0,
                        complete: false,
                        number: blocks.len(),
                    };
                    blocks.push((block, Vec::new()));
                }
                let (block, lines) = blocks.last_mut().unwrap();
                block.records += 1;
                lines.extend_from_slice(line);
                lines.push(b'\n');
            }
            let ended = number + 1 < segments.len();
            let count = blocks.len();
            for (at, (block, _)) in blocks.iter_mut().enumerate().skip(first) {
                block.complete = ended || at + 1 < count;
            }
        }
        blocks
    }
}

impl Blocks for &Memory {
    fn oldest(&mut self) -> Result<Option<u64>, SegmentError> {
        let segments = self.segments.borrow();
        Ok(segments.iter().find(|segment| !segment.lines.is_empty()).map(|segment| segment.first_seq))
    }

    fn list_after(&mut self, seq: u64) -> Result<Listing, SegmentError> {
        let blocks = self.blocks().into_iter().map(|(block, _)| block).filter(|block| block.last_seq() > seq).collect();
        Ok(Listing { blocks, unreadable: Vec::new() })
    }

    fn read(&mut self, block: &Block, lines: &mut Vec<u8>) -> Result<(), SegmentError> {
        let gone = || SegmentError::File { path: PathBuf::from("memory"), source: io::ErrorKind::NotFound.into() };
        let found = self.blocks().into_iter().find(|(other, _)| other.first_seq == block.first_seq);
        let (_, found) = found.ok_or_else(gone)?;
        lines.clear();
        lines.extend_from_slice(&found);
        Ok(())
    }
}
