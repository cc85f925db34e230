//! The public face: two directions of bytes, one session.

use std::borrow::Cow;

use model::statement::Text;
use model::time::BootTime;
use model::wire::{Input, Side, WireEvent};

use crate::frame::{Framer, Loss, Message, Skip};
use crate::limits::{Limits, Start};
use crate::reader::Reader;
use crate::recovery::Trust;
use crate::seek;
use crate::session::{Session, Sink};

/// The decoder of one connection.
///
/// Inputs of the two sides are fed in the order in which they happened at the server: a request before its
/// answer, and an answer before the read that followed it.
pub struct Connection {
    client: Framer,
    server: Framer,
    session: Session,
}

/// A statement that the server has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InProgress<'a> {
    /// Its text, as far as it is known.
    pub text: &'a Text,
    /// When the last byte of its message was received by the server.
    pub started: BootTime,
}

impl Connection {
    /// A decoder that has seen nothing yet.
    #[must_use]
    pub fn new(start: Start, limits: Limits) -> Self {
        Self {
            client: Framer::new(Side::Client),
            server: Framer::new(Side::Server),
            session: Session::new(start, limits),
        }
    }

    /// From now on says each request when its message is complete, see [`WireEvent::Requested`].
    pub fn announce(&mut self) {
        self.session.begin_to_announce();
    }

    /// Whether it knows which message the next byte of a side belongs to; if not, it waits for a place where one begins.
    #[must_use]
    pub const fn is_aligned(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client.is_aligned(),
            Side::Server => self.server.is_aligned(),
        }
    }

    /// Takes the next piece of one side's stream, which was seen at `at`.
    pub fn feed(&mut self, side: Side, at: BootTime, input: Input<'_>, sink: &mut dyn FnMut(WireEvent)) {
        match input {
            Input::Bytes(bytes) => self.bytes(side, at, bytes, sink),
            Input::Skipped { kind, bytes, messages } => self.skipped(side, at, kind, (bytes, messages), sink),
            Input::Lost { bytes, resume_in } => self.lost(side, at, bytes, resume_in, sink),
        }
        self.session.end_of_input(sink);
    }

    /// The connection was closed: says what was never answered.
    pub fn close(&mut self, _at: BootTime, sink: &mut dyn FnMut(WireEvent)) {
        self.session.close(sink);
        self.session.ahead = None;
        self.client.seek();
        self.server.seek();
    }

    /// The oldest statement without an answer.
    #[must_use]
    pub fn in_progress(&self) -> Option<InProgress<'_>> {
        self.session.in_progress()
    }

    /// Somebody who counts answers himself says that every request is answered, and nothing is under way: where this
    /// decoder has lost count, what it took to be in flight is [lost](model::statement::Ending::Lost) now, not only when
    /// the client speaks again.
    pub fn all_is_answered(&mut self, sink: &mut dyn FnMut(WireEvent)) {
        if self.client.is_aligned() {
            self.session.realign(sink);
        }
    }

    /// Whether everything that the client has asked is answered, as far as answers can be told apart.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.unanswered() == 0
    }

    /// Requests of the client that are not answered yet, as far as answers can be told apart.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        if self.is_lost() { 0 } else { self.session.queue.len() }
    }

    /// Which answer belongs to which request is not known any more, up to the next pause of the session.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.session.trust == Trust::Unsure
    }

    /// Whether another request can be kept until it is answered; beyond that the next one makes the connection
    /// [lost](Self::is_lost).
    #[must_use]
    pub fn has_room(&self) -> bool {
        let Session { queue, limits, .. } = &self.session;
        let is_full = queue.len() as u64 >= u64::from(limits.pending_max) || self.session.is_pressed();
        self.is_answered() || !is_full
    }

    /// Server messages that answered nothing that was seen, and were ignored.
    #[must_use]
    pub const fn responses_ignored(&self) -> u64 {
        self.session.responses_ignored
    }

    /// What it holds on the heap, approximately.
    #[must_use]
    pub fn retained_bytes(&self) -> usize {
        self.client
            .retained_bytes()
            .saturating_add(self.server.retained_bytes())
            .saturating_add(self.session.retained_bytes())
    }

    const fn framer(&mut self, side: Side) -> &mut Framer {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// The client is about to say something that is known to belong to a certain message.
    fn listen(&mut self, side: Side, sink: Sink<'_>) {
        if side == Side::Client {
            if self.client.is_aligned() {
                self.session.realign(sink);
            }
            self.session.quiet = false;
        }
    }

    fn bytes(&mut self, side: Side, at: BootTime, bytes: &[u8], sink: Sink<'_>) {
        if bytes.is_empty() {
            return;
        }
        if self.framer(side).is_seeking() && !self.found(side, bytes) {
            return;
        }
        self.listen(side, sink);
        let mut bytes = Reader::new(bytes);
        while !bytes.is_empty() {
            if side == Side::Server && self.session.opening.awaits_answer() && self.server.is_at_boundary() {
                let answer = bytes.peek().unwrap_or_default();
                if self.session.encryption_answer(answer, sink) {
                    bytes.u8();
                    continue;
                }
            }
            let (phase, limits) = (self.session.phase(), self.session.limits);
            match self.framer(side).next(&mut bytes, phase, &limits) {
                Ok(Some(message)) => {
                    if !self.message(side, at, &message, sink) {
                        return;
                    }
                }
                Ok(None) => return,
                Err(what) => return self.broken(side, what, sink),
            }
        }
    }

    /// Looks for a boundary at the beginning or the end of the bytes. `true`: at the beginning.
    fn found(&mut self, side: Side, bytes: &[u8]) -> bool {
        let at_beginning = seek::is_whole_messages(side, bytes)
            && match side {
                Side::Client => self.session.quiet,
                Side::Server => seek::ends_with_ready(bytes),
            };
        let at_end = side == Side::Server && seek::ends_with_ready(bytes);
        if at_beginning || at_end {
            self.framer(side).set_boundary();
        }
        if side == Side::Server {
            self.session.quiet = at_end;
        } else if !at_beginning {
            self.session.quiet = false;
        }
        at_beginning
    }

    /// Hands a message on. `false`: the rest of the input is not to be read.
    fn message(&mut self, side: Side, at: BootTime, message: &Message<'_>, sink: Sink<'_>) -> bool {
        match side {
            Side::Server => self.session.server_message(at, message, sink),
            Side::Client => {
                if let Err(what) = self.session.client_message(at, message, sink) {
                    self.broken(side, what, sink);
                    return false;
                }
            }
        }
        true
    }

    fn broken(&mut self, side: Side, what: &'static str, sink: Sink<'_>) {
        self.framer(side).seek();
        self.session.violation(side, what, sink);
    }

    fn skipped(&mut self, side: Side, at: BootTime, kind: u8, (bytes, messages): (u64, u64), sink: Sink<'_>) {
        let skip = self.framer(side).skip(bytes, messages);
        self.listen(side, sink);
        match skip {
            Ok(Skip::Inside(Some(message))) => {
                self.message(side, at, &message, sink);
            }
            Ok(Skip::Inside(None)) => {}
            Ok(Skip::Tail) => self.skipped_data(side, kind, 0, bytes, sink),
            Ok(Skip::Messages) => self.skipped_messages(side, at, kind, (bytes, messages), sink),
            Err(what) => self.broken(side, what, sink),
        }
    }

    fn skipped_messages(&mut self, side: Side, at: BootTime, kind: u8, (bytes, messages): (u64, u64), sink: Sink<'_>) {
        let bodies = bytes.saturating_sub(messages.saturating_mul(5));
        match (side, kind) {
            (_, b'd') => self.skipped_data(side, kind, messages, bodies, sink),
            (Side::Server, b'D') => {
                self.session.quiet = false;
                self.session.rows(messages, sink);
            }
            (Side::Client, b'p' | b'H') => {}
            _ => {
                let length = bodies.checked_div(messages).unwrap_or(0);
                let message = Message { kind, code: 0, body: Cow::Borrowed(&[]), length };
                // More than the queue can hold is no protocol any more; the queue says so itself.
                for _ in 0..messages.min(u64::from(self.session.limits.pending_max).saturating_add(1)) {
                    self.message(side, at, &message, sink);
                }
            }
        }
    }

    /// CopyData that was skipped.
    fn skipped_data(&mut self, side: Side, kind: u8, messages: u64, bytes: u64, sink: Sink<'_>) {
        match side {
            Side::Client if kind == b'd' => self.session.copy_data_in(bytes),
            Side::Server if kind == b'd' => {
                self.session.quiet = false;
                self.session.copy_data_out(messages, bytes, sink);
            }
            _ => {}
        }
    }

    fn lost(&mut self, side: Side, at: BootTime, bytes: Option<u64>, resume_in: Option<u64>, sink: Sink<'_>) {
        let loss = self.framer(side).lose(bytes, resume_in);
        self.session.release_certain(sink);
        sink(WireEvent::Gap { side, bytes });
        match (side, loss) {
            (_, Loss::Inside(Some(message))) => {
                self.listen(side, sink);
                self.message(side, at, &message, sink);
            }
            (_, Loss::Inside(None)) => self.listen(side, sink),
            (Side::Client, Loss::Messages) => self.session.lost_client_messages(sink),
            (Side::Server, Loss::Messages) => self.session.lost_server_messages(sink),
        }
    }
}
