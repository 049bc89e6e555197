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

#[test]
fn a_user_that_a_lost_guest_runs_as_is_nobody_elses_and_what_is_not_told_is_nobodys() {
    let holders = AddressHolders::default();
    holders.take(&pin(2, 3, 200_003)).unwrap();
    let lost = BTreeMap::from([(pin(1, 0, 0).key, BTreeSet::from([200_002]))]);
    holders.note_lost(Ok(lost));
    let refused = holders.take(&pin(3, 2, 200_002)).unwrap_err();
    assert!(refused.chain().contains("vm-1"), "{}", refused.chain());
    holders.take(&pin(3, 4, 200_004)).unwrap();
    holders.note_lost(Err("no /proc".to_owned()));
    assert!(holders.has_lost());
    for new in [pin(4, 5, 200_005), pin(3, 6, 200_006), pin(3, 2, 200_002)] {
        let refused = holders.take(&new).unwrap_err();
        assert_eq!(refused.kind, HostErrorKind::AddressTaken, "{}", refused.chain());
    }
    // Who has one goes on with it.
    holders.take(&pin(2, 3, 200_003)).unwrap();
    // It is its own guest's, should that come back.
    holders.note_lost(Ok(BTreeMap::from([(pin(1, 0, 0).key, BTreeSet::from([200_002]))])));
    holders.take(&pin(1, 2, 200_002)).unwrap();
    holders.note_lost(Ok(BTreeMap::new()));
    assert!(!holders.has_lost());
    holders.take(&pin(4, 5, 200_005)).unwrap();
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
            let now = holders.0.lock().held.clone();
            prop_assert_eq!(&now, &held);
            for one in now.values() {
                prop_assert!(!now.values().any(|other| other.rivals(one)));
            }
        }
    }
}
