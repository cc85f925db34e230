//! Functions of users that only compute: one expression of their arguments, read as if it stood where they are called.
//!
//! Nothing else is followed. What a body reads or writes is found when it runs, by names that may mean something else by then, and
//! nothing keeps others from changing it meanwhile.

use std::ffi::CString;
use std::sync::Arc;

use model::lineage::{Lineage, Origin};
use pg_raw_parse::Node;
use pg_raw_parse::nodes::{SelectStmt, SetOperation};

use crate::catalogue::Body;
use crate::function;
use crate::grammar::Tree;
use crate::lineage::Trace;
use crate::lineage::function::leaves_traces;
use crate::lineage::row::{Field, Row};
use crate::lineage::scope::{Item, Scope};

/// Bodies that are read for one statement, also inside each other.
pub(super) const BODIES_MAX: usize = 64;

impl<'a> Trace<'a> {
    /// Whether a call only computes, whichever function of this name it means.
    pub(super) fn computes(&mut self, schema: Option<&'a str>, name: &'a str) -> bool {
        // One of the server's may be a better fit.
        let is_servers = function::is_harmless(name) || !function::effects(name).is_empty() || leaves_traces(name);
        if (schema.is_none() && is_servers) || self.bodies == 0 {
            return false;
        }
        let Some(schema) = self.names.only_function(schema, name) else { return false };
        let bodies = self.names.catalogue.bodies(schema, name);
        bodies.is_some_and(|bodies| bodies.iter().all(|body| self.body_computes(name, body)))
    }

    fn body_computes(&mut self, function: &str, body: &Body) -> bool {
        let Some(left) = self.bodies.checked_sub(1) else { return false };
        let Ok(text) = CString::new(&*body.text) else { return false };
        let Ok(tree) = Tree::parse(&text, self.names.state.standard_conforming_strings) else { return false };
        let mut statements = tree.statements();
        let (Some(Node::SelectStmt(select)), None) = (statements.next(), statements.next()) else { return false };
        if !is_expression(select) {
            return false;
        }
        let field = |name: &Arc<str>| Field { name: Some(Arc::clone(name)), origin: Origin::none() };
        let arguments = Item::new(Some(function), Row::Columns(body.arguments.iter().map(field).collect()));
        let depth_max = self.depth_max.saturating_sub(self.depth).saturating_sub(1);
        let mut trace = Trace::new(self.names, depth_max);
        trace.bodies = left;
        let (row, _) = trace.within(Scope::of(arguments), |trace| trace.select(select));
        self.bodies = trace.bodies;
        let reads_nothing = trace.queries == 0 && trace.effects == 0 && trace.lineage == Lineage::default();
        reads_nothing && !matches!(row.whole(), Origin::Unknown(_))
    }
}

/// Whether a query is `SELECT expression`, and nothing more.
fn is_expression(select: &SelectStmt) -> bool {
    let is_more = [
        select.from_clause().is_empty(),
        select.group_clause().is_empty(),
        select.window_clause().is_empty(),
        select.sort_clause().is_empty(),
        select.locking_clause().is_empty(),
        select.distinct_clause().is_empty(),
    ]
    .contains(&false);
    let nodes = [select.where_clause(), select.having_clause(), select.limit_count(), select.limit_offset()];
    select.op == SetOperation::SETOP_NONE
        && select.target_list().len() == 1
        && select.with_clause().is_none()
        && select.into_clause().is_none()
        && !is_more
        && nodes.iter().all(|node| matches!(node, Node::None))
}
