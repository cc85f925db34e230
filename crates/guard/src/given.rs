//! What cursors and portals have given so far: bounds are about all rows of a query, not about each FETCH or Execute.

use std::collections::HashMap;
use std::sync::Arc;

/// Cursors and portals that are told apart; of more of them each may be the one that has given most.
const GIVING_MAX: usize = 256;

/// Rows, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Amount {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    /// The greater one of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { rows: self.rows.max(other.rows), bytes: self.bytes.max(other.bytes) }
    }
}

/// By the names of cursors and portals, which are one name space.
#[derive(Debug, Default)]
pub(crate) struct Given {
    of: HashMap<Arc<str>, Amount>,
    /// The most that any of those has given which are not told apart.
    others: Amount,
}

impl Given {
    /// The most that one of these has given.
    pub(crate) fn by<'a>(&self, names: impl IntoIterator<Item = &'a Arc<str>>) -> Amount {
        let of = |name| self.of.get(name).copied().unwrap_or(self.others);
        names.into_iter().map(of).fold(Amount::default(), Amount::max)
    }

    /// It has given so much by now.
    pub(crate) fn note(&mut self, name: Arc<str>, amount: Amount) {
        if self.of.len() < GIVING_MAX || self.of.contains_key(&name) {
            self.of.insert(name, amount);
        } else {
            self.others = self.others.max(amount);
        }
    }

    /// The name stands for a new one.
    pub(crate) fn begin(&mut self, name: &str) {
        self.of.remove(name);
    }

    /// The transaction has ended, and with it all but these.
    pub(crate) fn keep(&mut self, is_held: impl Fn(&str) -> bool) {
        self.of.retain(|name, _| is_held(name));
    }
}
