//! What the server's messages mean for a session: which of them the client gets, what is known behind them, and what
//! is still awaited.

use std::rc::Rc;
use std::sync::Arc;

use model::statement::Transaction;
use sql::state::TEMPORARY_NAMES_MAX;

use crate::bounds::Bounds;
use crate::cycle::Cycles;
use crate::following::{Answer, Following, Question};
use crate::masking::{Cells, Protected};
use crate::message;
use crate::server::{Fate, Reader};

/// Schemas of an answer; a path of more names is not followed.
const SCHEMAS_MAX: usize = 256;
/// Rows of an answer: one with more is not whole. A table and its type have one name.
const ROWS_MAX: usize = 2 * TEMPORARY_NAMES_MAX;
/// Parameters that stand before them in an answer, in this order. Behind these: whether temporary objects can be listed.
const READING: [&str; 2] = ["standard_conforming_strings", "client_encoding"];

/// Where the server's messages are looked at.
pub(super) struct Desk {
    pub(super) cycles: Cycles,
    pub(super) following: Following,
    pub(super) cancel: Cancel,
    /// What the client is told between two messages of the server.
    pub(super) notices: Vec<u8>,
    /// What the guard has asked last.
    question: Question,
    /// Rows of the answer to it.
    answer: Vec<Arc<str>>,
    pub(super) logged_in: bool,
    pub(super) in_transaction: bool,
    /// The open transaction can only be rolled back.
    pub(super) has_failed: bool,
    /// Something of the batch was refused, or has failed: nothing of it goes on until its Sync.
    pub(super) dropping: bool,
    /// Code of users has run in what was answered last.
    pub(super) code_has_run: bool,
    /// Bounds of what was answered last, with what it has returned.
    pub(super) gave: Vec<Bounds>,
    /// The server is asked something within the open batch.
    pub(super) asks_inside: bool,
    /// What is protected, where anything is.
    pub(super) protected: Option<Rc<Protected>>,
    /// Cells that were masked so far.
    pub(super) cells: Cells,
}

impl Desk {
    /// For a session that starts up.
    pub(super) fn new(following: Following) -> Self {
        Self {
            cycles: Cycles::started(),
            following,
            cancel: Cancel::default(),
            notices: Vec::new(),
            question: Question::default(),
            answer: Vec::new(),
            logged_in: false,
            in_transaction: false,
            has_failed: false,
            dropping: false,
            code_has_run: false,
            gave: Vec::new(),
            asks_inside: false,
            protected: None,
            cells: Cells::new(),
        }
    }

    /// What the last ReadyForQuery said.
    pub(super) const fn status(&self) -> Transaction {
        match (self.in_transaction, self.has_failed) {
            (false, _) => Transaction::Idle,
            (true, false) => Transaction::Open,
            (true, true) => Transaction::Failed,
        }
    }

    /// The guard's own question goes to the server.
    pub(super) fn asks(&mut self, question: Question) {
        self.question = question;
        self.answer.clear();
    }
}

impl Reader for Desk {
    fn fate(&mut self, kind: u8, length: u32) -> Fate {
        // It answers, or the batch has failed.
        self.asks_inside &= kind != b'E';
        if self.asks_inside {
            // CloseComplete is the last of the answer.
            return match kind {
                b'N' | b'A' | b'S' => Fate::Pass,
                b'D' | b'3' => Fate::Hold,
                _ => Fate::Drop,
            };
        }
        if matches!(kind, b'D' | b'd')
            && let Some(bounds) = self.cycles.front_mut().and_then(|cycle| cycle.bounds.as_mut())
        {
            self.cancel.wanted |= bounds.row(u64::from(length));
        }
        match kind {
            b'G' => self.cycles.begin_copy(),
            b'E' => self.cycles.fail_copy(),
            _ => {}
        }
        // The server skips the rest of the batch, a Query too, and says no more about it.
        self.dropping |= kind == b'E' && self.cycles.is_open_next();
        if let Some(fate) = self.masked_fate(kind, length) {
            return fate;
        }
        let front = self.cycles.front();
        let is_beyond = front.and_then(|cycle| cycle.bounds.as_ref()).is_some_and(|bounds| bounds.beyond.is_some());
        match kind {
            b'Z' | b'K' => Fate::Hold,
            // Notices, notifications and reports can come at any time, whoever asks.
            b'N' | b'A' | b'S' => Fate::Pass,
            b'D' if front.is_some_and(|cycle| cycle.own) => Fate::Hold,
            // The server waits for rows, and takes nothing else.
            b'G' if is_beyond => Fate::Pass,
            b'E' if is_beyond || front.is_some_and(|cycle| cycle.refused.is_some()) => Fate::Hold,
            _ if is_beyond => Fate::Drop,
            _ if front.is_some_and(|cycle| cycle.own) => Fate::Drop,
            _ => Fate::Pass,
        }
    }

    fn complete(&mut self, message: &[u8], out: &mut Vec<u8>) {
        match message.first() {
            Some(b'K') => {
                self.cancel.key = Some(message.get(5..).unwrap_or_default().into());
                out.extend_from_slice(message);
            }
            Some(b'Z') => {
                // What has crossed a bound and ended all the same.
                self.tell_beyond(out);
                self.logged_in = true;
                self.in_transaction = message.get(5) != Some(&b'I');
                self.has_failed = message.get(5) == Some(&b'E');
                match self.cycles.answered() {
                    Some(cycle) if cycle.own => self.answered(self.in_transaction),
                    cycle => {
                        self.code_has_run |= cycle.as_ref().is_some_and(|cycle| cycle.code);
                        self.gave.extend(cycle.and_then(|cycle| cycle.bounds).map(|bounds| *bounds));
                        out.extend_from_slice(message);
                    }
                }
            }
            Some(b'3') => {
                self.asks_inside = false;
                self.answered(true);
            }
            Some(b'D') if self.answers_guard() => {
                let has_room = self.answer.len() < ROWS_MAX;
                self.answer.extend(only_column(message).filter(|_| has_room));
            }
            Some(b'D') => self.rewrite(message, out),
            Some(b'T') => self.described(message, out),
            Some(b'H') => self.copy_begins(message, out),
            Some(b'd') => self.rewrite_copied(message, out),
            Some(b'E') if self.tell_beyond(out) => {}
            Some(b'E') => {
                let names = |name: &str| contains(message, name.as_bytes());
                match self.cycles.take_refused(names) {
                    Some(refused) => out.extend_from_slice(&refused.answer),
                    None => self.quote(message, out),
                }
            }
            Some(b'N') => self.quote(message, out),
            _ => {}
        }
    }

    fn long_row(&mut self) {
        if let Some(cycle) = self.cycles.front_mut() {
            cycle.results.rows().begin_long();
        }
    }

    fn long_row_goes_on(&mut self, bytes: &mut [u8]) {
        match self.cycles.front_mut() {
            Some(cycle) => cycle.results.rows().go_on_long(bytes),
            None => bytes.fill(b'0'),
        }
    }

    fn interject(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.notices);
    }

    fn interjects(&self) -> bool {
        !self.notices.is_empty()
    }
}

impl Desk {
    /// Where a bound was crossed the client gets one error, in place of everything else. Whether one was.
    fn tell_beyond(&mut self, out: &mut Vec<u8>) -> bool {
        let bounds = self.cycles.front_mut().and_then(|cycle| cycle.bounds.as_mut());
        let Some(beyond) = bounds.and_then(|bounds| bounds.beyond.as_mut()) else { return false };
        if let Some(error) = beyond.error.take() {
            out.extend_from_slice(&message::refusal(&error));
        }
        true
    }

    fn answered(&mut self, in_transaction: bool) {
        let answer = std::mem::take(&mut self.answer);
        match self.question {
            Question::Names => match names(answer) {
                Some(answer) => self.following.learn(answer, in_transaction),
                None => self.following.learn_nothing(in_transaction),
            },
            Question::Temporary => {
                let is_whole = answer.len() < ROWS_MAX && answer.iter().any(|name| name.is_empty());
                let names = answer.into_iter().filter(|name| !name.is_empty()).collect();
                self.following.learn_temporary(is_whole.then_some(names), in_transaction);
            }
        }
    }
}

/// What the server answers when it is asked for names.
fn names(answer: Vec<Arc<str>>) -> Option<Answer> {
    let mut answer = answer.into_iter();
    let [strings, encoding] = READING.map(|name| answer.next().map(|value| (name, value)));
    let lists_temporary = *answer.next()? == *"true";
    let schemas: Vec<Arc<str>> = answer.collect();
    let is_whole = (1..SCHEMAS_MAX).contains(&schemas.len());
    is_whole.then_some(Answer { reading: [strings?, encoding?], lists_temporary, schemas })
}

/// What it takes to cancel what runs.
#[derive(Default)]
pub(super) struct Cancel {
    /// The body of BackendKeyData.
    pub(super) key: Option<Box<[u8]>>,
    pub(super) wanted: bool,
    /// A request is on its way.
    pub(super) is_under_way: bool,
}

/// The value of a DataRow with one column.
fn only_column(message: &[u8]) -> Option<Arc<str>> {
    let value = message.get(11..).filter(|_| message.get(5..7) == Some(&[0, 1]))?;
    Some(String::from_utf8_lossy(value).into())
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
