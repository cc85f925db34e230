//! What the server is working on, for live views.

use model::statement::{Text, UnknownText};

use crate::connection::InProgress;
use crate::queue::Request;
use crate::session::Session;

static LOST: Text = Text::Unknown(UnknownText::Lost);
static BEFORE_START: Text = Text::Unknown(UnknownText::PreparedBeforeStart);
static NO_SUCH_NAME: Text = Text::Unknown(UnknownText::NoSuchName);
static TOO_MANY_NAMES: Text = Text::Unknown(UnknownText::TooManyNames);
static NONE: Text = Text::Unknown(UnknownText::None);

const fn unknown(reason: UnknownText) -> &'static Text {
    match reason {
        UnknownText::Lost => &LOST,
        UnknownText::PreparedBeforeStart => &BEFORE_START,
        UnknownText::NoSuchName => &NO_SUCH_NAME,
        UnknownText::TooManyNames => &TOO_MANY_NAMES,
        UnknownText::None => &NONE,
    }
}

impl Session {
    /// The oldest Query, FunctionCall or Execute without an answer. The server keeps the answers to a Parse and a Bind
    /// back until it flushes, so the names of an Execute may still wait in the queue before it.
    pub(crate) fn in_progress(&self) -> Option<InProgress<'_>> {
        let (index, statement) = self.queue.iter().enumerate().find_map(|(index, request)| match request {
            Request::Query(statement) | Request::FunctionCall(statement) | Request::Execute(statement) => {
                Some((index, statement))
            }
            _ => None,
        })?;
        let text = match &statement.portal {
            Some(portal) => self.text_of_portal(portal, index),
            None => &statement.text,
        };
        Some(InProgress { text, started: statement.started })
    }

    /// The text behind a portal, as of the request at `index`.
    fn text_of_portal(&self, portal: &str, index: usize) -> &Text {
        let mut statement = None;
        for (at, request) in self.queue.iter().take(index).enumerate() {
            match request {
                Request::Bind(bind) => match &bind.names {
                    Some((name, prepared)) if **name == *portal => statement = Some((at, prepared)),
                    _ => {}
                },
                Request::Gap => return &LOST,
                _ => {}
            }
        }
        match (statement, self.names.portal(portal)) {
            (Some((at, name)), _) => self.text_of_statement(name, at),
            (None, Some(portal)) => match &portal.source {
                Ok(prepared) => &prepared.text,
                Err(reason) => unknown(*reason),
            },
            (None, None) => unknown(self.names.portal_missing().unwrap_or(UnknownText::NoSuchName)),
        }
    }

    /// The text of a statement, as of the request at `index`.
    fn text_of_statement(&self, name: &str, index: usize) -> &Text {
        let waiting = self.queue.iter().take(index).filter_map(|request| match request {
            Request::Parse(parse) if parse.name.as_deref() == Some(name) => Some(&parse.prepared.text),
            _ => None,
        });
        match (waiting.last(), self.names.statement(name)) {
            (Some(text), _) => text,
            (None, Some(prepared)) => &prepared.text,
            (None, None) => unknown(self.names.statement_missing(name).unwrap_or(UnknownText::NoSuchName)),
        }
    }
}
