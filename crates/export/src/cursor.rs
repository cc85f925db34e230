//! Where an export stands, on disk: the last record that its receiver took, and what the receiver still has to be told.
//!
//! A mark is a number together with the hash of its line. After a power failure the journal can end before a record
//! that was delivered already, and give its number to another one; the hash tells the two apart.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::files::CURSORS;
use store::time::Timestamp;

/// Marks that are kept: the position, and older ones to go back to.
const MARKS_MAX: usize = 8;
/// Pause between two older marks, in the time of the records.
const MARK_SPACING_NANOS: u64 = 10_000_000_000;
/// Losses that wait for being told; further ones join the last.
const UNREPORTED_MAX: usize = 16;
/// Larger than any cursor: a longer file is not one.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A record, identified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    /// SHA-256 of its line, in hex.
    sha256: String,
}

impl Mark {
    pub(crate) fn new(seq: u64, time: Timestamp, line: &[u8]) -> Self {
        Self { seq, time, sha256: hash(line) }
    }

    pub(crate) fn is(&self, line: &[u8]) -> bool {
        self.sha256 == hash(line)
    }
}

fn hash(line: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(line).iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("memory does not fail");
        hex
    })
}

/// Records that the receiver did not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loss {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) count: u64,
    /// `removed`, `unreadable`, `refused`.
    pub(crate) reason: String,
}

/// The state of one export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Oldest first; the last one is the position.
    marks: Vec<Mark>,
    /// Losses that the receiver has not been told yet.
    #[serde(default)]
    pub(crate) unreported: Vec<Loss>,
}

impl Cursor {
    /// Number of the last delivered record; 0 before the first.
    pub(crate) fn seq(&self) -> u64 {
        self.marks.last().map_or(0, |mark| mark.seq)
    }

    /// Newest first.
    pub(crate) fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter().rev()
    }

    /// Everything up to `mark` is delivered.
    pub(crate) fn advance(&mut self, mark: Mark) {
        if mark.seq == self.seq() {
            return;
        }
        // The position is replaced unless it is far enough from the mark before it to be worth keeping.
        if let [.., before, position] = &*self.marks
            && position.time.0.0.saturating_sub(before.time.0.0) < MARK_SPACING_NANOS
        {
            self.marks.pop();
        }
        if self.marks.len() == MARKS_MAX {
            self.marks.remove(0);
        }
        self.marks.push(mark);
    }

    /// Forgets everything after `seq`: the journal does not go on from there.
    pub(crate) fn go_back(&mut self, seq: u64) {
        self.marks.retain(|mark| mark.seq <= seq);
    }

    /// The receiver has to be told of this loss. Beyond the bound, losses are told together.
    pub(crate) fn lose(&mut self, loss: Loss) {
        let full = self.unreported.len() >= UNREPORTED_MAX;
        match self.unreported.last_mut() {
            Some(last) if full || (last.reason == loss.reason && last.last.checked_add(1) == Some(loss.first)) => {
                last.last = loss.last;
                last.count = last.count.saturating_add(loss.count);
            }
            _ => self.unreported.push(loss),
        }
    }
}

/// The file of a cursor.
#[derive(Debug)]
pub(crate) struct CursorFile {
    folder: PathBuf,
    path: PathBuf,
    temporary: PathBuf,
}

/// What was found at the start.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// This export has never delivered anything.
    New,
    Cursor(Cursor),
    /// A file that is no cursor.
    Damaged,
}

impl CursorFile {
    /// The file of the export `name`. Makes the folder.
    pub(crate) fn open(journal: &Path, name: &str) -> io::Result<Self> {
        let folder = journal.join(CURSORS);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => File::open(journal)?.sync_all()?,
        }
        let file = |end: &str| folder.join(format!("{name}.json{end}"));
        Ok(Self { path: file(""), temporary: file(".new"), folder })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn load(&self) -> io::Result<Loaded> {
        let length = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::New),
            other => other?.len(),
        };
        if length > FILE_BYTES_MAX {
            return Ok(Loaded::Damaged);
        }
        Ok(serde_json::from_slice(&fs::read(&self.path)?).map_or(Loaded::Damaged, Loaded::Cursor))
    }

    /// Replaces the file; when this returns, the new state survives a power failure.
    pub(crate) fn save(&self, cursor: &Cursor) -> io::Result<()> {
        let mut file = File::create(&self.temporary)?;
        file.write_all(&serde_json::to_vec(cursor)?)?;
        file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::time::WallTime;

    fn mark(seq: u64, seconds: u64) -> Mark {
        Mark::new(seq, Timestamp(WallTime(seconds * 1_000_000_000)), format!("line {seq}").as_bytes())
    }

    #[test]
    fn the_position_moves_and_older_marks_stay_apart() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.seq(), 0);
        for second in 0..300 {
            cursor.advance(mark(second + 1, second));
            assert_eq!(cursor.seq(), second + 1);
        }
        let seqs: Vec<u64> = cursor.marks().map(|mark| mark.seq).collect();
        assert_eq!(seqs.len(), MARKS_MAX);
        assert!(seqs.windows(2).skip(1).all(|pair| pair[0] - pair[1] >= 10), "{seqs:?}");
        cursor.go_back(seqs[3]);
        assert_eq!(cursor.seq(), seqs[3]);
    }

    #[test]
    fn a_mark_is_its_record_and_no_other() {
        assert!(mark(1, 1).is(b"line 1"));
        assert!(!mark(1, 1).is(b"line 2"));
    }

    #[test]
    fn losses_stay_bounded_and_keep_their_sum() {
        let mut cursor = Cursor::default();
        for index in 0..100u64 {
            let reason = if index % 2 == 0 { "refused" } else { "removed" };
            cursor.lose(Loss { first: index * 10, last: index * 10 + 1, count: 2, reason: reason.into() });
        }
        assert_eq!(cursor.unreported.len(), UNREPORTED_MAX);
        assert_eq!(cursor.unreported.iter().map(|loss| loss.count).sum::<u64>(), 200);
        assert_eq!(cursor.unreported.last().map(|loss| loss.last), Some(991));
    }

    #[test]
    fn a_file_is_a_cursor_or_said_to_be_none() {
        let journal = tempfile::tempdir().unwrap();
        let file = CursorFile::open(journal.path(), "siem").unwrap();
        assert!(matches!(file.load().unwrap(), Loaded::New));
        let mut cursor = Cursor::default();
        cursor.advance(mark(7, 1));
        file.save(&cursor).unwrap();
        assert!(matches!(file.load().unwrap(), Loaded::Cursor(loaded) if loaded == cursor));
        for damaged in [&b""[..], b"{", b"[1]", &[b' '; 70_000]] {
            fs::write(file.path(), damaged).unwrap();
            assert!(matches!(file.load().unwrap(), Loaded::Damaged));
        }
    }
}
