//! Where the next page of a search begins, as a text that the caller hands back unread.

use std::fmt;

use model::time::WallTime;

use crate::index::bloom;
use crate::query::Order;

/// Version of the form.
const VERSION: &str = "w1";

/// The place after the last record of a page. It stays valid while the journal grows, and holds what `24h` meant on the
/// first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub(crate) order: Order,
    /// Newest first: the next record is below it. Oldest first: above it.
    pub(crate) seq: u64,
    pub(crate) now: WallTime,
    /// Of the filter as it was typed.
    pub(crate) filter: u64,
}

/// Why a token cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this version.
    #[error("this is not the token of a page; take the one that the previous page ended with")]
    Malformed,
    /// A token of a search for something else.
    #[error("this token belongs to another filter; repeat the filter of the previous page")]
    OtherFilter,
}

/// The number of a filter as it was typed.
pub(crate) fn of_filter(typed: &[u8]) -> u64 {
    bloom::hash(0, typed)
}

impl Token {
    /// Reads a token.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let fields: Vec<&str> = text.split('.').collect();
        let [VERSION, order, seq, now, filter] = *fields else { return Err(TokenError::Malformed) };
        let number = |text| u64::from_str_radix(text, 16).or(Err(TokenError::Malformed));
        let order = match order {
            "n" => Order::NewestFirst,
            "o" => Order::OldestFirst,
            _ => return Err(TokenError::Malformed),
        };
        Ok(Self { order, seq: number(seq)?, now: WallTime(number(now)?), filter: number(filter)? })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            Order::NewestFirst => 'n',
            Order::OldestFirst => 'o',
        };
        write!(f, "{VERSION}.{order}.{:x}.{:x}.{:x}", self.seq, self.now.0, self.filter)
    }
}
