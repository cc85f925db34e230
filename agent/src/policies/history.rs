//! `warder policy replay`: what a set of policies would have done to recorded history, bypass traffic included.
//!
//! Reads the journal from its beginning to its end, one record at a time: who is on a session is said where the session
//! begins, and what its statements mean depends on those before. Only what happened since a moment is decided about. What
//! cannot be decided as it would have been is counted with its reason, and never taken for permitted or refused.
//!
//! Not here: rates (they count), approvals, and who a direct session would have been taken for by rules about processes.

mod past;
mod report;
mod tally;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use model::facts::{Facts, OpaqueReason, StateChange, StatementFacts};
use model::principal::PrincipalKind;
use model::time::WallTime;
use model::verdict::{Denial, Hold};
use policy::reads::Field;
use policy::{Asked, Decision, PolicySet, Question as Asks};
use search::filter::Filter;
use sql::catalogue::Catalogue;
use sql::{Analyser, Limits};
use store::form::event::Event;
use store::form::identity::SessionText;
use store::form::session::SessionForm;
use store::form::statement::StatementForm;
use store::line::Entry;
use store::reader::{ReadError, Reader};

use past::Past;
pub use past::Place;
pub use report::{json, text};
pub use tally::Tally;
use tally::{Came, Undecidable, Was};

use crate::clock;
use crate::timeline::readable;

/// Sessions that are remembered at once. Beyond, the statements of further ones are not decidable.
const SESSIONS_MAX: usize = 100_000;

/// What is to be replayed.
#[derive(Debug)]
pub struct History {
    /// Folder of the journal.
    pub journal: PathBuf,
    /// From when on: `7d`, `2026-11-22`.
    pub since: String,
    /// The sets.
    pub sets: Sets,
    /// What the configuration says of databases, by their names there.
    pub places: HashMap<String, Place>,
    /// Environment of databases of which it says nothing.
    pub environment: String,
}

/// Which policies hold where.
#[derive(Debug)]
pub enum Sets {
    /// One set for all databases.
    One(PolicySet),
    /// Those of the configuration, by the name of the database there.
    Configured(BTreeMap<String, PolicySet>),
}

impl Sets {
    fn of(&self, database: &str) -> Option<&PolicySet> {
        match self {
            Self::One(set) => Some(set),
            Self::Configured(sets) => sets.get(database),
        }
    }
}

impl History {
    /// Replays it.
    ///
    /// # Errors
    /// When the moment is none, or the journal cannot be read. A damaged line is counted.
    pub fn replay(&self) -> Result<Tally> {
        readable(&self.journal)?;
        let since = Filter::parse(format!("since:{}", self.since).as_bytes(), clock::wall())
            .with_context(|| format!("--since {}", self.since))?;
        let mut player = Player {
            history: self,
            since,
            analyser: Analyser::new(Limits::default()),
            sessions: HashMap::new(),
            tally: Tally::default(),
        };
        let mut reader = Reader::new(&self.journal);
        loop {
            match reader.next_entry() {
                Some(Ok(entry)) => player.entry(entry),
                Some(Err(ReadError::Line { .. })) => player.tally.damaged += 1,
                Some(Err(error)) => return Err(error.into()),
                None => break,
            }
        }
        let sessions = std::mem::take(&mut player.sessions);
        sessions.into_values().for_each(|mut past| player.opening(&mut past));
        Ok(player.tally)
    }
}

/// Goes through the records.
struct Player<'a> {
    history: &'a History,
    since: Filter,
    analyser: Analyser,
    sessions: HashMap<SessionText, Past>,
    tally: Tally,
}

impl Player<'_> {
    fn entry(&mut self, entry: Entry) {
        let time = entry.time.0;
        match entry.event {
            Event::SessionOpen(session) | Event::SessionChange(session) => self.learn(&session, time),
            Event::SessionClose(close) => {
                self.learn(&close.session, time);
                if let Some(mut past) = self.sessions.remove(&close.session.session) {
                    self.opening(&mut past);
                }
            }
            Event::Statement(statement) => self.statement(&statement, time, entry.seq),
            _ => {}
        }
    }

    fn learn(&mut self, form: &SessionForm<'_>, time: WallTime) {
        if let Some(past) = self.sessions.get_mut(&form.session) {
            past.learn(form);
        } else if self.sessions.len() < SESSIONS_MAX {
            let place = self.history.places.get(&*form.database_entry).cloned();
            let place = place
                .unwrap_or_else(|| Place { environment: self.history.environment.as_str().into(), ..Place::default() });
            self.sessions.insert(form.session, Past::new(form, time, place));
        }
    }

    /// Decides about the opening of a session, once, when it is known who logged in.
    fn opening(&mut self, past: &mut Past) {
        if std::mem::replace(&mut past.opening_is_decided, true) || !self.since.covers(past.opened) {
            return;
        }
        let Some(set) = self.history.sets.of(&past.database_entry) else { return };
        let asked = if past.replication { Asked::Replication } else { Asked::Connect };
        let came = if past.has_login {
            self.decide(set, past, &[asked], past.opened)
        } else {
            Came::Undecidable(Undecidable::Login)
        };
        self.tally.openings.add(&came);
    }

    fn statement(&mut self, form: &StatementForm<'_>, time: WallTime, seq: u64) {
        let Some(mut past) = self.sessions.remove(&form.session) else {
            if self.since.covers(time) {
                self.tally.add_unknown_session();
            }
            return;
        };
        self.opening(&mut past);
        let facts = self.facts(form, &past);
        if self.since.covers(time) {
            match self.history.sets.of(&past.database_entry) {
                Some(set) => {
                    past.session.in_transaction = form.transaction_before.as_deref() == Some("open");
                    let came = match &facts {
                        Ok(facts) => self.decide(set, &past, &asked(facts), time),
                        Err(reason) => Came::Undecidable(*reason),
                    };
                    self.tally.add(&past, form, Was::of(form), &came, seq);
                }
                None => self.tally.without_policies += 1,
            }
        }
        past.follow(form, facts.ok().as_deref());
        self.sessions.insert(form.session, past);
    }

    /// What a statement would do, by its text as it was recorded; as in the guard, some have no text to read.
    fn facts(&mut self, form: &StatementForm<'_>, past: &Past) -> Result<Arc<Facts>, Undecidable> {
        let opaque = |reason| Ok(Arc::new(Facts { statements: Vec::new(), opaque: Some(reason) }));
        if form.kind == "function_call" {
            return opaque(OpaqueReason::FunctionCall);
        }
        let text = past::text(form)?;
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return opaque(OpaqueReason::Encoding);
        }
        let facts = self.analyser.facts(text.as_bytes(), past.state(), &Catalogue::none());
        let executes = |statement: &StatementFacts| {
            statement.changes.iter().any(|change| matches!(change, StateChange::Executes { .. }))
        };
        if facts.statements.iter().any(executes) {
            return Err(Undecidable::PreparedBySql);
        }
        Ok(past::with_recorded_names(facts, &form.effects))
    }

    /// All of it must be allowed, as in the guard.
    fn decide(&self, set: &PolicySet, past: &Past, asked: &[Asked<'_>], now: WallTime) -> Came {
        let mut denial: Option<Denial> = None;
        let mut allowed_by = Vec::new();
        for facts in asked {
            // Who had which grant then is not replayed: what only a grant allowed counts as refused.
            let question = Asks { principal: &past.principal, facts: *facts, session: &past.session, grants: &[], now };
            let decision = set.decide(&question);
            let reads = match &decision {
                Decision::Permit(permit) => permit.reads(),
                Decision::Hold(hold) => hold.reads(),
                Decision::Refusal(refusal) => refusal.reads(),
            };
            let unrecorded = [Field::ExeHash, Field::Cgroup, Field::Unit];
            if past.session.process.is_some() && unrecorded.into_iter().any(|field| reads.contains(field)) {
                return Came::Undecidable(Undecidable::NotRecorded);
            }
            allowed_by.extend(decision.verdict().allowed_by.iter().cloned());
            let verdict = decision.verdict();
            denial = denial.or_else(|| verdict.denial.clone()).or_else(|| verdict.hold.as_ref().map(waited));
        }
        allowed_by.sort_unstable();
        allowed_by.dedup();
        denial.map_or(Came::Permitted(allowed_by), Came::Refused)
    }
}

/// A statement that waits for an approval does not run by itself: it counts as refused.
fn waited(hold: &Hold) -> Denial {
    Denial {
        rule: Arc::clone(&hold.rule),
        what: Arc::clone(&hold.what),
        reason: format!("it has to be approved first: {}", hold.reason).into(),
        remedy: Arc::clone(&hold.remedy),
        sqlstate: "42501",
    }
}

/// What is decided about a text. One without statements does nothing.
fn asked(facts: &Facts) -> Vec<Asked<'_>> {
    let opaque = facts.opaque.map(Asked::Opaque);
    opaque.into_iter().chain(facts.statements.iter().map(Asked::Statement)).collect()
}

/// A kind of actor, by its word.
fn kind(word: &str) -> Option<PrincipalKind> {
    PrincipalKind::ALL.iter().copied().find(|kind| kind.word() == word)
}
