//! Streams records back, over all files in order, while the agent may be writing and rotating.
//!
//! A reader never holds more than one line. It never waits: at the end [`Reader::next_entry`] returns `None`, and
//! may be called again later to follow the file.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::files;
use crate::line::{self, Entry, Head};
use crate::select::SessionSelector;

/// Longest line that is read: a 16 MiB statement in which every byte is escaped, and its parameters.
pub const LINE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A record, or what stands in its place.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The folder or a file cannot be read; reading cannot continue.
    #[error("cannot read {}", path.display())]
    File {
        /// Folder or file.
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
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    selector: Option<SessionSelector>,
    open: Option<OpenFile>,
    /// Largest record number read: rotated files that begin at or below it are done.
    last_seq: u64,
    line: Vec<u8>,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    lines: BufReader<File>,
    inode: (u64, u64),
    /// Where the next line begins.
    offset: u64,
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
        Self { directory: directory.to_owned(), selector: None, open: None, last_seq: 0, line: Vec::new() }
    }

    /// Leaves out records of other sessions. Records that belong to no session remain.
    #[must_use]
    pub fn select(self, selector: SessionSelector) -> Self {
        Self { selector: Some(selector), ..self }
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
                self.last_seq = self.last_seq.max(head.seq);
                visit(&head);
            }
        }
        Ok(())
    }

    fn parse_line(&mut self) -> Result<Line, ReadError> {
        let parsed = line::decode_head(&self.line).and_then(|head| {
            self.last_seq = self.last_seq.max(head.seq);
            let selected = self.selector.as_ref().is_none_or(|selector| selects(selector, &head));
            if selected {
                line::decode(&head, &self.line).map(|entry| Line::Record(Box::new(entry)))
            } else {
                Ok(Line::NotSelected)
            }
        });
        parsed.map_err(|source| {
            let (path, end) = self.open.as_ref().map_or((PathBuf::new(), 0), |open| (open.path.clone(), open.offset));
            ReadError::Line { path, offset: end.saturating_sub(self.line.len() as u64 + 1), source }
        })
    }

    /// Reads one whole line into `self.line`; false at the end of all files.
    fn next_line(&mut self) -> Result<bool, ReadError> {
        loop {
            if self.open.is_none() && !self.open_next()? {
                return Ok(false);
            }
            let Some(open) = self.open.as_mut() else { return Ok(false) };
            if open.read_line(&mut self.line).map_err(|source| ReadError::File { path: open.path.clone(), source })? {
                return Ok(true);
            }
            if !self.advance()? {
                return Ok(false);
            }
        }
    }

    /// At the end of a file: opens the next one. False if this is the file that is being written.
    fn advance(&mut self) -> Result<bool, ReadError> {
        let Some(open) = &self.open else { return Ok(false) };
        let current = self.directory.join(files::CURRENT);
        let is_current = match current.metadata() {
            Ok(metadata) => (metadata.dev(), metadata.ino()) == open.inode,
            // Between rename and re-creation.
            Err(error) if error.kind() == io::ErrorKind::NotFound => open.path == current,
            Err(source) => return Err(ReadError::File { path: current, source }),
        };
        if is_current {
            return Ok(false);
        }
        // It was renamed after its last line was written, but perhaps after we looked: look once more.
        let open = self.open.as_mut().filter(|open| open.path == current);
        if let Some(open) = open {
            open.path = self.directory.join("(rotated)");
            return Ok(true);
        }
        self.open = None;
        self.open_next()
    }

    /// Opens the oldest file that is not read yet; false if there is none.
    fn open_next(&mut self) -> Result<bool, ReadError> {
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| ReadError::File { path, source }
        };
        loop {
            if let Some((first_seq, path)) = self.next_rotated()? {
                // Also if nothing in it can be read: it is not opened twice.
                self.last_seq = first_seq;
                match OpenFile::open(path.clone()) {
                    // Removed by retention since it was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    other => self.open = Some(other.map_err(file_error(&path))?),
                }
                return Ok(true);
            }
            let path = self.directory.join(files::CURRENT);
            let open = match OpenFile::open(path.clone()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                other => other.map_err(file_error(&path))?,
            };
            // If a rotation came between listing and opening, there is an older file to read first.
            if self.next_rotated()?.is_none() {
                self.open = Some(open);
                return Ok(true);
            }
        }
    }

    fn next_rotated(&self) -> Result<Option<(u64, PathBuf)>, ReadError> {
        let rotated = files::rotated(&self.directory)
            .map_err(|source| ReadError::File { path: self.directory.clone(), source })?;
        Ok(rotated.into_iter().find(|(first_seq, _)| *first_seq > self.last_seq))
    }
}

/// A record is selected through either of its sessions; one that belongs to none always is.
fn selects(selector: &SessionSelector, head: &Head<'_>) -> bool {
    let mut sessions = head.session.iter().chain(&head.target).peekable();
    sessions.peek().is_none() || sessions.any(|session| selector.fit(session).is_some())
}

impl OpenFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        let metadata = file.metadata()?;
        let inode = (metadata.dev(), metadata.ino());
        Ok(Self { path, lines: BufReader::with_capacity(64 * 1024, file), inode, offset: 0 })
    }

    /// Reads a whole line, without its newline; false if there is none (yet).
    fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let count = (&mut self.lines).take(LINE_BYTES_MAX).read_until(b'\n', line)?;
        if line.pop_if(|last| *last == b'\n').is_some() {
            self.offset += count as u64;
            return Ok(true);
        }
        if count as u64 == LINE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is longer than any record"));
        }
        // Half a line: the writer may complete it, or remove it and write another. Either way it is read again.
        self.lines.seek(SeekFrom::Start(self.offset))?;
        line.clear();
        Ok(false)
    }
}
