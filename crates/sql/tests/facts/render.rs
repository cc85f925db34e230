//! Facts as one line of words for each statement, so that a case reads like a sentence.

use std::sync::Arc;

use model::Known;
use model::facts::{Columns, Condition, Effect, Facts, Name, Object, StateChange, StatementFacts};
use sql::catalogue::Catalogue;
use sql::state::State;
use sql::{Analyser, Limits};

/// The state of a fresh session on PostgreSQL 18.
pub(crate) fn state() -> State {
    State { server_major: Some(18), ..State::new(Arc::from("alice")) }
}

pub(crate) fn facts(text: &str) -> Arc<Facts> {
    Analyser::new(Limits::default()).facts(text.as_bytes(), &state(), &Catalogue::none())
}

/// Checks a text without a snapshot of the catalogue.
#[track_caller]
pub(crate) fn check(text: &str, expected: &str) {
    assert_eq!(words(&facts(text)), expected, "{text}");
}

/// Statements are separated by `;`, their effects by `,`. A schema that is not known is left out.
pub(crate) fn words(facts: &Facts) -> String {
    if let Some(reason) = facts.opaque {
        return format!("opaque: {}", reason.word());
    }
    facts.statements.iter().map(statement).collect::<Vec<_>>().join("; ")
}

fn statement(facts: &StatementFacts) -> String {
    let mut parts: Vec<String> = facts.effects.iter().map(effect).collect();
    parts.extend(facts.changes.iter().map(change));
    parts.extend(facts.opaque.iter().map(|reason| format!("opaque {}", reason.word())));
    parts.extend(facts.limit.map(|limit| format!("limit {limit}")));
    format!("{}: {}", facts.command, parts.join(", "))
}

fn effect(effect: &Effect) -> String {
    let columns = match &effect.columns {
        Columns::None => String::new(),
        Columns::All => "(*)".to_owned(),
        Columns::Unknown => "(?)".to_owned(),
        Columns::Named(names) => format!("({})", names.join(" ")),
    };
    let condition = match effect.condition {
        Condition::NotApplicable => "",
        Condition::Everything => " all",
        Condition::Some => " some",
    };
    format!("{} {}{columns}{condition}", effect.action.word(), object(&effect.object))
}

fn object(object: &Object) -> String {
    let optional = |name: &Option<Arc<str>>| name.as_deref().unwrap_or("-").to_owned();
    match object {
        Object::Relation(of) => name(of),
        Object::Function(of) => format!("{}()", name(of)),
        Object::Schema(schema) => format!("schema {schema}"),
        Object::Role(role) => format!("role {}", optional(role)),
        Object::Parameter(parameter) => format!("parameter {}", optional(parameter)),
        Object::Session(of) => format!("session {}", optional(of)),
        Object::Other { kind, name: of } => format!("[{kind} {}]", of.as_ref().map(name).unwrap_or_default()),
        Object::Server => "server".to_owned(),
    }
}

fn name(name: &Name) -> String {
    match &name.schema {
        Known::Known(schema) if !schema.is_empty() => format!("{schema}.{}", name.name),
        _ => name.name.to_string(),
    }
}

fn change(change: &StateChange) -> String {
    match change {
        StateChange::Parameter { name, value, local } => {
            let local = if *local { " local" } else { "" };
            format!("={name}:{}{local}", value.as_deref().unwrap_or("?"))
        }
        StateChange::ResetAll => "=reset".to_owned(),
        StateChange::DiscardAll => "=discard".to_owned(),
        StateChange::Role => "=role".to_owned(),
        StateChange::Prepared { name, facts } => format!("=prepared {name} {{{}}}", statement(facts)),
        StateChange::Executes { name } => format!("=executes {name}"),
        StateChange::Deallocated { name } => format!("=deallocated {}", name.as_deref().unwrap_or("-")),
        StateChange::Begin => "=begin".to_owned(),
        StateChange::End => "=end".to_owned(),
        StateChange::RolledBackTo => "=rolled back".to_owned(),
        StateChange::Catalogue => "=catalogue".to_owned(),
        StateChange::Functions => "=functions".to_owned(),
        StateChange::Relation { name, made_in: None } => format!("=relation({name})"),
        StateChange::Relation { name, made_in: Some(schema) } => format!("=made({schema}.{name})"),
        StateChange::Temporary { name } => format!("=temporary {}", name.as_deref().unwrap_or("?")),
    }
}
