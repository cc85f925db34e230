//! A snapshot of the server's catalogue: which schema a name is in, and what lies behind it.
//!
//! Built from plain rows ([`rows`]), which [`QUERIES`] fetches with the rights of any login. Nothing here asks a server.

mod build;
pub mod rows;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

pub use build::Builder;
use model::facts::StatementFacts;
use model::lineage::Origin;
use rows::{Events, RelationKind};

use crate::lineage::{self, Made};

/// The statements that fetch the rows, for PostgreSQL 13 and later. They need no right beyond a login. Each has the
/// columns of the struct of the same name in [`rows`], in its order. The session that fetches them has an empty
/// `search_path`: names in definitions are qualified then.
pub const QUERIES: &[(&str, &str)] = &[
    ("schemas", include_str!("catalogue/schemas.sql")),
    ("relations", include_str!("catalogue/relations.sql")),
    ("columns", include_str!("catalogue/columns.sql")),
    ("inheritance", include_str!("catalogue/inheritance.sql")),
    ("dependencies", include_str!("catalogue/dependencies.sql")),
    ("functions", include_str!("catalogue/functions.sql")),
    ("operators", include_str!("catalogue/operators.sql")),
    ("types", include_str!("catalogue/types.sql")),
    ("triggers", include_str!("catalogue/triggers.sql")),
    ("rules", include_str!("catalogue/rules.sql")),
    ("definitions", include_str!("catalogue/definitions.sql")),
    ("generated", include_str!("catalogue/generated.sql")),
    ("required", include_str!("catalogue/required.sql")),
    ("inexact", include_str!("catalogue/inexact.sql")),
    ("conversions", include_str!("catalogue/conversions.sql")),
    ("bodies", include_str!("catalogue/bodies.sql")),
];

/// A snapshot, or none.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    epoch: u64,
    snapshot: Option<Snapshot>,
}

/// Names inside a schema.
type Names<T> = HashMap<Arc<str>, HashMap<Arc<str>, T>>;

#[derive(Clone, Debug, Default)]
struct Snapshot {
    relations: Vec<Relation>,
    relation_by_oid: HashMap<u32, usize>,
    relation_by_name: Names<usize>,
    schemas: HashMap<Arc<str>, ()>,
    functions: Names<()>,
    /// Functions of which all of that name are queries that can be read.
    bodies: Names<Vec<Body>>,
    /// Those that are not known to do nothing but compute.
    unread_functions: Names<()>,
    operators: Names<()>,
    /// Functions that `row.name` may mean.
    row_functions: Names<()>,
    /// Functions behind types: schema and name.
    types: Names<Vec<(Arc<str>, Arc<str>)>>,
}

/// One relation with what lies behind it.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) schema: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) kind: RelationKind,
    /// In their order; those that are dropped left out.
    pub(crate) columns: Vec<Arc<str>>,
    /// Those that are NOT NULL.
    pub(crate) required: Vec<Arc<str>>,
    /// Those whose text may be the same for different values, or a part of them.
    pub(crate) inexact: Vec<Arc<str>>,
    /// Their numbers.
    numbers: Vec<i16>,
    /// The query that a view stands for.
    pub(crate) definition: Option<Arc<str>>,
    /// What that query does by itself, once somebody has asked.
    pub(crate) defined: OnceLock<Arc<StatementFacts>>,
    /// Columns that are made of others, and how.
    pub(crate) generated: Vec<(Arc<str>, Arc<str>)>,
    /// What it is made of, once somebody has asked.
    pub(crate) made: OnceLock<Arc<Made>>,
    /// Tables that rows of this one belong to as well.
    parents: Vec<usize>,
    /// Tables whose rows belong to this one as well.
    children: Vec<usize>,
    /// What a view reads.
    reads: Vec<Reads>,
    /// Functions that a view calls: schema and name.
    pub(crate) calls: Vec<(Arc<str>, Arc<str>)>,
    /// Casts of values in it.
    pub(crate) conversions: Vec<Conversion>,
    pub(crate) triggers: Vec<Trigger>,
    /// Events that a rule of the user rewrites.
    pub(crate) rules: Events,
}

/// A function that a value of a column may go through, without a word of that in the text.
#[derive(Clone, Debug)]
pub(crate) struct Conversion {
    /// `None`: it takes the whole row.
    pub(crate) column: Option<Arc<str>>,
    pub(crate) schema: Arc<str>,
    pub(crate) function: Arc<str>,
}

/// A function that is a query.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) text: Arc<str>,
    /// Names of its arguments; empty where they have none.
    pub(crate) arguments: Vec<Arc<str>>,
}

/// A relation that a view reads.
#[derive(Clone, Debug)]
struct Reads {
    relation: usize,
    /// Empty: none by name.
    columns: Vec<Arc<str>>,
    whole_row: bool,
}

/// What runs when rows of a relation change.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub(crate) events: Events,
    pub(crate) schema: Arc<str>,
    pub(crate) function: Arc<str>,
}

impl Catalogue {
    /// No snapshot: schemas are unknown unless they are written.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Which snapshot this is: whoever builds it gives each one a number of its own. 0: none.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether there is a snapshot.
    pub(crate) const fn is_known(&self) -> bool {
        self.snapshot.is_some()
    }

    pub(crate) fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        let snapshot = self.snapshot.as_ref()?;
        let index = snapshot.relation_by_name.get(schema)?.get(name)?;
        snapshot.relations.get(*index)
    }

    /// All relations of a schema.
    pub(crate) fn relations_in<'a>(&'a self, schema: &str) -> impl Iterator<Item = &'a Relation> {
        let named = self.snapshot.as_ref().and_then(|snapshot| snapshot.relation_by_name.get(schema));
        named.into_iter().flat_map(HashMap::values).filter_map(|index| self.snapshot.as_ref()?.relations.get(*index))
    }

    /// Where the values of a column come from that the server names by numbers (`RowDescription`, chapter 55.7); `None`:
    /// the snapshot has no such column.
    #[must_use]
    pub fn origin(&self, oid: u32, number: i16) -> Option<Origin> {
        let snapshot = self.snapshot.as_ref()?;
        let relation = snapshot.relations.get(*snapshot.relation_by_oid.get(&oid)?)?;
        let place = relation.numbers.iter().position(|known| *known == number)?;
        Some(lineage::column(self, relation, place))
    }

    pub(crate) fn has_schema(&self, schema: &str) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.schemas.contains_key(schema))
    }

    pub(crate) fn has_function(&self, schema: &str, name: &str) -> bool {
        self.has(schema, name, |snapshot| &snapshot.functions)
    }

    /// All functions of a name, where each of them is a query.
    pub(crate) fn bodies(&self, schema: &str, name: &str) -> Option<&[Body]> {
        Some(self.snapshot.as_ref()?.bodies.get(schema)?.get(name)?)
    }

    /// Whether there is a function of this name that does not surely only compute.
    pub(crate) fn has_unread_function(&self, schema: &str, name: &str) -> bool {
        self.has(schema, name, |snapshot| &snapshot.unread_functions)
    }

    pub(crate) fn has_operator(&self, schema: &str, name: &str) -> bool {
        self.has(schema, name, |snapshot| &snapshot.operators)
    }

    /// Whether `row.name` may be a call of a function in this schema.
    pub(crate) fn has_row_function(&self, schema: &str, name: &str) -> bool {
        self.has(schema, name, |snapshot| &snapshot.row_functions)
    }

    /// The same in any schema.
    pub(crate) fn has_row_function_anywhere(&self, name: &str) -> bool {
        let functions = self.snapshot.iter().flat_map(|snapshot| snapshot.row_functions.values());
        functions.into_iter().any(|names| names.contains_key(name))
    }

    /// Functions that check or convert values of a type, by the schema if it is known.
    pub(crate) fn code_of_type<'a>(
        &'a self,
        schema: Option<&'a str>,
        name: &'a str,
    ) -> impl Iterator<Item = &'a (Arc<str>, Arc<str>)> {
        let types = self.snapshot.iter().flat_map(|snapshot| &snapshot.types);
        let named = types.filter(move |(within, _)| schema.is_none_or(|schema| *schema == ***within));
        named.filter_map(move |(_, types)| types.get(name)).flatten()
    }

    /// Functions that check or convert values of some type.
    pub(crate) fn code_of_types(&self) -> impl Iterator<Item = &(Arc<str>, Arc<str>)> {
        let types = self.snapshot.iter().flat_map(|snapshot| snapshot.types.values());
        types.flat_map(|types| types.values()).flatten()
    }

    fn has(&self, schema: &str, name: &str, kind: impl Fn(&Snapshot) -> &Names<()>) -> bool {
        let names = self.snapshot.as_ref().and_then(|snapshot| kind(snapshot).get(schema));
        names.is_some_and(|names| names.contains_key(name))
    }

    pub(crate) fn parents<'a>(&'a self, relation: &'a Relation) -> impl Iterator<Item = &'a Relation> {
        self.all(&relation.parents)
    }

    pub(crate) fn children<'a>(&'a self, relation: &'a Relation) -> impl Iterator<Item = &'a Relation> {
        self.all(&relation.children)
    }

    /// What a view reads, and which columns of it: names, and whether its whole rows.
    pub(crate) fn reads<'a>(
        &'a self,
        view: &'a Relation,
    ) -> impl Iterator<Item = (&'a Relation, &'a [Arc<str>], bool)> {
        view.reads.iter().filter_map(|reads| {
            let relation = self.snapshot.as_ref()?.relations.get(reads.relation)?;
            Some((relation, reads.columns.as_slice(), reads.whole_row))
        })
    }

    /// Whether a relation is meant, or one that it is made of or shares rows with.
    pub(crate) fn reaches(&self, first: &Relation, is_meant: impl Fn(&Relation) -> bool) -> bool {
        let mut found = vec![first];
        let mut known = HashSet::from([std::ptr::from_ref(first)]);
        while let Some(relation) = found.pop() {
            if is_meant(relation) {
                return true;
            }
            let around = self.parents(relation).chain(self.children(relation));
            let beside = around.chain(self.reads(relation).map(|(reads, ..)| reads));
            found.extend(beside.filter(|other| known.insert(std::ptr::from_ref(*other))));
        }
        false
    }

    fn all<'a>(&'a self, indexes: &'a [usize]) -> impl Iterator<Item = &'a Relation> {
        indexes.iter().filter_map(|index| self.snapshot.as_ref()?.relations.get(*index))
    }
}
