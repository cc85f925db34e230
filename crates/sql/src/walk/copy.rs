//! COPY in all its forms.

use model::facts::{Action, Condition, Object, OpaqueReason};
use pg_raw_parse::Node;
use pg_raw_parse::nodes::CopyStmt;

use crate::effects::ColumnSet;
use crate::walk::Walk;
use crate::walk::text;

impl<'a> Walk<'a> {
    pub(super) fn copy(&mut self, copy: &'a CopyStmt) {
        match (copy.is_program, copy.filename()) {
            (true, _) => self.effect(Action::Program, Object::Server),
            (false, Some(_)) => self.effect(Action::ServerFile, Object::Server),
            (false, None) => {}
        }
        match (copy.relation(), copy.query()) {
            (Some(relation), _) if copy.is_from => {
                let mut from = self.target(relation);
                let name = self.relation_name(relation);
                let columns = columns(copy);
                self.on_rows(Action::Insert, &name, columns.clone(), Condition::NotApplicable);
                self.on_rows(Action::CopyIn, &name, columns, Condition::NotApplicable);
                // A condition looks at the rows that come, not at those that are there.
                from.scope.entries.clear();
                self.in_scope(from.scope, |walk| walk.expression(copy.where_clause()));
            }
            (Some(relation), _) => {
                let name = self.relation_name(relation);
                self.on_rows(Action::Select, &name, columns(copy), Condition::Everything);
                self.effects.add_on(Action::CopyOut, Object::Relation(name), columns(copy), Condition::NotApplicable);
            }
            (None, Node::None) => self.opaque(OpaqueReason::Construct),
            (None, query) => {
                self.effect(Action::CopyOut, Object::Session(None));
                self.query(query);
            }
        }
    }
}

fn columns(copy: &CopyStmt) -> ColumnSet {
    if copy.attlist().is_empty() {
        return ColumnSet::all();
    }
    let mut columns = ColumnSet::default();
    text::strings(copy.attlist()).into_iter().for_each(|name| columns.add(name));
    columns
}
