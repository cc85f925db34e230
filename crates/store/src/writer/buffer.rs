//! Lines that are not written yet, and where among them a new segment begins.

use std::collections::VecDeque;

/// Memory that the buffer keeps after a long record.
const BYTES_KEPT: usize = 2 * super::FLUSH_BYTES;

/// Whole lines only.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) lines: Vec<u8>,
    /// Number of the first line (of the next one if there is none).
    first_seq: u64,
    /// Segments that begin in here, in order: place and number of the first line.
    begins: VecDeque<(usize, u64)>,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// A segment begins with this number.
    Begin(u64),
    /// These lines belong into the present segment.
    Lines(&'a [u8]),
    Nothing,
}

impl Buffer {
    pub(super) fn new(first_seq: u64) -> Self {
        Self { lines: Vec::with_capacity(BYTES_KEPT), first_seq, begins: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The next line that is appended is the first of a segment.
    pub(super) fn begin_segment(&mut self, first_seq: u64) {
        self.begins.push_back((self.lines.len(), first_seq));
    }

    pub(super) fn next(&self) -> Next<'_> {
        match self.begins.front() {
            Some((0, first_seq)) => Next::Begin(*first_seq),
            Some((end, _)) => Next::Lines(&self.lines[..*end]),
            None if self.lines.is_empty() => Next::Nothing,
            None => Next::Lines(&self.lines),
        }
    }

    /// The segment that is due has begun.
    pub(super) fn begun(&mut self) {
        self.begins.pop_front();
    }

    /// Number of whole lines in the first bytes.
    pub(super) fn count(&self, bytes: usize, next_seq: u64) -> u64 {
        if bytes == self.lines.len() {
            next_seq - self.first_seq
        } else {
            self.lines[..bytes].iter().filter(|&&byte| byte == b'\n').count() as u64
        }
    }

    /// The first `records` lines, of this many bytes, are written. Returns the number of the last one.
    pub(super) fn consume(&mut self, bytes: usize, records: u64) -> u64 {
        self.lines.drain(..bytes);
        if self.lines.is_empty() && self.lines.capacity() > super::BUFFER_BYTES_MAX {
            self.lines.shrink_to(BYTES_KEPT);
        }
        for (at, _) in &mut self.begins {
            *at -= bytes;
        }
        self.first_seq += records;
        self.first_seq - 1
    }
}
