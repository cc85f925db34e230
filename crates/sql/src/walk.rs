//! One statement's tree -> its facts.
//!
//! Queries inside queries are walked by recursion, with a depth that has a limit; expressions, joins and set operations
//! with a list of what is left, because the grammar chains them without end.

mod always;
mod call;
mod code;
mod comparison;
mod condition;
mod conflict;
mod copy;
pub(crate) mod definition;
mod expression;
mod object;
mod query;
mod range;
mod role;
mod schema;
mod scope;
mod session;
mod statement;
pub(crate) mod text;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::facts::{Action, Condition, Name, Object, OpaqueReason, StateChange, StatementFacts};
use pg_raw_parse::Node;
use pg_raw_parse::nodes::RangeVar;

use crate::catalogue::Relation;
use crate::effects::{ColumnSet, Effects};
use crate::grammar::untyped;
use crate::limits::Limits;
use crate::lineage;
use crate::name::Names;
use crate::walk::scope::Scope;

/// Where a statement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In a text that a client sends.
    Sent,
    /// In the body of a function that such a text makes: functions that it makes in turn are not looked into.
    Body,
    /// In the definition of a view: what lies behind its relations is looked at elsewhere.
    View,
}

/// Facts of one statement of a text, in the state that the statements before it leave.
pub(crate) fn statement(node: Node<'_>, names: Names<'_>, limits: &Limits, standing: Standing) -> StatementFacts {
    let mut walk = Walk {
        names,
        limits,
        standing,
        effects: Effects::default(),
        opaque: BTreeSet::new(),
        changes: Vec::new(),
        limit: None,
        ctes: Vec::new(),
        scopes: Vec::new(),
        depth: 0,
        work: 0,
        runs_once: is_plain_call(node),
    };
    let command = walk.statement(node);
    let facts = walk.finish(&command);
    // What is opaque is not followed: values may come from anywhere.
    let is_followed = limits.lineage && facts.opaque.is_empty();
    let lineage = is_followed.then(|| Arc::new(lineage::statement(node, names.state, names.catalogue, limits)));
    StatementFacts { lineage, ..facts }
}

/// Comparisons of columns with sources in one statement: some milliseconds. A query with 50 tables and 500 columns
/// needs 25,000.
const WORK_MAX: usize = 500_000;

/// Whether a statement is `SELECT f(...), ...` with constants and nothing more: then its calls run, once each.
fn is_plain_call(node: Node<'_>) -> bool {
    let Node::SelectStmt(select) = node else { return false };
    let is_call = |node| match node {
        Node::ResTarget(target) => match target.val() {
            Node::FuncCall(call) => call.args().iter().all(|argument| text::constant(argument).is_some()),
            _ => false,
        },
        _ => false,
    };
    select.from_clause().is_empty()
        && matches!(select.where_clause(), Node::None)
        && matches!(select.limit_count(), Node::None)
        && matches!(select.limit_offset(), Node::None)
        && matches!(select.having_clause(), Node::None)
        && select.with_clause().is_none()
        && !select.target_list().is_empty()
        && untyped(select.target_list()).iter().all(is_call)
}

struct Walk<'a> {
    names: Names<'a>,
    limits: &'a Limits,
    standing: Standing,
    effects: Effects,
    opaque: BTreeSet<OpaqueReason>,
    changes: Vec<StateChange>,
    limit: Option<u64>,
    /// Names of WITH queries in sight, the nearest last.
    ctes: Vec<&'a str>,
    /// What columns can belong to, the nearest last.
    scopes: Vec<Scope<'a>>,
    /// Queries inside each other.
    depth: usize,
    /// Comparisons of columns with sources so far.
    work: usize,
    /// A call in this statement runs exactly once.
    runs_once: bool,
}

impl<'a> Walk<'a> {
    fn finish(mut self, command: &str) -> StatementFacts {
        if self.effects.len() > self.limits.effects_max {
            self.effects = Effects::default();
            self.opaque.insert(OpaqueReason::TooLarge);
        }
        StatementFacts {
            command: Arc::from(command),
            effects: self.effects.into_list(),
            limit: self.limit,
            changes: self.changes,
            opaque: self.opaque.into_iter().collect(),
            lineage: None,
        }
    }

    fn opaque(&mut self, reason: OpaqueReason) {
        self.opaque.insert(reason);
    }

    fn effect(&mut self, action: Action, object: Object) {
        self.effects.add(action, object);
    }

    /// Runs `inner` one level deeper, unless that is too deep.
    fn deeper(&mut self, inner: impl FnOnce(&mut Self)) {
        if self.depth >= self.limits.nesting_max || self.effects.len() > self.limits.effects_max {
            self.opaque(OpaqueReason::TooLarge);
            return;
        }
        self.depth += 1;
        inner(self);
        self.depth -= 1;
    }

    /// Counts work that grows with the square of a text. Whether there is some left.
    fn spend(&mut self, work: usize) -> bool {
        self.work = self.work.saturating_add(work);
        if self.work > WORK_MAX {
            self.opaque(OpaqueReason::TooLarge);
        }
        self.work <= WORK_MAX
    }

    fn relation_name(&self, relation: &RangeVar) -> Name {
        self.names.relation(relation.schemaname(), relation.relname().unwrap_or_default())
    }

    /// The row of the catalogue for a name, where it is there.
    fn known_relation(&self, name: &Name) -> Option<&'a Relation> {
        self.names.catalogue.relation(name.schema.known()?, &name.name)
    }

    /// An effect on a relation that touches no rows.
    fn on_relation(&mut self, action: Action, relation: Option<&RangeVar>) {
        if let Some(relation) = relation {
            let name = self.relation_name(relation);
            self.effect(action, Object::Relation(name));
        }
    }

    /// An effect on rows of a relation, and of those that lie behind it.
    fn on_rows(&mut self, action: Action, name: &Name, columns: ColumnSet, condition: Condition) {
        self.on_rows_of(action, name, columns, condition, false);
    }
}
