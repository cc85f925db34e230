//! What the server calls an output column without a name of its own (`FigureColname` of its `parse_target.c`).

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    A_Expr_Kind, CoercionForm, FuncCall, JsonExprOp, MinMaxOp, SQLValueFunctionOp, SelectStmt, SetOperation,
    SubLinkType, XmlExprOp,
};

use crate::grammar::untyped;
use crate::lineage::expression::stands_for_several;
use crate::walk::text;

/// Casts, CASE and brackets inside each other that are looked through.
const DEPTH_MAX: usize = 32;

/// The name; `None`: it is not known here, and no column is found by it.
pub(super) fn name(node: Node<'_>) -> Option<&str> {
    match figure(node, DEPTH_MAX) {
        Figured::Strong(name) | Figured::Weak(name) => Some(name),
        Figured::Nothing => Some("?column?"),
        Figured::Unknown => None,
    }
}

/// A name, and whether one further out is better.
enum Figured<'a> {
    Strong(&'a str),
    Weak(&'a str),
    Nothing,
    Unknown,
}

fn figure(node: Node<'_>, depth: usize) -> Figured<'_> {
    let Some(depth) = depth.checked_sub(1) else { return Figured::Unknown };
    match node {
        Node::ColumnRef(column) => match text::strings(column.fields()).pop() {
            Some(name) => Figured::Strong(name),
            None => Figured::Nothing,
        },
        Node::A_Indirection(indirection) => match text::strings(indirection.indirection()).pop() {
            Some(name) => Figured::Strong(name),
            None => figure(indirection.arg(), depth),
        },
        Node::FuncCall(call) => function(call),
        Node::A_Expr(operation) if operation.kind == A_Expr_Kind::AEXPR_NULLIF => Figured::Strong("nullif"),
        Node::TypeCast(cast) => match figure(cast.arg(), depth) {
            Figured::Strong(name) => Figured::Strong(name),
            Figured::Unknown => Figured::Unknown,
            Figured::Weak(_) | Figured::Nothing => {
                let names = cast.type_name().map(|name| text::strings(untyped(name.names()))).unwrap_or_default();
                match names.last().copied() {
                    Some(name) => Figured::Weak(name),
                    None => Figured::Unknown,
                }
            }
        },
        Node::CollateClause(clause) => figure(clause.arg(), depth),
        Node::GroupingFunc(_) => Figured::Strong("grouping"),
        Node::SubLink(link) => match link.sub_link_type {
            SubLinkType::EXISTS_SUBLINK => Figured::Strong("exists"),
            SubLinkType::ARRAY_SUBLINK => Figured::Strong("array"),
            SubLinkType::EXPR_SUBLINK => first_output(link.subselect(), depth),
            _ => Figured::Nothing,
        },
        Node::CaseExpr(case) => match figure(case.defresult(), depth) {
            Figured::Strong(name) => Figured::Strong(name),
            Figured::Unknown => Figured::Unknown,
            Figured::Weak(_) | Figured::Nothing => Figured::Weak("case"),
        },
        Node::A_ArrayExpr(_) => Figured::Strong("array"),
        Node::RowExpr(_) => Figured::Strong("row"),
        Node::CoalesceExpr(_) => Figured::Strong("coalesce"),
        Node::MinMaxExpr(extremum) if extremum.op == MinMaxOp::IS_GREATEST => Figured::Strong("greatest"),
        Node::MinMaxExpr(_) => Figured::Strong("least"),
        Node::SQLValueFunction(value) => session_value(value.op),
        Node::MergeSupportFunc(_) => Figured::Strong("merge_action"),
        Node::A_Const(_)
        | Node::None
        | Node::A_Expr(_)
        | Node::ParamRef(_)
        | Node::BoolExpr(_)
        | Node::NullTest(_)
        | Node::BooleanTest(_)
        | Node::JsonIsPredicate(_) => Figured::Nothing,
        _ => document(node),
    }
}

fn function(call: &FuncCall) -> Figured<'_> {
    match text::strings(call.funcname()).pop() {
        // The keyword: `date_part` up to PostgreSQL 13.
        Some("extract") if call.funcformat == CoercionForm::COERCE_SQL_SYNTAX => Figured::Unknown,
        Some(name) => Figured::Strong(name),
        None => Figured::Unknown,
    }
}

const fn session_value(operation: SQLValueFunctionOp::Type) -> Figured<'static> {
    use SQLValueFunctionOp::*;
    Figured::Strong(match operation {
        SVFOP_CURRENT_DATE => "current_date",
        SVFOP_CURRENT_TIME | SVFOP_CURRENT_TIME_N => "current_time",
        SVFOP_CURRENT_TIMESTAMP | SVFOP_CURRENT_TIMESTAMP_N => "current_timestamp",
        SVFOP_LOCALTIME | SVFOP_LOCALTIME_N => "localtime",
        SVFOP_LOCALTIMESTAMP | SVFOP_LOCALTIMESTAMP_N => "localtimestamp",
        SVFOP_CURRENT_ROLE => "current_role",
        SVFOP_CURRENT_USER => "current_user",
        SVFOP_USER => "user",
        SVFOP_SESSION_USER => "session_user",
        SVFOP_CURRENT_CATALOG => "current_catalog",
        SVFOP_CURRENT_SCHEMA => "current_schema",
        _ => return Figured::Unknown,
    })
}

/// XML and JSON.
const fn document(node: Node<'_>) -> Figured<'_> {
    Figured::Strong(match node {
        Node::XmlExpr(xml) => match xml.op {
            XmlExprOp::IS_XMLCONCAT => "xmlconcat",
            XmlExprOp::IS_XMLELEMENT => "xmlelement",
            XmlExprOp::IS_XMLFOREST => "xmlforest",
            XmlExprOp::IS_XMLPARSE => "xmlparse",
            XmlExprOp::IS_XMLPI => "xmlpi",
            XmlExprOp::IS_XMLROOT => "xmlroot",
            XmlExprOp::IS_DOCUMENT => return Figured::Nothing,
            _ => return Figured::Unknown,
        },
        Node::XmlSerialize(_) => "xmlserialize",
        Node::JsonParseExpr(_) => "json",
        Node::JsonScalarExpr(_) => "json_scalar",
        Node::JsonSerializeExpr(_) => "json_serialize",
        Node::JsonObjectConstructor(_) => "json_object",
        Node::JsonArrayConstructor(_) | Node::JsonArrayQueryConstructor(_) => "json_array",
        Node::JsonObjectAgg(_) => "json_objectagg",
        Node::JsonArrayAgg(_) => "json_arrayagg",
        Node::JsonFuncExpr(function) => match function.op {
            JsonExprOp::JSON_EXISTS_OP => "json_exists",
            JsonExprOp::JSON_QUERY_OP => "json_query",
            JsonExprOp::JSON_VALUE_OP => "json_value",
            _ => return Figured::Unknown,
        },
        _ => return Figured::Unknown,
    })
}

/// A scalar subquery is called as its column.
fn first_output(node: Node<'_>, depth: usize) -> Figured<'_> {
    let Node::SelectStmt(select) = node else { return Figured::Unknown };
    let mut select: &SelectStmt = select;
    while select.op != SetOperation::SETOP_NONE {
        let Some(left) = select.larg() else { return Figured::Unknown };
        select = left;
    }
    match untyped(select.target_list()).first() {
        Some(Node::ResTarget(target)) => match target.name() {
            Some(name) => Figured::Strong(name),
            None if stands_for_several(target.val()) => Figured::Unknown,
            None => match figure(target.val(), depth) {
                Figured::Weak(name) | Figured::Strong(name) => Figured::Strong(name),
                Figured::Nothing => Figured::Strong("?column?"),
                Figured::Unknown => Figured::Unknown,
            },
        },
        _ if !select.values_lists().is_empty() => Figured::Strong("column1"),
        _ => Figured::Unknown,
    }
}
