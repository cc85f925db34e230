//! The worker's end.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use model::id::SocketCookie;
use model::mediation::MediationEvent;
use model::time::BootTime;
use model::wire::{Input, Side};

use crate::encoding::{BODY_BYTES_MAX, HEAD_BYTES, Head, Kind, REPEATED};
use crate::judgement::EncodedJudgement;
use crate::memory::{Channel, OpenError, Ring, WAITS_DURABLE, WAITS_WRITTEN, settle};
use crate::note;

/// Longest [`Recorder::report`].
pub const REPORT_BYTES_MAX: usize = BODY_BYTES_MAX;

/// How safe a record is before what it says may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// In the ring: it survives the worker.
    #[default]
    Memory,
    /// In the journal's file: it survives the agent.
    Written,
    /// Synced: it survives the host.
    Durable,
}

/// Proof that what is about to be forwarded is recorded. Only [`Recorder::proof`] makes it.
#[derive(Debug)]
#[must_use = "a proof is there to be handed to whoever forwards"]
pub struct Recorded(());

/// A record on its way: how far the core must be before it counts.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    end: u64,
}

/// Why there is no proof.
#[derive(Clone, Copy, Debug)]
pub enum Unproven {
    /// The core is not that far yet: wait for [`Recorder::answer_descriptor`] and ask again.
    Waits(Pending),
    /// The core can not say any more whether it is recorded: it was dropped, or taken by a core that has ended since.
    Missed,
}

/// Why something could not be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// The core does not keep up.
    #[error("the ring to the core is full")]
    Full,
}

/// The worker's end of a ring. One worker, one thread.
#[derive(Debug)]
pub struct Recorder {
    ring: Ring,
    head: u64,
    /// The core's position when it was last asked: to ask costs a line of another processor's cache.
    tail: u64,
    /// From which position on the core is woken: an eighth of the ring after it was last.
    wake_at: u64,
    note: Vec<u8>,
}

impl Recorder {
    /// Takes the worker's end. Another worker's records that are still in it stay.
    ///
    /// # Errors
    /// When the descriptors are no ring.
    pub fn open(channel: Channel) -> Result<Self, OpenError> {
        let ring = channel.map()?;
        let head = ring.positions().head.load(Ordering::Acquire);
        let tail = ring.positions().tail.load(Ordering::Acquire);
        Ok(Self { ring, head, tail, wake_at: head, note: Vec::new() })
    }

    /// Copies a piece of one direction of a connection into the ring. `connection` is its accepted socket.
    ///
    /// # Errors
    /// When there is no room for all of it: then nothing of it is recorded, and the loss is counted.
    pub fn stream(
        &mut self,
        connection: SocketCookie,
        side: Side,
        at: BootTime,
        input: Input<'_>,
    ) -> Result<Pending, NotRecorded> {
        let (head, body) = Head::stream(connection, side, at, input);
        if body.len() <= BODY_BYTES_MAX {
            return self.append(&head, body);
        }
        self.room(whole_length(body.len()))?;
        let mut last = Pending { end: self.head };
        for piece in body.chunks(BODY_BYTES_MAX) {
            let (head, piece) = Head::stream(connection, side, at, Input::Bytes(piece));
            last = self.append(&head, piece)?;
        }
        Ok(last)
    }

    /// Puts an event into the ring, in order with the streams.
    ///
    /// # Errors
    /// When there is no room; the loss is counted.
    pub fn note(&mut self, event: &MediationEvent) -> Result<Pending, NotRecorded> {
        self.tell(event, 0)
    }

    /// Whether another core reads since the last call: it knows no connection, and is to be told with
    /// [`Recorder::repeat`]. To be asked when [`Recorder::answer_descriptor`] was readable.
    #[must_use]
    pub fn is_asked_again(&self) -> bool {
        self.ring.positions().ignorant.swap(0, Ordering::AcqRel) != 0
    }

    /// Says once more what another core was told, as it was.
    ///
    /// # Errors
    /// When there is no room; the loss is counted.
    pub fn repeat(&mut self, event: &MediationEvent) -> Result<Pending, NotRecorded> {
        self.tell(event, REPEATED)
    }

    fn tell(&mut self, event: &MediationEvent, message: u8) -> Result<Pending, NotRecorded> {
        let mut body = std::mem::take(&mut self.note);
        body.clear();
        note::encode(event, &mut body);
        let result = self.append(&Head { message, ..Head::of(Kind::Note, body.len()) }, &body);
        self.note = body;
        result
    }

    /// Says what was decided about the next message of the client's stream that asks for something: to be written right
    /// before that message's bytes.
    ///
    /// # Errors
    /// When there is no room; the loss is counted, and the reader forgets what it has not yet given to a message.
    pub fn judged(&mut self, connection: SocketCookie, judgement: &EncodedJudgement) -> Result<Pending, NotRecorded> {
        let body = judgement.bytes();
        self.append(&Head { connection: connection.0, ..Head::of(Kind::Judged, body.len()) }, body)
    }

    /// Puts the worker's own figures into the ring: at most [`REPORT_BYTES_MAX`] bytes in a form that both ends know.
    ///
    /// # Errors
    /// When there is no room; the loss is counted.
    pub fn report(&mut self, figures: &[u8]) -> Result<Pending, NotRecorded> {
        if figures.len() > REPORT_BYTES_MAX {
            return Err(NotRecorded::Full);
        }
        self.append(&Head::of(Kind::Report, figures.len()), figures)
    }

    /// The proof that a record has reached a level.
    ///
    /// # Errors
    /// When it has not, or nobody knows.
    pub fn proof(&self, pending: Pending, level: Level) -> Result<Recorded, Unproven> {
        let positions = self.ring.positions();
        let reached = match level {
            Level::Memory => return Ok(Recorded(())),
            Level::Written => &positions.written,
            Level::Durable => &positions.synced,
        };
        // In this order: what was missed is told before anything behind it counts as reached.
        let ask = || match reached.load(Ordering::Acquire) >= pending.end {
            _ if positions.missed.load(Ordering::Acquire) >= pending.end => Some(Err(Unproven::Missed)),
            true => Some(Ok(Recorded(()))),
            false => None,
        };
        if let Some(answer) = ask() {
            return answer;
        }
        let waits = if level == Level::Durable { WAITS_DURABLE } else { WAITS_WRITTEN };
        if positions.waits.fetch_max(waits, Ordering::AcqRel) < waits {
            self.ring.wake_core();
        }
        // It may have happened just before it was asked to tell.
        ask().unwrap_or(Err(Unproven::Waits(pending)))
    }

    /// Readable when the core has written more since [`Recorder::settle`].
    #[must_use]
    pub fn answer_descriptor(&self) -> BorrowedFd<'_> {
        self.ring.answer_descriptor()
    }

    /// Before [`Recorder::proof`] is asked again.
    pub fn settle(&self) {
        settle(self.ring.answer_descriptor());
    }

    /// Records that found no room since the ring was made.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.ring.positions().lost.load(Ordering::Relaxed)
    }

    /// Whether more than half of the ring waits for the core, which is woken then. Who must not lose anything reads nothing
    /// more before the core has.
    pub fn is_pressed(&mut self) -> bool {
        let half = self.ring.bytes() / 2;
        if self.head - self.tail <= half {
            return false;
        }
        self.tail = self.ring.positions().tail.load(Ordering::Acquire).min(self.head);
        let is_pressed = self.head - self.tail > half;
        if is_pressed {
            self.ring.wake_core();
        }
        is_pressed
    }

    fn append(&mut self, head: &Head, body: &[u8]) -> Result<Pending, NotRecorded> {
        let length = Head::length(body.len());
        let gap = self.room(length)?;
        if gap > 0 {
            // Shorter rests than a head are skipped by both ends.
            if gap >= HEAD_BYTES as u64 {
                self.ring.write(self.head, &Head::padding(gap).encode());
            }
            self.head += gap;
        }
        self.ring.write(self.head, &head.encode());
        self.ring.write(self.head + HEAD_BYTES as u64, body);
        self.head += length;
        self.ring.positions().head.store(self.head, Ordering::Release);
        if self.head >= self.wake_at {
            self.wake_at = self.head + self.ring.bytes() / 8;
            self.ring.wake_core();
        }
        Ok(Pending { end: self.head })
    }

    /// Makes sure that a record fits; returns the bytes before the end of the ring's memory that it cannot use.
    fn room(&mut self, length: u64) -> Result<u64, NotRecorded> {
        let rest = self.ring.until_end(self.head);
        let gap = if rest < length { rest } else { 0 };
        let needed = gap + length;
        if self.head - self.tail + needed > self.ring.bytes() {
            // What the other end writes is not believed: a position behind ours is the only one that makes sense.
            self.tail = self.ring.positions().tail.load(Ordering::Acquire).min(self.head);
            if self.head - self.tail + needed > self.ring.bytes() {
                self.ring.positions().lost.fetch_add(1, Ordering::Relaxed);
                self.ring.wake_core();
                return Err(NotRecorded::Full);
            }
        }
        Ok(gap)
    }
}

/// Upper bound of what a long body takes in pieces, with the gap at the end of the memory.
const fn whole_length(body: usize) -> u64 {
    let pieces = body.div_ceil(BODY_BYTES_MAX) as u64;
    (pieces + 1) * Head::length(BODY_BYTES_MAX)
}
