//! The journal as one export sees it: from its cursor on, in order, in batches.
//!
//! It reads the files behind the writer and never holds it up. Numbers that are missing were removed before they were
//! delivered; that becomes a statement in the place of the records.

use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use journal::head;
use model::time::WallTime;
use store::files;
use store::line::{self, Entry};
use store::reader::{ReadError, Reader};
use store::time::Timestamp;

use crate::config::Identity;
use crate::context::Context;
use crate::cursor::{Cursor, Loss, Mark};
use crate::format::{line as lines, ocsf, otlp};
use crate::item::{Content, Item};
use crate::plan::{Format, Plan};
use crate::severity::Severity;

/// Records before the position that are read again at the start, to know the sessions that are open.
const WARM_UP_RECORDS: u64 = 65_536;
/// Records that are read for one batch; also where none of them is selected.
const SCAN_RECORDS_MAX: u64 = 100_000;

/// Records to be delivered at once, and what stands between this batch and the one before.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) items: Vec<Item>,
    /// Behind the last record that was read for it, selected or not.
    pub(crate) end: Option<Mark>,
    /// Losses that it tells of, in its items.
    pub(crate) losses: Vec<Loss>,
    /// Time of its first record.
    pub(crate) oldest: Option<WallTime>,
    /// Losses told from the cursor: these are settled when it is delivered.
    pub(crate) settled: usize,
    bytes: usize,
}

/// Reads for one export.
pub(crate) struct Source {
    journal: PathBuf,
    plan: Plan,
    identity: Identity,
    reader: Reader,
    context: Context,
    /// Number of the last record that was read; 0 before the first of a new export.
    last_seq: u64,
    /// Lines since then that were no records.
    unreadable: bool,
    /// A record that was read and belongs to the next batch.
    held: Option<Entry>,
}

/// Where an export begins to read.
enum Origin {
    After(u64),
    /// The journal does not hold what was delivered last; it goes on from here, and has to be said.
    Back(u64),
}

/// What to make of a segment that cannot be read at the start, where everything in it was delivered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// An error: it is tried again.
    MayPass,
    /// It was tried often enough. What is new must not wait for it.
    Stays,
}

impl Source {
    /// At the cursor's position. A cursor that the journal does not fit any more is moved back.
    pub(crate) fn open(
        journal: &Path,
        plan: &Plan,
        identity: &Identity,
        cursor: &mut Cursor,
        damage: Damage,
    ) -> Result<Self, ReadError> {
        let after = match origin(journal, cursor, damage)? {
            Origin::After(seq) => seq,
            Origin::Back(seq) => {
                tracing::warn!(
                    export = plan.name,
                    delivered = cursor.seq(),
                    from = seq,
                    "the journal lost records that were delivered already (a power failure, or it was replaced); \
                     delivering again from there"
                );
                cursor.go_back(seq);
                seq
            }
        };
        let warm_up = if plan.format == Format::Line { after } else { after.saturating_sub(WARM_UP_RECORDS) };
        let mut source = Self {
            journal: journal.to_owned(),
            plan: plan.clone(),
            identity: identity.clone(),
            reader: Reader::after(journal, warm_up),
            context: Context::default(),
            last_seq: after,
            unreadable: false,
            held: None,
        };
        match source.warm_up(after) {
            Err(_unreadable) if damage == Damage::Stays => {
                // Sessions that were opened before go without their attributes.
                source.held = None;
                source.reopen();
            }
            other => other?,
        }
        Ok(source)
    }

    /// After a failed read: a new reader at the same place.
    pub(crate) fn reopen(&mut self) {
        if self.held.is_none() {
            self.reader = Reader::after(&self.journal, self.last_seq);
        }
    }

    /// After too many failed reads: a reader at the next segment. What stands before it is told as a loss. False if
    /// there is none, and so nothing to go on with.
    pub(crate) fn skip_segment(&mut self) -> io::Result<bool> {
        let next = files::segments(&self.journal)?.into_iter().find(|segment| segment.first_seq > self.last_seq + 1);
        let Some(next) = next else { return Ok(false) };
        self.reader = Reader::after(&self.journal, next.first_seq - 1);
        self.unreadable = true;
        Ok(true)
    }

    fn warm_up(&mut self, after: u64) -> Result<(), ReadError> {
        while let Some(entry) = self.next()? {
            if entry.seq > after {
                self.held = Some(entry);
                break;
            }
            self.context.learn(&entry);
        }
        Ok(())
    }

    /// The next whole record.
    fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        loop {
            match self.reader.next_entry() {
                None => return Ok(None),
                Some(Ok(entry)) => return Ok(Some(entry)),
                // Its number will be missing; then the loss is told.
                Some(Err(ReadError::Line { .. })) => self.unreadable = true,
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// Reads until the batch is full, or the journal has no more or cannot be read.
    pub(crate) fn fill(&mut self, cursor: &Cursor, now: WallTime) -> Result<Batch, ReadError> {
        let mut batch = Batch { settled: cursor.unreported.len(), ..Batch::default() };
        for loss in &cursor.unreported {
            self.tell(&mut batch, loss, now);
        }
        let limits = self.plan.limits;
        let mut scanned = 0;
        while batch.items.len() < limits.batch_records_max
            && batch.bytes < limits.batch_bytes_max
            && scanned < SCAN_RECORDS_MAX
        {
            let entry = match self.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                // What was read is delivered first; the mistake is met again behind it.
                Err(_met_again) if batch.end.is_some() => break,
                Err(error) => return Err(error),
            };
            scanned += 1;
            if entry.seq <= self.last_seq {
                continue;
            }
            if let Some(loss) = self.missing_before(entry.seq) {
                self.tell(&mut batch, &loss, now);
                batch.losses.push(loss);
            }
            self.take(&mut batch, entry);
        }
        Ok(batch)
    }

    /// The records between the last one and `seq`. A new export misses nothing before its first record.
    fn missing_before(&mut self, seq: u64) -> Option<Loss> {
        let unreadable = std::mem::take(&mut self.unreadable);
        let first = self.last_seq + 1;
        (self.last_seq > 0 && seq > first).then(|| Loss {
            first,
            last: seq - 1,
            count: seq - first,
            reason: if unreadable { "unreadable" } else { "removed" }.into(),
        })
    }

    fn tell(&self, batch: &mut Batch, loss: &Loss, now: WallTime) {
        let (event, line) = lines::loss(&self.plan.name, loss, now);
        let entry = Entry { seq: 0, time: Timestamp(now), session: None, event };
        let item = self.item(&entry, lines::LOSS, line, None);
        batch.push(Item { seq: None, ..item });
    }

    fn take(&mut self, batch: &mut Batch, mut entry: Entry) {
        let whole = self.reader.last_line();
        batch.end = Some(Mark::new(entry.seq, entry.time, whole));
        self.last_seq = entry.seq;
        let before = if self.plan.format == Format::Line { None } else { self.context.learn(&entry) };
        let type_word = type_word(whole);
        if self.plan.types.as_ref().is_some_and(|types| !types.iter().any(|selected| *selected == type_word)) {
            return;
        }
        let bytes_max = self.plan.limits.batch_bytes_max;
        let line = match whole.len() {
            bytes if bytes > bytes_max => lines::shorten(&mut entry, &type_word, bytes, bytes_max),
            _ => whole.to_vec(),
        };
        let newly_authenticated = before.is_some_and(|before| !before.authenticated);
        let item = self.item(&entry, &type_word, line, newly_authenticated.then_some(NewLogin));
        batch.oldest.get_or_insert(item.time);
        batch.push(item);
    }

    fn item(&self, entry: &Entry, type_word: &str, line: Vec<u8>, login: Option<NewLogin>) -> Item {
        let severity = Severity::of(&entry.event, type_word);
        let facts = self.context.of(entry);
        let content = match self.plan.format {
            Format::Line => Content::Json(line),
            Format::Ocsf => Content::Json(ocsf::event(entry, type_word, severity, facts, login, &self.identity)),
            Format::Otlp => Content::Log(Box::new(otlp::log_record(entry, type_word, severity, facts, line))),
        };
        Item { seq: Some(entry.seq), time: entry.time.0, type_word: type_word.into(), severity, content }
    }
}

/// A record with which its session became authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewLogin;

impl Batch {
    fn push(&mut self, item: Item) {
        self.bytes = self.bytes.saturating_add(item.bytes());
        self.items.push(item);
    }
}

/// The type word of a line that is a record.
fn type_word(line: &[u8]) -> Cow<'_, str> {
    match head::parse(line) {
        Some(head) => head.type_word.into(),
        // Not written by us, and a record all the same.
        None => line::decode_head(line).map(|head| head.type_word).unwrap_or_default(),
    }
}

/// The newest record; `None` if there is none.
pub(crate) fn newest(journal: &Path) -> Result<Option<Mark>, Box<dyn Error>> {
    let segments = files::segments(journal)?;
    let mut reader = Reader::after(journal, segments.last().map_or(0, |last| last.first_seq.saturating_sub(1)));
    let mut newest = None;
    while let Some(entry) = reader.next_entry() {
        match entry {
            Ok(entry) => newest = Some(Mark::new(entry.seq, entry.time, reader.last_line())),
            Err(ReadError::Line { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(newest)
}

/// The newest mark that the journal still stands on.
fn origin(journal: &Path, cursor: &Cursor, damage: Damage) -> Result<Origin, ReadError> {
    for mark in cursor.marks() {
        let found = match find(journal, mark) {
            // Nothing says that another record has its number.
            Err(_unreadable) if damage == Damage::Stays => Found::Same,
            other => other?,
        };
        match found {
            // Removed by retention: what comes after it is missing too, and told as a loss.
            Found::Removed | Found::Same if mark.seq == cursor.seq() => return Ok(Origin::After(mark.seq)),
            Found::Same => return Ok(Origin::Back(mark.seq)),
            Found::Removed | Found::Another => {}
        }
    }
    Ok(if cursor.seq() == 0 { Origin::After(0) } else { Origin::Back(0) })
}

enum Found {
    Same,
    /// Another record has its number, or the journal ends before it.
    Another,
    /// The journal begins after it.
    Removed,
}

fn find(journal: &Path, mark: &Mark) -> Result<Found, ReadError> {
    let mut reader = Reader::after(journal, mark.seq.saturating_sub(1));
    while let Some(entry) = reader.next_entry() {
        match entry {
            Ok(entry) if entry.seq == mark.seq && mark.is(reader.last_line()) => return Ok(Found::Same),
            Ok(entry) if entry.seq == mark.seq => return Ok(Found::Another),
            Ok(entry) if entry.seq > mark.seq => return Ok(Found::Removed),
            Ok(_) | Err(ReadError::Line { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Found::Another)
}
