//! INSERT, UPDATE, DELETE, MERGE: where values go, and what RETURNING gives back.

use model::lineage::{Origin, StoredColumn, UnknownLineage};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{
    Alias, DeleteStmt, InsertStmt, MergeStmt, MergeWhenClause, OnConflictClause, RangeVar, ResTarget, ReturningClause,
    UpdateStmt,
};

use crate::grammar::untyped;
use crate::lineage::Trace;
use crate::lineage::row::{Field, Has, Row};
use crate::lineage::scope::{Item, Scope};

impl<'a> Trace<'a> {
    pub(super) fn insert(&mut self, insert: &'a InsertStmt) -> Row {
        let outer = self.ctes.len();
        self.with(insert.with_clause());
        let Some(relation) = insert.relation() else { return Row::empty() };
        let target = self.target(relation);
        if !matches!(insert.select_stmt(), Node::None) {
            let row = self.query(insert.select_stmt());
            self.insert_row(&target, insert.cols(), row);
        }
        if let Some(conflict) = insert.on_conflict_clause() {
            self.on_conflict(conflict, &target);
        }
        let row = self.give_back(target, insert.returning_clause());
        self.ctes.truncate(outer);
        row
    }

    /// Each value goes into the column of its place.
    fn insert_row(&mut self, target: &Scope, columns: &'a NodeList, row: Row) {
        let sinks = if columns.is_empty() { every(target) } else { self.sinks(target, columns) };
        match row {
            Row::Columns(fields) => {
                let mut sinks = sinks.into_iter();
                for field in fields {
                    let sink = sinks.next().unwrap_or_default();
                    self.put(sink, field.origin);
                }
            }
            Row::Every(origin) => {
                let parts = sinks.into_iter().filter_map(|sink| sink.part);
                self.store(None, parts.fold(origin, Origin::or));
            }
        }
    }

    fn sinks(&mut self, target: &Scope, columns: &'a NodeList) -> Vec<Sink> {
        let sink = |node| match node {
            Node::ResTarget(column) => self.sink(target, column),
            _ => Sink::default(),
        };
        columns.iter().map(sink).collect()
    }

    /// A column on the left of an assignment. Subscripts are values that stay, as keys, in what is kept.
    fn sink(&mut self, target: &Scope, assigned: &'a ResTarget) -> Sink {
        let column = assigned.name().and_then(|name| named(target, name));
        let subscripts = assigned.indirection();
        let part = (!subscripts.is_empty()).then(|| self.expressions(subscripts));
        Sink { column, part }
    }

    fn put(&mut self, sink: Sink, origin: Origin) {
        let origin = match sink.part {
            Some(part) => origin.or(part).derived(),
            None => origin,
        };
        self.store(sink.column, origin);
    }

    fn on_conflict(&mut self, conflict: &'a OnConflictClause, target: &Scope) {
        self.rechecked(target);
        let excluded = Item::qualified_only("excluded", target.star.clone());
        let scope = target.clone().and(Scope { items: vec![excluded], star: Row::empty() });
        self.within(scope, |trace| {
            trace.condition(conflict.where_clause());
            trace.set(target, untyped(conflict.target_list()));
        });
    }

    pub(super) fn update(&mut self, update: &'a UpdateStmt) -> Row {
        let outer = self.ctes.len();
        self.with(update.with_clause());
        let Some(relation) = update.relation() else { return Row::empty() };
        let target = self.target(relation);
        self.rechecked(&target);
        let scope = self.sources_beside(target.clone(), update.from_clause());
        let (_, scope) = self.within(scope, |trace| {
            trace.condition(update.where_clause());
            trace.set(&target, untyped(update.target_list()));
        });
        let row = self.give_back(scope, update.returning_clause());
        self.ctes.truncate(outer);
        row
    }

    pub(super) fn delete(&mut self, delete: &'a DeleteStmt) -> Row {
        let outer = self.ctes.len();
        self.with(delete.with_clause());
        let Some(relation) = delete.relation() else { return Row::empty() };
        let target = self.target(relation);
        let scope = self.sources_beside(target, delete.using_clause());
        let (_, scope) = self.within(scope, |trace| trace.condition(delete.where_clause()));
        let row = self.give_back(scope, delete.returning_clause());
        self.ctes.truncate(outer);
        row
    }

    pub(super) fn merge(&mut self, merge: &'a MergeStmt) -> Row {
        let outer = self.ctes.len();
        self.with(merge.with_clause());
        let Some(relation) = merge.relation() else { return Row::empty() };
        let target = self.target(relation);
        let source = self.item(merge.source_relation(), &Scope::default());
        self.rechecked(&target);
        // `RETURNING *` begins with the source.
        let scope = source.and(target.clone());
        let (_, scope) = self.within(scope, |trace| {
            trace.condition(merge.join_condition());
            for node in untyped(merge.merge_when_clauses()) {
                match node {
                    Node::MergeWhenClause(clause) => trace.merge_when(clause, &target),
                    _ => drop(trace.unknown(UnknownLineage::Construct)),
                }
            }
        });
        let row = self.give_back(scope, merge.returning_clause());
        self.ctes.truncate(outer);
        row
    }

    fn merge_when(&mut self, clause: &'a MergeWhenClause, target: &Scope) {
        self.condition(clause.condition());
        if clause.values().is_empty() {
            return self.set(target, clause.target_list());
        }
        let mut fields = Vec::new();
        for node in clause.values() {
            fields.push(Field { name: None, origin: self.expression(node) });
        }
        self.insert_row(target, clause.target_list(), Row::Columns(fields));
    }

    /// `SET column = value`
    fn set(&mut self, target: &Scope, assignments: &'a NodeList) {
        for node in assignments {
            let Node::ResTarget(assignment) = node else {
                self.unknown(UnknownLineage::Construct);
                continue;
            };
            let origin = self.expression(assignment.val());
            let sink = self.sink(target, assignment);
            self.put(sink, origin);
        }
    }

    /// Constraints and indexes look at the whole of a row that is changed, and errors of them quote it.
    fn rechecked(&mut self, target: &Scope) {
        self.lineage.reads.extend(target.star.whole().sources().cloned());
    }

    /// The table that a statement changes. A WITH query never hides it.
    fn target(&mut self, relation: &'a RangeVar) -> Scope {
        let row = self.table(relation);
        match relation.alias().and_then(Alias::aliasname) {
            Some(alias) => Scope::of(Item::new(Some(alias), row)),
            None => Scope::of(Item::of_relation(self.schema_of(relation), relation.relname(), row)),
        }
    }

    /// RETURNING; nothing without it.
    fn give_back(&mut self, mut scope: Scope, returning: Option<&'a ReturningClause>) -> Row {
        let Some(returning) = returning else { return Row::empty() };
        let whole = scope.star.clone();
        for node in untyped(returning.options()) {
            if let Node::ReturningOption(option) = node {
                scope.items.push(Item::qualified_only(option.value().unwrap_or_default(), whole.clone()));
            }
        }
        for name in ["old", "new"] {
            if scope.called(name).is_none() {
                scope.items.push(Item::qualified_only(name, whole.clone()));
            }
        }
        self.returning(scope, returning.exprs())
    }
}

/// Where one value is kept.
#[derive(Default)]
struct Sink {
    column: Option<StoredColumn>,
    /// It is a part of the column: what says which.
    part: Option<Origin>,
}

/// Where the values of a column of the target are kept.
fn named(target: &Scope, name: &str) -> Option<StoredColumn> {
    match target.star.find(name) {
        Has::Yes(origin) => kept(&origin, name),
        Has::Maybe(_) | Has::No => None,
    }
}

/// All columns of the target, in order.
fn every(target: &Scope) -> Vec<Sink> {
    let Row::Columns(fields) = &target.star else { return Vec::new() };
    let column = |field: &Field| kept(&field.origin, field.name.as_deref()?);
    fields.iter().map(|field| Sink { column: column(field), part: None }).collect()
}

/// The stored column of that name; of a view, that which it shows.
fn kept(origin: &Origin, name: &str) -> Option<StoredColumn> {
    let Origin::Direct(sources) = origin else { return None };
    let named = sources.iter().find(|column| *column.name == *name);
    named.or_else(|| sources.first()).cloned()
}
