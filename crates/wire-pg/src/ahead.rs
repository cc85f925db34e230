//! Requests, said when their messages are complete: ahead of the answers that settle what names mean.
//!
//! The session's own names are the server's as of the last answer. What was asked for since is kept here: a Parse of the
//! same batch is what a later Bind means, because the server skips the Bind if it refuses the Parse. Of an earlier batch
//! that is not answered nobody knows yet whether it has succeeded, so a name that it defines is in doubt.

use std::collections::HashMap;
use std::sync::Arc;

use model::request::Request;
use model::statement::{Parameter, StatementKind, Text, UnknownText};
use model::time::BootTime;
use model::wire::WireEvent;

use crate::limits::Limits;
use crate::names::{Prepared, Source};
use crate::resolve;
use crate::session::{Session, Sink};

/// What a name stands for, as far as that is known.
#[derive(Clone)]
pub(crate) struct Meaning {
    pub(crate) source: Source,
    doubtful: bool,
}

/// A portal that was asked for.
struct Portal {
    statement: Arc<str>,
    meaning: Meaning,
    /// Of its Bind. If that failed, the name means in a later batch what it meant before.
    batch: u64,
}

/// Names that unanswered messages define.
#[derive(Default)]
pub(crate) struct Ahead {
    /// With the number of the batch.
    statements: HashMap<Arc<str>, (Arc<Prepared>, u64)>,
    portals: HashMap<Arc<str>, Portal>,
    bytes: usize,
    batch: u64,
    /// A Query is not answered: SQL can prepare and deallocate.
    queried: bool,
    /// A name was not kept.
    overflown: bool,
}

impl Ahead {
    /// Everything is answered: the session's names are right.
    fn clear(&mut self) {
        if self.bytes > 0 {
            (self.statements, self.portals, self.bytes) = (HashMap::new(), HashMap::new(), 0);
        }
        (self.queried, self.overflown) = (false, false);
    }

    fn has_room(&mut self, names: usize, bytes: usize, limits: &Limits) -> bool {
        let bytes = self.bytes.saturating_add(bytes);
        let fits = (names as u64) < u64::from(limits.names_max) && bytes as u64 <= u64::from(limits.name_bytes_max);
        if fits {
            // What a name meant before is counted until everything is answered.
            self.bytes = bytes;
        }
        self.overflown |= !fits;
        fits
    }

    fn prepare(&mut self, name: &Arc<str>, prepared: &Arc<Prepared>, limits: &Limits) {
        let bytes = name.len().saturating_add(prepared.retained_bytes());
        if self.has_room(self.statements.len(), bytes, limits) {
            self.statements.insert(Arc::clone(name), (Arc::clone(prepared), self.batch));
        }
    }

    fn bind(&mut self, name: &Arc<str>, statement: &Arc<str>, meaning: &Meaning, limits: &Limits) {
        let held = meaning.source.as_ref().map_or(0, |prepared| prepared.retained_bytes());
        let bytes = name.len().saturating_add(statement.len()).saturating_add(held);
        if self.has_room(self.portals.len(), bytes, limits) {
            let portal = Portal { statement: Arc::clone(statement), meaning: meaning.clone(), batch: self.batch };
            self.portals.insert(Arc::clone(name), portal);
        }
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        let statement = size_of::<(Arc<str>, (Arc<Prepared>, u64))>().saturating_add(1);
        let portal = size_of::<(Arc<str>, Portal)>().saturating_add(1);
        size_of::<Self>()
            .saturating_add(self.bytes)
            .saturating_add(self.statements.capacity().saturating_mul(statement))
            .saturating_add(self.portals.capacity().saturating_mul(portal))
    }
}

/// A request of this kind that says nothing else yet.
fn request(kind: StatementKind, text: Text, at: BootTime) -> Box<Request> {
    Box::new(Request {
        kind,
        text,
        doubtful: false,
        prepared: None,
        portal: None,
        parameters: None,
        row_limit: 0,
        at,
        redacted: false,
        judgement: None,
    })
}

impl Session {
    /// The names ahead, if requests are to be said.
    fn ahead(&mut self) -> Option<&mut Ahead> {
        let is_settled = self.queue.is_empty() && self.discarded.is_none();
        let ahead = self.ahead.as_deref_mut()?;
        if is_settled {
            ahead.clear();
        }
        Some(ahead)
    }

    /// From now on requests are said. What has no answer by now may define names, so they are in doubt.
    pub(crate) fn begin_to_announce(&mut self) {
        let queried = !self.queue.is_empty();
        self.ahead.get_or_insert_with(|| Box::new(Ahead { queried, ..Ahead::default() }));
    }

    /// A Query or FunctionCall is complete.
    pub(crate) fn announce(&mut self, kind: StatementKind, text: &Text, at: BootTime, sink: Sink<'_>) {
        let Some(ahead) = self.ahead() else { return };
        ahead.queried |= kind == StatementKind::Simple;
        ahead.batch = ahead.batch.wrapping_add(1);
        sink(WireEvent::Requested(request(kind, text.clone(), at)));
    }

    /// A Parse is complete.
    pub(crate) fn announce_parse(
        &mut self,
        name: Option<&Arc<str>>,
        prepared: &Arc<Prepared>,
        at: BootTime,
        sink: Sink<'_>,
    ) {
        let limits = self.limits;
        let Some(ahead) = self.ahead() else { return };
        match name {
            Some(name) => ahead.prepare(name, prepared, &limits),
            None => ahead.overflown = true,
        }
        let mut request = request(StatementKind::Parse, prepared.text.clone(), at);
        request.prepared = name.map(Arc::clone);
        sink(WireEvent::Requested(request));
    }

    /// A Bind is complete; `values` are decoded with the types of the statement that it names.
    pub(crate) fn announce_bind(
        &mut self,
        names: Option<&(Arc<str>, Arc<str>)>,
        values: impl FnOnce(Option<&Prepared>) -> Option<Vec<Parameter>>,
        at: BootTime,
        sink: Sink<'_>,
    ) {
        let limits = self.limits;
        if self.ahead().is_none() {
            return;
        }
        let meaning = match names {
            Some((_, statement)) => self.meaning(statement),
            None => Meaning { source: Err(UnknownText::Lost), doubtful: true },
        };
        let mut request = request(StatementKind::Bind, resolve::text_of(&meaning.source), at);
        request.doubtful = meaning.doubtful;
        request.parameters = values(meaning.source.as_ref().ok().map(|prepared| &**prepared));
        if let (Some(ahead), Some((portal, statement))) = (self.ahead.as_deref_mut(), names) {
            ahead.bind(portal, statement, &meaning, &limits);
            (request.portal, request.prepared) = (Some(Arc::clone(portal)), Some(Arc::clone(statement)));
        } else if let Some(ahead) = self.ahead.as_deref_mut() {
            ahead.overflown = true;
        }
        sink(WireEvent::Requested(request));
    }

    /// An Execute is complete.
    pub(crate) fn announce_execute(&mut self, portal: Option<&Arc<str>>, row_limit: u32, at: BootTime, sink: Sink<'_>) {
        if self.ahead().is_none() {
            return;
        }
        let (prepared, meaning) = match portal {
            Some(name) => self.meaning_of_portal(name),
            None => (None, Meaning { source: Err(UnknownText::Lost), doubtful: true }),
        };
        let mut request = request(StatementKind::Execute, resolve::text_of(&meaning.source), at);
        request.doubtful = meaning.doubtful;
        (request.portal, request.prepared, request.row_limit) = (portal.map(Arc::clone), prepared, row_limit);
        sink(WireEvent::Requested(request));
    }

    /// A Sync is complete.
    pub(crate) fn announce_sync(&mut self) {
        if let Some(ahead) = self.ahead() {
            ahead.batch = ahead.batch.wrapping_add(1);
        }
    }

    fn meaning(&self, name: &str) -> Meaning {
        let unknown = |reason| Meaning { source: Err(reason), doubtful: true };
        let Some(ahead) = &self.ahead else { return unknown(UnknownText::None) };
        if let Some((prepared, batch)) = ahead.statements.get(name) {
            let doubtful = *batch != ahead.batch || ahead.queried || ahead.overflown;
            return Meaning { source: Ok(Arc::clone(prepared)), doubtful };
        }
        if ahead.overflown {
            return unknown(UnknownText::TooManyNames);
        }
        // SQL may have prepared it: a name that is not known is no proof that there is none.
        let source = resolve::source(&self.names, self.discarded.as_deref(), name, UnknownText::None);
        Meaning { source, doubtful: ahead.queried }
    }

    /// Also returns the name of the prepared statement.
    fn meaning_of_portal(&self, name: &str) -> (Option<Arc<str>>, Meaning) {
        let unknown = |reason| (None, Meaning { source: Err(reason), doubtful: true });
        let Some(ahead) = &self.ahead else { return unknown(UnknownText::None) };
        if let Some(portal) = ahead.portals.get(name) {
            let mut meaning = portal.meaning.clone();
            meaning.doubtful |= portal.batch != ahead.batch;
            return (Some(Arc::clone(&portal.statement)), meaning);
        }
        if ahead.overflown {
            return unknown(UnknownText::TooManyNames);
        }
        for names in self.discarded.as_deref().into_iter().chain([&self.names]) {
            if let Some(portal) = names.portal(name) {
                let meaning = Meaning { source: portal.source.clone(), doubtful: ahead.queried };
                return (Some(Arc::clone(&portal.statement)), meaning);
            }
            if let Some(reason) = names.portal_missing() {
                return unknown(reason);
            }
        }
        unknown(UnknownText::None)
    }
}
