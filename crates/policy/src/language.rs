//! The vocabulary: types, actions and words, as the schema declares them.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;
use std::sync::LazyLock;

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, Schema, Validator};
use model::facts::{Action, Object};
use model::principal::PrincipalKind;

use crate::{GRANT_SCHEMA, SCHEMA};

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
    /// That a statement runs although nobody looks at it first.
    RunUnattended,
    /// Asking for access.
    RequestGrant,
    /// Having it at once.
    BreakGlass,
    /// Deciding about it.
    ApproveGrant,
}

impl Verb {
    const ABOUT_GRANTS: [Self; 3] = [Self::RequestGrant, Self::BreakGlass, Self::ApproveGrant];

    /// Whether it is about a grant: only policies that name it are about it.
    pub(crate) fn is_about_grants(self) -> bool {
        Self::ABOUT_GRANTS.contains(&self)
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let others = [Self::Compute, Self::Opaque, Self::Connect, Self::ReadClear, Self::RunUnattended];
        Action::ALL.iter().copied().map(Self::Effect).chain(others).chain(Self::ABOUT_GRANTS)
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
            Self::RunUnattended => "RunUnattended".to_owned(),
            Self::RequestGrant => "RequestGrant".to_owned(),
            Self::BreakGlass => "BreakGlass".to_owned(),
            Self::ApproveGrant => "ApproveGrant".to_owned(),
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

        impl Kind {
            const ALL: &'static [Self] = &[$(Self::$kind),+];
        }

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
    Group, Person, Service, Agent, Unknown, Proof, Environment, Database, Schema, Relation, Column, Function, ServerObject,
    Role, Parameter, SessionObject, UnknownSchema, Transport, Weekday, Condition, Columns, OpaqueReason, Verb, VerbGroup,
}

impl Kind {
    /// The type of an actor of that kind.
    pub(crate) const fn of(kind: PrincipalKind) -> Self {
        match kind {
            PrincipalKind::Person => Self::Person,
            PrincipalKind::Service => Self::Service,
            PrincipalKind::Agent => Self::Agent,
        }
    }

    /// The type of the entity that stands for an object.
    pub(crate) const fn of_object(object: &Object) -> Self {
        match object {
            Object::Server => Self::Database,
            Object::Relation(_) => Self::Relation,
            Object::Function(_) => Self::Function,
            Object::Schema(_) => Self::Schema,
            Object::Role(_) => Self::Role,
            Object::Parameter(_) => Self::Parameter,
            Object::Session(_) => Self::SessionObject,
            Object::Other { .. } => Self::ServerObject,
        }
    }
}

/// The vocabulary, ready to be used.
#[derive(Clone, Debug)]
pub(crate) struct Language {
    /// For policies about statements and sessions.
    pub(crate) validator: Validator,
    /// For policies that name an action about grants.
    pub(crate) grant_validator: Validator,
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
        let schema = |text: &str| {
            Schema::from_cedarschema_str(text).map(|(schema, _)| schema).map_err(|error| error.to_string())
        };
        let whole = schema(&[SCHEMA, GRANT_SCHEMA].concat())?;
        let entities = whole.action_entities().map_err(|error| error.to_string())?;
        let actions = Verb::all().map(|verb| Ok((verb, action(&entities, verb)?)));
        Ok(Self {
            actions: actions.collect::<Result<_, String>>()?,
            names: Names::new()?,
            validator: Validator::new(schema(SCHEMA)?),
            grant_validator: Validator::new(whole),
        })
    }

    /// The entity of that name.
    pub(crate) fn uid(&self, kind: Kind, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.names.of(kind).clone(), EntityId::new(id))
    }

    /// The kind of that name; `None`: the schema has none.
    pub(crate) fn kind(&self, name: &EntityTypeName) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| self.names.of(*kind) == name)
    }

    /// The same, of a name as text.
    pub(crate) fn kind_of_name(&self, name: &str) -> Option<Kind> {
        self.kind(&EntityTypeName::from_str(name).ok()?)
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

    /// Name of the group that an action is in; of one that is in none its own.
    pub(crate) fn group(&self, verb: Verb) -> String {
        let groups = self.actions.get(&verb).map(|action| action.clone().into_inner().2).unwrap_or_default();
        groups.iter().next().map_or_else(|| verb.name(), |group| group.id().unescaped().to_owned())
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
