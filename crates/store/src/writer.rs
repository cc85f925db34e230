//! Appends records to the journal in a folder: buffers lines, gives them their place in the chain, signs, writes in
//! large pieces, begins new segments, and keeps the folder within its bounds.
//!
//! The caller is never stopped by a disk: when a file cannot be written, records wait in memory up to
//! [`BUFFER_BYTES_MAX`]; what does not fit is dropped, counted, and told in a `loss` record as soon as writing works
//! again. fdatasync and compression have threads of their own.
//!
//! A record is acknowledged in three steps: in memory ([`Writer::append`] returned), written ([`Writer::written`]: it
//! survives the agent), durable ([`Writer::durable`]: it survives the host).

mod buffer;
mod durable;
mod error;
mod limits;
mod output;
mod retention;
mod sealing;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use journal::author::Author;
use journal::key::KeyId;
use journal::record::OWN_LINE_BYTES_MAX;
use model::record::{Record, What};
use model::time::WallTime;

use self::buffer::{Buffer, Next};
use self::durable::Durable;
pub use self::durable::UNCONFIRMED_BYTES_MAX;
pub use self::error::{AppendError, OpenError, RotateKeyError, WriteError};
pub use self::limits::Limits;
use self::output::{Output, State};
use self::retention::Retention;
use self::sealing::Sealing;
pub use self::sealing::SealingError;
use crate::files;
use crate::keys::{KeyFiles, KeyPlace};
use crate::line::{self, Machine};
use crate::recovery::{self, Found, Recovery};

/// Buffer size at which `append` writes without being asked.
pub const FLUSH_BYTES: usize = 64 * 1024;

/// Bound of the buffer while writing fails. A single record may exceed it, since a record is as long as it is.
pub const BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Checkpoints at the ends of sessions are at least this far apart: a client that reconnects all the time must not
/// make the journal a list of signatures.
const SESSION_CHECKPOINT_DISTANCE: Duration = Duration::from_millis(100);

/// Room that a segment keeps for records of the journal itself, so that its size is not exceeded by a checkpoint.
const OWN_LINES_RESERVED: u64 = 4;

/// What a writer did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records written to the file, the journal's own included.
    pub written: u64,
    /// Bytes written to the file.
    pub written_bytes: u64,
    /// Records dropped.
    pub dropped: u64,
    /// Records that were written, and may be lost all the same: fdatasync failed, and memory for them was full.
    pub in_doubt: u64,
    /// Bytes waiting in memory.
    pub buffered_bytes: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Segments sealed.
    pub sealed: u64,
}

/// The writer of one folder. There is only one for a folder at any time.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    /// Holds the lock on the folder.
    folder: Arc<File>,
    keys: KeyPlace,
    machine: Machine,
    limits: Limits,
    author: Author,
    buffer: Buffer,
    output: Output,
    durable: Durable,
    sealing: Sealing,
    retention: Retention,
    /// Number of the first record of the segment that is being written, and that of the one being appended to.
    written_segment: u64,
    written_seq: u64,
    /// Bytes of the segment that is being appended to, in the file and in memory.
    segment_bytes: u64,
    segment_since: WallTime,
    /// It has records that are not the journal's own.
    segment_used: bool,
    /// The file was removed or shortened by somebody: a new segment is due.
    disturbed: bool,
    last_checkpoint: WallTime,
    session_ended: bool,
    /// Buffer length at which `append` writes.
    flush_at: usize,
    /// Dropped records, and records in doubt, that no `loss` record has told of.
    unreported: [u64; 2],
    last_dropped: WallTime,
    host_busy: bool,
    counters: Counters,
}

impl Writer {
    /// Opens the folder (created with mode 0750 if its parent exists), repairs the end of the journal and continues it.
    pub fn open(
        directory: &Path,
        machine: Machine,
        limits: Limits,
        keys: KeyFiles,
        now: WallTime,
    ) -> Result<(Self, Recovery), OpenError> {
        let path = || directory.to_owned();
        let error = |source| OpenError::Directory { path: path(), source };
        files::create_directory(directory).map_err(error)?;
        let folder = File::open(directory).map_err(error)?;
        folder.try_lock().map_err(|failed| match failed {
            TryLockError::WouldBlock => OpenError::InUse { path: path() },
            TryLockError::Error(source) => error(source),
        })?;
        let found = recovery::recover(directory).map_err(|source| OpenError::Recover { path: path(), source })?;
        let (signing, keys) = keys.settle(found.key).map_err(OpenError::Key)?;
        let Found { recovery, place, checkpointed, key, active, unsealed } = found;
        let (folder, next_seq, first_seq) = (Arc::new(folder), place.next_seq, place.segment);
        let mut writer = Self {
            directory: path(),
            keys,
            machine,
            limits,
            buffer: Buffer::new(next_seq),
            output: Output::new(directory, first_seq, active.as_ref().map_or(0, |active| active.bytes)),
            durable: Durable::new(path(), Arc::clone(&folder), next_seq - 1, limits.sync_interval)
                .map_err(OpenError::Thread)?,
            sealing: Sealing::new(directory, &unsealed).map_err(OpenError::Thread)?,
            retention: Retention::default(),
            written_segment: first_seq,
            written_seq: next_seq - 1,
            segment_bytes: active.as_ref().map_or(0, |active| active.bytes),
            segment_since: active.as_ref().map_or(now, |active| active.since),
            segment_used: active.is_some(),
            disturbed: false,
            last_checkpoint: WallTime(0),
            session_ended: false,
            flush_at: FLUSH_BYTES,
            unreported: [0; 2],
            last_dropped: WallTime::default(),
            host_busy: false,
            counters: Counters::default(),
            author: Author::new(place, signing, checkpointed),
            folder,
        };
        if active.is_some() {
            writer.output.open().map_err(|source| OpenError::File { path: path(), source })?;
        } else {
            writer.begin_segment(now);
        }
        writer.say_what_was_found(&recovery, key, now);
        Ok((writer, recovery))
    }

    fn say_what_was_found(&mut self, recovery: &Recovery, in_force: Option<KeyId>, now: WallTime) {
        if let Some(before) = in_force.filter(|before| *before != self.key()) {
            self.own(|author, out| author.replace_key(out, now, before));
        }
        if let Some(recovered) = recovery.record() {
            self.own(|author, out| author.recovered(out, now, &recovered));
        }
    }

    /// Appends one record in memory, and writes when [`FLUSH_BYTES`] are waiting. Returns its number.
    pub fn append(&mut self, record: &Record) -> Result<u64, AppendError> {
        if self.buffer.len() >= BUFFER_BYTES_MAX {
            return self.drop_record(record.time);
        }
        let mut start = self.buffer.len();
        line::encode(&mut self.buffer.lines, self.author.next_seq(), self.machine, record);
        if self.segment_used && self.is_segment_full(self.buffer.len() - start) {
            // Its number is another after the checkpoint and the beginning of the next segment.
            self.buffer.lines.truncate(start);
            self.end_segment(record.time);
            start = self.buffer.len();
            line::encode(&mut self.buffer.lines, self.author.next_seq(), self.machine, record);
        }
        if self.buffer.len() > BUFFER_BYTES_MAX && start > 0 && !self.make_room(&mut start) {
            self.buffer.lines.truncate(start);
            return self.drop_record(record.time);
        }
        let line = self.buffer.lines.get(start..self.buffer.len().saturating_sub(1)).unwrap_or_default();
        let seq = self.author.next_seq();
        self.segment_bytes += line.len() as u64 + 1;
        self.segment_used = true;
        self.author.push(line);
        self.session_ended |= matches!(record.what, What::SessionClosed { .. });
        if self.author.unsigned() >= self.limits.checkpoint_records {
            self.checkpoint(record.time);
        }
        if self.buffer.len() < self.flush_at {
            return Ok(seq);
        }
        self.write_buffer().map(|()| seq).map_err(AppendError::Kept)
    }

    /// Writes what waits in memory, signs what is due, and looks after segments and durability. To be called every few
    /// milliseconds, also when nothing was appended: this is what notices that a full disk has space again.
    pub fn flush(&mut self, now: WallTime) -> Result<(), WriteError> {
        let mut result = self.write_buffer();
        if result.is_ok() {
            result = self.tidy(now);
            result = result.and(self.write_buffer());
        }
        let outcome = self.durable.poll(now);
        let synced = self.heed(outcome);
        let removed = self.retention.remove(&self.folder, self.durable.seq()).map_err(WriteError::Remove);
        let begin = !self.host_busy || self.sealing.is_urgent(&self.limits);
        let sealed = match self.sealing.poll(self.durable.seq(), begin) {
            Some(Err(error)) => Err(WriteError::Seal(error)),
            Some(Ok(())) => {
                self.counters.sealed += 1;
                self.retention.look_again();
                Ok(())
            }
            None => Ok(()),
        };
        result.and(synced).and(removed).and(sealed)
    }

    /// The journal's own records that are due. Everything before them is written.
    fn tidy(&mut self, now: WallTime) -> Result<(), WriteError> {
        self.tell_losses(now);
        let age = Duration::from_nanos(now.0.abs_diff(self.segment_since.0));
        if self.disturbed || (self.segment_used && age >= self.limits.segment_age_max) {
            self.end_segment(now);
        }
        let looked = self.doom_segments(now);
        if self.is_checkpoint_due(now) {
            self.checkpoint(now);
        }
        looked
    }

    /// Signs and writes everything and waits until it is durable: before the agent stops, or answers that something
    /// is recorded.
    pub fn settle(&mut self, now: WallTime) -> Result<(), WriteError> {
        if self.durable.is_replacing() {
            let outcome = self.durable.finish();
            self.heed(outcome)?;
        }
        self.write_buffer()?;
        self.tell_losses(now);
        if self.author.unsigned() > 0 {
            self.checkpoint(now);
        }
        self.write_buffer()?;
        let outcome = self.durable.finish();
        self.heed(outcome)
    }

    /// Makes a new key, which the present one signs, and waits until that is durable. Returns the id of the new one.
    pub fn rotate_key(&mut self, now: WallTime) -> Result<KeyId, RotateKeyError> {
        let next = self.keys.prepare().map_err(RotateKeyError::Key)?;
        self.own(|author, out| author.hand_over(out, now, next));
        self.checkpoint(now);
        self.settle(now).map_err(RotateKeyError::Record)?;
        self.keys.finish().map_err(RotateKeyError::Key)?;
        Ok(self.key())
    }

    /// The key that signs.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.author.key().public().id()
    }

    /// Number of the last record that is written: it survives the end of the agent.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written_seq
    }

    /// Number of the last record that was appended, whether it is written or waits in memory.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.author.next_seq().saturating_sub(1)
    }

    /// Somebody waits for what was written to be durable: the next [`Writer::flush`] does not wait for the interval.
    pub fn hurry(&mut self) {
        self.durable.hurry();
    }

    /// Whether the host has no processor to spare: then complete segments wait to be sealed, at most eight and an eighth of
    /// [`Limits::bytes_max`].
    pub fn set_host_busy(&mut self, busy: bool) {
        self.host_busy = busy;
    }

    /// Number of the last record that is durable: it survives a power failure.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable.seq()
    }

    /// Records after the last checkpoint: nobody has signed them yet.
    #[must_use]
    pub fn unsigned(&self) -> u64 {
        self.author.unsigned()
    }

    /// What the writer did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { buffered_bytes: self.buffer.len() as u64, ..self.counters }
    }

    fn drop_record(&mut self, time: WallTime) -> Result<u64, AppendError> {
        self.counters.dropped += 1;
        self.unreported[0] += 1;
        self.last_dropped = time;
        Err(AppendError::Dropped)
    }

    /// Writes what is before the last line, which begins at `start` and has no place in the chain yet.
    fn make_room(&mut self, start: &mut usize) -> bool {
        let last = self.buffer.lines.split_off(*start);
        // Why it failed is told by the next flush.
        let written = self.write_buffer().is_ok();
        *start = self.buffer.len();
        self.buffer.lines.extend_from_slice(&last);
        written || *start == 0
    }

    /// Records of what was lost, as soon as there is room for them.
    fn tell_losses(&mut self, now: WallTime) {
        let [dropped, in_doubt] = std::mem::take(&mut self.unreported);
        for (count, stage, time) in [(dropped, "core", self.last_dropped), (in_doubt, "disk", now)] {
            if count > 0 {
                let record = Record { time, what: What::Lost { kind: "record", stage, count } };
                let machine = self.machine;
                self.own(|author, out| {
                    let start = out.len();
                    line::encode(out, author.next_seq(), machine, &record);
                    author.push(out.get(start..out.len().saturating_sub(1)).unwrap_or_default());
                });
            }
        }
    }

    fn is_segment_full(&self, line_bytes: usize) -> bool {
        let reserve = OWN_LINES_RESERVED * OWN_LINE_BYTES_MAX as u64;
        self.segment_bytes + line_bytes as u64 + reserve > self.limits.segment_bytes_max
    }

    fn is_checkpoint_due(&self, now: WallTime) -> bool {
        let since = Duration::from_nanos(now.0.abs_diff(self.last_checkpoint.0));
        let ended = self.session_ended && since >= SESSION_CHECKPOINT_DISTANCE;
        self.author.unsigned() > 0 && (ended || since >= self.limits.checkpoint_interval)
    }

    fn checkpoint(&mut self, now: WallTime) {
        let seq = self.author.next_seq();
        self.own(|author, out| author.checkpoint(out, now));
        self.retention.signed(seq);
        self.counters.checkpoints += 1;
        (self.last_checkpoint, self.session_ended) = (now, false);
    }

    fn end_segment(&mut self, now: WallTime) {
        if self.author.unsigned() > 0 {
            self.checkpoint(now);
        }
        self.begin_segment(now);
    }

    fn begin_segment(&mut self, now: WallTime) {
        self.buffer.begin_segment(self.author.next_seq());
        (self.segment_bytes, self.segment_since) = (0, now);
        (self.segment_used, self.disturbed) = (false, false);
        self.own(|author, out| author.segment(out, now));
    }

    /// Writes down which segments go. They go when that is durable.
    fn doom_segments(&mut self, now: WallTime) -> Result<(), WriteError> {
        if !self.retention.is_due(now) {
            return Ok(());
        }
        let busy = self.sealing.first_busy().min(self.written_segment);
        let tombstones =
            self.retention.look(&self.directory, &self.limits, busy, now).map_err(WriteError::Retention)?;
        for tombstone in &tombstones {
            self.own(|author, out| author.removed(out, now, tombstone));
        }
        if !tombstones.is_empty() {
            self.checkpoint(now);
        }
        Ok(())
    }

    /// Appends a record that must not be refused: one of the journal's own.
    fn own(&mut self, write: impl FnOnce(&mut Author, &mut Vec<u8>)) {
        let start = self.buffer.len();
        write(&mut self.author, &mut self.buffer.lines);
        self.segment_bytes += (self.buffer.len() - start) as u64;
    }

    fn write_buffer(&mut self) -> Result<(), WriteError> {
        let result = self.write_lines();
        // While writing fails, `append` does not try again for every record; `flush` does.
        self.flush_at = self.buffer.len() + FLUSH_BYTES;
        result
    }

    fn write_lines(&mut self) -> Result<(), WriteError> {
        if self.durable.is_replacing() {
            return Ok(());
        }
        self.disturbed |= self.output.settle()? == State::Disturbed;
        loop {
            match self.buffer.next() {
                Next::Nothing => return Ok(()),
                Next::Begin(first_seq) => {
                    if self.output.begin(first_seq) {
                        self.sealing.add(self.written_segment, first_seq - 1);
                    }
                    self.written_segment = first_seq;
                    self.buffer.begun();
                    self.retention.look_again();
                }
                Next::Lines(lines) => {
                    let wrote = self.output.write(lines)?;
                    let (bytes, lines) = (wrote.bytes, lines.get(..wrote.bytes).unwrap_or_default());
                    let records = self.buffer.count(bytes, self.author.next_seq());
                    self.durable.wrote(wrote, lines, records, self.written_seq + records);
                    self.written_seq = self.buffer.consume(bytes, records);
                    self.counters.written += records;
                    self.counters.written_bytes += bytes as u64;
                }
            }
        }
    }

    fn heed(&mut self, outcome: durable::Outcome) -> Result<(), WriteError> {
        if outcome.replaced {
            self.output.reopen();
        }
        self.counters.in_doubt += outcome.in_doubt;
        self.unreported[1] += outcome.in_doubt;
        outcome.error.map_or(Ok(()), |error| Err(WriteError::Sync(error)))
    }
}
