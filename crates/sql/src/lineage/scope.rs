//! What the columns of a query can belong to, and which one a name means.

use std::sync::Arc;

use model::lineage::{Origin, UnknownLineage};
use pg_raw_parse::Node;
use pg_raw_parse::nodes::ColumnRef;

use crate::called;
use crate::lineage::Trace;
use crate::lineage::row::{Has, Row};
use crate::walk::text;

/// Columns that every table has besides its own: nobody protects them.
const SYSTEM_COLUMNS: &[&str] = &["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// The sources of one FROM.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) items: Vec<Item>,
    /// What `*` stands for.
    pub(super) star: Row,
}

/// One source.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// What it is called in the query; `None`: it has no name.
    pub(super) called: Option<Arc<str>>,
    /// Schema of a relation that has no alias: only such a source can be called `schema.name`.
    schema: Option<Arc<str>>,
    /// Its columns have no names of their own: they stand for columns of others (`excluded`, `old`, USING ... AS).
    pub(super) qualified_only: bool,
    pub(super) row: Row,
}

impl Default for Scope {
    fn default() -> Self {
        Self { items: Vec::new(), star: Row::empty() }
    }
}

impl Scope {
    pub(super) fn of(item: Item) -> Self {
        Self { star: item.row.clone(), items: vec![item] }
    }

    /// The sources of both, one after the other.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.items.extend(other.items);
        Self { items: self.items, star: self.star.and(other.star) }
    }

    pub(super) fn width(&self) -> usize {
        self.items.iter().map(|item| item.row.width()).sum()
    }

    fn bare(&self, name: &str) -> Has {
        let (mut surely, mut perhaps) = (None, None);
        for item in self.items.iter().filter(|item| !item.qualified_only) {
            let (place, origin) = match item.row.find(name) {
                Has::Yes(origin) => (&mut surely, origin),
                Has::Maybe(origin) => (&mut perhaps, origin),
                Has::No => continue,
            };
            *place = Some(match place.take() {
                Some(known) => Origin::or(known, origin),
                None => origin,
            });
        }
        surely.map(Has::Yes).or(perhaps.map(Has::Maybe)).unwrap_or(Has::No)
    }

    pub(super) fn called(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.called.as_deref() == Some(name))
    }

    /// A relation by its whole name; an alias of the same name is another source.
    fn relation(&self, schema: &str, name: &str) -> Option<&Item> {
        let is_it = |item: &&Item| item.schema.as_deref() == Some(schema) && item.called.as_deref() == Some(name);
        self.items.iter().find(is_it)
    }
}

impl Item {
    pub(super) fn new(called: Option<&str>, row: Row) -> Self {
        Self { called: called.map(Arc::from), schema: None, qualified_only: false, row }
    }

    /// A relation without an alias. `schema`: `None`: it is not known.
    pub(super) fn of_relation(schema: Option<Arc<str>>, called: Option<&str>, row: Row) -> Self {
        Self { schema, ..Self::new(called, row) }
    }

    pub(super) fn qualified_only(called: &str, row: Row) -> Self {
        Self { called: Some(Arc::from(called)), schema: None, qualified_only: true, row }
    }
}

impl Trace<'_> {
    /// What a reference means; a whole row is one value.
    pub(super) fn column(&mut self, column: &ColumnRef) -> Origin {
        let sources: usize = self.scopes.iter().map(Scope::width).sum();
        if !self.spend(sources) {
            return Origin::Unknown(UnknownLineage::TooLarge);
        }
        let fields = column.fields();
        let is_star = matches!(fields.iter().next_back(), Some(Node::A_Star(_)));
        let names = text::strings(fields);
        let origin = match (&names[..], is_star) {
            (_, true) => self.star(&names).map(|row| row.whole()),
            ([name], false) => self.bare(name),
            ([source @ .., name], false) => self.qualified(source, name),
            ([], false) => None,
        };
        let origin = origin.unwrap_or_else(|| self.unknown(UnknownLineage::Column));
        self.lineage.reads.extend(origin.sources().cloned());
        origin
    }

    /// The columns that a star stands for.
    pub(super) fn star(&self, names: &[&str]) -> Option<Row> {
        match names {
            [] => self.scopes.last().map(|scope| scope.star.clone()),
            source => self.source_of(source).map(|item| item.row.clone()),
        }
    }

    /// Whether a name is that of a column of the nearest sources.
    pub(super) fn is_input(&self, name: &str) -> bool {
        self.scopes.last().is_some_and(|scope| !matches!(scope.bare(name), Has::No))
    }

    fn called(&self, name: &str) -> Option<&Item> {
        self.scopes.iter().rev().find_map(|scope| scope.called(name))
    }

    fn bare(&self, name: &str) -> Option<Origin> {
        let mut perhaps = None;
        for scope in self.scopes.iter().rev() {
            match scope.bare(name) {
                Has::Yes(origin) => return Some(perhaps.map_or(origin.clone(), |other| origin.or(other))),
                Has::Maybe(origin) => perhaps = Some(perhaps.map_or(origin.clone(), |other| origin.or(other))),
                Has::No => {}
            }
        }
        // A whole row, by the name of its source: only where no column is called so.
        let whole = self.called(name).map(|item| item.row.whole());
        let either = match (perhaps, whole) {
            (Some(column), Some(row)) => Some(column.or(row)),
            (column, row) => column.or(row),
        };
        either.or_else(|| SYSTEM_COLUMNS.contains(&name).then(Origin::none))
    }

    /// The source that is called so: by one name, or by schema and name (also behind a database).
    fn source_of(&self, names: &[&str]) -> Option<&Item> {
        match names {
            [] => None,
            [name] => self.called(name),
            [.., schema, name] => self.scopes.iter().rev().find_map(|scope| scope.relation(schema, name)),
        }
    }

    fn qualified(&mut self, source: &[&str], name: &str) -> Option<Origin> {
        match self.source_of(source)?.row.find(name) {
            Has::Yes(origin) => Some(origin),
            Has::Maybe(origin) => {
                self.lineage.calls.extend(called::attribute(self.names, name));
                Some(origin)
            }
            // Else it is the call of a function.
            Has::No => SYSTEM_COLUMNS.contains(&name).then(Origin::none),
        }
    }
}
