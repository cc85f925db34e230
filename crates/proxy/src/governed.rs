//! A session whose messages are decided about: its guard, and the records of what the guard says.

use std::borrow::Cow;
use std::future::Future as _;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use guard::{Cleared, Guard, Question};
use model::Known;
use model::mediation::Refusal;
use model::principal::UnknownPrincipal;
use model::time::{BootTime, WallTime};
use recorder::EncodedJudgement;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

use crate::book::{Book, Judgement, Patience, Reading};
use crate::clock;
use crate::holds::{Holding, Waiting};
use crate::stats::Stats;
use crate::walk::Walked;

/// Sends a CancelRequest on a connection of its own, for the client whose socket this is. It is sent even if nobody waits
/// until it is.
pub(crate) type Canceller = Box<dyn Fn(OwnedFd, Vec<u8>, Cleared) -> JoinHandle<()>>;

/// Guard and records of one session.
pub(crate) struct Governed {
    pub(crate) guard: Box<Guard>,
    pub(crate) reading: Box<Reading>,
    canceller: Canceller,
    /// A CancelRequest on its way.
    cancelling: Option<JoinHandle<()>>,
    /// The server has said something, or the core was behind: what waited may go on.
    may_go_on: bool,
    /// When what runs must have ended.
    alarm: Option<(BootTime, Pin<Box<Sleep>>)>,
    /// When whoever acts is not known any more.
    expiry: Option<WallTime>,
    asker: Asker,
    holding: Holding,
    /// When it is looked whether the catalogue was read again.
    look: Option<Pin<Box<Sleep>>>,
}

/// How often a session that waits for a newer snapshot of the catalogue looks for it.
const CATALOGUE_LOOK: Duration = Duration::from_millis(20);

/// Has somebody decide about a statement of this session.
pub(crate) type Asker = Box<dyn Fn(Box<Question>) -> Box<dyn Waiting>>;

/// What goes to the server, and on what ground.
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    pub(crate) messages: u64,
    pub(crate) terminated: bool,
    /// Requests of the client in it that ReadyForQuery answers.
    pub(crate) cycles: u64,
    pub(crate) cleared: Cleared,
    /// `None`: nothing was recorded, because nothing of the client's goes on.
    pub(crate) judgement: Option<Judgement>,
}

impl Governed {
    pub(crate) fn new(
        guard: Box<Guard>,
        reading: Box<Reading>,
        expiry: Option<WallTime>,
        canceller: Canceller,
        asker: Asker,
    ) -> Self {
        let (cancelling, alarm, look, holding) = (None, None, None, Holding::default());
        Self { guard, reading, canceller, cancelling, may_go_on: false, alarm, expiry, asker, holding, look }
    }

    /// Looks after a statement that waits for somebody's decision.
    pub(crate) fn look_after_hold(&mut self, cx: &mut Context<'_>) {
        self.look_for_catalogue(cx);
        let Self { guard, asker, holding, may_go_on, .. } = self;
        if guard.is_holding() || holding.is_open() {
            holding.poll(cx, guard, asker);
            *may_go_on |= guard.is_answered();
        }
    }

    /// Lets a message that waits for a newer snapshot of the catalogue try again now and then.
    fn look_for_catalogue(&mut self, cx: &mut Context<'_>) {
        if !self.guard.awaits_catalogue() {
            return self.look = None;
        }
        let look = self.look.get_or_insert_with(|| Box::pin(sleep(CATALOGUE_LOOK)));
        while look.as_mut().poll(cx).is_ready() {
            self.may_go_on = true;
            look.set(sleep(CATALOGUE_LOOK));
        }
    }

    /// What the client is to be told while its statement waits.
    pub(crate) fn speak(&mut self, book: &Book, stats: &Stats, at: BootTime) -> Vec<u8> {
        let bytes = self.guard.speak(at);
        if !bytes.is_empty() {
            let _answers_nothing = self.reading.server(book, stats, at, &bytes);
        }
        bytes
    }

    /// Cancels what has crossed a bound. `client`: the socket of the session's client.
    pub(crate) fn keep_bounds(&mut self, cx: &mut Context<'_>, client: BorrowedFd<'_>) {
        self.watch(cx);
        if let Some((packet, cleared)) = self.guard.take_cancel() {
            match client.try_clone_to_owned() {
                Ok(client) => self.cancelling = Some((self.canceller)(client, packet, cleared)),
                // The client gets no more rows in any case.
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "nothing could be cancelled");
                    self.guard.cancelled();
                }
            }
        }
        if let Some(cancelling) = &mut self.cancelling
            && Pin::new(cancelling).poll(cx).is_ready()
        {
            self.cancelling = None;
            self.guard.cancelled();
            self.may_go_on = true;
            cx.waker().wake_by_ref();
        }
    }

    /// Cancels whatever runs: the session ends. Returns when the server has taken it, or never will.
    pub(crate) async fn cancel_now(&mut self, client: BorrowedFd<'_>) {
        if let Some((packet, cleared)) = self.guard.cancel_now()
            && let Ok(client) = client.try_clone_to_owned()
        {
            let _ended = (self.canceller)(client, packet, cleared).await;
        }
    }

    /// Looks at the time when the deadline of what runs has come.
    fn watch(&mut self, cx: &mut Context<'_>) {
        let Some(deadline) = self.guard.deadline() else { return self.alarm = None };
        if self.alarm.as_ref().is_none_or(|(known, _)| *known != deadline) {
            let rest = Duration::from_nanos(deadline.nanos_since(clock::now()));
            self.alarm = Some((deadline, Box::pin(sleep(rest))));
        }
        if let Some((_, alarm)) = &mut self.alarm
            && alarm.as_mut().poll(cx).is_ready()
        {
            self.alarm = None;
            // A timer may be a little early by the other clock.
            self.guard.look(deadline.max(clock::now()));
        }
    }

    /// Whether the proof of identity ends now: from here on everything is decided about as of somebody unknown.
    pub(crate) fn expires(&mut self, now: WallTime) -> bool {
        let is_over = self.expiry.take_if(|end| *end <= now).is_some();
        if is_over {
            self.guard.identify(Known::Unknown(UnknownPrincipal::Expired));
        }
        is_over
    }

    /// Whether more of the client's stream can be taken.
    pub(crate) fn has_room(&self) -> bool {
        !self.guard.is_full()
    }

    /// Whether something that was read waits for the server.
    pub(crate) fn is_waiting(&self) -> bool {
        self.guard.is_waiting()
    }

    /// Whether it is worth to try again what waited.
    pub(crate) fn has_chance(&self) -> bool {
        self.may_go_on && self.guard.is_waiting()
    }

    /// The same, once.
    pub(crate) fn take_chance(&mut self) -> bool {
        std::mem::take(&mut self.may_go_on) && self.guard.is_waiting()
    }

    pub(crate) fn client(
        &mut self,
        book: &Book,
        stats: &Stats,
        at: BootTime,
        chunk: &[u8],
        patience: Patience,
    ) -> Result<Piece, Refusal> {
        let Self { guard, reading, .. } = self;
        let mut records = Records { reading, book, stats, at, patience, is_behind: false, cycles: 0, judgement: None };
        let passed = guard.client(at, clock::wall(), chunk, &mut records).map_err(|_broken| Refusal::Protocol)?;
        let Records { cycles, judgement, is_behind, .. } = records;
        self.may_go_on |= is_behind;
        let guard::Passed { bytes, messages, terminated, cleared } = passed;
        Ok(Piece { bytes, messages, terminated, cycles, cleared, judgement })
    }

    pub(crate) fn server<'a>(
        &mut self,
        book: &Book,
        stats: &Stats,
        at: BootTime,
        chunk: &'a [u8],
    ) -> (Cow<'a, [u8]>, Walked) {
        let bytes = self.guard.server(at, chunk);
        self.may_go_on = true;
        let walked = self.reading.server(book, stats, at, &bytes);
        (bytes, walked)
    }
}

impl Drop for Governed {
    fn drop(&mut self) {
        for (rule, cells) in self.guard.masked_cells() {
            tracing::info!(rule = &**rule, cells, "values of a session were masked");
        }
    }
}

/// Where the guard's words go: the session's place in the book.
struct Records<'a> {
    reading: &'a mut Reading,
    book: &'a Book,
    stats: &'a Stats,
    at: BootTime,
    patience: Patience,
    /// The core is behind: the rest waits for it.
    is_behind: bool,
    cycles: u64,
    judgement: Option<Judgement>,
}

impl guard::Book for Records<'_> {
    fn judged(&mut self, judgement: &EncodedJudgement) {
        self.reading.judged(self.book, judgement);
    }

    /// What was read takes many times its bytes in records: it is looked before each message.
    fn has_room(&mut self) -> bool {
        self.is_behind = self.patience == Patience::Left && self.book.is_pressed(self.reading);
        !self.is_behind
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (judgement, walked) = self.reading.client(self.book, self.stats, self.at, bytes);
        self.cycles += walked.cycles;
        // One piece that is not recorded is enough; else the last record stands for those before it.
        if !matches!(self.judgement, Some(Judgement::Refused(_))) {
            self.judgement = Some(judgement);
        }
    }
}
