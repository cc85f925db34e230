//! Reading what segments say about themselves, and their lines one by one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use journal::footer::{self, Block, Footer, TRAILER_BYTES};
use journal::hash::Chain;
use journal::record::{self, Segment};
use journal::sealed::{LINES_BYTES_MAX, Opener};

use crate::files::{self, Form, SegmentFile};

/// Longest footer that is read: room for the blocks of 64 GiB of lines.
const FOOTER_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Why a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is there, but it is not a segment any more.
    #[error("{} is damaged: {why}; warder verify says more", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl SegmentError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    pub(crate) fn damaged(path: &Path, why: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_string() }
    }

    /// The file is not there: it was sealed or removed since it was listed.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads the footer of a sealed segment.
pub fn footer(path: &Path, file: &File) -> Result<Footer, SegmentError> {
    let damaged = |why: &dyn ToString| SegmentError::damaged(path, why.to_string());
    let length = file.metadata().map_err(SegmentError::file(path))?.len();
    let mut trailer = [0; TRAILER_BYTES];
    let at = length.checked_sub(TRAILER_BYTES as u64).ok_or_else(|| damaged(&"it is too short"))?;
    file.read_exact_at(&mut trailer, at).map_err(SegmentError::file(path))?;
    let frame_bytes = footer::frame_bytes(&trailer).map_err(|error| damaged(&error))?;
    let start = length.checked_sub(frame_bytes).filter(|_| frame_bytes <= FOOTER_BYTES_MAX);
    let start = start.ok_or_else(|| damaged(&"its footer has an impossible length"))?;
    let mut frame = vec![0; usize::try_from(frame_bytes).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut frame, start).map_err(SegmentError::file(path))?;
    Footer::decode(&frame, start).map_err(|error| damaged(&error))
}

/// Reads the stored bytes of a block.
pub(crate) fn read_block(file: &File, block: &Block, frame: &mut Vec<u8>) -> io::Result<()> {
    if u64::from(block.stored_bytes) > u64::from(LINES_BYTES_MAX) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the block claims to be longer than any record"));
    }
    frame.resize(block.stored_bytes as usize, 0);
    file.read_exact_at(frame, block.offset)
}

/// The chain before a segment, as it says itself.
pub(crate) fn chain_before(segment: &SegmentFile) -> Result<Chain, SegmentError> {
    let path = &segment.path;
    let file = files::open_segment(path).map_err(SegmentError::file(path))?;
    match segment.form {
        Form::Sealed => footer(path, &file).map(|footer| footer.chain_before),
        Form::Plain => {
            let mut lines = Lines::new(file);
            let first = lines.next_line().map_err(SegmentError::file(path))?.unwrap_or_default();
            let first: Result<Segment, _> = record::read(first, record::SEGMENT);
            first.map(|first| first.chain).map_err(|error| SegmentError::damaged(path, error))
        }
    }
}

/// The chain after a sealed segment, as it says itself.
pub(crate) fn chain_after(segment: &SegmentFile) -> Result<Chain, SegmentError> {
    let path = &segment.path;
    let file = files::open_segment(path).map_err(SegmentError::file(path))?;
    footer(path, &file).map(|footer| footer.chain_after)
}

/// The lines of a segment, one at a time.
pub(crate) enum SegmentLines {
    Plain { path: PathBuf, lines: Lines },
    Sealed(Box<SealedLines>),
}

impl SegmentLines {
    pub(crate) fn open(segment: &SegmentFile) -> Result<Self, SegmentError> {
        let path = segment.path.clone();
        let file = files::open_segment(&path).map_err(SegmentError::file(&path))?;
        match segment.form {
            Form::Plain => Ok(Self::Plain { path, lines: Lines::new(file) }),
            Form::Sealed => SealedLines::open(path, file).map(Box::new).map(Self::Sealed),
        }
    }

    /// The next whole line without its newline; `None` at the end. A half line is read again when it is whole.
    pub(crate) fn next_line(&mut self) -> Result<Option<&[u8]>, SegmentError> {
        match self {
            Self::Plain { path, lines } => lines.next_line().map_err(SegmentError::file(path)),
            Self::Sealed(sealed) => sealed.next_line(),
        }
    }

    /// Bytes of lines before the next one.
    pub(crate) fn offset(&self) -> u64 {
        match self {
            Self::Plain { lines, .. } => lines.offset,
            Self::Sealed(sealed) => sealed.offset,
        }
    }

    /// Passes over blocks of a sealed segment whose numbers, from the first to the last, are not wanted.
    pub(crate) fn keep(&mut self, wanted: impl Fn(u64, u64) -> bool) {
        if let Self::Sealed(sealed) = self {
            let last = |block: &Block| block.first_seq.saturating_add(u64::from(block.records)).saturating_sub(1);
            sealed.blocks.retain(|(_, block)| wanted(block.first_seq, last(block)));
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Plain { path, .. } => path,
            Self::Sealed(sealed) => &sealed.path,
        }
    }
}

/// The lines of a plain segment.
#[derive(Debug)]
pub(crate) struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
    /// Where the next line begins.
    offset: u64,
    /// Bytes after the last whole line, when that was reached.
    torn_bytes: u64,
}

impl Lines {
    pub(crate) fn new(file: File) -> Self {
        Self { reader: BufReader::with_capacity(64 * 1024, file), line: Vec::new(), offset: 0, torn_bytes: 0 }
    }

    /// Begins at this line instead of the first.
    pub(crate) fn start_at(&mut self, offset: u64) -> io::Result<()> {
        self.offset = offset;
        self.reader.seek(SeekFrom::Start(offset)).map(|_| ())
    }

    pub(crate) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let limit = u64::from(LINES_BYTES_MAX);
        let count = (&mut self.reader).take(limit).read_until(b'\n', &mut self.line)? as u64;
        if self.line.pop_if(|last| *last == b'\n').is_some() {
            self.offset += count;
            return Ok(Some(&self.line));
        }
        if count == limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is longer than any record"));
        }
        // Half a line: the writer may complete it, or remove it and write another. Either way it is read again.
        self.torn_bytes = count;
        self.line.clear();
        self.reader.seek(SeekFrom::Start(self.offset))?;
        Ok(None)
    }

    /// Bytes of a half line at the end, after [`Lines::next_line`] gave `None`.
    pub(crate) fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }
}

/// The lines of a sealed segment: one block in memory.
pub(crate) struct SealedLines {
    path: PathBuf,
    file: File,
    opener: Opener,
    /// Blocks that are not read yet, each with the bytes of lines before it.
    blocks: VecDeque<(u64, Block)>,
    frame: Vec<u8>,
    lines: Vec<u8>,
    /// Where the next line begins in `lines`.
    at: usize,
    offset: u64,
}

impl SealedLines {
    fn open(path: PathBuf, file: File) -> Result<Self, SegmentError> {
        let Footer { blocks, .. } = footer(&path, &file)?;
        let place = |before: &mut u64, block: Block| {
            let offset = *before;
            *before += u64::from(block.lines_bytes);
            Some((offset, block))
        };
        let blocks = blocks.into_iter().scan(0, place).collect();
        let opener = Opener::new().map_err(SegmentError::file(&path))?;
        let (frame, lines) = (Vec::new(), Vec::new());
        Ok(Self { path, file, opener, blocks, frame, lines, at: 0, offset: 0 })
    }

    fn next_line(&mut self) -> Result<Option<&[u8]>, SegmentError> {
        if self.at == self.lines.len() {
            let Some((offset, block)) = self.blocks.front() else { return Ok(None) };
            let read = read_block(&self.file, block, &mut self.frame)
                .and_then(|()| self.opener.open(block, &self.frame, &mut self.lines));
            read.map_err(SegmentError::file(&self.path))?;
            (self.offset, self.at) = (*offset, 0);
            self.blocks.pop_front();
        }
        let rest = &self.lines[self.at..];
        // A block ends in a newline, see `Opener::open`.
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at = (self.at + length + 1).min(self.lines.len());
        self.offset += length as u64 + 1;
        Ok(Some(&rest[..length]))
    }
}
