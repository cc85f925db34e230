//! Requests of the extended protocol: Parse, Bind, Describe, Execute, Close, Sync (55.2.3, 55.2.4).

use std::sync::{Arc, OnceLock};

use model::statement::{StatementKind, Text, UnknownText};
use model::time::BootTime;

use crate::bound::Bound;
use crate::frame::Message;
use crate::queue::{Bind, Named, Parse, Request, Target};
use crate::reader::Reader;
use crate::session::{Session, Sink};
use crate::simple::{asked, name};
use crate::text;

impl Session {
    pub(crate) fn parse(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) {
        let mut body = Reader::new(&message.body);
        let name = name(&mut body);
        let before = message.body.len().saturating_sub(body.len());
        let (text, declared) = match body.cstr() {
            Some(query) => (text::statement(query, query.len() as u64, self.text_room()), self.declared(&mut body)),
            None if name.is_none() => (Text::Unknown(UnknownText::Lost), Box::default()),
            None => {
                // The length of the text itself is not known where the types' part is not: they are seldom declared,
                // so take everything but the NUL and an empty list.
                let bytes = message.length.saturating_sub(before as u64).saturating_sub(3);
                (text::statement(body.rest(), bytes, self.text_room()), Box::default())
            }
        };
        let prepared = Arc::new(crate::names::Prepared { text, declared, described: OnceLock::new() });
        self.announce_parse(name.as_ref(), &prepared, at, sink);
        self.ask(Request::Parse(Box::new(Parse { at, name, prepared })), sink);
    }

    /// The types that a Parse declares, as far as they were seen.
    fn declared(&self, body: &mut Reader<'_>) -> Box<[u32]> {
        match body.u16() {
            Some(count) if count > 0 && !self.is_pressed() => (0..count).map_while(|_| body.u32()).collect(),
            _ => Box::default(),
        }
    }

    pub(crate) fn bind(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) {
        let mut body = Reader::new(&message.body);
        let names = name(&mut body).and_then(|portal| Some((portal, name(&mut body)?)));
        let unseen = names.is_none() || self.is_pressed();
        let bound = Arc::new(if unseen { Bound::UNSEEN } else { Bound::parse(&mut body, &self.limits) });
        self.announce_bind(names.as_ref(), |prepared| bound.parameters(prepared), at, sink);
        self.ask(Request::Bind(Box::new(Bind { at, names, bound })), sink);
    }

    pub(crate) fn describe(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) {
        let target = target(&message.body);
        self.ask(Request::Describe(Box::new(Named { at, target })), sink);
    }

    pub(crate) fn close_name(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) {
        let target = target(&message.body);
        self.ask(Request::Close(Box::new(Named { at, target })), sink);
    }

    pub(crate) fn execute(&mut self, at: BootTime, message: &Message<'_>, sink: Sink<'_>) {
        let mut body = Reader::new(&message.body);
        let mut statement = asked(StatementKind::Execute, Text::Unknown(UnknownText::Lost), at);
        statement.portal = name(&mut body);
        // A negative limit means none, like 0.
        statement.row_limit = body.i32().and_then(|limit| u32::try_from(limit).ok()).unwrap_or(0);
        self.announce_execute(statement.portal.as_ref(), statement.row_limit, at, sink);
        self.ask(Request::Execute(statement), sink);
    }

    /// Ends a batch; what comes after it is not skipped any more.
    pub(crate) fn sync(&mut self, sink: Sink<'_>) {
        self.announce_sync();
        self.discarded = None;
        self.ask(Request::Sync, sink);
    }
}

fn target(body: &[u8]) -> Option<(Target, Arc<str>)> {
    let mut body = Reader::new(body);
    let target = match body.u8()? {
        b'S' => Target::Statement,
        b'P' => Target::Portal,
        _ => return None,
    };
    Some((target, name(&mut body)?))
}
