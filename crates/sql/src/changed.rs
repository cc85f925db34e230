//! What a session has changed in the catalogue since the snapshot of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Known;
use model::facts::{Effect, Facts, Name, Object, StateChange, StatementFacts, UnknownSchema};

use crate::catalogue::rows::RelationKind;
use crate::catalogue::{Catalogue, Relation};
use crate::name::PG_CATALOG;

/// Relations that are noted by name; with more of them every relation may be another one.
pub const CHANGED_MAX: usize = 1024;

/// What a session has changed in the catalogue since the snapshot of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Changed {
    /// Nothing.
    #[default]
    Nothing,
    /// Relations of these names, in whatever schema. What is made of one, or shares rows with it, is another one, too;
    /// and any function, operator or type of the user.
    Relations(Arc<[ChangedRelation]>),
    /// It may be anything.
    Everything,
}

/// A name that may stand for another relation than the snapshot says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangedRelation {
    name: Arc<str>,
    made_in: Option<Arc<str>>,
}

impl Changed {
    /// Whether it is nothing.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Whether it may be anything.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        matches!(self, Self::Everything)
    }

    /// Whether a relation of this name may be another one.
    #[must_use]
    pub fn is_among(&self, name: &str) -> bool {
        self.is_everything() || self.find(name).is_some()
    }

    /// The schema in which the open transaction has made a table of this name, to which only followed statements have
    /// written.
    #[must_use]
    pub fn made_in(&self, name: &str) -> Option<&Arc<str>> {
        self.find(name)?.made_in.as_ref()
    }

    /// A statement has succeeded that changes this.
    pub fn note(&mut self, change: &StateChange) {
        match change {
            StateChange::Catalogue => *self = Self::Everything,
            StateChange::Relation { name, made_in } => self.add(name, made_in.as_ref()),
            _ => {}
        }
    }

    /// What others have changed is changed for this session too.
    pub fn join(&mut self, others: &Self) {
        match others {
            Self::Nothing => {}
            Self::Relations(known) => known.iter().for_each(|known| self.add(&known.name, None)),
            Self::Everything => *self = Self::Everything,
        }
    }

    /// Relations of this name may be others from now on.
    fn add(&mut self, name: &Arc<str>, made_in: Option<&Arc<str>>) {
        let mut known: BTreeMap<_, _> = match self {
            Self::Nothing => BTreeMap::new(),
            Self::Relations(known) => known.iter().map(|known| (&known.name, known.made_in.as_ref())).collect(),
            Self::Everything => return,
        };
        known.insert(name, made_in);
        let relation = |(name, made_in): (&Arc<str>, Option<&Arc<str>>)| ChangedRelation {
            name: Arc::clone(name),
            made_in: made_in.cloned(),
        };
        *self = match known.len() {
            ..=CHANGED_MAX => Self::Relations(known.into_iter().map(relation).collect()),
            _ => Self::Everything,
        };
    }

    /// Others may see what was made, may have written there, or it is gone.
    pub fn forget_made(&mut self) {
        if let Self::Relations(known) = self
            && known.iter().any(|known| known.made_in.is_some())
        {
            let only_name = |known: &ChangedRelation| ChangedRelation { made_in: None, ..known.clone() };
            *known = known.iter().map(only_name).collect();
        }
    }

    fn find(&self, name: &str) -> Option<&ChangedRelation> {
        let Self::Relations(known) = self else { return None };
        known.get(known.binary_search_by(|known| (*known.name).cmp(name)).ok()?)
    }
}

/// Whether what is known of a text may be wrong because this has changed meanwhile: it names something of it, directly or
/// by what that is made of, or it calls what is not the server's own.
#[must_use]
pub fn concerns(changed: &Changed, facts: &Facts, catalogue: &Catalogue) -> bool {
    let may_be = |reached: &Relation| reached.kind == RelationKind::Sequence || changed.is_among(&reached.name);
    let is_changed = |effect: &Effect| match &effect.object {
        Object::Relation(Name { schema, name }) => {
            let known = schema.known().and_then(|schema| catalogue.relation(schema, name));
            changed.is_among(name) || known.is_none_or(|relation| catalogue.reaches(relation, may_be))
        }
        // One that is in no schema is the server's.
        Object::Function(Name { schema: Known::Unknown(reason), .. }) => *reason != UnknownSchema::NotFound,
        Object::Function(Name { schema: Known::Known(schema), .. }) => **schema != *PG_CATALOG,
        _ => false,
    };
    let is_among = |statement: &StatementFacts| statement.lineage.is_none() || statement.effects.iter().any(is_changed);
    let is_known = facts.opaque.is_none() && !changed.is_everything();
    !changed.is_nothing() && (!is_known || facts.statements.iter().any(is_among))
}
