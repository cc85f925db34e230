//! Relations of the catalogue: tables with those above and below them, views by their definitions.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::Arc;

use model::Known;
use model::facts::{Name, UnknownSchema};
use model::lineage::{Lineage, Origin, Sources, StoredColumn, UnknownLineage};
use pg_raw_parse::Node;
use pg_raw_parse::nodes::RangeVar;

use crate::catalogue::rows::RelationKind;
use crate::catalogue::{Catalogue, Relation};
use crate::grammar::Tree;
use crate::lineage::Trace;
use crate::lineage::row::{Field, Row};
use crate::lineage::scope::{Item, Scope};
use crate::name::{Names, PG_CATALOG, is_temporary};
use crate::state::{State, Temporary};

/// Views behind views, and queries inside each other in one of them.
pub(super) const DEPTH_MAX: usize = 32;
/// Tables above and below one table that are followed.
const FAMILY_MAX: usize = 10_000;

/// What a relation is made of that does not keep values itself, or not only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    /// For each column, in order; `None`: it is kept as it is.
    columns: Vec<Option<Origin>>,
    /// What a view reads, also for its conditions.
    reads: Sources,
    calls: BTreeSet<Name>,
    /// Columns whose values stand in one of its own.
    mixed: BTreeSet<(Sources, Sources)>,
    unknown: Option<UnknownLineage>,
}

/// A session in which the definitions of the catalogue are read: no schema is looked up but `pg_catalog`.
pub(super) fn nobody() -> State {
    State { search_path: Known::Known(Arc::from([])), ..State::new(Arc::from("")) }
}

impl<'a> Trace<'a> {
    /// A relation, or a WITH query of that name.
    pub(super) fn range_var(&mut self, relation: &'a RangeVar) -> Row {
        let name = relation.relname().unwrap_or_default();
        if relation.schemaname().is_none()
            && let Some((_, row)) = self.ctes.iter().rev().find(|(called, _)| **called == *name)
        {
            let row = row.clone();
            if let Row::Every(Origin::Unknown(reason)) = row {
                self.unknown(reason);
            }
            return row;
        }
        self.table(relation)
    }

    /// Schema of a relation, where it is one and that is known.
    pub(super) fn schema_of(&self, relation: &RangeVar) -> Option<Arc<str>> {
        let name = relation.relname().unwrap_or_default();
        if relation.schemaname().is_none() && self.ctes.iter().any(|(called, _)| **called == *name) {
            return None;
        }
        self.names.relation(relation.schemaname(), name).schema.known().map(|schema| Arc::from(&**schema))
    }

    /// A relation, whatever WITH says.
    pub(super) fn table(&mut self, relation: &RangeVar) -> Row {
        if let Some(row) = self.temporary(relation) {
            return row;
        }
        if self.names.made(relation.schemaname(), relation.relname().unwrap_or_default()).is_some() {
            return Row::Every(Origin::none());
        }
        match self.relation(relation) {
            Ok(found) => self.row_of(found),
            Err(reason) => Row::Every(self.unknown(reason)),
        }
    }

    /// A temporary relation of this session. Nothing protected gets into one that only followed statements write to; but if
    /// it was dropped meanwhile, the name stands for what it has hidden.
    fn temporary(&mut self, relation: &RangeVar) -> Option<Row> {
        let Names { state, catalogue } = self.names;
        let name = relation.relname().unwrap_or_default();
        let is_its_schema = relation.schemaname().is_none() || is_temporary(relation.schemaname());
        if !state.temporary.is_followed(name) || !is_its_schema || !state.changed.is_nothing() || !catalogue.is_known()
        {
            return None;
        }
        let without = State { temporary: Temporary::None, ..state.clone() };
        let hidden = Names { state: &without, catalogue }.relation(None, name);
        match &hidden.schema {
            Known::Known(schema) => {
                let hidden = catalogue.relation(schema, &hidden.name)?;
                Some(Row::Every(self.row_of(hidden).whole()))
            }
            Known::Unknown(UnknownSchema::NotFound) => Some(Row::Every(Origin::none())),
            Known::Unknown(_) => None,
        }
    }

    /// A table as COPY sees it that names no columns: without the generated ones.
    pub(super) fn copied(&mut self, relation: &RangeVar) -> Row {
        let generated: Vec<_> = self
            .relation(relation)
            .map_or_else(|_| Vec::new(), |table| table.generated.iter().map(|(name, _)| Arc::clone(name)).collect());
        match self.table(relation) {
            Row::Columns(mut fields) => {
                fields.retain(|field| field.name.as_ref().is_none_or(|name| !generated.contains(name)));
                Row::Columns(fields)
            }
            every => every,
        }
    }

    /// The row of the catalogue. What this session has changed is not in it.
    pub(super) fn relation(&self, relation: &RangeVar) -> Result<&'a Relation, UnknownLineage> {
        let Names { state, catalogue } = self.names;
        if !catalogue.is_known() {
            return Err(UnknownLineage::NoCatalogue);
        }
        if state.changed.is_everything() || state.functions_changed {
            return self.table_of_server(relation).ok_or(UnknownLineage::Relation);
        }
        let name = self.names.relation(relation.schemaname(), relation.relname().unwrap_or_default());
        let schema = name.schema.known().ok_or(UnknownLineage::Relation)?;
        let found = catalogue.relation(schema, &name.name).filter(|found| !self.names.is_changed(found));
        found.ok_or(UnknownLineage::Relation)
    }

    /// The table of the server itself that it can only be, whatever a session has changed: nobody makes or changes one. A
    /// view of the server's may call what was replaced.
    fn table_of_server(&self, relation: &RangeVar) -> Option<&'a Relation> {
        let is_meant = match relation.schemaname() {
            Some(schema) => schema == PG_CATALOG,
            // Temporary ones are found before.
            None => self.names.looks_there_first() && self.names.state.temporary == Temporary::None,
        };
        let found = self.names.catalogue.relation(PG_CATALOG, relation.relname().unwrap_or_default());
        found.filter(|found| is_meant && found.kind == RelationKind::Table)
    }

    pub(super) fn row_of(&mut self, relation: &'a Relation) -> Row {
        if !self.spend(relation.columns.len()) {
            return Row::unknown(UnknownLineage::TooLarge);
        }
        if relation.kind == RelationKind::Sequence {
            return Row::Every(Origin::none());
        }
        let made = self.made(relation);
        if let Some(made) = &made {
            self.lineage.reads.extend(made.reads.iter().cloned());
            self.lineage.calls.extend(made.calls.iter().cloned());
            self.mixed.extend(made.mixed.iter().cloned());
            self.lineage.unknown = self.lineage.unknown.or(made.unknown);
        }
        let family = family(self.names.catalogue, relation);
        let field = |(place, name): (usize, &Arc<str>)| {
            let of_view = made.as_ref().and_then(|made| made.columns.get(place)?.clone());
            let origin = of_view.unwrap_or_else(|| stored(&family, name));
            Field { name: Some(Arc::clone(name)), origin }
        };
        Row::Columns(relation.columns.iter().enumerate().map(field).collect())
    }

    /// What is behind a view or a generated column; read once for each snapshot.
    fn made(&mut self, relation: &'a Relation) -> Option<Arc<Made>> {
        let is_view = matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView);
        if !is_view && relation.generated.is_empty() {
            return None;
        }
        if let Some(known) = relation.made.get() {
            return Some(Arc::clone(known));
        }
        let catalogue = self.names.catalogue;
        let depth_max = self.depth_max.min(DEPTH_MAX).saturating_sub(self.depth).saturating_sub(1);
        let made = Arc::new(if depth_max == 0 {
            Made::unknown(relation, UnknownLineage::TooLarge)
        } else if is_view {
            view(catalogue, relation, depth_max)
        } else {
            generated(catalogue, relation, depth_max)
        });
        // One that is too deep here need not be so elsewhere.
        if made.unknown != Some(UnknownLineage::TooLarge) {
            let _ = relation.made.set(Arc::clone(&made));
        }
        Some(made)
    }
}

impl Made {
    fn unknown(relation: &Relation, reason: UnknownLineage) -> Self {
        let columns = relation.columns.iter().map(|_| Some(Origin::Unknown(reason))).collect();
        Self { columns, unknown: Some(reason), ..Self::default() }
    }
}

/// The column itself, and those of the same name in tables whose rows are also rows of this one.
fn stored(family: &[&Relation], name: &Arc<str>) -> Origin {
    let with = family.iter().filter(|relation| relation.columns.contains(name));
    let sources: Sources = with
        .map(|relation| StoredColumn {
            schema: Arc::clone(&relation.schema),
            relation: Arc::clone(&relation.name),
            name: Arc::clone(name),
        })
        .collect();
    Origin::Direct(Arc::new(sources))
}

/// A table, and the tables above and below it.
pub(super) fn family<'a>(catalogue: &'a Catalogue, first: &'a Relation) -> Vec<&'a Relation> {
    let mut found = vec![first];
    let mut place = 0;
    while let Some(relation) = found.get(place).copied() {
        let more: Vec<_> = catalogue.children(relation).chain(catalogue.parents(relation)).collect();
        for other in more {
            if found.len() < FAMILY_MAX && !found.iter().any(|known| std::ptr::eq(*known, other)) {
                found.push(other);
            }
        }
        place += 1;
    }
    found
}

/// What a view is defined as.
fn view(catalogue: &Catalogue, view: &Relation, depth_max: usize) -> Made {
    let unknown = || Made::unknown(view, UnknownLineage::View);
    let Some(definition) = view.definition.as_deref() else { return unknown() };
    let made = read(catalogue, definition, depth_max, |trace, node| match node {
        Node::SelectStmt(select) => Some(trace.select(select)),
        _ => None,
    });
    let Some((row, mut made)) = made else { return unknown() };
    match row {
        Row::Columns(fields) if fields.len() == view.columns.len() => {
            made.columns = fields.into_iter().map(|field| Some(field.origin)).collect();
            made
        }
        Row::Every(origin) => {
            made.columns = view.columns.iter().map(|_| Some(origin.clone())).collect();
            made
        }
        Row::Columns(_) => unknown(),
    }
}

/// What the generated columns of a table are made of.
fn generated(catalogue: &Catalogue, table: &Relation, depth_max: usize) -> Made {
    let family = family(catalogue, table);
    let fields = table.columns.iter().map(|name| Field { name: Some(Arc::clone(name)), origin: stored(&family, name) });
    let own = Item::new(Some(&table.name), Row::Columns(fields.collect()));
    let mut made = Made { columns: vec![None; table.columns.len()], ..Made::default() };
    for (column, expression) in &table.generated {
        let Some(place) = table.columns.iter().position(|name| name == column) else { continue };
        let text = format!("SELECT {expression}");
        let of_column = read(catalogue, &text, depth_max, |trace, node| match node {
            Node::SelectStmt(select) => Some(trace.within(Scope::of(own.clone()), |trace| trace.select(select)).0),
            _ => None,
        });
        let origin = match of_column {
            Some((row, more)) => {
                made.calls.extend(more.calls);
                made.unknown = made.unknown.or(more.unknown);
                // What it is called by itself is protected as well as what it is made of.
                row.whole().or(stored(&family, column)).derived()
            }
            None => Origin::Unknown(UnknownLineage::View),
        };
        if let Some(slot) = made.columns.get_mut(place) {
            *slot = Some(origin);
        }
    }
    made
}

/// Reads a text of the catalogue: one statement.
fn read(
    catalogue: &Catalogue,
    text: &str,
    depth_max: usize,
    follow: impl for<'t> FnOnce(&mut Trace<'t>, Node<'t>) -> Option<Row>,
) -> Option<(Row, Made)> {
    let text = CString::new(text).ok()?;
    let tree = Tree::parse(&text, true).ok()?;
    let state = nobody();
    let mut trace = Trace::new(Names { state: &state, catalogue }, depth_max);
    let row = follow(&mut trace, tree.statements().next()?)?;
    let Lineage { reads, calls, unknown, .. } = trace.lineage;
    let made = Made { columns: Vec::new(), reads, calls, mixed: trace.mixed, unknown };
    Some((row, made))
}
