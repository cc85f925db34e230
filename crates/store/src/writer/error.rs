//! What can go wrong, and what that means for records.

use std::io;
use std::path::PathBuf;

use super::SealingError;
use crate::keys::KeyFileError;
use crate::segment::SegmentError;

/// Why the folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be created or opened.
    #[error("cannot open the journal's folder {}", path.display())]
    Directory {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent writes to it.
    #[error("another agent already writes to {}; stop it, or give this one its own [journal] directory", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The active segment cannot be opened.
    #[error("cannot open the last segment in {}", path.display())]
    File {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The end of the earlier records cannot be read or repaired.
    #[error("cannot recover the end of the journal in {}", path.display())]
    Recover {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: SegmentError,
    },
    /// An interrupted exchange of keys cannot be finished.
    #[error("cannot settle which key is in force")]
    Key(#[source] KeyFileError),
    /// A thread cannot be started.
    #[error("cannot start the threads of the journal")]
    Thread(#[source] io::Error),
}

/// What did not work. Whatever it is, it is tried again at the next flush, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file cannot be written. Lines are still in memory.
    #[error("cannot write the journal")]
    Write(#[source] io::Error),
    /// Half a line was written and cannot be removed; nothing is written until it can.
    #[error("cannot remove a half-written line from the journal")]
    Repair(#[source] io::Error),
    /// Written records may not survive a power failure.
    #[error("cannot make the journal durable")]
    Sync(#[source] io::Error),
    /// A complete segment stays as lines; the next start tries again.
    #[error("cannot seal a segment of the journal")]
    Seal(#[source] SealingError),
    /// It is not known what may be removed.
    #[error("cannot decide which segments of the journal to remove")]
    Retention(#[source] SegmentError),
    /// An old segment cannot be removed. The lines were written.
    #[error("cannot remove an old segment of the journal")]
    Remove(#[source] io::Error),
}

/// What became of a record that could not simply be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The record is in memory; the flush that was due failed.
    #[error("the record is kept in memory")]
    Kept(#[source] WriteError),
    /// The record is lost: memory is full, because writing fails. Counted, see [`Counters::dropped`](super::Counters).
    #[error("the record is dropped: the journal cannot be written and the buffer is full")]
    Dropped,
}

/// Why a key was not exchanged.
#[derive(Debug, thiserror::Error)]
pub enum RotateKeyError {
    /// A file of the key cannot be written.
    #[error("cannot write the new key")]
    Key(#[source] KeyFileError),
    /// The change cannot be recorded durably; the next start knows which key is in force.
    #[error("cannot record the change of keys")]
    Record(#[source] WriteError),
}
