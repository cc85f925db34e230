//! SELECT, INSERT, UPDATE, DELETE, MERGE.

use model::facts::{Action, Condition, Object, OpaqueReason};
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{
    CmdType, CommonTableExpr, DeleteStmt, InsertStmt, LockingClause, MergeStmt, MergeWhenClause, RangeVar,
    ReturningClause, SelectStmt, SetOperation, UpdateStmt, WithClause,
};
use pg_raw_parse::{ConstValue, Node};

use crate::called;
use crate::effects::ColumnSet;
use crate::grammar::untyped;
use crate::name::PG_CATALOG;
use crate::walk::Walk;
use crate::walk::range::{From, alias};
use crate::walk::scope::{Scope, Source};
use crate::walk::text;

impl<'a> Walk<'a> {
    /// A statement that may stand in WITH, COPY, EXPLAIN, PREPARE, DECLARE: one of this file.
    pub(super) fn query(&mut self, node: Node<'a>) {
        self.deeper(|walk| match node {
            Node::SelectStmt(select) => walk.select(select),
            Node::InsertStmt(insert) => walk.insert(insert),
            Node::UpdateStmt(update) => walk.update(update),
            Node::DeleteStmt(delete) => walk.delete(delete),
            Node::MergeStmt(merge) => walk.merge(merge),
            _ => walk.opaque(OpaqueReason::Construct),
        });
    }

    pub(super) fn select(&mut self, select: &'a SelectStmt) {
        let outer = self.ctes.len();
        self.with(select.with_clause());
        if select.op == SetOperation::SETOP_NONE {
            self.simple_select(select);
        } else {
            self.set_operation(select);
        }
        self.ctes.truncate(outer);
    }

    /// UNION and the like: a chain of any length, so without recursion. What stands in parentheses recurses.
    fn set_operation(&mut self, select: &'a SelectStmt) {
        let mut left = vec![select];
        while let Some(select) = left.pop() {
            self.behind_set_operation(select);
            for arm in [select.rarg(), select.larg()].into_iter().flatten() {
                if arm.with_clause().is_some() {
                    self.query(Node::SelectStmt(arm));
                } else if arm.op == SetOperation::SETOP_NONE {
                    self.simple_select(arm);
                } else {
                    left.push(arm);
                }
            }
        }
    }

    /// ORDER BY and LIMIT of a set operation: they see output columns only.
    fn behind_set_operation(&mut self, select: &'a SelectStmt) {
        self.make_selected(select);
        self.in_scope(Scope::default(), |walk| {
            walk.expressions(untyped(select.sort_clause()));
            walk.expression(select.limit_count());
            walk.expression(select.limit_offset());
        });
    }

    fn simple_select(&mut self, select: &'a SelectStmt) {
        self.make_selected(select);
        let mut from = self.from(select.from_clause());
        from.scope.outputs = outputs(select);
        self.in_from(from, select.where_clause(), |walk| {
            walk.expressions(select.distinct_clause());
            walk.expressions(untyped(select.target_list()));
            walk.expressions(select.values_lists());
            walk.expressions(select.group_clause());
            walk.expression(select.having_clause());
            walk.expressions(select.window_clause());
            walk.sort(untyped(select.sort_clause()));
            walk.expression(select.limit_count());
            walk.expression(select.limit_offset());
            walk.locks(untyped(select.locking_clause()), select.from_clause());
        });
    }

    /// SELECT INTO makes a table.
    fn make_selected(&mut self, select: &'a SelectStmt) {
        if let Some(into) = select.into_clause() {
            self.make_from_query(into);
        }
    }

    /// ORDER BY: a bare name means an output column first.
    fn sort(&mut self, sorts: &'a NodeList) {
        for node in sorts {
            let Node::SortBy(sort) = node else {
                self.opaque(OpaqueReason::Construct);
                continue;
            };
            if !self.is_output(sort.node()) {
                self.expression(sort.node());
            }
            self.calls(called::operator(self.names, sort.use_op()));
        }
    }

    fn is_output(&self, node: Node<'a>) -> bool {
        let Node::ColumnRef(column) = node else { return false };
        let [name] = text::strings(column.fields())[..] else { return false };
        self.scopes.last().is_some_and(|scope| scope.outputs.contains(&name))
    }

    /// FOR UPDATE and the like.
    fn locks(&mut self, clauses: &'a NodeList, from: &'a NodeList) {
        for node in clauses {
            match node {
                Node::LockingClause(clause) => self.lock(clause, from),
                _ => self.opaque(OpaqueReason::Construct),
            }
        }
    }

    fn lock(&mut self, clause: &'a LockingClause, from: &'a NodeList) {
        let wanted: Vec<&str> = clause
            .locked_rels()
            .iter()
            .filter_map(|node| match node {
                Node::RangeVar(relation) => relation.relname(),
                _ => None,
            })
            .collect();
        self.lock_items(from, &wanted);
    }

    /// Locks relations of a FROM, and those behind its subqueries: the server hands FOR UPDATE on. `wanted`: what they are
    /// called; empty: all.
    fn lock_items(&mut self, from: &'a NodeList, wanted: &[&str]) {
        let is_wanted =
            |called: Option<&str>| wanted.is_empty() || called.is_some_and(|called| wanted.contains(&called));
        let mut left: Vec<Node<'a>> = from.iter().collect();
        while let Some(item) = left.pop() {
            match item {
                Node::JoinExpr(join) => left.extend([join.larg(), join.rarg()]),
                Node::RangeTableSample(sample) => left.push(sample.relation()),
                Node::RangeVar(relation) if is_wanted(alias(relation.alias()).or(relation.relname())) => {
                    self.lock_relation(relation);
                }
                Node::RangeSubselect(query) if is_wanted(alias(query.alias())) => self.lock_query(query.subquery()),
                _ => {}
            }
        }
    }

    fn lock_relation(&mut self, relation: &'a RangeVar) {
        if !self.is_with_query(relation) {
            let name = self.relation_name(relation);
            self.on_rows_of(Action::Lock, &name, ColumnSet::default(), Condition::NotApplicable, !relation.inh);
        }
    }

    fn lock_query(&mut self, query: Node<'a>) {
        let Node::SelectStmt(select) = query else { return };
        self.deeper(|walk| walk.lock_items(select.from_clause(), &[]));
    }

    pub(super) fn insert(&mut self, insert: &'a InsertStmt) {
        let outer = self.ctes.len();
        self.with(insert.with_clause());
        if !matches!(insert.select_stmt(), Node::None) {
            self.query(insert.select_stmt());
        }
        if let Some(relation) = insert.relation() {
            let name = self.relation_name(relation);
            let columns = if insert.cols().is_empty() { ColumnSet::all() } else { self.targets(insert.cols()) };
            self.on_rows(Action::Insert, &name, columns, Condition::NotApplicable);
            let from = self.target(relation);
            self.in_target(from, |walk| {
                walk.target_subscripts(insert.cols());
                if let Some(conflict) = insert.on_conflict_clause() {
                    walk.on_conflict(conflict, relation, insert.select_stmt());
                }
                walk.returning(insert.returning_clause());
            });
        }
        self.ctes.truncate(outer);
    }

    pub(super) fn update(&mut self, update: &'a UpdateStmt) {
        let outer = self.ctes.len();
        self.with(update.with_clause());
        if let Some(relation) = update.relation() {
            // A rule of the server makes a SET of it.
            if relation.relname() == Some("pg_settings") && matches!(relation.schemaname(), None | Some(PG_CATALOG)) {
                self.opaque(OpaqueReason::Code);
            }
            let from = self.target_and(relation, update.from_clause());
            let targets = untyped(update.target_list());
            let columns = self.targets(targets);
            self.in_rows(Action::Update, from, update.where_clause(), columns, |walk| {
                walk.expressions(targets);
                walk.returning(update.returning_clause());
            });
        }
        self.ctes.truncate(outer);
    }

    pub(super) fn delete(&mut self, delete: &'a DeleteStmt) {
        let outer = self.ctes.len();
        self.with(delete.with_clause());
        if let Some(relation) = delete.relation() {
            let from = self.target_and(relation, delete.using_clause());
            self.in_rows(Action::Delete, from, delete.where_clause(), ColumnSet::default(), |walk| {
                walk.returning(delete.returning_clause());
            });
        }
        self.ctes.truncate(outer);
    }

    pub(super) fn merge(&mut self, merge: &'a MergeStmt) {
        let outer = self.ctes.len();
        self.with(merge.with_clause());
        if let Some(relation) = merge.relation() {
            let mut from = self.target(relation);
            self.add_item(merge.source_relation(), &mut from);
            let name = self.relation_name(relation);
            self.effect(Action::Merge, Object::Relation(name));
            self.in_from(from, merge.join_condition(), |walk| {
                for node in untyped(merge.merge_when_clauses()) {
                    match node {
                        Node::MergeWhenClause(clause) => walk.merge_when(clause, relation),
                        _ => walk.opaque(OpaqueReason::Construct),
                    }
                }
                walk.returning(merge.returning_clause());
            });
        }
        self.ctes.truncate(outer);
    }

    fn merge_when(&mut self, clause: &'a MergeWhenClause, relation: &'a RangeVar) {
        self.expression(clause.condition());
        self.expressions(clause.target_list());
        self.expressions(clause.values());
        let name = self.relation_name(relation);
        let columns = self.targets(clause.target_list());
        match clause.command_type {
            CmdType::CMD_INSERT => {
                let columns = if clause.target_list().is_empty() { ColumnSet::all() } else { columns };
                self.on_rows(Action::Insert, &name, columns, Condition::NotApplicable);
            }
            // Which rows the join condition leaves is not judged: it may match all.
            CmdType::CMD_UPDATE => self.on_rows(Action::Update, &name, columns, Condition::Everything),
            CmdType::CMD_DELETE => self.on_rows(Action::Delete, &name, ColumnSet::default(), Condition::Everything),
            CmdType::CMD_NOTHING => {}
            _ => self.opaque(OpaqueReason::Construct),
        }
    }

    fn returning(&mut self, clause: Option<&'a ReturningClause>) {
        if let Some(clause) = clause {
            self.expressions(clause.exprs());
        }
    }

    /// Columns that an INSERT or SET names.
    pub(super) fn targets(&mut self, targets: &'a NodeList) -> ColumnSet {
        let mut columns = ColumnSet::default();
        for node in targets {
            match node {
                Node::ResTarget(target) => columns.add(target.name().unwrap_or_default()),
                _ => self.opaque(OpaqueReason::Construct),
            }
        }
        columns
    }

    /// Expressions in the subscripts of columns that an INSERT names.
    fn target_subscripts(&mut self, targets: &'a NodeList) {
        for node in targets {
            if let Node::ResTarget(target) = node {
                self.expressions(target.indirection());
            }
        }
    }

    /// WITH: its queries are walked where they stand, used or not.
    fn with(&mut self, with: Option<&'a WithClause>) {
        let Some(with) = with else { return };
        let queries: Vec<&'a CommonTableExpr> = untyped(with.ctes())
            .iter()
            .filter_map(|node| match node {
                Node::CommonTableExpr(query) => Some(query),
                _ => None,
            })
            .collect();
        if with.recursive {
            self.ctes.extend(queries.iter().filter_map(|query| query.ctename()));
        }
        for query in queries {
            self.query(query.ctequery());
            if let Some(cycle) = query.cycle_clause() {
                self.expression(cycle.cycle_mark_value());
                self.expression(cycle.cycle_mark_default());
            }
            // Without RECURSIVE a query sees those before it, and never itself: its own name is a relation's inside.
            if !with.recursive {
                self.ctes.extend(query.ctename());
            }
        }
    }

    /// The row limit of the outermost query, where it is a constant.
    pub(super) fn note_limit(&mut self, select: &SelectStmt) {
        let Node::A_Const(constant) = select.limit_count() else { return };
        self.limit = match constant.val() {
            Some(ConstValue::Integer(limit)) => u64::try_from(limit).ok(),
            Some(ConstValue::Float(limit)) => limit.parse().ok(),
            _ => None,
        };
    }

    /// Runs `inner` with a scope, and gives back what became of that.
    pub(super) fn in_scope(&mut self, scope: Scope<'a>, inner: impl FnOnce(&mut Self)) -> Scope<'a> {
        self.scopes.push(scope);
        inner(self);
        self.scopes.pop().unwrap_or_default()
    }

    /// Reads a FROM: its restrictions, whatever else `inner` reads of it, and then the effects.
    fn in_from(&mut self, from: From<'a>, condition: Node<'a>, inner: impl FnOnce(&mut Self)) {
        let scope = self.restricted(from, condition, inner);
        self.reads(scope);
    }

    /// As [`Self::in_from`], and changes rows of its first relation.
    fn in_rows(
        &mut self,
        action: Action,
        from: From<'a>,
        condition: Node<'a>,
        columns: ColumnSet,
        inner: impl FnOnce(&mut Self),
    ) {
        let scope = self.restricted(from, condition, inner);
        if let Some(target) = scope.entries.first()
            && let Some(name) = &target.relation
        {
            self.on_rows_of(action, name, columns, target.condition(), target.only);
        }
        self.reads(scope);
    }

    /// Reads what `inner` reads of the target of an INSERT: no more rows than are inserted, or stand in their way.
    fn in_target(&mut self, mut from: From<'a>, inner: impl FnOnce(&mut Self)) {
        from.scope.entries.push(Source::derived(Some("excluded")));
        let mut scope = self.in_scope(from.scope, inner);
        scope.entries.iter_mut().for_each(|source| source.restricted = true);
        self.reads(scope);
    }

    /// One effect for each relation of a scope; a target of which nothing is read has none.
    fn reads(&mut self, scope: Scope<'a>) {
        for source in scope.entries {
            let condition = source.condition();
            if let Some(name) = &source.relation
                && !(source.is_target && source.columns.is_empty())
            {
                self.on_rows_of(Action::Select, name, source.columns, condition, source.only);
            }
        }
    }
}

fn outputs(select: &SelectStmt) -> Vec<&str> {
    let name = |node| match node {
        Node::ResTarget(target) => target.name(),
        _ => None,
    };
    untyped(select.target_list()).iter().filter_map(name).collect()
}
