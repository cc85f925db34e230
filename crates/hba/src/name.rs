//! Words of the database and user columns, and whether they match a name.

use crate::major::Major;
use crate::token::Token;

/// One word of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    All,
    SameUser,
    /// `samerole` or `samegroup`
    SameRole,
    /// Physical replication, and nothing else.
    Replication,
    /// `+role`
    Member(Vec<u8>),
    /// `/pattern`, without the slash
    Pattern(Vec<u8>),
    Name(Vec<u8>),
}

/// A word of the database column.
pub(crate) fn database(token: &Token, major: Major) -> Word {
    let keywords = [
        ("all", Word::All),
        ("sameuser", Word::SameUser),
        ("samerole", Word::SameRole),
        ("samegroup", Word::SameRole),
        ("replication", Word::Replication),
    ];
    let keyword = keywords.into_iter().find(|(keyword, _)| token.is(keyword));
    keyword.map_or_else(|| plain(token, major), |(_, word)| word)
}

/// A word of the user column.
pub(crate) fn user(token: &Token, major: Major) -> Word {
    match token.text.strip_prefix(b"+") {
        Some(role) if !token.quoted => Word::Member(role.to_vec()),
        _ if token.is("all") => Word::All,
        _ => plain(token, major),
    }
}

/// Quotes do not hide the slash of a pattern.
fn plain(token: &Token, major: Major) -> Word {
    match token.text.strip_prefix(b"/") {
        Some(pattern) if major.has_includes_and_patterns() => Word::Pattern(pattern.to_vec()),
        _ => Word::Name(token.text.clone()),
    }
}

/// Whether a pattern matches, for patterns of which PostgreSQL's and anybody's reading is the same: an optional `^`,
/// letters, digits, `_`, `-`, `.` and `.*`, an optional `$`. `None` for others.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> Option<bool> {
    let (anchored, rest) = pattern.strip_prefix(b"^").map_or((false, pattern), |rest| (true, rest));
    let (ended, rest) = rest.strip_suffix(b"$").map_or((false, rest), |rest| (true, rest));
    let mut steps = Vec::new();
    if !anchored {
        steps.push(Step::Any);
    }
    let mut bytes = rest.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let repeated = bytes.next_if_eq(&b'*').is_some();
        steps.push(match byte {
            b'.' if repeated => Step::Any,
            // One character is one byte only in ASCII.
            b'.' if name.is_ascii() => Step::One,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' if !repeated => Step::Byte(byte),
            _ => return None,
        });
    }
    if !ended {
        steps.push(Step::Any);
    }
    Some(walk(&steps, name))
}

#[derive(Clone, Copy)]
enum Step {
    Byte(u8),
    One,
    Any,
}

/// All positions at once: linear in steps and bytes, whatever the pattern.
fn walk(steps: &[Step], name: &[u8]) -> bool {
    let mut places = vec![false; name.len().saturating_add(1)];
    if let Some(first) = places.first_mut() {
        *first = true;
    }
    for step in steps {
        places = match step {
            Step::Any => {
                let reached = |seen: &mut bool, place: &bool| {
                    *seen |= *place;
                    Some(*seen)
                };
                places.iter().scan(false, reached).collect()
            }
            Step::One => std::iter::once(false).chain(places.iter().copied().take(name.len())).collect(),
            Step::Byte(byte) => {
                let moved = places.iter().zip(name).map(|(place, found)| *place && found == byte);
                std::iter::once(false).chain(moved).collect()
            }
        };
    }
    places.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_are_understood() {
        let cases = [
            ("^app$", "app", Some(true)),
            ("^app$", "app2", Some(false)),
            ("app", "my_app_2", Some(true)),
            ("^app_.*$", "app_", Some(true)),
            ("^app_.*$", "xapp_", Some(false)),
            ("^a.c", "abcd", Some(true)),
            ("^a.c", "ac", Some(false)),
            ("a.*b$", "xxayyb", Some(true)),
            ("", "anything", Some(true)),
            ("^$", "", Some(true)),
            ("^a.b$", "aéb", None),
            ("a+", "a", None),
            ("a*", "a", None),
            ("[ab]", "a", None),
            ("(?i)a", "a", None),
            ("***=a", "a", None),
            ("a|b", "a", None),
            ("a\\d", "a", None),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
