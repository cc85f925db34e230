//! One session: its client's stream, its server's stream, and the decision about each message between them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use model::Known;
use model::facts::{Action, Facts, OpaqueReason, StateChange, StatementFacts};
use model::principal::{Principal, UnknownPrincipal};
use model::request::Request;
use model::statement::{Ending, StatementKind};
use model::time::{BootTime, WallTime};
use model::verdict::{Denial, Mode};
use model::wire::{Input, Side, WireEvent};
use policy::SessionContext;
use recorder::EncodedJudgement;
use wire_pg::{Connection, Limits, Start};

use crate::bounds::Bounds;
use crate::client::{HELD_BYTES_MAX, Next, Stream};
use crate::cycle::{Cycle, Cycles, Refused};
use crate::following::Following;
use crate::hold::{Announcement, Answer, Parked, Portals, Question, Stage};
use crate::judge::{Bench, Circumstances, Judge, Judged, Ruling, unexplained};
use crate::message;
use crate::server::{Fate, Reader, Server};
use crate::startup;

/// What the server is asked when it knows better: schemas in the order in which names are looked up in them.
const QUESTION: &str = "select pg_catalog.unnest(pg_catalog.current_schemas(true))";
/// Schemas of an answer; a path of more names is not followed.
const SCHEMAS_MAX: usize = 256;

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
}

/// One session.
pub struct Guard {
    bench: Bench,
    around: Circumstances,
    connection: Connection,
    client: Stream,
    server: Server,
    cycles: Cycles,
    following: Following,
    asked: VecDeque<Asked>,
    /// What its beginning did.
    opening: Facts,
    /// Something of the batch was refused, or has failed: nothing of it goes on until its Sync.
    dropping: bool,
    /// The server was told to answer what it has of the open batch.
    flushed: bool,
    /// The rest of a long message goes where its beginning went.
    rest_is_dropped: bool,
    /// The bytes are not understood, and not enforced.
    blind: bool,
    logged_in: bool,
    /// The open transaction can only be rolled back.
    has_failed: bool,
    /// Code of users has run in what was answered last.
    code_has_run: bool,
    /// The server is asked something within the open batch.
    asks_inside: bool,
    /// The SQL of a replication connection cannot be asked anything.
    replication: bool,
    notices: Vec<u8>,
    answer: Vec<Arc<str>>,
    names: u64,
    cancel: Cancel,
    /// A statement that waits for somebody's decision.
    parked: Option<Parked>,
    portals: Portals,
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
        Self {
            bench: Bench::new(judge, &principal),
            around: Circumstances { principal, session },
            connection,
            client: Stream::default(),
            server: Server::default(),
            cycles: Cycles::started(),
            following,
            asked: VecDeque::new(),
            opening: Facts::default(),
            dropping: false,
            flushed: false,
            rest_is_dropped: false,
            blind: false,
            logged_in: false,
            has_failed: false,
            code_has_run: false,
            asks_inside: false,
            replication,
            notices: Vec::new(),
            answer: Vec::new(),
            names: 0,
            cancel: Cancel::default(),
            parked: None,
            portals: Portals::default(),
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
        self.client.waiting() == 0 && self.cycles.is_quiet()
    }

    /// Messages of the server so far.
    #[must_use]
    pub const fn messages_from_server(&self) -> u64 {
        self.server.messages
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
            if !book.has_room() || (self.parked.is_none() && !self.may_take(kind, passed)) {
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

    /// Whether the next message can be judged now. If the server must be asked something before, it is.
    fn may_take(&mut self, kind: u8, passed: &mut Passed) -> bool {
        if !self.logged_in {
            return kind == b'p' || kind == b'X';
        }
        if !matches!(kind, b'Q' | b'F' | b'P' | b'B' | b'E' | b'D' | b'C' | b'S') {
            return true;
        }
        if !self.connection.has_room() {
            self.flush(passed);
            return false;
        }
        if self.dropping || kind == b'S' {
            return true;
        }
        if self.cycles.is_open() {
            return self.may_take_inside(kind, passed);
        }
        // A Query can change names: what a batch behind it means is known once it is answered.
        let uses_names = matches!(kind, b'P' | b'B' | b'E' | b'D' | b'C');
        if self.cycles.is_full()
            || self.cycles.are_unsettling(uses_names)
            || (kind == b'E' && self.cycles.has_waiting())
        {
            return false;
        }
        if !self.following.is_uncertain || !self.may_ask() {
            return true;
        }
        if self.cycles.is_quiet() {
            self.ask(passed);
            message::sync(&mut passed.bytes);
            self.cycles.push(Cycle { own: true, unsettling: true, ..Cycle::default() });
        }
        false
    }

    /// Whether the server can be asked something without a trace: behind the first statement of a transaction, and before
    /// it has failed.
    const fn may_ask(&self) -> bool {
        let is_traceless = !self.around.session.in_transaction || (self.following.has_run_code && !self.has_failed);
        is_traceless && !self.replication
    }

    /// The same inside of a batch, which has no Sync yet. The server answers when it is told to, so that it can be known
    /// what a statement of the batch did. A Query must know whether the batch has failed: then the server skips it.
    fn may_take_inside(&mut self, kind: u8, passed: &mut Passed) -> bool {
        if self.asks_inside {
            return false;
        }
        let asks = self.following.is_uncertain && self.following.has_run_code && self.may_ask();
        let waits = asks || self.cycles.is_open_unsettling() || matches!(kind, b'Q' | b'F');
        if waits && !self.connection.is_answered() {
            self.flush(passed);
            return false;
        }
        if asks {
            self.ask(passed);
            message::flush(&mut passed.bytes);
            self.asks_inside = true;
            return false;
        }
        self.flushed = false;
        self.cycles.settle_open();
        true
    }

    /// The question; what ends it has to follow.
    fn ask(&mut self, passed: &mut Passed) {
        let name = self.name("asks");
        message::question(&name, QUESTION, &mut passed.bytes);
        passed.messages += 5;
        self.answer.clear();
    }

    /// Has the server answer what it has of the open batch, once.
    fn flush(&mut self, passed: &mut Passed) {
        if self.cycles.is_open() && !std::mem::replace(&mut self.flushed, true) {
            message::flush(&mut passed.bytes);
            passed.messages += 1;
        }
    }

    /// A name that no client uses: nobody can guess it, and so prepare something under it.
    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("warder_{what}_{}_{:016x}", self.names, RandomState::new().hash_one(self.names))
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
        let (heard, answered) = match self.parked.take() {
            Some(mut parked) => (Heard { request: parked.request.take(), at: parked.at }, Some(parked)),
            None => (Heard { request: self.hear(piece, at), at }, None),
        };
        let is_dropped = self.dropping && !matches!(piece.kind, b'S' | b'X');
        let sentence = match piece.kind {
            _ if is_dropped => Sentence::Pass,
            b'Q' | b'F' | b'P' | b'B' | b'E' => self.judge(piece, heard, answered, now, book),
            _ => Sentence::Pass,
        };
        if let Sentence::Park(parked) = sentence {
            self.flush(passed);
            self.parked = Some(*parked);
            return false;
        }
        book.bytes(piece.bytes);
        self.rest_is_dropped = is_dropped || matches!(sentence, Sentence::Refuse(_));
        if let Sentence::Refuse(denial) = sentence {
            self.refuse(piece.kind, &denial, passed);
        } else if !is_dropped {
            passed.bytes.extend_from_slice(piece.bytes);
            passed.messages += 1;
            passed.terminated |= piece.kind == b'X';
            if matches!(piece.kind, b'P' | b'B' | b'E' | b'D' | b'C') {
                self.cycles.ask();
            }
        }
        match piece.kind {
            b'Q' | b'F' if !is_dropped => self.cycles.close(),
            b'c' | b'f' => self.cycles.end_copy(),
            b'S' => {
                (self.dropping, self.flushed) = (false, false);
                self.cycles.close();
            }
            // They may fail, and a Sync ends them.
            b'D' | b'C' if !is_dropped => {
                self.cycles.open();
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
        let Self { connection, following, bench, asked, .. } = self;
        let mut requested = None;
        for input in inputs {
            connection.feed(side, at, *input, &mut |event| match event {
                WireEvent::Requested(request) => requested = Some(request),
                WireEvent::ParameterStatus { name, value } => following.reported(&name, &value),
                WireEvent::Statement(statement) => {
                    let is_it = |asked: &Asked| asked.kind == statement.kind && asked.at == statement.started;
                    let Some(place) = asked.iter().position(is_it) else { return };
                    let Some(Asked { facts, .. }) = asked.drain(..=place).next_back() else { return };
                    if statement.ending == Ending::Lost {
                        following.lose(&facts);
                        bench.forget_prepared();
                    }
                    let before = bench.has_prepared().then(|| following.state().clone());
                    following.settle(&statement, &facts, |change| bench.follow(change));
                    if before.is_some_and(|before| before != *following.state()) {
                        bench.forget_prepared();
                    }
                }
                _ => {}
            });
        }
        requested
    }

    /// Decides about a message. `answered`: it has waited.
    fn judge(
        &mut self,
        piece: Piece<'_>,
        heard: Heard,
        answered: Option<Parked>,
        now: WallTime,
        book: &mut impl Book,
    ) -> Sentence {
        let (kind, Heard { request, at }) = (piece.kind, heard);
        let facts = match &request {
            Some(request) => self.bench.facts(request, self.following.state(), &self.around.session.database),
            None => Arc::new(Facts { statements: Vec::new(), opaque: Some(OpaqueReason::Incomplete) }),
        };
        self.bench.look_at_grants(at);
        let mut judged = match (kind, &answered) {
            // What has waited was counted when it came.
            (b'P' | b'B', _) | (_, Some(_)) => self.bench.judge(facts, &self.around, now),
            _ => self.bench.judge_run(facts, &self.around, now),
        };
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
        Sentence::Pass
    }

    /// Tells the client what would not have gone on like this, were anything enforced.
    fn warn(&mut self, judged: &Judged) {
        if self.around.session.mode != Mode::Warn {
            return;
        }
        if let Some(denial) = &judged.verdict.denial {
            self.notices.extend_from_slice(&message::warning(denial));
        } else if let Some(hold) = &judged.verdict.hold {
            self.notices.extend_from_slice(&message::would_wait(hold));
        }
    }

    /// Whether a statement waits, and nothing behind it can be looked at.
    fn waits(&self) -> bool {
        self.parked.is_some() && !self.is_answered()
    }

    /// A statement waits for somebody's decision, or for what came before it.
    #[must_use]
    pub const fn is_holding(&self) -> bool {
        self.parked.is_some()
    }

    /// A statement that waited can go on: [`Guard::client`] is to be called.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        // Where the batch has failed the server would skip it: there is nothing to be decided any more.
        let is_over = |parked: &Parked| parked.answer().is_some() || self.dropping;
        self.parked.as_ref().is_some_and(is_over)
    }

    /// What somebody is to be asked now, once.
    pub fn take_question(&mut self) -> Option<Box<Question>> {
        let parked = self.parked.as_mut()?;
        if parked.stage != Stage::Settling || !self.cycles.is_settled() {
            return None;
        }
        parked.stage = Stage::Asked;
        let question = parked.question()?;
        Some(Box::new(Question {
            in_transaction: self.around.session.in_transaction,
            search_path: self.following.state().search_path.known().cloned(),
            cancel_key: self.cancel.key.clone(),
            ..question
        }))
    }

    /// Tells the client what its statement waits for; `again`: it was told before.
    pub fn announce(&mut self, said: &Announcement, again: bool) {
        let Some((parked, hold)) = self.parked.as_ref().and_then(|parked| Some((parked, parked.hold()?))) else {
            return;
        };
        let notice = message::waits(hold, &parked.digest_text(), said, again);
        self.notices.extend_from_slice(&notice);
    }

    /// Somebody has decided: what waited goes on with the next call of [`Guard::client`].
    pub fn answer(&mut self, answer: Answer) {
        if let Some(parked) = &mut self.parked {
            parked.stage = Stage::Answered(answer);
        }
    }

    /// What a client whose statement waits is to be told, unless the server is in the middle of a message.
    pub fn speak(&mut self, at: BootTime) -> Vec<u8> {
        if self.parked.is_none() || self.notices.is_empty() || !self.server.is_between() {
            return Vec::new();
        }
        let notices = std::mem::take(&mut self.notices);
        self.feed(Side::Server, at, &[Input::Bytes(&notices)]);
        notices
    }

    /// Something goes to the server: what will be known once it is answered.
    fn expect(&mut self, kind: u8, requested: Option<&Request>, judged: &Judged, at: BootTime) {
        let is_named = |name: Option<&Arc<str>>| name.is_none_or(|name| !name.is_empty());
        let cycle = self.cycles.open();
        cycle.query |= kind == b'Q';
        cycle.unsettling |= match kind {
            b'P' => is_named(requested.and_then(|request| request.prepared.as_ref())),
            b'B' => is_named(requested.and_then(|request| request.portal.as_ref())),
            _ => unsettles(&judged.facts, |_| true),
        };
        // A plan is made of a Bind: parts of the statement may run for it.
        cycle.code |= kind != b'P' && runs_code(&judged.facts);
        // Drivers put BEGIN and the first statement of a transaction into one batch.
        cycle.unsettling_inside |= kind == b'E' && unsettles(&judged.facts, |change| *change != StateChange::Begin);
        if self.connection.is_lost() {
            self.following.lose(&judged.facts);
            self.bench.forget_prepared();
        }
        cycle.copies += u32::from(kind == b'E' && takes_copy_data(&judged.facts));
        if matches!(kind, b'Q' | b'E')
            && self.around.session.mode == Mode::Enforce
            && let Some(bounds) = Bounds::of(&judged.verdict, at)
        {
            match &mut cycle.bounds {
                Some(known) => known.tighten(bounds),
                none => *none = Some(Box::new(bounds)),
            }
        }
        if let (Some(request), b'Q' | b'E') = (requested, kind) {
            self.asked.push_back(Asked { kind: request.kind, at, facts: Arc::clone(&judged.facts) });
        }
    }

    /// Makes the server fail in place of what was refused, so that the batch and the transaction end as after any error.
    fn refuse(&mut self, kind: u8, denial: &Denial, passed: &mut Passed) {
        let name = self.name("refuses");
        message::failing_bind(&name, &mut passed.bytes);
        passed.messages += 1;
        let cycle = self.cycles.open();
        cycle.unsettling = true;
        cycle.refused = Some(Refused { name, answer: message::refusal(denial) });
        if matches!(kind, b'Q' | b'F') {
            message::sync(&mut passed.bytes);
            passed.messages += 1;
        } else {
            self.dropping = true;
        }
    }

    /// Takes bytes of the server; returns what the client gets. Afterwards [`Guard::client`] may go on with what waited.
    pub fn server<'a>(&mut self, at: BootTime, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        let Self {
            server,
            cycles,
            notices,
            answer,
            logged_in,
            around,
            following,
            cancel,
            dropping,
            has_failed,
            code_has_run,
            asks_inside,
            ..
        } = self;
        let in_transaction = &mut around.session.in_transaction;
        let mut desk = Desk {
            cycles,
            notices,
            answer,
            logged_in,
            in_transaction,
            following,
            cancel,
            dropping,
            has_failed,
            code_has_run,
            asks_inside,
        };
        let out = server.take(chunk, &mut desk);
        self.feed(Side::Server, at, &[Input::Bytes(&out)]);
        if std::mem::take(&mut self.code_has_run) {
            self.following.code_has_run(self.around.session.in_transaction);
            self.bench.forget_prepared();
        }
        out
    }

    /// When what runs must have ended.
    #[must_use]
    pub fn deadline(&self) -> Option<BootTime> {
        let bounds = self.cycles.front()?.bounds.as_ref()?;
        bounds.deadline.filter(|_| bounds.beyond.is_none())
    }

    /// Its time may have run out.
    pub fn look(&mut self, now: BootTime) {
        let front = self.cycles.front_mut().and_then(|cycle| cycle.bounds.as_mut());
        self.cancel.wanted |= front.is_some_and(|bounds| bounds.expires(now));
    }

    /// A CancelRequest for what has crossed a bound, once.
    pub fn take_cancel(&mut self) -> Option<(Vec<u8>, Cleared)> {
        let wanted = std::mem::take(&mut self.cancel.wanted);
        let key = self.cancel.key.as_ref().filter(|_| wanted)?;
        Some((message::cancel(key), Cleared(())))
    }
}

/// What it takes to cancel what runs.
#[derive(Default)]
struct Cancel {
    /// The body of BackendKeyData.
    key: Option<Box<[u8]>>,
    wanted: bool,
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
}

/// Whether statements behind it may mean something else, as far as `counts` a change of the session.
fn unsettles(facts: &Facts, counts: impl Fn(&StateChange) -> bool) -> bool {
    facts.opaque.is_some()
        || facts
            .statements
            .iter()
            .any(|statement| statement.changes.iter().any(&counts) || !statement.opaque.is_empty())
        || runs_code(facts)
}

/// Whether code runs that may have changed what the names behind it mean, or nobody knows.
fn runs_code(facts: &Facts) -> bool {
    let is_code = |statement: &StatementFacts| statement.runs_code() || !statement.opaque.is_empty();
    facts.opaque.is_some() || facts.statements.iter().any(is_code)
}

/// Whether the client sends the rows behind it.
fn takes_copy_data(facts: &Facts) -> bool {
    facts.statements.iter().flat_map(|statement| &statement.effects).any(|effect| effect.action == Action::CopyIn)
}

/// Where the server's messages are looked at.
struct Desk<'a> {
    cycles: &'a mut Cycles,
    notices: &'a mut Vec<u8>,
    answer: &'a mut Vec<Arc<str>>,
    logged_in: &'a mut bool,
    in_transaction: &'a mut bool,
    following: &'a mut Following,
    cancel: &'a mut Cancel,
    dropping: &'a mut bool,
    has_failed: &'a mut bool,
    code_has_run: &'a mut bool,
    asks_inside: &'a mut bool,
}

impl Reader for Desk<'_> {
    fn fate(&mut self, kind: u8, length: u32) -> Fate {
        // It answers, or the batch has failed.
        *self.asks_inside &= kind != b'E';
        if *self.asks_inside {
            // CloseComplete is the last of the answer.
            return match kind {
                b'N' | b'A' | b'S' => Fate::Pass,
                b'D' | b'3' => Fate::Hold,
                _ => Fate::Drop,
            };
        }
        if matches!(kind, b'D' | b'd')
            && let Some(bounds) = self.cycles.front_mut().and_then(|cycle| cycle.bounds.as_mut())
        {
            self.cancel.wanted |= bounds.row(u64::from(length));
        }
        if kind == b'G' {
            self.cycles.begin_copy();
        }
        // The server skips the rest of the batch, a Query too, and says no more about it.
        *self.dropping |= kind == b'E' && self.cycles.is_open_next();
        self.cycles.note_answer(kind);
        let front = self.cycles.front();
        let is_beyond = front.and_then(|cycle| cycle.bounds.as_ref()).is_some_and(|bounds| bounds.beyond.is_some());
        match kind {
            b'Z' | b'K' => Fate::Hold,
            // Notices, notifications and reports can come at any time, whoever asks.
            b'N' | b'A' | b'S' => Fate::Pass,
            b'D' if front.is_some_and(|cycle| cycle.own) => Fate::Hold,
            b'E' if is_beyond || front.is_some_and(|cycle| cycle.refused.is_some()) => Fate::Hold,
            _ if is_beyond => Fate::Drop,
            _ if front.is_some_and(|cycle| cycle.own) => Fate::Drop,
            _ => Fate::Pass,
        }
    }

    fn complete(&mut self, message: &[u8], out: &mut Vec<u8>) {
        match message.first() {
            Some(b'K') => {
                self.cancel.key = Some(message.get(5..).unwrap_or_default().into());
                out.extend_from_slice(message);
            }
            Some(b'Z') => {
                // What has crossed a bound and ended all the same.
                self.tell_beyond(out);
                *self.logged_in = true;
                *self.in_transaction = message.get(5) != Some(&b'I');
                *self.has_failed = message.get(5) == Some(&b'E');
                match self.cycles.answered() {
                    Some(cycle) if cycle.own => self.answered(*self.in_transaction),
                    cycle => {
                        *self.code_has_run |= cycle.is_some_and(|cycle| cycle.code);
                        out.extend_from_slice(message);
                    }
                }
            }
            Some(b'3') => {
                *self.asks_inside = false;
                self.answered(true);
            }
            Some(b'D') if self.answer.len() < SCHEMAS_MAX => self.answer.extend(only_column(message)),
            Some(b'E') if self.tell_beyond(out) => {}
            Some(b'E') => {
                let names = |name: &str| contains(message, name.as_bytes());
                match self.cycles.take_refused(names) {
                    Some(refused) => out.extend_from_slice(&refused.answer),
                    None => out.extend_from_slice(message),
                }
            }
            _ => {}
        }
    }

    fn interject(&mut self, out: &mut Vec<u8>) {
        out.append(self.notices);
    }

    fn interjects(&self) -> bool {
        !self.notices.is_empty()
    }
}

impl Desk<'_> {
    /// Where a bound was crossed the client gets one error, in place of everything else. Whether one was.
    fn tell_beyond(&mut self, out: &mut Vec<u8>) -> bool {
        let bounds = self.cycles.front_mut().and_then(|cycle| cycle.bounds.as_mut());
        let Some(beyond) = bounds.and_then(|bounds| bounds.beyond.as_mut()) else { return false };
        if let Some(error) = beyond.error.take() {
            out.extend_from_slice(&message::refusal(&error));
        }
        true
    }

    fn answered(&mut self, in_transaction: bool) {
        match std::mem::take(self.answer) {
            schemas if schemas.is_empty() || schemas.len() >= SCHEMAS_MAX => {
                self.following.learn_nothing(in_transaction)
            }
            schemas => self.following.learn(schemas, in_transaction),
        }
    }
}

/// The value of a DataRow with one column.
fn only_column(message: &[u8]) -> Option<Arc<str>> {
    let value = message.get(11..).filter(|_| message.get(5..7) == Some(&[0, 1]))?;
    Some(String::from_utf8_lossy(value).into())
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
