//! What a StartupMessage asks for besides a session: parameters, which are as good as SET statements.

use std::sync::Arc;

use model::facts::{Action, Columns, Condition, Effect, Facts, Object, StatementFacts};

/// Parameters that every driver sends; they decide how values look, not what statements do.
const HARMLESS: &[&str] = &[
    "application_name",
    "client_encoding",
    "client_min_messages",
    "database",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "replication",
    "search_path",
    "statement_timeout",
    "timezone",
    "user",
];

/// The effects of a start-up packet's parameters, names and values as they came.
pub(crate) fn facts<'a>(parameters: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Facts {
    let mut effects = Vec::new();
    for (name, value) in parameters {
        if name.eq_ignore_ascii_case(b"options") {
            effects.extend(options(value).into_iter().map(|name| effect(&name)));
        } else {
            effects.extend(wanted(&String::from_utf8_lossy(name)).map(|name| effect(&name)));
        }
    }
    effects.dedup();
    if effects.is_empty() {
        return Facts::default();
    }
    let statement = StatementFacts { command: "CONNECT".into(), effects, ..StatementFacts::default() };
    Facts { statements: vec![statement], opaque: None }
}

/// A parameter's name, unless it is harmless.
fn wanted(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    (!HARMLESS.contains(&name.as_str())).then_some(name)
}

/// Names in `options`: `-c name=value`, `-cname=value`, `--name=value`; anything else under its own letters. Words end at
/// whitespace that no backslash stands before (`pg_split_opts`).
fn options(text: &[u8]) -> Vec<String> {
    let mut words = split(&String::from_utf8_lossy(text)).into_iter();
    let mut names = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.as_str() {
            "-c" => words.next().unwrap_or_default(),
            word => word.strip_prefix("--").or_else(|| word.strip_prefix("-c")).unwrap_or(word).to_owned(),
        };
        let name = setting.split('=').next().unwrap_or_default().replace('-', "_");
        names.extend(wanted(&name));
    }
    names
}

fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.extend(letters.next()),
            space if space.is_ascii_whitespace() => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            letter => word.push(letter),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn effect(name: &str) -> Effect {
    let (action, object) = match name {
        "role" => (Action::SetRole, Object::Role(Some("?".into()))),
        name => (Action::SetParameter, Object::Parameter(Some(Arc::from(name)))),
    };
    Effect { action, object, columns: Columns::None, condition: Condition::NotApplicable }
}
