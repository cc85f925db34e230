//! What is asked and not answered yet, in order. A cycle is what one ReadyForQuery answers: a Query, a FunctionCall, or
//! the messages up to a Sync.

use std::collections::VecDeque;

use crate::bounds::Bounds;
use crate::masking::Results;

/// Cycles that wait for their answer; a client that asks for more waits itself.
pub(crate) const CYCLES_MAX: usize = 4096;

/// Something that was refused: the server is made to fail in its place.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What the server's error will name; `None`: it refuses the message itself, and names nothing.
    pub(crate) name: Option<String>,
    /// What the client gets instead.
    pub(crate) answer: Vec<u8>,
}

/// One cycle.
#[derive(Debug, Default)]
pub(crate) struct Cycle {
    /// The guard's own question: its answer is not the client's.
    pub(crate) own: bool,
    /// What follows may mean something else once this is answered.
    pub(crate) unsettling: bool,
    /// What follows in its own batch may, too.
    pub(crate) unsettling_inside: bool,
    /// Plans are made in it for which code of users may have run.
    pub(crate) planned_code: bool,
    /// Code of users runs, or may: also where only a plan is made, and where the statement fails behind it.
    pub(crate) code: bool,
    /// It is a Query: SQL, which can change names.
    pub(crate) query: bool,
    /// The client has ended a COPY behind its Sync.
    pub(crate) copy_ended: bool,
    /// Statements of a batch that take COPY data, and have not begun to; ends of such data behind them, in the batch.
    pub(crate) copies: u32,
    pub(crate) copies_ended: u32,
    pub(crate) refused: Option<Refused>,
    /// What it may return, where a policy says so.
    pub(crate) bounds: Option<Box<Bounds>>,
    /// What it answers with, where columns are protected.
    pub(crate) results: Results,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Cycles {
    waiting: VecDeque<Cycle>,
    /// Messages of the extended protocol that no Sync has ended yet.
    open: Option<Cycle>,
    /// The server takes COPY data, and has not been told of their end: it ignores every Sync.
    copying: bool,
}

impl Cycles {
    /// The start-up is the first.
    pub(crate) fn started() -> Self {
        let login = Cycle { unsettling: true, query: true, ..Cycle::default() };
        Self { waiting: VecDeque::from([login]), open: None, copying: false }
    }

    /// Nothing is asked that is not answered.
    pub(crate) fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.open.is_none()
    }

    /// A batch has begun and has no Sync yet.
    pub(crate) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= CYCLES_MAX
    }

    /// What was asked of the open batch may change what follows in it.
    pub(crate) fn is_open_unsettling(&self) -> bool {
        self.open.as_ref().is_some_and(|cycle| cycle.unsettling_inside)
    }

    /// Code may have run for a plan of the open batch.
    pub(crate) fn is_open_planned(&self) -> bool {
        self.open.as_ref().is_some_and(|cycle| cycle.planned_code)
    }

    /// What it has done is asked for.
    pub(crate) fn settle_plans(&mut self) {
        if let Some(cycle) = &mut self.open {
            cycle.planned_code = false;
        }
    }

    /// What was asked of the open batch is answered.
    pub(crate) fn settle_open(&mut self) {
        if let Some(cycle) = &mut self.open {
            cycle.unsettling_inside = false;
        }
    }

    /// What is answered next is the open batch.
    pub(crate) fn is_open_next(&self) -> bool {
        self.waiting.is_empty() && self.open.is_some()
    }

    /// The first cycle is answered next.
    pub(crate) fn front(&self) -> Option<&Cycle> {
        self.waiting.front().or(self.open.as_ref())
    }

    /// The same, to count in it.
    pub(crate) fn front_mut(&mut self) -> Option<&mut Cycle> {
        self.waiting.front_mut().or(self.open.as_mut())
    }

    /// Answers may change what the next message means.
    pub(crate) fn are_unsettling(&self, uses_names: bool) -> bool {
        self.waiting.iter().any(|cycle| cycle.unsettling || (uses_names && cycle.query))
    }

    /// Something of them may be cancelled, because of what it returns or how long it takes.
    pub(crate) fn are_bounded(&self) -> bool {
        self.waiting.iter().any(|cycle| cycle.bounds.is_some())
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn push(&mut self, cycle: Cycle) {
        self.waiting.push_back(cycle);
    }

    /// A message of the extended protocol.
    pub(crate) fn open(&mut self) -> &mut Cycle {
        self.open.get_or_insert_default()
    }

    /// Sync.
    pub(crate) fn close(&mut self) {
        let cycle = self.open.take().unwrap_or_default();
        self.waiting.push_back(cycle);
    }

    /// The server has failed: it takes no data any more.
    pub(crate) const fn fail_copy(&mut self) {
        self.copying = false;
    }

    /// Whether a Sync means nothing now (55.2.7).
    pub(crate) const fn is_copying(&self) -> bool {
        self.copying
    }

    /// CopyDone or CopyFail goes to the server.
    pub(crate) fn end_copy(&mut self) {
        self.copying = false;
        self.waiting.iter_mut().for_each(|cycle| cycle.copy_ended = true);
        if let Some(cycle) = self.open.as_mut().filter(|cycle| cycle.copies_ended < cycle.copies) {
            cycle.copies_ended += 1;
        }
    }

    /// The server takes COPY data now, and ignores every Sync that it finds before their end: the cycle goes on up to
    /// the first Sync behind it (55.2.7).
    pub(crate) fn begin_copy(&mut self) {
        let ended = self.waiting.iter().take_while(|cycle| cycle.copy_ended).count();
        let ignored = if ended == 0 { self.waiting.len() } else { ended };
        let Some(copying) = self.front_mut() else { return };
        if copying.query {
            // A Query may have several.
            copying.copy_ended = false;
            self.copying = ended == 0;
            drop(self.waiting.drain(ignored.min(1)..ignored));
            return;
        }
        copying.copies = copying.copies.saturating_sub(1);
        if copying.copies_ended > 0 {
            // The data end before the Sync.
            copying.copies_ended -= 1;
            return;
        }
        self.copying = ended == 0;
        if self.waiting.is_empty() {
            return;
        }
        let Some(copying) = self.waiting.drain(..ignored).next() else { return };
        let rest = self.waiting.front_mut().unwrap_or_else(|| self.open.get_or_insert_default());
        rest.unsettling |= copying.unsettling;
        rest.unsettling_inside |= copying.unsettling_inside;
        rest.planned_code |= copying.planned_code;
        rest.code |= copying.code;
        rest.copies = rest.copies.saturating_add(copying.copies);
        rest.refused = rest.refused.take().or(copying.refused);
        rest.bounds = rest.bounds.take().or(copying.bounds);
        rest.results.take_over(copying.results);
    }

    /// What any of them shows from its next result on may be another thing than was judged.
    pub(crate) fn doubt(&mut self) {
        self.waiting.iter_mut().chain(&mut self.open).for_each(|cycle| cycle.results.is_doubted = true);
    }

    /// The one that is answered next: its results are not shown. Whether the server can be asked to cancel: nothing else of
    /// the session can run when it does.
    pub(crate) fn cut(&mut self) -> bool {
        let is_alone = self.waiting.len() == 1 && self.open.is_none();
        let Some(cycle) = self.front_mut() else { return false };
        cycle.bounds.get_or_insert_with(|| Box::new(Bounds::none())).go_stale() && is_alone
    }

    /// The refusal that the next error of the server may be about.
    pub(crate) fn take_refused(&mut self, names: impl FnOnce(&str) -> bool) -> Option<Refused> {
        self.front_mut()?.refused.take_if(|refused| refused.name.as_deref().is_none_or(names))
    }

    /// ReadyForQuery.
    pub(crate) fn answered(&mut self) -> Option<Cycle> {
        self.waiting.pop_front()
    }
}
