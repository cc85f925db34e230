//! One request to the policies: who, what, to what, under which circumstances. Built typed, and no larger than what the
//! policies of its action read.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Context, Entities, Entity, EntityUid, Request, RestrictedExpression as Value};
use model::facts::{Columns, Condition, Effect, Object, OpaqueReason, StatementFacts};

use crate::case::{Case, Named, Plain};
use crate::language::{Kind, Verb};
use crate::question::{Asked, Protected};
use crate::reads::{Field, Reads};

/// One thing of a question that is decided by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) verb: Verb,
    /// May it run although nobody looks at it first? Otherwise: may it run?
    unattended: bool,
    pub(crate) reason: Option<OpaqueReason>,
    effect: Option<&'a Effect>,
    pub(crate) statement: Option<&'a StatementFacts>,
    pub(crate) column: Option<&'a Protected<'a>>,
}

impl<'a> Ask<'a> {
    const fn new(verb: Verb) -> Self {
        Self { verb, unattended: false, reason: None, effect: None, statement: None, column: None }
    }

    const fn opaque(reason: OpaqueReason) -> Self {
        Self { reason: Some(reason), ..Self::new(Verb::Opaque) }
    }

    /// Everything that a question asks; never empty.
    pub(crate) fn all(asked: Asked<'a>) -> Vec<Self> {
        match asked {
            Asked::Connect => vec![Self::new(Verb::Connect)],
            Asked::Replication => {
                vec![Self::new(Verb::Connect), Self::new(Verb::Effect(model::facts::Action::Replicate))]
            }
            Asked::Opaque(reason) => vec![Self::opaque(reason)],
            Asked::ReadClear(column) => vec![Self { column: Some(column), ..Self::new(Verb::ReadClear) }],
            Asked::Statement(facts) if facts.effects.is_empty() && facts.opaque.is_empty() => {
                vec![Self { statement: Some(facts), ..Self::new(Verb::Compute) }]
            }
            Asked::Statement(facts) => {
                let effects = facts.effects.iter().map(|effect| Self {
                    effect: Some(effect),
                    statement: Some(facts),
                    ..Self::new(Verb::Effect(effect.action))
                });
                effects.chain(facts.opaque.iter().copied().map(Self::opaque)).collect()
            }
        }
    }

    /// The same, asked about running unattended.
    pub(crate) const fn unattended(self) -> Self {
        Self { unattended: true, ..self }
    }

    /// The action of the policies that are asked.
    pub(crate) const fn action(&self) -> Verb {
        if self.unattended { Verb::RunUnattended } else { self.verb }
    }

    pub(crate) fn object(&self) -> &'a Object {
        self.effect.map_or(&Object::Server, |effect| &effect.object)
    }

    /// The type of what it is asked about.
    pub(crate) fn resource(&self) -> Kind {
        if self.column.is_some() { Kind::Column } else { Kind::of_object(self.object()) }
    }

    pub(crate) fn condition(&self) -> Condition {
        self.effect.map_or(Condition::NotApplicable, |effect| effect.condition)
    }

    pub(crate) fn command(&self) -> &'a str {
        self.statement.map_or("REPLICATION", |facts| &facts.command)
    }

    pub(crate) fn columns(&self) -> &'a Columns {
        self.effect.map_or(&Columns::None, |effect| &effect.columns)
    }
}

impl Case<'_> {
    /// The request with what policies read, and the entities that it is about; `None`: a value that Cedar does not take.
    pub(crate) fn request(&self, action: &Entity, reads: Reads) -> Option<(Request, Entities)> {
        let (kind, id) = self.principal();
        let groups = self.groups().iter().map(|group| self.language.uid(Kind::Group, group)).collect();
        let principal = entity(self.language.uid(kind, id), self.values(reads.of(Reads::PRINCIPAL)), groups)?;
        let uid = |(kind, id): &Named<'_>| self.language.uid(*kind, id);
        let around = self.around.iter().map(uid).collect();
        let resource = entity(uid(&self.resource), self.values(reads.of(Reads::RESOURCE)), around)?;
        let request = Request::new(principal.uid(), action.uid(), resource.uid(), self.context(reads)?, None).ok()?;
        Some((request, Entities::from_entities([principal, action.clone(), resource], None).ok()?))
    }

    fn context(&self, reads: Reads) -> Option<Context> {
        let process = self.value(Field::Process).is_some();
        let grant = self.value(Field::Grant).is_some();
        let parts = [
            ("session", Reads::SESSION, true),
            ("process", Reads::PROCESS, process),
            ("time", Reads::TIME, true),
            ("statement", Reads::STATEMENT, true),
            ("grant", Reads::GRANT, grant),
        ];
        let mut pairs = self.values(reads.of(Reads::EFFECT));
        for (name, fields, _) in parts.into_iter().filter(|(_, fields, is_there)| *is_there && reads.any_of(*fields)) {
            pairs.push((name.to_owned(), Value::new_record(self.values(reads.of(fields))).ok()?));
        }
        Context::from_pairs(pairs).ok()
    }

    /// The values of these fields, where there are any.
    fn values(&self, fields: Reads) -> Vec<(String, Value)> {
        let value = |field: Field| Some((field.name().to_owned(), self.cedar(self.value(field)?)?));
        fields.fields().filter_map(value).collect()
    }

    /// A value as Cedar has it.
    fn cedar(&self, value: Plain<'_>) -> Option<Value> {
        Some(match value {
            Plain::Text(text) => Value::new_string(text.into_owned()),
            Plain::Texts(texts) => Value::new_set(texts.into_iter().map(|text| Value::new_string(text.to_owned()))),
            Plain::Word(kind, word) => Value::new_entity_uid(self.language.uid(kind, &word)),
            Plain::Flag(flag) => Value::new_bool(flag),
            Plain::Number(number) => Value::new_long(number),
            Plain::Address(address) => Value::new_ip(address.to_string()),
            Plain::Present => return None,
        })
    }
}

fn entity(uid: EntityUid, attributes: Vec<(String, Value)>, parents: HashSet<EntityUid>) -> Option<Entity> {
    if attributes.is_empty() {
        return Some(Entity::new_no_attrs(uid, parents));
    }
    Entity::new(uid, attributes.into_iter().collect::<HashMap<_, _>>(), parents).ok()
}
