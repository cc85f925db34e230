//! The core's end. It believes nothing: lengths are checked, bytes are copied before they are judged.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::id::SocketCookie;
use model::mediation::MediationEvent;
use model::time::BootTime;
use model::verdict::Judgement;
use model::wire::{Input, Side};

use crate::encoding::{BODY_BYTES_MAX, HEAD_BYTES, Head, Kind, REPEATED};
use crate::judgement::Decoded;
use crate::memory::{Channel, OpenError, Ring, WAITS_WRITTEN, settle};
use crate::note;
use crate::record::Level;

/// One thing that a worker says.
#[derive(Debug)]
pub enum Item<'a> {
    /// A piece of one direction of a connection.
    Stream {
        /// The connection: its accepted socket.
        connection: SocketCookie,
        /// Who sent it.
        side: Side,
        /// When the worker read it.
        at: BootTime,
        /// What.
        input: Input<'a>,
    },
    /// An event of a connection.
    Note(MediationEvent),
    /// What was decided about the next message of the client's stream that asks for something.
    Judged {
        /// The connection: its accepted socket.
        connection: SocketCookie,
        /// What. Equal ones that come again are the same one.
        judgement: Arc<Judgement>,
    },
    /// The same once more, of a connection that another core was told about. See [`crate::Recorder::repeat`].
    Repeated(MediationEvent),
    /// The worker's own figures, see [`crate::Recorder::report`].
    Report(&'a [u8]),
    /// Records found no room, or could not be understood.
    Lost {
        /// How many, since the last time.
        count: u64,
    },
}

/// The core's end of a ring.
#[derive(Debug)]
pub struct Intake {
    ring: Ring,
    tail: u64,
    lost: u64,
    body: Vec<u8>,
    judgements: Decoded,
}

impl Intake {
    /// Takes the core's end; continues where another core has stopped, and asks the worker to repeat what only that one
    /// was told.
    ///
    /// # Errors
    /// When the descriptors are no ring.
    pub fn open(channel: Channel) -> Result<Self, OpenError> {
        let ring = channel.map()?;
        let tail = ring.positions().tail.load(Ordering::Acquire);
        let lost = ring.positions().lost.load(Ordering::Relaxed);
        if ring.positions().written.load(Ordering::Acquire) < tail {
            // Taken by a core that did not say what became of it.
            ring.positions().missed.store(tail, Ordering::Release);
        }
        if tail > 0 {
            // What another core was told before this place is not here any more.
            ring.positions().ignorant.store(1, Ordering::Release);
            ring.wake_worker();
        }
        Ok(Self { ring, tail, lost, body: vec![0; BODY_BYTES_MAX], judgements: Decoded::default() })
    }

    /// Takes at most `records_max` records, in order. Returns how many.
    pub fn drain(&mut self, records_max: usize, take: &mut dyn FnMut(Item<'_>)) -> usize {
        settle(self.ring.wake_descriptor());
        self.tell_losses(take);
        let head = self.ring.positions().head.load(Ordering::Acquire);
        let mut taken = 0;
        while self.tail != head && taken < records_max {
            let Some(next) = self.one(head, take) else {
                // Nothing behind this place can be trusted: go on where the worker writes next.
                take(Item::Lost { count: 1 });
                self.tail = head;
                break;
            };
            self.tail = next;
            taken += 1;
        }
        self.ring.positions().tail.store(self.tail, Ordering::Release);
        taken
    }

    /// Everything up to `position` is in the journal's file; see [`Intake::position`].
    pub fn written(&self, position: u64) {
        if self.ring.positions().written.swap(position, Ordering::AcqRel) != position {
            self.answer();
        }
    }

    /// Everything up to `position` is on the disk.
    pub fn synced(&self, position: u64) {
        if self.ring.positions().synced.swap(position, Ordering::AcqRel) != position {
            self.answer();
        }
    }

    /// Something that was taken is not going to be in the journal: nothing taken so far gets a proof any more.
    pub fn missed(&self) {
        self.ring.positions().missed.store(self.tail, Ordering::Release);
        self.answer();
    }

    /// How far records have been taken.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.tail
    }

    /// What the worker holds something back for, if it does.
    #[must_use]
    pub fn awaited(&self) -> Option<Level> {
        match self.ring.positions().waits.load(Ordering::Relaxed) {
            0 => None,
            WAITS_WRITTEN => Some(Level::Written),
            _ => Some(Level::Durable),
        }
    }

    fn answer(&self) {
        if self.ring.positions().waits.swap(0, Ordering::AcqRel) != 0 {
            self.ring.wake_worker();
        }
    }

    fn tell_losses(&mut self, take: &mut dyn FnMut(Item<'_>)) {
        let lost = self.ring.positions().lost.load(Ordering::Relaxed);
        let count = lost.saturating_sub(self.lost);
        self.lost = lost;
        if count > 0 {
            take(Item::Lost { count });
        }
    }

    /// Takes one record; returns where the next begins.
    fn one(&mut self, head: u64, take: &mut dyn FnMut(Item<'_>)) -> Option<u64> {
        let waiting = head.checked_sub(self.tail).filter(|waiting| *waiting <= self.ring.bytes())?;
        let rest = self.ring.until_end(self.tail);
        if rest < HEAD_BYTES as u64 {
            return (rest <= waiting).then_some(self.tail + rest);
        }
        let mut bytes = [0; HEAD_BYTES];
        self.ring.read(self.tail, &mut bytes);
        let record = Head::decode(&bytes)?;
        if record.kind == Kind::Padding {
            return (record.first == rest && rest <= waiting).then_some(self.tail + rest);
        }
        let length = Head::length(record.body as usize);
        let body = self.body.get_mut(..record.body as usize)?;
        if length > waiting || length > rest {
            return None;
        }
        self.ring.read(self.tail + HEAD_BYTES as u64, body);
        let item = match record.input(body) {
            Some(input) => Item::Stream {
                connection: SocketCookie(record.connection),
                side: record.side,
                at: BootTime(record.at),
                input,
            },
            None if record.kind == Kind::Report => Item::Report(body),
            None if record.kind == Kind::Judged => {
                let connection = SocketCookie(record.connection);
                Item::Judged { connection, judgement: self.judgements.judgement(body)? }
            }
            None if record.message == REPEATED => Item::Repeated(note::decode(body)?),
            None => Item::Note(note::decode(body)?),
        };
        take(item);
        Some(self.tail + length)
    }
}

impl Intake {
    /// Readable when the worker wants the core to look.
    #[must_use]
    pub fn wake_descriptor(&self) -> BorrowedFd<'_> {
        self.ring.wake_descriptor()
    }
}

impl AsRawFd for Intake {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.wake_descriptor().as_raw_fd()
    }
}
