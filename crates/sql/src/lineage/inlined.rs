//! Functions of users that are queries, or only compute: read as if they stood where they are called. Their value is made of everything that they
//! read and of everything that they are given.

use std::ffi::CString;
use std::sync::Arc;

use model::lineage::{Lineage, Origin, Sources};
use pg_raw_parse::Node;
use pg_raw_parse::nodes::FuncCall;

use crate::catalogue::Body;
use crate::function;
use crate::grammar::Tree;
use crate::lineage::Trace;
use crate::lineage::row::{Field, Row};
use crate::lineage::scope::{Item, Scope};

/// Bodies that are read for one statement, also inside each other.
pub(super) const BODIES_MAX: usize = 64;

impl<'a> Trace<'a> {
    /// Where the value of a call comes from besides its arguments. `None`: that is not known.
    pub(super) fn inlined(&mut self, call: &'a FuncCall, schema: Option<&'a str>, name: &'a str) -> Option<Origin> {
        // One of the server's may be a better fit.
        let is_servers = schema.is_none() && (function::is_harmless(name) || !function::effects(name).is_empty());
        if is_servers || self.bodies == 0 || !self.is_in_query {
            return None;
        }
        let schema = self.names.only_function(schema, name)?;
        let bodies = self.names.catalogue.bodies(schema, name)?;
        let read = bodies.iter().map(|body| self.body(name, body)).collect::<Option<Vec<_>>>()?;
        let mut sources = Sources::new();
        for Trace { lineage, mixed, effects, .. } in read {
            self.lineage.calls.extend(lineage.calls);
            self.lineage.reads.extend(lineage.reads.iter().cloned());
            self.mixed.extend(mixed);
            self.effects += effects;
            sources.extend(lineage.reads);
        }
        let origin = Origin::Derived(Arc::new(sources));
        if bodies.iter().any(|body| body.returns_set) {
            let given = self.expressions(call.args());
            self.note_compared(&given);
            self.note_compared(&origin);
        }
        Some(origin)
    }

    /// What a body does; `None`: it is more than a query, or not understood.
    fn body(&mut self, function: &str, body: &Body) -> Option<Trace<'a>> {
        self.bodies = self.bodies.checked_sub(1)?;
        let Some(text) = body.text.as_deref() else { return Some(Trace::new(self.names, 0)) };
        let text = CString::new(text).ok()?;
        let tree = Tree::parse(&text, self.names.state.standard_conforming_strings).ok()?;
        let mut statements = tree.statements();
        let (Some(Node::SelectStmt(select)), None) = (statements.next(), statements.next()) else { return None };
        let field = |name: &Arc<str>| Field { name: Some(Arc::clone(name)), origin: Origin::none() };
        let arguments = Item::new(Some(function), Row::Columns(body.arguments.iter().map(field).collect()));
        let depth_max = self.depth_max.saturating_sub(self.depth).saturating_sub(1);
        let mut trace = Trace::new(self.names, depth_max);
        (trace.bodies, trace.is_in_query) = (self.bodies, true);
        let (row, _) = trace.within(Scope::of(arguments), |trace| trace.select(select));
        self.bodies = trace.bodies;
        let Lineage { stored, reads_unknown, unknown, .. } = &trace.lineage;
        let is_known = stored.is_empty() && reads_unknown.is_none() && unknown.is_none();
        let row = row.whole();
        let is_known = is_known && !matches!(row, Origin::Unknown(_));
        trace.lineage.reads.extend(row.sources().cloned());
        is_known.then_some(Trace { names: self.names, ..trace })
    }
}
