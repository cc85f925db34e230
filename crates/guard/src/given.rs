//! What cursors and portals have given so far: bounds are about all rows of a query, not about each FETCH or Execute.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cursors::Cursors;

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
    pub(crate) fn keep(&mut self, held: &Cursors) {
        self.of.retain(|name, _| held.has(name));
        if held.is_empty() {
            self.others = Amount::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_each_may_have_given_most() {
        let mut given = Given::default();
        let amount = |rows| Amount { rows, bytes: 10 * rows };
        let name = |number: usize| Arc::<str>::from(format!("c{number}"));
        for number in 0..GIVING_MAX {
            given.note(name(number), amount(1));
        }
        given.note(name(GIVING_MAX), amount(7));
        given.note(name(0), amount(3));
        assert_eq!([0, 1, GIVING_MAX].map(|number| given.by([&name(number)]).rows), [3, 1, 7]);
        assert_eq!(given.by([&name(GIVING_MAX + 1)]).bytes, 70, "one that is not told apart");
        given.keep(&Cursors::default());
        assert_eq!(given.by([&name(0), &name(GIVING_MAX)]).rows, 0, "they are gone with the transaction");
    }
}
