//! Where the values of a statement's result come from: stored columns, followed through views, subqueries and
//! expressions. Said by whoever reads SQL, used by whoever masks.
//!
//! What cannot be followed is [`UnknownLineage`], never an empty set.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::facts::Name;
use crate::words::words;

/// A column of a table, a foreign table, or a relation of the server's own: where values are stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredColumn {
    /// Schema of the relation.
    pub schema: Arc<str>,
    /// The relation.
    pub relation: Arc<str>,
    /// The column.
    pub name: Arc<str>,
}

/// A set of stored columns.
pub type Sources = BTreeSet<StoredColumn>;

/// Where the values of one output column come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The stored values themselves. More than one source: tables above and below, or either side of a join or UNION.
    /// None: NULL.
    Direct(Arc<Sources>),
    /// Values that are made of these; empty: of no stored value.
    Derived(Arc<Sources>),
    /// It is not known: they may come from anything.
    Unknown(UnknownLineage),
}

impl Origin {
    /// Made of no stored value.
    #[must_use]
    pub fn none() -> Self {
        Self::Derived(Arc::default())
    }

    /// NULL, as it is written: beside stored values these stay what they are.
    #[must_use]
    pub fn null() -> Self {
        Self::Direct(Arc::default())
    }

    /// Whether it is NULL, always.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Direct(sources) if sources.is_empty())
    }

    /// Every source that is known.
    pub fn sources(&self) -> impl Iterator<Item = &StoredColumn> {
        match self {
            Self::Direct(sources) | Self::Derived(sources) => Some(&**sources),
            Self::Unknown(_) => None,
        }
        .into_iter()
        .flatten()
    }

    /// A value that is made of this one.
    #[must_use]
    pub fn derived(self) -> Self {
        match self {
            Self::Direct(sources) => Self::Derived(sources),
            other => other,
        }
    }

    /// A value that is one of both: as it is stored only where both are.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown(reason), _) | (_, Self::Unknown(reason)) => Self::Unknown(reason),
            (Self::Direct(one), Self::Direct(other)) => Self::Direct(union(one, other)),
            (Self::Direct(one) | Self::Derived(one), Self::Direct(other) | Self::Derived(other)) => {
                Self::Derived(union(one, other))
            }
        }
    }
}

fn union(one: Arc<Sources>, other: Arc<Sources>) -> Arc<Sources> {
    if other.is_subset(&one) {
        return one;
    }
    if one.is_subset(&other) {
        return other;
    }
    Arc::new(one.union(&other).cloned().collect())
}

/// What a statement does with stored values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lineage {
    /// What comes back to the client.
    pub output: Output,
    /// Every stored column that is read, wherever in the statement. Those behind views included.
    pub reads: Sources,
    /// Rows are read besides, and why it is not known which: nothing of them comes back but in texts of errors.
    pub reads_unknown: Option<UnknownLineage>,
    /// Columns whose values decide which rows there are, by more than a test for equality with a constant or parameter:
    /// ranges, patterns, calls, numbers of rows.
    pub compared: Sources,
    /// Columns that are tested for equality with constants or parameters.
    pub matched: Sources,
    /// Columns that are tested for equality with each other.
    pub joined: BTreeSet<(Sources, Sources)>,
    /// Where values go besides the client.
    pub stored: Vec<Stored>,
    /// Functions that are called and whose code is not known: they may read anything. Behind views, too.
    pub calls: BTreeSet<Name>,
    /// A part that is not understood: it may read anything.
    pub unknown: Option<UnknownLineage>,
    /// The cursor that it declares.
    pub cursor: Option<DeclaredCursor>,
}

/// A cursor that SQL declares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeclaredCursor {
    /// Its name.
    pub name: Arc<str>,
    /// The rows that FETCH will get.
    pub rows: Rows,
    /// WITH HOLD: it runs to its end at COMMIT, and outlives it.
    pub holds: bool,
}

/// What comes back to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Output {
    /// No rows.
    #[default]
    Nothing,
    /// Rows.
    Rows(Rows),
    /// The rows of a COPY to the client, and how they are written; `None`: in a way that is not followed.
    Copy(Rows, Option<CopyForm>),
    /// Rows of a cursor of this name.
    Cursor(Arc<str>),
    /// What a statement gives that SQL prepared under this name.
    Prepared(Arc<str>),
    /// Text about a statement: EXPLAIN.
    Plan,
    /// Text about a statement that has run, with numbers of rows: EXPLAIN ANALYZE.
    Measured,
}

/// How the rows of a COPY are written (the manual's page of COPY, *File Formats*).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CopyForm {
    /// One line a row: the formats `text` and `csv`.
    Text(CopyText),
    /// The format `binary`.
    Binary,
}

/// How the lines of a COPY are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CopyText {
    /// Stands between two values.
    pub delimiter: u8,
    /// Stands for NULL.
    pub null: Arc<str>,
    /// `csv`: stands around values, and twice for one within; `None`: `text`, where a backslash stands before such bytes.
    pub quote: Option<u8>,
    /// The first line has the names of the columns.
    pub has_header: bool,
}

/// The columns of a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// Each, in order.
    Columns(Arc<[Origin]>),
    /// How many there are is not known; each of them comes from this.
    Every(Origin),
}

/// Values that are kept somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    /// In this column; `None`: in a new relation, a file, a parameter, a message.
    pub target: Option<StoredColumn>,
    /// Where they come from.
    pub origin: Origin,
}

words! {
    /// Why it is not known where values come from.
    UnknownLineage {
        /// There is no snapshot of the catalogue.
        NoCatalogue = "no_catalogue",
        /// A relation is not in the snapshot, or may be another one by now.
        Relation = "relation",
        /// A column is in no relation in sight.
        Column = "column",
        /// The definition of a view cannot be followed.
        View = "view",
        /// Code of a trigger or rule may have changed the values.
        Code = "code",
        /// The grammar accepts something that is not followed.
        Construct = "construct",
        /// The statement is too large to be followed.
        TooLarge = "too_large",
        /// The statement as a whole is not understood.
        Opaque = "opaque",
        /// A cursor or prepared statement whose text is not known for certain.
        UnknownName = "unknown_name",
    }
}
