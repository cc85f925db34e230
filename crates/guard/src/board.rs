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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

    use std::collections::BTreeSet;

    use model::access::{Grant, GrantId, Scope};
    use model::principal::{Actor, PrincipalKind};
    use model::time::WallTime;

    use super::*;

    fn holder(id: &str) -> Holder {
        let actor = Actor { kind: PrincipalKind::Person, id: id.into(), issuer: "https://login.example.com".into() };
        Holder { actor, acting_for: Vec::new() }
    }

    fn grant(number: u64, until: u64) -> ActiveGrant {
        let scope = Scope {
            database: "shop".into(),
            sql_database: None,
            actions: BTreeSet::from(["Delete".into()]),
            relations: BTreeSet::from(["public.orders".into()]),
        };
        let grant = Grant {
            id: GrantId::new(number),
            holder: holder("alice"),
            scope,
            purpose: "work".into(),
            ticket: None,
            duration: 0,
            once: None,
            break_glass: false,
            renews: None,
            rule: "ask".into(),
            requested: WallTime(0),
        };
        ActiveGrant::new(&grant, BootTime(until)).unwrap()
    }

    fn seen(glance: &Glance) -> Vec<u64> {
        glance.grants().iter().map(|grant| grant.id.number()).collect()
    }

    #[test]
    fn a_session_sees_what_is_put_up_and_taken_down_and_only_its_own() {
        let (board, alice, mut glance) = (Board::default(), holder("alice"), Glance::default());
        assert!(!glance.renew(&board, Some(&alice), BootTime(0)), "there is nothing");
        board.put(alice.clone(), vec![grant(1, 100)]);
        board.put(holder("bob"), vec![grant(2, 100)]);
        assert!(glance.renew(&board, Some(&alice), BootTime(1)));
        assert_eq!(seen(&glance), [1]);
        assert!(!glance.renew(&board, Some(&alice), BootTime(2)), "nothing has changed");
        board.put(holder("bob"), Vec::new());
        assert!(!glance.renew(&board, Some(&alice), BootTime(3)), "nothing of hers");
        board.clear();
        assert!(glance.renew(&board, Some(&alice), BootTime(4)));
        assert_eq!(seen(&glance), [0; 0]);
        assert!(!glance.renew(&board, None, BootTime(5)), "nobody knows who acts");
    }

    #[test]
    fn a_grant_ends_at_its_time_though_nobody_says_so() {
        let (board, alice, mut glance) = (Board::default(), holder("alice"), Glance::default());
        board.put(alice.clone(), vec![grant(1, 100), grant(2, 200)]);
        assert!(glance.renew(&board, Some(&alice), BootTime(99)));
        assert_eq!(seen(&glance), [1, 2]);
        assert!(glance.renew(&board, Some(&alice), BootTime(100)));
        assert_eq!(seen(&glance), [2]);
        assert!(glance.renew(&board, Some(&alice), BootTime(200)));
        assert_eq!(seen(&glance), [0; 0]);
    }
}
