//! Expressions: a column by itself, or a value that is made of all columns in it.

use model::lineage::{Origin, UnknownLineage};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{A_Indirection, ColumnRef, SubLink, SubLinkType, WindowDef};

use crate::called;
use crate::grammar::untyped;
use crate::lineage::Trace;
use crate::lineage::row::Row;
use crate::tree;
use crate::walk::text;

impl<'a> Trace<'a> {
    /// Everything in a list, as one value.
    pub(super) fn expressions(&mut self, list: &'a NodeList) -> Origin {
        list.iter().fold(Origin::none(), |origin, node| {
            let next = self.expression(node);
            origin.or(next)
        })
    }

    /// Where a value comes from. Operators, casts and the like are chained without end, so without recursion.
    pub(super) fn expression(&mut self, node: Node<'a>) -> Origin {
        if let Node::ColumnRef(column) = node {
            return self.column(column);
        }
        if is_null(node) {
            self.calls_behind(node);
            return Origin::null();
        }
        let effects = self.effects;
        let mut origin = Origin::none();
        let mut left = vec![node];
        while let Some(node) = left.pop() {
            self.calls_behind(node);
            let own = match node {
                Node::ColumnRef(column) => self.column(column).derived(),
                Node::SubLink(link) => self.sublink(link),
                Node::JsonArrayQueryConstructor(array) => self.query(array.query()).whole(),
                Node::WindowDef(window) => {
                    let own = self.window(window);
                    origin = origin.or(self.windows.last().cloned().unwrap_or_else(Origin::none)).or(own);
                    continue;
                }
                Node::FuncCall(call) => {
                    if let Some(rest) = self.count(call) {
                        left.extend(rest);
                        continue;
                    }
                    self.call(call);
                    Origin::none()
                }
                _ => Origin::none(),
            };
            origin = origin.or(own);
            if !tree::is_leaf(node) && !tree::below(node, &mut left) {
                origin = self.unknown(UnknownLineage::Construct);
            }
        }
        let origin = origin.derived();
        // Others can see what such a call is given; and, under CASE or behind AND, from the rest whether it runs.
        if self.effects > effects {
            self.store(None, origin.clone());
        }
        origin
    }

    /// A subquery in an expression. Which rows it has is noted with the query itself.
    fn sublink(&mut self, link: &'a SubLink) -> Origin {
        let row = self.query(link.subselect());
        if link.sub_link_type == SubLinkType::EXISTS_SUBLINK { Origin::none() } else { row.whole() }
    }

    /// Operators, casts and attributes call functions; those of users may do anything.
    pub(super) fn calls_behind(&mut self, node: Node<'a>) {
        self.lineage.calls.extend(called::behind(self.names, node));
    }

    /// What the WINDOW clause is made of: whoever names a window is made of it, too.
    pub(super) fn window_clause(&mut self, list: &'a NodeList) -> Origin {
        list.iter().fold(Origin::none(), |origin, node| {
            let next = match node {
                Node::WindowDef(window) => self.window(window),
                _ => self.unknown(UnknownLineage::Construct),
            };
            origin.or(next)
        })
    }

    fn window(&mut self, window: &'a WindowDef) -> Origin {
        let origin = self.deeper(|trace| {
            let sorted = window.partition_clause().iter().chain(untyped(window.order_clause()));
            let bounds = trace.expression(window.start_offset()).or(trace.expression(window.end_offset()));
            sorted.fold(bounds, |origin, node| origin.or(trace.sorted_by(node)))
        });
        origin.unwrap_or(Origin::Unknown(UnknownLineage::TooLarge)).derived()
    }

    /// A key of a window: its rows come back in the order of such keys.
    pub(super) fn sorted_by(&mut self, node: Node<'a>) -> Origin {
        let key = match node {
            Node::SortBy(sort) => {
                self.calls_behind(node);
                sort.node()
            }
            other => other,
        };
        let origin = self.expression(key);
        self.note_ordered(&origin);
        if !self.is_as_stored(key) {
            self.note_compared(&origin);
        }
        origin
    }

    /// What stands for several columns in a list of outputs: `*`, `t.*`, `(t).*`. `None`: one value.
    pub(super) fn several(&mut self, node: Node<'a>) -> Option<Row> {
        match node {
            Node::ColumnRef(column) if is_star(column) => {
                let row = self.star(&text::strings(column.fields()));
                let row = row.unwrap_or_else(|| Row::Every(self.unknown(UnknownLineage::Column)));
                self.lineage.reads.extend(row.whole().sources().cloned());
                self.spend(row.width()).then_some(row)
            }
            Node::A_Indirection(indirection) if ends_with_star(indirection) => {
                Some(Row::Every(self.expression(indirection.arg()).derived()))
            }
            _ => None,
        }
    }
}

/// NULL as it is written, perhaps with a type: nothing is called for that but what checks a domain.
fn is_null(node: Node<'_>) -> bool {
    let value = match node {
        Node::TypeCast(cast) => cast.arg(),
        other => other,
    };
    matches!(value, Node::A_Const(constant) if constant.isnull)
}

/// Whether it is `*`, `t.*` or `(t).*`.
pub(super) fn stands_for_several(node: Node<'_>) -> bool {
    match node {
        Node::ColumnRef(column) => is_star(column),
        Node::A_Indirection(indirection) => ends_with_star(indirection),
        _ => false,
    }
}

fn ends_with_star(indirection: &A_Indirection) -> bool {
    matches!(indirection.indirection().iter().next_back(), Some(Node::A_Star(_)))
}

fn is_star(column: &ColumnRef) -> bool {
    matches!(column.fields().iter().next_back(), Some(Node::A_Star(_)))
}
