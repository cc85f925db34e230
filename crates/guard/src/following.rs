//! What the session's statements have changed about the meaning of the next ones.
//!
//! A change counts when its statement has succeeded, and is undone with its transaction or savepoint. What cannot be
//! followed (code of the server's own) is asked of the server before the next statement, see `Guard`.

use std::sync::Arc;

use model::Known;
use model::facts::{Action, Facts, Object, StateChange, StatementFacts, UnknownSchema};
use model::statement::{Outcome, Statement, Transaction};
use model::time::BootTime;
use sql::changed::Changed;
use sql::state::{Encoding, State, Temporary};

/// What the server is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Question {
    /// How texts are read, and where names are looked up.
    #[default]
    Names,
    /// Which temporary objects there are.
    Temporary,
}

/// What the server answers when it is asked for names.
pub(crate) struct Answer {
    /// Parameters that decide how a text is read, with their values.
    pub(crate) reading: [(&'static str, Arc<str>); 2],
    /// Whether it may be asked for temporary objects.
    pub(crate) lists_temporary: bool,
    /// Schemas in the order in which names are looked up in them.
    pub(crate) schemas: Vec<Arc<str>>,
}

/// Changes of the catalogue after which temporary objects hold what they held: those that are left. Others make a view of a
/// table, or have it filled by code. A view is never a table that was followed, whether its own name or that of what it reads
/// says that it is temporary: what it shows changes with what it reads.
const PLAIN: [&str; 7] =
    ["CREATE TABLE", "CREATE TABLE AS", "CREATE INDEX", "DROP TABLE", "DROP VIEW", "DROP INDEX", "DROP SEQUENCE"];

/// What is not known of temporary objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    #[default]
    Nothing,
    /// Their names: some may have come or gone.
    Names,
    /// Also what is in them: code may have written there.
    Contents,
}

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
    /// Code has run in this transaction, or the catalogue was changed. So it has its snapshot, and a question in it changes
    /// nothing.
    pub(crate) has_run_code: bool,
    /// What the server has said holds until the end of the transaction.
    learnt_inside: bool,
    /// How a text is read may have changed in the open transaction: its end may change it back.
    has_set_reading: bool,
    savepoints: Vec<Savepoint>,
    /// Whether temporary objects may have been made, or written to, by what nobody has seen.
    temporary: Doubt,
    /// The server is to be asked for them; what was known before.
    listing: Option<Temporary>,
    /// The same, as it will be again behind the open transaction, in which the server has said what there is.
    outside: Doubt,
    /// What of the catalogue has changed since everything was committed last: no snapshot has it.
    open: Open,
    /// Since when everybody sees all else that this session has changed in the catalogue.
    committed_at: Option<BootTime>,
}

/// Changes of the catalogue that others may not see yet.
#[derive(Debug, Default)]
struct Open {
    changed: Changed,
    functions_changed: bool,
}

/// Savepoints of one transaction whose states are kept: those that were made last.
const SAVEPOINTS_MAX: usize = 32;

/// How long a session waits for a snapshot that has its own changes, before it is judged without: many times what the
/// reading of a catalogue takes.
pub(crate) const CATALOGUE_PATIENCE_NANOS: u64 = 3_000_000_000;

/// What held when a savepoint was made.
#[derive(Debug)]
struct Savepoint {
    name: Arc<str>,
    now: State,
    session: State,
    is_uncertain: bool,
}

impl Savepoint {
    /// Names are looked up where they were then. What else is known of the session only grows.
    fn restore(&self, now: &mut State, session: &mut State) {
        for (state, saved) in [(now, &self.now), (session, &self.session)] {
            state.search_path.clone_from(&saved.search_path);
            state.path_is_written = saved.path_is_written;
            state.user.clone_from(&saved.user);
        }
    }
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
            has_set_reading: false,
            savepoints: Vec::new(),
            temporary: Doubt::Contents,
            listing: None,
            outside: Doubt::Nothing,
            open: Open::default(),
            committed_at: None,
        }
    }

    pub(crate) const fn state(&self) -> &State {
        &self.now
    }

    fn each(&mut self, change: impl Fn(&mut State)) {
        [&mut self.now, &mut self.session, &mut self.committed].into_iter().for_each(change);
    }

    /// What the server must be asked before the next statement.
    pub(crate) const fn question(&self) -> Option<Question> {
        match (self.is_uncertain, &self.listing) {
            (true, _) => Some(Question::Names),
            (false, Some(_)) => Some(Question::Temporary),
            (false, None) => None,
        }
    }

    /// The server has said how texts are read, and which schemas are looked up in which order. What it says within a
    /// transaction may be taken back with it.
    pub(crate) fn learn(&mut self, Answer { reading, lists_temporary, schemas }: Answer, in_transaction: bool) {
        self.learn_nothing(in_transaction);
        reading.iter().for_each(|(name, value)| self.reported(name, value));
        self.reading_is_known();
        let is_temporary = |schema: &Arc<str>| schema.starts_with("pg_temp_");
        let has_temporary = schemas.iter().any(is_temporary);
        let temporary = match (self.temporary, has_temporary) {
            (Doubt::Nothing, _) => None,
            (_, false) => Some(Temporary::None),
            (doubt, true) => {
                let known = if doubt == Doubt::Names { self.now.temporary.clone() } else { Temporary::Unknown };
                self.listing = lists_temporary.then_some(known);
                Some(Temporary::Unknown)
            }
        };
        let doubt = std::mem::take(&mut self.temporary);
        if in_transaction {
            self.outside = self.outside.max(doubt);
        }
        let schemas: Arc<[Arc<str>]> = schemas.into_iter().filter(|schema| !is_temporary(schema)).collect();
        self.know(in_transaction, |state| {
            state.search_path = Known::Known(Arc::clone(&schemas));
            state.path_is_written = false;
            if let Some(temporary) = &temporary {
                state.temporary = temporary.clone();
            }
        });
    }

    /// The server has said which temporary objects there are. `None`: it has not.
    pub(crate) fn learn_temporary(&mut self, names: Option<Vec<Arc<str>>>, in_transaction: bool) {
        let known = self.listing.take().unwrap_or(Temporary::Unknown);
        let Some(names) = names else { return };
        let are_followed = known.are_followed();
        let temporary = Temporary::listed(names, |_| are_followed);
        self.know(in_transaction, |state| state.temporary = temporary.clone());
    }

    /// Something is known of the state: within a transaction only until its end.
    fn know(&mut self, in_transaction: bool, learn: impl Fn(&mut State)) {
        if in_transaction { learn(&mut self.now) } else { self.each(learn) }
    }

    /// It has not: what it was asked cannot be answered here.
    pub(crate) fn learn_nothing(&mut self, in_transaction: bool) {
        self.is_uncertain = false;
        self.listing = None;
        self.learnt_inside = in_transaction;
    }

    /// Code has run in what a ReadyForQuery with this status has ended. It may have set any parameter.
    pub(crate) fn code_has_run(&mut self, status: Transaction) {
        self.has_run_code = status != Transaction::Idle;
        // What has failed is undone already.
        self.has_set_reading = self.has_run_code && (self.has_set_reading || status == Transaction::Open);
        self.doubt_objects();
    }

    /// Code may have run in a batch that goes on.
    pub(crate) fn code_may_have_run(&mut self) {
        self.has_run_code = true;
        self.doubt_all();
    }

    /// Everything that may have changed how a text is read is answered up to its ReadyForQuery: with that the server has
    /// reported what has become of it.
    pub(crate) const fn reading_is_known(&mut self) {
        self.now.undetermined = false;
    }

    /// How a text is read may be another one, and the server says so with its next ReadyForQuery only.
    const fn doubt_reading(&mut self) {
        self.has_set_reading = true;
        self.now.undetermined = true;
    }

    /// The server reports a parameter: it is right.
    pub(crate) fn reported(&mut self, name: &str, value: &str) {
        match name {
            "standard_conforming_strings" => self.each(|state| state.standard_conforming_strings = value != "off"),
            "client_encoding" => self.each(|state| state.encoding = Encoding::named(value)),
            "server_encoding" => self.each(|state| state.server_encoding = Encoding::named(value)),
            "server_version" => {
                let major = value.split(['.', ' ']).next().and_then(|major| major.parse().ok());
                self.each(|state| state.server_major = major);
            }
            _ => {}
        }
    }

    /// Everything is answered, outside of a transaction: what the session has changed is there for everybody.
    pub(crate) fn is_committed(&mut self, at: BootTime) {
        let Open { changed, functions_changed } = std::mem::take(&mut self.open);
        let has_more = !changed.is_nothing() || functions_changed || self.committed_at.is_none();
        if has_more && (!self.now.changed.is_nothing() || self.now.functions_changed) {
            self.committed_at = Some(at);
        }
    }

    /// A snapshot is there whose reading began then. It has what was committed before; of what an open transaction has
    /// changed nobody says when it is.
    pub(crate) fn snapshot_taken(&mut self, read_at: BootTime) {
        if self.temporary == Doubt::Nothing && self.committed_at.is_some_and(|committed| committed < read_at) {
            self.committed_at = None;
            let Open { changed, functions_changed } = &self.open;
            let (changed, functions_changed) = (changed.clone(), *functions_changed);
            self.each(|state| (state.changed, state.functions_changed) = (changed.clone(), functions_changed));
        }
    }

    /// What the session has changed is there for everybody, and not in the snapshot that is known; nor has it been for so
    /// long that nobody should wait for the next one.
    pub(crate) fn is_behind(&self, at: BootTime) -> bool {
        self.committed_at.is_some_and(|committed| at.nanos_since(committed) < CATALOGUE_PATIENCE_NANOS)
    }

    /// Something happened that is not understood.
    fn doubt_all(&mut self) {
        self.doubt_objects();
        self.doubt_reading();
    }

    /// What the transaction has made may be gone, somebody else may see it, or code may have written there.
    fn forget_made(&mut self) {
        self.each(|state| state.changed.forget_made());
        self.open.changed.forget_made();
    }

    /// Names may be looked up elsewhere, and there may be other temporary objects.
    fn doubt_objects(&mut self) {
        self.forget_made();
        self.temporary = Doubt::Contents;
        self.doubt_names();
    }

    /// Names may be looked up elsewhere.
    fn doubt_names(&mut self) {
        self.is_uncertain = true;
        self.each(|state| state.search_path = Known::Unknown(UnknownSchema::SearchPath));
    }

    /// Something with these facts runs, and what becomes of it will not be said.
    pub(crate) fn lose(&mut self, facts: &Facts) {
        let changes = |statement: &StatementFacts| {
            !statement.changes.is_empty() || !statement.opaque.is_empty() || statement.runs_code()
        };
        if facts.opaque.is_some() || facts.statements.iter().any(changes) {
            self.doubt_all();
        }
        for change in facts.statements.iter().flat_map(|facts| &facts.changes).filter(|change| change.is_of_catalogue())
        {
            self.doubt_snapshot(change, Doubt::Contents);
            self.each(|state| state.apply(change));
        }
        self.forget_made();
    }

    /// What is known of the catalogue is older than a change. Types may lie with the temporary objects, and those may have
    /// other names: no snapshot has them. Schemas may have come and gone.
    fn doubt_snapshot(&mut self, change: &StateChange, temporary: Doubt) {
        self.is_uncertain = true;
        self.temporary = self.temporary.max(temporary);
        self.open.changed.note(change);
        self.open.functions_changed |= *change == StateChange::Functions;
    }

    /// A statement has ended. `changed` hears of every change that counts, and of its place in the text.
    pub(crate) fn settle(
        &mut self,
        statement: &Statement,
        facts: &Facts,
        mut changed: impl FnMut(&StateChange, usize),
    ) {
        if facts.opaque.is_some() || statement.outcomes_dropped > 0 {
            self.doubt_objects();
            // What has only failed has changed nothing that stays.
            if !matches!(statement.outcomes[..], [Outcome::Failed { .. }]) {
                self.doubt_reading();
            }
        }
        let mut failed = false;
        for (index, outcome) in statement.outcomes.iter().enumerate() {
            match outcome {
                Outcome::Completed { tag, .. } => {
                    let Some(facts) = facts.statements.get(index) else { continue };
                    self.has_run_code |= facts.runs_code();
                    if !facts.opaque.is_empty() || facts.runs_code() {
                        self.doubt_all();
                    }
                    self.follow_savepoints(facts);
                    let is_plain = PLAIN.contains(&&*facts.command);
                    for change in &facts.changes {
                        if change.is_of_catalogue() {
                            self.has_run_code = true;
                            self.doubt_snapshot(change, if is_plain { Doubt::Names } else { Doubt::Contents });
                        }
                        self.apply(change, tag == "ROLLBACK");
                        changed(change, index);
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
                // The server leaves out what the role may not use: it is asked when that can be.
                "search_path" if value.is_some() => {
                    self.is_uncertain = true;
                    self.now.apply(change);
                    if !local {
                        self.session.apply(change);
                    }
                }
                // `$user` is another one then; and of a default it is not known here what it is.
                "search_path" | "role" | "session_authorization" => self.doubt_names(),
                "standard_conforming_strings" | "client_encoding" => self.doubt_reading(),
                _ => {}
            },
            StateChange::ResetAll | StateChange::DiscardAll => self.doubt_all(),
            StateChange::Role => self.doubt_names(),
            // Where names are looked up then is kept with the savepoint.
            StateChange::RolledBackTo => {
                self.forget_made();
                // Those that were gone are there again, with what they held.
                self.temporary = Doubt::Contents;
                self.is_uncertain = true;
                self.now.undetermined |= self.has_set_reading;
            }
            _ => {
                self.now.apply(change);
                self.session.apply(change);
            }
        }
    }

    fn follow_savepoints(&mut self, facts: &StatementFacts) {
        let name = facts.effects.iter().find_map(|effect| match (&effect.action, &effect.object) {
            (Action::Transaction, Object::Session(Some(name))) => Some(name),
            _ => None,
        });
        let Some(name) = name else { return };
        let place = self.savepoints.iter().rposition(|savepoint| savepoint.name == *name);
        match &*facts.command {
            "SAVEPOINT" => {
                if self.savepoints.len() >= SAVEPOINTS_MAX {
                    self.savepoints.remove(0);
                }
                let (now, session) = (self.now.clone(), self.session.clone());
                let savepoint = Savepoint { name: Arc::clone(name), now, session, is_uncertain: self.is_uncertain };
                self.savepoints.push(savepoint);
            }
            "RELEASE" => self.savepoints.truncate(place.unwrap_or(0)),
            _ if facts.changes.contains(&StateChange::RolledBackTo) => {
                self.savepoints.truncate(place.map_or(0, |place| place.saturating_add(1)));
                match self.savepoints.last() {
                    Some(savepoint) => {
                        savepoint.restore(&mut self.now, &mut self.session);
                        self.is_uncertain = savepoint.is_uncertain;
                    }
                    None => self.doubt_names(),
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, rolled_back: bool) {
        self.savepoints.clear();
        self.forget_made();
        if rolled_back {
            self.session.clone_from(&self.committed);
        }
        // Whatever was said about the transaction is not about the session.
        self.temporary = self.temporary.max(std::mem::take(&mut self.outside));
        self.is_uncertain |= std::mem::take(&mut self.learnt_inside);
        self.has_run_code = false;
        self.session.settled = true;
        self.committed.clone_from(&self.session);
        // What was local to it is over, too.
        let undetermined = self.now.undetermined | std::mem::take(&mut self.has_set_reading);
        self.now = State { undetermined, ..self.session.clone() };
    }
}
