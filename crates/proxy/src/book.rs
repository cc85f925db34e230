//! The recorder, shared by all sessions of a worker; and the walk of one session that feeds it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::task::Waker;
use std::time::Duration;

use model::id::SocketCookie;
use model::mediation::{MediationEvent, Refusal};
use model::time::BootTime;
use model::wire::{Input, Side};
use recorder::{EncodedJudgement, Level, NotRecorded, Pending, Recorder, Unproven};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::permission::{Permission, Unrecorded};
use crate::settings::{ListenerSpec, WhenUnrecorded};
use crate::stats::Stats;
use crate::walk::{Walk, Walked};

/// Longest that a request waits for its record, at levels above memory. A server's disk answers within a second.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(5);

/// The way to the core.
pub(crate) struct Book {
    recorder: RefCell<Recorder>,
    /// Sessions that hold something back, by their cookies: each at most once.
    waiting: RefCell<HashMap<u64, Waker>>,
    /// Somebody has waited in vain since the core last said something.
    stalled: Cell<bool>,
}

impl Book {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self { recorder: RefCell::new(recorder), waiting: RefCell::default(), stalled: Cell::new(false) }
    }

    /// Says something about a connection. What finds no room is counted.
    pub(crate) fn note(&self, event: &MediationEvent, stats: &Stats) {
        if self.recorder.borrow_mut().note(event).is_err() {
            stats.outcome_unrecorded();
        }
    }

    /// Says again what another core was told. Whether there was room for it.
    pub(crate) fn repeat(&self, event: &MediationEvent) -> bool {
        self.recorder.borrow_mut().repeat(event).is_ok()
    }

    /// Puts the worker's own figures into the ring.
    pub(crate) fn report(&self, figures: &[u8], stats: &Stats) {
        if self.recorder.borrow_mut().report(figures).is_err() {
            stats.outcome_unrecorded();
        }
    }

    /// What may be done with what was recorded as `pending`; if nothing yet, `waker` is woken when it is worth to ask
    /// again.
    pub(crate) fn ask(
        &self,
        reading: &Reading,
        stats: &Stats,
        pending: Pending,
        patience: Patience,
        waker: &Waker,
    ) -> Recording {
        let proof = self.recorder.borrow().proof(pending, reading.level);
        let pending = match proof {
            Ok(proof) => return Recording::Permitted(Permission::recorded(proof)),
            Err(Unproven::Missed) => return reading.not_proved(stats),
            Err(Unproven::Waits(pending)) => pending,
        };
        if patience == Patience::Exhausted {
            self.stalled.set(true);
            return reading.not_proved(stats);
        }
        // Others have waited in vain since the core has last said something.
        if self.stalled.get() && reading.unrecorded == WhenUnrecorded::Continue {
            return reading.not_proved(stats);
        }
        self.waiting.borrow_mut().insert(reading.connection.0, waker.clone());
        Recording::Waits(pending)
    }

    /// Whether a session that must be on record should read no more for now: the core is behind.
    pub(crate) fn is_pressed(&self, reading: &Reading) -> bool {
        reading.unrecorded == WhenUnrecorded::Refuse && self.recorder.borrow_mut().is_pressed()
    }

    /// Wakes those who wait whenever the core has written more, and calls `another` when one has taken its place that
    /// knows no connection. Never ends by itself.
    pub(crate) async fn listen(&self, another: impl Fn()) -> io::Result<()> {
        let answers = readable(self.recorder.borrow().answer_descriptor().try_clone_to_owned()?)?;
        loop {
            answers.readable().await?.clear_ready();
            self.recorder.borrow().settle();
            let is_another = self.recorder.borrow().is_asked_again();
            if is_another {
                another();
            }
            self.stalled.set(false);
            for (_, waker) in self.waiting.take() {
                waker.wake();
            }
        }
    }

    fn judged(&self, to: SocketCookie, judgement: &EncodedJudgement) -> Result<Pending, NotRecorded> {
        self.recorder.borrow_mut().judged(to, judgement)
    }

    fn stream(&self, to: SocketCookie, side: Side, at: BootTime, input: Input<'_>) -> Result<Pending, NotRecorded> {
        self.recorder.borrow_mut().stream(to, side, at, input)
    }
}

#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor that OwnedFd keeps")]
fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd always returns the same open descriptor, and the AsyncFd owns it.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(io::Error::from)
}

/// How long a piece has waited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It may wait (longer).
    Left,
    /// [`WAIT_MAX`] is over.
    Exhausted,
}

/// What the book says about something that was put into the ring.
pub(crate) enum Recording {
    /// It may be forwarded.
    Permitted(Permission),
    /// Not yet.
    Waits(Pending),
    /// The session ends.
    Refused(Refusal),
}

/// What may be done with a piece of a client's stream.
pub(crate) enum Judgement {
    /// It is recorded as this; [`Book::permission`] says when that is enough.
    Recorded(Pending),
    /// It may be forwarded although it is not.
    Exempted(Unrecorded),
    /// The session ends.
    Refused(Refusal),
}

/// One session's messages on their way into the book.
pub(crate) struct Reading {
    connection: SocketCookie,
    level: Level,
    unrecorded: WhenUnrecorded,
    client: Direction,
    server: Direction,
}

struct Direction {
    side: Side,
    walk: Walk,
    /// Something was not recorded: the reader must be told before the next piece.
    gap: Cell<bool>,
}

impl Reading {
    pub(crate) fn new(connection: SocketCookie, spec: &ListenerSpec, message_bytes_max: u32) -> Self {
        let direction = |side| Direction { side, walk: Walk::new(side, message_bytes_max), gap: Cell::new(false) };
        Self {
            connection,
            level: spec.level,
            unrecorded: spec.unrecorded,
            client: direction(Side::Client),
            server: direction(Side::Server),
        }
    }

    /// The server's stream ends with the end of a message: another one can be put behind it.
    pub(crate) const fn can_be_told(&self) -> bool {
        self.server.walk.is_at_boundary()
    }

    /// Records an opening packet, which has no type byte.
    pub(crate) fn opening(&self, book: &Book, stats: &Stats, at: BootTime, inputs: &[Input<'_>]) -> Judgement {
        let mut last = None;
        for input in inputs {
            match book.stream(self.connection, Side::Client, at, *input) {
                Ok(pending) => last = Some(pending),
                Err(_full) => {
                    self.client.gap.set(true);
                    return self.unrecorded(stats, Refusal::NotRecorded);
                }
            }
        }
        last.map_or_else(|| self.unrecorded(stats, Refusal::NotRecorded), Judgement::Recorded)
    }

    /// Records the server's answer to a request for encryption.
    pub(crate) fn answer(&self, book: &Book, stats: &Stats, at: BootTime, byte: u8) {
        if book.stream(self.connection, Side::Server, at, Input::Bytes(&[byte])).is_err() {
            stats.outcome_unrecorded();
        }
    }

    /// Records a piece of the client's stream. Also returns what it contained.
    pub(crate) fn client(&mut self, book: &Book, stats: &Stats, at: BootTime, chunk: &[u8]) -> (Judgement, Walked) {
        let (walked, recorded) = self.client.record(book, stats, self.connection, at, chunk);
        let judgement = match recorded {
            Some(pending) if !walked.broken => Judgement::Recorded(pending),
            _ if self.client.walk.is_lost() => self.unrecorded(stats, Refusal::Protocol),
            _ => self.unrecorded(stats, Refusal::NotRecorded),
        };
        (judgement, walked)
    }

    /// Records what was decided about the next message of the client.
    pub(crate) fn judged(&self, book: &Book, judgement: &EncodedJudgement) {
        if !self.client.gap.get() && book.judged(self.connection, judgement).is_err() {
            self.client.gap.set(true);
        }
    }

    /// Records a piece of the server's stream.
    pub(crate) fn server(&mut self, book: &Book, stats: &Stats, at: BootTime, chunk: &[u8]) -> Walked {
        let (walked, recorded) = self.server.record(book, stats, self.connection, at, chunk);
        if recorded.is_none() && (walked.broken || !self.server.walk.is_lost()) {
            stats.outcome_unrecorded();
        }
        walked
    }

    /// Nobody says that it is recorded.
    fn not_proved(&self, stats: &Stats) -> Recording {
        match self.unrecorded(stats, Refusal::NotRecorded) {
            Judgement::Exempted(exemption) => Recording::Permitted(Permission::unrecorded(exemption)),
            Judgement::Refused(reason) => Recording::Refused(reason),
            Judgement::Recorded(pending) => Recording::Waits(pending),
        }
    }

    fn unrecorded(&self, stats: &Stats, reason: Refusal) -> Judgement {
        match Unrecorded::exempted(self.unrecorded, stats) {
            Some(exemption) => Judgement::Exempted(exemption),
            None => Judgement::Refused(reason),
        }
    }
}

impl Direction {
    fn record(
        &mut self,
        book: &Book,
        stats: &Stats,
        connection: SocketCookie,
        at: BootTime,
        chunk: &[u8],
    ) -> (Walked, Option<Pending>) {
        let (side, gap) = (self.side, &self.gap);
        let mut last = None;
        let mut tell = |input: Input<'_>| {
            if gap.get() {
                return;
            }
            match book.stream(connection, side, at, input) {
                Ok(pending) => last = Some(pending),
                Err(_full) => gap.set(true),
            }
        };
        if gap.get() && !self.walk.is_lost() {
            // What was not recorded is said first, or nothing is.
            gap.set(false);
            tell(Input::Lost { bytes: None, resume_in: self.walk.resume_in() });
        }
        let walked = self.walk.walk(chunk, &mut tell);
        if walked.broken {
            stats.not_the_protocol();
        }
        (walked, last.filter(|_| !self.gap.get()))
    }
}
