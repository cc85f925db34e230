//! Requests that carry everything: Query and FunctionCall (55.2.2, 55.2.5).

use std::sync::Arc;

use model::statement::{Ending, Statement, StatementKind, Text, UnknownText};
use model::time::BootTime;

use crate::frame::Message;
use crate::queue::Request;
use crate::reader::Reader;
use crate::session::{Session, Sink};
use crate::text;

/// A statement of which nothing is known but its message.
pub(crate) fn asked(kind: StatementKind, text: Text, at: BootTime) -> Box<Statement> {
    Box::new(Statement {
        kind,
        text,
        prepared: None,
        portal: None,
        parameters: None,
        row_limit: 0,
        resumed: false,
        transaction_before: None,
        transaction_after: None,
        started: at,
        finished: None,
        outcomes: Vec::new(),
        outcomes_dropped: 0,
        rows_sent: 0,
        notices: 0,
        copy_bytes: 0,
        ending: Ending::Unanswered,
        redacted: false,
        judgement: None,
    })
}

impl Session {
    pub(crate) fn query(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) {
        let captured = Reader::new(&message.body).cstr();
        let text = match captured {
            Some(text) => text::statement(text, text.len() as u64, self.text_room()),
            None => text::statement(&message.body, message.length.saturating_sub(1), self.text_room()),
        };
        self.announce(StatementKind::Simple, &text, at, sink);
        self.ask(Request::Query(asked(StatementKind::Simple, text, at)), sink);
    }

    pub(crate) fn function_call(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) {
        // 0 is no function: the message was cut before its number.
        let function = Reader::new(&message.body).u32().unwrap_or(0);
        let text = Text::Unknown(UnknownText::None);
        let kind = StatementKind::FunctionCall { function };
        self.announce(kind, &text, at, sink);
        self.ask(Request::FunctionCall(asked(kind, text, at)), sink);
    }
}

/// A name, unless the message was cut inside it: as much of it as the server tells apart (`NAMEDATALEN - 1` bytes, the
/// keys of its tables of statements and portals).
pub(crate) fn name(body: &mut Reader<'_>) -> Option<Arc<str>> {
    const NAME_BYTES_MAX: usize = 63;
    body.cstr().map(|name| text::shared(name.get(..NAME_BYTES_MAX).unwrap_or(name)))
}
