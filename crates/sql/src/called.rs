//! Functions that an expression calls without naming them: behind operators and keywords, types and attributes. The only
//! list of them, for facts and for lineage.
//!
//! Those of the server only compute, and are left out.

use model::facts::Name;
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{A_Expr, A_Expr_Kind, FuncCall, PrepareStmt, RangeFunction, TypeName};

use crate::function;
use crate::grammar::untyped;
use crate::name::{Names, PG_CATALOG};
use crate::walk::text;

/// What one node calls; what is below it is not looked at.
pub(crate) fn behind(names: Names<'_>, node: Node<'_>) -> Vec<Name> {
    match node {
        Node::A_Expr(operation) => operation_of(names, operation),
        Node::SubLink(link) if link.oper_name().is_empty() && !matches!(link.testexpr(), Node::None) => {
            implied(names, "=").into_iter().collect()
        }
        Node::SubLink(link) => operator(names, link.oper_name()).into_iter().collect(),
        Node::CaseExpr(case) if !matches!(case.arg(), Node::None) => implied(names, "=").into_iter().collect(),
        Node::SortBy(sort) => operator(names, sort.use_op()).into_iter().collect(),
        Node::TypeCast(cast) => of_type(names, cast.type_name()),
        Node::RangeTableFuncCol(column) => of_type(names, column.type_name()),
        Node::JsonTableColumn(column) => of_type(names, column.type_name()),
        Node::JsonOutput(output) => of_type(names, output.type_name()),
        Node::XmlSerialize(xml) => of_type(names, xml.type_name()),
        Node::FuncCall(call) => of_filled(names, call),
        Node::A_Indirection(indirection) => {
            text::strings(indirection.indirection()).into_iter().filter_map(|name| attribute(names, name)).collect()
        }
        _ => Vec::new(),
    }
}

/// Keywords are operators, too, which are looked up like any other: `IN` is `=`, `LIKE` is `~~`.
fn operation_of(names: Names<'_>, operation: &A_Expr) -> Vec<Name> {
    match operation.kind {
        A_Expr_Kind::AEXPR_BETWEEN
        | A_Expr_Kind::AEXPR_NOT_BETWEEN
        | A_Expr_Kind::AEXPR_BETWEEN_SYM
        | A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM => {
            [">=", "<=", "<", ">"].into_iter().filter_map(|name| implied(names, name)).collect()
        }
        _ => operator(names, operation.name()).into_iter().collect(),
    }
}

/// An operator that is not written: `=` of CASE, IN and USING.
pub(crate) fn implied(names: Names<'_>, name: &str) -> Option<Name> {
    (!names.is_builtin_operator(name)).then(|| names.other(None, name))
}

/// An operator that is written. That of another schema may do anything.
pub(crate) fn operator(names: Names<'_>, name: &NodeList) -> Option<Name> {
    if name.is_empty() || text::single(name).is_some_and(|name| names.is_builtin_operator(name)) {
        return None;
    }
    match text::strings(name)[..] {
        [PG_CATALOG, _] => None,
        ref parts => {
            let (schema, name) = text::qualified(parts);
            Some(names.other(schema, name))
        }
    }
}

/// `row.name` calls a function where the row has no such column (manual, chapter 8.16.5).
pub(crate) fn attribute(names: Names<'_>, name: &str) -> Option<Name> {
    names.may_be_row_function(name).then(|| names.function(None, name))
}

/// Code that checks the values with which a function fills a row. Without a cast the row may be of any type.
fn of_filled(names: Names<'_>, call: &FuncCall) -> Vec<Name> {
    let parts = text::strings(call.funcname());
    let (schema, name) = text::qualified(&parts);
    let is_typed = matches!(call.args().first(), Some(Node::TypeCast(_)));
    if is_typed || !function::fills_row(name) || schema.is_some_and(|schema| schema != PG_CATALOG) {
        return Vec::new();
    }
    let code = names.catalogue.code_of_types();
    code.map(|(schema, function)| names.function(Some(schema), function)).collect()
}

/// Code that checks or converts values of the columns that a function is said to have.
pub(crate) fn of_declared(names: Names<'_>, function: &RangeFunction) -> Vec<Name> {
    let each =
        function.functions().iter().filter_map(|node| node.as_node_list()).flat_map(|parts| parts.iter().skip(1));
    let lists = each.filter_map(|node| node.as_node_list()).chain([untyped(function.coldeflist())]);
    let code = |node| match node {
        Node::ColumnDef(column) => of_type(names, column.type_name()),
        _ => Vec::new(),
    };
    lists.flatten().flat_map(code).collect()
}

/// The same for what PREPARE says that its parameters are.
pub(crate) fn of_parameters(names: Names<'_>, prepare: &PrepareStmt) -> Vec<Name> {
    let code = |node| match node {
        Node::TypeName(of) => of_type(names, Some(of)),
        _ => Vec::new(),
    };
    untyped(prepare.argtypes()).iter().flat_map(code).collect()
}

/// Code that checks or converts values of a type, or gives those that are left out.
pub(crate) fn of_type(names: Names<'_>, of: Option<&TypeName>) -> Vec<Name> {
    let Some(of) = of else { return Vec::new() };
    let parts = text::strings(untyped(of.names()));
    let (schema, name) = text::qualified(&parts);
    // The type that an unqualified name means is not looked up: any of that name may be it.
    let code = names.catalogue.code_of_type(schema, name);
    code.map(|(schema, function)| names.function(Some(schema), function)).collect()
}
