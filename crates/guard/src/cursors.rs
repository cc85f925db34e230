//! Cursors that SQL has declared: which rows FETCH gets from them, within which bounds, and what they read when they run.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::facts::{Action, Facts, Object, StateChange, StatementFacts};
use model::lineage::{DeclaredCursor, Lineage, Output};
use model::statement::{Outcome, Statement, Transaction};
use model::verdict::Obligations;

/// Cursors that one session may have; of more of them nothing is known.
const CURSORS_MAX: usize = 256;

#[derive(Clone, Debug)]
struct Cursor {
    /// `None`: nobody asked, or the query is not understood.
    lineage: Option<Arc<Lineage>>,
    /// Bounds under which it was declared.
    bounds: Obligations,
    /// The transaction that has declared it is open.
    is_fresh: bool,
}

impl Cursor {
    fn declared(&self) -> Option<&DeclaredCursor> {
        self.lineage.as_ref()?.cursor.as_ref()
    }

    fn outlives_commit(&self) -> bool {
        self.declared().is_some_and(|cursor| cursor.holds)
    }
}

/// All of them, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursors {
    of: HashMap<Arc<str>, Cursor>,
    /// The tightest bounds that any statement of the session had: those of a cursor that is not known.
    tightest: Obligations,
}

impl Cursors {
    /// Follows statements that have ended; `bounds` are those of their message.
    pub(crate) fn settle(&mut self, statement: &Statement, facts: &Facts, bounds: Obligations) {
        let mut failed = false;
        for (facts, outcome) in facts.statements.iter().zip(&statement.outcomes) {
            match outcome {
                Outcome::Completed { tag, .. } if tag == "ROLLBACK" => self.end(true),
                Outcome::Completed { .. } => self.follow(facts, bounds),
                Outcome::Failed { .. } => failed = true,
                _ => {}
            }
        }
        if statement.transaction_after == Some(Transaction::Idle) {
            self.end(failed);
        }
    }

    /// Follows a statement that has succeeded.
    pub(crate) fn follow(&mut self, facts: &StatementFacts, bounds: Obligations) {
        if let Some(name) = Self::declared_by(facts) {
            let lineage = facts.lineage.clone();
            self.of.remove(name);
            if self.of.len() < CURSORS_MAX {
                self.of.insert(Arc::clone(name), Cursor { lineage, bounds, is_fresh: true });
            }
            return;
        }
        match (&*facts.command, name(facts)) {
            ("CLOSE CURSOR", Some(name)) => self.forget(name),
            ("CLOSE CURSOR ALL" | "DISCARD ALL", _) => self.of.clear(),
            // Those that were declared behind a savepoint are gone with it.
            ("ROLLBACK", _) => self.end(true),
            _ if facts.changes.contains(&StateChange::End) => self.end(false),
            _ => {}
        }
    }

    /// A transaction ends.
    fn end(&mut self, rolled_back: bool) {
        self.of.retain(|_, cursor| !cursor.is_fresh || (!rolled_back && cursor.outlives_commit()));
        self.of.values_mut().for_each(|cursor| cursor.is_fresh = false);
    }

    /// The name may stand for another one.
    pub(crate) fn forget(&mut self, name: &str) {
        self.of.remove(name);
    }

    /// Any name may stand for another one.
    pub(crate) fn forget_all(&mut self) {
        self.of.clear();
    }

    /// A statement with these bounds was decided about.
    pub(crate) fn note(&mut self, bounds: Obligations) {
        self.tightest = self.tightest.tighter(bounds);
    }

    /// The bounds of the cursors that run with these statements. Those that their own text declares have the bounds of that.
    pub(crate) fn bounds(&self, facts: &Facts) -> Obligations {
        let mut bounds = Obligations::default();
        let mut declared = BTreeSet::new();
        for statement in &facts.statements {
            match (&*statement.command, name(statement)) {
                ("DECLARE CURSOR", Some(name)) => _ = declared.insert(name),
                ("FETCH" | "MOVE", Some(name)) if !declared.contains(name) => {
                    bounds = bounds.tighter(self.of.get(name).map_or(self.tightest, |cursor| cursor.bounds));
                }
                _ if commits(statement) => {
                    let fresh = self.of.values().filter(|cursor| cursor.is_fresh);
                    let runtime_max = fresh.filter_map(|cursor| cursor.bounds.runtime_max).min();
                    bounds = bounds.tighter(Obligations { runtime_max, ..Obligations::default() });
                }
                _ => {}
            }
        }
        bounds
    }

    /// Cursors whose rows these statements get, or skip.
    pub(crate) fn fetched_by(facts: &Facts) -> impl Iterator<Item = &Arc<str>> {
        facts.statements.iter().filter(|facts| matches!(&*facts.command, "FETCH" | "MOVE")).filter_map(name)
    }

    /// The cursor that a statement declares.
    pub(crate) fn declared_by(facts: &StatementFacts) -> Option<&Arc<str>> {
        name(facts).filter(|_| &*facts.command == "DECLARE CURSOR")
    }

    /// Whether there is one of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.of.contains_key(name)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// The bounds of a portal that no message has bound.
    pub(crate) const fn bounds_of_unknown(&self) -> Obligations {
        self.tightest
    }

    /// Whether a statement runs cursors.
    pub(crate) fn run_with(facts: &StatementFacts) -> bool {
        fetched(facts).is_some() || commits(facts)
    }

    /// Adds to a statement's lineage what the cursors that it runs give and read. `None`: nobody knows.
    pub(crate) fn complete(&self, facts: &mut StatementFacts) {
        let Some(lineage) = &facts.lineage else { return };
        if let Some(name) = fetched(facts) {
            facts.lineage = self.fetched(name, lineage, &facts.command);
        } else if commits(facts) {
            let mut whole = Lineage::clone(lineage);
            // It runs cursors WITH HOLD to their end.
            for held in self.of.values().filter(|cursor| cursor.is_fresh && cursor.outlives_commit()) {
                let Some(declared) = &held.lineage else { continue };
                whole.reads.extend(declared.reads.iter().cloned());
                whole.reads_unknown = whole.reads_unknown.or(declared.reads_unknown);
            }
            facts.lineage = Some(Arc::new(whole));
        }
    }

    fn fetched(&self, name: &str, lineage: &Lineage, command: &str) -> Option<Arc<Lineage>> {
        let declared = self.of.get(name)?.lineage.as_ref()?;
        let rows = declared.cursor.as_ref()?.rows.clone();
        let output = if command == "MOVE" { Output::Nothing } else { Output::Rows(rows) };
        // What it computes is computed now: errors may quote all that it reads.
        let (reads, reads_unknown) = (declared.reads.clone(), declared.reads_unknown);
        Some(Arc::new(Lineage { output, reads, reads_unknown, ..lineage.clone() }))
    }
}

/// The cursor that a statement is about.
fn name(facts: &StatementFacts) -> Option<&Arc<str>> {
    facts.effects.iter().find_map(|effect| match (&effect.action, &effect.object) {
        (Action::Cursor, Object::Session(name)) => name.as_ref(),
        _ => None,
    })
}

/// The cursor whose rows a statement gets or skips, where lineage is known.
fn fetched(facts: &StatementFacts) -> Option<&Arc<str>> {
    match &facts.lineage.as_ref()?.output {
        Output::Cursor(name) => Some(name),
        _ => None,
    }
}

fn commits(facts: &StatementFacts) -> bool {
    facts.command.starts_with("COMMIT") && facts.changes.contains(&StateChange::End)
}
