//! The columns of something that has rows: a relation, a subquery, a result.

use std::sync::Arc;

use model::lineage::{Origin, Rows, UnknownLineage};

use crate::lineage::condition::is_stored;

/// Columns in their order.
#[derive(Clone, Debug)]
pub(super) enum Row {
    Columns(Vec<Field>),
    /// Their number and names are not known; each may come from this.
    Every(Origin),
}

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// `None`: the server gives it a name that is not known here.
    pub(super) name: Option<Arc<str>>,
    pub(super) origin: Origin,
}

/// Whether a row has a column.
pub(super) enum Has {
    Yes(Origin),
    Maybe(Origin),
    No,
}

impl Field {
    pub(super) fn named(name: &str, origin: Origin) -> Self {
        Self { name: Some(Arc::from(name)), origin }
    }
}

impl Row {
    pub(super) const fn empty() -> Self {
        Self::Columns(Vec::new())
    }

    pub(super) fn width(&self) -> usize {
        match self {
            Self::Columns(fields) => fields.len(),
            Self::Every(_) => 1,
        }
    }

    /// Its columns, where the names of all are known.
    pub(super) fn named(&self) -> Option<&[Field]> {
        match self {
            Self::Columns(fields) if fields.iter().all(|field| field.name.is_some()) => Some(fields),
            Self::Columns(_) | Self::Every(_) => None,
        }
    }

    /// What a column of this name is.
    pub(super) fn find(&self, name: &str) -> Has {
        let fields = match self {
            Self::Columns(fields) => fields,
            Self::Every(origin) => return Has::Maybe(origin.clone()),
        };
        let unnamed = || find(fields, None).map_or(Has::No, Has::Maybe);
        find(fields, Some(name)).map_or_else(unnamed, Has::Yes)
    }

    /// The column at a place, from 0.
    pub(super) fn nth(&self, place: usize) -> Option<Origin> {
        match self {
            Self::Columns(fields) => fields.get(place).map(|field| field.origin.clone()),
            Self::Every(origin) => Some(origin.clone()),
        }
    }

    /// Whether every value in it is as it is stored.
    pub(super) fn is_as_stored(&self) -> bool {
        match self {
            Self::Columns(fields) => fields.iter().all(|field| is_stored(&field.origin)),
            Self::Every(origin) => is_stored(origin),
        }
    }

    /// All of it together, as one value.
    pub(super) fn whole(&self) -> Origin {
        match self {
            Self::Columns(fields) => {
                fields.iter().map(|field| field.origin.clone()).fold(Origin::none(), Origin::or).derived()
            }
            Self::Every(origin) => origin.clone().derived(),
        }
    }

    /// The columns of both, one after the other.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Columns(mut fields), Self::Columns(more)) => {
                fields.extend(more);
                Self::Columns(fields)
            }
            (Self::Columns(fields), other) if fields.is_empty() => other,
            (one, Self::Columns(fields)) if fields.is_empty() => one,
            (one, other) => Self::Every(one.whole().or(other.whole())),
        }
    }

    /// Rows of either: UNION.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Columns(fields), Self::Columns(others)) if fields.len() == others.len() => {
                let pairs = fields.into_iter().zip(others);
                let or = |(field, other): (Field, Field)| Field {
                    origin: field.origin.or(other.origin),
                    // The names are those of the first.
                    name: field.name,
                };
                Self::Columns(pairs.map(or).collect())
            }
            (one, other) => Self::Every(one.whole().or(other.whole())),
        }
    }

    /// With other names for its first columns.
    pub(super) fn renamed(self, names: &[&str]) -> Self {
        let Self::Columns(mut fields) = self else { return self };
        for (field, name) in fields.iter_mut().zip(names) {
            field.name = Some(Arc::from(*name));
        }
        Self::Columns(fields)
    }

    pub(super) fn into_rows(self) -> Rows {
        match self {
            Self::Columns(fields) => Rows::Columns(fields.into_iter().map(|field| field.origin).collect()),
            Self::Every(origin) => Rows::Every(origin),
        }
    }

    pub(super) const fn unknown(reason: UnknownLineage) -> Self {
        Self::Every(Origin::Unknown(reason))
    }
}

/// What is called so, or has no name that is known.
pub(super) fn find(fields: &[Field], name: Option<&str>) -> Option<Origin> {
    let found = fields.iter().filter(|field| field.name.as_deref() == name);
    found.map(|field| field.origin.clone()).reduce(Origin::or)
}
