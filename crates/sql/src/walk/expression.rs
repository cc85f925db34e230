//! Expressions: columns, calls, operators, subqueries.

use model::facts::{Action, Object, OpaqueReason};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{A_Expr, A_Expr_Kind, ColumnRef, SubLink, TypeName, WindowDef};

use crate::grammar::untyped;
use crate::name::PG_CATALOG;
use crate::walk::Walk;
use crate::walk::text;

impl<'a> Walk<'a> {
    pub(super) fn expressions(&mut self, list: &'a NodeList) {
        list.iter().for_each(|node| self.expression(node));
    }

    /// Walks an expression. Operators, casts and the like are chained without end, so without recursion.
    pub(super) fn expression(&mut self, node: Node<'a>) {
        let mut left = Vec::new();
        let mut next = Some(node);
        while let Some(node) = next {
            if !self.leaf(node) {
                self.branch(node, &mut left);
            }
            next = left.pop();
        }
    }

    /// Takes a node that has no expressions below it. Whether it was one.
    fn leaf(&mut self, node: Node<'a>) -> bool {
        match node {
            Node::ColumnRef(column) => self.column(column),
            Node::None
            | Node::A_Const(_)
            | Node::A_Star(_)
            | Node::ParamRef(_)
            | Node::String(_)
            | Node::Integer(_)
            | Node::Float(_)
            | Node::Boolean(_)
            | Node::BitString(_)
            | Node::SetToDefault(_)
            | Node::SQLValueFunction(_)
            | Node::CurrentOfExpr(_)
            | Node::TypeName(_)
            | Node::JsonFormat(_)
            | Node::JsonOutput(_) => {}
            Node::MergeSupportFunc(_) => self.since(17),
            _ => return false,
        }
        true
    }

    /// Takes a node, and leaves what is below it.
    fn branch(&mut self, node: Node<'a>, left: &mut Vec<Node<'a>>) {
        match node {
            Node::NodeList(list) => left.extend(list),
            Node::A_Expr(operation) => {
                self.operation(operation);
                left.extend([operation.rexpr(), operation.lexpr()]);
            }
            Node::BoolExpr(operation) => left.extend(operation.args()),
            Node::SubLink(link) => {
                self.operator(link.oper_name());
                self.subquery(link);
                left.push(link.testexpr());
            }
            Node::FuncCall(call) => {
                self.call(call);
                left.extend(call.args());
                left.extend(untyped(call.agg_order()));
                left.push(call.agg_filter());
                left.extend(call.over().map(Node::WindowDef));
            }
            Node::ResTarget(target) => {
                left.extend(target.indirection());
                left.push(target.val());
            }
            Node::TypeCast(cast) => {
                cast.type_name().into_iter().for_each(|of| self.code_of_type(of));
                left.push(cast.arg());
            }
            Node::CollateClause(clause) => left.push(clause.arg()),
            Node::NullTest(test) => left.push(test.arg()),
            Node::BooleanTest(test) => left.push(test.arg()),
            Node::NamedArgExpr(argument) => left.push(argument.arg()),
            Node::MultiAssignRef(reference) => left.push(reference.source()),
            Node::A_Indices(indices) => left.extend([indices.lidx(), indices.uidx()]),
            Node::A_Indirection(indirection) => {
                text::strings(indirection.indirection()).into_iter().for_each(|name| self.attribute(name));
                left.extend(indirection.indirection());
                left.push(indirection.arg());
            }
            Node::A_ArrayExpr(array) => left.extend(array.elements()),
            Node::RowExpr(row) => left.extend(row.args()),
            Node::CaseExpr(case) => {
                if !matches!(case.arg(), Node::None) {
                    self.implied_operator("=");
                }
                left.extend(case.args());
                left.extend([case.arg(), case.defresult()]);
            }
            Node::CaseWhen(when) => left.extend([when.expr(), when.result()]),
            Node::CoalesceExpr(coalesce) => left.extend(coalesce.args()),
            Node::MinMaxExpr(extremum) => left.extend(extremum.args()),
            Node::GroupingFunc(grouping) => left.extend(grouping.args()),
            Node::GroupingSet(set) => left.extend(set.content()),
            Node::SortBy(sort) => {
                self.operator(sort.use_op());
                left.push(sort.node());
            }
            Node::WindowDef(window) => window_parts(window, left),
            Node::IndexElem(element) => left.push(element.expr()),
            _ => self.document(node, left),
        }
    }

    /// A word of the grammar that is an ordinary name before this major: then it means something else there.
    pub(super) fn since(&mut self, major: u16) {
        if self.names.state.server_major.is_none_or(|server| server < major) {
            self.opaque(OpaqueReason::Construct);
        }
    }

    /// XML and JSON.
    fn document(&mut self, node: Node<'a>, left: &mut Vec<Node<'a>>) {
        match node {
            Node::JsonFuncExpr(_)
            | Node::JsonParseExpr(_)
            | Node::JsonScalarExpr(_)
            | Node::JsonSerializeExpr(_)
            | Node::JsonTable(_) => self.since(17),
            Node::JsonObjectConstructor(_)
            | Node::JsonArrayConstructor(_)
            | Node::JsonArrayQueryConstructor(_)
            | Node::JsonObjectAgg(_)
            | Node::JsonArrayAgg(_)
            | Node::JsonIsPredicate(_) => self.since(16),
            _ => {}
        }
        match node {
            Node::XmlExpr(xml) => {
                left.extend(xml.named_args());
                left.extend(xml.args());
            }
            Node::XmlSerialize(xml) => {
                xml.type_name().into_iter().for_each(|of| self.code_of_type(of));
                left.push(xml.expr());
            }
            Node::RangeTableFuncCol(column) => left.extend([column.colexpr(), column.coldefexpr()]),
            Node::JsonValueExpr(value) => left.extend([value.raw_expr(), value.formatted_expr()]),
            Node::JsonIsPredicate(test) => left.push(test.expr()),
            Node::JsonBehavior(behavior) => left.push(behavior.expr()),
            Node::JsonArgument(argument) => left.extend(argument.val().map(Node::JsonValueExpr)),
            Node::JsonKeyValue(pair) => {
                left.push(pair.key());
                left.extend(pair.value().map(Node::JsonValueExpr));
            }
            Node::JsonFuncExpr(function) => {
                left.extend(function.context_item().map(Node::JsonValueExpr));
                left.extend([function.pathspec(), Node::NodeList(function.passing())]);
                left.extend([function.on_empty(), function.on_error()].into_iter().flatten().map(Node::JsonBehavior));
            }
            Node::JsonParseExpr(parse) => left.extend(parse.expr().map(Node::JsonValueExpr)),
            Node::JsonScalarExpr(scalar) => left.push(scalar.expr()),
            Node::JsonSerializeExpr(serialize) => left.extend(serialize.expr().map(Node::JsonValueExpr)),
            Node::JsonObjectConstructor(object) => left.extend(untyped(object.exprs())),
            Node::JsonArrayConstructor(array) => left.extend(untyped(array.exprs())),
            Node::JsonArrayQueryConstructor(array) => self.query(array.query()),
            Node::JsonObjectAgg(aggregate) => {
                left.extend(aggregate.arg().map(Node::JsonKeyValue));
                left.extend(aggregate.constructor().map(Node::JsonAggConstructor));
            }
            Node::JsonArrayAgg(aggregate) => {
                left.extend(aggregate.arg().map(Node::JsonValueExpr));
                left.extend(aggregate.constructor().map(Node::JsonAggConstructor));
            }
            Node::JsonAggConstructor(aggregate) => {
                left.push(aggregate.agg_filter());
                left.extend(aggregate.agg_order());
                left.extend(aggregate.over().map(Node::WindowDef));
            }
            Node::JsonTable(table) => {
                left.extend(table.context_item().map(Node::JsonValueExpr));
                left.extend(table.passing());
                left.extend(untyped(table.columns()));
                left.extend(table.on_error().map(Node::JsonBehavior));
            }
            Node::JsonTableColumn(column) => {
                left.extend(column.columns());
                left.extend([column.on_empty(), column.on_error()].into_iter().flatten().map(Node::JsonBehavior));
            }
            Node::JsonTablePathSpec(path) => left.push(path.string()),
            _ => self.opaque(OpaqueReason::Construct),
        }
    }

    fn subquery(&mut self, link: &'a SubLink) {
        if link.oper_name().is_empty() && !matches!(link.testexpr(), Node::None) {
            self.implied_operator("=");
        }
        self.query(link.subselect());
    }

    /// Keywords are operators, too, which are looked up like any other: `IN` is `=`, `LIKE` is `~~`.
    fn operation(&mut self, operation: &'a A_Expr) {
        match operation.kind {
            A_Expr_Kind::AEXPR_BETWEEN
            | A_Expr_Kind::AEXPR_NOT_BETWEEN
            | A_Expr_Kind::AEXPR_BETWEEN_SYM
            | A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM => {
                [">=", "<=", "<", ">"].into_iter().for_each(|name| self.implied_operator(name));
            }
            _ => self.operator(operation.name()),
        }
    }

    /// An operator that is not written: `=` of CASE, IN and USING.
    pub(super) fn implied_operator(&mut self, name: &str) {
        if !self.names.is_builtin_operator(name) {
            let name = self.names.other(None, name);
            self.effect(Action::Call, Object::Function(name));
        }
    }

    /// An operator calls a function. Those of the server are harmless.
    pub(super) fn operator(&mut self, name: &'a NodeList) {
        if name.is_empty() || text::single(name).is_some_and(|name| self.names.is_builtin_operator(name)) {
            return;
        }
        let names = text::strings(name);
        if !matches!(names[..], [PG_CATALOG, _]) {
            let (schema, name) = text::qualified(&names);
            let name = self.names.other(schema, name);
            self.effect(Action::Call, Object::Function(name));
        }
    }

    /// Notes a column for everything that it can belong to, from the nearest scope outwards.
    fn column(&mut self, column: &'a ColumnRef) {
        let fields = column.fields();
        let sources: usize = self.scopes.iter().map(|scope| scope.entries.len()).sum();
        if !self.spend(sources + self.scopes.len()) {
            return;
        }
        if let Some(column) = text::single(fields) {
            self.bare_column(column);
            return;
        }
        let is_star = matches!(fields.iter().next_back(), Some(Node::A_Star(_)));
        let names = text::strings(fields);
        match (&names[..], is_star) {
            ([], _) => self.scopes.last_mut().into_iter().for_each(|scope| scope.note_every()),
            ([.., source], true) => self.whole_row(source),
            // A schema or a column of a composite type before it makes no difference: both are noted.
            ([.., source, column], false) => self.qualified_column(source, column),
            ([_], false) => self.opaque(OpaqueReason::Construct),
        }
    }

    fn whole_row(&mut self, source: &str) {
        for scope in self.scopes.iter_mut().rev() {
            if let Some(source) = scope.called(source) {
                source.columns.add_every();
                return;
            }
        }
        // The name of a join, or of a composite column.
        self.scopes.iter_mut().for_each(|scope| scope.note_every());
    }

    fn qualified_column(&mut self, source: &str, column: &str) {
        for scope in self.scopes.iter_mut().rev() {
            if let Some(source) = scope.called(source) {
                source.columns.add(column);
                if !source.has(column) {
                    self.attribute(column);
                }
                return;
            }
        }
        self.attribute(column);
        // The name of a join, or of a composite column.
        self.bare_column(column);
        self.bare_column(source);
    }

    /// `row.name` calls a function where the row has no such column (manual, chapter 8.16.5).
    fn attribute(&mut self, name: &str) {
        if self.names.may_be_row_function(name) {
            let name = self.names.function(None, name);
            self.effect(Action::Call, Object::Function(name));
        }
    }

    /// Code that checks or converts values of a type.
    pub(super) fn code_of_type(&mut self, of: &'a TypeName) {
        let names = text::strings(untyped(of.names()));
        let (schema, name) = text::qualified(&names);
        // The type that an unqualified name means is not looked up: any of that name may be it.
        let code: Vec<_> = self.names.catalogue.code_of_type(schema, name).collect();
        for (schema, function) in code {
            self.call_behind(schema, function);
        }
    }

    fn bare_column(&mut self, column: &str) {
        for scope in self.scopes.iter_mut().rev() {
            if scope.note(column) {
                return;
            }
        }
    }
}

fn window_parts<'a>(window: &'a WindowDef, left: &mut Vec<Node<'a>>) {
    left.extend(window.partition_clause());
    left.extend(untyped(window.order_clause()));
    left.extend([window.start_offset(), window.end_offset()]);
}
