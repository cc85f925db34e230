//! Rows of the catalogue, as the queries fetch them.

use std::sync::Arc;

/// What kind of relation it is (`pg_class.relkind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelationKind {
    /// `r`, `p`: a table, partitioned or not.
    Table,
    /// `v`.
    View,
    /// `m`.
    MaterializedView,
    /// `f`.
    ForeignTable,
    /// `S`.
    Sequence,
    /// Anything else: indexes, TOAST tables, composite types.
    Other,
}

impl RelationKind {
    /// From the letter in `pg_class.relkind`.
    #[must_use]
    pub const fn from_letter(letter: u8) -> Self {
        match letter {
            b'r' | b'p' => Self::Table,
            b'v' => Self::View,
            b'm' => Self::MaterializedView,
            b'f' => Self::ForeignTable,
            b'S' => Self::Sequence,
            _ => Self::Other,
        }
    }
}

/// A relation.
#[derive(Clone, Debug)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its schema.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: RelationKind,
}

/// A column of a relation.
#[derive(Clone, Debug)]
pub struct Column {
    /// The relation.
    pub relation: u32,
    /// Its number, 1 and up.
    pub number: i16,
    /// Its name.
    pub name: Arc<str>,
}

/// A table inherits from another, or is a partition of it.
#[derive(Clone, Copy, Debug)]
pub struct Inheritance {
    /// The table below.
    pub child: u32,
    /// The table above.
    pub parent: u32,
}

/// A view reads a relation or calls a function.
#[derive(Clone, Copy, Debug)]
pub struct Dependency {
    /// The view.
    pub view: u32,
    /// The relation, 0 for a function.
    pub relation: u32,
    /// The column, 0 for the relation as a whole.
    pub column: i16,
    /// The function, 0 for a relation.
    pub function: u32,
}

/// A function outside of `pg_catalog`, or one inside that is newer than the list of this crate.
#[derive(Clone, Debug)]
pub struct Function {
    /// `pg_proc.oid`.
    pub oid: u32,
    /// Its schema.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The extension whose code in C it is; empty: it is another language's, or no extension's.
    pub extension: Arc<str>,
    /// Whether it can be called with a row and nothing else: then `row.name` may mean it.
    pub takes_row: bool,
}

/// An operator outside of `pg_catalog`.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Its schema.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The function that it calls.
    pub function: u32,
}

/// A type whose values are checked or converted by code of users, or that has a part of such a type.
#[derive(Clone, Debug)]
pub struct Type {
    /// Its schema.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The relation whose rows are of this type, 0 for none: the code runs where they are made.
    pub relation: u32,
    /// The function that runs.
    pub function: u32,
}

/// A trigger that is enabled and was made by a user.
#[derive(Clone, Copy, Debug)]
pub struct Trigger {
    /// The relation.
    pub relation: u32,
    /// The function that runs.
    pub function: u32,
    /// For which events.
    pub events: Events,
}

/// A rule of a user.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The relation.
    pub relation: u32,
    /// For which events.
    pub events: Events,
}

/// What a view or materialized view is defined as.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The view.
    pub relation: u32,
    /// Its query, as `pg_get_viewdef` writes it.
    pub text: Arc<str>,
}

/// A column that is made of others of its row.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The relation.
    pub relation: u32,
    /// The column's number.
    pub number: i16,
    /// The expression, as `pg_get_expr` writes it.
    pub text: Arc<str>,
}

/// A column that is NOT NULL.
#[derive(Clone, Copy, Debug)]
pub struct Required {
    /// The relation.
    pub relation: u32,
    /// The column's number.
    pub number: i16,
}

/// A column of a type whose text is not surely as good as the value: numbers are rounded to what a parameter says, and of a
/// range `lower` is a part.
#[derive(Clone, Copy, Debug)]
pub struct Inexact {
    /// The relation.
    pub relation: u32,
    /// The column's number.
    pub number: i16,
}

/// A column, or a row, whose type a user has made a cast of.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// The relation.
    pub relation: u32,
    /// The column's number, 0 for the row.
    pub number: i16,
    /// The function of the cast.
    pub function: u32,
}

/// A function of a user whose body is SQL that is kept as text: with types of the server only, run with the rights and settings of
/// whoever calls it, for one value, and with arguments that have no defaults.
#[derive(Clone, Debug)]
pub struct Body {
    /// The function.
    pub function: u32,
    /// What it is.
    pub text: Arc<str>,
    /// Names of its arguments, each followed by the next behind U+0001; empty: they have none.
    pub arguments: Arc<str>,
}

/// Changes of rows: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u8);

impl Events {
    /// None.
    pub const NONE: Self = Self(0);
    /// INSERT.
    pub const INSERT: Self = Self(1 << 2);
    /// DELETE.
    pub const DELETE: Self = Self(1 << 3);
    /// UPDATE.
    pub const UPDATE: Self = Self(1 << 4);
    /// TRUNCATE.
    pub const TRUNCATE: Self = Self(1 << 5);

    /// From the bits of `pg_trigger.tgtype` (`catalog/pg_trigger.h`).
    #[must_use]
    pub fn from_trigger_type(bits: i16) -> Self {
        Self((bits & 0b11_1100).to_le_bytes()[0])
    }

    /// From the digit in `pg_rewrite.ev_type`: 2 UPDATE, 3 INSERT, 4 DELETE.
    #[must_use]
    pub const fn from_rule_type(digit: u8) -> Self {
        match digit {
            b'2' => Self::UPDATE,
            b'3' => Self::INSERT,
            b'4' => Self::DELETE,
            _ => Self::NONE,
        }
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets have something in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}
