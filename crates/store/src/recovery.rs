//! What is left after the agent ended, in whatever way: the end of the last segment, checked line by line.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use journal::author::Place;
use journal::check::{SegmentCheck, Why};
use journal::key::KeyId;
use journal::record::{CHECKPOINT, Recovered};
use journal::witness::Witness;
use model::time::WallTime;

use crate::files::{self, Form, SegmentFile};
use crate::segment::{SegmentError, SegmentLines};
use crate::{alive, keys};

/// What an earlier agent left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Number of the last whole record; `None` in an empty folder.
    pub last_seq: Option<u64>,
    /// Time of that record.
    pub last_time: Option<WallTime>,
    /// The last record (checkpoints aside) is `agent.stop`: the agent stopped on request. Otherwise it died.
    pub stopped: bool,
    /// Bytes after the last whole record that were removed from the end.
    pub torn_bytes: u64,
    /// File in the folder that keeps those bytes, where they were more than half a line.
    pub kept_as: Option<String>,
    /// When the agent was last alive, by the `alive` file.
    pub last_alive: Option<WallTime>,
}

impl Recovery {
    /// Begin of the span in which nothing was observed: the later of last record and last heartbeat. `None`: the
    /// agent never ran here.
    #[must_use]
    pub fn unobserved_since(&self) -> Option<WallTime> {
        self.last_time.max(self.last_alive)
    }

    /// The record that says what was repaired; `None` if nothing was.
    pub(crate) fn record(&self) -> Option<Recovered> {
        let kept_as = self.kept_as.clone();
        (self.torn_bytes > 0).then_some(Recovered { torn_bytes: self.torn_bytes, last_seq: self.last_seq, kept_as })
    }
}

/// Where a new writer goes on.
pub(crate) struct Found {
    pub(crate) recovery: Recovery,
    pub(crate) place: Place,
    /// Number of the last checkpoint; 0 if that is not in the active segment.
    pub(crate) checkpointed: u64,
    /// Key in force at the end.
    pub(crate) key: Option<KeyId>,
    /// The segment to go on with; `None`: a new one begins at `place`.
    pub(crate) active: Option<Active>,
    /// Plain segments that are complete.
    pub(crate) unsealed: Vec<u64>,
}

/// A segment that is not complete.
pub(crate) struct Active {
    pub(crate) bytes: u64,
    /// Time of its first record.
    pub(crate) since: WallTime,
}

/// Finds the end of the journal and repairs it.
pub(crate) fn recover(directory: &Path) -> Result<Found, SegmentError> {
    let io = SegmentError::file;
    files::remove_leftovers(directory).map_err(io(directory))?;
    let mut segments = files::segments(directory).map_err(io(directory))?;
    let mut recovery =
        Recovery { last_alive: alive::last_alive(directory).map_err(io(directory))?, ..Recovery::default() };
    let plain = |segments: &[SegmentFile]| {
        segments.iter().filter(|segment| segment.form == Form::Plain).map(|segment| segment.first_seq).collect()
    };
    if let Some(last) = segments.pop_if(|last| last.form == Form::Plain) {
        let end = read_to_end(&last)?;
        repair(directory, &last, &end, &mut recovery)?;
        if let Some(since) = end.since {
            (recovery.last_seq, recovery.last_time) = (Some(end.place.next_seq - 1), end.last_time);
            recovery.stopped = end.stopped;
            let active = Some(Active { bytes: end.offset, since });
            let unsealed = plain(&segments);
            return Ok(Found {
                recovery,
                place: end.place,
                checkpointed: end.checkpointed,
                key: end.key,
                active,
                unsealed,
            });
        }
        // Not even its first record is there.
        fs::remove_file(&last.path).map_err(io(&last.path))?;
    }
    let unsealed = plain(&segments);
    let (place, key) = match segments.last() {
        None => (Place::start(keys::random_journal_id().map_err(io(directory))?), None),
        Some(last) => {
            let end = read_to_end(last)?;
            (recovery.last_seq, recovery.last_time) = (Some(end.place.next_seq - 1), end.last_time);
            recovery.stopped = end.stopped;
            (end.place, end.key)
        }
    };
    let checkpointed = place.next_seq - 1;
    Ok(Found { recovery, place, checkpointed, key, active: None, unsealed })
}

/// The end of a segment.
struct End {
    place: Place,
    checkpointed: u64,
    key: Option<KeyId>,
    /// Bytes of whole, valid lines.
    offset: u64,
    /// Time of the first record; `None` if there is no valid one.
    since: Option<WallTime>,
    last_time: Option<WallTime>,
    stopped: bool,
}

/// Reads a segment up to its last valid record.
///
/// If a checkpoint does not fit to the records before it, one of them was changed, and to go on after them would sign
/// the change: then the end is the checkpoint before.
fn read_to_end(segment: &SegmentFile) -> Result<End, SegmentError> {
    static NO_WITNESS: Witness = Witness::none();
    let mut check = SegmentCheck::new(segment.first_seq, &NO_WITNESS);
    let mut end = End {
        place: Place::start(journal::hash::JournalId::default()),
        checkpointed: 0,
        key: None,
        offset: 0,
        since: None,
        last_time: None,
        stopped: false,
    };
    let mut proved: Option<End> = None;
    let mut lines = SegmentLines::open(segment)?;
    let fault = loop {
        let Some(line) = lines.next_line()? else { break None };
        let is_checkpoint = match check.line(line) {
            Ok(head) => {
                end.last_time = head.wall_time();
                end.since = end.since.or(end.last_time);
                if head.type_word != CHECKPOINT {
                    end.stopped = head.type_word == "agent.stop";
                }
                head.type_word == CHECKPOINT
            }
            Err(fault) => break Some(fault),
        };
        end.offset = lines.offset();
        if is_checkpoint {
            end.checkpointed = check.next_seq() - 1;
            proved = Some(end.at(&mut check));
        }
    };
    let end = end.at(&mut check);
    match fault {
        Some(fault) if !matches!(fault.why, Why::NotARecord | Why::Number { .. }) => {
            Ok(proved.unwrap_or(End { since: None, offset: 0, ..end }))
        }
        _ => Ok(end),
    }
}

impl End {
    /// The same, where the check stands.
    fn at(&self, check: &mut SegmentCheck<'_>) -> Self {
        let place = Place {
            journal: check.journal(),
            next_seq: check.next_seq(),
            chain: check.chain(),
            segment: check.first_seq(),
            tree: check.tree().clone(),
        };
        let key = check.key().map(|key| key.id());
        Self { place, key, ..*self }
    }
}

/// Removes what follows the last valid record. More than half a line is kept in a file of its own: it may be evidence.
fn repair(directory: &Path, segment: &SegmentFile, end: &End, recovery: &mut Recovery) -> Result<(), SegmentError> {
    let repaired = (|| {
        let mut file = files::open_or_create(&segment.path)?;
        let torn_bytes = file.metadata()?.len().saturating_sub(end.offset);
        if torn_bytes == 0 {
            return Ok(());
        }
        recovery.torn_bytes = torn_bytes;
        if has_newline(&mut file, end.offset)? {
            let name = files::damaged_name(segment.first_seq, end.offset);
            let mut kept = files::open_or_create(&directory.join(&name))?;
            kept.set_len(0)?;
            file.seek(SeekFrom::Start(end.offset))?;
            io::copy(&mut file, &mut kept)?;
            kept.sync_all()?;
            recovery.kept_as = Some(name);
        }
        file.set_len(end.offset)?;
        file.sync_all()
    })();
    repaired.map_err(SegmentError::file(&segment.path))
}

fn has_newline(file: &mut File, from: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(from))?;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(false);
        }
        if chunk.get(..count).is_some_and(|chunk| chunk.contains(&b'\n')) {
            return Ok(true);
        }
    }
}
