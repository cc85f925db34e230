//! Conditions: which values decide which rows there are, and how closely they are looked at.
//!
//! A test for equality with a constant tells whoever knows a value that it is there; any other test narrows down values
//! that nobody knows.

use model::lineage::Origin;
use pg_raw_parse::Node;
use pg_raw_parse::nodes::{A_Expr, A_Expr_Kind, ColumnRef, RowExpr, SubLink, SubLinkType, TypeCast};

use crate::grammar::untyped;
use crate::lineage::Trace;
use crate::lineage::row::{Has, Row};
use crate::lineage::scalar;
use crate::name::Names;
use crate::tree;
use crate::walk::text;

/// Casts that keep a text as it is.
const TEXTS: &[&str] = &["text", "varchar"];

impl<'a> Trace<'a> {
    /// Walks a condition.
    pub(super) fn condition(&mut self, node: Node<'a>) {
        let mut left = vec![node];
        while let Some(node) = left.pop() {
            match node {
                Node::None => {}
                Node::BoolExpr(operation) => left.extend(operation.args()),
                // IS TRUE and its kin tell NULL apart, too.
                Node::BooleanTest(test) => left.push(test.arg()),
                // Whether there is a value says little about it.
                Node::NullTest(test) if self.is_as_stored(test.arg()) => drop(self.expression(test.arg())),
                Node::ColumnRef(_) if self.is_as_stored(node) => {
                    let origin = self.expression(node);
                    self.note_matched(&origin);
                }
                Node::A_Expr(operation) if is_equality(operation) => {
                    self.calls_behind(node);
                    match (operation.lexpr(), rows_of(operation)) {
                        (Node::RowExpr(tested), Some(rows)) => self.rows_equal(tested, &rows),
                        (left, _) => self.equality(left, operation.rexpr()),
                    }
                }
                Node::SubLink(link) if link.sub_link_type == SubLinkType::EXISTS_SUBLINK => drop(self.expression(node)),
                Node::SubLink(link) if is_membership(link) => {
                    self.calls_behind(node);
                    self.membership(link);
                }
                other => {
                    let origin = self.expression(other);
                    self.note_compared(&origin);
                }
            }
        }
    }

    fn equality(&mut self, left: Node<'a>, right: Node<'a>) {
        let origins = [self.expression(left), self.expression(right)];
        match (self.is_as_stored(left), self.is_as_stored(right)) {
            (true, true) => self.note_joined(&origins[0], &origins[1]),
            _ if is_constant(self.names, right) && self.is_tested(left) => self.note_matched(&origins[0]),
            _ if is_constant(self.names, left) && self.is_tested(right) => self.note_matched(&origins[1]),
            _ => origins.iter().for_each(|origin| self.note_compared(origin)),
        }
    }

    /// `(a, b) = (1, 2)`, `(a, b) IN ((1, 2), (3, 4))`: place by place.
    fn rows_equal(&mut self, tested: &'a RowExpr, rows: &[&'a RowExpr]) {
        for (place, left) in tested.args().iter().enumerate() {
            let at_place: Vec<_> = rows.iter().filter_map(|row| row.args().get(place)).collect();
            if let [right] = at_place[..] {
                self.equality(left, right);
                continue;
            }
            let origin = self.expression(left);
            let others = at_place.iter().fold(Origin::none(), |others, node| others.or(self.expression(*node)));
            if self.is_tested(left) && at_place.iter().all(|node| is_constant(self.names, *node)) {
                self.note_matched(&origin);
            } else {
                self.note_compared(&origin);
                self.note_compared(&others);
            }
        }
    }

    /// Whether a test for equality with a constant says no more of it than such a test of a column: also where a constant
    /// stands for NULL. One with a type could make the type of the whole one that is rounded.
    fn is_tested(&mut self, node: Node<'a>) -> bool {
        let Node::CoalesceExpr(coalesce) = node else { return self.is_as_stored(node) };
        let mut parts = coalesce.args().iter();
        parts.next().is_some_and(|first| self.is_as_stored(first)) && parts.all(|part| matches!(part, Node::A_Const(_)))
    }

    fn note_matched(&mut self, origin: &Origin) {
        self.lineage.matched.extend(origin.sources().cloned());
    }

    /// `column IN (SELECT ...)`
    fn membership(&mut self, link: &'a SubLink) {
        let row = self.query(link.subselect());
        let tested = self.expression(link.testexpr());
        if self.is_as_stored(link.testexpr()) && row.is_as_stored() {
            self.note_joined(&tested, &row.whole());
        } else {
            self.note_compared(&tested);
            self.note_compared(&row.whole());
        }
    }

    /// GROUP BY and DISTINCT ON, and ORDER BY: columns by themselves say which values are equal, or in which order; of
    /// anything else the outcome shows in the rows. A bare name or a number may stand for an output.
    pub(super) fn grouping(&mut self, node: Node<'a>, outputs: &Row) {
        let mut left = vec![node];
        while let Some(node) = left.pop() {
            match node {
                Node::GroupingSet(set) => left.extend(set.content()),
                Node::SortBy(sort) => {
                    self.calls_behind(node);
                    left.push(sort.node());
                }
                _ => {
                    let output = output_of(node, outputs);
                    output.iter().for_each(|origin| self.note_ordered(origin));
                    output.iter().filter(|origin| !is_stored(origin)).for_each(|origin| self.note_compared(origin));
                    // Where an input is called so as well, either may be meant.
                    if output.is_none() || bare_name(node).is_some_and(|name| self.is_input(name)) {
                        let origin = self.expression(node);
                        self.note_ordered(&origin);
                        if !self.is_as_stored(node) {
                            self.note_compared(&origin);
                        }
                    }
                }
            }
        }
    }
}

/// The output that a name or a number stands for. Stars count for all of their columns.
fn output_of(node: Node<'_>, outputs: &Row) -> Option<Origin> {
    match node {
        Node::A_Const(_) => {
            let place: usize = text::constant(node)?.parse().ok()?;
            outputs.nth(place.checked_sub(1)?)
        }
        _ => match outputs.find(bare_name(node)?) {
            Has::Yes(origin) | Has::Maybe(origin) => Some(origin),
            Has::No => None,
        },
    }
}

fn bare_name(node: Node<'_>) -> Option<&str> {
    match node {
        Node::ColumnRef(column) => text::single(column.fields()),
        _ => None,
    }
}

impl<'a> Trace<'a> {
    /// Whether it is a column by itself whose values are as they are stored: what a subquery makes of them is not.
    pub(super) fn is_as_stored(&mut self, node: Node<'a>) -> bool {
        plain(node).is_some_and(|column| {
            let origin = self.column(column);
            is_stored(&origin) && (matches!(node, Node::ColumnRef(_)) || self.is_exact(&origin))
        })
    }

    /// Whether the text of a value is as good as the value.
    fn is_exact(&self, origin: &Origin) -> bool {
        origin.sources().all(|column| {
            let relation = self.names.catalogue.relation(&column.schema, &column.relation);
            relation.is_none_or(|relation| !relation.inexact.contains(&column.name))
        })
    }
}

/// Whether values are as they are stored, or of no stored value.
pub(super) fn is_stored(origin: &Origin) -> bool {
    match origin {
        Origin::Direct(_) => true,
        Origin::Derived(sources) => sources.is_empty(),
        Origin::Unknown(_) => false,
    }
}

/// A column by itself, perhaps as text, perhaps in other letters.
fn plain(node: Node<'_>) -> Option<&ColumnRef> {
    let column = |node| match node {
        Node::ColumnRef(column) => Some(column),
        _ => None,
    };
    match node {
        Node::TypeCast(cast) if is_text(cast) => column(cast.arg()),
        Node::FuncCall(call) => {
            let names = text::strings(call.funcname());
            let folds = matches!(names[..], ["lower" | "upper"] | ["pg_catalog", "lower" | "upper"]);
            call.args().first().filter(|_| folds && call.args().len() == 1).and_then(column)
        }
        other => column(other),
    }
}

fn is_text(cast: &TypeCast) -> bool {
    let Some(name) = cast.type_name() else { return false };
    let names = text::strings(untyped(name.names()));
    name.typmods().is_empty()
        && name.array_bounds().is_empty()
        && matches!(names[..], [name] | ["pg_catalog", name] if TEXTS.contains(&name))
}

/// A value that is the same for all rows, and brings no collation with it: one for which different texts are equal makes of
/// a test for equality one for a range. A domain may have such a one.
fn is_constant(names: Names<'_>, node: Node<'_>) -> bool {
    let mut left = vec![node];
    while let Some(node) = left.pop() {
        let is_other = match node {
            Node::ColumnRef(_) | Node::SubLink(_) | Node::CollateClause(_) => true,
            Node::TypeCast(cast) => !cast.type_name().is_some_and(|of| scalar::is_type(names, of)),
            _ => false,
        };
        if is_other || !(tree::is_leaf(node) || tree::below(node, &mut left)) {
            return false;
        }
    }
    true
}

/// The rows on the right of a test for equality, where there is nothing else.
fn rows_of(operation: &A_Expr) -> Option<Vec<&RowExpr>> {
    let row = |node| match node {
        Node::RowExpr(row) => Some(row),
        _ => None,
    };
    let width = row(operation.lexpr())?.args().len();
    let rows: Vec<&RowExpr> = match (operation.kind, operation.rexpr()) {
        (A_Expr_Kind::AEXPR_IN, Node::NodeList(list)) => list.iter().map(row).collect::<Option<_>>()?,
        (A_Expr_Kind::AEXPR_OP, right) => vec![row(right)?],
        _ => return None,
    };
    rows.iter().all(|row| row.args().len() == width).then_some(rows)
}

/// `=`, `<>`, IN, `= ANY`, IS DISTINCT FROM.
fn is_equality(operation: &A_Expr) -> bool {
    let is_equal = matches!(text::single(operation.name()), Some("=" | "<>"));
    match operation.kind {
        A_Expr_Kind::AEXPR_OP | A_Expr_Kind::AEXPR_OP_ANY | A_Expr_Kind::AEXPR_OP_ALL | A_Expr_Kind::AEXPR_IN => {
            is_equal
        }
        A_Expr_Kind::AEXPR_DISTINCT | A_Expr_Kind::AEXPR_NOT_DISTINCT => true,
        _ => false,
    }
}

/// IN (SELECT ...), also as `= ANY (SELECT ...)`.
fn is_membership(link: &SubLink) -> bool {
    link.sub_link_type == SubLinkType::ANY_SUBLINK
        && (link.oper_name().is_empty() || text::single(link.oper_name()) == Some("="))
}
