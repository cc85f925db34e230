//! What happens when the stream has holes: never invent, realign where alignment is certain.
//!
//! The rule. After a loss no answer can be paired with a request, because some requests or some answers were not
//! seen. Everything in flight is `Ending::Lost`, answers are ignored. Alignment returns when the client speaks while
//! the server's last word was ReadyForQuery: the observer sits at the server's own read, and the server reads only
//! when everything that it had read before is answered. Messages without an answer so far (a Parse that no Sync
//! followed) may still have been missed: so what follows is provisional up to the next ReadyForQuery, and any
//! answer that does not fit sends it back to `Lost`.
//!
//! One thing is taken for granted, after a loss only: a client ends its batch with Sync before it sends a Query, as
//! every driver does. Of one that does not, the answer to an Execute in the hole could count as an outcome of the
//! Query behind it.
//!
//! Client messages that were lost do not make the requests *before* them uncertain: those are answered first. A
//! marker in the queue says where the hole is.

use model::statement::{Ending, Statement, UnknownText};
use model::wire::{Side, WireEvent};

use crate::names::Names;
use crate::queue::{Request, Target};
use crate::resolve::{portal_of, resolve};
use crate::session::{Session, Sink};

/// Whether answers can be paired with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Yes.
    Exact,
    /// Presumably; the next ReadyForQuery confirms it.
    Provisional(Since),
    /// No.
    Unsure,
}

/// What alignment is presumed after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// A start in the middle of a session, which is most likely idle.
    Start,
    /// A loss.
    Loss,
}

impl Session {
    /// Client messages were lost.
    pub(crate) fn lost_client_messages(&mut self, sink: Sink<'_>) {
        self.opening.lose();
        self.quiet = false;
        if self.trust == Trust::Unsure || self.discarded.is_some() || self.queue.is_empty() {
            self.lose_alignment(sink);
            self.names.forget(UnknownText::Lost);
        } else {
            self.ask(Request::Gap, sink);
        }
    }

    /// Server messages were lost.
    pub(crate) fn lost_server_messages(&mut self, sink: Sink<'_>) {
        self.quiet = false;
        self.transaction = None;
        self.lose_alignment(sink);
    }

    /// The bytes of one side are not the protocol.
    pub(crate) fn violation(&mut self, side: Side, what: &'static str, sink: Sink<'_>) {
        self.release_certain(sink);
        sink(WireEvent::Violation { side, what });
        match side {
            Side::Client => self.lost_client_messages(sink),
            Side::Server => self.lost_server_messages(sink),
        }
    }

    pub(crate) fn release_certain(&mut self, sink: Sink<'_>) {
        if !matches!(self.trust, Trust::Provisional(_)) {
            self.release(None, sink);
        }
    }

    /// From here on no answer can be paired; everything in flight is lost.
    pub(crate) fn lose_alignment(&mut self, sink: Sink<'_>) {
        let doubtful = matches!(self.trust, Trust::Provisional(_));
        if doubtful {
            for event in &mut self.held {
                if let WireEvent::Statement(statement) = event {
                    doubt(statement);
                    statement.ending = Ending::Lost;
                }
            }
        }
        self.release(None, sink);
        let mut batch = self.discarded.take().unwrap_or_default();
        let mut hole = doubtful;
        while let Some(request) = self.queue.pop() {
            hole |= matches!(request, Request::Gap);
            self.doubt_names(&request);
            if let Some(mut statement) = self.withdraw(request, &mut batch, Ending::Lost) {
                if doubtful {
                    doubt(&mut statement);
                }
                sink(WireEvent::Statement(statement));
            }
        }
        if hole {
            self.names.forget(UnknownText::Lost);
        } else {
            self.names.forget_touched(&batch, UnknownText::Lost);
        }
        self.copy = None;
        self.trust = Trust::Unsure;
    }

    /// A request without an answer may have destroyed names.
    fn doubt_names(&mut self, request: &Request) {
        match request {
            Request::Query(_) => self.names.drop_unnamed(),
            Request::Close(named) => match &named.target {
                Some((Target::Statement, name)) => self.names.drop_statement(name),
                Some((Target::Portal, name)) => self.names.drop_portal(name),
                None => self.names.forget(UnknownText::Lost),
            },
            _ => {}
        }
    }

    /// The client speaks, at a place in its stream that is known.
    pub(crate) fn realign(&mut self, sink: Sink<'_>) {
        if self.trust == Trust::Unsure && self.quiet {
            self.lose_alignment(sink);
            self.trust = Trust::Provisional(Since::Loss);
        }
    }

    /// Brings the next request that has an answer to the front.
    pub(crate) fn settle(&mut self, sink: Sink<'_>) {
        loop {
            match self.queue.front() {
                Some(Request::CopyEnd) => {
                    self.queue.pop();
                }
                Some(Request::Gap) => {
                    self.queue.pop();
                    return self.reach_gap(sink);
                }
                _ => return,
            }
        }
    }

    /// Every request before the hole is answered. Those behind it stay, for whoever asks what is in progress.
    fn reach_gap(&mut self, sink: Sink<'_>) {
        if !matches!(self.trust, Trust::Provisional(_)) {
            self.release(None, sink);
            self.names.forget(UnknownText::Lost);
            self.discarded = None;
            self.trust = Trust::Unsure;
        } else {
            self.lose_alignment(sink);
            self.names.forget(UnknownText::Lost);
        }
    }

    /// The server skips this request.
    pub(crate) fn discard(&mut self, request: Request, sink: Sink<'_>) {
        let mut batch = self.discarded.take().unwrap_or_default();
        let statement = self.withdraw(request, &mut batch, Ending::Discarded);
        self.discarded = Some(batch);
        if let Some(mut statement) = statement {
            statement.transaction_before = self.transaction;
            self.hold(statement, sink);
        }
    }

    /// Takes a request back that has no (further) answer. `batch` collects the names that it would have made.
    fn withdraw(&mut self, request: Request, batch: &mut Names, ending: Ending) -> Option<Box<Statement>> {
        let absent = match ending {
            Ending::Lost => UnknownText::Lost,
            _ => UnknownText::NoSuchName,
        };
        let mut statement = match request {
            Request::Query(statement) | Request::FunctionCall(statement) => statement,
            Request::Execute(mut statement) => {
                resolve(&mut statement, &self.names, Some(batch), absent);
                statement
            }
            Request::Parse(parse) => {
                match parse.name {
                    Some(name) => batch.prepare(name, parse.prepared, &self.limits),
                    None => batch.forget(UnknownText::Lost),
                }
                return None;
            }
            Request::Bind(bind) => {
                match portal_of(*bind, &self.names, batch, absent) {
                    Some((name, portal)) => batch.bind(name, portal, &self.limits),
                    None => batch.forget_portals(UnknownText::Lost),
                }
                return None;
            }
            _ => return None,
        };
        statement.finished = None;
        statement.ending = ending;
        Some(statement)
    }

    /// The connection is closed: what has no answer will not get one.
    pub(crate) fn close(&mut self, sink: Sink<'_>) {
        if matches!(self.trust, Trust::Provisional(_)) && !self.held.is_empty() {
            // No ReadyForQuery has confirmed the answers.
            return self.lose_alignment(sink);
        }
        self.release(None, sink);
        let mut ending = if self.trust == Trust::Unsure { Ending::Lost } else { Ending::Unanswered };
        let mut before = self.transaction;
        let mut batch = Names::default();
        while let Some(request) = self.queue.pop() {
            if matches!(request, Request::Gap) {
                ending = Ending::Lost;
            }
            if let Some(mut statement) = self.withdraw(request, &mut batch, ending) {
                statement.transaction_before = before.take();
                if self.trust != Trust::Exact {
                    doubt(&mut statement);
                }
                sink(WireEvent::Statement(statement));
            }
        }
        self.names = Names::new(Some(UnknownText::Lost));
        self.discarded = None;
        self.copy = None;
        self.trust = Trust::Unsure;
    }
}

/// Removes answers that may be another statement's.
fn doubt(statement: &mut Statement) {
    statement.finished = None;
    statement.outcomes = Vec::new();
    statement.outcomes_dropped = 0;
    statement.rows_sent = 0;
    statement.notices = 0;
    statement.copy_bytes = 0;
    statement.transaction_before = None;
}
