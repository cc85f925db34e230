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
            effects.extend(options(value).into_iter().map(|name| effect(name.as_deref())));
        } else {
            effects.extend(wanted(&String::from_utf8_lossy(name)).map(|name| effect(Some(&name))));
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

/// Letters of the server's command line that take a value (`getopt` in `postgres.c`); `-` is one, too: `--name=value`.
const WITH_VALUE: &str = "BCDNSWcdfhkprtv-";

/// Parameters that other letters set; one that is not here sets several, or is not known.
const OF_LETTERS: &[(char, &str)] = &[
    ('B', "shared_buffers"),
    ('F', "fsync"),
    ('N', "max_connections"),
    ('O', "allow_system_table_mods"),
    ('P', "ignore_system_indexes"),
    ('S', "work_mem"),
    ('W', "post_auth_delay"),
    ('e', "datestyle"),
    ('h', "listen_addresses"),
    ('i', "listen_addresses"),
    ('k', "unix_socket_directories"),
    ('l', "ssl"),
    ('p', "port"),
    ('s', "log_statement_stats"),
];

/// Names in `options`: `-c name=value`, `-cname=value`, `--name=value`, also behind letters without a value (`-ecname=value`);
/// those that other letters set, `None`: any. Words end at whitespace that no backslash stands before (`pg_split_opts`).
fn options(text: &[u8]) -> Vec<Option<String>> {
    let mut words = split(&String::from_utf8_lossy(text)).into_iter();
    let mut names = Vec::new();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-') else {
            names.extend(wanted(&word).map(Some));
            continue;
        };
        for (place, letter) in letters.char_indices() {
            if !WITH_VALUE.contains(letter) {
                names.extend(of_letter(letter));
                continue;
            }
            let rest = letters.get(place.saturating_add(letter.len_utf8())..).filter(|rest| !rest.is_empty());
            let value = rest.map_or_else(|| words.next().unwrap_or_default(), str::to_owned);
            if matches!(letter, 'c' | '-') {
                names.extend(wanted(&value.split('=').next().unwrap_or_default().replace('-', "_")).map(Some));
            } else {
                names.extend(of_letter(letter));
            }
            break;
        }
    }
    names
}

/// What a letter sets, unless it is harmless.
fn of_letter(letter: char) -> Option<Option<String>> {
    match OF_LETTERS.iter().find(|(known, _)| *known == letter) {
        Some((_, name)) => wanted(name).map(Some),
        None => Some(None),
    }
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

fn effect(name: Option<&str>) -> Effect {
    let (action, object) = match name {
        Some("role" | "session_authorization") => (Action::SetRole, Object::Role(Some("?".into()))),
        name => (Action::SetParameter, Object::Parameter(name.map(Arc::from))),
    };
    Effect { action, object, columns: Columns::None, condition: Condition::NotApplicable }
}
