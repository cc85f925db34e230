//! Server messages that say yes: answers to the oldest request (55.2.2 to 55.2.5). Errors are in `failure`.

use model::statement::{CopyDirection, Ending, Outcome, Statement, StatementKind, Transaction, UnknownText};
use model::time::BootTime;
use model::wire::{Side, WireEvent};

use crate::copy::add_outcome;
use crate::fields::{command_tag, parameter_types};
use crate::frame::Message;
use crate::names::Portal;
use crate::queue::{Request, Target};
use crate::recovery::{Since, Trust};
use crate::resolve::{resolve, source};
use crate::session::{Session, Sink};

impl Session {
    /// The statement that the server works on.
    pub(crate) fn running(&mut self) -> Option<&mut Statement> {
        if self.trust == Trust::Unsure {
            return None;
        }
        match self.queue.front_mut()? {
            Request::Query(statement) | Request::Execute(statement) => Some(statement),
            _ => None,
        }
    }

    /// An answer that does not fit the oldest request.
    pub(crate) fn unexpected(&mut self, sink: Sink<'_>) {
        self.ignore_response();
        match self.trust {
            Trust::Unsure => {}
            // The end of what was going on before the observer came.
            Trust::Provisional(Since::Start) if self.queue.is_empty() => {}
            Trust::Provisional(_) => self.lose_alignment(sink),
            Trust::Exact => {
                self.release(None, sink);
                sink(WireEvent::Violation { side: Side::Server, what: "a response that nothing asked for" });
                self.lose_alignment(sink);
            }
        }
    }

    pub(crate) const fn ignore_response(&mut self) {
        self.responses_ignored = self.responses_ignored.saturating_add(1);
    }

    pub(crate) fn parse_complete(&mut self, sink: Sink<'_>) {
        if !matches!(self.queue.front(), Some(Request::Parse(_))) {
            return self.unexpected(sink);
        }
        if let Some(Request::Parse(parse)) = self.queue.pop() {
            match parse.name {
                Some(name) => self.names.prepare(name, parse.prepared, &self.limits),
                None => self.names.forget(UnknownText::Lost),
            }
        }
        self.settle(sink);
    }

    pub(crate) fn bind_complete(&mut self, sink: Sink<'_>) {
        if !matches!(self.queue.front(), Some(Request::Bind(_))) {
            return self.unexpected(sink);
        }
        if let Some(Request::Bind(bind)) = self.queue.pop() {
            match bind.names {
                Some((name, statement)) => {
                    let source = source(&self.names, None, &statement, UnknownText::None);
                    let portal = Portal { statement, source, bound: bind.bound, executed: false };
                    self.names.bind(name, portal, &self.limits);
                }
                None => self.names.forget_portals(UnknownText::Lost),
            }
        }
        self.settle(sink);
    }

    pub(crate) fn close_complete(&mut self, sink: Sink<'_>) {
        if !matches!(self.queue.front(), Some(Request::Close(_))) {
            return self.unexpected(sink);
        }
        if let Some(Request::Close(named)) = self.queue.pop() {
            match named.target {
                Some((Target::Statement, name)) => self.names.drop_statement(&name),
                Some((Target::Portal, name)) => self.names.drop_portal(&name),
                // The name fell into a hole of the stream: it may have been any of them.
                None => self.names.forget(UnknownText::Lost),
            }
        }
        self.settle(sink);
    }

    /// ParameterDescription: the first half of the answer to Describe of a statement.
    pub(crate) fn parameter_description(&mut self, message: &Message<'_>, sink: Sink<'_>) {
        match self.queue.front() {
            Some(Request::Describe(named)) => {
                if let (Some((Target::Statement, name)), Some(types)) = (&named.target, parameter_types(&message.body))
                {
                    self.names.describe(name, types, &self.limits);
                }
            }
            _ => self.unexpected(sink),
        }
    }

    /// RowDescription: answers Describe; announces rows in the simple protocol.
    pub(crate) fn row_description(&mut self, sink: Sink<'_>) {
        if !matches!(self.queue.front(), Some(Request::Query(_))) {
            self.no_data(sink);
        }
    }

    /// NoData.
    pub(crate) fn no_data(&mut self, sink: Sink<'_>) {
        if !matches!(self.queue.front(), Some(Request::Describe(_))) {
            return self.unexpected(sink);
        }
        self.queue.pop();
        self.settle(sink);
    }

    /// DataRow, `count` of them.
    pub(crate) fn rows(&mut self, count: u64, sink: Sink<'_>) {
        match self.running() {
            Some(statement) => statement.rows_sent = statement.rows_sent.saturating_add(count),
            None => self.unexpected(sink),
        }
    }

    pub(crate) fn notice(&mut self) {
        if let Some(Request::Query(statement) | Request::Execute(statement) | Request::FunctionCall(statement)) =
            self.queue.front_mut()
            && self.trust != Trust::Unsure
        {
            statement.notices = statement.notices.saturating_add(1);
        }
    }

    /// CommandComplete.
    pub(crate) fn complete(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) {
        let (tag, rows) = command_tag(&message.body);
        if matches!(self.copy, Some(CopyDirection::In | CopyDirection::Both)) {
            self.skip_copied();
        }
        // Few tags change names; all of those begin so.
        let names = matches!(tag.as_bytes().first(), Some(b'C' | b'D' | b'P')).then(|| tag.clone());
        self.outcome(at, Outcome::Completed { tag, rows }, sink);
        if let Some(tag) = names {
            self.names.apply_tag(&tag);
        }
    }

    /// EmptyQueryResponse.
    pub(crate) fn empty(&mut self, at: BootTime, sink: Sink<'_>) {
        self.outcome(at, Outcome::Empty, sink);
    }

    /// PortalSuspended.
    pub(crate) fn suspended(&mut self, at: BootTime, sink: Sink<'_>) {
        match self.queue.front() {
            Some(Request::Execute(statement)) => {
                let rows = statement.rows_sent;
                self.outcome(at, Outcome::Suspended { rows }, sink);
            }
            _ => self.unexpected(sink),
        }
    }

    /// FunctionCallResponse.
    pub(crate) fn returned(&mut self, at: BootTime, sink: Sink<'_>) {
        match self.queue.front_mut() {
            Some(Request::FunctionCall(statement)) => {
                statement.finished = Some(at);
                add_outcome(statement, Outcome::Returned, self.limits.outcomes_max);
            }
            _ => self.unexpected(sink),
        }
    }

    /// One result: of many, for a Query; the last word, for an Execute.
    fn outcome(&mut self, at: BootTime, outcome: Outcome, sink: Sink<'_>) {
        self.copy = None;
        match self.queue.front_mut() {
            Some(Request::Query(statement)) => {
                statement.finished = Some(at);
                add_outcome(statement, outcome, self.limits.outcomes_max);
            }
            Some(Request::Execute(_)) => self.execute_ended(at, outcome, sink),
            _ => self.unexpected(sink),
        }
    }

    fn execute_ended(&mut self, at: BootTime, outcome: Outcome, sink: Sink<'_>) {
        let Some(Request::Execute(mut statement)) = self.queue.pop() else {
            return;
        };
        let failed = matches!(outcome, Outcome::Failed { .. });
        let absent = if failed { UnknownText::NoSuchName } else { UnknownText::None };
        resolve(&mut statement, &self.names, None, absent);
        if let (false, Some(portal)) = (failed, &statement.portal) {
            self.names.set_executed(portal);
        }
        statement.finished = Some(at);
        statement.ending = Ending::Answered;
        statement.transaction_before = self.transaction;
        add_outcome(&mut statement, outcome, self.limits.outcomes_max);
        self.hold(statement, sink);
        self.settle(sink);
    }

    /// ReadyForQuery.
    pub(crate) fn ready(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) {
        self.opening.open();
        let status = transaction(&message.body);
        match self.queue.front() {
            _ if self.trust == Trust::Unsure => self.ignore_response(),
            Some(Request::Sync | Request::Startup) => {
                self.queue.pop();
                self.trust = Trust::Exact;
                self.release(status, sink);
            }
            Some(Request::Query(statement) | Request::FunctionCall(statement)) => {
                if statement.finished.is_none() && self.trust != Trust::Exact {
                    // Every Query has an outcome: this one was skipped, and the answer is another's.
                    self.unexpected(sink);
                } else {
                    self.query_ended(at, status, sink);
                }
            }
            _ => self.unexpected(sink),
        }
        self.transaction = status;
        if status == Some(Transaction::Idle) {
            self.names.end_transaction();
        }
        self.settle(sink);
    }

    pub(crate) fn query_ended(&mut self, at: BootTime, status: Option<Transaction>, sink: Sink<'_>) {
        let Some(Request::Query(mut statement) | Request::FunctionCall(mut statement)) = self.queue.pop() else {
            return;
        };
        self.trust = Trust::Exact;
        self.copy = None;
        self.release(None, sink);
        if statement.kind == StatementKind::Simple {
            self.names.drop_unnamed();
        }
        statement.finished = statement.finished.or(Some(at));
        statement.ending = Ending::Answered;
        statement.transaction_before = self.transaction;
        statement.transaction_after = status;
        sink(WireEvent::Statement(statement));
    }
}

/// Status byte of ReadyForQuery.
fn transaction(body: &[u8]) -> Option<Transaction> {
    match body.first()? {
        b'I' => Some(Transaction::Idle),
        b'T' => Some(Transaction::Open),
        b'E' => Some(Transaction::Failed),
        _ => None,
    }
}
