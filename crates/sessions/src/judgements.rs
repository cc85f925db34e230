//! Which request and which statement a worker's judgement is about.
//!
//! The worker says what it has decided right before the bytes of the message; the decoder says the request when it has
//! read those bytes, and the statement when it is answered. A judgement never becomes that of another statement: where
//! anything between the two was not seen, it becomes nobody's, and the statement's is not known.

use std::collections::VecDeque;
use std::sync::Arc;

use model::request::Request;
use model::statement::{Statement, StatementKind};
use model::time::BootTime;
use model::verdict::Judgement;
use model::wire::WireEvent;

/// Requests whose statements may still come; beyond it all of them are forgotten. As many as are pipelined at most.
pub const ASKED_MAX: usize = 4096;
/// Room that an idle connection keeps.
const ASKED_IDLE: usize = 8;

/// The judgements of one connection. Fed with everything that its decoder says, in order.
#[derive(Debug, Default)]
pub struct Judgements {
    /// Of the next request.
    next: Option<Arc<Judgement>>,
    /// Requests in the order of their messages, which is that of their statements.
    asked: VecDeque<Asked>,
    doubt: Doubt,
}

#[derive(Debug)]
struct Asked {
    kind: StatementKind,
    at: BootTime,
    judgement: Option<Arc<Judgement>>,
}

impl Asked {
    fn is(&self, statement: &Statement) -> bool {
        self.at == statement.started && self.kind == statement.kind
    }
}

/// Statements that nobody can tell from earlier ones, which were forgotten: messages of one read have one time.
#[derive(Clone, Copy, Debug, Default)]
enum Doubt {
    #[default]
    None,
    /// Those of the next read.
    NextRead,
    /// Those that were read then.
    Of(BootTime),
}

impl Judgements {
    /// Of a connection that asked for something before its judgements began to be said, and has no answer yet.
    #[must_use]
    pub fn late() -> Self {
        Self { doubt: Doubt::NextRead, ..Self::default() }
    }

    /// What was decided about the next request. One before it that has found no request is forgotten.
    pub fn judged(&mut self, judgement: Arc<Judgement>) {
        self.next = Some(judgement);
    }

    /// What the next request will be is not known any more.
    pub fn lose_next(&mut self) {
        self.next = None;
    }

    /// Something was lost: what was said until now is about nothing that comes.
    pub fn lose(&mut self) {
        *self = Self::late();
    }

    /// Gives a request and its statement their judgement.
    pub fn attach(&mut self, event: &mut WireEvent) {
        match event {
            WireEvent::Requested(request) => self.request(request),
            WireEvent::Statement(statement) => statement.judgement = self.statement(statement),
            WireEvent::Gap { .. } | WireEvent::Violation { .. } => self.lose(),
            _ => {}
        }
    }

    fn request(&mut self, request: &mut Request) {
        request.judgement = self.next.take();
        if self.asked.len() >= ASKED_MAX {
            self.asked = VecDeque::new();
            self.doubt = Doubt::Of(request.at);
        }
        self.doubt = match self.doubt {
            Doubt::NextRead => Doubt::Of(request.at),
            Doubt::Of(at) if at == request.at => self.doubt,
            Doubt::Of(_) | Doubt::None => Doubt::None,
        };
        if matches!(self.doubt, Doubt::None) {
            let judgement = request.judgement.clone();
            self.asked.push_back(Asked { kind: request.kind, at: request.at, judgement });
        }
    }

    fn statement(&mut self, statement: &Statement) -> Option<Arc<Judgement>> {
        let place = self.asked.iter().position(|asked| asked.is(statement))?;
        // The requests before it have no statement any more.
        let Asked { judgement, .. } = self.asked.drain(..=place).next_back()?;
        let is_certain = is_always_a_statement(statement.kind) || !self.asked.iter().any(|asked| asked.is(statement));
        if self.asked.is_empty() {
            self.asked.shrink_to(ASKED_IDLE);
        }
        judgement.filter(|_| is_certain)
    }
}

/// Those that succeed are no statement, so a refused one may be any of those with its time.
const fn is_always_a_statement(kind: StatementKind) -> bool {
    !matches!(kind, StatementKind::Parse | StatementKind::Bind | StatementKind::Describe)
}
