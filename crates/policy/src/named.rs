//! Names as policies write them: `public.customers`, and quoted where a part would be taken for something else.

use model::Known;
use model::facts::{Name, UnknownSchema};
use model::lineage::StoredColumn;

/// In the place of a schema that is not known.
pub(crate) const UNKNOWN: &str = "?";

/// A schema and a name. A part is quoted as the server quotes it where it is empty, begins with `?`, or has a dot or
/// a quote: no two names are written in the same way.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", part(schema), part(name))
}

/// A column: its relation's name, and its own.
pub(crate) fn column_name(column: &StoredColumn) -> String {
    format!("{}.{}", qualified(&column.schema, &column.relation), part(&column.name))
}

/// The same for a schema that is not known.
pub(crate) fn unqualified(name: &str) -> String {
    format!("{UNKNOWN}.{}", part(name))
}

/// As people read it: without a schema where that is not known.
pub(crate) fn shown(name: &Name) -> String {
    match &name.schema {
        Known::Known(schema) => qualified(schema, &name.name),
        Known::Unknown(_) => part(&name.name),
    }
}

/// Why the schema is not known, where it is not.
pub(crate) fn unknown_schema(name: &Name) -> Option<UnknownSchema> {
    match name.schema {
        Known::Known(_) => None,
        Known::Unknown(reason) => Some(reason),
    }
}

fn part(text: &str) -> String {
    if text.is_empty() || text.starts_with(UNKNOWN) || text.contains(['.', '"']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Reads what [`qualified`] and [`unqualified`] write; `None` where they would not write it so. The schema is `None`
/// where it is not known.
pub(crate) fn parse(text: &str) -> Option<(Option<String>, String)> {
    let (schema, rest) = split(text)?;
    let (name, end) = split(rest.strip_prefix('.')?)?;
    if !end.is_empty() {
        return None;
    }
    if schema == UNKNOWN && unqualified(&name) == text {
        return Some((None, name));
    }
    (qualified(&schema, &name) == text).then_some((Some(schema), name))
}

/// One part and what follows it.
fn split(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        let (part, rest) = text.split_at_checked(end)?;
        return Some((part.to_owned(), rest));
    };
    let mut part = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"')?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                part.push('"');
                rest = more;
            }
            None => return Some((part, after)),
        }
    }
}

/// What stands for all parameters of an extension: those with this beginning.
pub(crate) fn family(parameter: &str) -> Option<String> {
    parameter.split_once('.').map(|(extension, _)| format!("{extension}.*"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_name_is_read_as_the_same_name(schema in "[a?.\" ]{0,4}", name in "[a?.\" ]{0,4}") {
            prop_assert_eq!(parse(&qualified(&schema, &name)), Some((Some(schema), name.clone())));
            prop_assert_eq!(parse(&unqualified(&name)), Some((None, name)));
        }
    }

    #[test]
    fn what_would_be_written_differently_is_no_name() {
        for text in ["customers", "", ".", "a.b.c", "\"a\".b", "a.\"b\"", "?", "a.?b", "\"a.b", "a."] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
