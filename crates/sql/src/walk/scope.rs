//! What the columns of a query can belong to.

use std::sync::Arc;

use model::facts::{Condition, Name};

use crate::effects::ColumnSet;

/// The relations of one FROM.
#[derive(Default)]
pub(super) struct Scope<'a> {
    pub(super) entries: Vec<Source<'a>>,
    /// Names of joins: each is a row of all that is joined.
    pub(super) joins: Vec<&'a str>,
    /// Names of output columns: ORDER BY means them first.
    pub(super) outputs: Vec<&'a str>,
}

/// One item of a FROM.
pub(super) struct Source<'a> {
    /// What it is called in the query; `None`: it has no name.
    pub(super) called: Option<&'a str>,
    /// The relation; `None`: a subquery, a function, a WITH query.
    pub(super) relation: Option<Name>,
    /// All of its columns, where the catalogue tells.
    pub(super) known_columns: Option<&'a [Arc<str>]>,
    /// Those that are NOT NULL, of what the catalogue tells.
    pub(super) required: &'a [Arc<str>],
    /// Columns that were read so far.
    pub(super) columns: ColumnSet,
    /// Whether the rows are restricted.
    pub(super) restricted: bool,
    /// Named ONLY: without the tables below.
    pub(super) only: bool,
    /// The table that the statement changes: it is read only where its columns are.
    pub(super) is_target: bool,
}

/// Sources of the nearest scope, as a set of bits. Those beyond the 64th are in no set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources(pub(super) u64);

impl Sources {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn one(index: usize) -> Self {
        Self(u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)).unwrap_or(0))
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn has(self, index: usize) -> bool {
        self.common(Self::one(index)) != Self::NONE
    }
}

/// Columns that each row of a table has.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"];

impl<'a> Scope<'a> {
    /// The source with this name in the query.
    pub(super) fn called(&mut self, name: &str) -> Option<&mut Source<'a>> {
        self.entries.iter_mut().find(|source| source.called == Some(name))
    }

    /// Sources that a column may belong to.
    pub(super) fn candidates(&self, reference: &[&str]) -> Sources {
        let mut sources = Sources::NONE;
        for (index, source) in self.entries.iter().enumerate() {
            if source.may_have(reference) {
                sources = sources.with(Sources::one(index));
            }
        }
        sources
    }

    /// Whether it is a column of the table that the statement changes, and of nothing else, and never NULL.
    pub(super) fn is_never_null(&self, reference: &[&str]) -> bool {
        let candidates = self.candidates(reference);
        let target = self.entries.iter().enumerate().find(|(_, source)| source.is_target);
        target.zip(reference.last()).is_some_and(|((index, source), column)| {
            let is_required = source.required.iter().any(|known| **known == **column);
            candidates == Sources::one(index) && (is_required || SYSTEM_COLUMNS.contains(column))
        })
    }

    /// Notes a column without the name of its source. Whether it surely belongs to one in this scope.
    pub(super) fn note(&mut self, column: &str) -> bool {
        let knows =
            |source: &Source<'_>| source.known_columns.map(|columns| columns.iter().any(|known| **known == *column));
        if let Some(source) = self.entries.iter_mut().find(|source| knows(source) == Some(true)) {
            source.columns.add(column);
            return true;
        }
        // A whole row, by the name of its source.
        if let Some(source) = self.called(column) {
            source.columns.add_every();
            return true;
        }
        if self.joins.contains(&column) {
            self.note_every();
            return true;
        }
        let relations =
            self.entries.iter().filter(|source| source.relation.is_some() && knows(source).is_none()).count();
        let open = self.entries.iter_mut().filter(|source| source.relation.is_some() && knows(source).is_none());
        for source in open {
            if relations > 1 { source.columns.add_unknown() } else { source.columns.add(column) }
        }
        false
    }
}

impl Scope<'_> {
    /// Notes the columns by which sources are joined.
    pub(super) fn note_shared(&mut self, names: &[&str], natural: bool) {
        for source in self.entries.iter_mut().filter(|source| source.relation.is_some()) {
            for name in names {
                if source.may_have(&[*name]) {
                    source.columns.add(name);
                }
            }
            if natural {
                source.columns.add_unknown();
            }
        }
    }

    /// Notes all columns of all sources: `*`.
    pub(super) fn note_every(&mut self) {
        self.entries.iter_mut().for_each(|source| source.columns.add_every());
    }
}

impl Source<'_> {
    /// Whether it surely has a column of this name.
    pub(super) fn has(&self, column: &str) -> bool {
        self.known_columns.is_some_and(|columns| columns.iter().any(|known| **known == *column))
    }

    fn may_have(&self, reference: &[&str]) -> bool {
        match reference {
            [column] => {
                self.known_columns.is_none_or(|columns| columns.iter().any(|known| **known == **column))
                    || self.called == Some(*column)
            }
            [.., source, _column] => self.called == Some(*source),
            [] => false,
        }
    }
}

impl<'a> Source<'a> {
    /// A source that is no relation.
    pub(super) fn derived(called: Option<&'a str>) -> Self {
        Self {
            called,
            relation: None,
            known_columns: None,
            required: &[],
            columns: ColumnSet::default(),
            restricted: false,
            only: false,
            is_target: false,
        }
    }

    pub(super) const fn condition(&self) -> Condition {
        if self.restricted { Condition::Some } else { Condition::Everything }
    }
}
