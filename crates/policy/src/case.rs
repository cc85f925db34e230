//! One thing that is asked, as one of what it may be: who acts, on what, and what is known besides, in plain values.
//!
//! Requests to Cedar are made of these, and what can be [told](crate::told) without Cedar is told by them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use model::Known;
use model::facts::{Columns, Name, Object};
use model::lineage::StoredColumn;
use model::principal::{Principal, PrincipalKind};

use crate::calendar::Local;
use crate::granted::ActiveGrant;
use crate::language::{Kind, Language};
use crate::named::{self, column_name, qualified, shown, unknown_schema, unqualified};
use crate::question::Question;
use crate::reads::Field;
use crate::request::Ask;

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

    /// The schema that a name is taken to be in.
    fn schema(self, name: &'a Name) -> Option<&'a str> {
        match (&name.schema, self) {
            (Known::Known(schema), _) => Some(schema),
            (Known::Unknown(_), Self::Supposed(schema)) => Some(schema),
            (Known::Unknown(_), Self::AsNamed) => None,
        }
    }
}

/// An entity: its type and its id.
pub(crate) type Named<'a> = (Kind, Cow<'a, str>);

/// One side of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Principal,
    Resource,
}

/// One thing that is asked, as one of what it may be.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) language: &'a Language,
    pub(crate) question: &'a Question<'a>,
    pub(crate) ask: Ask<'a>,
    /// What it is about.
    pub(crate) resource: Named<'a>,
    /// All that this is in.
    pub(crate) around: Vec<Named<'a>>,
    /// The first active grant that covers it.
    grant: Option<&'a ActiveGrant>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plain<'a> {
    Text(Cow<'a, str>),
    Texts(Vec<&'a str>),
    /// A word of the schema.
    Word(Kind, Cow<'a, str>),
    Flag(bool),
    Number(i64),
    Address(IpAddr),
    /// What the field is in is there; it has no value of its own.
    Present,
}

impl<'a> Case<'a> {
    pub(crate) fn new(language: &'a Language, question: &'a Question<'a>, ask: Ask<'a>, place: Place<'a>) -> Self {
        let (resource, around) = match ask.column {
            Some(protected) => (column(protected.column), column_around(question, protected.column)),
            None => (object(question, ask.object(), place), object_around(question, ask.object(), place)),
        };
        let schema = name(ask.object()).and_then(|name| place.schema(name));
        let covers = |grant: &&ActiveGrant| grant.covers(ask.verb, ask.object(), schema, &question.session.database);
        let grant = question.grants.iter().find(covers);
        Self { language, question, ask, resource, around, grant }
    }

    /// Who acts.
    pub(crate) fn principal(&self) -> (Kind, &'a str) {
        match self.question.principal {
            Known::Known(principal) => (Kind::of(principal.actor.kind), &*principal.actor.id),
            Known::Unknown(reason) => (Kind::Unknown, reason.word()),
        }
    }

    /// The groups that whoever acts is in.
    pub(crate) fn groups(&self) -> &'a [Arc<str>] {
        self.actor().map_or(&[], |principal| &*principal.groups)
    }

    /// The type of one side.
    pub(crate) fn kind(&self, side: Side) -> Kind {
        match side {
            Side::Principal => self.principal().0,
            Side::Resource => self.resource.0,
        }
    }

    /// Whether one side is this.
    pub(crate) fn is(&self, side: Side, (kind, id): &(Kind, Arc<str>)) -> bool {
        match side {
            Side::Principal => self.principal() == (*kind, &**id),
            Side::Resource => self.resource.0 == *kind && *self.resource.1 == **id,
        }
    }

    /// Whether one side is this, or in it.
    pub(crate) fn is_in(&self, side: Side, wanted: &(Kind, Arc<str>)) -> bool {
        let (kind, id) = wanted;
        self.is(side, wanted)
            || match side {
                Side::Principal => *kind == Kind::Group && self.groups().contains(id),
                Side::Resource => self.around.iter().any(|(around, name)| around == kind && **name == **id),
            }
    }

    /// The value of a field; `None`: there is none.
    pub(crate) fn value(&self, field: Field) -> Option<Plain<'a>> {
        match field {
            Field::Issuer | Field::Proof | Field::ActingFor | Field::OnBehalfOf | Field::Purpose => {
                self.of_principal(self.actor()?, field)
            }
            Field::ObjectName | Field::UnknownSchema | Field::ObjectKind | Field::Tags => self.of_resource(field),
            Field::SqlDatabase
            | Field::User
            | Field::Application
            | Field::Transport
            | Field::Encrypted
            | Field::Address
            | Field::InTransaction => self.of_session(field),
            Field::Process
            | Field::Exe
            | Field::ExeHash
            | Field::Uid
            | Field::LoginUid
            | Field::Cgroup
            | Field::Unit
            | Field::Ancestors
            | Field::Tty => self.of_process(field),
            Field::Hour | Field::Minute | Field::Weekday | Field::Date => self.of_time(field),
            Field::Command | Field::Effects | Field::Functions | Field::Limit => self.of_statement(field),
            Field::Grant | Field::GrantId | Field::GrantPurpose | Field::GrantTicket | Field::GrantBreakGlass => {
                self.of_grant(field)
            }
            Field::Condition
            | Field::Columns
            | Field::ColumnsKind
            | Field::Reason
            | Field::Verb
            | Field::VerbGroup
            | Field::Granted => self.of_effect(field),
        }
    }

    fn actor(&self) -> Option<&'a Principal> {
        self.question.principal.known()
    }

    fn of_principal(&self, principal: &'a Principal, field: Field) -> Option<Plain<'a>> {
        let chain = &principal.acting_for;
        Some(match field {
            Field::Issuer => text(&principal.actor.issuer),
            Field::Proof => word(Kind::Proof, principal.proof.word()),
            Field::ActingFor => Plain::Texts(chain.iter().map(|actor| &*actor.id).collect()),
            Field::OnBehalfOf => text(&chain.iter().find(|actor| actor.kind == PrincipalKind::Person)?.id),
            Field::Purpose => text(principal.purpose.as_deref()?),
            _ => return None,
        })
    }

    fn of_resource(&self, field: Field) -> Option<Plain<'a>> {
        let object = self.ask.object();
        Some(match (field, self.ask.column, object) {
            (Field::ObjectName, Some(protected), _) => text(&protected.column.name),
            (Field::ObjectName, None, _) => text(&name(object)?.name),
            (Field::UnknownSchema, None, _) => word(Kind::UnknownSchema, unknown_schema(name(object)?)?.word()),
            (Field::ObjectKind, None, Object::Other { kind, .. }) => text(kind),
            (Field::Tags, Some(protected), _) => Plain::Texts(protected.tags.iter().map(|tag| &**tag).collect()),
            _ => return None,
        })
    }

    fn of_session(&self, field: Field) -> Option<Plain<'a>> {
        let session = self.question.session;
        Some(match field {
            Field::SqlDatabase => text(&session.database),
            Field::User => text(&session.user),
            Field::Application => text(&session.application),
            Field::Transport => word(Kind::Transport, session.transport.word()),
            Field::Encrypted => Plain::Flag(session.encrypted),
            Field::Address => Plain::Address(session.client_address?),
            Field::InTransaction => Plain::Flag(session.in_transaction),
            _ => return None,
        })
    }

    fn of_process(&self, field: Field) -> Option<Plain<'a>> {
        let process = self.question.session.process.as_ref()?;
        Some(match field {
            Field::Process => Plain::Present,
            Field::Exe => text(&process.exe),
            Field::ExeHash => Plain::Text(hex(process.exe_sha256.as_ref()?).into()),
            Field::Uid => Plain::Number(process.uid.into()),
            Field::LoginUid => Plain::Number(process.login_uid?.into()),
            Field::Cgroup => text(process.cgroup.as_deref()?),
            Field::Unit => text(process.unit.as_deref()?),
            Field::Ancestors => Plain::Texts(process.ancestors.iter().map(|path| &**path).collect()),
            Field::Tty => Plain::Flag(process.tty),
            _ => return None,
        })
    }

    fn of_time(&self, field: Field) -> Option<Plain<'a>> {
        let local = Local::new(self.question.now, self.question.session.utc_offset);
        Some(match field {
            Field::Hour => Plain::Number(local.hour()),
            Field::Minute => Plain::Number(local.minute()),
            Field::Weekday => word(Kind::Weekday, local.weekday()),
            Field::Date => Plain::Number(local.date()),
            _ => return None,
        })
    }

    fn of_statement(&self, field: Field) -> Option<Plain<'a>> {
        let effects = self.ask.statement.map_or(&[][..], |facts| &facts.effects);
        let functions = || effects.iter().filter(|effect| matches!(effect.object, Object::Function(_))).count();
        Some(match field {
            Field::Command => text(self.ask.command()),
            Field::Effects => count(effects.len()),
            Field::Functions => count(functions()),
            Field::Limit => Plain::Number(i64::try_from(self.ask.statement?.limit?).unwrap_or(i64::MAX)),
            _ => return None,
        })
    }

    fn of_effect(&self, field: Field) -> Option<Plain<'a>> {
        Some(match (field, self.ask.columns()) {
            (Field::Condition, _) => word(Kind::Condition, self.ask.condition().word()),
            (Field::Columns, Columns::None) => Plain::Texts(Vec::new()),
            (Field::Columns, Columns::Named(names)) => Plain::Texts(names.iter().map(|name| &**name).collect()),
            (Field::ColumnsKind, columns) => word(Kind::Columns, columns_kind(columns)),
            (Field::Reason, _) => word(Kind::OpaqueReason, self.ask.reason?.word()),
            (Field::Verb, _) => Plain::Word(Kind::Verb, self.ask.verb.name().into()),
            (Field::VerbGroup, _) => Plain::Word(Kind::VerbGroup, self.language.group(self.ask.verb).into()),
            (Field::Granted, _) => Plain::Flag(self.grant.is_some()),
            _ => return None,
        })
    }

    fn of_grant(&self, field: Field) -> Option<Plain<'a>> {
        let grant = self.grant?;
        Some(match field {
            Field::Grant => Plain::Present,
            Field::GrantId => Plain::Text(grant.id.to_string().into()),
            Field::GrantPurpose => text(&grant.purpose),
            Field::GrantTicket => text(grant.ticket.as_deref()?),
            Field::GrantBreakGlass => Plain::Flag(grant.break_glass),
            _ => return None,
        })
    }
}

const fn columns_kind(columns: &Columns) -> &'static str {
    match columns {
        Columns::None => "none",
        Columns::Named(_) => "named",
        Columns::All => "all",
        Columns::Unknown => "unknown",
    }
}

fn name(object: &Object) -> Option<&Name> {
    match object {
        Object::Relation(name) | Object::Function(name) => Some(name),
        Object::Other { name, .. } => name.as_ref(),
        Object::Schema(_) | Object::Role(_) | Object::Parameter(_) | Object::Session(_) | Object::Server => None,
    }
}

/// What stands for an object.
fn object<'a>(question: &Question<'a>, object: &'a Object, place: Place<'a>) -> Named<'a> {
    let session = question.session;
    let id = match object {
        Object::Server => Cow::Borrowed(&*session.database_name),
        Object::Relation(name) | Object::Function(name) => {
            let id = place.schema(name).map_or_else(|| unqualified(&name.name), |schema| qualified(schema, &name.name));
            id.into()
        }
        Object::Schema(name) => Cow::Borrowed(&**name),
        Object::Role(name) => name.as_deref().unwrap_or(place.or(&session.user)).into(),
        Object::Parameter(name) => name.as_deref().unwrap_or(place.or("*")).into(),
        Object::Session(name) => name.as_deref().unwrap_or("*").into(),
        Object::Other { kind, name: None } => Cow::Borrowed(&**kind),
        Object::Other { kind, name: Some(name) } => {
            let name = place.schema(name).map_or_else(|| shown(name), |schema| qualified(schema, &name.name));
            format!("{kind} {name}").into()
        }
    };
    (Kind::of_object(object), id)
}

/// All that an object is in.
fn object_around<'a>(question: &Question<'a>, object: &'a Object, place: Place<'a>) -> Vec<Named<'a>> {
    let [database, environment] = home(question);
    let mut around = match object {
        Object::Server => vec![environment],
        _ => vec![database, environment],
    };
    let schema = name(object).and_then(|name| place.schema(name));
    around.extend(schema.map(|schema| (Kind::Schema, schema.into())));
    if let Object::Parameter(Some(name)) = object {
        // Nothing is in itself.
        let family = named::family(name).filter(|family| **family != **name);
        around.extend(family.map(|family| (Kind::Parameter, family.into())));
    }
    around
}

fn column<'a>(column: &'a StoredColumn) -> Named<'a> {
    (Kind::Column, column_name(column).into())
}

fn column_around<'a>(
    question: &Question<'a>,
    StoredColumn { schema, relation, .. }: &'a StoredColumn,
) -> Vec<Named<'a>> {
    let relation = (Kind::Relation, qualified(schema, relation).into());
    home(question).into_iter().chain([relation, (Kind::Schema, Cow::Borrowed(&**schema))]).collect()
}

/// The database, and its environment.
fn home<'a>(question: &Question<'a>) -> [Named<'a>; 2] {
    let session = question.session;
    [
        (Kind::Database, Cow::Borrowed(&*session.database_name)),
        (Kind::Environment, Cow::Borrowed(&*session.environment)),
    ]
}

fn text(text: &str) -> Plain<'_> {
    Plain::Text(text.into())
}

fn word(kind: Kind, word: &'static str) -> Plain<'static> {
    Plain::Word(kind, word.into())
}

fn count(number: usize) -> Plain<'static> {
    Plain::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
