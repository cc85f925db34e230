//! The journal in pieces that never change once they are complete: what indexes and exports work through.
//!
//! A block of a sealed segment is one compressed frame. A segment that is not sealed yet is cut at the same places,
//! because where a block ends depends on its lines only (`journal::block`). So a block that was seen before its segment
//! was sealed is found again after it, under the same first number.
//!
//! What cannot be read is not passed over in silence: a [`Listing`] names it.

use std::collections::HashMap;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use journal::block::Summary;
use journal::footer;
use journal::head;
use journal::sealed::Opener;
use model::time::WallTime;

use crate::files::{self, Form, SegmentFile};
use crate::segment::{self, Lines, SegmentError};

/// Some records of one segment, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Number of the first record of the segment.
    pub segment: u64,
    /// Number of the first record.
    pub first_seq: u64,
    /// Number of records.
    pub records: u32,
    /// Bytes of their lines, newlines included.
    pub lines_bytes: u64,
    /// Earliest time of a record.
    pub earliest: WallTime,
    /// Latest time of a record.
    pub latest: WallTime,
    /// False: the last block of the active segment, to which records are still added.
    pub complete: bool,
    directory: Arc<Path>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Sealed(footer::Block),
    /// Where its lines begin in the plain segment.
    Plain(u64),
}

impl Block {
    /// Number of the last record.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.records)).saturating_sub(1)
    }
}

/// The blocks of a folder, and what of it cannot be read.
#[derive(Debug, Default)]
pub struct Listing {
    /// Blocks in order. The last one may not be complete.
    pub blocks: Vec<Block>,
    /// What is not in them, in order.
    pub unreadable: Vec<Unreadable>,
}

/// A segment, or the rest of one, whose blocks are not known.
#[derive(Debug)]
pub struct Unreadable {
    /// Number of the first record of the segment.
    pub segment: u64,
    /// Number of the first record that cannot be read.
    pub from: u64,
    /// Number of the last one; `None`: the segment is the last of the journal, and nothing says where it ends.
    pub through: Option<u64>,
    /// Why.
    pub error: SegmentError,
}

/// All blocks of a folder in order. The last one may not be complete.
pub fn list(directory: &Path) -> Result<Vec<Block>, SegmentError> {
    Lister::new(directory).list_after(0)
}

/// Puts the lines of a block into `lines`, newlines included. Fails with an error that [`SegmentError::is_gone`] if
/// retention has removed it.
pub fn read(block: &Block, lines: &mut Vec<u8>) -> Result<(), SegmentError> {
    match block.place {
        Place::Sealed(place) => read_sealed(block, &place, lines),
        Place::Plain(offset) => match read_plain(block, offset, lines) {
            Err(error) if error.is_gone() => {
                // It was sealed since.
                let path = files::segment_path(&block.directory, block.segment, Form::Sealed);
                let file = files::open_segment(&path).map_err(SegmentError::file(&path))?;
                let footer = segment::footer(&path, &file)?;
                let found = footer.blocks.iter().find(|found| found.first_seq == block.first_seq);
                let found = found.ok_or_else(|| SegmentError::damaged(&path, "it was sealed with other blocks"))?;
                read_sealed(block, found, lines)
            }
            other => other,
        },
    }
}

fn read_plain(block: &Block, offset: u64, lines: &mut Vec<u8>) -> Result<(), SegmentError> {
    let path = files::segment_path(&block.directory, block.segment, Form::Plain);
    let file = files::open_segment(&path).map_err(SegmentError::file(&path))?;
    lines.clear();
    lines.resize(usize::try_from(block.lines_bytes).unwrap_or(usize::MAX), 0);
    file.read_exact_at(lines, offset).map_err(SegmentError::file(&path))
}

fn read_sealed(block: &Block, place: &footer::Block, lines: &mut Vec<u8>) -> Result<(), SegmentError> {
    let path = files::segment_path(&block.directory, block.segment, Form::Sealed);
    let file = files::open_segment(&path).map_err(SegmentError::file(&path))?;
    let mut frame = Vec::new();
    let opened = segment::read_block(&file, place, &mut frame).and_then(|()| Opener::new()?.open(place, &frame, lines));
    opened.map_err(SegmentError::file(&path))
}

/// Lists blocks again and again without reading again what it has seen of segments that are not sealed.
#[derive(Debug)]
pub struct Lister {
    directory: Arc<Path>,
    plain: HashMap<u64, Scan>,
}

/// How far a plain segment was cut into blocks.
#[derive(Debug, Default)]
struct Scan {
    complete: Vec<Block>,
    /// The block after them, and where it begins.
    growing: Summary,
    growing_offset: u64,
}

impl Lister {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.into(), plain: HashMap::new() }
    }

    /// All blocks with a record after this number, in order. The last one may not be complete. Fails if one of the
    /// segments cannot be read.
    pub fn list_after(&mut self, seq: u64) -> Result<Vec<Block>, SegmentError> {
        let Listing { blocks, unreadable } = self.list_readable_after(seq)?;
        unreadable.into_iter().next().map_or(Ok(blocks), |unreadable| Err(unreadable.error))
    }

    /// The blocks with a record after this number, and the segments that cannot be read. Fails only if the folder
    /// cannot be read.
    pub fn list_readable_after(&mut self, seq: u64) -> Result<Listing, SegmentError> {
        let segments = files::segments(&self.directory).map_err(SegmentError::file(&self.directory))?;
        self.plain.retain(|first_seq, _| {
            segments.iter().any(|segment| segment.first_seq == *first_seq && segment.form == Form::Plain)
        });
        let wanted = segments.partition_point(|segment| segment.first_seq <= seq.saturating_add(1)).saturating_sub(1);
        let Listing { mut blocks, mut unreadable } = Listing::default();
        for (at, segment) in segments.iter().enumerate().skip(wanted) {
            let next = segments.get(at + 1);
            let added = match self.add(segment, next.is_none(), &mut blocks) {
                Err(error) if error.is_gone() => self.add_sealed_since(segment, &mut blocks),
                other => other,
            };
            if let Err(error) = added {
                let listed = blocks.last().filter(|block| block.segment == segment.first_seq);
                let from = listed.map_or(segment.first_seq, |block| block.last_seq().saturating_add(1));
                let through = next.map(|next| next.first_seq.saturating_sub(1));
                unreadable.push(Unreadable { segment: segment.first_seq, from, through, error });
            }
        }
        let old = blocks.partition_point(|block| block.last_seq() <= seq);
        blocks.drain(..old);
        unreadable.retain(|unreadable| unreadable.through.is_none_or(|through| through > seq));
        Ok(Listing { blocks, unreadable })
    }

    fn add(&mut self, segment: &SegmentFile, is_last: bool, blocks: &mut Vec<Block>) -> Result<(), SegmentError> {
        match segment.form {
            Form::Sealed => self.add_sealed(segment.first_seq, &segment.path, blocks),
            Form::Plain => {
                let scan = self.plain.entry(segment.first_seq).or_default();
                let read = scan.go_on(segment, &self.directory);
                if read.as_ref().is_err_and(SegmentError::is_gone) {
                    return read;
                }
                blocks.extend_from_slice(&scan.complete);
                blocks.extend(scan.growing_block(segment.first_seq, &self.directory, !is_last));
                read
            }
        }
    }

    /// It was listed as plain and is sealed now, or removed.
    fn add_sealed_since(&self, segment: &SegmentFile, blocks: &mut Vec<Block>) -> Result<(), SegmentError> {
        let path = files::segment_path(&self.directory, segment.first_seq, Form::Sealed);
        match self.add_sealed(segment.first_seq, &path, blocks) {
            Err(error) if error.is_gone() => Ok(()),
            other => other,
        }
    }

    fn add_sealed(&self, segment: u64, path: &Path, blocks: &mut Vec<Block>) -> Result<(), SegmentError> {
        let file = files::open_segment(path).map_err(SegmentError::file(path))?;
        let footer = segment::footer(path, &file)?;
        blocks.extend(footer.blocks.into_iter().map(|block| Block {
            segment,
            first_seq: block.first_seq,
            records: block.records,
            lines_bytes: block.lines_bytes.into(),
            earliest: block.earliest,
            latest: block.latest,
            complete: true,
            directory: Arc::clone(&self.directory),
            place: Place::Sealed(block),
        }));
        Ok(())
    }
}

impl Scan {
    /// Reads the lines that were added since. A line that is no record counts as the record that was due there: whoever
    /// reads the block sees what it is.
    fn go_on(&mut self, segment: &SegmentFile, directory: &Arc<Path>) -> Result<(), SegmentError> {
        let path = &segment.path;
        let file = files::open_segment(path).map_err(SegmentError::file(path))?;
        let mut lines = Lines::new(file);
        let mut end = self.growing_offset + self.growing.bytes as u64;
        lines.start_at(end).map_err(SegmentError::file(path))?;
        while let Some(line) = lines.next_line().map_err(SegmentError::file(path))? {
            let line_bytes = line.len() + 1;
            if self.growing.is_full_for(line_bytes) {
                self.complete.extend(self.growing_block(segment.first_seq, directory, true));
                (self.growing, self.growing_offset) = (Summary::default(), end);
            }
            match head::parse(line) {
                Some(head) => self.growing.add(&head, line_bytes),
                None => self.growing.add_unknown(self.due(segment.first_seq), line_bytes),
            }
            end += line_bytes as u64;
        }
        Ok(())
    }

    /// Number of the next record.
    fn due(&self, first_seq: u64) -> u64 {
        let complete = self.complete.last().map_or(first_seq, |block| block.last_seq().saturating_add(1));
        if self.growing.records > 0 { self.growing.next_seq() } else { complete }
    }

    fn growing_block(&self, segment: u64, directory: &Arc<Path>, complete: bool) -> Option<Block> {
        let Summary { first_seq, records, bytes, earliest, latest } = &self.growing;
        (*records > 0).then(|| Block {
            segment,
            first_seq: *first_seq,
            records: *records,
            lines_bytes: *bytes as u64,
            earliest: head::wall_time(earliest).unwrap_or_default(),
            latest: head::wall_time(latest).unwrap_or(WallTime(u64::MAX)),
            complete,
            directory: Arc::clone(directory),
            place: Place::Plain(self.growing_offset),
        })
    }
}
