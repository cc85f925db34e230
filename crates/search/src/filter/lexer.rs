//! Cuts a filter into terms: blanks join, a minus negates, a colon ends a key, commas part values, quotes protect.

use std::borrow::Cow;

use super::key::Key;
use super::{FilterError, Sense, VALUES_MAX};

/// Longest word before a colon that is taken for a key.
const KEY_BYTES_MAX: usize = 32;

/// One term as it was typed.
#[derive(Debug)]
pub(super) struct Typed<'a> {
    pub(super) sense: Sense,
    /// `None` for a word without a key.
    pub(super) key: Option<&'a str>,
    /// At least one.
    pub(super) values: Vec<Cow<'a, str>>,
}

impl<'a> Typed<'a> {
    /// The value of a key that takes exactly one, and no minus.
    pub(super) fn one(self, key: Key) -> Result<Cow<'a, str>, FilterError> {
        match (self.sense, <[_; 1]>::try_from(self.values)) {
            (Sense::Is, Ok([value])) => Ok(value),
            _ => Err(FilterError::OneValue { key }),
        }
    }
}

/// The terms of a filter.
pub(super) struct Terms<'a> {
    input: &'a str,
    at: usize,
}

impl<'a> Terms<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Self { input, at: 0 }
    }

    fn rest(&self) -> &'a str {
        self.input.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let taken = self.rest().get(..bytes).unwrap_or_default();
        self.at += taken.len();
        taken
    }

    /// Takes one character if it is this one.
    fn took(&mut self, wanted: char) -> bool {
        self.rest().starts_with(wanted) && !self.take(wanted.len_utf8()).is_empty()
    }

    fn term(&mut self) -> Result<Typed<'a>, FilterError> {
        let sense = if self.took('-') { Sense::IsNot } else { Sense::Is };
        let key = self.key();
        let values = match key {
            Some(word) => self.values(word)?,
            None => vec![self.bare()?],
        };
        Ok(Typed { sense, key, values })
    }

    /// Letters and a colon are a key, in either case; anything else is text, so that `10:30` needs no quotes.
    fn key(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic() && c != '_')?;
        if end == 0 || end > KEY_BYTES_MAX || !rest[end..].starts_with(':') {
            return None;
        }
        let key = self.take(end);
        self.took(':');
        Some(key)
    }

    fn values(&mut self, key: &str) -> Result<Vec<Cow<'a, str>>, FilterError> {
        let mut values = Vec::new();
        loop {
            if values.len() == VALUES_MAX {
                return Err(FilterError::TooManyValues);
            }
            let quoted = self.rest().starts_with('"');
            let value = self.piece(|c| c.is_whitespace() || c == ',')?;
            if value.is_empty() && !quoted {
                return Err(FilterError::EmptyValue { key: key.to_owned() });
            }
            values.push(value);
            if !self.took(',') {
                return Ok(values);
            }
        }
    }

    /// A word without a key: commas belong to it. An operator of other grammars would be looked for as text, and found
    /// nowhere.
    fn bare(&mut self) -> Result<Cow<'a, str>, FilterError> {
        let word = self.piece(char::is_whitespace)?;
        if let Cow::Borrowed("AND" | "OR" | "NOT") = word {
            return Err(FilterError::Operator { word: word.into_owned() });
        }
        if word.is_empty() { Err(FilterError::EmptyValue { key: "text".to_owned() }) } else { Ok(word) }
    }

    fn piece(&mut self, ends: fn(char) -> bool) -> Result<Cow<'a, str>, FilterError> {
        if self.rest().starts_with('"') {
            return self.quoted(ends);
        }
        let rest = self.rest();
        Ok(self.take(rest.find(ends).unwrap_or(rest.len())).into())
    }

    /// The inside of quotes; what follows the closing quote without a blank belongs to the value.
    fn quoted(&mut self, ends: fn(char) -> bool) -> Result<Cow<'a, str>, FilterError> {
        let opened = self.at;
        self.took('"');
        let mut value = String::new();
        loop {
            let rest = self.rest();
            let Some(stop) = rest.find(['"', '\\']) else { return Err(FilterError::OpenQuote { at: opened }) };
            value.push_str(self.take(stop));
            if self.took('"') {
                break;
            }
            self.took('\\');
            let Some(escaped) = self.rest().chars().next() else {
                return Err(FilterError::OpenQuote { at: opened });
            };
            if !matches!(escaped, '"' | '\\') {
                value.push('\\');
            }
            value.push_str(self.take(escaped.len_utf8()));
        }
        let rest = self.rest();
        value.push_str(self.take(rest.find(ends).unwrap_or(rest.len())));
        Ok(value.into())
    }
}

impl<'a> Iterator for Terms<'a> {
    type Item = Result<Typed<'a>, FilterError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        if self.rest().is_empty() {
            return None;
        }
        let term = self.term();
        if term.is_err() {
            self.at = self.input.len();
        }
        Some(term)
    }
}
