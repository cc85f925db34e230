//! The effects of one statement while they are found: each once, with all of its columns.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

use model::facts::{Action, Columns, Condition, Effect, Object};

/// Effects by action and object.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    found: BTreeMap<(Action, Object), (ColumnSet, Condition)>,
}

impl Effects {
    /// Adds an effect without columns and rows.
    pub(crate) fn add(&mut self, action: Action, object: Object) {
        self.add_on(action, object, ColumnSet::default(), Condition::NotApplicable);
    }

    /// Adds an effect. Of two conditions the one with more rows stays.
    pub(crate) fn add_on(&mut self, action: Action, object: Object, columns: ColumnSet, condition: Condition) {
        match self.found.entry((action, object)) {
            Entry::Vacant(place) => {
                place.insert((columns, condition));
            }
            Entry::Occupied(mut place) => {
                let (known_columns, known_condition) = place.get_mut();
                known_columns.add_all(columns);
                *known_condition = wider(*known_condition, condition);
            }
        }
    }

    /// Adds an effect that another statement has.
    pub(crate) fn add_effect(&mut self, effect: Effect) {
        self.add_on(effect.action, effect.object, ColumnSet::from(effect.columns), effect.condition);
    }

    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// The effects, in the order of actions and objects.
    pub(crate) fn into_list(self) -> Vec<Effect> {
        let effect = |((action, object), (columns, condition)): ((Action, Object), (ColumnSet, Condition))| Effect {
            action,
            object,
            columns: columns.into_columns(),
            condition,
        };
        self.found.into_iter().map(effect).collect()
    }
}

const fn wider(one: Condition, other: Condition) -> Condition {
    match (one, other) {
        (Condition::Everything, _) | (_, Condition::Everything) => Condition::Everything,
        (Condition::Some, _) | (_, Condition::Some) => Condition::Some,
        (Condition::NotApplicable, Condition::NotApplicable) => Condition::NotApplicable,
    }
}

/// Columns while they are found.
#[derive(Clone, Debug, Default)]
pub(crate) struct ColumnSet {
    named: BTreeSet<Arc<str>>,
    breadth: Breadth,
}

/// How far a set goes beyond its names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Breadth {
    #[default]
    Named,
    Unknown,
    All,
}

impl ColumnSet {
    /// All columns.
    pub(crate) fn all() -> Self {
        Self { named: BTreeSet::new(), breadth: Breadth::All }
    }

    pub(crate) fn add(&mut self, name: &str) {
        if self.breadth == Breadth::Named && !self.named.contains(name) {
            self.named.insert(Arc::from(name));
        }
    }

    pub(crate) fn add_every(&mut self) {
        self.breadth = Breadth::All;
    }

    pub(crate) fn add_unknown(&mut self) {
        self.breadth = self.breadth.max(Breadth::Unknown);
    }

    /// Whether a column may be among them.
    pub(crate) fn may_have(&self, name: &str) -> bool {
        self.breadth != Breadth::Named || self.named.contains(name)
    }

    /// Whether the whole row may be.
    pub(crate) fn may_have_row(&self) -> bool {
        self.breadth != Breadth::Named
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.breadth == Breadth::Named && self.named.is_empty()
    }

    fn add_all(&mut self, mut other: Self) {
        self.breadth = self.breadth.max(other.breadth);
        self.named.append(&mut other.named);
    }

    fn into_columns(self) -> Columns {
        match self.breadth {
            Breadth::All => Columns::All,
            Breadth::Unknown => Columns::Unknown,
            Breadth::Named if self.named.is_empty() => Columns::None,
            Breadth::Named => Columns::Named(self.named.into_iter().collect()),
        }
    }
}

impl From<Columns> for ColumnSet {
    fn from(columns: Columns) -> Self {
        let (named, breadth) = match columns {
            Columns::None => (BTreeSet::new(), Breadth::Named),
            Columns::Named(names) => (names.into_iter().collect(), Breadth::Named),
            Columns::Unknown => (BTreeSet::new(), Breadth::Unknown),
            Columns::All => (BTreeSet::new(), Breadth::All),
        };
        Self { named, breadth }
    }
}
