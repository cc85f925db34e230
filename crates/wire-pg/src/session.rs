//! One session: client messages become requests, server messages are answers to the oldest request.

use model::statement::{CopyDirection, Statement, Transaction};
use model::time::BootTime;
use model::wire::{Side, WireEvent};

use crate::ahead::Ahead;
use crate::catalogue::{OPENING_PACKET, TLS_RECORD};
use crate::frame::{Broken, Message, Phase};
use crate::limits::{Limits, Start};
use crate::names::Names;
use crate::opening::Opening;
use crate::queue::{Queue, Request};
use crate::recovery::{Since, Trust};
use crate::text;

/// Where events go.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(WireEvent);

/// Statements held back in one feed before the first of them is let go without its `transaction_after`.
const HELD_MAX: usize = 256;

/// Slots that an idle session keeps.
const HELD_IDLE: usize = 4;

pub(crate) struct Session {
    pub(crate) limits: Limits,
    pub(crate) opening: Opening,
    pub(crate) names: Names,
    pub(crate) queue: Queue,
    /// Answered requests of the extended protocol whose ReadyForQuery may still come in the same input, and what came
    /// after them.
    pub(crate) held: Vec<WireEvent>,
    pub(crate) held_bytes: usize,
    /// After an error the server skips messages until Sync: the names that those would have made.
    pub(crate) discarded: Option<Box<Names>>,
    /// Requests are said when they come; and the names that those define which have no answer.
    pub(crate) ahead: Option<Box<Ahead>>,
    pub(crate) trust: Trust,
    /// The server's last word was ReadyForQuery and the client has said nothing since.
    pub(crate) quiet: bool,
    pub(crate) transaction: Option<Transaction>,
    /// The COPY that the oldest request is in.
    pub(crate) copy: Option<CopyDirection>,
    pub(crate) responses_ignored: u64,
}

impl Session {
    pub(crate) fn new(start: Start, limits: Limits) -> Self {
        let (names, trust) = match start {
            Start::FirstByte => (Names::new(None), Trust::Exact),
            Start::MidStream => {
                (Names::new(Some(model::statement::UnknownText::PreparedBeforeStart)), Trust::Provisional(Since::Start))
            }
        };
        Self {
            limits,
            opening: Opening::new(start),
            names,
            queue: Queue::default(),
            held: Vec::new(),
            held_bytes: 0,
            discarded: None,
            ahead: None,
            trust,
            quiet: false,
            transaction: None,
            copy: None,
            responses_ignored: 0,
        }
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.opening.phase()
    }

    pub(crate) fn client_message(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        match message.kind {
            b'Q' => self.query(at, message, sink),
            b'P' => self.parse(at, message, sink),
            b'B' => self.bind(at, message, sink),
            b'D' => self.describe(at, message, sink),
            b'E' => self.execute(at, message, sink),
            b'C' => self.close_name(at, message, sink),
            b'S' => self.sync(sink),
            b'F' => self.function_call(at, message, sink),
            b'd' => self.copy_data_in(message.length),
            b'c' | b'f' => self.copy_end(sink),
            b'X' => self.say(WireEvent::Terminated, sink),
            OPENING_PACKET => return self.opening_packet(message, sink),
            TLS_RECORD => self.tls_record(sink),
            // Flush has no answer of its own. Passwords and SASL data are nobody's business.
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn server_message(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) {
        match message.kind {
            b'S' => return self.parameter_status(message, sink),
            b'N' => return self.notice(),
            b'A' => return self.notification(message, sink),
            b'R' => return self.authentication(message, sink),
            b'K' => return self.backend_key_data(message, sink),
            b'v' => return,
            TLS_RECORD => return self.tls_record(sink),
            _ => {}
        }
        self.quiet = message.kind == b'Z';
        match message.kind {
            b'E' => self.error(at, message, sink),
            b'Z' => self.ready(at, message, sink),
            _ if self.trust == Trust::Unsure => self.ignore_response(),
            b'C' => self.complete(at, message, sink),
            b'D' => self.rows(1, sink),
            b'd' => self.copy_data_out(1, message.length, sink),
            b'1' => self.parse_complete(sink),
            b'2' => self.bind_complete(sink),
            b'3' => self.close_complete(sink),
            b't' => self.parameter_description(message, sink),
            b'T' => self.row_description(sink),
            b'n' => self.no_data(sink),
            b'I' => self.empty(at, sink),
            b's' => self.suspended(at, sink),
            b'V' => self.returned(at, sink),
            b'G' => self.copy_started(CopyDirection::In, sink),
            b'H' => self.copy_started(CopyDirection::Out, sink),
            b'W' => self.copy_started(CopyDirection::Both, sink),
            // CopyDone of the server: CommandComplete follows.
            _ => {}
        }
    }

    /// Appends a request to the queue, unless the server is going to skip it.
    pub(crate) fn ask(&mut self, request: Request, sink: Sink<'_>) {
        if self.discarded.is_some() {
            return self.discard(request, sink);
        }
        let bytes_max = u64::from(self.limits.pending_bytes_max).saturating_mul(2);
        if self.queue.len() as u64 >= u64::from(self.limits.pending_max) || self.queue.bytes() as u64 >= bytes_max {
            sink(WireEvent::Gap { side: Side::Client, bytes: None });
            self.lose_alignment(sink);
        }
        self.queue.push(request);
    }

    /// How many bytes of a further text can be kept.
    pub(crate) fn text_room(&self) -> usize {
        if self.is_pressed() { text::SHORT_TEXT_BYTES } else { usize::MAX }
    }

    /// Waiting requests have used up their memory.
    pub(crate) fn is_pressed(&self) -> bool {
        self.queue.bytes() as u64 >= u64::from(self.limits.pending_bytes_max)
    }

    /// Holds an ended statement back until the input ends or ReadyForQuery comes.
    pub(crate) fn hold(&mut self, statement: Box<Statement>, sink: Sink<'_>) {
        if self.held.len() >= HELD_MAX || self.held_bytes as u64 >= self.limits.pending_bytes_max.into() {
            match self.trust {
                Trust::Provisional(_) => self.lose_alignment(sink),
                Trust::Exact | Trust::Unsure => self.release(None, sink),
            }
        }
        let bytes = size_of::<Statement>().saturating_add(text::retained(&statement.text));
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        self.held.push(WireEvent::Statement(statement));
    }

    /// Says something at once, unless that would put it before a statement that is held back.
    pub(crate) fn say(&mut self, event: WireEvent, sink: Sink<'_>) {
        match self.held.len() {
            0 => sink(event),
            1..HELD_MAX => self.held.push(event),
            _ if matches!(self.trust, Trust::Provisional(_)) => sink(event),
            _ => {
                self.release(None, sink);
                sink(event);
            }
        }
    }

    /// Lets go what was held back.
    pub(crate) fn release(&mut self, transaction_after: Option<Transaction>, sink: Sink<'_>) {
        if self.held.is_empty() {
            return;
        }
        for mut event in self.held.drain(..) {
            if let WireEvent::Statement(statement) = &mut event {
                statement.transaction_after = transaction_after;
            }
            sink(event);
        }
        self.held_bytes = 0;
        self.held.shrink_to(HELD_IDLE);
    }

    /// The end of one input: statements that are certain do not wait for the next.
    pub(crate) fn end_of_input(&mut self, sink: Sink<'_>) {
        if !matches!(self.trust, Trust::Provisional(_)) {
            self.release(None, sink);
        }
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        self.queue
            .retained_bytes()
            .saturating_add(self.names.retained_bytes())
            .saturating_add(self.discarded.as_ref().map_or(0, |names| names.retained_bytes()))
            .saturating_add(self.ahead.as_ref().map_or(0, |ahead| ahead.retained_bytes()))
            .saturating_add(self.held.capacity().saturating_mul(size_of::<WireEvent>()))
            .saturating_add(self.held_bytes)
    }
}
