//! Who has been granted what, in one database, as the core says it. Sessions look here before each decision: what is
//! taken off the board covers nothing from the next message on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use model::access::Holder;
use model::time::BootTime;
use policy::ActiveGrant;

/// The active grants of one database, by whose they are.
#[derive(Default)]
pub struct Board {
    of: RefCell<HashMap<Holder, Rc<[ActiveGrant]>>>,
    /// Another number after each change.
    epoch: Cell<u64>,
}

impl Board {
    /// From now on these are all that a holder has; none: nothing.
    pub fn put(&self, holder: Holder, grants: Vec<ActiveGrant>) {
        let mut of = self.of.borrow_mut();
        if grants.is_empty() {
            of.remove(&holder);
        } else {
            of.insert(holder, grants.into());
        }
        self.epoch.set(self.epoch.get() + 1);
    }

    /// Nobody has anything, until it is said again.
    pub fn clear(&self) {
        self.of.borrow_mut().clear();
        self.epoch.set(self.epoch.get() + 1);
    }
}

/// What one session has seen of the board.
#[derive(Default)]
pub(crate) struct Glance {
    grants: Rc<[ActiveGrant]>,
    /// Of the board; `None`: it is to be looked at in any case.
    epoch: Option<u64>,
    /// When the first of these grants ends.
    until: Option<BootTime>,
}

impl Glance {
    /// Looks again where something may have changed. Whether it has.
    pub(crate) fn renew(&mut self, board: &Board, holder: Option<&Holder>, now: BootTime) -> bool {
        let epoch = board.epoch.get();
        if self.epoch == Some(epoch) && self.until.is_none_or(|until| now < until) {
            return false;
        }
        self.epoch = Some(epoch);
        let of = board.of.borrow();
        let all = holder.and_then(|holder| of.get(holder)).map_or(&[][..], |grants| grants);
        let live: Rc<[ActiveGrant]> = all.iter().filter(|grant| now < grant.until).cloned().collect();
        self.until = live.iter().map(|grant| grant.until).min();
        let is_other = live != self.grants;
        self.grants = live;
        is_other
    }

    /// Somebody else acts: what was seen is of no use.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn grants(&self) -> &[ActiveGrant] {
        &self.grants
    }
}
