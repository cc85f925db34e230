//! Compresses complete segments, on a thread of its own, when the host has processors to spare.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use journal::sealed::{SealError, Sealer};

use super::limits::Limits;
use crate::files::{self, Form, SegmentFile};
use crate::segment::{SegmentError, SegmentLines};

/// Segments that may wait while the host is busy.
const POSTPONED_MAX: u64 = 8;
/// Part of the journal's space, as a divisor, that they may take: what waits cannot be removed.
const POSTPONED_SHARE: u64 = 8;

/// Why a segment stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// Its lines cannot be read.
    #[error("a complete segment cannot be sealed")]
    Read(#[source] SegmentError),
    /// Its lines are not a valid segment.
    #[error("segment {first_seq} stays unsealed, as evidence")]
    Invalid {
        /// Number of its first record.
        first_seq: u64,
        /// What is wrong.
        source: SealError,
    },
    /// The sealed form cannot be written.
    #[error("a complete segment cannot be sealed")]
    Write(#[source] io::Error),
}

/// A segment that waits to be durable and sealed.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    first_seq: u64,
    last_seq: u64,
}

/// The thread, and what it was asked.
#[derive(Debug)]
pub(super) struct Sealing {
    waiting: VecDeque<Waiting>,
    /// The segment that is being sealed.
    asked: Option<u64>,
    jobs: Option<SyncSender<u64>>,
    results: Receiver<Result<(), SealingError>>,
    thread: Option<JoinHandle<()>>,
}

impl Sealing {
    pub(super) fn new(directory: &Path, unsealed: &[u64]) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(1);
        let (answers, results) = sync_channel(1);
        let directory: PathBuf = directory.to_owned();
        let work = move || {
            while let Ok(first_seq) = queue.recv() {
                if answers.send(seal(&directory, first_seq)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("journal-seal".to_owned()).spawn(work)?;
        let waiting = unsealed.iter().map(|&first_seq| Waiting { first_seq, last_seq: 0 }).collect();
        Ok(Self { waiting, asked: None, jobs: Some(jobs), results, thread: Some(thread) })
    }

    /// A segment is complete.
    pub(super) fn add(&mut self, first_seq: u64, last_seq: u64) {
        self.waiting.push_back(Waiting { first_seq, last_seq });
    }

    /// First segment that may not be removed now.
    pub(super) fn first_busy(&self) -> u64 {
        self.asked.or(self.waiting.front().map(|next| next.first_seq)).unwrap_or(u64::MAX)
    }

    /// Whether what waits must not wait any longer, however busy the host is.
    pub(super) fn is_urgent(&self, limits: &Limits) -> bool {
        let room = limits.bytes_max / POSTPONED_SHARE / limits.segment_bytes_max.max(1);
        self.waiting.len() as u64 > room.min(POSTPONED_MAX)
    }

    /// Hears of a segment that was sealed, or was not, and asks for the next one that is durable, if any is to be begun.
    pub(super) fn poll(&mut self, durable_seq: u64, begin: bool) -> Option<Result<(), SealingError>> {
        let result = if self.asked.is_some() { self.results.try_recv().ok() } else { None };
        if result.is_some() {
            self.asked = None;
        }
        if begin
            && self.asked.is_none()
            && let Some(next) = self.waiting.pop_front_if(|next| next.last_seq <= durable_seq)
            && let Some(jobs) = &self.jobs
            && jobs.try_send(next.first_seq).is_ok()
        {
            self.asked = Some(next.first_seq);
        }
        result
    }
}

impl Drop for Sealing {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // What it did not finish, the next writer does.
            let _ = thread.join();
        }
    }
}

/// Seals one segment: a new file under another name, durable, then its name, then the lines go.
fn seal(directory: &Path, first_seq: u64) -> Result<(), SealingError> {
    let plain = files::segment_path(directory, first_seq, Form::Plain);
    let segment = SegmentFile { first_seq, form: Form::Plain, path: plain };
    let unfinished = files::unfinished_path(directory, first_seq);
    let result = write_sealed(&segment, &unfinished).and_then(|()| {
        let named = (|| {
            fs::rename(&unfinished, files::segment_path(directory, first_seq, Form::Sealed))?;
            File::open(directory)?.sync_all()?;
            fs::remove_file(&segment.path)
        })();
        named.map_err(SealingError::Write)
    });
    if result.is_err() {
        // On a full disk it is in the way; the next writer removes it if this does not.
        let _ = fs::remove_file(&unfinished);
    }
    result
}

fn write_sealed(segment: &SegmentFile, to: &Path) -> Result<(), SealingError> {
    let first_seq = segment.first_seq;
    let invalid = |source| SealingError::Invalid { first_seq, source };
    let mut lines = SegmentLines::open(segment).map_err(SealingError::Read)?;
    let mut file = files::open_or_create(to).map_err(SealingError::Write)?;
    file.set_len(0).map_err(SealingError::Write)?;
    let mut sealer = Sealer::new(first_seq).map_err(invalid)?;
    let mut out = Vec::new();
    while let Some(line) = lines.next_line().map_err(SealingError::Read)? {
        sealer.line(line, &mut out).map_err(invalid)?;
        file.write_all(&out).map_err(SealingError::Write)?;
        out.clear();
    }
    sealer.finish(&mut out).map_err(invalid)?;
    file.write_all(&out).and_then(|()| file.sync_all()).map_err(SealingError::Write)
}
