//! Names -> schemas, as the session would look them up.

use std::sync::Arc;

use model::Known;
use model::facts::{Name, UnknownSchema};

use crate::catalogue::rows::RelationKind;
use crate::catalogue::{Catalogue, Relation};
use crate::function;
use crate::state::State;

/// The schema of the server's own objects: looked up first unless the search path names it.
pub(crate) const PG_CATALOG: &str = "pg_catalog";

/// The schema of this session's temporary objects: relations and types are looked up in it before all others.
const PG_TEMP: &str = "pg_temp";

/// Looks names up in the state of a session.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) state: &'a State,
    pub(crate) catalogue: &'a Catalogue,
}

impl<'a> Names<'a> {
    /// A relation that is there.
    pub(crate) fn relation(self, schema: Option<&str>, name: &str) -> Name {
        let schema = match schema {
            Some(schema) => Known::Known(Arc::from(schema)),
            None if self.state.temporary.may_hide(name) => Known::Unknown(UnknownSchema::Changed),
            None => self.relation_in_path(name),
        };
        Name { schema, name: Arc::from(name) }
    }

    fn relation_in_path(self, name: &str) -> Known<Arc<str>, UnknownSchema> {
        if let Some(schema) = self.made(None, name) {
            return Known::Known(schema);
        }
        let found =
            self.in_path(self.state.changed.is_among(name), |schema| self.catalogue.relation(schema, name).is_some());
        let relation = found.known().and_then(|schema| self.catalogue.relation(schema, name));
        if relation.is_some_and(|relation| self.is_changed(relation)) {
            return Known::Unknown(UnknownSchema::Changed);
        }
        found
    }

    /// The schema of a table that can only be the one which the open transaction has made, and in which nothing is but
    /// what followed statements have written.
    pub(crate) fn made(self, schema: Option<&str>, name: &str) -> Option<Arc<str>> {
        let made_in = self.state.changed.made_in(name)?;
        let is_meant = match schema {
            Some(schema) => *schema == **made_in,
            None => {
                let is_hidden =
                    self.state.temporary.may_hide(name) || self.catalogue.relation(PG_CATALOG, name).is_some();
                !is_hidden && self.created(None, name).schema.known() == Some(made_in)
            }
        };
        (is_meant && self.catalogue.relation(made_in, name).is_none()).then(|| Arc::clone(made_in))
    }

    /// Whether a relation is not what the snapshot says, or something is not that it is made of or shares rows with. Of a
    /// sequence the snapshot does not say with which table it goes.
    pub(crate) fn is_changed(self, relation: &Relation) -> bool {
        let changed = &self.state.changed;
        let may_be = |reached: &Relation| reached.kind == RelationKind::Sequence || changed.is_among(&reached.name);
        !changed.is_nothing() && self.catalogue.reaches(relation, may_be)
    }

    /// A function or procedure that is there, and is not one of `pg_catalog`.
    pub(crate) fn function(self, schema: Option<&str>, name: &str) -> Name {
        let found = |schema: &str| self.catalogue.has_function(schema, name);
        let is_changed = !self.state.changed.is_nothing();
        let schema = schema.map_or_else(|| self.in_path(is_changed, found), |schema| Known::Known(Arc::from(schema)));
        Name { schema, name: Arc::from(name) }
    }

    /// The schema of the functions that a name can mean, where there is only one: which function of the search path fits best
    /// depends on the types of what it is given.
    pub(crate) fn only_function(self, schema: Option<&'a str>, name: &str) -> Option<&'a str> {
        if self.state.functions_changed || !self.state.changed.is_nothing() {
            return None;
        }
        if schema.is_some() {
            return schema;
        }
        let Known::Known(path) = &self.state.search_path else { return None };
        let path = path.iter().map(|schema| self.schema(schema));
        let mut found = path.filter(|schema| self.catalogue.has_function(schema, name));
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }

    /// An object of which the snapshot has no list.
    pub(crate) fn other(self, schema: Option<&str>, name: &str) -> Name {
        let is_changed = !self.state.changed.is_nothing();
        let schema =
            schema.map_or_else(|| self.in_path(is_changed, |_| false), |schema| Known::Known(Arc::from(schema)));
        Name { schema, name: Arc::from(name) }
    }

    /// An object that is made: in the first schema of the path that there is.
    pub(crate) fn created(self, schema: Option<&str>, name: &str) -> Name {
        let found = |schema: &str| schema != PG_CATALOG && self.catalogue.has_schema(schema);
        let is_changed = self.state.changed.is_everything();
        let schema = schema.map_or_else(|| self.in_path(is_changed, found), |schema| Known::Known(Arc::from(schema)));
        Name { schema, name: Arc::from(name) }
    }

    /// Whether an unqualified name of `pg_catalog` can only mean that: no function of the same name can stand before it
    /// or be a better fit for the arguments, but for one that only computes as well.
    pub(crate) fn is_builtin_function(self, name: &str) -> bool {
        self.is_builtin(|schema| self.catalogue.has_unread_function(schema, name))
    }

    /// As [`Self::is_builtin_function`], for operators.
    pub(crate) fn is_builtin_operator(self, name: &str) -> bool {
        let is_server_s = self.catalogue.is_known() || function::is_server_operator(name);
        is_server_s && self.is_builtin(|schema| self.catalogue.has_operator(schema, name))
    }

    /// Whether an unqualified name of a type of `pg_catalog` can only mean that.
    pub(crate) fn is_builtin_type(self, name: &str) -> bool {
        self.looks_there_first() && !self.state.changed.is_everything() && !self.state.temporary.may_hide(name)
    }

    /// Whether only temporary objects are found before those of `pg_catalog`.
    pub(crate) fn looks_there_first(self) -> bool {
        matches!(&self.state.search_path, Known::Known(path) if is_catalog_first(path))
    }

    /// Whether `row.name` may be a call, where the row has no such column.
    pub(crate) fn may_be_row_function(self, name: &str) -> bool {
        let found = |schema: &str| self.catalogue.has_row_function(schema, name);
        match &self.state.search_path {
            _ if self.state.functions_changed => true,
            Known::Known(path) => path.iter().map(|schema| self.schema(schema)).chain([PG_CATALOG]).any(found),
            Known::Unknown(_) => self.catalogue.has_row_function_anywhere(name),
        }
    }

    fn is_builtin(self, is_elsewhere: impl Fn(&str) -> bool) -> bool {
        let Known::Known(path) = &self.state.search_path else { return false };
        if self.state.functions_changed {
            return false;
        }
        if self.catalogue.is_known() {
            // Somebody may also have put one beside the server's own.
            let mut schemas = path.iter().map(|schema| self.schema(schema)).chain([PG_CATALOG]);
            return !schemas.any(is_elsewhere);
        }
        // Without a snapshot: one who put `pg_catalog` behind another schema wants to be found first.
        is_catalog_first(path)
    }

    /// The first schema of the search path that has it, unless what is known of that has changed.
    fn in_path(self, is_changed: bool, has: impl Fn(&str) -> bool) -> Known<Arc<str>, UnknownSchema> {
        if !self.catalogue.is_known() {
            return Known::Unknown(UnknownSchema::NoCatalogue);
        }
        let path = match &self.state.search_path {
            Known::Known(path) => path,
            Known::Unknown(reason) => return Known::Unknown(*reason),
        };
        if is_changed {
            return Known::Unknown(UnknownSchema::Changed);
        }
        if !path.iter().any(|schema| **schema == *PG_CATALOG) && has(PG_CATALOG) {
            return Known::Known(Arc::from(PG_CATALOG));
        }
        let mut found = path.iter().map(|schema| self.schema(schema)).filter(|schema| has(schema));
        let Some(first) = found.next() else { return Known::Unknown(UnknownSchema::NotFound) };
        if self.state.path_is_written && found.any(|other| other != first) {
            return Known::Unknown(UnknownSchema::SearchPath);
        }
        Known::Known(Arc::from(first))
    }

    /// A schema of the search path.
    fn schema<'b>(self, written: &'b str) -> &'b str
    where
        'a: 'b,
    {
        if written == "$user" { &self.state.user } else { written }
    }
}

/// Whether nothing stands before `pg_catalog`: not written, it is looked up first.
fn is_catalog_first(path: &[Arc<str>]) -> bool {
    path.iter().position(|schema| **schema == *PG_CATALOG).is_none_or(|place| place == 0)
}

/// Whether a written schema is the one of temporary objects.
pub(crate) fn is_temporary(schema: Option<&str>) -> bool {
    schema.is_some_and(|schema| schema == PG_TEMP || schema.starts_with("pg_temp_"))
}
