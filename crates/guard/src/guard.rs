//! One session: its client's stream, its server's stream, and the decision about each message between them.

mod beside;
mod desk;
mod expected;
mod holding;
mod masked;
mod turns;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use model::Known;
use model::facts::{Facts, OpaqueReason};
use model::principal::{Principal, UnknownPrincipal};
use model::request::Request;
use model::statement::{Ending, StatementKind};
use model::time::{BootTime, WallTime};
use model::verdict::{Denial, Mode, Obligations};
use model::wire::{Input, Side, WireEvent};
use policy::SessionContext;
use recorder::EncodedJudgement;
use wire_pg::{Connection, Limits, Start};

use crate::bounds::Bounds;
use crate::client::{HELD_BYTES_MAX, Next, Stream};
use crate::cycle::Refused;
use crate::following::Following;
use crate::guard::beside::Staleness;
use crate::guard::desk::Desk;
use crate::hold::{Answer, Parked, Portals};
use crate::judge::{Bench, Circumstances, Judge, Judged, Ruling, unexplained};
use crate::masking::Cells;
use crate::message;
use crate::neighbours::Place;
use crate::server::Server;
use crate::startup;

/// Where what a client says is recorded, before it is forwarded.
pub trait Book {
    /// What was decided about the next message that asks for something.
    fn judged(&mut self, judgement: &EncodedJudgement);
    /// The client's bytes.
    fn bytes(&mut self, bytes: &[u8]);
    /// Whether the record of another message would find room. While it would not, no message is decided about.
    fn has_room(&mut self) -> bool;
}

/// Proof that nothing in the bytes that it came with asks for anything without a permit. Made here only.
#[derive(Debug)]
#[must_use = "it is there to be handed to whoever forwards"]
pub struct Cleared(());

/// What goes to the server.
#[derive(Debug)]
pub struct Passed {
    /// The bytes; empty: nothing, for now.
    pub bytes: Vec<u8>,
    /// Messages that begin in them.
    pub messages: u64,
    /// The client said goodbye.
    pub terminated: bool,
    /// That they may.
    pub cleared: Cleared,
}

/// The client's bytes are not the protocol, and the database is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A request whose outcome is awaited.
struct Asked {
    kind: StatementKind,
    at: BootTime,
    facts: Arc<Facts>,
    bounds: Obligations,
    stale: Staleness,
}

/// One session.
pub struct Guard {
    bench: Bench,
    around: Circumstances,
    connection: Connection,
    client: Stream,
    server: Server,
    desk: Desk,
    asked: VecDeque<Asked>,
    /// What its beginning did.
    opening: Facts,
    /// The server was told to answer what it has of the open batch.
    flushed: bool,
    /// The rest of a long message goes where its beginning went.
    rest_is_dropped: bool,
    /// The bytes are not understood, and not enforced.
    blind: bool,
    /// The SQL of a replication connection cannot be asked anything.
    replication: bool,
    names: u64,
    /// A statement that waits for somebody's decision.
    parked: Option<Parked>,
    /// A message that would be refused only because the snapshot of the catalogue is behind this session.
    postponed: Option<Heard>,
    portals: Portals,
    /// An Execute goes on whose portal must be described before.
    describes: bool,
    /// Among the sessions that change the catalogue.
    place: Place,
    /// Up to which of their changes what runs was looked at.
    looked_beside: u64,
}

impl Guard {
    /// A session that is about to be opened with this StartupMessage.
    #[must_use]
    pub fn new(
        judge: Rc<Judge>,
        principal: Known<Principal, UnknownPrincipal>,
        session: SessionContext,
        replication: bool,
    ) -> Self {
        let following = Following::new(Arc::clone(&session.user));
        let mut connection = Connection::new(Start::FirstByte, Limits::default());
        connection.announce();
        let bench = Bench::new(judge, &principal);
        let place = bench.place(&session);
        Self {
            bench,
            around: Circumstances { principal, session },
            connection,
            client: Stream::default(),
            server: Server::default(),
            desk: Desk::new(following),
            asked: VecDeque::new(),
            opening: Facts::default(),
            flushed: false,
            rest_is_dropped: false,
            blind: false,
            replication,
            names: 0,
            parked: None,
            postponed: None,
            portals: Portals::default(),
            describes: false,
            place,
            looked_beside: 0,
        }
    }

    /// Decides whether the session may be opened. `packet` is the StartupMessage, `parameters` what is in it.
    ///
    /// # Errors
    ///
    /// It may not: why.
    pub fn open<'a>(
        &mut self,
        at: BootTime,
        now: WallTime,
        packet: &[u8],
        parameters: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Cleared, Denial> {
        self.feed(Side::Client, at, &[Input::Bytes(packet)]);
        self.opening = startup::facts(parameters);
        self.bench.look_at_grants(at);
        let judged = self.judge_opening(now);
        match judged.ruling {
            Ruling::Run(_permits) => Ok(Cleared(())),
            // The opening of a session waits for nobody.
            Ruling::Wait(..) | Ruling::Refused => Err(judged.verdict.denial.unwrap_or_else(unexplained)),
        }
    }

    /// Whether the policies that there are now would let it be opened.
    #[must_use]
    pub fn is_admitted(&self, now: WallTime) -> bool {
        matches!(self.judge_opening(now).ruling, Ruling::Run(_))
    }

    /// SQL database of the session.
    #[must_use]
    pub fn sql_database(&self) -> Arc<str> {
        Arc::clone(&self.around.session.database)
    }

    fn judge_opening(&self, now: WallTime) -> Judged {
        self.bench.judge_opening(self.replication, self.opening.clone(), &self.around, now)
    }

    /// Somebody else acts from now on, or it is not known any more who does.
    pub fn identify(&mut self, principal: Known<Principal, UnknownPrincipal>) {
        self.bench.identify(&principal);
        self.around.principal = principal;
    }

    /// More of the client's stream should not be read: what was read is not dealt with.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.client.waiting() > HELD_BYTES_MAX
    }

    /// Something that was read waits for an answer of the server. The beginning of a message waits for its client.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.client.next() != Next::Incomplete
    }

    /// Everything asked is answered, and nothing of the guard's own is under way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.client.waiting() == 0 && self.desk.cycles.is_quiet()
    }

    /// Messages of the server so far.
    #[must_use]
    pub const fn messages_from_server(&self) -> u64 {
        self.server.messages
    }

    /// Cells that were masked so far, by rule.
    #[must_use]
    pub const fn masked_cells(&self) -> &Cells {
        &self.desk.cells
    }

    /// Takes bytes of the client behind its StartupMessage; none: what waited may go on now.
    ///
    /// # Errors
    ///
    /// They are not the protocol.
    pub fn client(
        &mut self,
        at: BootTime,
        now: WallTime,
        chunk: &[u8],
        book: &mut impl Book,
    ) -> Result<Passed, Broken> {
        let mut passed = Passed { bytes: Vec::new(), messages: 0, terminated: false, cleared: Cleared(()) };
        let mut stream = std::mem::take(&mut self.client);
        stream.extend(chunk);
        let outcome = self.deal_with(&mut stream, at, now, book, &mut passed);
        stream.rest();
        self.client = stream;
        outcome.map(|()| passed)
    }

    fn deal_with(
        &mut self,
        stream: &mut Stream,
        at: BootTime,
        now: WallTime,
        book: &mut impl Book,
        passed: &mut Passed,
    ) -> Result<(), Broken> {
        loop {
            if self.blind {
                let rest = stream.take_all();
                book.bytes(&rest);
                passed.bytes.extend_from_slice(&rest);
                return Ok(());
            }
            if self.waits() {
                return Ok(());
            }
            let (kind, bytes, rest) = match stream.next() {
                Next::Incomplete => return Ok(()),
                Next::Broken => {
                    self.lose()?;
                    continue;
                }
                Next::Rest(bytes) => {
                    book.bytes(bytes);
                    if !self.rest_is_dropped {
                        passed.bytes.extend_from_slice(bytes);
                    }
                    let length = bytes.len();
                    stream.advance_rest(length);
                    continue;
                }
                Next::Whole { kind, message } => (kind, message, 0),
                Next::Long { kind, beginning, rest } => (kind, beginning, rest),
            };
            let is_heard = self.parked.is_some() || self.postponed.is_some();
            if !book.has_room() || (!is_heard && !self.may_take(kind, passed)) {
                return Ok(());
            }
            if self.postponed.is_some() && self.is_behind(at) {
                return Ok(());
            }
            if !self.message(Piece { kind, bytes, rest }, at, now, book, passed) {
                return Ok(());
            }
            let length = bytes.len();
            stream.advance(length, rest);
        }
    }

    /// The stream is not the protocol.
    fn lose(&mut self) -> Result<(), Broken> {
        if self.around.session.mode == Mode::Enforce {
            return Err(Broken);
        }
        self.blind = true;
        Ok(())
    }

    /// Deals with a message; `false`: not yet, it waits for somebody's decision.
    fn message(
        &mut self,
        piece: Piece<'_>,
        at: BootTime,
        now: WallTime,
        book: &mut impl Book,
        passed: &mut Passed,
    ) -> bool {
        let (heard, answered) = match (self.parked.take(), self.postponed.take()) {
            (Some(mut parked), _) => (Heard { request: parked.request.take(), at: parked.at }, Some(parked)),
            (None, Some(heard)) => (heard, None),
            (None, None) => (Heard { request: self.hear(piece, at), at }, None),
        };
        // A Sync that the server would ignore, or not if the data have failed meanwhile: where that matters it does not get it.
        let is_ignored = piece.kind == b'S' && self.desk.cycles.is_copying();
        // What the server skips behind a failure is not decided about, and where decisions count it does not get it.
        let is_skipped = self.desk.dropping && !matches!(piece.kind, b'S' | b'X');
        let is_dropped = (is_ignored || is_skipped) && self.around.session.mode == Mode::Enforce;
        let has_effect = !is_dropped && !is_skipped;
        let sentence = match piece.kind {
            _ if !has_effect => Sentence::Pass,
            b'Q' | b'F' | b'P' | b'B' | b'E' => self.judge(piece, heard, answered, (at, now), book),
            _ => Sentence::Pass,
        };
        if let Sentence::Park(parked) = sentence {
            self.flush(passed);
            self.parked = Some(*parked);
            return false;
        }
        if let Sentence::Postpone(heard) = sentence {
            self.postponed = Some(heard);
            return false;
        }
        book.bytes(piece.bytes);
        self.rest_is_dropped = is_dropped || matches!(sentence, Sentence::Refuse(_));
        if let Sentence::Refuse(denial) = sentence {
            self.refuse(piece.kind, &denial, passed);
        } else if !is_dropped {
            self.describe(piece, passed);
            passed.bytes.extend_from_slice(piece.bytes);
            passed.messages += 1;
            passed.terminated |= piece.kind == b'X';
        }
        match piece.kind {
            b'Q' | b'F' if has_effect => self.desk.cycles.close(),
            b'D' if has_effect && self.masks() => self.desk.cycles.open().results.expect_description(false),
            b'c' | b'f' => self.desk.cycles.end_copy(),
            b'S' if !is_ignored => {
                (self.desk.dropping, self.flushed) = (false, false);
                self.desk.cycles.close();
            }
            // They may fail, and a Sync ends them.
            b'D' if has_effect => _ = self.desk.cycles.open(),
            b'C' if has_effect => {
                self.bench.names.closed(piece.bytes);
                self.desk.cycles.open();
            }
            _ => {}
        }
        true
    }

    /// Lets the decoder hear a message of the client; what it asks for.
    fn hear(&mut self, piece: Piece<'_>, at: BootTime) -> Option<Box<Request>> {
        let rest = Input::Skipped { kind: piece.kind, bytes: piece.rest, messages: 0 };
        let inputs = [Input::Bytes(piece.bytes), rest];
        let inputs = if piece.rest > 0 { &inputs[..] } else { &inputs[..1] };
        self.feed(Side::Client, at, inputs)
    }

    fn feed(&mut self, side: Side, at: BootTime, inputs: &[Input<'_>]) -> Option<Box<Request>> {
        self.follow(|connection, sink| inputs.iter().for_each(|input| connection.feed(side, at, *input, sink)))
    }

    /// Has the decoder tell what it knows; what is asked for with that.
    fn follow(&mut self, tell: impl FnOnce(&mut Connection, &mut dyn FnMut(WireEvent))) -> Option<Box<Request>> {
        let Self { connection, desk: Desk { following, .. }, bench, asked, .. } = self;
        let mut requested = None;
        tell(connection, &mut |event| match event {
            WireEvent::Requested(request) => requested = Some(request),
            WireEvent::ParameterStatus { name, value } => following.reported(&name, &value),
            WireEvent::Statement(statement) => {
                let is_it = |asked: &Asked| asked.kind == statement.kind && asked.at == statement.started;
                let Some(place) = asked.iter().position(is_it) else { return };
                let Some(Asked { facts, bounds, stale, .. }) = asked.drain(..=place).next_back() else { return };
                let names = &mut bench.names;
                if statement.ending == Ending::Lost {
                    following.lose(&facts);
                    names.forget_all();
                }
                let before = names.has_prepared().then(|| following.state().clone());
                following.settle(&statement, &facts, |change, place| names.follow(change, &statement, place));
                names.settle(&statement, &facts, bounds);
                if stale == Staleness::Stale {
                    names.forget_all();
                }
                if before.is_some_and(|before| before != *following.state()) {
                    names.forget_prepared();
                }
            }
            _ => {}
        });
        requested
    }

    /// Decides about a message. `answered`: it has waited.
    fn judge(
        &mut self,
        piece: Piece<'_>,
        heard: Heard,
        answered: Option<Parked>,
        (looked, now): (BootTime, WallTime),
        book: &mut impl Book,
    ) -> Sentence {
        let (kind, Heard { request, at }) = (piece.kind, heard);
        self.bench.look_at_grants(at);
        let (facts, is_beside) = match &request {
            Some(request) => self.facts(kind, request, now),
            None => (Arc::new(Facts { statements: Vec::new(), opaque: Some(OpaqueReason::Incomplete) }), false),
        };
        let mut judged = match (kind, &answered) {
            // What has waited was counted when it came.
            (b'P' | b'B', _) | (_, Some(_)) => self.bench.judge(facts, &self.around, now),
            _ => self.bench.judge_run(facts, &self.around, now),
        };
        let is_refused = matches!(judged.ruling, Ruling::Refused) && answered.is_none();
        if is_refused && (self.is_behind(looked) || (is_beside && self.may_wait(at, looked))) {
            return Sentence::Postpone(Heard { request, at });
        }
        if let Some(parked) = answered {
            judged = parked.conclude(judged);
            if let (Some(Answer::Approved(grant)), Ruling::Run(_)) = (parked.answer(), &judged.ruling) {
                self.portals.release(request.as_deref(), *grant, parked.digest);
            }
        }
        if let (Ruling::Wait(..), b'Q' | b'F' | b'E') = (&judged.ruling, kind) {
            judged = match Parked::new(request.clone(), at, Rc::clone(&judged), &self.portals) {
                Ok(parked) => match self.portals.released(request.as_deref(), parked.digest) {
                    Some(grant) => Rc::new(judged.released(grant)),
                    None => return Sentence::Park(Box::new(parked)),
                },
                Err(why) => Rc::new(judged.unshowable(why)),
            };
        }
        // The statement of a Bind was judged with its Parse: only news are worth a record.
        if kind != b'B' || judged.verdict.denial.is_some() {
            book.judged(&judged.encoded);
        }
        if let Ruling::Refused = judged.ruling {
            return Sentence::Refuse(judged.verdict.denial.clone().unwrap_or_else(unexplained));
        }
        if let (b'B', Some(request)) = (kind, &request) {
            let waits = matches!(judged.ruling, Ruling::Wait(..)) && piece.rest == 0;
            self.portals.bind(request, waits.then_some(piece.bytes));
        }
        self.warn(&judged);
        self.expect(kind, request.as_deref(), &judged, at);
        if matches!(kind, b'Q' | b'E') {
            self.place.announce(&judged.facts);
        }
        Sentence::Pass
    }

    /// Tells the client what would not have gone on like this, were anything enforced.
    fn warn(&mut self, judged: &Judged) {
        if self.around.session.mode != Mode::Warn {
            return;
        }
        if let Some(denial) = &judged.verdict.denial {
            self.desk.notices.extend_from_slice(&message::warning(denial));
        } else if let Some(hold) = &judged.verdict.hold {
            self.desk.notices.extend_from_slice(&message::would_wait(hold));
        }
    }

    /// Makes the server fail in place of what was refused, so that the batch and the transaction end as after any error.
    fn refuse(&mut self, kind: u8, denial: &Denial, passed: &mut Passed) {
        let name = self.name("refuses");
        message::failing_bind(&name, &mut passed.bytes);
        passed.messages += 1;
        // On a replication connection there is no Bind (55.4).
        let name = (!self.replication).then_some(name);
        let cycle = self.desk.cycles.open();
        cycle.unsettling = true;
        cycle.refused = Some(Refused { name, answer: message::refusal(denial) });
        if matches!(kind, b'Q' | b'F') {
            message::sync(&mut passed.bytes);
            passed.messages += 1;
        } else {
            self.desk.dropping = true;
        }
    }

    /// Takes bytes of the server; returns what the client gets. Afterwards [`Guard::client`] may go on with what waited.
    pub fn server<'a>(&mut self, at: BootTime, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        self.desk.protected = if self.masks() { self.bench.protected(&self.around.session.database) } else { None };
        self.look_beside();
        let out = self.server.take(chunk, &mut self.desk);
        self.around.session.in_transaction = self.desk.in_transaction;
        self.feed(Side::Server, at, &[Input::Bytes(&out)]);
        if self.desk.cycles.is_quiet() {
            // What the decoder has lost count of must not be told behind the next decision.
            self.follow(|connection, sink| connection.all_is_answered(sink));
            if !self.around.session.in_transaction {
                self.desk.following.is_committed(at);
                self.place.settle(at);
            }
        }
        for Bounds { givers, given, .. } in self.desk.gave.drain(..) {
            givers.into_iter().for_each(|name| self.bench.names.given.note(name, given));
        }
        if std::mem::take(&mut self.desk.code_has_run) {
            self.desk.following.code_has_run(self.desk.status());
            self.bench.names.forget_prepared();
        }
        out
    }

    /// When what runs must have ended.
    #[must_use]
    pub fn deadline(&self) -> Option<BootTime> {
        let bounds = self.desk.cycles.front()?.bounds.as_ref()?;
        bounds.deadline.filter(|_| bounds.beyond.is_none())
    }

    /// Its time may have run out.
    pub fn look(&mut self, now: BootTime) {
        let front = self.desk.cycles.front_mut().and_then(|cycle| cycle.bounds.as_mut());
        self.desk.cancel.wanted |= front.is_some_and(|bounds| bounds.expires(now));
    }

    /// A CancelRequest for what has crossed a bound, once. Until [`Guard::cancelled`] nothing more is asked of the server.
    pub fn take_cancel(&mut self) -> Option<(Vec<u8>, Cleared)> {
        let wanted = std::mem::take(&mut self.desk.cancel.wanted);
        let key = self.desk.cancel.key.as_ref().filter(|_| wanted)?;
        self.desk.cancel.is_under_way = true;
        Some((message::cancel(key), Cleared(())))
    }

    /// A CancelRequest for whatever runs: the session ends.
    pub fn cancel_now(&mut self) -> Option<(Vec<u8>, Cleared)> {
        self.desk.cancel.wanted = true;
        self.take_cancel()
    }

    /// The server has taken the CancelRequest, or never will: [`Guard::client`] is to be called.
    pub const fn cancelled(&mut self) {
        self.desk.cancel.is_under_way = false;
    }
}

/// A message of the client, or the beginning of a long one.
#[derive(Clone, Copy)]
struct Piece<'a> {
    kind: u8,
    bytes: &'a [u8],
    rest: u64,
}

/// A message that the decoder knows.
struct Heard {
    request: Option<Box<Request>>,
    at: BootTime,
}

/// What becomes of a message.
enum Sentence {
    Pass,
    Refuse(Denial),
    Park(Box<Parked>),
    /// It is judged again when the snapshot of the catalogue is newer.
    Postpone(Heard),
}
