//! What is left after the agent ended, in whatever way: the last whole record, and how much of a torn one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use model::time::WallTime;

use crate::{alive, files, line};

/// What an earlier agent left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Number of the last whole record; `None` in an empty folder.
    pub last_seq: Option<u64>,
    /// Time of that record.
    pub last_time: Option<WallTime>,
    /// That record is `agent.stop`: the agent stopped on request. Otherwise it died.
    pub stopped: bool,
    /// Bytes of a half-written line that were removed from the end of the file.
    pub torn_bytes: u64,
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
}

/// The end of one events file.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Bytes up to and including the last newline.
    pub(crate) whole_bytes: u64,
    /// Bytes after it.
    pub(crate) torn_bytes: u64,
    /// Number, time and type of the last readable record.
    pub(crate) last: Option<(u64, WallTime, String)>,
}

const CHUNK_BYTES: u64 = 64 * 1024;

/// Reads the end of a file backwards, as far as needed for one readable record.
pub(crate) fn tail(file: &File) -> io::Result<Tail> {
    let length = file.metadata()?.len();
    let mut found = Tail { torn_bytes: length, ..Tail::default() };
    let Some(last_newline) = newline_before(file, length)? else {
        return Ok(found);
    };
    found.whole_bytes = last_newline + 1;
    found.torn_bytes = length - found.whole_bytes;
    let mut end = last_newline;
    loop {
        let start = newline_before(file, end)?.map_or(0, |newline| newline + 1);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, start)?;
        if let Ok(head) = line::decode_head(&bytes) {
            found.last = Some((head.seq, head.time.0, head.type_word.into_owned()));
            return Ok(found);
        }
        if start == 0 {
            return Ok(found);
        }
        end = start - 1;
    }
}

/// Offset of the last newline before `end`.
fn newline_before(file: &File, mut end: u64) -> io::Result<Option<u64>> {
    let mut chunk = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES);
        chunk.resize(usize::try_from(end - start).unwrap_or(usize::MAX), 0);
        file.read_exact_at(&mut chunk, start)?;
        if let Some(at) = chunk.iter().rposition(|&byte| byte == b'\n') {
            return Ok(Some(start + at as u64));
        }
        end = start;
    }
    Ok(None)
}

/// Removes a torn last line from the current file and finds the last record of the folder. Returns the size and
/// the number of the first record of the current file beside what was found.
pub(crate) fn recover(directory: &Path, current: &File) -> io::Result<(Recovery, u64)> {
    let mut found = tail(current)?;
    if found.torn_bytes > 0 {
        current.set_len(found.whole_bytes)?;
    }
    let mut older = files::rotated(directory)?;
    while found.last.is_none()
        && let Some((first_seq, path)) = older.pop()
    {
        found.last = tail(&File::open(path)?)?.last;
        if found.last.is_none() {
            // Nothing readable in it, but its number is taken.
            found.last = Some((first_seq, WallTime::default(), String::new()));
        }
    }
    let recovery = Recovery {
        last_seq: found.last.as_ref().map(|(seq, ..)| *seq),
        last_time: found.last.as_ref().map(|(_, time, _)| *time).filter(|time| time.0 > 0),
        stopped: found.last.as_ref().is_some_and(|(.., word)| word == "agent.stop"),
        torn_bytes: found.torn_bytes,
        last_alive: alive::last_alive(directory)?,
    };
    Ok((recovery, found.whole_bytes))
}
