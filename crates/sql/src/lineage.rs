//! One statement's tree -> where the values of its result come from, and where else they go.
//!
//! A second walk beside the one for facts, because it asks something else: not *which columns may this name*, but *which
//! column is this value*. Positions count: `*`, USING and set operations are followed column by column, views by what
//! they are defined as. What is not followed is unknown, and unknown may be anything.
//!
//! Not here: which columns are protected, and what becomes of them.

mod computing;
mod condition;
mod copy;
mod definition;
mod expression;
mod figure;
mod from;
mod function;

mod moved;
mod query;
mod relation;
mod row;
mod scalar;
mod scope;
mod statement;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::lineage::{Lineage, Origin, Sources, UnknownLineage};
use pg_raw_parse::Node;

use crate::catalogue::{Catalogue, Relation};
use crate::limits::Limits;
pub(crate) use crate::lineage::relation::Made;
use crate::lineage::row::Row;
use crate::lineage::scope::Scope;
use crate::name::Names;
use crate::state::State;

/// Columns that are looked at while one statement is followed: some milliseconds.
const WORK_MAX: usize = 400_000;

/// Lineage of one statement, in the state that the statements before it leave.
pub(crate) fn statement(node: Node<'_>, state: &State, catalogue: &Catalogue, limits: &Limits) -> Lineage {
    let mut trace = Trace::new(Names { state, catalogue }, limits.nesting_max);
    trace.bodies = computing::BODIES_MAX;
    trace.statement(node);
    // Names in a body are looked up when it runs.
    if trace.bodies < computing::BODIES_MAX && trace.sets_parameters {
        trace.unknown(UnknownLineage::Code);
    }
    trace.lineage
}

/// Where a column of a relation gets its values from: for one that the server names by number.
pub(crate) fn column(catalogue: &Catalogue, relation: &Relation, column: usize) -> Origin {
    let state = relation::nobody();
    let mut trace = Trace::new(Names { state: &state, catalogue }, relation::DEPTH_MAX);
    match trace.row_of(relation) {
        Row::Columns(fields) => {
            let field = fields.into_iter().nth(column);
            field.map_or(Origin::Unknown(UnknownLineage::Column), |field| field.origin)
        }
        Row::Every(origin) => origin,
    }
}

/// A walk through one statement, or through the definition of one view.
struct Trace<'a> {
    names: Names<'a>,
    depth: usize,
    depth_max: usize,
    work: usize,
    /// WITH queries in sight, the nearest last.
    ctes: Vec<(Arc<str>, Row)>,
    /// What columns can belong to, the nearest last.
    scopes: Vec<Scope>,
    /// What the WINDOW clause of each scope is made of.
    windows: Vec<Origin>,
    /// Calls so far after which something is different that others can see.
    effects: usize,
    /// Bodies of functions that may still be read; none where nobody knows in which schemas their names are looked up.
    bodies: usize,
    /// Something in it sets parameters.
    sets_parameters: bool,
    /// Queries so far, those inside of others included.
    queries: usize,
    /// Columns whose values stand in one column of a set operation.
    mixed: BTreeSet<(Sources, Sources)>,
    lineage: Lineage,
}

impl<'a> Trace<'a> {
    fn new(names: Names<'a>, depth_max: usize) -> Self {
        Self {
            names,
            depth: 0,
            depth_max,
            work: 0,
            ctes: Vec::new(),
            scopes: Vec::new(),
            windows: Vec::new(),
            effects: 0,
            bodies: 0,
            sets_parameters: false,
            queries: 0,
            mixed: BTreeSet::new(),
            lineage: Lineage::default(),
        }
    }

    /// Something that is not followed may be anything.
    fn unknown(&mut self, reason: UnknownLineage) -> Origin {
        self.lineage.unknown.get_or_insert(reason);
        Origin::Unknown(reason)
    }

    /// Runs `inner` one level deeper, unless that is too deep.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.depth >= self.depth_max {
            self.unknown(UnknownLineage::TooLarge);
            return None;
        }
        self.depth += 1;
        let outcome = inner(self);
        self.depth -= 1;
        Some(outcome)
    }

    /// Counts work. Whether there is some left.
    fn spend(&mut self, work: usize) -> bool {
        self.work = self.work.saturating_add(work);
        if self.work > WORK_MAX {
            self.unknown(UnknownLineage::TooLarge);
        }
        self.work <= WORK_MAX
    }

    /// Walks something that sees the columns of a scope, and gives the scope back.
    fn within<T>(&mut self, scope: Scope, inner: impl FnOnce(&mut Self) -> T) -> (T, Scope) {
        self.scopes.push(scope);
        let outcome = inner(self);
        (outcome, self.scopes.pop().unwrap_or_default())
    }

    /// These values decide which rows there are, or how many.
    fn note_compared(&mut self, origin: &Origin) {
        self.lineage.compared.extend(origin.sources().cloned());
    }
}
