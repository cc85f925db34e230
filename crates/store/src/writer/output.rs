//! The file that is being written: where it ends, and what to do when a write stops in the middle of a line.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::WriteError;
use crate::files::{self, Form};

/// The end of the active segment.
#[derive(Debug)]
pub(super) struct Output {
    directory: PathBuf,
    /// Number of the first record of the segment.
    first_seq: u64,
    /// `None` before the first write to a new segment, and after its file was replaced.
    file: Option<Arc<File>>,
    /// The segment is in a file.
    begun: bool,
    /// Bytes of whole lines.
    bytes: u64,
    /// The file may end in half a line that must go first.
    torn: bool,
}

/// What became of a write.
#[derive(Debug)]
pub(super) struct Wrote {
    /// Number of the first record of the segment.
    pub(super) segment: u64,
    pub(super) file: Arc<File>,
    /// Where the first byte stands.
    pub(super) offset: u64,
    /// Bytes in whole lines.
    pub(super) bytes: usize,
}

/// Whether the file is as this writer left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    AsLeft,
    /// Somebody removed or shortened it: what it contained is gone.
    Disturbed,
}

impl Output {
    pub(super) fn new(directory: &Path, first_seq: u64, bytes: u64) -> Self {
        Self { directory: directory.to_owned(), first_seq, file: None, begun: false, bytes, torn: false }
    }

    /// Goes on with a new segment; whether there was one before, which is complete now.
    pub(super) fn begin(&mut self, first_seq: u64) -> bool {
        (self.first_seq, self.bytes, self.file) = (first_seq, 0, None);
        std::mem::take(&mut self.begun)
    }

    /// Another file has taken its name, with the same lines.
    pub(super) fn reopen(&mut self) {
        self.file = None;
    }

    /// Makes sure that the file is still there and ends in a whole line.
    pub(super) fn settle(&mut self) -> Result<State, WriteError> {
        let Some(file) = &self.file else { return Ok(State::AsLeft) };
        if self.torn {
            file.set_len(self.bytes).map_err(WriteError::Repair)?;
            self.torn = false;
        }
        let status = file.metadata().map_err(WriteError::Write)?;
        if status.nlink() == 0 {
            // What is written to it would be lost without a trace. As long as there can be no other (its folder is gone,
            // too), the removed one stays what it was: that it was disturbed is said when there is one.
            let removed = self.file.take();
            if let Err(error) = self.open() {
                self.file = removed;
                return Err(WriteError::Write(error));
            }
            self.bytes = 0;
            return Ok(State::Disturbed);
        }
        if status.size() < self.bytes {
            self.bytes = status.size();
            return Ok(State::Disturbed);
        }
        Ok(State::AsLeft)
    }

    /// Writes whole lines, or as many of them as fit on the disk.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<Wrote, WriteError> {
        let file = self.open().map_err(WriteError::Write)?;
        let offset = self.bytes;
        let count = loop {
            match file.write_at(lines, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(WriteError::Write)?,
            }
        };
        let whole = lines[..count].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        self.bytes += whole as u64;
        if whole < count {
            self.torn = true;
            file.set_len(self.bytes).map_err(WriteError::Repair)?;
            self.torn = false;
        }
        if whole == 0 {
            // No progress: the next attempt would end the same way, or with the error that explains it.
            return Err(WriteError::Write(io::ErrorKind::StorageFull.into()));
        }
        Ok(Wrote { segment: self.first_seq, file, offset, bytes: whole })
    }

    pub(super) fn open(&mut self) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(files::open_or_create(&files::segment_path(&self.directory, self.first_seq, Form::Plain))?);
        (self.file, self.begun) = (Some(Arc::clone(&file)), true);
        Ok(file)
    }
}
