//! Keeps the index up with the journal, a bounded step at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use store::blocks::Unreadable;
use store::segment::SegmentError;

use super::builder::Builder;
use super::history::{Bodies, History, HistoryError};
use super::part::Extent;
use super::stored::{self, StoredPart};
use crate::source::{Block, Blocks, Listing, is_damage};

/// Blocks of one step: 8 MiB of lines.
pub const STEP_BLOCKS: usize = 32;

const LOCK: &str = "lock";
const DIRECTORY_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;

/// Why an index cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The folder or a file in it cannot be used. The next step tries again.
    #[error("cannot use {}", path.display())]
    File {
        /// Folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process keeps it.
    #[error("another process already keeps the index in {}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The journal cannot be read. The next step tries again.
    #[error("cannot read the journal")]
    Journal(#[from] SegmentError),
}

/// Where the index stands after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Last record that a search finds through the index; absent before the first.
    pub indexed_through: Option<u64>,
    /// Last record of the journal when it was listed, which is not in every step; absent if it is empty.
    pub journal_through: Option<u64>,
    /// Records of this step.
    pub records: u64,
    /// Complete blocks that are not indexed yet. While there are some, the next step has work.
    pub blocks_behind: usize,
    /// Records that are not indexed yet, the growing block included: the lag.
    pub records_behind: u64,
    /// Parts removed in this step because their segment is gone.
    pub parts_removed: usize,
    /// Parts thrown away in this step because they were damaged, of another version, or did not fit the journal.
    pub parts_damaged: usize,
    /// Damaged segments that have no blocks, when the journal was listed: they are not indexed any further.
    pub segments_damaged: usize,
}

/// The one writer of an index.
#[derive(Debug)]
pub struct Indexer<B> {
    source: B,
    directory: PathBuf,
    _lock: File,
    /// Finished parts, oldest first.
    parts: Vec<StoredPart>,
    building: Builder,
    /// Blocks of the building part that its file does not have.
    unwritten: usize,
    /// The last file of an earlier run: the part is made again, and does not replace the file while it is shorter.
    resumed: Option<Extent>,
    bodies: Bodies,
    /// Blocks that were not in a part when they were listed, and how many of them are now.
    listed: Vec<Block>,
    done: usize,
    /// Blocks were gone, or parts thrown away: the list is of no use.
    list_again: bool,
    /// The parts were compared with the journal.
    compared: bool,
    /// Parts from the front whose body was verified in this run.
    verified: usize,
    damaged: usize,
    segments_damaged: usize,
    lines: Vec<u8>,
}

impl<B: Blocks> Indexer<B> {
    /// Opens the index in a folder (created with mode 0750), or begins it. Whatever is damaged or of another version is
    /// made again by the following steps.
    pub fn open(directory: &Path, source: B) -> Result<Self, IndexError> {
        let error = |source| IndexError::File { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(error)?;
        let lock = directory.join(LOCK);
        let lock = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(lock).map_err(error)?;
        lock.try_lock().map_err(|reason| match reason {
            TryLockError::WouldBlock => IndexError::InUse { path: directory.to_owned() },
            TryLockError::Error(source) => error(source),
        })?;
        let mut indexer = Self {
            source,
            directory: directory.to_owned(),
            _lock: lock,
            parts: Vec::new(),
            building: Builder::new(),
            unwritten: 0,
            resumed: None,
            bodies: Bodies::default(),
            listed: Vec::new(),
            done: 0,
            list_again: false,
            compared: false,
            verified: 0,
            damaged: 0,
            segments_damaged: 0,
            lines: Vec::new(),
        };
        indexer.open_parts()?;
        Ok(indexer)
    }

    /// Does a bounded piece of work: forgets removed segments, indexes up to [`STEP_BLOCKS`] blocks, or, with nothing to
    /// index, verifies one part.
    pub fn step(&mut self) -> Result<Progress, IndexError> {
        let oldest = self.source.oldest()?.unwrap_or(u64::MAX);
        let mut progress = Progress { parts_removed: self.forget_removed(oldest)?, ..Progress::default() };
        self.list()?;
        let complete = self.listed.iter().skip(self.done).take_while(|block| block.complete).count();
        let mut done = 0;
        for block in self.listed.iter().skip(self.done).take(complete.min(STEP_BLOCKS)).copied().collect::<Vec<_>>() {
            if !self.index(&block)? {
                self.list_again = true;
                break;
            }
            done += 1;
            progress.records += block.records;
        }
        self.done += done;
        if done == complete && self.unwritten > 0 {
            self.write()?;
        } else if complete == 0 {
            self.verify_one()?;
        }
        progress.blocks_behind = complete - done;
        progress.indexed_through = self.indexed_through();
        progress.journal_through = self.listed.last().map(Block::last_seq).or(progress.indexed_through);
        let behind = self.listed.iter().filter(|block| Some(block.first_seq) > progress.indexed_through);
        progress.records_behind = behind.map(|block| block.records).sum();
        progress.parts_damaged = std::mem::take(&mut self.damaged);
        progress.segments_damaged = self.segments_damaged;
        Ok(progress)
    }

    /// Lists the blocks after the last that is in a part, once those of the list before are done: with much to catch up,
    /// listing takes longer than a step. The first time, the parts are compared with the whole journal.
    fn list(&mut self) -> Result<(), IndexError> {
        if !self.list_again && self.listed.get(self.done).is_some_and(|block| block.complete) {
            return Ok(());
        }
        if !self.compared {
            let listing = self.source.list_after(0)?;
            self.segments_damaged = damaged_only(&listing)?;
            let (parts, covered) = aligned(&self.parts, &listing);
            let next = listing.blocks.get(covered).map(|block| block.first_seq);
            let resumes = self.resumed.is_none_or(|resumed| Some(resumed.first_seq) == next);
            if parts < self.parts.len() || !resumes {
                self.throw_away(parts)?;
            }
            self.compared = true;
        }
        let finished = self.parts.last().map_or(0, |part| part.extent().through_seq);
        let listing = self.source.list_after(finished.max(self.building.extent().through_seq))?;
        self.segments_damaged = self.segments_damaged.max(damaged_only(&listing)?);
        self.listed = listing.blocks;
        (self.done, self.list_again) = (0, false);
        Ok(())
    }

    /// Last record of the files.
    fn indexed_through(&self) -> Option<u64> {
        let finished = self.parts.last().map(|part| part.extent().through_seq);
        let written = (self.unwritten == 0).then(|| self.building.extent().through_seq);
        finished.max(written).max(self.resumed.map(|extent| extent.through_seq)).filter(|through| *through > 0)
    }

    /// Opens the parts of earlier runs. The last may be unfinished: it is made again while its file still serves.
    fn open_parts(&mut self) -> Result<(), IndexError> {
        let directory = self.directory.clone();
        let numbers =
            stored::list(&directory).map_err(|source| IndexError::File { path: directory.clone(), source })?;
        for (at, first_seq) in numbers.iter().enumerate() {
            match StoredPart::open(stored::path(&directory, *first_seq)) {
                Ok(part) => self.parts.push(part),
                Err(_) => {
                    self.damaged += 1;
                    numbers.iter().skip(at).try_for_each(|number| self.remove(*number))?;
                    break;
                }
            }
        }
        self.resumed = self.parts.pop().map(|part| *part.extent());
        Ok(())
    }

    /// Removes parts of segments that retention removed.
    fn forget_removed(&mut self, oldest: u64) -> Result<usize, IndexError> {
        let gone = self.parts.iter().take_while(|part| part.extent().through_seq < oldest).count();
        for part in self.parts.drain(..gone).collect::<Vec<_>>() {
            self.remove(part.extent().first_seq)?;
        }
        self.verified = self.verified.saturating_sub(gone);
        let building = Some(*self.building.extent()).filter(|extent| extent.blocks > 0);
        let last = self.resumed.or(building).filter(|extent| extent.through_seq < oldest);
        if let Some(last) = last {
            self.remove(last.first_seq)?;
            self.restart_building();
        }
        Ok(gone + usize::from(last.is_some()))
    }

    /// Indexes one block; false if the journal has to be listed again first.
    fn index(&mut self, block: &Block) -> Result<bool, IndexError> {
        if self.building.ends_before(block.segment) {
            self.write()?;
            self.finish()?;
        }
        let lines = match self.source.read(block, &mut self.lines) {
            Ok(()) => Some(&*self.lines),
            Err(error) if error.is_gone() => return Ok(false),
            Err(error) if is_damage(&error) => None,
            Err(error) => return Err(error.into()),
        };
        let mut history = History::new(&self.parts, &mut self.bodies);
        match self.building.add(block, lines, &mut history) {
            Ok(()) => {
                self.unwritten += 1;
                Ok(true)
            }
            Err(HistoryError { part, .. }) => {
                self.throw_away(part)?;
                Ok(false)
            }
        }
    }

    /// Replaces the file of the building part, unless an earlier run came further.
    fn write(&mut self) -> Result<(), IndexError> {
        let extent = *self.building.extent();
        if self.unwritten == 0 || self.resumed.is_some_and(|longer| extent.through_seq < longer.through_seq) {
            return Ok(());
        }
        let path = stored::path(&self.directory, extent.first_seq);
        let temporary = path.with_extension("temporary");
        let bytes = self.building.encode();
        // Not synced: after a power failure the checksums tell, and the journal is the truth.
        let written = OpenOptions::new().create(true).write(true).truncate(true).mode(FILE_MODE).open(&temporary);
        written
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|source| IndexError::File { path, source })?;
        self.unwritten = 0;
        self.resumed = None;
        Ok(())
    }

    /// The building part is whole: begins the next one.
    fn finish(&mut self) -> Result<(), IndexError> {
        let first_seq = self.building.extent().first_seq;
        self.restart_building();
        match StoredPart::open(stored::path(&self.directory, first_seq)) {
            Ok(part) => self.parts.push(part),
            Err(_) => self.throw_away(self.parts.len())?,
        }
        Ok(())
    }

    fn restart_building(&mut self) {
        self.building = Builder::new();
        self.unwritten = 0;
        self.resumed = None;
    }

    /// Reads one part that was not read in this run.
    fn verify_one(&mut self) -> Result<(), IndexError> {
        let Some(part) = self.parts.get(self.verified) else { return Ok(()) };
        if part.head().and_then(|_| part.body()).is_err() {
            return self.throw_away(self.verified);
        }
        self.verified += 1;
        Ok(())
    }

    /// Removes this part and all later ones, which build on it.
    fn throw_away(&mut self, part: usize) -> Result<(), IndexError> {
        let kept = part.checked_sub(1).and_then(|last| self.parts.get(last));
        let from = kept.map_or(0, |part| part.extent().through_seq.saturating_add(1));
        self.parts.truncate(part);
        self.list_again = true;
        self.verified = self.verified.min(part);
        self.bodies = Bodies::default();
        self.restart_building();
        let error = |source| IndexError::File { path: self.directory.clone(), source };
        for number in stored::list(&self.directory).map_err(error)?.into_iter().filter(|number| *number >= from) {
            self.remove(number)?;
            self.damaged += 1;
        }
        Ok(())
    }

    fn remove(&self, first_seq: u64) -> Result<(), IndexError> {
        let path = stored::path(&self.directory, first_seq);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(IndexError::File { path, source }),
            _ => Ok(()),
        }
    }
}

/// How many segments are damaged. Whatever else is in the way of reading may pass: then nothing is indexed past it.
fn damaged_only(listing: &Listing) -> Result<usize, IndexError> {
    match listing.unreadable.iter().find(|unreadable| !is_damage(&unreadable.error)) {
        Some(Unreadable { error: SegmentError::File { path, source }, .. }) => {
            Err(IndexError::File { path: path.clone(), source: source.kind().into() })
        }
        _ => Ok(listing.unreadable.len()),
    }
}

/// How many parts from the front fit the blocks without a hole, and how many blocks they tell of. Parts of segments that
/// became unreadable stay: what they know of sessions is still of use.
pub(crate) fn aligned(parts: &[StoredPart], listing: &Listing) -> (usize, usize) {
    let blocks = &listing.blocks;
    let mut covered = 0;
    for (at, part) in parts.iter().enumerate() {
        let extent = part.extent();
        if listing.hides(extent.segment, extent.first_seq) {
            continue;
        }
        let Some(last) = extent.blocks.checked_sub(1).map(|last| covered + last) else { return (at, covered) };
        let first_fits = blocks.get(covered).is_some_and(|block| block.first_seq == extent.first_seq);
        let last_fits = blocks.get(last).is_some_and(|block| block.complete && block.last_seq() == extent.through_seq);
        if !first_fits || !last_fits {
            return (at, covered);
        }
        covered = last + 1;
    }
    (parts.len(), covered)
}
