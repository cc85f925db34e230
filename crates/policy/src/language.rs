//! The vocabulary: types, actions and words, as the schema declares them.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;
use std::sync::LazyLock;

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, Schema, Validator};
use model::facts::Action;

use crate::SCHEMA;

/// What one request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verb {
    /// An effect of a statement.
    Effect(Action),
    /// A statement without effects.
    Compute,
    /// Something that is not understood.
    Opaque,
    /// The opening of a session.
    Connect,
    /// The reading of a protected column in clear.
    ReadClear,
}

impl Verb {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Action::ALL.iter().copied().map(Self::Effect).chain([
            Self::Compute,
            Self::Opaque,
            Self::Connect,
            Self::ReadClear,
        ])
    }

    /// Its name in policies: the action's word in camel case.
    pub(crate) fn name(self) -> String {
        match self {
            // `Admin` is the group.
            Self::Effect(Action::Admin) => "Server".to_owned(),
            Self::Effect(action) => action.word().split('_').map(capital).collect(),
            Self::Compute => "Compute".to_owned(),
            Self::Opaque => "Opaque".to_owned(),
            Self::Connect => "Connect".to_owned(),
            Self::ReadClear => "ReadClear".to_owned(),
        }
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

macro_rules! kinds {
    ($($kind:ident,)+) => {
        /// Types of entities.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($kind,)+ }

        /// Their names, parsed.
        #[derive(Clone, Debug)]
        #[expect(non_snake_case, reason = "one field for each kind, of the same name")]
        struct Names { $($kind: EntityTypeName,)+ }

        impl Names {
            fn new() -> Result<Self, String> {
                let name = |name| EntityTypeName::from_str(name).map_err(|error| error.to_string());
                Ok(Self { $($kind: name(stringify!($kind))?,)+ })
            }

            fn of(&self, kind: Kind) -> &EntityTypeName {
                match kind { $(Kind::$kind => &self.$kind),+ }
            }
        }
    };
}

kinds! {
    Group, Person, Service, Agent, Unknown, Proof, Environment, Database, Schema, Relation, Column, Function, ServerObject, Role,
    Parameter, SessionObject, UnknownSchema, Transport, Weekday, Condition, Columns, OpaqueReason,
}

/// The vocabulary, ready to be used.
#[derive(Clone, Debug)]
pub(crate) struct Language {
    pub(crate) validator: Validator,
    names: Names,
    /// Each action with the groups that it is in.
    actions: BTreeMap<Verb, Entity>,
}

impl Language {
    /// The one that there is.
    ///
    /// # Errors
    /// When the schema that is compiled in is not what this crate expects: a defect of Warder, kept out by its tests.
    pub(crate) fn get() -> Result<&'static Self, String> {
        static LANGUAGE: LazyLock<Result<Language, String>> = LazyLock::new(Language::new);
        LANGUAGE.as_ref().map_err(Clone::clone)
    }

    fn new() -> Result<Self, String> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| error.to_string())?;
        let entities = schema.action_entities().map_err(|error| error.to_string())?;
        let actions = Verb::all().map(|verb| Ok((verb, action(&entities, verb)?)));
        Ok(Self {
            actions: actions.collect::<Result<_, String>>()?,
            names: Names::new()?,
            validator: Validator::new(schema),
        })
    }

    /// The entity of that name.
    pub(crate) fn uid(&self, kind: Kind, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.names.of(kind).clone(), EntityId::new(id))
    }

    /// Is the entity of that kind?
    pub(crate) fn is(&self, uid: &EntityUid, kind: Kind) -> bool {
        uid.type_name() == self.names.of(kind)
    }

    /// An action and the groups that it is in.
    pub(crate) fn action_with_groups(&self, action: &Entity) -> BTreeSet<EntityUid> {
        let (uid, _, groups) = action.clone().into_inner();
        groups.into_iter().chain([uid]).collect()
    }

    /// The name of an action.
    pub(crate) fn action(&self, verb: Verb) -> Result<EntityUid, String> {
        self.actions.get(&verb).map(Entity::uid).ok_or_else(|| format!("the schema has no {}", verb.name()))
    }

    /// Every action.
    pub(crate) fn actions(&self) -> impl Iterator<Item = (Verb, &Entity)> {
        self.actions.iter().map(|(verb, entity)| (*verb, entity))
    }
}

fn action(entities: &Entities, verb: Verb) -> Result<Entity, String> {
    let uid = EntityUid::from_str(&format!("Action::\"{}\"", verb.name())).map_err(|error| error.to_string())?;
    entities.get(&uid).cloned().ok_or_else(|| format!("the schema has no {uid}"))
}
