//! Verifies a folder: reads every byte of every segment, several segments at a time, and joins what was found.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use journal::check::{Checked, Fault, SegmentCheck, Why};
use journal::key::PublicKey;
use journal::sealed::SealedCheck;
use journal::verify::{Report, Verifier};
use journal::witness::Witness;

use crate::files::{self, Form, SegmentFile};
use crate::segment::{self, Lines, SegmentError};

/// Longest witness file that is read: more than a million checkpoints.
pub const WITNESS_BYTES_MAX: u64 = 1 << 30;

/// How often the journal of a running agent is tried before its retention is too fast for us.
const ATTEMPTS_MAX: u32 = 5;

/// What to verify with.
#[derive(Debug, Default)]
pub struct Trust {
    /// Keys that the caller knows. Empty: the journal's own first key is taken, and the report says so.
    pub keys: Vec<PublicKey>,
    /// Checkpoints that somebody else kept.
    pub witness: Witness,
}

/// One segment after its check.
struct Done {
    checked: Checked,
    torn_bytes: u64,
}

/// Verifies all segments in a folder, with as many threads as the host has processors. An error means that something
/// could not be read; whatever could be read and is wrong is in the report.
pub fn verify(directory: &Path, trust: &Trust) -> Result<Report, SegmentError> {
    let mut attempts = 1..ATTEMPTS_MAX;
    loop {
        match verify_once(directory, trust) {
            // Retention removed a segment while others were read: begin again with those that are there.
            Err(error) if error.is_gone() && attempts.next().is_some() => {}
            other => return other,
        }
    }
}

fn verify_once(directory: &Path, trust: &Trust) -> Result<Report, SegmentError> {
    let segments = files::segments(directory).map_err(SegmentError::file(directory))?;
    let threads = thread::available_parallelism().map_or(1, usize::from).min(segments.len().max(1));
    let next = AtomicUsize::new(0);
    let mut verifier = Verifier::new(&trust.keys, &trust.witness);
    thread::scope(|scope| {
        let (done, results) = sync_channel(threads);
        for _ in 0..threads {
            let (done, segments, next) = (done.clone(), &segments, &next);
            scope.spawn(move || {
                while let Some((at, segment)) = take(segments, next) {
                    if done.send((at, check(segment, at + 1 == segments.len(), &trust.witness))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        // They are done in any order, and joined in theirs.
        let mut early = std::collections::BTreeMap::new();
        for due in 0..segments.len() {
            while !early.contains_key(&due) {
                let Ok((at, result)) = results.recv() else { break };
                early.insert(at, result);
            }
            let Some(result) = early.remove(&due) else { break };
            let Done { checked, torn_bytes } = result?;
            verifier.segment(checked);
            verifier.torn(torn_bytes);
            if verifier.is_broken() {
                // Whatever is later proves nothing any more, also if it cannot be read.
                break;
            }
        }
        Ok(())
    })?;
    Ok(verifier.finish())
}

fn take<'a>(segments: &'a [SegmentFile], next: &AtomicUsize) -> Option<(usize, &'a SegmentFile)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    segments.get(at).map(|segment| (at, segment))
}

fn check(segment: &SegmentFile, is_last: bool, witness: &Witness) -> Result<Done, SegmentError> {
    let path = &segment.path;
    let file = match files::open_segment(path) {
        // Sealed since it was listed, by an agent that runs.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && segment.form == Form::Plain => {
            let directory = path.parent().unwrap_or(Path::new("."));
            let path = files::segment_path(directory, segment.first_seq, Form::Sealed);
            return check(&SegmentFile { form: Form::Sealed, path, ..segment.clone() }, is_last, witness);
        }
        other => other.map_err(SegmentError::file(path))?,
    };
    match segment.form {
        Form::Plain => check_plain(segment, file, is_last, witness),
        Form::Sealed => check_sealed(segment, &file, witness),
    }
}

fn check_plain(segment: &SegmentFile, file: File, is_last: bool, witness: &Witness) -> Result<Done, SegmentError> {
    let mut check = SegmentCheck::new(segment.first_seq, witness);
    let mut lines = Lines::new(file);
    let mut torn_bytes = 0;
    loop {
        match lines.next_line().map_err(SegmentError::file(&segment.path))? {
            Some(line) => {
                if check.line(line).is_err() {
                    break;
                }
            }
            None if is_last => {
                torn_bytes = lines.torn_bytes();
                break;
            }
            None => {
                if lines.torn_bytes() > 0 {
                    let seq = check.next_seq();
                    check.fail(Fault { first: seq, last: seq, why: Why::NotARecord });
                }
                break;
            }
        }
    }
    Ok(Done { checked: check.finish(), torn_bytes })
}

fn check_sealed(segment: &SegmentFile, file: &File, witness: &Witness) -> Result<Done, SegmentError> {
    let first_seq = segment.first_seq;
    let damaged = |why: String| {
        let mut check = SegmentCheck::new(first_seq, witness);
        check.fail(Fault { first: first_seq, last: first_seq, why: Why::Sealed(why) });
        Done { checked: check.finish(), torn_bytes: 0 }
    };
    let footer = match segment::footer(&segment.path, file) {
        Err(SegmentError::Damaged { why, .. }) => return Ok(damaged(why)),
        other => other?,
    };
    if footer.first_seq != first_seq {
        return Ok(damaged("its name has another number".to_owned()));
    }
    let blocks = footer.blocks.clone();
    let error = || SegmentError::file(&segment.path);
    let mut check = SealedCheck::new(footer, witness).map_err(error())?;
    let mut frame = Vec::new();
    for block in &blocks {
        segment::read_block(file, block, &mut frame).map_err(error())?;
        if check.block(block, &frame).is_err() {
            break;
        }
    }
    Ok(Done { checked: check.finish(), torn_bytes: 0 })
}
