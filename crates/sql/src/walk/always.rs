//! Tests that are the same for every row with values, whatever is in the table: a column compared with itself, a pattern
//! that matches all, a subquery that has every row.

use std::ops::Deref;

use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{
    A_Expr, A_Expr_Kind, NullTestType, RangeVar, SelectStmt, SetOperation, SubLink, SubLinkType,
};
use pg_raw_parse::{ConstValue, Node};

use crate::grammar::untyped;
use crate::walk::comparison::{Comparison, integer, is_same};
use crate::walk::condition::bare;
use crate::walk::range::alias;
use crate::walk::scope::{Scope, Source, Sources};
use crate::walk::text;

/// What a condition stands in.
pub(super) struct Around<'s, 'a> {
    pub(super) scope: &'s Scope<'a>,
    /// Names that are no relations.
    pub(super) with_queries: &'s [&'a str],
}

impl<'a> Deref for Around<'_, 'a> {
    type Target = Scope<'a>;

    fn deref(&self) -> &Self::Target {
        self.scope
    }
}

/// Regular expressions that match every text.
const MATCH_ALL: [&str; 9] = ["", "^", "$", ".*", "^.*", ".*$", "^.*$", "(.*)", "^(.*)$"];

/// The value of a test that is the same for every row with values.
pub(super) fn by_form(node: Node<'_>, around: &Around<'_, '_>) -> Option<bool> {
    let operation = match node {
        Node::NullTest(test) => {
            return is_never_null(test.arg(), around).then_some(test.nulltesttype == NullTestType::IS_NOT_NULL);
        }
        Node::SubLink(link) => return has_every_row(link, around).then_some(true),
        Node::A_Expr(operation) => operation,
        _ => return None,
    };
    let (left, right) = (operation.lexpr(), operation.rexpr());
    let same = || is_same(left, right, around);
    let is = |operator: &str| text::strings(operation.name()).last() == Some(&operator);
    match operation.kind {
        A_Expr_Kind::AEXPR_OP if is("~") || is("~*") => {
            text::constant(right).is_some_and(|pattern| MATCH_ALL.contains(&&*pattern)).then_some(true)
        }
        A_Expr_Kind::AEXPR_OP => Comparison::of(node, false).of_equals(around),
        A_Expr_Kind::AEXPR_NOT_DISTINCT if same() => Some(true),
        A_Expr_Kind::AEXPR_DISTINCT if same() => Some(false),
        A_Expr_Kind::AEXPR_LIKE | A_Expr_Kind::AEXPR_ILIKE => {
            ((is("~~") || is("~~*")) && (is_percent(right) || same())).then_some(true)
        }
        A_Expr_Kind::AEXPR_SIMILAR => {
            // The grammar makes a call of the pattern.
            let Node::FuncCall(pattern) = right else { return None };
            (is("~") && pattern.args().first().is_some_and(is_percent)).then_some(true)
        }
        A_Expr_Kind::AEXPR_IN => {
            let with_itself = |list: &NodeList| list.iter().any(|item| is_same(left, item, around));
            right.as_node_list().is_some_and(with_itself).then(|| is("="))
        }
        A_Expr_Kind::AEXPR_BETWEEN => between(operation, around),
        A_Expr_Kind::AEXPR_NOT_BETWEEN => between(operation, around).map(|holds| !holds),
        A_Expr_Kind::AEXPR_OP_ANY | A_Expr_Kind::AEXPR_OP_ALL => of_array(operation, around),
        _ => None,
    }
}

fn is_percent(pattern: Node<'_>) -> bool {
    text::constant(pattern).is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte == b'%'))
}

/// `id BETWEEN id AND id`, `id BETWEEN 2 AND 1`.
fn between(operation: &A_Expr, around: &Around<'_, '_>) -> Option<bool> {
    let bounds: Vec<Node<'_>> = operation.rexpr().as_node_list()?.iter().collect();
    if bounds.iter().all(|bound| is_same(operation.lexpr(), *bound, around)) {
        return Some(true);
    }
    let [low, high] = bounds[..] else { return None };
    (integer(low)? > integer(high)?).then_some(false)
}

/// `id = ANY (ARRAY[id])`, `id <> ALL ('{}')`, `id = ANY (ARRAY(SELECT id FROM t))`.
fn of_array(operation: &A_Expr, around: &Around<'_, '_>) -> Option<bool> {
    let left = operation.lexpr();
    let equal = text::strings(operation.name()).last() == Some(&"=");
    let any = operation.kind == A_Expr_Kind::AEXPR_OP_ANY;
    match bare(operation.rexpr(), false).0 {
        Node::A_Const(constant) => matches!(constant.val(), Some(ConstValue::String("{}"))).then_some(!any),
        Node::A_ArrayExpr(array) if array.elements().is_empty() => Some(!any),
        Node::A_ArrayExpr(array) if equal => {
            let mut with_itself = array.elements().iter().map(|item| is_same(left, item, around));
            if any { with_itself.any(|same| same) } else { with_itself.all(|same| same) }.then_some(true)
        }
        Node::SubLink(link) if equal && any && link.sub_link_type == SubLinkType::ARRAY_SUBLINK => {
            has_all_of(left, link.subselect(), around).then_some(true)
        }
        _ => None,
    }
}

/// Whether an expression has a value in every row: a column that is NOT NULL, whatever it is cast to, and tests of such.
pub(super) fn is_never_null(node: Node<'_>, around: &Around<'_, '_>) -> bool {
    match bare(node, false).0 {
        Node::ColumnRef(column) => around.is_never_null(&text::strings(column.fields())),
        Node::A_Const(constant) => constant.val().is_some(),
        Node::NullTest(_) | Node::BooleanTest(_) => true,
        Node::A_Expr(operation) if operation.kind == A_Expr_Kind::AEXPR_OP => {
            let compares =
                matches!(text::strings(operation.name()).last(), Some(&("<" | "<=" | "=" | ">=" | ">" | "<>")));
            let has_value = |operand| is_plain(operand) && is_never_null(operand, around);
            compares && has_value(operation.lexpr()) && has_value(operation.rexpr())
        }
        _ => false,
    }
}

/// Whether it is a column or a constant, perhaps with a cast: what a test compares.
fn is_plain(node: Node<'_>) -> bool {
    matches!(bare(node, false).0, Node::ColumnRef(_) | Node::A_Const(_))
}

/// A part of a condition that joins a relation with itself, row by row (`t.id = u.id`, where both are one table): it
/// leaves no row out, but what restricts one restricts the other.
pub(super) fn joined_with_itself(node: Node<'_>, around: &Around<'_, '_>) -> Option<Sources> {
    let [one, other] = equal_columns(node)?;
    let (one, other) = (only_source(&one, around)?, only_source(&other, around)?);
    let relation = |index: usize| around.entries.get(index).and_then(|source| source.relation.as_ref());
    let is_joined = one != other && relation(one)? == relation(other)?;
    is_joined.then(|| Sources::one(one).with(Sources::one(other)))
}

/// Two columns of one name that are compared by `=`.
fn equal_columns(node: Node<'_>) -> Option<[Vec<&str>; 2]> {
    let Node::A_Expr(operation) = node else { return None };
    let (Node::ColumnRef(left), Node::ColumnRef(right)) = (operation.lexpr(), operation.rexpr()) else { return None };
    let (left, right) = (text::strings(left.fields()), text::strings(right.fields()));
    let is_equality = operation.kind == A_Expr_Kind::AEXPR_OP && text::strings(operation.name()).last() == Some(&"=");
    (is_equality && left.last() == right.last()).then_some([left, right])
}

/// The only source that may have a column.
fn only_source(column: &[&str], around: &Around<'_, '_>) -> Option<usize> {
    let candidates = around.candidates(column);
    (0..around.entries.len()).find(|index| candidates == Sources::one(*index))
}

/// Whether a test of a subquery holds for every row because the subquery reads the same table whole.
fn has_every_row(link: &SubLink, around: &Around<'_, '_>) -> bool {
    match link.sub_link_type {
        SubLinkType::ANY_SUBLINK => {
            let is_equality = matches!(text::strings(link.oper_name())[..], [] | [.., "="]);
            is_equality && has_all_of(link.testexpr(), link.subselect(), around)
        }
        SubLinkType::EXISTS_SUBLINK => finds_itself(link.subselect(), around),
        _ => false,
    }
}

/// `id IN (SELECT id FROM t)`: whether a query has each value that the tested columns have.
fn has_all_of(tested: Node<'_>, query: Node<'_>, around: &Around<'_, '_>) -> bool {
    let Some((select, relation)) = plain_select(query) else { return false };
    let is_whole = matches!(select.where_clause(), Node::None)
        && matches!(select.limit_count(), Node::None)
        && matches!(select.limit_offset(), Node::None);
    let tested: Vec<Node<'_>> = match tested {
        Node::RowExpr(row) => row.args().iter().collect(),
        single => vec![single],
    };
    let outputs: Vec<Node<'_>> = untyped(select.target_list()).iter().collect();
    let is_output = |(tested, output): (&Node<'_>, &Node<'_>)| {
        let (Node::ColumnRef(tested), Node::ResTarget(output)) = (tested, output) else { return false };
        let Node::ColumnRef(output) = output.val() else { return false };
        let tested = text::strings(tested.fields());
        let of_same = only_source(&tested, around).and_then(|index| around.entries.get(index));
        tested.last() == text::strings(output.fields()).last()
            && of_same.is_some_and(|source| is_of(source, relation, around))
    };
    is_whole && tested.len() == outputs.len() && tested.iter().zip(&outputs).all(is_output)
}

/// `EXISTS (SELECT 1 FROM t AS x WHERE x.id = t.id)`: whether each row finds itself.
fn finds_itself(query: Node<'_>, around: &Around<'_, '_>) -> bool {
    let Some((select, relation)) = plain_select(query) else { return false };
    let Some(columns) = equal_columns(select.where_clause()) else { return false };
    let called = alias(relation.alias()).or(relation.relname());
    let is_inner = |column: &[&str]| column.iter().rev().nth(1).is_none_or(|source| Some(*source) == called);
    let of_same = |column: &[&str]| {
        let source = only_source(column, around).and_then(|index| around.entries.get(index));
        !is_inner(column) && source.is_some_and(|source| is_of(source, relation, around))
    };
    match &columns {
        [one, other] if is_inner(one) => of_same(other),
        [one, other] => is_inner(other) && of_same(one),
    }
}

/// A SELECT of one relation without anything that leaves rows out, but for WHERE and LIMIT.
fn plain_select(query: Node<'_>) -> Option<(&SelectStmt, &RangeVar)> {
    let Node::SelectStmt(select) = query else { return None };
    let from = select.from_clause();
    let Some(Node::RangeVar(relation)) = from.first() else { return None };
    let is_plain = select.op == SetOperation::SETOP_NONE
        && select.with_clause().is_none()
        && from.len() == 1
        && select.group_clause().is_empty()
        && matches!(select.having_clause(), Node::None);
    is_plain.then_some((select, relation))
}

/// Whether a name means the relation of a source.
fn is_of(source: &Source<'_>, relation: &RangeVar, around: &Around<'_, '_>) -> bool {
    let Some(name) = &source.relation else { return false };
    let is_with_query =
        relation.schemaname().is_none() && relation.relname().is_some_and(|name| around.with_queries.contains(&name));
    let fits = |written: &str| name.schema.known().is_none_or(|schema| &**schema == written);
    !is_with_query && relation.relname() == Some(&*name.name) && relation.schemaname().is_none_or(fits)
}
