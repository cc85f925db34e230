//! What a request is about, for people: `DROP of table public.customers`.

use std::sync::Arc;

use model::facts::{Action, Condition, Object};

use crate::language::Verb;
use crate::named::{column_name, shown};
use crate::request::Ask;

/// Characters of the text: names come from clients.
const CHARS_MAX: usize = 200;

pub(crate) fn what(ask: &Ask<'_>) -> Arc<str> {
    let text = match ask.verb {
        Verb::Connect => "opening a session".to_owned(),
        Verb::ReadClear => {
            let column = ask.column.map_or_else(String::new, |protected| column_name(protected.column));
            format!("reading {column} in clear")
        }
        // Never asked of a statement.
        Verb::RequestGrant | Verb::BreakGlass | Verb::ApproveGrant => "access".to_owned(),
        Verb::Opaque => {
            format!("a statement that is not understood ({})", ask.reason.map_or("", |reason| reason.word()))
        }
        Verb::Compute | Verb::RunUnattended => ask.command().to_owned(),
        Verb::Effect(action) => effect(ask, action),
    };
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(CHARS_MAX).collect::<String>().into()
}

fn effect(ask: &Ask<'_>, action: Action) -> String {
    let verb = action.word().replace('_', " ").to_uppercase();
    let rows = match (action, ask.condition()) {
        (Action::Update | Action::Delete, Condition::Everything) => "every row of ",
        _ => "",
    };
    format!("{verb} of {rows}{}", object(ask, action))
}

fn object(ask: &Ask<'_>, action: Action) -> String {
    let some = |kind: &str, name: Option<&str>| match name {
        Some(name) => format!("{kind} {name}"),
        None => format!("a {kind}"),
    };
    match ask.object() {
        Object::Relation(name) => format!("{} {}", relation(ask.command(), action), shown(name)),
        Object::Function(name) => format!("function {}", shown(name)),
        Object::Schema(name) => format!("schema {name}"),
        Object::Role(name) => {
            name.as_ref().map_or_else(|| "the login's role".to_owned(), |name| format!("role {name}"))
        }
        Object::Parameter(name) => {
            name.as_ref().map_or_else(|| "all parameters".to_owned(), |name| some("parameter", Some(name)))
        }
        Object::Session(name) => name.as_ref().map_or_else(|| "the session".to_owned(), |name| format!("{name}")),
        Object::Other { kind, name } => some(&kind.to_lowercase(), name.as_ref().map(shown).as_deref()),
        Object::Server => "the database".to_owned(),
    }
}

/// What kind of relation: the tag of a change of the catalogue says it (`DROP TABLE`), otherwise it is not known.
fn relation(command: &str, action: Action) -> &'static str {
    let kinds = ["materialized view", "foreign table", "table", "view", "sequence"];
    let tag = command.to_lowercase();
    let ddl = matches!(action, Action::Create | Action::Alter | Action::Drop);
    kinds.into_iter().find(|kind| ddl && tag.ends_with(kind)).unwrap_or("relation")
}
