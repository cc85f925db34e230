//! What may be removed, and when: never before a signed record that says so is durable.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::hash::Chain;
use journal::record::{Reason, Removed};
use model::time::WallTime;

use crate::files::{self, Form, SegmentFile};
use crate::segment::{self, SegmentError};

use super::Limits;

/// How often ages are looked at when nothing else is a reason to.
const PERIOD: Duration = Duration::from_secs(60);

/// Segments whose removal is written down and waits until that is durable.
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// File, and the number of the checkpoint that covers its tombstone (0 until there is one).
    doomed: Vec<(PathBuf, u64)>,
    /// Segments before this one are doomed.
    first_kept: u64,
    looked: Option<WallTime>,
}

impl Retention {
    /// Something changed: look again at the next flush.
    pub(super) fn look_again(&mut self) {
        self.looked = None;
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&self, now: WallTime) -> bool {
        self.looked.is_none_or(|looked| Duration::from_nanos(now.0.abs_diff(looked.0)) >= PERIOD)
    }

    /// Which segments are to be removed now, each as the tombstone to write. Segments from `busy` on stay.
    pub(super) fn look(
        &mut self,
        directory: &Path,
        limits: &Limits,
        busy: u64,
        now: WallTime,
    ) -> Result<Vec<Removed>, SegmentError> {
        self.looked = Some(now);
        let segments = files::segments(directory).map_err(SegmentError::file(directory))?;
        let sizes: Vec<u64> =
            segments.iter().map(|segment| segment.path.metadata().map_or(0, |file| file.len())).collect();
        let mut total: u64 = sizes.iter().sum();
        let mut tombstones = Vec::new();
        for ([segment, next], bytes) in segments.array_windows().zip(sizes) {
            if segment.first_seq < self.first_kept {
                total -= bytes;
                continue;
            }
            if segment.first_seq >= busy {
                break;
            }
            // One more segment is about to be written.
            let is_too_much = total + limits.segment_bytes_max > limits.bytes_max;
            let (reason, chain) = match due(segment, next, is_too_much, limits, now) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                // What was found so far is written down first; the mistake is met again at the next look. Or the next
                // one was sealed just now.
                Err(error) if error.is_gone() || !tombstones.is_empty() => {
                    self.looked = None;
                    break;
                }
                Err(error) => return Err(error),
            };
            total -= bytes;
            let (first, through) = (segment.first_seq, next.first_seq - 1);
            tombstones.push(Removed { through, chain, first, records: next.first_seq - first, bytes, reason });
            self.doomed.push((segment.path.clone(), 0));
            self.first_kept = next.first_seq;
        }
        Ok(tombstones)
    }

    /// The tombstones so far are signed by this checkpoint.
    pub(super) fn signed(&mut self, checkpoint: u64) {
        for (_, signed) in self.doomed.iter_mut().filter(|(_, signed)| *signed == 0) {
            *signed = checkpoint;
        }
    }

    /// Removes what may be removed.
    pub(super) fn remove(&mut self, directory: &File, durable_seq: u64) -> io::Result<()> {
        let before = self.doomed.len();
        while let Some((path, signed)) = self.doomed.first() {
            if *signed == 0 || *signed > durable_seq {
                break;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.doomed.remove(0);
        }
        if self.doomed.len() < before { directory.sync_all() } else { Ok(()) }
    }
}

/// Why a segment is to be removed, if it is, and the chain after it.
fn due(
    segment: &SegmentFile,
    next: &SegmentFile,
    is_too_much: bool,
    limits: &Limits,
    now: WallTime,
) -> Result<Option<(Reason, Chain)>, SegmentError> {
    let reason = if is_too_much {
        Reason::Size
    } else if is_too_old(segment, limits, now)? {
        Reason::Age
    } else {
        return Ok(None);
    };
    Ok(Some((reason, chain_between(segment, next)?)))
}

/// The chain between two segments. Both say it: one that is damaged must not keep the one before it for ever.
fn chain_between(segment: &SegmentFile, next: &SegmentFile) -> Result<Chain, SegmentError> {
    segment::chain_before(next).or_else(|error| match segment.form {
        Form::Sealed if !error.is_gone() => segment::chain_after(segment),
        Form::Sealed | Form::Plain => Err(error),
    })
}

/// Whether the last record of a sealed segment is older than allowed. Others are new, or evidence.
fn is_too_old(segment: &SegmentFile, limits: &Limits, now: WallTime) -> Result<bool, SegmentError> {
    let Some(age_max) = limits.age_max.filter(|_| segment.form == Form::Sealed) else { return Ok(false) };
    let file = files::open_segment(&segment.path).map_err(SegmentError::file(&segment.path))?;
    let footer = segment::footer(&segment.path, &file)?;
    let latest = footer.blocks.iter().map(|block| block.latest.0).max().unwrap_or(u64::MAX);
    Ok(Duration::from_nanos(now.0.saturating_sub(latest)) > age_max)
}
