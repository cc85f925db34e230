//! Comparisons as sets of outcomes: several that are joined by OR hold for every row where they leave no outcome out.
//!
//! Rows in which an operand is NULL are left aside, as in `id = id`.

use std::cmp::Ordering;

use pg_raw_parse::nodes::{A_Expr, A_Expr_Kind, BoolTestType, NullTestType};
use pg_raw_parse::{ConstValue, Node};

use crate::walk::scope::Scope;
use crate::walk::text;

/// Calls and casts inside each other that are looked into when two operands are compared.
const DEPTH_MAX: usize = 8;

/// What is compared, in which way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    /// `<`, `=`, `>` and what they make together.
    Order,
    /// Whether an operator holds, without the `!` of its negation.
    Operator(&'a str),
    /// `IS NULL`.
    Null,
    /// `IS TRUE`, `IS FALSE`, `IS UNKNOWN`.
    Is(&'static str),
    /// A condition itself.
    Itself,
}

/// A test of a row.
#[derive(Clone, Copy)]
pub(super) struct Comparison<'a> {
    kind: Kind<'a>,
    left: Node<'a>,
    right: Node<'a>,
    /// Outcomes for which it holds.
    holds: u8,
}

const LESS: u8 = 1;
const EQUAL: u8 = 2;
const GREATER: u8 = 4;

/// Outcomes of all kinds but order.
const TRUE: u8 = 1;
const FALSE: u8 = 2;

impl<'a> Comparison<'a> {
    /// Of a condition that is not made of others.
    pub(super) fn of(node: Node<'a>, negated: bool) -> Self {
        let (kind, left, right, holds) = match node {
            Node::NullTest(test) => {
                (Kind::Null, test.arg(), Node::None, two_valued(test.nulltesttype == NullTestType::IS_NULL))
            }
            Node::BooleanTest(test) => {
                let (word, positive) = match test.booltesttype {
                    BoolTestType::IS_TRUE => ("true", true),
                    BoolTestType::IS_NOT_TRUE => ("true", false),
                    BoolTestType::IS_FALSE => ("false", true),
                    BoolTestType::IS_NOT_FALSE => ("false", false),
                    BoolTestType::IS_UNKNOWN => ("unknown", true),
                    _ => ("unknown", false),
                };
                (Kind::Is(word), test.arg(), Node::None, two_valued(positive))
            }
            Node::A_Expr(operation) => operator(operation),
            other => (Kind::Itself, other, Node::None, TRUE),
        };
        let mut comparison = Self { kind, left, right, holds };
        if negated {
            comparison.holds ^= comparison.outcomes();
        }
        comparison
    }

    const fn outcomes(&self) -> u8 {
        match self.kind {
            Kind::Order => LESS | EQUAL | GREATER,
            _ => TRUE | FALSE,
        }
    }

    pub(super) const fn is_all(&self) -> bool {
        self.holds == self.outcomes()
    }

    /// Its value where it compares something with itself, also moved by a number, or two numbers.
    pub(super) fn of_equals(&self, scope: &Scope<'_>) -> Option<bool> {
        if self.kind != Kind::Order {
            return None;
        }
        let ((left, above), (right, below)) = (shifted(self.left), shifted(self.right));
        let order = if is_same(left, right, scope) {
            above.cmp(&below)
        } else {
            number(self.left, scope)?.cmp(&number(self.right, scope)?)
        };
        Some(self.holds & outcome(order) != 0)
    }

    /// Adds the outcomes of another one of the same operands.
    pub(super) fn join(&mut self, other: &Self, scope: &Scope<'_>) {
        if self.kind != other.kind {
            return;
        }
        let same = |one, other| is_same(one, other, scope);
        if same(self.left, other.left) && same(self.right, other.right) {
            self.holds |= other.holds;
        } else if self.kind == Kind::Order && same(self.left, other.right) && same(self.right, other.left) {
            self.holds |= turned(other.holds);
        } else if self.kind == Kind::Order && same(self.left, other.left) && self.overlaps(other) {
            self.holds = self.outcomes();
        }
    }

    /// Whether one holds above a number and the other below a greater one: `id > 0 OR id < 9`.
    fn overlaps(&self, other: &Self) -> bool {
        let (Some(one), Some(another)) = (integer(self.right), integer(other.right)) else { return false };
        (one < another && self.holds & GREATER != 0 && other.holds & LESS != 0)
            || (another < one && self.holds & LESS != 0 && other.holds & GREATER != 0)
    }
}

const fn outcome(order: Ordering) -> u8 {
    match order {
        Ordering::Less => LESS,
        Ordering::Equal => EQUAL,
        Ordering::Greater => GREATER,
    }
}

/// What an expression is moved from by adding numbers, and by how much: `id + 1 - 0`, `1 * id`, `name || ''`.
fn shifted(mut node: Node<'_>) -> (Node<'_>, i64) {
    let mut by = 0_i64;
    while let Node::A_Expr(operation) = node
        && operation.kind == A_Expr_Kind::AEXPR_OP
    {
        let (left, right) = (operation.lexpr(), operation.rexpr());
        let empty = |node| text::constant(node).is_some_and(|text| text.is_empty());
        (node, by) = match (text::strings(operation.name())[..].last(), integer(left), integer(right)) {
            (Some(&"+"), _, Some(number)) => (left, by.saturating_add(number.into())),
            (Some(&"+"), Some(number), _) => (right, by.saturating_add(number.into())),
            (Some(&"+"), ..) if matches!(left, Node::None) => (right, by),
            (Some(&"-"), _, Some(number)) if !matches!(left, Node::None) => (left, by.saturating_sub(number.into())),
            (Some(&"*" | &"/"), _, Some(1)) => (left, by),
            (Some(&"*"), Some(1), _) => (right, by),
            (Some(&"||"), ..) if empty(right) => (left, by),
            (Some(&"||"), ..) if empty(left) => (right, by),
            _ => break,
        };
    }
    (node, by)
}

/// The number that an expression is for every row: `id - id`, `id * 0`, `id % 1`.
fn number(node: Node<'_>, scope: &Scope<'_>) -> Option<i64> {
    let Node::A_Expr(operation) = node else { return integer(node).map(i64::from) };
    let (left, right) = (operation.lexpr(), operation.rexpr());
    let is_zero = match *text::strings(operation.name()).last()? {
        "-" => is_same(left, right, scope),
        "*" => integer(left) == Some(0) || integer(right) == Some(0),
        "%" => integer(right) == Some(1),
        _ => false,
    };
    is_zero.then_some(0)
}

const fn two_valued(positive: bool) -> u8 {
    if positive { TRUE } else { FALSE }
}

/// The outcomes when the operands change places.
const fn turned(holds: u8) -> u8 {
    (holds & EQUAL) | if holds & LESS != 0 { GREATER } else { 0 } | if holds & GREATER != 0 { LESS } else { 0 }
}

fn operator<'a>(operation: &'a A_Expr) -> (Kind<'a>, Node<'a>, Node<'a>, u8) {
    let name = text::strings(operation.name()).last().copied().unwrap_or_default();
    let order = match name {
        "<" => LESS,
        "<=" => LESS | EQUAL,
        "=" => EQUAL,
        ">=" => EQUAL | GREATER,
        ">" => GREATER,
        "<>" => LESS | GREATER,
        _ => 0,
    };
    let (kind, holds) = match operation.kind {
        A_Expr_Kind::AEXPR_OP if order != 0 => (Kind::Order, order),
        A_Expr_Kind::AEXPR_IN => (Kind::Operator("in"), two_valued(name == "=")),
        A_Expr_Kind::AEXPR_BETWEEN => (Kind::Operator("between"), TRUE),
        A_Expr_Kind::AEXPR_NOT_BETWEEN => (Kind::Operator("between"), FALSE),
        A_Expr_Kind::AEXPR_BETWEEN_SYM => (Kind::Operator("between symmetric"), TRUE),
        A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM => (Kind::Operator("between symmetric"), FALSE),
        A_Expr_Kind::AEXPR_DISTINCT => (Kind::Operator("distinct"), TRUE),
        A_Expr_Kind::AEXPR_NOT_DISTINCT => (Kind::Operator("distinct"), FALSE),
        A_Expr_Kind::AEXPR_OP | A_Expr_Kind::AEXPR_LIKE | A_Expr_Kind::AEXPR_ILIKE | A_Expr_Kind::AEXPR_SIMILAR => {
            match name.strip_prefix('!') {
                Some(positive) => (Kind::Operator(positive), FALSE),
                None => (Kind::Operator(name), TRUE),
            }
        }
        _ => return (Kind::Itself, Node::A_Expr(operation), Node::None, TRUE),
    };
    (kind, operation.lexpr(), operation.rexpr(), holds)
}

/// Whether two expressions are one by their form: the same column, constant or parameter, or the same call of the same.
pub(super) fn is_same(one: Node<'_>, other: Node<'_>, scope: &Scope<'_>) -> bool {
    are_same(one, other, scope, 0)
}

fn are_same(one: Node<'_>, other: Node<'_>, scope: &Scope<'_>, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let same = |one, other| are_same(one, other, scope, depth + 1);
    match (one, other) {
        (Node::None, Node::None) => true,
        (Node::TypeCast(cast), other) | (other, Node::TypeCast(cast)) => same(cast.arg(), other),
        (Node::CollateClause(clause), other) | (other, Node::CollateClause(clause)) => same(clause.arg(), other),
        (Node::A_Const(_), Node::A_Const(_)) => are_equal(one, other) == Some(true),
        (Node::ParamRef(one), Node::ParamRef(other)) => one.number == other.number,
        (Node::FuncCall(one), Node::FuncCall(other)) => {
            text::strings(one.funcname()) == text::strings(other.funcname())
                && same(Node::NodeList(one.args()), Node::NodeList(other.args()))
        }
        (Node::A_Expr(one), Node::A_Expr(other)) => {
            one.kind == other.kind
                && text::strings(one.name()) == text::strings(other.name())
                && same(one.lexpr(), other.lexpr())
                && same(one.rexpr(), other.rexpr())
        }
        (Node::NodeList(one), Node::NodeList(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Node::RowExpr(one), Node::RowExpr(other)) => same(Node::NodeList(one.args()), Node::NodeList(other.args())),
        (Node::A_ArrayExpr(one), Node::A_ArrayExpr(other)) => {
            same(Node::NodeList(one.elements()), Node::NodeList(other.elements()))
        }
        (Node::CoalesceExpr(one), Node::CoalesceExpr(other)) => {
            same(Node::NodeList(one.args()), Node::NodeList(other.args()))
        }
        (Node::MinMaxExpr(one), Node::MinMaxExpr(other)) => {
            one.op == other.op && same(Node::NodeList(one.args()), Node::NodeList(other.args()))
        }
        (Node::ColumnRef(one), Node::ColumnRef(other)) => {
            is_same_column(&text::strings(one.fields()), &text::strings(other.fields()), scope)
        }
        _ => false,
    }
}

/// Whether both are one column: by the same name, or one of them without the name of the only source there is.
fn is_same_column(one: &[&str], other: &[&str], scope: &Scope<'_>) -> bool {
    match (one, other) {
        (one, other) if one == other => !one.is_empty(),
        ([column], [.., source, other]) | ([.., source, column], [other]) => {
            let [only] = &scope.entries[..] else { return false };
            column == other && only.called == Some(*source)
        }
        _ => false,
    }
}

pub(super) fn integer(mut node: Node<'_>) -> Option<i32> {
    loop {
        match node {
            Node::TypeCast(cast) => node = cast.arg(),
            Node::A_Const(constant) => match constant.val()? {
                ConstValue::Integer(value) => return Some(value),
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// Whether two constants are equal, where their form tells: two of one kind, without casts. `1 = 1.0` is true, and so is
/// `'t'::bool = 'true'::bool`.
pub(super) fn are_equal(one: Node<'_>, other: Node<'_>) -> Option<bool> {
    let (Node::A_Const(one), Node::A_Const(other)) = (one, other) else { return None };
    match (one.val()?, other.val()?) {
        (ConstValue::Integer(one), ConstValue::Integer(other)) => Some(one == other),
        (ConstValue::Boolean(one), ConstValue::Boolean(other)) => Some(one == other),
        (ConstValue::String(one), ConstValue::String(other)) => Some(one == other),
        // Different texts may be one number.
        (ConstValue::Float(one), ConstValue::Float(other)) if one == other => Some(true),
        _ => None,
    }
}
