//! No two guests have one address or user, in whatever order they come and go.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::host::{HostErrorKind, MacAddress, TapName};

fn pin(guest: u8, address: u8, uid: u32) -> Pin {
    Pin {
        key: GuestKey::new(format!("vm-{guest}")).unwrap(),
        tap: TapName::new(format!("bg-{guest:012}")).unwrap(),
        mac: MacAddress([2, 0xfc, 10, 64, 0, address]),
        address: Ipv4Addr::new(10, 64, 0, address),
        uid,
    }
}

#[test]
fn who_has_an_address_or_a_user_keeps_it_until_nothing_of_it_is_left() {
    let holders = AddressHolders::default();
    holders.take(&pin(1, 2, 200_002)).unwrap();
    holders.take(&pin(1, 2, 200_002)).unwrap();
    let same_tap = Pin { tap: pin(1, 0, 0).tap, ..pin(2, 3, 300_000) };
    for rival in [pin(2, 2, 300_000), pin(2, 3, 200_002), same_tap] {
        let refused = holders.take(&rival).unwrap_err();
        assert_eq!(refused.kind, HostErrorKind::AddressTaken);
        assert!(refused.chain().contains("vm-1"), "{}", refused.chain());
    }
    holders.release(&pin(2, 0, 0).key);
    holders.take(&pin(2, 2, 200_002)).unwrap_err();
    holders.release(&pin(1, 0, 0).key);
    holders.take(&pin(2, 2, 200_002)).unwrap();
    // Who moves leaves what it had to others.
    holders.take(&pin(2, 4, 200_004)).unwrap();
    holders.take(&pin(1, 2, 200_002)).unwrap();
}

#[test]
fn of_two_that_are_noted_with_one_address_neither_is_forgotten_while_something_of_it_is_left() {
    for (lives, stopped) in [(1, 2), (2, 1)] {
        let holders = AddressHolders::default();
        // As the start of the agent finds them, in any order.
        holders.keep(&pin(1, 2, 200_002));
        holders.keep(&pin(2, 2, 200_002));
        holders.release(&pin(stopped, 0, 0).key);
        holders.take(&pin(stopped, 2, 200_002)).unwrap_err();
        holders.take(&pin(lives, 2, 200_002)).unwrap();
    }
}

proptest! {
    #[test]
    fn no_two_guests_have_one_address_or_user_in_whatever_order_they_come_and_go(
        steps in prop::collection::vec((0_u8..4, 0_u8..3, 0_u32..3, any::<bool>()), 0..60)
    ) {
        let holders = AddressHolders::default();
        let mut held = BTreeMap::new();
        for (guest, address, uid, comes) in steps {
            let pin = pin(guest, address, uid);
            let rivals = held.values().any(|other: &Pin| other.rivals(&pin));
            if comes {
                prop_assert_eq!(holders.take(&pin).is_err(), rivals);
                if !rivals {
                    held.insert(pin.key.clone(), pin);
                }
            } else {
                holders.release(&pin.key);
                held.remove(&pin.key);
            }
            let now = holders.0.lock().clone();
            prop_assert_eq!(&now, &held);
            for one in now.values() {
                prop_assert!(!now.values().any(|other| other.rivals(one)));
            }
        }
    }
}
