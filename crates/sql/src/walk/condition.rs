//! The kind of a where-clause: whether it restricts the rows of a relation.
//!
//! Judged with care for the strict side: a condition counts only where it looks at a column of the relation and is not
//! true by its form. `WHERE true`, `1 = 1`, `id = id`, `$1`, `random() < 2`, `x OR true` and `x OR NOT x` restrict nothing.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{A_Expr_Kind, Alias, BoolExpr, BoolExprType, BoolTestType, BooleanTest, CaseExpr, SubLink};
use pg_raw_parse::{ConstValue, Node};

use crate::tree;
use crate::walk::Walk;
use crate::walk::always::{self, Around, by_form, is_never_null};
use crate::walk::comparison::{Comparison, are_equal, is_same};
use crate::walk::scope::{Scope, Sources};
use crate::walk::text;

/// Which rows a condition leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every row, as far as its form tells.
    Every,
    /// None: `WHERE false`.
    Nothing,
    /// Some rows of these sources.
    Rows(Sources),
}

impl Reach {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => Self::Nothing,
            (Self::Every, rest) | (rest, Self::Every) => rest,
            (Self::Rows(one), Self::Rows(other)) => Self::Rows(one.with(other)),
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Every, _) | (_, Self::Every) => Self::Every,
            (Self::Nothing, rest) | (rest, Self::Nothing) => rest,
            (Self::Rows(one), Self::Rows(other)) => Self::looking_at(one.common(other)),
        }
    }

    fn looking_at(sources: Sources) -> Self {
        if sources == Sources::NONE { Self::Every } else { Self::Rows(sources) }
    }
}

impl<'a> Walk<'a> {
    /// What a condition leaves of the sources of the nearest scope. No condition leaves all.
    pub(super) fn reach(&self, condition: Node<'a>) -> Reach {
        self.around().map_or(Reach::Every, |around| reach(condition, false, &around, 0))
    }

    fn around(&self) -> Option<Around<'_, 'a>> {
        let scope = self.scopes.last().filter(|scope| scope.entries.len() <= SOURCES_MAX)?;
        Some(Around { scope, with_queries: &self.ctes })
    }

    /// For each part of a condition that is joined by AND: the sources that it relates.
    pub(super) fn relations_between(&self, condition: Node<'a>) -> Vec<Sources> {
        let Some(around) = self.around() else { return Vec::new() };
        let (condition, negated) = bare(condition, false);
        let parts = match condition {
            Node::BoolExpr(operation) if joins(operation, negated) == Junction::And => parts(operation, negated),
            part => vec![(part, negated)],
        };
        let related = |(part, negated)| match always::joined_with_itself(part, &around) {
            Some(both) => Some(both),
            None => match reach(part, negated, &around, 0) {
                Reach::Rows(sources) => Some(sources),
                Reach::Every | Reach::Nothing => None,
            },
        };
        parts.into_iter().filter_map(related).collect()
    }
}

/// Sources of a FROM among which restrictions are followed; with more of them nothing is restricted.
const SOURCES_MAX: usize = 64;

/// AND and OR inside each other that are looked into; deeper ones restrict nothing.
const DEPTH_MAX: usize = 64;

/// Parts of an OR that are compared with each other.
const ALTERNATIVES_MAX: usize = 64;

/// How the parts of a condition are joined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Junction {
    And,
    Or,
}

/// What joins the parts when the whole may be negated: NOT of an AND is an OR of the negated parts.
fn joins(operation: &BoolExpr, negated: bool) -> Junction {
    if (operation.boolop == BoolExprType::AND_EXPR) == negated { Junction::Or } else { Junction::And }
}

/// A condition without casts and NOT around it, and whether it is negated.
pub(super) fn bare(mut node: Node<'_>, mut negated: bool) -> (Node<'_>, bool) {
    loop {
        match node {
            Node::BoolExpr(operation) if operation.boolop == BoolExprType::NOT_EXPR => {
                negated = !negated;
                node = operation.args().first().unwrap_or(Node::None);
            }
            Node::TypeCast(cast) => node = cast.arg(),
            Node::CollateClause(clause) => node = clause.arg(),
            _ => return (node, negated),
        }
    }
}

/// The parts that are joined in the same way, however they are put in brackets.
fn parts(operation: &BoolExpr, negated: bool) -> Vec<(Node<'_>, bool)> {
    let junction = joins(operation, negated);
    let mut parts = Vec::new();
    let mut left = vec![(Node::BoolExpr(operation), negated)];
    while let Some((node, negated)) = left.pop() {
        match bare(node, negated) {
            (Node::BoolExpr(inner), negated) if joins(inner, negated) == junction => {
                left.extend(inner.args().iter().map(|part| (part, negated)));
            }
            part => parts.push(part),
        }
    }
    parts
}

fn reach(node: Node<'_>, negated: bool, scope: &Around<'_, '_>, depth: usize) -> Reach {
    let (node, negated) = bare(node, negated);
    if let Some(truth) = truth(node) {
        return if truth == negated { Reach::Nothing } else { Reach::Every };
    }
    match node {
        Node::None => Reach::Every,
        Node::BoolExpr(_) if depth >= DEPTH_MAX => Reach::Every,
        Node::BoolExpr(operation) => {
            let parts = parts(operation, negated);
            let reached = parts.iter().map(|(part, negated)| reach(*part, *negated, scope, depth + 1));
            match joins(operation, negated) {
                Junction::And => reached.fold(Reach::Every, Reach::and),
                Junction::Or if are_all_there_is(&parts, scope) => Reach::Every,
                Junction::Or => reached.fold(Reach::Nothing, Reach::or),
            }
        }
        Node::CaseExpr(_) if depth >= DEPTH_MAX => Reach::Every,
        Node::CaseExpr(case) => chosen(case, negated, scope, depth + 1),
        Node::BooleanTest(test) if depth < DEPTH_MAX && holds_always(test, negated, scope, depth + 1) => Reach::Every,
        // The row of a cursor.
        Node::CurrentOfExpr(_) => Reach::Rows(Sources::one(0)),
        other => match sources_in(other, scope) {
            // Constants have forms that are not seen through, and calls their own mind.
            Sources::NONE => Reach::Every,
            // That a test never holds is not believed: 1.5 % 1, infinity + 1 and texts have other laws than integers, and a
            // condition that leaves nothing would bound relations that it does not look at.
            sources => match by_form(other, scope) {
                Some(truth) if truth != negated => Reach::Every,
                None if !negated && always::joined_with_itself(other, scope).is_some() => Reach::Every,
                _ => Reach::Rows(sources),
            },
        },
    }
}

/// Whether `IS TRUE` and its kin hold for every row: the condition in them does, or its negation.
fn holds_always(test: &BooleanTest, negated: bool, scope: &Around<'_, '_>, depth: usize) -> bool {
    let leaves_all = |negated| reach(test.arg(), negated, scope, depth) == Reach::Every;
    match test.booltesttype {
        BoolTestType::IS_TRUE | BoolTestType::IS_NOT_FALSE => leaves_all(negated),
        BoolTestType::IS_FALSE | BoolTestType::IS_NOT_TRUE => leaves_all(!negated),
        BoolTestType::IS_UNKNOWN => negated && is_never_null(test.arg(), scope),
        _ => !negated && is_never_null(test.arg(), scope),
    }
}

/// What a CASE leaves: in rows that its conditions single out, what their results do.
fn chosen(case: &CaseExpr, negated: bool, scope: &Around<'_, '_>, depth: usize) -> Reach {
    let result = |node| match node {
        // Without ELSE it is NULL.
        Node::None => Reach::Nothing,
        node => reach(node, negated, scope, depth),
    };
    let (mut total, mut rest) = (Reach::Nothing, Reach::Every);
    let otherwise = result(case.defresult());
    let mut is_all = otherwise == Reach::Every;
    for node in case.args() {
        let Node::CaseWhen(when) = node else { return Reach::Every };
        let value = match case.arg() {
            Node::None => truth(when.expr()),
            arg => are_equal(arg, when.expr()),
        };
        let unknown = || Reach::looking_at(sources_in(case.arg(), scope).with(sources_in(when.expr(), scope)));
        let (taken, left) = match value {
            Some(true) => (Reach::Every, Reach::Nothing),
            Some(false) => (Reach::Nothing, Reach::Every),
            // NULL is not itself.
            None if is_same(case.arg(), when.expr(), scope) => (Reach::Every, unknown()),
            None => (unknown(), unknown()),
        };
        let result = result(when.result());
        is_all &= result == Reach::Every;
        total = total.or(rest.and(taken).and(result));
        rest = rest.and(left);
    }
    if is_all { Reach::Every } else { total.or(rest.and(otherwise)) }
}

/// Whether some of the alternatives leave no outcome out: `id > 5 OR id <= 5`, `id IS NULL OR id IS NOT NULL`.
fn are_all_there_is(parts: &[(Node<'_>, bool)], scope: &Scope<'_>) -> bool {
    let mut seen: Vec<Comparison<'_>> = Vec::new();
    for comparison in parts.iter().take(ALTERNATIVES_MAX).map(|(part, negated)| Comparison::of(*part, *negated)) {
        let mut whole = comparison;
        for other in &seen {
            whole.join(other, scope);
        }
        if whole.is_all() {
            return true;
        }
        seen.push(whole);
    }
    false
}

/// The value of a condition that is constant by its form.
fn truth(node: Node<'_>) -> Option<bool> {
    match node {
        Node::A_Const(constant) => match constant.val() {
            Some(ConstValue::Boolean(value)) => Some(value),
            Some(ConstValue::String(word)) => match word.to_ascii_lowercase().as_str() {
                "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
                "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
                _ => None,
            },
            None => Some(false),
            _ => None,
        },
        // The first of its values that there is.
        Node::CoalesceExpr(coalesce) => {
            let is_null = |node: &Node<'_>| matches!(node, Node::A_Const(constant) if constant.val().is_none());
            coalesce.args().iter().find(|value| !is_null(value)).and_then(truth)
        }
        Node::A_Expr(operation) if operation.kind == A_Expr_Kind::AEXPR_OP => {
            let equal = are_equal(operation.lexpr(), operation.rexpr())?;
            match text::strings(operation.name())[..] {
                ["="] => Some(equal),
                ["<>"] => Some(!equal),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Sources whose columns an expression looks at, inside of subqueries too.
fn sources_in(node: Node<'_>, scope: &Scope<'_>) -> Sources {
    let mut sources = Sources::NONE;
    let mut left = vec![node];
    while let Some(node) = left.pop() {
        match node {
            Node::ColumnRef(column) => {
                sources = sources.with(scope.candidates(&text::strings(column.fields())));
            }
            Node::SubLink(link) => sublink_parts(link, &mut left),
            // What is not known has nothing that restricts.
            other => drop(tree::below(other, &mut left)),
        }
    }
    sources
}

/// What a subquery compares with the query around it: the row before it, and its own condition.
fn sublink_parts<'a>(link: &'a SubLink, left: &mut Vec<Node<'a>>) {
    left.push(link.testexpr());
    if let Node::SelectStmt(select) = link.subselect() {
        // Only with the name of its source: a bare column is most likely one of the subquery. A source of the subquery
        // hides one of the same name.
        let hidden = names_of(select.from_clause());
        let is_outer = |node: &Node<'_>| match node {
            Node::ColumnRef(column) => {
                !text::strings(column.fields()).iter().rev().skip(1).any(|of| hidden.contains(of))
            }
            _ => false,
        };
        left.extend(qualified_columns(select.where_clause()).into_iter().filter(is_outer));
    }
}

/// What the sources of a FROM are called.
fn names_of(items: &NodeList) -> Vec<&str> {
    let mut names = Vec::new();
    let mut left: Vec<Node<'_>> = items.iter().collect();
    while let Some(item) = left.pop() {
        let (alias, name) = match item {
            Node::RangeVar(relation) => (relation.alias(), relation.relname()),
            Node::RangeSubselect(query) => (query.alias(), None),
            Node::RangeFunction(function) => (function.alias(), None),
            Node::RangeTableFunc(table) => (table.alias(), None),
            Node::JsonTable(table) => (table.alias(), None),
            Node::RangeTableSample(sample) => {
                left.push(sample.relation());
                continue;
            }
            Node::JoinExpr(join) => {
                left.extend([join.larg(), join.rarg()]);
                (join.alias(), None)
            }
            _ => continue,
        };
        names.extend(alias.and_then(Alias::aliasname).or(name));
    }
    names
}

/// Columns with the name of their source in the parts of a condition.
fn qualified_columns(condition: Node<'_>) -> Vec<Node<'_>> {
    let mut columns = Vec::new();
    let mut left = vec![condition];
    while let Some(node) = left.pop() {
        match node {
            Node::BoolExpr(operation) => left.extend(operation.args()),
            Node::A_Expr(operation) => left.extend([operation.lexpr(), operation.rexpr()]),
            Node::ColumnRef(column) if column.fields().len() > 1 => columns.push(node),
            _ => {}
        }
    }
    columns
}
