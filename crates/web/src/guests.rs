//! Who is there: connections of each address.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

/// Connections of one address.
pub(crate) const PER_ADDRESS_MAX: usize = 16;

/// All that are there.
#[derive(Default)]
pub(crate) struct Guests {
    of: RefCell<HashMap<IpAddr, usize>>,
    turned_away: Cell<u64>,
}

/// One connection; it leaves when it is dropped.
pub(crate) struct Guest {
    guests: Rc<Guests>,
    address: IpAddr,
}

impl Guests {
    /// `None`: there are enough of this address.
    pub(crate) fn admit(self: &Rc<Self>, address: IpAddr) -> Option<Guest> {
        let address = address.to_canonical();
        let mut of = self.of.borrow_mut();
        let count = of.entry(address).or_default();
        if *count >= PER_ADDRESS_MAX {
            drop(of);
            self.turn_away();
            return None;
        }
        *count += 1;
        Some(Guest { guests: Rc::clone(self), address })
    }

    /// Said less and less often.
    fn turn_away(&self) {
        let count = self.turned_away.get().saturating_add(1);
        self.turned_away.set(count);
        if count.is_power_of_two() {
            tracing::warn!(count, "connections of an address that has {PER_ADDRESS_MAX} already are closed");
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut of = self.guests.of.borrow_mut();
        if let Some(count) = of.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                of.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_others_have_theirs() {
        let guests = Rc::new(Guests::default());
        let [one, same, other] = ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let mut inside: Vec<Guest> = (0..PER_ADDRESS_MAX).map(|_| guests.admit(one).unwrap()).collect();
        assert!(guests.admit(one).is_none() && guests.admit(same).is_none());
        assert!(guests.admit(other).is_some());
        inside.pop();
        assert!(guests.admit(same).is_some());
        assert_eq!(guests.turned_away.get(), 2);
        inside.clear();
        assert!(guests.of.borrow().is_empty(), "nothing is kept about those who left");
    }
}
