//! Lineage of what a statement only names: a prepared statement, a cursor.

use std::collections::HashMap;
use std::sync::Arc;

use model::facts::{Facts, StatementFacts};
use model::lineage::{Lineage, Output};
use model::statement::{Outcome, Statement, Transaction};

/// Cursors that one session may have; of more of them nothing is known.
const CURSORS_MAX: usize = 256;

/// Cursors that SQL has declared, and the rows that FETCH gets from them.
///
/// They end with their transaction as far as is known here: of one WITH HOLD nothing is known afterwards.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursors(HashMap<Arc<str>, Arc<Lineage>>);

impl Cursors {
    /// Follows statements that have ended.
    pub(crate) fn settle(&mut self, statement: &Statement, facts: &Facts) {
        for (facts, outcome) in facts.statements.iter().zip(&statement.outcomes) {
            let Outcome::Completed { tag, .. } = outcome else { continue };
            // The names may stand for others from now on: portals of the protocol are found by FETCH as well.
            if ["CLOSE", "ROLLBACK", "DISCARD"].iter().any(|word| tag.starts_with(word)) {
                self.0.clear();
            }
            self.declare(facts);
        }
        if statement.transaction_after == Some(Transaction::Idle) {
            self.0.clear();
        }
    }

    /// A statement declares one, perhaps.
    pub(crate) fn declare(&mut self, facts: &StatementFacts) {
        let Some(lineage) = &facts.lineage else { return };
        let Some((name, _)) = lineage.cursor.clone() else { return };
        if self.0.len() < CURSORS_MAX {
            self.0.insert(name, Arc::clone(lineage));
        } else {
            self.0.remove(&name);
        }
    }

    /// What FETCH from a cursor gives. `None`: nobody knows.
    pub(crate) fn fetched(&self, lineage: &Lineage) -> Option<Arc<Lineage>> {
        let Output::Cursor(name) = &lineage.output else { return None };
        let declared = self.0.get(name)?;
        let (_, rows) = declared.cursor.clone()?;
        // What it computes is computed now: errors may quote all that it reads.
        Some(Arc::new(Lineage { output: Output::Rows(rows), reads: declared.reads.clone(), ..lineage.clone() }))
    }
}

/// Whether a statement gets rows of a cursor.
pub(crate) fn fetches(facts: &StatementFacts) -> bool {
    facts.lineage.as_ref().is_some_and(|lineage| matches!(lineage.output, Output::Cursor(_)))
}

/// What EXECUTE does: what was prepared. `None`: nobody knows.
pub(crate) fn executed(own: Option<&Arc<Lineage>>, prepared: Option<&Arc<Lineage>>) -> Option<Arc<Lineage>> {
    let (own, mut whole) = (own?, Lineage::clone(prepared?));
    if !matches!(own.output, Output::Prepared(_)) {
        whole.output = own.output.clone();
    }
    whole.stored.extend_from_slice(&own.stored);
    Some(Arc::new(whole))
}
