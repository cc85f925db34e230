//! What survives a power failure: fdatasync on a thread of its own, and memory of what it has not confirmed.
//!
//! When fdatasync fails, the kernel may forget that pages are dirty, and a file system may take them again and still not
//! store them: on ext4, blocks whose first write failed stay unwritten although a second fdatasync succeeds. So a file
//! is not trusted again after a failure. The bytes since the last success are kept here; together with what the file
//! had before they are written to a new file, which takes the name when it is durable.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use model::time::WallTime;

use super::output::Wrote;
use crate::files::{self, Form};

/// Memory for bytes that fdatasync has not confirmed.
pub const UNCONFIRMED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// With this much unconfirmed, fdatasync does not wait for its interval.
const EARLY_BYTES: usize = 1024 * 1024;
/// After a failure a whole segment is written again: not more often than this.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Lines in one file, one after the other, that fdatasync has not confirmed.
#[derive(Debug)]
struct Region {
    /// First record of the segment.
    segment: u64,
    file: Arc<File>,
    offset: u64,
    bytes: Vec<u8>,
    /// Number of the last record.
    last_seq: u64,
    /// Records of the region for which there was no memory.
    forgotten: u64,
}

/// What the thread is to do with some regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Sync,
    Replace,
}

/// The thread, and what it was asked.
#[derive(Debug)]
pub(super) struct Durable {
    /// What the thread is doing, with regions that are not in `waiting`.
    asked: Option<Task>,
    waiting: VecDeque<Region>,
    unconfirmed_bytes: usize,
    durable_seq: u64,
    interval: Duration,
    last_asked: WallTime,
    failed: bool,
    hurried: bool,
    jobs: Option<SyncSender<(Task, Vec<Region>)>>,
    results: Receiver<(io::Result<()>, Vec<Region>)>,
    thread: Option<JoinHandle<()>>,
}

/// What a look at the thread brought.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) error: Option<io::Error>,
    /// Records that may be lost: fdatasync failed, and there was no memory to keep them.
    pub(super) in_doubt: u64,
    /// The files of unconfirmed segments were replaced: they must be opened again.
    pub(super) replaced: bool,
}

impl Durable {
    pub(super) fn new(directory: PathBuf, folder: Arc<File>, durable_seq: u64, interval: Duration) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<(Task, Vec<Region>)>(1);
        let (answers, results) = sync_channel(1);
        let work = move || {
            while let Ok((task, regions)) = queue.recv() {
                let result = match task {
                    Task::Sync => sync(&regions, &folder),
                    Task::Replace => replace(&regions, &directory, &folder),
                };
                if answers.send((result, regions)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("journal-sync".to_owned()).spawn(work)?;
        Ok(Self {
            asked: None,
            waiting: VecDeque::new(),
            unconfirmed_bytes: 0,
            durable_seq,
            interval,
            last_asked: WallTime::default(),
            failed: false,
            hurried: false,
            jobs: Some(jobs),
            results,
            thread: Some(thread),
        })
    }

    /// Number of the last record that survives a power failure.
    pub(super) fn seq(&self) -> u64 {
        self.durable_seq
    }

    /// Asks the thread as soon as it is free.
    pub(super) fn hurry(&mut self) {
        self.hurried = true;
    }

    /// Files are being replaced: nothing may be written to them.
    pub(super) fn is_replacing(&self) -> bool {
        self.asked == Some(Task::Replace)
    }

    /// Remembers lines that were written.
    pub(super) fn wrote(&mut self, wrote: Wrote, lines: &[u8], records: u64, last_seq: u64) {
        let fits = self.unconfirmed_bytes + lines.len() <= UNCONFIRMED_BYTES_MAX;
        let (kept, forgotten) = if fits { (lines, 0) } else { (&[][..], records) };
        self.unconfirmed_bytes += kept.len();
        let same_file = self.waiting.back_mut().filter(|region| Arc::ptr_eq(&region.file, &wrote.file));
        match same_file {
            // While fdatasync hangs there is no memory, and one region stands for all that is forgotten in a file.
            Some(region) if !fits => {
                (region.last_seq, region.forgotten) = (last_seq, region.forgotten + forgotten);
            }
            Some(region) if region.forgotten == 0 => {
                region.bytes.extend_from_slice(kept);
                region.last_seq = last_seq;
            }
            _ => {
                let Wrote { segment, file, offset, .. } = wrote;
                self.waiting.push_back(Region { segment, file, offset, bytes: kept.to_vec(), last_seq, forgotten });
            }
        }
    }

    /// Hears whether the thread is done and asks it for more if that is due.
    pub(super) fn poll(&mut self, now: WallTime) -> Outcome {
        let answer = self.asked.map(|task| (task, self.results.try_recv()));
        let mut outcome = match answer {
            None | Some((_, Err(TryRecvError::Empty))) => Outcome::default(),
            Some((task, Ok((result, regions)))) => self.answered(task, result, regions),
            Some((_, Err(TryRecvError::Disconnected))) => Outcome { error: Some(thread_ended()), ..Outcome::default() },
        };
        let since = Duration::from_nanos(now.0.abs_diff(self.last_asked.0));
        let interval = if self.failed { self.interval.max(RETRY_INTERVAL) } else { self.interval };
        let due = since >= interval || ((self.hurried || self.unconfirmed_bytes >= EARLY_BYTES) && !self.failed);
        if due && self.asked.is_none() && !self.waiting.is_empty() {
            self.last_asked = now;
            self.hurried = false;
            outcome.error = self.ask().err().or(outcome.error);
        }
        outcome
    }

    /// Waits until everything so far is durable, or has failed once.
    pub(super) fn finish(&mut self) -> Outcome {
        let mut all = Outcome::default();
        loop {
            if let Some(task) = self.asked {
                let outcome = match self.results.recv() {
                    Ok((result, regions)) => self.answered(task, result, regions),
                    Err(_ended) => Outcome { error: Some(thread_ended()), ..Outcome::default() },
                };
                all.in_doubt += outcome.in_doubt;
                all.replaced |= outcome.replaced;
                if outcome.error.is_some() {
                    return Outcome { error: outcome.error, ..all };
                }
            }
            if self.waiting.is_empty() {
                return all;
            }
            if let Err(error) = self.ask() {
                return Outcome { error: Some(error), ..all };
            }
        }
    }

    fn ask(&mut self) -> io::Result<()> {
        let task = if self.failed { Task::Replace } else { Task::Sync };
        let jobs = self.jobs.as_ref().ok_or_else(thread_ended)?;
        jobs.try_send((task, self.waiting.drain(..).collect())).map_err(|_ended| thread_ended())?;
        self.asked = Some(task);
        Ok(())
    }

    fn answered(&mut self, task: Task, result: io::Result<()>, mut regions: Vec<Region>) -> Outcome {
        self.asked = None;
        self.failed = result.is_err();
        let Err(error) = result else {
            self.durable_seq = regions.last().map_or(self.durable_seq, |region| region.last_seq);
            self.unconfirmed_bytes -= regions.iter().map(|region| region.bytes.len()).sum::<usize>();
            return Outcome { replaced: task == Task::Replace, ..Outcome::default() };
        };
        let in_doubt = regions.iter_mut().map(|region| std::mem::take(&mut region.forgotten)).sum();
        for region in regions.into_iter().rev() {
            self.waiting.push_front(region);
        }
        Outcome { error: Some(error), in_doubt, replaced: false }
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing to tell that its missing answer has not told.
            let _ = thread.join();
        }
    }
}

/// Regions of one file follow each other.
fn by_file(regions: &[Region]) -> impl Iterator<Item = &[Region]> {
    regions.chunk_by(|left, right| Arc::ptr_eq(&left.file, &right.file))
}

fn sync(regions: &[Region], folder: &File) -> io::Result<()> {
    for region in by_file(regions).filter_map(<[Region]>::first) {
        region.file.sync_data()?;
    }
    // A new file has a name only when its folder is durable as well.
    folder.sync_data()
}

/// Gives segments new files. Whatever happens, the old file keeps its name until the new one is durable.
fn replace(regions: &[Region], directory: &std::path::Path, folder: &File) -> io::Result<()> {
    for regions in by_file(regions) {
        let Some(Region { segment, file: old, .. }) = regions.first() else { continue };
        let path = files::replacement_path(directory, *segment);
        let written = (|| {
            let new = files::open_or_create(&path)?;
            new.set_len(0)?;
            copy(old, &new)?;
            for region in regions {
                new.write_all_at(&region.bytes, region.offset)?;
            }
            new.sync_all()?;
            fs::rename(&path, files::segment_path(directory, *segment, Form::Plain))
        })();
        if written.is_err() {
            // It is in the way on a full disk; the next attempt begins from nothing.
            let _ = fs::remove_file(&path);
        }
        written?;
    }
    folder.sync_all()
}

fn copy(from: &File, to: &File) -> io::Result<()> {
    let mut chunk = vec![0; 256 * 1024];
    let mut offset = 0;
    loop {
        let count = match from.read_at(&mut chunk, offset) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        to.write_all_at(&chunk[..count], offset)?;
        offset += count as u64;
    }
}

fn thread_ended() -> io::Error {
    io::Error::other("the thread that calls fdatasync has ended")
}
