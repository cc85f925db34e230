//! One request to the policies: who, what, to what, under which circumstances. Built typed, and no larger than what the
//! policies of its action read.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use cedar_policy::{Context, Entities, Entity, EntityUid, Request, RestrictedExpression as Value};
use model::Known;
use model::facts::{Columns, Condition, Effect, Name, Object, OpaqueReason, StatementFacts};
use model::lineage::StoredColumn;
use model::principal::{Actor, Principal, PrincipalKind};

use crate::calendar::Local;
use crate::granted::ActiveGrant;
use crate::language::{Kind, Language, Verb};
use crate::named::{self, column_name, qualified, shown, unknown_schema, unqualified};
use crate::question::{Asked, Protected, Question};
use crate::reads::{Field, Reads};
use crate::session::ProcessContext;

/// One thing of a question that is decided by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) verb: Verb,
    /// May it run although nobody looks at it first? Otherwise: may it run?
    unattended: bool,
    pub(crate) reason: Option<OpaqueReason>,
    effect: Option<&'a Effect>,
    statement: Option<&'a StatementFacts>,
    pub(crate) column: Option<&'a Protected<'a>>,
}

/// What an object is taken to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// What its name says.
    AsNamed,
    /// The name does not say all; it may be this: a schema, or for a role or parameter its name.
    Supposed(&'a str),
}

impl<'a> Place<'a> {
    /// What is supposed, or else a word for what is not known.
    const fn or(self, unknown: &'a str) -> &'a str {
        match self {
            Self::AsNamed => unknown,
            Self::Supposed(name) => name,
        }
    }
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

    fn columns(&self) -> &'a Columns {
        self.effect.map_or(&Columns::None, |effect| &effect.columns)
    }
}

fn name(object: &Object) -> Option<&Name> {
    match object {
        Object::Relation(name) | Object::Function(name) => Some(name),
        Object::Other { name, .. } => name.as_ref(),
        Object::Schema(_) | Object::Role(_) | Object::Parameter(_) | Object::Session(_) | Object::Server => None,
    }
}

/// What requests are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Builder<'a> {
    pub(crate) language: &'a Language,
    pub(crate) question: &'a Question<'a>,
    pub(crate) ask: Ask<'a>,
    /// What the policies read.
    pub(crate) reads: Reads,
    pub(crate) place: Place<'a>,
}

impl Builder<'_> {
    /// The request, and the entities that it is about; `None`: a value that Cedar does not take.
    pub(crate) fn build(&self, action: &Entity) -> Option<(Request, Entities)> {
        let (principal, resource) = (self.principal()?, self.resource()?);
        let request = Request::new(principal.uid(), action.uid(), resource.uid(), self.context()?, None).ok()?;
        Some((request, Entities::from_entities([principal, action.clone(), resource], None).ok()?))
    }

    fn uid(&self, kind: Kind, id: &str) -> EntityUid {
        self.language.uid(kind, id)
    }

    /// A word of the schema.
    fn word(&self, kind: Kind, word: &str) -> Value {
        Value::new_entity_uid(self.uid(kind, word))
    }

    fn record(&self) -> Record {
        Record { reads: self.reads, values: Vec::new() }
    }

    fn principal(&self) -> Option<Entity> {
        let principal = match self.question.principal {
            Known::Known(principal) => principal,
            Known::Unknown(reason) => return Some(Entity::with_uid(self.uid(Kind::Unknown, reason.word()))),
        };
        let groups = principal.groups.iter().map(|group| self.uid(Kind::Group, group)).collect();
        entity(
            self.uid(Kind::of(principal.actor.kind), &principal.actor.id),
            self.principal_attributes(principal),
            groups,
        )
    }

    fn principal_attributes(&self, principal: &Principal) -> Record {
        let chain = &principal.acting_for;
        let person = || chain.iter().find(|actor| actor.kind == PrincipalKind::Person).map(|actor| string(&actor.id));
        let mut record = self.record();
        record.put(Field::Issuer, || Some(string(&principal.actor.issuer)));
        record.put(Field::Proof, || Some(self.word(Kind::Proof, principal.proof.word())));
        record.put(Field::ActingFor, || Some(set(chain.iter().map(|Actor { id, .. }| id))));
        record.put(Field::OnBehalfOf, person);
        record.put(Field::Purpose, || principal.purpose.as_deref().map(string));
        record
    }

    fn resource(&self) -> Option<Entity> {
        let session = self.question.session;
        let database = self.uid(Kind::Database, &session.database_name);
        let environment = self.uid(Kind::Environment, &session.environment);
        if let Some(protected) = self.ask.column {
            return self.column(protected, [database, environment]);
        }
        let object = self.ask.object();
        let id = match object {
            Object::Server => return entity(database, self.record(), HashSet::from([environment])),
            Object::Relation(name) | Object::Function(name) => self.qualified(name).into(),
            Object::Schema(name) => Cow::Borrowed(&**name),
            Object::Role(name) => name.as_deref().unwrap_or(self.place.or(&session.user)).into(),
            Object::Parameter(name) => name.as_deref().unwrap_or(self.place.or("*")).into(),
            Object::Session(name) => name.as_deref().unwrap_or("*").into(),
            Object::Other { kind, name } => self.other(kind, name.as_ref()).into(),
        };
        let id = self.uid(Kind::of_object(object), &id);
        let mut parents = HashSet::from([database, environment]);
        parents.extend(name(object).and_then(|name| self.schema(name)).map(|schema| self.uid(Kind::Schema, schema)));
        if let Object::Parameter(Some(name)) = object {
            parents.extend(named::family(name).map(|family| self.uid(Kind::Parameter, &family)));
        }
        entity(id, self.resource_attributes(object), parents)
    }

    fn column(&self, protected: &Protected<'_>, around: [EntityUid; 2]) -> Option<Entity> {
        let StoredColumn { schema, relation, name } = protected.column;
        let id = self.uid(Kind::Column, &column_name(protected.column));
        let relation = self.uid(Kind::Relation, &qualified(schema, relation));
        let parents = HashSet::from(around).into_iter().chain([relation, self.uid(Kind::Schema, schema)]).collect();
        let mut record = self.record();
        record.put(Field::ObjectName, || Some(string(name)));
        record.put(Field::Tags, || Some(set(protected.tags)));
        entity(id, record, parents)
    }

    fn resource_attributes(&self, object: &Object) -> Record {
        let name = name(object);
        let mut record = self.record();
        record.put(Field::ObjectName, || name.map(|name| string(&name.name)));
        record.put(Field::UnknownSchema, || {
            let reason = name.and_then(unknown_schema)?;
            Some(self.word(Kind::UnknownSchema, reason.word()))
        });
        if let Object::Other { kind, .. } = object {
            record.put(Field::ObjectKind, || Some(string(kind)));
        }
        record
    }

    /// The schema that a name is taken to be in.
    fn schema<'n>(&'n self, name: &'n Name) -> Option<&'n str> {
        match (&name.schema, self.place) {
            (Known::Known(schema), _) => Some(schema),
            (Known::Unknown(_), Place::Supposed(schema)) => Some(schema),
            (Known::Unknown(_), Place::AsNamed) => None,
        }
    }

    fn qualified(&self, name: &Name) -> String {
        self.schema(name).map_or_else(|| unqualified(&name.name), |schema| qualified(schema, &name.name))
    }

    fn other(&self, kind: &str, name: Option<&Name>) -> String {
        let Some(name) = name else { return kind.to_owned() };
        let name = self.schema(name).map_or_else(|| shown(name), |schema| qualified(schema, &name.name));
        format!("{kind} {name}")
    }

    fn context(&self) -> Option<Context> {
        let mut pairs = Vec::new();
        let mut part = |name: &str, fields, record: Record| {
            if self.reads.any_of(fields) {
                pairs.push((name.to_owned(), Value::new_record(record.values).ok()?));
            }
            Some(())
        };
        part("session", Reads::SESSION, self.session())?;
        if let Some(process) = &self.question.session.process {
            part("process", Reads::PROCESS, self.process(process))?;
        }
        part("time", Reads::TIME, self.time())?;
        part("statement", Reads::STATEMENT, self.statement())?;
        if let Some(grant) = self.grant() {
            part("grant", Reads::GRANT, self.granted(grant))?;
        }
        let mut record = self.record();
        record.put(Field::Granted, || Some(Value::new_bool(self.grant().is_some())));
        record.put(Field::Condition, || Some(self.word(Kind::Condition, self.ask.condition().word())));
        self.put_columns(&mut record);
        record.put(Field::Reason, || Some(self.word(Kind::OpaqueReason, self.ask.reason?.word())));
        record.put(Field::Verb, || Some(self.word(Kind::Verb, &self.ask.verb.name())));
        record.put(Field::VerbGroup, || Some(self.word(Kind::VerbGroup, &self.language.group(self.ask.verb))));
        pairs.extend(record.values);
        Context::from_pairs(pairs).ok()
    }

    /// The first active grant that covers what is asked; `None`: none does, or nobody wants to know.
    fn grant(&self) -> Option<&ActiveGrant> {
        if !self.reads.contains(Field::Granted) && !self.reads.any_of(Reads::GRANT) {
            return None;
        }
        let (object, session) = (self.ask.object(), self.question.session);
        let schema = name(object).and_then(|name| self.schema(name));
        self.question.grants.iter().find(|grant| grant.covers(self.ask.verb, object, schema, &session.database))
    }

    fn granted(&self, grant: &ActiveGrant) -> Record {
        let mut record = self.record();
        record.put(Field::GrantId, || Some(string(&grant.id.to_string())));
        record.put(Field::GrantPurpose, || Some(string(&grant.purpose)));
        record.put(Field::GrantTicket, || grant.ticket.as_deref().map(string));
        record.put(Field::GrantBreakGlass, || Some(Value::new_bool(grant.break_glass)));
        record
    }

    fn session(&self) -> Record {
        let session = self.question.session;
        let mut record = self.record();
        record.put(Field::SqlDatabase, || Some(string(&session.database)));
        record.put(Field::User, || Some(string(&session.user)));
        record.put(Field::Application, || Some(string(&session.application)));
        record.put(Field::Transport, || Some(self.word(Kind::Transport, session.transport.word())));
        record.put(Field::Encrypted, || Some(Value::new_bool(session.encrypted)));
        record.put(Field::Address, || Some(Value::new_ip(session.client_address?.to_string())));
        record.put(Field::InTransaction, || Some(Value::new_bool(session.in_transaction)));
        record
    }

    fn process(&self, process: &ProcessContext) -> Record {
        let mut record = self.record();
        record.put(Field::Exe, || Some(string(&process.exe)));
        record.put(Field::ExeHash, || process.exe_sha256.as_ref().map(|hash| string(&hex(hash))));
        record.put(Field::Uid, || Some(Value::new_long(process.uid.into())));
        record.put(Field::LoginUid, || process.login_uid.map(|uid| Value::new_long(uid.into())));
        record.put(Field::Cgroup, || process.cgroup.as_deref().map(string));
        record.put(Field::Unit, || process.unit.as_deref().map(string));
        record.put(Field::Ancestors, || Some(set(&process.ancestors)));
        record.put(Field::Tty, || Some(Value::new_bool(process.tty)));
        record
    }

    fn time(&self) -> Record {
        let local = Local::new(self.question.now, self.question.session.utc_offset);
        let mut record = self.record();
        record.put(Field::Hour, || Some(Value::new_long(local.hour())));
        record.put(Field::Minute, || Some(Value::new_long(local.minute())));
        record.put(Field::Weekday, || Some(self.word(Kind::Weekday, local.weekday())));
        record.put(Field::Date, || Some(Value::new_long(local.date())));
        record
    }

    fn statement(&self) -> Record {
        let effects = self.ask.statement.map_or(&[][..], |facts| &facts.effects);
        let functions = || effects.iter().filter(|effect| matches!(effect.object, Object::Function(_))).count();
        let limit = || self.ask.statement.and_then(|facts| facts.limit);
        let mut record = self.record();
        record.put(Field::Command, || Some(string(self.ask.command())));
        record.put(Field::Effects, || Some(count(effects.len())));
        record.put(Field::Functions, || Some(count(functions())));
        record.put(Field::Limit, || limit().map(|limit| Value::new_long(i64::try_from(limit).unwrap_or(i64::MAX))));
        record
    }

    fn put_columns(&self, record: &mut Record) {
        let columns = self.ask.columns();
        let (kind, names) = match columns {
            Columns::None => ("none", Some(&[][..])),
            Columns::Named(names) => ("named", Some(&**names)),
            Columns::All => ("all", None),
            Columns::Unknown => ("unknown", None),
        };
        record.put(Field::Columns, || names.map(set));
        record.put(Field::ColumnsKind, || Some(self.word(Kind::Columns, kind)));
    }
}

/// Values of a record or an entity that are read.
struct Record {
    reads: Reads,
    values: Vec<(String, Value)>,
}

impl Record {
    /// Adds a value, if it is read and there is one.
    fn put(&mut self, field: Field, value: impl FnOnce() -> Option<Value>) {
        if !self.reads.contains(field) {
            return;
        }
        let name = field.path().rsplit('.').next().unwrap_or_default();
        self.values.extend(value().map(|value| (name.to_owned(), value)));
    }
}

fn entity(uid: EntityUid, attributes: Record, parents: HashSet<EntityUid>) -> Option<Entity> {
    if attributes.values.is_empty() {
        return Some(Entity::new_no_attrs(uid, parents));
    }
    Entity::new(uid, attributes.values.into_iter().collect::<HashMap<_, _>>(), parents).ok()
}

fn string(text: &str) -> Value {
    Value::new_string(text.to_owned())
}

fn set<'a, T: AsRef<str> + 'a>(texts: impl IntoIterator<Item = &'a T>) -> Value {
    Value::new_set(texts.into_iter().map(|text| string(text.as_ref())))
}

fn count(number: usize) -> Value {
    Value::new_long(i64::try_from(number).unwrap_or(i64::MAX))
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
