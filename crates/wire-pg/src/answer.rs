//! Server messages as answers to the oldest request (55.2.2 to 55.2.5).

use std::sync::Arc;

use model::statement::{
    CopyDirection, Ending, Outcome, Statement, StatementKind, Text, Transaction, UnknownText,
};
use model::time::BootTime;
use model::wire::{Side, WireEvent};

use crate::copy::add_outcome;
use crate::fields::{Failure, command_tag, parameter_types};
use crate::frame::Message;
use crate::names::{Names, Portal, Source};
use crate::queue::{Bind, Named, Request, Target};
use crate::recovery::{Since, Trust};
use crate::session::{Session, Sink};
use crate::simple::asked;

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
            Trust::Provisional(_) if self.queue.is_empty() => {}
            Trust::Provisional(_) => self.lose_alignment(sink),
            Trust::Exact => {
                self.release(None, sink);
                sink(WireEvent::Violation {
                    side: Side::Server,
                    what: "a response that nothing asked for",
                });
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
                    let portal = Portal {
                        statement,
                        source,
                        bound: bind.bound,
                        executed: false,
                    };
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
                // A name that stays is harmless: it gets its next meaning from a Parse.
                None => {}
            }
        }
        self.settle(sink);
    }

    /// ParameterDescription: the first half of the answer to Describe of a statement.
    pub(crate) fn parameter_description(&mut self, message: &Message<'_>, sink: Sink<'_>) {
        match self.queue.front() {
            Some(Request::Describe(named)) => {
                if let (Some((Target::Statement, name)), Some(types)) =
                    (&named.target, parameter_types(&message.body))
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
        if let Some(
            Request::Query(statement)
            | Request::Execute(statement)
            | Request::FunctionCall(statement),
        ) = self.queue.front_mut()
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
        let absent = if failed {
            UnknownText::NoSuchName
        } else {
            UnknownText::None
        };
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

    fn query_ended(&mut self, at: BootTime, status: Option<Transaction>, sink: Sink<'_>) {
        let Some(Request::Query(mut statement) | Request::FunctionCall(mut statement)) =
            self.queue.pop()
        else {
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

    /// ErrorResponse.
    pub(crate) fn error(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) {
        let Some(failure) = Failure::parse(&message.body) else {
            return self.lost_server_messages(sink);
        };
        match self.queue.front() {
            _ if self.trust == Trust::Unsure => self.error_outside(failure, sink),
            None | Some(Request::Startup | Request::Sync | Request::CopyEnd | Request::Gap) => {
                self.error_outside(failure, sink);
            }
            Some(Request::Query(_) | Request::FunctionCall(_)) => {
                self.query_failed(at, failure, sink)
            }
            // Which message of the batch failed is not certain if one of them may not have been seen.
            Some(_) if self.trust == Trust::Provisional(Since::Loss) => self.unexpected(sink),
            Some(_) => self.extended_failed(at, failure, sink),
        }
    }

    /// An error that is no statement's: of the login, of the commit at a Sync, or of the whole session.
    fn error_outside(&mut self, failure: Failure, sink: Sink<'_>) {
        if self.trust != Trust::Exact && !failure.ends_connection() {
            // Of the commit at a Sync, or of a message that was not seen.
            return self.unexpected(sink);
        }
        if self.trust == Trust::Exact {
            self.release(None, sink);
        }
        let Failure {
            severity,
            sqlstate,
            message,
        } = failure;
        sink(WireEvent::Refused {
            severity,
            sqlstate,
            message,
        });
    }

    fn query_failed(&mut self, at: BootTime, failure: Failure, sink: Sink<'_>) {
        let ends_connection = failure.ends_connection();
        let ambiguous = self.copy_failure_is_ambiguous();
        self.copy = None;
        if let Some(Request::Query(statement) | Request::FunctionCall(statement)) =
            self.queue.front_mut()
        {
            statement.finished = Some(at);
            add_outcome(statement, failure.into_outcome(), self.limits.outcomes_max);
        }
        if ends_connection {
            self.query_ended(at, None, sink);
            self.settle(sink);
        } else if ambiguous {
            self.queue.insert_gap_behind_front();
        }
    }

    /// An error of the extended protocol: the server skips everything up to the next Sync.
    fn extended_failed(&mut self, at: BootTime, failure: Failure, sink: Sink<'_>) {
        let ends_connection = failure.ends_connection();
        let ambiguous = self.copy_failure_is_ambiguous();
        self.copy = None;
        let mut skipped = Box::<Names>::default();
        let outcome = failure.into_outcome();
        match self.queue.front() {
            Some(Request::Execute(_)) => self.execute_failed(at, outcome, sink),
            _ => {
                self.drop_absent(&outcome);
                self.message_failed(at, outcome, &mut skipped, sink);
            }
        }
        if ends_connection {
            return self.settle(sink);
        }
        if ambiguous {
            return self.lose_alignment(sink);
        }
        self.discarded = Some(skipped);
        loop {
            match self.queue.front() {
                Some(Request::Sync) => break self.discarded = None,
                Some(Request::Gap) => break self.settle(sink),
                Some(_) => {
                    if let Some(request) = self.queue.pop() {
                        self.discard(request, sink);
                    }
                }
                None => break,
            }
        }
    }

    /// The server says that the name in the oldest request does not exist: SQL has destroyed it, or a lost message.
    fn drop_absent(&mut self, outcome: &Outcome) {
        let Outcome::Failed { sqlstate, .. } = outcome else {
            return;
        };
        match (&**sqlstate, self.queue.front()) {
            ("26000", Some(Request::Bind(bind))) => {
                if let Some((_, statement)) = &bind.names {
                    self.names.drop_statement(statement);
                }
            }
            ("26000" | "34000", Some(Request::Describe(named))) => match &named.target {
                Some((Target::Statement, name)) => self.names.drop_statement(name),
                Some((Target::Portal, name)) => self.names.drop_portal(name),
                None => {}
            },
            _ => {}
        }
    }

    fn execute_failed(&mut self, at: BootTime, outcome: Outcome, sink: Sink<'_>) {
        let Some(Request::Execute(mut statement)) = self.queue.pop() else {
            return;
        };
        resolve(&mut statement, &self.names, None, UnknownText::NoSuchName);
        self.failed(statement, at, outcome, sink);
    }

    /// A refused Parse, Bind, Describe or Close is a statement of its own.
    fn message_failed(
        &mut self,
        at: BootTime,
        outcome: Outcome,
        skipped: &mut Names,
        sink: Sink<'_>,
    ) {
        let statement = match self.queue.pop() {
            Some(Request::Parse(parse)) => {
                let mut statement =
                    asked(StatementKind::Parse, parse.prepared.text.clone(), parse.at);
                statement.prepared.clone_from(&parse.name);
                if let Some(name) = parse.name {
                    if name.is_empty() {
                        // The server drops the unnamed statement before it looks at the new one.
                        self.names.drop_statement("");
                    }
                    skipped.prepare(name, parse.prepared, &self.limits);
                } else {
                    skipped.forget(UnknownText::Lost);
                }
                statement
            }
            Some(Request::Bind(bind)) => refused_bind(*bind, &self.names, skipped, &self.limits),
            Some(Request::Describe(named) | Request::Close(named)) => {
                refused_describe(*named, &self.names)
            }
            _ => return,
        };
        self.failed(statement, at, outcome, sink);
    }

    fn failed(
        &mut self,
        mut statement: Box<Statement>,
        at: BootTime,
        outcome: Outcome,
        sink: Sink<'_>,
    ) {
        statement.finished = Some(at);
        statement.ending = Ending::Answered;
        statement.transaction_before = self.transaction;
        add_outcome(&mut statement, outcome, self.limits.outcomes_max);
        self.hold(statement, sink);
    }
}

fn refused_bind(
    bind: Bind,
    names: &Names,
    skipped: &mut Names,
    limits: &crate::limits::Limits,
) -> Box<Statement> {
    let mut statement = asked(
        StatementKind::Bind,
        Text::Unknown(UnknownText::Lost),
        bind.at,
    );
    if let Some((name, prepared)) = bind.names {
        let source = source(names, None, &prepared, UnknownText::NoSuchName);
        let portal = Portal {
            statement: prepared,
            source,
            bound: bind.bound,
            executed: false,
        };
        describe_portal(&mut statement, &portal);
        statement.portal = Some(Arc::clone(&name));
        skipped.bind(name, portal, limits);
    } else {
        skipped.forget_portals(UnknownText::Lost);
    }
    statement
}

fn refused_describe(named: Named, names: &Names) -> Box<Statement> {
    let mut statement = asked(
        StatementKind::Describe,
        Text::Unknown(UnknownText::Lost),
        named.at,
    );
    match named.target {
        Some((Target::Statement, name)) => {
            statement.text = text_of(&source(names, None, &name, UnknownText::NoSuchName));
            statement.prepared = Some(name);
        }
        Some((Target::Portal, name)) => {
            statement.portal = Some(name);
            resolve(&mut statement, names, None, UnknownText::NoSuchName);
        }
        None => {}
    }
    statement
}

/// The statement of that name: in the batch if it is there, in the session otherwise. `absent`: what is true if the
/// session's names are completely known and it is not among them.
pub(crate) fn source(
    names: &Names,
    batch: Option<&Names>,
    name: &str,
    absent: UnknownText,
) -> Source {
    for names in batch.into_iter().chain([names]) {
        if let Some(prepared) = names.statement(name) {
            return Ok(Arc::clone(prepared));
        }
        if let Some(reason) = names.statement_missing(name) {
            return Err(reason);
        }
    }
    Err(absent)
}

fn text_of(source: &Source) -> Text {
    match source {
        Ok(prepared) => prepared.text.clone(),
        Err(reason) => Text::Unknown(*reason),
    }
}

fn describe_portal(statement: &mut Statement, portal: &Portal) {
    statement.text = text_of(&portal.source);
    statement.prepared = Some(Arc::clone(&portal.statement));
    statement.parameters = portal
        .bound
        .parameters(portal.source.as_ref().ok().map(|prepared| &**prepared));
    statement.resumed = portal.executed;
}

/// Fills in what a statement's portal stands for.
pub(crate) fn resolve(
    statement: &mut Statement,
    names: &Names,
    batch: Option<&Names>,
    absent: UnknownText,
) {
    let Some(name) = &statement.portal else {
        return;
    };
    for names in batch.into_iter().chain([names]) {
        if let Some(portal) = names.portal(name) {
            return describe_portal(statement, portal);
        }
        if let Some(reason) = names.portal_missing() {
            return statement.text = Text::Unknown(reason);
        }
    }
    statement.text = Text::Unknown(absent);
}

/// A portal that a request would make.
pub(crate) fn portal_of(
    bind: Bind,
    names: &Names,
    batch: &Names,
    absent: UnknownText,
) -> Option<(Arc<str>, Portal)> {
    let (name, statement) = bind.names?;
    let source = source(names, Some(batch), &statement, absent);
    let portal = Portal {
        statement,
        source,
        bound: bind.bound,
        executed: false,
    };
    Some((name, portal))
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
