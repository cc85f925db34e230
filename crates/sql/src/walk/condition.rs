//! The kind of a where-clause: whether it restricts the rows of a relation.
//!
//! Judged with care for the strict side: a condition counts only where it looks at a column of the relation and is not
//! true by its form. `WHERE true`, `1 = 1`, `id = id`, `$1`, `random() < 2` and `x OR true` restrict nothing.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{A_Expr, A_Expr_Kind, Alias, BoolExpr, BoolExprType, SubLink};
use pg_raw_parse::{ConstValue, Node};

use crate::walk::Walk;
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

    const fn not(self) -> Self {
        match self {
            Self::Every => Self::Every,
            Self::Nothing => Self::Every,
            Self::Rows(sources) => Self::Rows(sources),
        }
    }

    fn looking_at(sources: Sources) -> Self {
        if sources == Sources::NONE { Self::Every } else { Self::Rows(sources) }
    }
}

impl<'a> Walk<'a> {
    /// What a condition leaves of the sources of the nearest scope. No condition leaves all.
    pub(super) fn reach(&self, condition: Node<'a>) -> Reach {
        let Some(scope) = self.scopes.last() else { return Reach::Every };
        if scope.entries.len() > SOURCES_MAX {
            return Reach::Every;
        }
        reach(condition, scope, 0)
    }

    /// For each part of a condition that is joined by AND: the sources that it relates.
    pub(super) fn relations_between(&self, condition: Node<'a>) -> Vec<Sources> {
        let Some(scope) = self.scopes.last().filter(|scope| scope.entries.len() <= SOURCES_MAX) else {
            return Vec::new();
        };
        let parts = match condition {
            Node::BoolExpr(operation) if operation.boolop == BoolExprType::AND_EXPR => {
                operation.args().iter().collect()
            }
            part => vec![part],
        };
        let sources = parts.into_iter().map(|part| reach(part, scope, 0));
        sources.filter_map(|reach| if let Reach::Rows(sources) = reach { Some(sources) } else { None }).collect()
    }
}

/// Sources of a FROM among which restrictions are followed; with more of them nothing is restricted.
const SOURCES_MAX: usize = 64;

/// AND and OR inside each other that are looked into; deeper ones restrict nothing.
const DEPTH_MAX: usize = 64;

fn reach(mut node: Node<'_>, scope: &Scope<'_>, depth: usize) -> Reach {
    let mut negated = false;
    loop {
        match node {
            Node::BoolExpr(operation) if operation.boolop == BoolExprType::NOT_EXPR => {
                negated = !negated;
                node = operation.args().first().unwrap_or(Node::None);
            }
            Node::TypeCast(cast) => node = cast.arg(),
            Node::CollateClause(clause) => node = clause.arg(),
            _ => break,
        }
    }
    match truth(node) {
        Some(truth) if truth == negated => Reach::Nothing,
        Some(_) => Reach::Every,
        None if negated => positive(node, scope, depth).not(),
        None => positive(node, scope, depth),
    }
}

fn positive(node: Node<'_>, scope: &Scope<'_>, depth: usize) -> Reach {
    match node {
        Node::None => Reach::Every,
        Node::BoolExpr(_) if depth >= DEPTH_MAX => Reach::Every,
        Node::BoolExpr(operation) => combined(operation, scope, depth + 1),
        Node::A_Expr(operation) if is_always_true(operation, scope) => Reach::Every,
        // The row of a cursor.
        Node::CurrentOfExpr(_) => Reach::Rows(Sources::one(0)),
        other => Reach::looking_at(sources_in(other, scope)),
    }
}

fn combined(operation: &BoolExpr, scope: &Scope<'_>, depth: usize) -> Reach {
    let parts = operation.args().iter().map(|part| reach(part, scope, depth));
    if operation.boolop == BoolExprType::AND_EXPR {
        parts.fold(Reach::Every, Reach::and)
    } else {
        parts.fold(Reach::Nothing, Reach::or)
    }
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

/// Whether two constants are equal, where their form tells: two of one kind, without casts. `1 = 1.0` is true, and so is
/// `'t'::bool = 'true'::bool`.
fn are_equal(one: Node<'_>, other: Node<'_>) -> Option<bool> {
    let (Node::A_Const(one), Node::A_Const(other)) = (one, other) else { return None };
    match (one.val()?, other.val()?) {
        (ConstValue::Integer(one), ConstValue::Integer(other)) => Some(one == other),
        (ConstValue::Boolean(one), ConstValue::Boolean(other)) => Some(one == other),
        (ConstValue::String(one), ConstValue::String(other)) => Some(one == other),
        _ => None,
    }
}

/// Whether an operation holds for every row with values: a column compared with itself, a pattern that matches all.
fn is_always_true(operation: &A_Expr, scope: &Scope<'_>) -> bool {
    let operator = text::strings(operation.name());
    let reflexive = matches!(operator.last(), Some(&("=" | "<=" | ">=" | "~~" | "~~*")));
    let same = is_same_column(operation.lexpr(), operation.rexpr(), scope);
    let matches_all = || {
        text::constant(operation.rexpr()).is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte == b'%'))
    };
    match operation.kind {
        A_Expr_Kind::AEXPR_OP => reflexive && same,
        A_Expr_Kind::AEXPR_NOT_DISTINCT => same,
        A_Expr_Kind::AEXPR_LIKE | A_Expr_Kind::AEXPR_ILIKE => reflexive && (same || matches_all()),
        A_Expr_Kind::AEXPR_IN => {
            let list = operation.rexpr();
            let list = list.as_node_list();
            reflexive && list.is_some_and(|list| list.iter().any(|item| is_same_column(operation.lexpr(), item, scope)))
        }
        _ => false,
    }
}

/// Whether both are one column: by the same name, or one of them without the name of the only source there is.
fn is_same_column(one: Node<'_>, other: Node<'_>, scope: &Scope<'_>) -> bool {
    let (Node::ColumnRef(one), Node::ColumnRef(other)) = (one, other) else { return false };
    match (&text::strings(one.fields())[..], &text::strings(other.fields())[..]) {
        (one, other) if one == other => !one.is_empty(),
        ([column], [.., source, other]) | ([.., source, column], [other]) => {
            let [only] = &scope.entries[..] else { return false };
            column == other && only.called == Some(*source)
        }
        _ => false,
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
            Node::NodeList(list) => left.extend(list),
            Node::A_Expr(operation) => left.extend([operation.lexpr(), operation.rexpr()]),
            Node::BoolExpr(operation) => left.extend(operation.args()),
            Node::FuncCall(call) => left.extend(call.args()),
            Node::TypeCast(cast) => left.push(cast.arg()),
            Node::CollateClause(clause) => left.push(clause.arg()),
            Node::NullTest(test) => left.push(test.arg()),
            Node::BooleanTest(test) => left.push(test.arg()),
            Node::NamedArgExpr(argument) => left.push(argument.arg()),
            Node::A_Indices(indices) => left.extend([indices.lidx(), indices.uidx()]),
            Node::A_Indirection(indirection) => {
                left.extend(indirection.indirection());
                left.push(indirection.arg());
            }
            Node::A_ArrayExpr(array) => left.extend(array.elements()),
            Node::RowExpr(row) => left.extend(row.args()),
            Node::CoalesceExpr(coalesce) => left.extend(coalesce.args()),
            Node::MinMaxExpr(extremum) => left.extend(extremum.args()),
            Node::CaseExpr(case) => {
                left.extend(case.args());
                left.extend([case.arg(), case.defresult()]);
            }
            Node::CaseWhen(when) => left.extend([when.expr(), when.result()]),
            Node::SubLink(link) => sublink_parts(link, &mut left),
            // XML, JSON and whatever else: it restricts nothing.
            _ => {}
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
