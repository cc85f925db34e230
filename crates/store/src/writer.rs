//! Appends records: never half a line, never more memory than its bound, and never an end after a full disk.
//!
//! Lines are collected in memory and written with one `write(2)` per [`Writer::flush`]. While writing fails, lines
//! stay in memory up to [`BUFFER_BYTES_MAX`]; beyond it records are dropped and counted, and a `loss` record tells
//! how many as soon as writing works again.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use model::record::{Record, What};
use model::time::WallTime;

use crate::files;
use crate::line::{self, Machine};
use crate::recovery::{self, Recovery};

/// Lines in memory from which [`Writer::append`] flushes by itself: about ten milliseconds at full load.
pub const FLUSH_BYTES: usize = 256 * 1024;

/// Lines kept in memory while writing fails: about half a second at full load, small beside the agent's 64 MiB.
/// One single record may exceed it, so that no record is too long to be written.
pub const BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Memory that the buffer keeps after a long record.
const BUFFER_BYTES_KEPT: usize = 2 * FLUSH_BYTES;

/// Bounds of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size at which the file is rotated.
    pub file_bytes_max: u64,
    /// Files kept, the current one included; at least 1.
    pub files_max: u32,
}

/// Why the folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be created or opened.
    #[error("cannot open the events folder {}", path.display())]
    Directory {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent writes to it.
    #[error("another agent already writes to {}; stop it, or give this one its own [events] directory", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The events file cannot be opened.
    #[error("cannot open {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The end of the earlier records cannot be read or repaired.
    #[error("cannot recover the end of the events in {}", path.display())]
    Recover {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why lines are still in memory, or the folder is larger than allowed. Whatever it is, it is tried again at the
/// next flush.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file cannot be written.
    #[error("cannot write the events file")]
    Write(#[source] io::Error),
    /// Half a line was written and cannot be removed; nothing is written until it can.
    #[error("cannot remove a half-written line from the events file")]
    Repair(#[source] io::Error),
    /// The file is full and cannot be renamed, or no new one can be opened.
    #[error("cannot rotate the events file")]
    Rotate(#[source] io::Error),
    /// An old file cannot be removed. The lines were written.
    #[error("cannot remove an old events file")]
    Remove(#[source] io::Error),
}

/// What became of a record that could not simply be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The record is in memory; the flush that was due failed.
    #[error("the record is kept in memory")]
    Kept(#[source] WriteError),
    /// The record is lost: memory is full, because writing fails. Counted, see [`Writer::counters`].
    #[error("the record is dropped: the events file cannot be written and the buffer is full")]
    Dropped,
}

/// What a writer did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records written to the file.
    pub written: u64,
    /// Bytes written to the file.
    pub written_bytes: u64,
    /// Records dropped.
    pub dropped: u64,
    /// Bytes waiting in memory.
    pub buffered_bytes: u64,
}

/// The writer of one folder. There is only one for a folder at any time.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    /// Holds the lock on the folder.
    _lock: File,
    machine: Machine,
    limits: Limits,
    file: File,
    /// Whole lines in the file.
    file_bytes: u64,
    /// The file may end in half a line that must go first.
    torn: bool,
    /// Rotated files may exceed the limit.
    retention_due: bool,
    /// Number of the first record in the buffer (of the next record if it is empty).
    buffer_seq: u64,
    next_seq: u64,
    /// Whole lines only.
    buffer: Vec<u8>,
    /// Buffer length at which `append` flushes.
    flush_at: usize,
    /// Dropped records that no `loss` record has told of.
    unreported: u64,
    last_dropped: WallTime,
    counters: Counters,
}

impl Writer {
    /// Opens the folder (created with mode 0750 if its parent exists), repairs the end of the file and continues
    /// its numbers.
    pub fn open(directory: &Path, machine: Machine, limits: Limits) -> Result<(Self, Recovery), OpenError> {
        let path = || directory.to_owned();
        let folder = |source| OpenError::Directory { path: path(), source };
        files::create_directory(directory).map_err(folder)?;
        let lock = File::open(directory).map_err(folder)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse { path: path() },
            TryLockError::Error(source) => folder(source),
        })?;
        let current = directory.join(files::CURRENT);
        let file = files::open_append(&current).map_err(|source| OpenError::File { path: current, source })?;
        let (recovery, file_bytes) =
            recovery::recover(directory, &file).map_err(|source| OpenError::Recover { path: path(), source })?;
        let next_seq = recovery.last_seq.map_or(1, |seq| seq.saturating_add(1));
        let writer = Self {
            directory: path(),
            _lock: lock,
            machine,
            limits,
            file,
            file_bytes,
            torn: false,
            retention_due: true,
            buffer_seq: next_seq,
            next_seq,
            buffer: Vec::with_capacity(BUFFER_BYTES_KEPT),
            flush_at: FLUSH_BYTES,
            unreported: 0,
            last_dropped: WallTime::default(),
            counters: Counters::default(),
        };
        Ok((writer, recovery))
    }

    /// Appends one record in memory, and flushes when [`FLUSH_BYTES`] are waiting.
    pub fn append(&mut self, record: &Record) -> Result<(), AppendError> {
        if self.buffer.len() >= BUFFER_BYTES_MAX {
            return self.drop_record(record.time);
        }
        line::encode(&mut self.buffer, self.next_seq, self.machine, record);
        self.next_seq += 1;
        if self.buffer.len() < self.flush_at {
            return Ok(());
        }
        match self.write_buffer() {
            Ok(()) => Ok(()),
            // Kept even if it is longer than the bound, as long as it is the only one.
            Err(error) if self.buffer.len() <= BUFFER_BYTES_MAX || self.last_line_start() == 0 => {
                Err(AppendError::Kept(error))
            }
            Err(_) => {
                self.buffer.truncate(self.last_line_start());
                self.next_seq -= 1;
                self.drop_record(record.time)
            }
        }
    }

    /// Writes what waits in memory. To be called every few milliseconds, also when nothing was appended: this is
    /// what notices that a full disk has space again.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.write_buffer()?;
        if self.unreported > 0 {
            let what = What::Lost { kind: "record", stage: "core", count: self.unreported };
            line::encode(&mut self.buffer, self.next_seq, self.machine, &Record { time: self.last_dropped, what });
            self.next_seq += 1;
            self.unreported = 0;
            self.write_buffer()?;
        }
        if self.retention_due {
            self.remove_oldest().map_err(WriteError::Remove)?;
            self.retention_due = false;
        }
        Ok(())
    }

    /// What the writer did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { buffered_bytes: self.buffer.len() as u64, ..self.counters }
    }

    fn drop_record(&mut self, time: WallTime) -> Result<(), AppendError> {
        self.counters.dropped += 1;
        self.unreported += 1;
        self.last_dropped = time;
        Err(AppendError::Dropped)
    }

    fn last_line_start(&self) -> usize {
        let lines = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1)
    }

    fn write_buffer(&mut self) -> Result<(), WriteError> {
        if self.buffer.is_empty() && !self.torn {
            return Ok(());
        }
        let result = self.write_lines();
        // While writing fails, `append` does not try again for every record; `flush` does.
        self.flush_at = self.buffer.len() + FLUSH_BYTES;
        if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_BYTES_MAX {
            self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        }
        result
    }

    fn write_lines(&mut self) -> Result<(), WriteError> {
        self.settle_file()?;
        while !self.buffer.is_empty() {
            let end = self.fitting_bytes();
            if end == 0 {
                self.rotate().map_err(WriteError::Rotate)?;
                continue;
            }
            match self.file.write(&self.buffer[..end]) {
                Ok(count) if count == end => self.consume(count),
                Ok(count) => self.keep_whole_lines(count)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(WriteError::Write(error)),
            }
        }
        Ok(())
    }

    /// Makes sure that the file ends in a whole line and is still the one in the folder.
    fn settle_file(&mut self) -> Result<(), WriteError> {
        if self.torn {
            self.file.set_len(self.file_bytes).map_err(WriteError::Repair)?;
            self.torn = false;
        }
        let status = self.file.metadata().map_err(WriteError::Write)?;
        if status.nlink() == 0 {
            // Somebody removed the file: what is written to it would be lost without a trace.
            self.file = files::open_append(&self.directory.join(files::CURRENT)).map_err(WriteError::Write)?;
            self.file_bytes = self.file.metadata().map_err(WriteError::Write)?.len();
        } else {
            // Somebody may have emptied it; a later repair must not extend it with zeros.
            self.file_bytes = status.len();
        }
        Ok(())
    }

    /// Bytes of the buffer, in whole lines, that fit into the current file; 0: it is full. An empty file takes a
    /// line of any length.
    fn fitting_bytes(&self) -> usize {
        let room = self.limits.file_bytes_max.saturating_sub(self.file_bytes);
        if self.buffer.len() as u64 <= room {
            return self.buffer.len();
        }
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(self.buffer.len());
        match self.buffer[..room].iter().rposition(|&byte| byte == b'\n') {
            Some(newline) => newline + 1,
            None if self.file_bytes > 0 => 0,
            None => self.buffer.iter().position(|&byte| byte == b'\n').map_or(self.buffer.len(), |newline| newline + 1),
        }
    }

    /// After a short write of `count` bytes: removes the half line from the file, keeps it in the buffer.
    fn keep_whole_lines(&mut self, count: usize) -> Result<(), WriteError> {
        let whole = self.buffer[..count].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        self.consume(whole);
        if whole < count {
            self.torn = true;
            self.file.set_len(self.file_bytes).map_err(WriteError::Repair)?;
            self.torn = false;
        }
        if whole == 0 {
            // No progress: the next attempt would end the same way, or with the error that explains it.
            return Err(WriteError::Write(io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    /// Whole lines of this length are in the file now.
    fn consume(&mut self, bytes: usize) {
        let lines = if bytes == self.buffer.len() {
            self.next_seq - self.buffer_seq
        } else {
            self.buffer[..bytes].iter().filter(|&&byte| byte == b'\n').count() as u64
        };
        self.buffer_seq += lines;
        self.buffer.drain(..bytes);
        self.file_bytes += bytes as u64;
        self.counters.written += lines;
        self.counters.written_bytes += bytes as u64;
    }

    /// Gives the file the name of its first record and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        let current = self.directory.join(files::CURRENT);
        let name = files::rotated_name(first_seq(&current)?.unwrap_or(self.buffer_seq));
        fs::rename(&current, self.directory.join(name))?;
        self.retention_due = true;
        self.file = files::open_append(&current)?;
        self.file_bytes = self.file.metadata()?.len();
        Ok(())
    }

    fn remove_oldest(&self) -> io::Result<()> {
        let rotated = files::rotated(&self.directory)?;
        // The current file counts as one.
        let excess = (rotated.len() + 1).saturating_sub(self.limits.files_max.max(1) as usize);
        for (_, path) in rotated.into_iter().take(excess) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Number of the first record in a file; `None` if its first line cannot be read.
fn first_seq(path: &Path) -> io::Result<Option<u64>> {
    use std::io::{BufRead as _, BufReader, Read as _};
    let mut first = Vec::new();
    BufReader::new(File::open(path)?).take(crate::reader::LINE_BYTES_MAX).read_until(b'\n', &mut first)?;
    Ok(line::decode_head(&first).ok().map(|head| head.seq))
}
