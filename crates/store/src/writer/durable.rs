//! What survives a power failure: fdatasync on a thread of its own, and memory of what it has not confirmed.
//!
//! When fdatasync fails, the kernel may forget that the pages are dirty: to call it again and see it succeed proves
//! nothing. So the bytes since the last success are kept here and written again before the next attempt.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use model::time::WallTime;

use super::output::Wrote;

/// Memory for bytes that fdatasync has not confirmed.
pub const UNCONFIRMED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// With this much unconfirmed, fdatasync does not wait for its interval.
const EARLY_BYTES: usize = 1024 * 1024;

/// Lines in one file, one after the other, that fdatasync has not confirmed.
#[derive(Debug)]
struct Region {
    file: Arc<File>,
    offset: u64,
    bytes: Vec<u8>,
    /// Number of the last record.
    last_seq: u64,
    /// Records of the region for which there was no memory.
    forgotten: u64,
}

/// The thread, and what it was asked.
#[derive(Debug)]
pub(super) struct Durable {
    /// Asked for now.
    asked: Vec<Region>,
    is_asked: bool,
    /// Not yet asked for.
    waiting: VecDeque<Region>,
    unconfirmed_bytes: usize,
    durable_seq: u64,
    interval: Duration,
    last_asked: WallTime,
    failed: bool,
    directory: Arc<File>,
    jobs: Option<SyncSender<Vec<Arc<File>>>>,
    results: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a look at the thread brought.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) error: Option<io::Error>,
    /// Records that may be lost: fdatasync failed, and there was no memory to keep them.
    pub(super) in_doubt: u64,
}

impl Durable {
    pub(super) fn new(directory: Arc<File>, durable_seq: u64, interval: Duration) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Vec<Arc<File>>>(1);
        let (answers, results) = sync_channel(1);
        let work = move || {
            while let Ok(files) = queue.recv() {
                let result = files.iter().try_for_each(|file| file.sync_data());
                if answers.send(result).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("journal-sync".to_owned()).spawn(work)?;
        Ok(Self {
            asked: Vec::new(),
            is_asked: false,
            waiting: VecDeque::new(),
            unconfirmed_bytes: 0,
            durable_seq,
            interval,
            last_asked: WallTime::default(),
            failed: false,
            directory,
            jobs: Some(jobs),
            results,
            thread: Some(thread),
        })
    }

    /// Number of the last record that survives a power failure.
    pub(super) fn seq(&self) -> u64 {
        self.durable_seq
    }

    /// Remembers lines that were written.
    pub(super) fn wrote(&mut self, wrote: Wrote, lines: &[u8], records: u64, last_seq: u64) {
        let follows = |region: &&mut Region| {
            let end = region.offset + region.bytes.len() as u64;
            region.forgotten == 0 && end == wrote.offset && Arc::ptr_eq(&region.file, &wrote.file)
        };
        let fits = self.unconfirmed_bytes + lines.len() <= UNCONFIRMED_BYTES_MAX;
        let kept = if fits { lines } else { &[] };
        let forgotten = if fits { 0 } else { records };
        self.unconfirmed_bytes += kept.len();
        match self.waiting.back_mut().filter(follows) {
            Some(region) => {
                region.bytes.extend_from_slice(kept);
                (region.last_seq, region.forgotten) = (last_seq, forgotten);
            }
            None => self.waiting.push_back(Region {
                file: wrote.file,
                offset: wrote.offset,
                bytes: kept.to_vec(),
                last_seq,
                forgotten,
            }),
        }
        self.join_forgotten();
    }

    /// While fdatasync hangs there is no memory, and then one region stands for all that is forgotten in a file.
    fn join_forgotten(&mut self) {
        let Some(last) = self.waiting.pop_back() else { return };
        match self.waiting.back_mut().filter(|before| before.forgotten > 0 && Arc::ptr_eq(&before.file, &last.file)) {
            Some(before) if last.bytes.is_empty() => {
                (before.last_seq, before.forgotten) = (last.last_seq, before.forgotten + last.forgotten);
            }
            _ => self.waiting.push_back(last),
        }
    }

    /// Hears whether the thread is done and asks it for more if that is due.
    pub(super) fn poll(&mut self, now: WallTime) -> Outcome {
        let mut outcome = match self.is_asked.then(|| self.results.try_recv()) {
            None | Some(Err(TryRecvError::Empty)) => Outcome::default(),
            Some(Ok(result)) => self.answered(result),
            Some(Err(TryRecvError::Disconnected)) => self.answered(Err(thread_ended())),
        };
        let since = Duration::from_nanos(now.0.abs_diff(self.last_asked.0));
        let due = since >= self.interval || (self.unconfirmed_bytes >= EARLY_BYTES && !self.failed);
        if due && !self.is_asked && !self.waiting.is_empty() {
            self.last_asked = now;
            outcome.error = self.ask().err().or(outcome.error);
        }
        outcome
    }

    /// Waits until everything so far is durable, or fdatasync has failed once.
    pub(super) fn finish(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            if self.is_asked {
                let result = self.results.recv().unwrap_or_else(|_ended| Err(thread_ended()));
                let next = self.answered(result);
                outcome.in_doubt += next.in_doubt;
                if next.error.is_some() {
                    return Outcome { error: next.error, ..outcome };
                }
            }
            if self.waiting.is_empty() {
                return outcome;
            }
            if let Err(error) = self.ask() {
                return Outcome { error: Some(error), ..outcome };
            }
        }
    }

    fn ask(&mut self) -> io::Result<()> {
        if self.failed {
            for region in &self.waiting {
                region.file.write_all_at(&region.bytes, region.offset)?;
            }
        }
        let mut files: Vec<Arc<File>> = Vec::new();
        for region in &self.waiting {
            if files.last().is_none_or(|last| !Arc::ptr_eq(last, &region.file)) {
                files.push(Arc::clone(&region.file));
            }
        }
        // A new file has a name only when its folder is durable as well.
        files.push(Arc::clone(&self.directory));
        let jobs = self.jobs.as_ref().ok_or_else(thread_ended)?;
        jobs.try_send(files).map_err(|_ended| thread_ended())?;
        self.asked.extend(self.waiting.drain(..));
        self.is_asked = true;
        Ok(())
    }

    fn answered(&mut self, result: io::Result<()>) -> Outcome {
        self.is_asked = false;
        self.failed = result.is_err();
        let Err(error) = result else {
            self.durable_seq = self.asked.last().map_or(self.durable_seq, |region| region.last_seq);
            self.unconfirmed_bytes -= self.asked.drain(..).map(|region| region.bytes.len()).sum::<usize>();
            return Outcome::default();
        };
        let in_doubt = self.asked.iter_mut().map(|region| std::mem::take(&mut region.forgotten)).sum();
        for region in self.asked.drain(..).rev() {
            self.waiting.push_front(region);
        }
        Outcome { error: Some(error), in_doubt }
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

fn thread_ended() -> io::Error {
    io::Error::other("the thread that calls fdatasync has ended")
}
