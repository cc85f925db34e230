//! FROM: relations, joins, subqueries, functions.

use model::facts::{Action, Condition, Name, Object, OpaqueReason};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{Alias, JoinExpr, RangeTableSample, RangeVar};

use crate::called;
use crate::catalogue::rows::{Events, RelationKind};
use crate::catalogue::{Conversion, Relation};
use crate::effects::ColumnSet;
use crate::grammar::untyped;
use crate::walk::condition::Reach;
use crate::walk::scope::{Scope, Source, Sources};
use crate::walk::text;
use crate::walk::{Standing, Walk};

/// Methods of TABLESAMPLE that the server brings along.
const SAMPLING: &[&str] = &["system", "bernoulli"];

/// What following one relation behind another costs, in comparisons.
const EFFORT_BEHIND: usize = 16;

/// A FROM while it is read.
#[derive(Default)]
pub(super) struct From<'a> {
    pub(super) scope: Scope<'a>,
    /// Expressions that see the sources: join conditions, arguments of functions.
    expressions: Vec<Node<'a>>,
    /// Conditions that relate sources to each other.
    links: Vec<Node<'a>>,
    /// Columns that USING names: each of both sides.
    shared: Vec<&'a str>,
    /// USING and NATURAL relate everything on the one side to everything on the other.
    joined: bool,
    natural: bool,
    /// A join has other names for its columns: which is which is not followed.
    renamed: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn from(&mut self, items: &'a NodeList) -> From<'a> {
        let mut from = From::default();
        items.iter().for_each(|item| self.add_item(item, &mut from));
        from
    }

    /// A FROM with the table that a statement changes as its first source.
    pub(super) fn target_and(&mut self, relation: &'a RangeVar, items: &'a NodeList) -> From<'a> {
        let mut from = self.target(relation);
        items.iter().for_each(|item| self.add_item(item, &mut from));
        from
    }

    /// The table that a statement changes. A WITH query never hides it.
    pub(super) fn target(&mut self, relation: &'a RangeVar) -> From<'a> {
        let mut from = From::default();
        let name = self.relation_name(relation);
        from.scope.entries.push(Source { is_target: true, ..self.source(relation, name) });
        from
    }

    fn source(&self, relation: &'a RangeVar, name: Name) -> Source<'a> {
        let known = self.known_relation(&name);
        Source {
            called: alias(relation.alias()).or(relation.relname()),
            required: known.map(|known| known.required.as_slice()).unwrap_or_default(),
            known_columns: known.map(|known| known.columns.as_slice()).filter(|columns| !columns.is_empty()),
            relation: Some(name),
            columns: ColumnSet::default(),
            restricted: false,
            only: !relation.inh,
            is_target: false,
        }
    }

    /// One item with everything in it: joins are chained without end, so without recursion.
    pub(super) fn add_item(&mut self, item: Node<'a>, from: &mut From<'a>) {
        let mut left = vec![item];
        while let Some(item) = left.pop() {
            match item {
                Node::RangeVar(relation) => self.add_relation(relation, from),
                Node::JoinExpr(join) => {
                    note_join(join, from);
                    left.extend([join.rarg(), join.larg()]);
                }
                Node::RangeSubselect(subselect) => {
                    self.add_subquery(subselect.subquery(), subselect.lateral, from);
                    from.scope.entries.push(Source::derived(alias(subselect.alias())));
                }
                Node::RangeFunction(function) => {
                    // Each function is a list: the call, and the columns that it is said to have.
                    let calls = function.functions().iter().filter_map(|node| node.as_node_list()?.first());
                    from.expressions.extend(calls);
                    self.calls(called::of_declared(self.names, function));
                    from.scope.entries.push(Source::derived(alias(function.alias())));
                }
                Node::RangeTableFunc(table) => {
                    from.expressions.extend([table.docexpr(), table.rowexpr()]);
                    from.expressions
                        .extend([Node::NodeList(table.namespaces()), Node::NodeList(untyped(table.columns()))]);
                    from.scope.entries.push(Source::derived(alias(table.alias())));
                }
                Node::JsonTable(table) => {
                    from.expressions.push(item);
                    from.scope.entries.push(Source::derived(alias(table.alias())));
                }
                Node::RangeTableSample(sample) => {
                    self.sample(sample, from);
                    left.push(sample.relation());
                }
                _ => self.opaque(OpaqueReason::Construct),
            }
        }
    }

    fn add_relation(&mut self, relation: &'a RangeVar, from: &mut From<'a>) {
        let called = alias(relation.alias()).or(relation.relname());
        if self.is_with_query(relation) {
            from.scope.entries.push(Source::derived(called));
            return;
        }
        let name = self.relation_name(relation);
        let mut source = self.source(relation, name);
        // Columns that are renamed here: which is which is not followed.
        if relation.alias().is_some_and(|alias| !alias.colnames().is_empty()) {
            source.columns.add_every();
            (source.known_columns, source.required) = (None, &[]);
        }
        from.scope.entries.push(source);
    }

    pub(super) fn is_with_query(&self, relation: &RangeVar) -> bool {
        relation.schemaname().is_none() && relation.relname().is_some_and(|name| self.ctes.contains(&name))
    }

    /// A subquery. With LATERAL it sees the sources before it.
    fn add_subquery(&mut self, query: Node<'a>, lateral: bool, from: &mut From<'a>) {
        if lateral {
            let scope = std::mem::take(&mut from.scope);
            from.scope = self.in_scope(scope, |walk| walk.query(query));
        } else {
            self.query(query);
        }
    }

    fn sample(&mut self, sample: &'a RangeTableSample, from: &mut From<'a>) {
        let method = text::strings(sample.method());
        if !matches!(method[..], ["pg_catalog", name] | [name] if SAMPLING.contains(&name)) {
            let (schema, name) = text::qualified(&method);
            let name = self.names.function(schema, name);
            self.effect(Action::Call, Object::Function(name));
        }
        from.expressions.extend([Node::NodeList(sample.args()), sample.repeatable()]);
    }

    /// Walks the conditions of a FROM and `inner`, and says which of the sources are restricted.
    pub(super) fn restricted(
        &mut self,
        from: From<'a>,
        condition: Node<'a>,
        inner: impl FnOnce(&mut Self),
    ) -> Scope<'a> {
        let From { mut scope, expressions, links, shared, joined, natural, renamed } = from;
        if renamed {
            scope.note_every();
        }
        if self.spend(shared.len().saturating_mul(scope.entries.len())) {
            scope.note_shared(&shared, natural);
        }
        if joined {
            self.calls(called::implied(self.names, "="));
        }
        let mut reach = Reach::Every;
        let mut related = Vec::new();
        let mut scope = self.in_scope(scope, |walk| {
            expressions.into_iter().for_each(|expression| walk.expression(expression));
            walk.expression(condition);
            inner(walk);
            reach = walk.reach(condition);
            related.extend(links.into_iter().chain([condition]).flat_map(|link| walk.relations_between(link)));
        });
        let restricted = match reach {
            Reach::Every => Sources::NONE,
            Reach::Nothing => Sources(u64::MAX),
            Reach::Rows(sources) if joined && sources != Sources::NONE => Sources(u64::MAX),
            Reach::Rows(sources) => closure(sources, &related),
        };
        for (index, source) in scope.entries.iter_mut().enumerate() {
            source.restricted = restricted.has(index);
        }
        scope
    }

    pub(super) fn on_rows_of(
        &mut self,
        action: Action,
        name: &Name,
        columns: ColumnSet,
        condition: Condition,
        only: bool,
    ) {
        if self.standing != Standing::View
            && let Some(relation) = self.known_relation(name)
        {
            self.behind(action, relation, &columns, condition, only);
        }
        self.effects.add_on(action, Object::Relation(name.clone()), columns, condition);
    }

    /// Effects on what lies behind a relation: what a view reads, tables above and below, triggers, rules.
    fn behind(&mut self, action: Action, first: &'a Relation, columns: &ColumnSet, condition: Condition, only: bool) {
        let mut seen: Vec<*const Relation> = Vec::new();
        let mut left = vec![(first, columns.clone())];
        while let Some((relation, columns)) = left.pop() {
            if relation.name != first.name || relation.schema != first.schema {
                self.effects.add_on(action, object(relation), columns.clone(), condition);
            }
            if seen.contains(&std::ptr::from_ref(relation)) {
                continue;
            }
            if self.effects.len() > self.limits.effects_max || !self.spend(EFFORT_BEHIND) {
                return;
            }
            seen.push(relation);
            self.code_behind(action, relation);
            self.conversions(relation, &columns);
            self.above(action, relation, &columns, condition);
            if !only {
                let below = self.names.catalogue.children(relation);
                left.extend(below.map(|child| (child, columns.clone())));
            }
            if relation.kind == RelationKind::View {
                left.extend(self.view(action, relation));
            }
        }
    }

    /// Tables that the rows belong to as well.
    fn above(&mut self, action: Action, relation: &'a Relation, columns: &ColumnSet, condition: Condition) {
        let mut left = vec![relation];
        // As deep as partitions of partitions are; a loop is not possible in the catalogue, but rows may say anything.
        for _ in 0..self.limits.nesting_max {
            let Some(below) = left.pop() else { return };
            for parent in self.names.catalogue.parents(below) {
                self.effects.add_on(action, object(parent), columns.clone(), condition);
                left.push(parent);
            }
        }
    }

    /// What values may go through where they are compared, computed with or written: casts that need no word.
    fn conversions(&mut self, relation: &'a Relation, columns: &ColumnSet) {
        let may_be = |conversion: &&Conversion| match &conversion.column {
            Some(column) => columns.may_have(column),
            None => columns.may_have_row(),
        };
        for conversion in relation.conversions.iter().filter(may_be) {
            self.call_behind(&conversion.schema, &conversion.function);
        }
    }

    /// Triggers and rules that a change sets off.
    fn code_behind(&mut self, action: Action, relation: &'a Relation) {
        let events = match action {
            Action::Insert | Action::CopyIn => Events::INSERT,
            Action::Update => Events::UPDATE,
            Action::Delete => Events::DELETE,
            Action::Truncate => Events::TRUNCATE,
            _ => return,
        };
        for trigger in relation.triggers.iter().filter(|trigger| trigger.events.meets(events)) {
            self.call_behind(&trigger.schema, &trigger.function);
        }
        if relation.rules.meets(events) {
            self.opaque(OpaqueReason::Code);
        }
    }

    pub(super) fn call_behind(&mut self, schema: &str, function: &str) {
        self.calls([self.names.function(Some(schema), function)]);
    }
}

fn object(relation: &Relation) -> Object {
    Object::Relation(Name { schema: model::Known::Known(relation.schema.clone()), name: relation.name.clone() })
}

pub(super) fn alias(alias: Option<&Alias>) -> Option<&str> {
    alias.and_then(Alias::aliasname)
}

fn note_join<'a>(join: &'a JoinExpr, from: &mut From<'a>) {
    from.scope.joins.extend([join.alias(), join.join_using_alias()].into_iter().filter_map(alias));
    from.renamed |= join.alias().is_some_and(|alias| !alias.colnames().is_empty());
    from.expressions.push(join.quals());
    from.links.push(join.quals());
    from.shared.extend(text::strings(untyped(join.using_clause())));
    from.natural |= join.is_natural;
    from.joined |= from.natural || !from.shared.is_empty();
}

/// Everything that is related to a source of the set, directly or through others.
fn closure(mut sources: Sources, related: &[Sources]) -> Sources {
    loop {
        let reached = related.iter().filter(|link| link.common(sources) != Sources::NONE);
        let wider = reached.fold(sources, |all, link| all.with(*link));
        if wider == sources {
            return sources;
        }
        sources = wider;
    }
}
