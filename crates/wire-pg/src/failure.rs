//! ErrorResponse: which request failed, and what the server skips because of it (55.2.2, 55.2.3).

use std::sync::Arc;

use model::statement::{Ending, Outcome, Statement, StatementKind, Text, UnknownText};
use model::time::BootTime;
use model::wire::WireEvent;

use crate::copy::add_outcome;
use crate::fields::Failure;
use crate::frame::Message;
use crate::limits::Limits;
use crate::names::{Names, Portal};
use crate::queue::{Bind, Named, Request, Target};
use crate::recovery::{Since, Trust};
use crate::resolve::{describe_portal, resolve, source, text_of};
use crate::session::{Session, Sink};
use crate::simple::asked;

impl Session {
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
            Some(Request::Query(_) | Request::FunctionCall(_)) => self.query_failed(at, failure, sink),
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
        let Failure { severity, sqlstate, message } = failure;
        sink(WireEvent::Refused { severity, sqlstate, message });
    }

    fn query_failed(&mut self, at: BootTime, failure: Failure, sink: Sink<'_>) {
        let ends_connection = failure.ends_connection();
        let ambiguous = self.copy_failure_is_ambiguous();
        self.copy = None;
        if let Some(Request::Query(statement) | Request::FunctionCall(statement)) = self.queue.front_mut() {
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
    fn message_failed(&mut self, at: BootTime, outcome: Outcome, skipped: &mut Names, sink: Sink<'_>) {
        let statement = match self.queue.pop() {
            Some(Request::Parse(parse)) => {
                let mut statement = asked(StatementKind::Parse, parse.prepared.text.clone(), parse.at);
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
            Some(Request::Describe(named) | Request::Close(named)) => refused_describe(*named, &self.names),
            _ => return,
        };
        self.failed(statement, at, outcome, sink);
    }

    fn failed(&mut self, mut statement: Box<Statement>, at: BootTime, outcome: Outcome, sink: Sink<'_>) {
        statement.finished = Some(at);
        statement.ending = Ending::Answered;
        statement.transaction_before = self.transaction;
        add_outcome(&mut statement, outcome, self.limits.outcomes_max);
        self.hold(statement, sink);
    }
}

fn refused_bind(bind: Bind, names: &Names, skipped: &mut Names, limits: &Limits) -> Box<Statement> {
    let mut statement = asked(StatementKind::Bind, Text::Unknown(UnknownText::Lost), bind.at);
    if let Some((name, prepared)) = bind.names {
        let source = source(names, None, &prepared, UnknownText::NoSuchName);
        let portal = Portal { statement: prepared, source, bound: bind.bound, executed: false };
        describe_portal(&mut statement, &portal);
        statement.portal = Some(Arc::clone(&name));
        skipped.bind(name, portal, limits);
    } else {
        skipped.forget_portals(UnknownText::Lost);
    }
    statement
}

fn refused_describe(named: Named, names: &Names) -> Box<Statement> {
    let mut statement = asked(StatementKind::Describe, Text::Unknown(UnknownText::Lost), named.at);
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
