//! What the session's statements have changed about the meaning of the next ones.
//!
//! A change counts when its statement has succeeded, and is undone with its transaction. What cannot be followed (code
//! of the server's own, ROLLBACK TO) is asked of the server before the next statement, see `Guard`.

use std::sync::Arc;

use model::Known;
use model::facts::{Facts, StateChange, StatementFacts, UnknownSchema};
use model::statement::{Outcome, Statement, Transaction};
use sql::state::{Encoding, State, Temporary};

/// The state now, and the states to go back to.
#[derive(Debug)]
pub(crate) struct Following {
    /// With what holds only until the end of the transaction.
    now: State,
    /// Without it: what COMMIT makes of it.
    session: State,
    /// What ROLLBACK makes of it.
    committed: State,
    /// The server knows better than these.
    pub(crate) is_uncertain: bool,
    /// Code has run in this transaction. So it has its snapshot, and a question in it changes nothing.
    pub(crate) has_run_code: bool,
    /// What the server has said holds until the end of the transaction.
    learnt_inside: bool,
}

impl Following {
    pub(crate) fn new(user: Arc<str>) -> Self {
        let state = State { search_path: Known::Unknown(UnknownSchema::SearchPath), ..State::new(user) };
        Self {
            now: state.clone(),
            session: state.clone(),
            committed: state,
            is_uncertain: true,
            has_run_code: false,
            learnt_inside: false,
        }
    }

    pub(crate) const fn state(&self) -> &State {
        &self.now
    }

    fn each(&mut self, change: impl Fn(&mut State)) {
        [&mut self.now, &mut self.session, &mut self.committed].into_iter().for_each(change);
    }

    /// The server has said which schemas are looked up, and in which order. What it says within a transaction may be
    /// taken back with it.
    pub(crate) fn learn(&mut self, schemas: Vec<Arc<str>>, in_transaction: bool) {
        self.learn_nothing(in_transaction);
        let is_temporary = |schema: &Arc<str>| schema.starts_with("pg_temp_");
        let temporary = if schemas.iter().any(is_temporary) { Temporary::Unknown } else { Temporary::None };
        let schemas: Arc<[Arc<str>]> = schemas.into_iter().filter(|schema| !is_temporary(schema)).collect();
        let learn = |state: &mut State| {
            state.search_path = Known::Known(Arc::clone(&schemas));
            state.temporary = temporary.clone();
        };
        if in_transaction { learn(&mut self.now) } else { self.each(learn) }
    }

    /// It has not: what it was asked cannot be answered here.
    pub(crate) fn learn_nothing(&mut self, in_transaction: bool) {
        self.is_uncertain = false;
        self.learnt_inside = in_transaction;
    }

    /// Code has run, which may have set any parameter.
    pub(crate) fn code_has_run(&mut self, in_transaction: bool) {
        self.has_run_code = in_transaction;
        self.doubt();
    }

    /// The server reports a parameter: it is right.
    pub(crate) fn reported(&mut self, name: &str, value: &str) {
        match name {
            "standard_conforming_strings" => self.each(|state| state.standard_conforming_strings = value != "off"),
            "client_encoding" => self.each(|state| state.encoding = Encoding::named(value)),
            "server_version" => {
                let major = value.split(['.', ' ']).next().and_then(|major| major.parse().ok());
                self.each(|state| state.server_major = major);
            }
            _ => {}
        }
    }

    /// Something happened that is not understood.
    fn doubt(&mut self) {
        self.is_uncertain = true;
        self.each(|state| state.search_path = Known::Unknown(UnknownSchema::SearchPath));
    }

    /// Something with these facts runs, and what becomes of it will not be said.
    pub(crate) fn lose(&mut self, facts: &Facts) {
        let changes = |statement: &StatementFacts| {
            !statement.changes.is_empty() || !statement.opaque.is_empty() || statement.runs_code()
        };
        if facts.opaque.is_some() || facts.statements.iter().any(changes) {
            self.doubt();
        }
    }

    /// A statement has ended. `changed` hears of every change that counts.
    pub(crate) fn settle(&mut self, statement: &Statement, facts: &Facts, mut changed: impl FnMut(&StateChange)) {
        if facts.opaque.is_some() || statement.outcomes_dropped > 0 {
            self.doubt();
        }
        let mut failed = false;
        for (index, outcome) in statement.outcomes.iter().enumerate() {
            match outcome {
                Outcome::Completed { tag, .. } => {
                    let Some(facts) = facts.statements.get(index) else { continue };
                    self.has_run_code |= facts.runs_code();
                    if !facts.opaque.is_empty() || facts.runs_code() {
                        self.doubt();
                    }
                    for change in &facts.changes {
                        self.apply(change, tag == "ROLLBACK");
                        changed(change);
                    }
                }
                Outcome::Failed { .. } => failed = true,
                _ => {}
            }
        }
        match statement.transaction_after {
            Some(Transaction::Idle) => self.end(failed),
            None if failed && statement.transaction_before == Some(Transaction::Idle) => self.end(true),
            _ => {}
        }
    }

    fn apply(&mut self, change: &StateChange, is_rollback: bool) {
        match change {
            StateChange::End => self.end(is_rollback),
            StateChange::Parameter { name, value, local } => match &**name {
                "search_path" if value.is_some() => {
                    self.now.apply(change);
                    if !local {
                        self.session.apply(change);
                    }
                }
                // `$user` is another one then; and of a default it is not known here what it is.
                "search_path" | "role" | "session_authorization" => self.doubt(),
                // The server reports those that decide how a text is read.
                _ => {}
            },
            StateChange::ResetAll | StateChange::DiscardAll | StateChange::Role | StateChange::RolledBackTo => {
                self.doubt();
            }
            _ => {
                self.now.apply(change);
                self.session.apply(change);
            }
        }
    }

    fn end(&mut self, rolled_back: bool) {
        if rolled_back {
            self.session.clone_from(&self.committed);
        }
        // Whatever was said about the transaction is not about the session.
        self.is_uncertain |= std::mem::take(&mut self.learnt_inside);
        self.has_run_code = false;
        self.session.settled = true;
        self.committed.clone_from(&self.session);
        self.now.clone_from(&self.session);
    }
}
