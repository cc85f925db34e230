//! Where blocks begin: a function of the lines alone, so that whoever reads a segment before it is sealed finds the
//! same blocks as whoever seals it.

use crate::head::{Head, TimeText};
use crate::time::TIMESTAMP_BYTES;

/// Most bytes of lines in a block, newlines included. A longer line is a block of its own.
pub const BLOCK_BYTES_MAX: usize = 256 * 1024;

/// Stands where no time was seen; no time is written so.
const NO_TIME: TimeText = [0; TIMESTAMP_BYTES];

/// What is known about the lines of a block. An empty one has no first record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of the first record.
    pub first_seq: u64,
    /// Number of records.
    pub records: u32,
    /// Bytes, newlines included.
    pub bytes: usize,
    /// Earliest time of a record.
    pub earliest: TimeText,
    /// Latest time of a record.
    pub latest: TimeText,
}

impl Summary {
    /// Whether a line of this many bytes (newline included) belongs to the next block.
    #[must_use]
    pub fn is_full_for(&self, line_bytes: usize) -> bool {
        self.records > 0 && self.bytes.saturating_add(line_bytes) > BLOCK_BYTES_MAX
    }

    /// Takes a line of this many bytes, newline included, into the block.
    pub fn add(&mut self, head: &Head<'_>, line_bytes: usize) {
        if self.earliest == NO_TIME {
            (self.earliest, self.latest) = (*head.time, *head.time);
        } else {
            self.earliest = self.earliest.min(*head.time);
            self.latest = self.latest.max(*head.time);
        }
        self.add_unknown(head.seq, line_bytes);
    }

    /// Takes a line into the block that is no record, and stands where the record with this number was due. Of such
    /// lines only, a block has no times.
    pub fn add_unknown(&mut self, due: u64, line_bytes: usize) {
        if self.records == 0 {
            self.first_seq = due;
        }
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(line_bytes);
    }

    /// Number of the record after the last one; 0 of an empty block.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.first_seq.saturating_add(self.records.into())
    }
}

/// The whole lines of `bytes`, without their newlines.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (line, after) = rest.split_at_checked(memchr::memchr(b'\n', rest)?)?;
        rest = after.get(1..)?;
        Some(line)
    })
}
