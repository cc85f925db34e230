//! ON CONFLICT: an update of the rows that stand in the way of an INSERT.

use model::facts::{Action, Condition};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{FuncCall, OnConflictClause, RangeVar, SetOperation};

use crate::function;
use crate::grammar::untyped;
use crate::name::PG_CATALOG;
use crate::tree;
use crate::walk::Walk;
use crate::walk::condition::Reach;
use crate::walk::text;

impl<'a> Walk<'a> {
    /// `inserted`: where the rows come from that are inserted.
    pub(super) fn on_conflict(&mut self, conflict: &'a OnConflictClause, relation: &'a RangeVar, inserted: Node<'a>) {
        if let Some(arbiter) = conflict.infer() {
            self.expressions(arbiter.index_elems());
            self.expression(arbiter.where_clause());
        }
        let targets = untyped(conflict.target_list());
        if !targets.is_empty() {
            let columns = self.targets(targets);
            let name = self.relation_name(relation);
            let is_bounded = self.is_written_out(inserted) || self.restricts_target(conflict.where_clause());
            let condition = if is_bounded { Condition::Some } else { Condition::Everything };
            self.on_rows(Action::Update, &name, columns, condition);
            self.expressions(targets);
            self.expression(conflict.where_clause());
        }
    }

    /// Whether a condition of DO UPDATE looks at the row that stands in the way: the target is the first source.
    fn restricts_target(&self, condition: Node<'a>) -> bool {
        match self.reach(condition) {
            Reach::Every => false,
            Reach::Nothing => true,
            Reach::Rows(sources) => sources.has(0),
        }
    }

    /// Whether the text has each row that is inserted: no more rows than those stand in the way. A query may give as many
    /// as there are.
    fn is_written_out(&self, inserted: Node<'a>) -> bool {
        let Node::SelectStmt(select) = inserted else { return matches!(inserted, Node::None) };
        let rows = select.values_lists();
        match rows.len() {
            _ if select.op != SetOperation::SETOP_NONE => false,
            0 => false,
            // The only row may have a function that gives several; where there are more rows the server takes none.
            1 => !self.may_give_rows(rows),
            _ => true,
        }
    }

    /// Whether a call in an expression may give several rows.
    fn may_give_rows(&self, expressions: &'a NodeList) -> bool {
        let mut left: Vec<Node<'a>> = expressions.iter().collect();
        while let Some(node) = left.pop() {
            if matches!(node, Node::FuncCall(call) if !self.gives_one_value(call)) {
                return true;
            }
            tree::below(node, &mut left);
        }
        false
    }

    fn gives_one_value(&self, call: &FuncCall) -> bool {
        match text::qualified(&text::strings(call.funcname())) {
            (None, name) => self.names.is_builtin_function(name) && function::gives_one_value(name),
            (Some(schema), name) => schema == PG_CATALOG && function::gives_one_value(name),
        }
    }
}
