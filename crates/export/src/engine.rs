//! The one way in which every export delivers: read a batch, try until the receiver has it, move the cursor.
//!
//! One batch is in flight, so the order of the journal is kept. The cursor moves after the receiver's word only: what
//! was in flight when the agent died is sent again, as the beginning of a batch.

use std::path::PathBuf;
use std::time::Duration;

use store::reader::ReadError;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::clock;
use crate::config::{Identity, Start};
use crate::cursor::{Cursor, CursorFile, Loaded, Loss, Mark};
use crate::failure::{Blame, Failure, chain};
use crate::item::Item;
use crate::plan::Plan;
use crate::series::Series;
use crate::source::{self, Batch, Damage, Source};
use crate::transport::Sink;

/// Pause at the end of the journal.
const POLL: Duration = Duration::from_millis(200);
/// A cursor that moved over records that were not selected is saved after this many.
const UNSAVED_RECORDS_MAX: u64 = 10_000;
/// Failed reads in a row after which a segment is passed over.
const READS_MAX: u32 = 8;

/// One export at work.
pub(crate) struct Engine {
    pub(crate) journal: PathBuf,
    pub(crate) plan: Plan,
    pub(crate) identity: Identity,
    pub(crate) file: CursorFile,
    pub(crate) sink: Sink,
    pub(crate) series: Series,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Why delivering ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Goes,
    Stopped,
}

/// What became of a batch.
#[derive(Default)]
struct Delivered {
    records: u64,
    refused: Vec<Loss>,
}

impl Engine {
    /// Delivers until it is stopped and the journal has no more, or an attempt fails after it was stopped.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(self.plan.limits.retry_max);
        let Some((mut cursor, mut source)) = self.open(&mut backoff).await else { return };
        let mut saved = cursor.seq();
        let mut unreadable = 0;
        self.series.delivered_to(cursor.seq());
        loop {
            // Reading and writing files never waits for the runtime; the time limit of a stop needs a turn as well.
            yield_now().await;
            let batch = match source.fill(&cursor, clock::wall()) {
                Ok(batch) => batch,
                Err(error) => {
                    unreadable += 1;
                    self.unreadable(&mut source, unreadable, &error);
                    if self.pause(backoff.next(None)).await == Flow::Stopped {
                        break;
                    }
                    continue;
                }
            };
            unreadable = 0;
            let Some(end) = batch.end.clone().or_else(|| cursor.marks().next().cloned()) else {
                if self.pause(POLL).await == Flow::Stopped {
                    break;
                }
                continue;
            };
            if batch.items.is_empty() {
                cursor.advance(end);
                self.series.delivered_to(cursor.seq());
                let at_end = batch.end.is_none();
                if cursor.seq().saturating_sub(saved) >= UNSAVED_RECORDS_MAX {
                    saved = self.save(&cursor);
                }
                if at_end && self.pause(POLL).await == Flow::Stopped {
                    break;
                }
                continue;
            }
            self.series.waiting_since(batch.oldest);
            let Some(delivered) = self.deliver(&batch.items, &mut backoff).await else { break };
            self.settle(&mut cursor, batch, delivered, end);
            saved = self.save(&cursor);
        }
        if cursor.seq() != saved {
            self.save(&cursor);
        }
    }

    /// The journal could not be read for the `times`th time in a row. A segment that stays unreadable is passed over:
    /// else damage to an old one would keep everything new from its receivers.
    fn unreadable(&self, source: &mut Source, times: u32, error: &ReadError) {
        self.series.failed("journal");
        tracing::warn!(export = self.plan.name, "{}", chain(error));
        if times.is_multiple_of(READS_MAX) {
            match source.skip_segment() {
                Ok(true) => tracing::error!(export = self.plan.name, "a segment is passed over; the receiver is told"),
                Ok(false) => source.reopen(),
                Err(error) => tracing::warn!(export = self.plan.name, "{}", chain(&error)),
            }
        } else {
            source.reopen();
        }
    }

    /// Loads the cursor and opens the journal; tries until that works. `None`: stopped.
    async fn open(&mut self, backoff: &mut Backoff) -> Option<(Cursor, Source)> {
        let mut times = 0;
        loop {
            let damage = if times < READS_MAX { Damage::MayPass } else { Damage::Stays };
            times = times.saturating_add(1);
            match self.try_open(damage) {
                Ok(opened) => {
                    backoff.reset();
                    return Some(opened);
                }
                Err(error) => {
                    self.series.failed("journal");
                    tracing::warn!(export = self.plan.name, "{}", chain(&*error));
                }
            }
            if self.pause(backoff.next(None)).await == Flow::Stopped {
                return None;
            }
        }
    }

    fn try_open(&self, damage: Damage) -> Result<(Cursor, Source), Box<dyn std::error::Error>> {
        let mut cursor = match self.file.load()? {
            Loaded::Cursor(cursor) => cursor,
            Loaded::New => self.first_cursor()?,
            Loaded::Damaged => {
                tracing::error!(
                    export = self.plan.name,
                    "{} is damaged: where this export stood is not known; it delivers everything on disk again",
                    self.file.path().display()
                );
                Cursor::default()
            }
        };
        let source = Source::open(&self.journal, &self.plan, &self.identity, &mut cursor, damage)?;
        Ok((cursor, source))
    }

    fn first_cursor(&self) -> Result<Cursor, Box<dyn std::error::Error>> {
        let mut cursor = Cursor::default();
        if self.plan.start == Start::Newest {
            if let Some(newest) = source::newest(&self.journal)? {
                cursor.advance(newest);
            }
            // Also where there is none: what is newest is decided once.
            self.file.save(&cursor)?;
        }
        Ok(cursor)
    }

    /// Delivers all items, or gives up those whose content is refused. `None`: stopped before.
    async fn deliver(&mut self, items: &[Item], backoff: &mut Backoff) -> Option<Delivered> {
        let mut delivered = Delivered::default();
        // A refused batch is tried in halves, down to the record at fault. The stack is at most log2(records) deep.
        let mut parts = vec![(items, self.plan.limits.refusals_max)];
        while let Some((part, tries)) = parts.pop() {
            match self.attempt(part, tries, backoff).await? {
                Ok(rejected) => {
                    delivered.records += (part.len() as u64).saturating_sub(rejected);
                    if rejected > 0 {
                        delivered.refuse(part, rejected);
                    }
                }
                Err(Refused) if part.len() == 1 => delivered.refuse(part, 1),
                Err(Refused) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([(second, 1), (first, 1)]);
                }
            }
        }
        Some(delivered)
    }

    /// Tries until the receiver has the items or has refused them `tries` times. `None`: stopped before.
    async fn attempt(&mut self, items: &[Item], tries: u32, backoff: &mut Backoff) -> Option<Result<u64, Refused>> {
        let mut refusals = 0;
        let mut failing = false;
        loop {
            let limit = self.plan.limits.timeout;
            let result = timeout(limit, self.sink.deliver(items)).await;
            let failure = match result.unwrap_or(Err(Failure::Timeout(limit))) {
                Ok(accepted) => {
                    if failing {
                        tracing::info!(export = self.plan.name, "the receiver takes records again");
                    }
                    backoff.reset();
                    return Some(Ok(accepted.rejected));
                }
                Err(failure) => failure,
            };
            self.series.failed(failure.word());
            if !failing {
                tracing::warn!(export = self.plan.name, "{}; trying again", chain(&failure));
                failing = true;
            }
            if failure.blame() == Blame::Content {
                refusals += 1;
                if refusals >= tries {
                    return Some(Err(Refused));
                }
            }
            if self.pause(backoff.next(failure.retry_after())).await == Flow::Stopped {
                return None;
            }
        }
    }

    /// The receiver has the batch.
    fn settle(&self, cursor: &mut Cursor, batch: Batch, delivered: Delivered, end: Mark) {
        for loss in &batch.losses {
            self.series.lost(&loss.reason, loss.count);
        }
        cursor.unreported.drain(..batch.settled);
        for loss in delivered.refused {
            self.series.lost("refused", loss.count);
            tracing::error!(
                export = self.plan.name,
                first = loss.first,
                last = loss.last,
                records = loss.count,
                "the receiver refused records for their content; they are skipped, and the receiver is told"
            );
            cursor.lose(loss);
        }
        cursor.advance(end);
        self.series.delivered(delivered.records);
        self.series.delivered_to(cursor.seq());
    }

    /// Saves the cursor; returns up to where. Delivery goes on without: more would be sent again after a crash, but
    /// nothing is lost.
    fn save(&self, cursor: &Cursor) -> u64 {
        if let Err(error) = self.file.save(cursor) {
            self.series.failed("cursor");
            tracing::warn!(export = self.plan.name, "cannot write {}: {error}", self.file.path().display());
        }
        cursor.seq()
    }

    async fn pause(&mut self, duration: Duration) -> Flow {
        // A handle that was dropped stops as well.
        if *self.stop.borrow() || self.stop.has_changed().is_err() {
            return Flow::Stopped;
        }
        tokio::select! {
            () = sleep(duration) => Flow::Goes,
            // Before it ends it looks once more: records that were written before the stop are still delivered.
            _ = self.stop.changed() => Flow::Goes,
        }
    }
}

/// The receiver refused the items for their content.
struct Refused;

impl Delivered {
    fn refuse(&mut self, items: &[Item], count: u64) {
        // A statement about a loss that is itself refused is not told about again.
        let mut seqs = items.iter().filter_map(|item| item.seq);
        if let Some(first) = seqs.next() {
            let last = seqs.next_back().unwrap_or(first);
            self.refused.push(Loss { first, last, count, reason: "refused".into() });
        }
    }
}
