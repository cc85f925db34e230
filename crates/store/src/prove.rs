//! Makes the proof of one record.

use std::path::{Path, PathBuf};

use journal::hash::leaf;
use journal::head;
use journal::proof::Proof;
use journal::record::CHECKPOINT;

use crate::files;
use crate::segment::{SegmentError, SegmentLines};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The journal cannot be read.
    #[error("cannot read the journal")]
    Read(#[source] SegmentError),
    /// No such record.
    #[error("there is no record {seq} in {}: it is not written yet, or was removed", directory.display())]
    NoSuchRecord {
        /// The number.
        seq: u64,
        /// The folder.
        directory: PathBuf,
    },
    /// The record is there and not signed yet.
    #[error("record {seq} is not signed yet: no checkpoint follows it; try again when the next one is written")]
    NotSigned {
        /// The number.
        seq: u64,
    },
    /// The journal is not as it was written.
    #[error("{} is damaged; warder verify says more", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
    },
}

/// Proves the record with this number by the first checkpoint after it.
pub fn prove(directory: &Path, seq: u64) -> Result<Proof, ProveError> {
    let no_such_record = || ProveError::NoSuchRecord { seq, directory: directory.to_owned() };
    let segments = files::segments(directory).map_err(SegmentError::file(directory)).map_err(ProveError::Read)?;
    let segment = segments.iter().rfind(|segment| segment.first_seq <= seq).ok_or_else(no_such_record)?;
    let mut lines = SegmentLines::open(segment).map_err(ProveError::Read)?;
    let damaged = || ProveError::Damaged { path: segment.path.clone() };
    let text = |line: &[u8]| String::from_utf8(line.to_vec()).map_err(|_not_utf_8| damaged());
    let mut leaves = Vec::new();
    let mut record: Option<String> = None;
    while let Some(line) = lines.next_line().map_err(ProveError::Read)? {
        let head = head::parse(line).ok_or_else(damaged)?;
        match &record {
            Some(record) if head.type_word == CHECKPOINT => {
                let index = seq - segment.first_seq;
                return Proof::new(record, &text(line)?, &leaves, index).ok_or_else(damaged);
            }
            None if head.seq == seq => record = Some(text(line)?),
            _ => {}
        }
        leaves.push(leaf(line));
    }
    match record {
        Some(_) => Err(ProveError::NotSigned { seq }),
        None => Err(no_such_record()),
    }
}
