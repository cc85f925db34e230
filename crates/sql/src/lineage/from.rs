//! FROM: relations, joins, subqueries, functions; what their columns are.

use std::sync::Arc;

use model::lineage::{Origin, Sources, UnknownLineage};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{Alias, FuncCall, JoinExpr, RangeFunction, RangeTableFunc};

use crate::called;
use crate::grammar::untyped;
use crate::lineage::Trace;
use crate::lineage::function;
use crate::lineage::row::{self, Field, Has, Row};
use crate::lineage::scalar;
use crate::lineage::scope::{Item, Scope};
use crate::walk::text;

impl<'a> Trace<'a> {
    pub(super) fn sources(&mut self, items: &'a NodeList) -> Scope {
        self.sources_beside(Scope::default(), items)
    }

    /// More sources behind those that there are.
    pub(super) fn sources_beside(&mut self, scope: Scope, items: &'a NodeList) -> Scope {
        items.iter().fold(scope, |scope, item| {
            let next = self.item(item, &scope);
            scope.and(next)
        })
    }

    /// One item. `before`: what LATERAL sees. Joins are chained to the left without end, so without recursion.
    pub(super) fn item(&mut self, item: Node<'a>, before: &Scope) -> Scope {
        let mut joins = Vec::new();
        let mut first = item;
        while let Node::JoinExpr(join) = first {
            joins.push(join);
            first = join.larg();
        }
        let mut scope = self.source(first, before);
        for join in joins.into_iter().rev() {
            let seen = before.clone().and(scope.clone());
            if !self.spend(seen.width()) {
                break;
            }
            let right = self.deeper(|trace| trace.item(join.rarg(), &seen)).unwrap_or_default();
            scope = self.join(join, scope, right);
        }
        scope
    }

    /// An item that is no join.
    fn source(&mut self, item: Node<'a>, before: &Scope) -> Scope {
        let (called, alias, row) = match item {
            Node::RangeVar(relation) => (relation.relname(), relation.alias(), self.range_var(relation)),
            Node::RangeSubselect(subselect) => {
                let seen = if subselect.lateral { Some(before.clone()) } else { None };
                (None, subselect.alias(), self.beside(seen, |trace| trace.query(subselect.subquery())))
            }
            Node::RangeFunction(function) => {
                let row = self.beside(Some(before.clone()), |trace| trace.range_function(function));
                (function_name(function), function.alias(), row)
            }
            Node::RangeTableFunc(table) => {
                let row = self.beside(Some(before.clone()), |trace| trace.xml_table(table));
                (Some("xmltable"), table.alias(), row)
            }
            Node::JsonTable(table) => {
                let row = self.beside(Some(before.clone()), |trace| trace.rows_of(item));
                (Some("json_table"), table.alias(), row)
            }
            Node::RangeTableSample(sample) => {
                let _ = self.beside(Some(before.clone()), |trace| {
                    let origin = trace.expressions(sample.args()).or(trace.expression(sample.repeatable()));
                    trace.note_compared(&origin);
                    Row::empty()
                });
                return self.deeper(|trace| trace.source(sample.relation(), before)).unwrap_or_default();
            }
            _ => (None, None, Row::Every(self.unknown(UnknownLineage::Construct))),
        };
        let names = alias.map(|alias| text::strings(alias.colnames())).unwrap_or_default();
        match (item, alias) {
            (Node::RangeVar(relation), None) => Scope::of(Item::of_relation(self.schema_of(relation), called, row)),
            _ => Scope::of(Item::new(alias.and_then(Alias::aliasname).or(called), row.renamed(&names))),
        }
    }

    /// Walks something that may see the sources before it.
    fn beside(&mut self, seen: Option<Scope>, inner: impl FnOnce(&mut Self) -> Row) -> Row {
        match seen {
            Some(scope) => self.within(scope, inner).0,
            None => inner(self),
        }
    }

    fn join(&mut self, join: &'a JoinExpr, left: Scope, right: Scope) -> Scope {
        let mut names: Vec<Arc<str>> = text::strings(untyped(join.using_clause())).into_iter().map(Arc::from).collect();
        if join.is_natural {
            names = common(&left.star, &right.star);
        }
        let mut scope = if join.is_natural || !names.is_empty() {
            self.lineage.calls.extend(called::implied(self.names, "="));
            self.sharing(&names, left, right)
        } else {
            left.and(right)
        };
        if let Some(alias) = join.join_using_alias().and_then(Alias::aliasname) {
            let merged = match &scope.star {
                Row::Columns(fields) => Row::Columns(fields.iter().take(names.len()).cloned().collect()),
                Row::Every(origin) => Row::Every(origin.clone()),
            };
            scope.items.push(Item::qualified_only(alias, merged));
        }
        let (_, mut scope) = self.within(scope, |trace| trace.condition(join.quals()));
        if let Some(alias) = join.alias() {
            let row = scope.star.renamed(&text::strings(alias.colnames()));
            scope = Scope::of(Item::new(alias.aliasname(), row));
        }
        scope
    }

    /// NATURAL and USING: both sides, with the columns of these names once.
    fn sharing(&mut self, names: &[Arc<str>], left: Scope, right: Scope) -> Scope {
        let star = match (left.star.named(), right.star.named()) {
            (Some(one), Some(other)) => self.shared(names, one, other),
            // Which columns are shared, and so where the others stand, is not known.
            _ => {
                let whole = left.star.whole().or(right.star.whole());
                self.note_compared(&whole);
                Row::Every(whole)
            }
        };
        let mut scope = left.and(right);
        if matches!(star, Row::Every(_)) {
            scope.items.iter_mut().for_each(|item| item.qualified_only = true);
            scope.items.push(Item::new(None, star.clone()));
        }
        Scope { star, ..scope }
    }

    /// What `*` of a join is: the columns that are shared, then the rest of each side.
    fn shared(&mut self, names: &[Arc<str>], left: &[Field], right: &[Field]) -> Row {
        let mut shared = Vec::new();
        for name in names {
            let [one, other] = [left, right].map(|fields| row::find(fields, Some(name)).unwrap_or_else(Origin::none));
            self.note_joined(&one, &other);
            shared.push(Field { name: Some(Arc::clone(name)), origin: one.or(other) });
        }
        let is_rest = |field: &&Field| field.name.as_ref().is_none_or(|name| !names.contains(name));
        shared.extend(left.iter().chain(right).filter(is_rest).cloned());
        Row::Columns(shared)
    }

    /// Values of both sides are tested for equality.
    pub(super) fn note_joined(&mut self, left: &Origin, right: &Origin) {
        let sources = |origin: &Origin| origin.sources().cloned().collect::<Sources>();
        let (left, right) = (sources(left), sources(right));
        self.lineage.reads.extend(left.iter().chain(&right).cloned());
        if left != right {
            self.lineage.joined.insert((left, right));
        }
    }

    fn range_function(&mut self, range: &'a RangeFunction) -> Row {
        self.lineage.calls.extend(called::of_declared(self.names, range));
        let mut row = Row::empty();
        for node in range.functions() {
            let Some(parts) = node.as_node_list() else { continue };
            let call = parts.first().unwrap_or(Node::None);
            let columns = parts.get(1).and_then(|node| node.as_node_list());
            row = row.and(self.function_row(call, columns, range));
        }
        if range.ordinality {
            row = row.and(Row::Columns(vec![Field::named("ordinality", Origin::none())]));
        }
        row
    }

    /// What one function in FROM gives.
    fn function_row(&mut self, call: Node<'a>, columns: Option<&'a NodeList>, range: &'a RangeFunction) -> Row {
        let origin = self.expression(call).derived();
        // How many rows there are depends on it.
        self.note_compared(&origin);
        let declared: Vec<&str> =
            columns.into_iter().chain([untyped(range.coldeflist())]).flat_map(defined_columns).collect();
        let field = |name: &str| Field::named(name, origin.clone());
        if !declared.is_empty() {
            return Row::Columns(declared.into_iter().map(field).collect());
        }
        // A cast, COALESCE and their kin may give a row of several columns.
        let Node::FuncCall(function) = call else { return Row::Every(origin) };
        let names = text::strings(function.funcname());
        let (_, name) = text::qualified(&names);
        if !self.is_builtin(&names) {
            return Row::Every(origin);
        }
        if self.gives_one_column(name, function) {
            let alias = range.alias().and_then(Alias::aliasname).filter(|_| range.functions().len() == 1);
            return Row::Columns(vec![field(alias.unwrap_or(name))]);
        }
        match function::columns(name) {
            Some(columns) => Row::Columns(columns.iter().map(|name| field(name)).collect()),
            None => Row::Every(origin),
        }
    }

    fn gives_one_column(&self, name: &str, call: &'a FuncCall) -> bool {
        match (name, call.args().len()) {
            // Rows of an array of rows have their columns.
            ("unnest", 1) => call.args().first().is_some_and(|array| scalar::is_of_scalars(self.names, array)),
            _ => function::gives_one_column(name),
        }
    }

    fn xml_table(&mut self, table: &'a RangeTableFunc) -> Row {
        let origin = self.expression(table.docexpr()).or(self.expression(table.rowexpr()));
        let origin = origin.or(self.expressions(table.namespaces())).derived();
        self.note_compared(&origin);
        let mut fields = Vec::new();
        for node in untyped(table.columns()) {
            let Node::RangeTableFuncCol(column) = node else { continue };
            let value = self.expression(node);
            fields.push(Field { name: column.colname().map(Arc::from), origin: origin.clone().or(value).derived() });
        }
        Row::Columns(fields)
    }

    /// Rows that are made of an expression, whatever their columns.
    fn rows_of(&mut self, node: Node<'a>) -> Row {
        let origin = self.expression(node).derived();
        self.note_compared(&origin);
        Row::Every(origin)
    }
}

fn function_name(function: &RangeFunction) -> Option<&str> {
    let call = function.functions().first()?.as_node_list()?.first()?;
    match call {
        Node::FuncCall(call) => text::strings(call.funcname()).pop(),
        _ => None,
    }
}

/// Names in a list of column definitions.
fn defined_columns(list: &NodeList) -> impl Iterator<Item = &str> {
    list.iter().filter_map(|node| match node {
        Node::ColumnDef(column) => column.colname(),
        _ => None,
    })
}

/// Names that both rows have, in the order of the first.
fn common(left: &Row, right: &Row) -> Vec<Arc<str>> {
    let Row::Columns(fields) = left else { return Vec::new() };
    let names = fields.iter().filter_map(|field| field.name.clone());
    names.filter(|name| matches!(right.find(name), Has::Yes(_))).collect()
}
