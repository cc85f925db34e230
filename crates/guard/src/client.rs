//! The client's stream, cut into messages. What is not dealt with yet is kept, up to a bound: a longer message is judged
//! by its beginning, and the rest of it follows that decision.

/// Bytes of one message that are collected before it is judged. Every name of a Bind fits; a longer text is beyond what
/// is analysed anyway.
pub(crate) const HELD_BYTES_MAX: usize = 512 << 10;
/// Largest message that PostgreSQL accepts (`PQ_LARGE_MESSAGE_LIMIT`, 1 GiB - 1).
const MESSAGE_BYTES_MAX: u32 = 0x3fff_ffff;
const HEADER_BYTES: usize = 5;

/// Bytes of a client that are not dealt with.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    bytes: Vec<u8>,
    /// Before it everything is dealt with.
    begin: usize,
    /// Bytes of a message whose beginning is dealt with.
    rest: u64,
}

/// What comes next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// A message that is there whole.
    Whole { kind: u8, message: &'a [u8] },
    /// The beginning of a message that is too long to be collected; `rest` bytes follow.
    Long { kind: u8, beginning: &'a [u8], rest: u64 },
    /// More of the message whose beginning is dealt with.
    Rest(&'a [u8]),
    /// Nothing that could be dealt with.
    Incomplete,
    /// These bytes are not the protocol.
    Broken,
}

impl Stream {
    pub(crate) fn extend(&mut self, chunk: &[u8]) {
        if self.begin == self.bytes.len() {
            self.bytes.clear();
            self.begin = 0;
        } else if self.begin > HELD_BYTES_MAX {
            self.bytes.drain(..self.begin);
            self.begin = 0;
        }
        self.bytes.extend_from_slice(chunk);
    }

    /// Bytes that wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.bytes.len().saturating_sub(self.begin)
    }

    pub(crate) fn next(&self) -> Next<'_> {
        let bytes = self.bytes.get(self.begin..).unwrap_or_default();
        if self.rest > 0 {
            let length = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
            let more = bytes.get(..length).unwrap_or_default();
            return if more.is_empty() { Next::Incomplete } else { Next::Rest(more) };
        }
        let Some(&kind) = bytes.first() else { return Next::Incomplete };
        if !is_known(kind) {
            return Next::Broken;
        }
        let Some(size) = bytes.get(1..HEADER_BYTES).and_then(|size| <[u8; 4]>::try_from(size).ok()) else {
            return Next::Incomplete;
        };
        let size = u32::from_be_bytes(size);
        if !(4..=MESSAGE_BYTES_MAX).contains(&size) {
            return Next::Broken;
        }
        let length = (size as usize).saturating_add(1);
        match bytes.get(..length) {
            Some(message) => Next::Whole { kind, message },
            None if length > HELD_BYTES_MAX && bytes.len() >= HELD_BYTES_MAX => {
                Next::Long { kind, beginning: bytes, rest: (length as u64).saturating_sub(bytes.len() as u64) }
            }
            // COPY data and values are not looked at: they need not be complete.
            None if is_data(kind) => {
                Next::Long { kind, beginning: bytes, rest: (length as u64).saturating_sub(bytes.len() as u64) }
            }
            None => Next::Incomplete,
        }
    }

    /// What [`Stream::next`] showed is dealt with; `rest` bytes of its message follow.
    pub(crate) fn advance(&mut self, length: usize, rest: u64) {
        self.begin = self.begin.saturating_add(length).min(self.bytes.len());
        self.rest = rest;
    }

    /// More of a message was dealt with.
    pub(crate) fn advance_rest(&mut self, length: usize) {
        self.advance(length, self.rest.saturating_sub(length as u64));
    }

    /// Everything that waits.
    pub(crate) fn take_all(&mut self) -> Vec<u8> {
        let waiting = self.bytes.split_off(self.begin);
        *self = Self::default();
        waiting
    }

    /// Gives the memory of a long message back.
    pub(crate) fn rest(&mut self) {
        if self.waiting() == 0 && self.bytes.capacity() > 1024 {
            *self = Self { rest: self.rest, ..Self::default() };
        }
    }
}

/// Type bytes of a frontend, protocol 3.0 and 3.2.
const fn is_known(kind: u8) -> bool {
    matches!(kind, b'B' | b'C' | b'D' | b'E' | b'F' | b'H' | b'P' | b'Q' | b'S' | b'X' | b'c' | b'd' | b'f' | b'p')
}

const fn is_data(kind: u8) -> bool {
    matches!(kind, b'd')
}
