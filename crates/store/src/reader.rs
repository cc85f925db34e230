//! Streams records back, over all files in order, while the agent may be writing and rotating.
//!
//! A reader never holds more than one line. It never waits: at the end [`Reader::next_entry`] returns `None`, and
//! may be called again later to follow the file.

use std::io;
use std::path::{Path, PathBuf};

use journal::{head, record};
use model::time::WallTime;

use crate::files::{self, Form, SegmentFile};
use crate::line::{self, Entry, Head};
use crate::numbers::Numbers;
use crate::segment::{SegmentError, SegmentLines};
use crate::select::SessionSelector;

/// A record, or what stands in its place.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The folder or a segment cannot be read; reading cannot continue.
    #[error("cannot read {}", path.display())]
    File {
        /// Folder or segment.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not a record; reading continues after it.
    #[error("{}, byte {offset}: this line is not a record", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Where the line begins.
        offset: u64,
        /// Why.
        source: serde_json::Error,
    },
}

/// A position in the records of a folder.
pub struct Reader {
    directory: PathBuf,
    selector: Option<SessionSelector>,
    open: Option<Open>,
    wanted: Wanted,
    line: Vec<u8>,
}

/// Which records are read, as far as their heads tell.
#[derive(Debug, Default)]
struct Wanted {
    /// Records up to this one are not.
    after: u64,
    /// Records before this time are not.
    since: Option<WallTime>,
    /// Nor are these.
    passed_over: Numbers,
}

impl Wanted {
    /// Whether some of these numbers may be.
    fn may_have(&self, first: u64, last: u64) -> bool {
        last > self.after && !self.passed_over.have_all(first, last)
    }

    /// Whether a line is. One that is no record is: whoever reads should be told.
    fn has(&self, line: &[u8]) -> bool {
        if self.after == 0 && self.since.is_none() && self.passed_over.is_empty() {
            return true;
        }
        head::parse(line).is_none_or(|head| {
            let in_time = || self.since.is_none_or(|since| head.wall_time().is_none_or(|time| time >= since));
            self.may_have(head.seq, head.seq) && in_time()
        })
    }
}

/// The segment that is being read.
struct Open {
    first_seq: u64,
    lines: SegmentLines,
    /// A later segment was seen: no line is added to this one any more.
    is_complete: bool,
}

/// What a whole line turned out to be.
enum Line {
    Record(Box<Entry>),
    NotSelected,
}

impl Reader {
    /// A reader at the first record of the folder. The folder may be empty.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self::after(directory, 0)
    }

    /// A reader at the first record after this number.
    #[must_use]
    pub fn after(directory: &Path, seq: u64) -> Self {
        let wanted = Wanted { after: seq, ..Wanted::default() };
        Self { directory: directory.to_owned(), selector: None, open: None, wanted, line: Vec::new() }
    }

    /// A reader at the first record of the folder, without the records of sessions that were not selected.
    #[must_use]
    pub fn open(directory: &Path, selector: SessionSelector) -> Self {
        Self::new(directory).select(selector)
    }

    /// Leaves out records of other sessions, and checkpoints and beginnings of segments. Other records that belong to no
    /// session remain.
    #[must_use]
    pub fn select(self, selector: SessionSelector) -> Self {
        Self { selector: Some(selector), ..self }
    }

    /// Leaves out records from before this time.
    #[must_use]
    pub fn since(mut self, time: WallTime) -> Self {
        self.wanted.since = Some(time);
        self
    }

    /// Leaves out records with these numbers, without reading what has no others: an index knows which they are.
    #[must_use]
    pub fn pass_over(mut self, numbers: Numbers) -> Self {
        self.wanted.passed_over = numbers;
        self
    }

    /// The next record. `None` at the end; call it again later to follow. A half-written last line is not read
    /// until it is whole.
    pub fn next_entry(&mut self) -> Option<Result<Entry, ReadError>> {
        loop {
            match self.next_line() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
            match self.parse_line() {
                Ok(Line::Record(entry)) => return Some(Ok(*entry)),
                Ok(Line::NotSelected) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The bytes of the record that was returned last, without newline.
    #[must_use]
    pub fn last_line(&self) -> &[u8] {
        &self.line
    }

    /// Calls `visit` with the common fields of every record; for questions that need no more.
    pub fn for_each_head(mut self, mut visit: impl FnMut(&Head<'_>)) -> Result<(), ReadError> {
        while self.next_line()? {
            if let Ok(head) = line::decode_head(&self.line) {
                visit(&head);
            }
        }
        Ok(())
    }

    fn parse_line(&mut self) -> Result<Line, ReadError> {
        let parsed = line::decode_head(&self.line).and_then(|head| {
            let selected = self.selector.as_ref().is_none_or(|selector| selects(selector, &head));
            if selected {
                line::decode(&head, &self.line).map(|entry| Line::Record(Box::new(entry)))
            } else {
                Ok(Line::NotSelected)
            }
        });
        parsed.map_err(|source| {
            let place = self.open.as_ref().map(|open| (open.lines.path().to_owned(), open.lines.offset()));
            let (path, end) = place.unwrap_or_default();
            ReadError::Line { path, offset: end.saturating_sub(self.line.len() as u64 + 1), source }
        })
    }

    /// Reads one whole line into `self.line`; false at the end of all segments.
    fn next_line(&mut self) -> Result<bool, ReadError> {
        loop {
            let Some(open) = self.open.as_mut() else {
                if self.open_next()? {
                    continue;
                }
                return Ok(false);
            };
            match open.lines.next_line().map_err(file_error)? {
                Some(line) if !self.wanted.has(line) => {}
                Some(line) => {
                    self.line.clear();
                    self.line.extend_from_slice(line);
                    return Ok(true);
                }
                None if open.is_complete => {
                    if !self.open_next()? {
                        return Ok(false);
                    }
                }
                None => {
                    // If there is a later segment, the last line of this one was written before: look once more.
                    open.is_complete = later(&self.directory, open.first_seq)?.is_some();
                    if !open.is_complete {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Opens the segment that follows, at first the one in which the next record is; false if there is none.
    fn open_next(&mut self) -> Result<bool, ReadError> {
        loop {
            let before = self.open.as_ref().map(|open| open.first_seq);
            let segment = next_with(&self.directory, before, &self.wanted)?;
            let Some(SegmentFile { first_seq, form, .. }) = segment else { return Ok(false) };
            match segment.as_ref().map(SegmentLines::open) {
                // Sealed, or removed by retention, since it was listed.
                Some(Err(error)) if error.is_gone() => {}
                Some(Err(error)) => return Err(file_error(error)),
                Some(Ok(mut lines)) => {
                    lines.keep(|first, last| self.wanted.may_have(first, last));
                    self.open = Some(Open { first_seq, lines, is_complete: form == Form::Sealed });
                    return Ok(true);
                }
                None => return Ok(false),
            }
        }
    }
}

fn file_error(error: SegmentError) -> ReadError {
    match error {
        SegmentError::File { path, source } => ReadError::File { path, source },
        SegmentError::Damaged { path, why } => ReadError::File { path, source: io::Error::other(why) },
    }
}

fn list(directory: &Path) -> Result<Vec<SegmentFile>, ReadError> {
    files::segments(directory).map_err(|source| ReadError::File { path: directory.to_owned(), source })
}

/// The segment after the one that begins with this number.
fn later(directory: &Path, first_seq: u64) -> Result<Option<SegmentFile>, ReadError> {
    Ok(list(directory)?.into_iter().find(|segment| segment.first_seq > first_seq))
}

/// The segment after the one that begins with `before`, without those that have no wanted record. The last one of the
/// folder may always get some.
fn next_with(directory: &Path, before: Option<u64>, wanted: &Wanted) -> Result<Option<SegmentFile>, ReadError> {
    let mut segments = list(directory)?.into_iter().peekable();
    while let Some(segment) = segments.next() {
        let is_later = before.is_none_or(|before| segment.first_seq > before);
        let may_have = |next: &SegmentFile| wanted.may_have(segment.first_seq, next.first_seq.saturating_sub(1));
        if is_later && segments.peek().is_none_or(may_have) {
            return Ok(Some(segment));
        }
    }
    Ok(None)
}

/// A record is selected through either of its sessions; one that belongs to none always is, if it is not about the
/// journal itself.
fn selects(selector: &SessionSelector, head: &Head<'_>) -> bool {
    let mut sessions = head.session.iter().chain(&head.target).peekable();
    match sessions.peek() {
        None => !record::is_book_keeping(&head.type_word),
        Some(_) => sessions.any(|session| selector.fit(session).is_some()),
    }
}
