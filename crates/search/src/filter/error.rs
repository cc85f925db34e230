//! What can be wrong with a filter, and what to type instead.

use super::key::Key;
use super::{FILTER_BYTES_MAX, TERMS_MAX, VALUES_MAX};

/// Why a filter was not understood. The one who typed it erred; the text says what to type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Longer than [`FILTER_BYTES_MAX`].
    #[error("the filter is longer than {FILTER_BYTES_MAX} bytes")]
    TooLong,
    /// More than [`TERMS_MAX`] terms.
    #[error("the filter has more than {TERMS_MAX} terms; values of one key can be joined by commas: user:alice,bob")]
    TooManyTerms,
    /// More than [`VALUES_MAX`] values in one term.
    #[error("a term of the filter has more than {VALUES_MAX} values")]
    TooManyValues,
    /// Not UTF-8.
    #[error("the filter is not UTF-8 text from byte {at} on")]
    NotText {
        /// First byte that is not.
        at: usize,
    },
    /// A quote that does not end.
    #[error("the quote that opens at byte {at} is not closed; inside quotes, write \\\" for a quote")]
    OpenQuote {
        /// Where it opens.
        at: usize,
    },
    /// No such key.
    #[error(
        "there is no key {key:?}{}; keys are: {}. To look for the text itself, put it in quotes",
        nearest.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default(),
        Key::words().collect::<Vec<_>>().join(", ")
    )]
    UnknownKey {
        /// What was typed.
        key: String,
        /// The most similar key.
        nearest: Option<&'static str>,
    },
    /// A key without a value, or an empty value among several.
    #[error("{key:?} has an empty value; write key:value, or key:\"\" to mean the empty text")]
    EmptyValue {
        /// Which key; empty for a lone minus.
        key: String,
    },
    /// A value that this key does not have.
    #[error("{key}:{value:?} is not understood; {expected}")]
    BadValue {
        /// Which key.
        key: Key,
        /// What was typed.
        value: String,
        /// What can be typed.
        expected: String,
    },
    /// AND, OR, NOT.
    #[error(
        "{word} is no operator here: all terms must hold; write user:alice,bob for one of several, -user:alice for not; to \
         look for the word itself, put it in quotes"
    )]
    Operator {
        /// Which.
        word: String,
    },
    /// The end is not after the beginning.
    #[error("until is not after since: no record can be between them")]
    NothingBetween,
    /// A key that takes one value and no minus.
    #[error("{key} takes one value and no minus; write two terms to bound both sides")]
    OneValue {
        /// Which key.
        key: Key,
    },
}
