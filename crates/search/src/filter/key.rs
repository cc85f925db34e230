//! The keys of the grammar, their words, and the nearest word to a mistyped one.

use std::fmt;

use super::FilterError;
use crate::aspect::Aspect;
use crate::attribute::AttributeKind;

/// Distance up to which a word is suggested.
const NEAR: usize = 2;

/// A key that records can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `since:`
    Since,
    /// `until:`
    Until,
    /// `session:`
    Session,
    /// `type:`
    Type,
    /// `kind:`
    Kind,
    /// `sqlstate:`
    Sqlstate,
    /// `text:`, and words without a key.
    Text,
    /// `duration:`
    Duration,
    /// `rows:`
    Rows,
    /// `error:`
    Error,
    /// A key that asks for an attribute of the session.
    Attribute(AttributeKind),
    /// A key that asks for what was decided about a message.
    Aspect(Aspect),
}

const KEYS: [(&str, Key); 31] = [
    ("since", Key::Since),
    ("until", Key::Until),
    ("session", Key::Session),
    ("type", Key::Type),
    ("user", Key::Attribute(AttributeKind::User)),
    ("database", Key::Attribute(AttributeKind::Database)),
    ("application", Key::Attribute(AttributeKind::Application)),
    ("client", Key::Attribute(AttributeKind::Client)),
    ("transport", Key::Attribute(AttributeKind::Transport)),
    ("encryption", Key::Attribute(AttributeKind::Encryption)),
    ("class", Key::Attribute(AttributeKind::Class)),
    ("exe", Key::Attribute(AttributeKind::Executable)),
    ("process", Key::Attribute(AttributeKind::Process)),
    ("pid", Key::Attribute(AttributeKind::Pid)),
    ("uid", Key::Attribute(AttributeKind::Uid)),
    ("login", Key::Attribute(AttributeKind::Login)),
    ("sqlstate", Key::Sqlstate),
    ("kind", Key::Kind),
    ("text", Key::Text),
    ("duration", Key::Duration),
    ("rows", Key::Rows),
    ("error", Key::Error),
    ("who", Key::Attribute(AttributeKind::Principal)),
    ("agent", Key::Attribute(AttributeKind::Agent)),
    ("for", Key::Attribute(AttributeKind::ActingFor)),
    ("verdict", Key::Aspect(Aspect::Decision)),
    ("rule", Key::Aspect(Aspect::Rule)),
    ("action", Key::Aspect(Aspect::Action)),
    ("relation", Key::Aspect(Aspect::Relation)),
    ("opaque", Key::Aspect(Aspect::Opaque)),
    ("grant", Key::Aspect(Aspect::Grant)),
];

impl Key {
    /// All words, in the order of the documentation.
    pub fn words() -> impl Iterator<Item = &'static str> {
        KEYS.iter().map(|(word, _)| *word)
    }

    /// The key of a word.
    pub(super) fn parse(typed: &str) -> Result<Self, FilterError> {
        if let Some((_, key)) = KEYS.iter().find(|(word, _)| word.eq_ignore_ascii_case(typed)) {
            return Ok(*key);
        }
        let nearest = nearest(&typed.to_ascii_lowercase(), Self::words());
        Err(FilterError::UnknownKey { key: typed.to_owned(), nearest })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = KEYS.iter().find(|(_, key)| key == self).map_or("", |(word, _)| word);
        f.write_str(word)
    }
}

/// The word that needs the fewest changes, if they are few.
pub(super) fn nearest<'a>(typed: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = words.map(|word| (distance(typed.as_bytes(), word.as_bytes()), word));
    near.filter(|(distance, _)| *distance <= NEAR).min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// Insertions, removals and replacements from one word to the other. Words are short: a key has at most 32 bytes.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.iter().enumerate() {
        let mut diagonal = row.first().copied().unwrap_or(0);
        let mut left = line + 1;
        let mut next = vec![left];
        for (above, b) in row.iter().skip(1).zip(to) {
            left = (diagonal + usize::from(a != b)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found() {
        for (typed, expected) in
            [("usr", Some("user")), ("sesion", Some("session")), ("durations", Some("duration")), ("banana", None)]
        {
            assert_eq!(nearest(typed, Key::words()), expected, "{typed}");
        }
    }
}
