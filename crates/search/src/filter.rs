//! What somebody looks for, parsed: terms that must all hold (`docs/search.md` has the grammar).
//!
//! Parsing happens at the door and answers every mistake with the remedy. Inside, a [`Filter`] has nothing left to
//! check: times are absolute, networks are networks, words of a fixed set are words of that set.
//!
//! Not here: how a record is compared with it (`matching`), and any clock: the caller passes `now`.

mod error;
mod key;
mod lexer;
mod value;

use model::time::WallTime;

pub use error::FilterError;
pub use key::Key;
pub use value::{Comparison, Network, Relation, SessionPattern};

use crate::aspect::Aspect;
use crate::attribute::AttributeKind;

/// Longest filter, in bytes.
pub const FILTER_BYTES_MAX: usize = 8 * 1024;
/// Most terms of a filter. Sessions remember in one bit for each term whether they fit.
pub const TERMS_MAX: usize = 32;
/// Most values of one term.
pub const VALUES_MAX: usize = 128;

/// A parsed filter: all terms must hold, and the time must be inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// First time that fits.
    pub since: Option<WallTime>,
    /// First time that no longer fits.
    pub until: Option<WallTime>,
    /// Everything else.
    pub terms: Vec<Term>,
}

/// One term: a condition that must hold, or must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Must it hold?
    pub sense: Sense,
    /// What is asked.
    pub condition: Condition,
}

/// Whether a condition is wanted or unwanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// `key:value`
    Is,
    /// `-key:value`: fits every record that the condition does not fit, also where the value is not known.
    IsNot,
}

/// A question to a record. Of several values, one must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It belongs to one of these sessions, or cancels in one.
    Session(Vec<SessionPattern>),
    /// Its session has one of these attributes.
    Attribute(Vec<Wanted>),
    /// Its type is one of these words, or begins with one and a dot.
    Type(Vec<String>),
    /// It is a statement of one of these kinds.
    Kind(Vec<String>),
    /// It failed with one of these SQLSTATE codes or classes (two characters).
    Sqlstate(Vec<String>),
    /// Statement, parameters or error message contain one of these texts; ASCII letters in either case. Lower case.
    Text(Vec<String>),
    /// The statement took, or the session lasted, this many microseconds.
    Duration(Comparison),
    /// The statement returned this many rows.
    Rows(Comparison),
    /// A statement failed, or a session was refused (true); a statement did not fail (false).
    Failed(bool),
    /// One of these values is what was decided about the request or statement.
    Aspect(Aspect, Vec<String>),
}

/// One attribute that a session may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This value.
    Value(AttributeKind, String),
    /// An executable with this file name, in any folder.
    FileName(String),
    /// A client address in this network.
    Network(Network),
}

impl Filter {
    /// Parses what was typed. `now` is what `24h` counts back from.
    pub fn parse(input: &[u8], now: WallTime) -> Result<Self, FilterError> {
        if input.len() > FILTER_BYTES_MAX {
            return Err(FilterError::TooLong);
        }
        let input = std::str::from_utf8(input).map_err(|error| FilterError::NotText { at: error.valid_up_to() })?;
        let mut filter = Self::default();
        let (mut count, mut date) = (0, None);
        for typed in lexer::Terms::new(input) {
            count += 1;
            if count > TERMS_MAX {
                return Err(FilterError::TooManyTerms);
            }
            let typed = typed?;
            value::not_a_time_of(date.take(), &typed)?;
            date = value::date_alone(&typed);
            filter.add(typed, now)?;
        }
        match (filter.since, filter.until) {
            (Some(since), Some(until)) if since >= until => Err(FilterError::NothingBetween),
            _ => Ok(filter),
        }
    }

    fn add(&mut self, typed: lexer::Typed<'_>, now: WallTime) -> Result<(), FilterError> {
        let key = match typed.key {
            Some(word) => Key::parse(word)?,
            None => Key::Text,
        };
        match key {
            Key::Since => self.since = self.since.max(Some(value::time(key, &typed.one(key)?, now)?)),
            Key::Until => {
                let until = value::time(key, &typed.one(key)?, now)?;
                self.until = Some(self.until.map_or(until, |earlier| earlier.min(until)));
            }
            _ => self.terms.push(Term { sense: typed.sense, condition: value::condition(key, typed)? }),
        }
        Ok(())
    }

    /// Whether a time is inside.
    #[must_use]
    pub fn covers(&self, time: WallTime) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    /// Whether any time from `first` to `last` may be inside.
    #[must_use]
    pub fn overlaps(&self, first: WallTime, last: WallTime) -> bool {
        self.since.is_none_or(|since| last >= since) && self.until.is_none_or(|until| first < until)
    }
}
