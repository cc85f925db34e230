//! Places at a socket: how many one user has, and all of them together, so that nobody keeps the others out.

use std::cell::RefCell;
use std::collections::HashMap;

/// Connections by user.
pub(crate) struct Shares {
    of: RefCell<HashMap<u32, usize>>,
    /// Those of one user.
    of_one_max: usize,
    /// Those of all who need a share.
    all_max: usize,
}

/// A connection of a user, until it is dropped.
pub(crate) struct Share<'a> {
    shares: &'a Shares,
    uid: u32,
}

impl Shares {
    pub(crate) fn new(of_one_max: usize, all_max: usize) -> Self {
        Self { of: RefCell::default(), of_one_max, all_max }
    }

    /// `None`: the user has as many as one may have, or all together have.
    pub(crate) fn admit(&self, uid: u32) -> Option<Share<'_>> {
        let mut of = self.of.borrow_mut();
        let (all, own) = (of.values().sum::<usize>(), of.get(&uid).copied().unwrap_or_default());
        if own >= self.of_one_max || all >= self.all_max {
            return None;
        }
        of.insert(uid, own + 1);
        Some(Share { shares: self, uid })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut of = self.shares.of.borrow_mut();
        if let Some(count) = of.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                of.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_keeps_the_others_out() {
        let shares = Shares::new(32, 48);
        let mut mine: Vec<_> = (0..32).map(|_| shares.admit(1000).unwrap()).collect();
        assert!(shares.admit(1000).is_none() && shares.admit(1001).is_some());
        mine.pop();
        assert!(shares.admit(1000).is_some());
        let others: Vec<_> = (1001..1100).filter_map(|uid| shares.admit(uid)).collect();
        assert_eq!(mine.len() + others.len(), 48);
        drop((mine, others));
        assert!(shares.of.borrow().is_empty());
    }
}
