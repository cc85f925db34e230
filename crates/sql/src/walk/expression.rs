//! Expressions: columns, calls, operators, subqueries.

use model::facts::{Action, Name, Object, OpaqueReason};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::ColumnRef;

use crate::called;
use crate::tree;
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
            Node::MergeSupportFunc(_) => self.since(17),
            _ => {}
        }
        tree::is_leaf(node)
    }

    /// Takes a node, and leaves what is below it.
    fn branch(&mut self, node: Node<'a>, left: &mut Vec<Node<'a>>) {
        self.calls(called::behind(self.names, node));
        match node {
            Node::SubLink(link) => self.query(link.subselect()),
            Node::FuncCall(call) => self.call(call),
            Node::JsonArrayQueryConstructor(array) => self.query(array.query()),
            _ => {}
        }
        self.document(node);
        if !tree::below(node, left) {
            self.opaque(OpaqueReason::Construct);
        }
    }

    /// A word of the grammar that is an ordinary name before this major: then it means something else there.
    pub(super) fn since(&mut self, major: u16) {
        if self.names.state.server_major.is_none_or(|server| server < major) {
            self.opaque(OpaqueReason::Construct);
        }
    }

    /// JSON.
    fn document(&mut self, node: Node<'a>) {
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
    }

    /// Functions of users run.
    pub(super) fn calls(&mut self, functions: impl IntoIterator<Item = Name>) {
        functions.into_iter().for_each(|name| self.effect(Action::Call, Object::Function(name)));
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
                    self.calls(called::attribute(self.names, column));
                }
                return;
            }
        }
        self.calls(called::attribute(self.names, column));
        // The name of a join, or of a composite column.
        self.bare_column(column);
        if !self.scopes.iter().any(|scope| scope.joins.contains(&source)) {
            self.bare_column(source);
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
