//! What stands directly below a node of an expression: the only list of them.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::WindowDef;

use crate::grammar::untyped;

/// Whether a node of an expression has nothing below it.
pub(crate) const fn is_leaf(node: Node<'_>) -> bool {
    matches!(
        node,
        Node::None
            | Node::ColumnRef(_)
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
            | Node::MergeSupportFunc(_)
            | Node::TypeName(_)
            | Node::JsonFormat(_)
    )
}

/// Adds what is below a node. Queries inside of it (of `SubLink`, of `JsonArrayQueryConstructor`) are left to whoever
/// knows what a query is. Whether the node is known.
pub(crate) fn below<'a>(node: Node<'a>, left: &mut Vec<Node<'a>>) -> bool {
    match node {
        Node::NodeList(list) => left.extend(list),
        Node::A_Expr(operation) => left.extend([operation.rexpr(), operation.lexpr()]),
        Node::BoolExpr(operation) => left.extend(operation.args()),
        Node::SubLink(link) => left.push(link.testexpr()),
        Node::FuncCall(call) => {
            left.extend(call.args());
            left.extend(untyped(call.agg_order()));
            left.push(call.agg_filter());
            left.extend(call.over().map(Node::WindowDef));
        }
        Node::ResTarget(target) => {
            left.extend(target.indirection());
            left.push(target.val());
        }
        Node::TypeCast(cast) => left.push(cast.arg()),
        Node::CollateClause(clause) => left.push(clause.arg()),
        Node::NullTest(test) => left.push(test.arg()),
        Node::BooleanTest(test) => left.push(test.arg()),
        Node::NamedArgExpr(argument) => left.push(argument.arg()),
        Node::MultiAssignRef(reference) => left.push(reference.source()),
        Node::A_Indices(indices) => left.extend([indices.lidx(), indices.uidx()]),
        Node::A_Indirection(indirection) => {
            left.extend(indirection.indirection());
            left.push(indirection.arg());
        }
        Node::A_ArrayExpr(array) => left.extend(array.elements()),
        Node::RowExpr(row) => left.extend(row.args()),
        Node::CaseExpr(case) => {
            left.extend(case.args());
            left.extend([case.arg(), case.defresult()]);
        }
        Node::CaseWhen(when) => left.extend([when.expr(), when.result()]),
        Node::CoalesceExpr(coalesce) => left.extend(coalesce.args()),
        Node::MinMaxExpr(extremum) => left.extend(extremum.args()),
        Node::GroupingFunc(grouping) => left.extend(grouping.args()),
        Node::GroupingSet(set) => left.extend(set.content()),
        Node::SortBy(sort) => left.push(sort.node()),
        Node::WindowDef(window) => window_parts(window, left),
        Node::IndexElem(element) => left.push(element.expr()),
        _ => return document(node, left),
    }
    true
}

/// XML and JSON.
fn document<'a>(node: Node<'a>, left: &mut Vec<Node<'a>>) -> bool {
    match node {
        Node::XmlExpr(xml) => {
            left.extend(xml.named_args());
            left.extend(xml.args());
        }
        Node::XmlSerialize(xml) => left.push(xml.expr()),
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
            left.extend(function.output().map(Node::JsonOutput));
        }
        Node::JsonParseExpr(parse) => {
            left.extend(parse.expr().map(Node::JsonValueExpr));
            left.extend(parse.output().map(Node::JsonOutput));
        }
        Node::JsonScalarExpr(scalar) => {
            left.push(scalar.expr());
            left.extend(scalar.output().map(Node::JsonOutput));
        }
        Node::JsonSerializeExpr(serialize) => {
            left.extend(serialize.expr().map(Node::JsonValueExpr));
            left.extend(serialize.output().map(Node::JsonOutput));
        }
        Node::JsonObjectConstructor(object) => {
            left.extend(untyped(object.exprs()));
            left.extend(object.output().map(Node::JsonOutput));
        }
        Node::JsonArrayConstructor(array) => {
            left.extend(untyped(array.exprs()));
            left.extend(array.output().map(Node::JsonOutput));
        }
        Node::JsonArrayQueryConstructor(array) => left.extend(array.output().map(Node::JsonOutput)),
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
            left.extend(aggregate.output().map(Node::JsonOutput));
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
        // Its type may have code.
        Node::JsonOutput(_) => {}
        Node::JsonTablePathSpec(path) => left.push(path.string()),
        _ => return false,
    }
    true
}

fn window_parts<'a>(window: &'a WindowDef, left: &mut Vec<Node<'a>>) {
    left.extend(window.partition_clause());
    left.extend(untyped(window.order_clause()));
    left.extend([window.start_offset(), window.end_offset()]);
}
