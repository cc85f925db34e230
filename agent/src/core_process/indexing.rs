//! Keeps the index up with the journal, in a thread that always yields to everything else, and waits while the host is busy:
//! what is not indexed is found all the same, only later.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use search::index::indexer::{IndexError, Indexer, Progress};
use search::source::Journal;
use tracing::{error, info, warn};

use super::leisure::Leisure;
use crate::clock;
use crate::search_view::index_folder;

/// Pause when the index has caught up, and after an error.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause between two steps while it is behind: indexing must not take a processor for itself.
const BREATH: Duration = Duration::from_millis(5);
/// How long a busy host keeps it waiting; then it works until it has caught up.
const PATIENCE_NANOS: u64 = 30_000_000_000;
/// Priority of the thread: whatever else wants to run goes first.
const NICE: i32 = 19;

/// Where the index stood at the last step.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// Records that were not indexed.
    behind: u64,
    /// Number of the last record that it knew of.
    listed_through: u64,
}

impl Standing {
    fn after(progress: &Progress) -> Self {
        Self { behind: progress.records_behind, listed_through: progress.journal_through.unwrap_or_default() }
    }

    /// Records that are not indexed, of a journal that is written up to this number.
    fn lag(self, written: u64) -> u64 {
        self.behind + written.saturating_sub(self.listed_through)
    }
}

/// Whether indexing waits for a host that is less busy.
const fn waits(has_leisure: bool, nanos_since_caught_up: u64) -> bool {
    !has_leisure && nanos_since_caught_up < PATIENCE_NANOS
}

/// The running indexer. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Indexing {
    stop: Option<Sender<()>>,
    standing: Arc<Mutex<Standing>>,
    thread: Option<JoinHandle<()>>,
}

impl Indexing {
    /// Starts to index. Without an index everything works, and searching takes longer; so no error ends anything.
    pub(super) fn start(journal: &Path) -> Self {
        let (stop, stopped) = mpsc::channel();
        let standing = Arc::new(Mutex::new(Standing::default()));
        let (shared, folder) = (Arc::clone(&standing), journal.to_owned());
        let work = move || {
            yield_to_all();
            let wait = |pause| !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout));
            follow(&folder, &shared, &wait);
        };
        match std::thread::Builder::new().name("index".to_owned()).spawn(work) {
            Ok(thread) => Self { stop: Some(stop), standing, thread: Some(thread) },
            Err(problem) => {
                error!("the journal is not indexed: no thread ({problem}); searching works and takes longer");
                Self { stop: None, standing, thread: None }
            }
        }
    }

    /// Records that are not indexed yet, of a journal that is written up to this number.
    pub(super) fn lag(&self, written: u64) -> u64 {
        self.standing.lock().map(|standing| *standing).unwrap_or_default().lag(written)
    }
}

impl Drop for Indexing {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the indexer ended by a panic");
        }
    }
}

/// Indexes until `wait` says that it was stopped.
fn follow(journal: &Path, standing: &Mutex<Standing>, wait: &impl Fn(Duration) -> bool) {
    let (mut failing, mut damaged) = (false, 0);
    let mut indexer = None;
    let mut caught_up = clock::boot();
    let mut leisure = Leisure::new(caught_up);
    loop {
        let now = clock::boot();
        if waits(leisure.has(now), now.nanos_since(caught_up)) {
            if wait(PAUSE) {
                return;
            }
            continue;
        }
        let step = match &mut indexer {
            Some(indexer) => Indexer::step(indexer),
            None => Indexer::open(&index_folder(journal), Journal::new(journal)).map(|opened| {
                indexer = Some(opened);
                Progress::default()
            }),
        };
        let pause = match step {
            Ok(progress) => {
                if std::mem::take(&mut failing) {
                    info!("the journal is indexed again");
                }
                if let Ok(mut standing) = standing.lock() {
                    *standing = Standing::after(&progress);
                }
                if progress.segments_damaged > damaged {
                    warn!(
                        segments = progress.segments_damaged,
                        "part of the journal is damaged and not indexed; warder verify says more"
                    );
                }
                damaged = progress.segments_damaged;
                if progress.blocks_behind > 0 {
                    BREATH
                } else {
                    caught_up = now;
                    PAUSE
                }
            }
            Err(problem) => {
                say_once(&mut failing, problem);
                PAUSE
            }
        };
        if wait(pause) {
            return;
        }
    }
}

fn say_once(failing: &mut bool, problem: IndexError) {
    if !std::mem::replace(failing, true) {
        warn!("the journal is not indexed: {:#}; it is tried again", anyhow::Error::new(problem));
    }
}

#[expect(unsafe_code, reason = "the standard library has no priority of threads")]
fn yield_to_all() {
    // SAFETY: setpriority(2) with 0 changes the calling thread only (Linux), and lowering a priority needs no right.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_host_keeps_it_waiting_up_to_a_bound() {
        assert!(!waits(true, 0));
        assert!(waits(false, PATIENCE_NANOS - 1));
        assert!(!waits(false, PATIENCE_NANOS));
    }

    #[test]
    fn what_was_written_while_it_waited_counts_as_lag() {
        let progress = Progress { records_behind: 3, journal_through: Some(10), ..Progress::default() };
        assert_eq!(Standing::after(&progress).lag(10), 3);
        assert_eq!(Standing::after(&progress).lag(25), 18);
        assert_eq!(Standing::default().lag(25), 25, "nothing is known to be indexed");
    }
}
