//! What lies behind a view.
//!
//! The catalogue's dependencies name the tables and functions of users. Of the server's own objects it has none
//! (`IsPinnedObject`), so the definition is read for these: a view of `pg_authid` reads verifiers.

use std::sync::Arc;

use model::Known;
use model::facts::{Action, Condition, Name, Object, StatementFacts};
use pg_raw_parse::nodes::RangeVar;

use crate::catalogue::Relation;
use crate::effects::ColumnSet;
use crate::limits::Limits;
use crate::name::PG_CATALOG;
use crate::state::State;
use crate::walk::{Standing, Walk};

/// The server's own views: policies know them by name, and which of them have secrets.
const OWN: &[&str] = &[PG_CATALOG, "information_schema"];

impl<'a> Walk<'a> {
    /// What a view reads; what is changed through a view is changed in one of those.
    pub(super) fn view(&mut self, action: Action, view: &'a Relation) -> Vec<(&'a Relation, ColumnSet)> {
        for (schema, name) in &view.calls {
            self.call_behind(schema, name);
        }
        let columns = |names: &[Arc<str>], whole_row: bool| {
            let mut columns = ColumnSet::default();
            names.iter().for_each(|name| columns.add(name));
            if whole_row {
                columns.add_every();
            }
            columns
        };
        let reads = self.names.catalogue.reads(view);
        let mut read: Vec<_> =
            reads.map(|(relation, names, whole_row)| (relation, columns(names, whole_row))).collect();
        self.read_of_server(view, &mut read);
        if action != Action::Select {
            read.iter_mut().for_each(|(_, columns)| columns.add_unknown());
        }
        read
    }

    /// What a materialized view reads when it is filled again.
    pub(super) fn refreshed(&mut self, view: &'a RangeVar) {
        let name = self.relation_name(view);
        let Some(view) = self.known_relation(&name) else { return };
        for (relation, _) in self.view(Action::Select, view) {
            let name = Name { schema: Known::Known(Arc::clone(&relation.schema)), name: Arc::clone(&relation.name) };
            self.on_rows(Action::Select, &name, ColumnSet::all(), Condition::Everything);
        }
    }

    /// What the dependencies do not have, by the definition.
    fn read_of_server(&mut self, view: &'a Relation, read: &mut Vec<(&'a Relation, ColumnSet)>) {
        if OWN.contains(&&*view.schema) {
            return;
        }
        let Some(facts) = self.defined_as(view) else { return };
        self.opaque.extend(facts.opaque.iter().copied());
        for effect in &facts.effects {
            match (effect.action, &effect.object) {
                (Action::Select, Object::Relation(name)) => match self.known_relation(name) {
                    Some(relation) if read.iter().any(|(known, _)| std::ptr::eq(*known, relation)) => {}
                    Some(relation) => read.push((relation, ColumnSet::from(effect.columns.clone()))),
                    None => self.effects.add_effect(effect.clone()),
                },
                // Functions of users are among the dependencies, those behind operators, too.
                (Action::Call, object) if !is_server_s(object) => {}
                _ => self.effects.add_effect(effect.clone()),
            }
        }
    }

    /// What the definition does by itself, without what lies behind its relations; read once for each snapshot.
    fn defined_as(&self, view: &'a Relation) -> Option<Arc<StatementFacts>> {
        if let Some(facts) = view.defined.get() {
            return Some(Arc::clone(facts));
        }
        let text = view.definition.as_deref()?;
        // The snapshot is fetched without a search path.
        let server_major = self.names.state.server_major;
        let mut state = State { search_path: Known::Known(Arc::from([])), server_major, ..State::new(Arc::from("")) };
        let nesting_max = self.limits.nesting_max.saturating_sub(self.depth);
        let limits = Limits { nesting_max, lineage: false, ..*self.limits };
        let read = crate::statements(text, &mut state, self.names.catalogue, &limits, Standing::View);
        let facts = match read {
            Ok(statements) => Arc::new(statements.into_iter().next()?),
            // One that is too deep here need not be so elsewhere.
            Err(reason) => return Some(Arc::new(StatementFacts { opaque: vec![reason], ..StatementFacts::default() })),
        };
        if facts.opaque.is_empty() {
            let _ = view.defined.set(Arc::clone(&facts));
        }
        Some(facts)
    }
}

fn is_server_s(object: &Object) -> bool {
    match object {
        Object::Function(name) => name.schema.known().is_some_and(|schema| **schema == *PG_CATALOG),
        _ => false,
    }
}
