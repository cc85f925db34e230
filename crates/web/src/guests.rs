//! Who is there: connections of each address.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

/// Bits of an IPv6 address that one host chooses for itself.
const OF_HOST: u128 = u64::MAX as u128;
/// Connections of one address; of IPv6 of one network, whose hosts have as many addresses as they like.
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
        let address = match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !OF_HOST)),
            address => address,
        };
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
    fn a_host_with_many_addresses_is_one() {
        let guests = Rc::new(Guests::default());
        let address = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]);
        let inside: Vec<_> = (0..16).map(|host| guests.admit(address(host)).unwrap()).collect();
        assert!(guests.admit(address(99)).is_none());
        assert!(guests.admit(IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1])).is_some());
        drop(inside);
        assert!(guests.of.borrow().is_empty());
    }

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
