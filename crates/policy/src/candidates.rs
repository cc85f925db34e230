//! Names that policies name. An object whose name is not known whole may be any of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{EntityUid, Policy};
use model::facts::Object;

use crate::annotations::Mistake;
use crate::language::{Kind, Language};
use crate::named;

/// The names that policies tell from all others.
///
/// Policies see schemas, parameters and roles through their names only: these are no attributes. So what is not named
/// here makes no difference to any policy, and one nameless schema stands for all others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    schemas: BTreeSet<Arc<str>>,
    parameters: BTreeSet<Arc<str>>,
    roles: BTreeSet<Arc<str>>,
}

impl Candidates {
    /// The names in a policy; a mistake for each that nothing can have.
    pub(crate) fn of(language: &Language, policy: &Policy) -> Result<Self, Vec<Mistake>> {
        let mut candidates = Self::default();
        let mut mistakes = BTreeSet::new();
        for literal in policy.entity_literals() {
            mistakes.extend(candidates.add(language, &literal).err());
        }
        if mistakes.is_empty() { Ok(candidates) } else { Err(mistakes.into_iter().collect()) }
    }

    /// What an object may be besides what its name says: empty where that is all.
    pub(crate) fn for_object(&self, object: &Object) -> impl Iterator<Item = &str> {
        static NONE: BTreeSet<Arc<str>> = BTreeSet::new();
        let names = match object {
            Object::Relation(name) | Object::Function(name) | Object::Other { name: Some(name), .. } => {
                if named::unknown_schema(name).is_some() {
                    &self.schemas
                } else {
                    &NONE
                }
            }
            // All of them, or one that the text does not show.
            Object::Parameter(None) => &self.parameters,
            Object::Role(None) => &self.roles,
            Object::Schema(_) | Object::Role(_) | Object::Parameter(_) | Object::Session(_) => &NONE,
            Object::Other { name: None, .. } | Object::Server => &NONE,
        };
        names.iter().map(|name| &**name)
    }

    fn add(&mut self, language: &Language, literal: &EntityUid) -> Result<(), Mistake> {
        let id = literal.id().unescaped();
        let is = |kind| language.is(literal, kind);
        if is(Kind::Schema) {
            self.schemas.insert(id.into());
        } else if is(Kind::Parameter) {
            self.parameters.insert(id.into());
        } else if is(Kind::Role) {
            self.roles.insert(id.into());
        } else if is(Kind::ServerObject) {
            let name = id.trim_start_matches(|letter: char| letter.is_ascii_uppercase() || letter == ' ');
            self.schemas.extend(named::parse(name).and_then(|(schema, _)| schema).map(Arc::from));
        } else if is(Kind::Relation) || is(Kind::Function) {
            let (schema, _) = named::parse(id).ok_or_else(|| malformed(literal))?;
            self.schemas.extend(schema.map(Arc::from));
        }
        Ok(())
    }
}

fn malformed(literal: &EntityUid) -> Mistake {
    (
        format!("{literal} is not a schema and a name: nothing is called so"),
        "write \"schema.name\"; a part with a dot in it is quoted, as in SQL".to_owned(),
    )
}
