//! The state of a session over its transactions: what is local to one, and what a rollback takes back.

use model::Known;
use model::facts::{StateChange, UnknownSchema};

use crate::changed::Changed;
use crate::state::State;

/// Follows a session from its beginning.
///
/// Its owner applies the changes of each statement once the server has completed it, and says how transactions end: the
/// server's ReadyForQuery knows that better than any text.
#[derive(Clone, Debug)]
pub struct Session {
    /// What the parameters go back to: the session's defaults.
    initial: State,
    /// What holds now.
    current: State,
    /// What holds after a commit: without what is local to the transaction.
    lasting: State,
    /// What held when the transaction began; a rollback goes back to it.
    before: Option<State>,
    /// Parameters that decide what a text means and that this transaction has set.
    set: Touched,
}

/// Which parameters were set.
#[derive(Clone, Copy, Debug, Default)]
struct Touched {
    /// Where names are looked up.
    names: bool,
    /// How a text is read.
    reading: bool,
}

impl Session {
    /// A session that begins in this state, start-up parameters included.
    #[must_use]
    pub fn new(initial: State) -> Self {
        Self { current: initial.clone(), lasting: initial.clone(), before: None, set: Touched::default(), initial }
    }

    /// The state in which the next text is read.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.current
    }

    /// Follows a change of a statement that has succeeded.
    ///
    /// Outside of a transaction what is local ends with its statement: call [`Self::commit`] behind it.
    pub fn apply(&mut self, change: &StateChange) {
        self.set.note(change);
        match change {
            StateChange::Begin => self.begin(),
            StateChange::ResetAll => self.everywhere(reset),
            StateChange::DiscardAll => self.everywhere(|state, initial| {
                state.user = initial.user.clone();
                state.temporary = initial.temporary.clone();
                reset(state, initial);
            }),
            StateChange::Parameter { local: true, .. } => self.current.apply(change),
            StateChange::RolledBackTo => self.rolled_back_to(),
            // Its owner says how it ended.
            StateChange::End => {}
            change => self.everywhere(|state, _| state.apply(change)),
        }
    }

    /// A transaction has begun. Within one it changes nothing.
    pub fn begin(&mut self) {
        if self.before.is_none() {
            self.before = Some(self.lasting.clone());
            self.set = Touched::default();
        }
    }

    /// The transaction was committed, or a statement outside of one has ended.
    pub fn commit(&mut self) {
        self.before = None;
        self.ended();
    }

    /// The transaction was rolled back.
    pub fn rollback(&mut self) {
        if let Some(before) = self.before.take() {
            self.lasting = before;
        }
        self.ended();
    }

    fn ended(&mut self) {
        self.lasting.settled = true;
        self.current = self.lasting.clone();
    }

    /// The catalogue was read again: changes of this session are in the snapshot. Not within a transaction: others see
    /// what it changed only once it is committed.
    pub fn snapshot_taken(&mut self) {
        if self.before.is_none() {
            self.everywhere(|state, _| {
                state.changed = Changed::Nothing;
                state.functions_changed = false;
            });
        }
    }

    /// Parameters are as they were at a savepoint. Which values they had there is not kept: what this transaction has set
    /// is not known any more. A change of the catalogue stays noted.
    fn rolled_back_to(&mut self) {
        let set = self.set;
        self.everywhere(|state, _| {
            if set.names {
                state.search_path = Known::Unknown(UnknownSchema::SearchPath);
            }
            state.undetermined |= set.reading;
        });
    }

    fn everywhere(&mut self, change: impl Fn(&mut State, &State)) {
        change(&mut self.current, &self.initial);
        change(&mut self.lasting, &self.initial);
    }
}

impl Touched {
    fn note(&mut self, change: &StateChange) {
        match change {
            StateChange::Parameter { name, .. } => match &**name {
                "search_path" | "role" | "session_authorization" => self.names = true,
                "standard_conforming_strings" | "client_encoding" => self.reading = true,
                _ => {}
            },
            StateChange::ResetAll => *self = Self { names: true, reading: true },
            _ => {}
        }
    }
}

/// All parameters at their defaults. RESET ALL leaves the role as it is.
fn reset(state: &mut State, initial: &State) {
    state.search_path = initial.search_path.clone();
    state.path_is_written = initial.path_is_written;
    state.standard_conforming_strings = initial.standard_conforming_strings;
    state.encoding = initial.encoding;
    state.undetermined = initial.undetermined;
}
