//! Which addresses of a host are given, beside those of VMs that nobody has claimed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::Strategy;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Hold(BTreeMap<u128, u32>),
    Give(u128),
    Release(u128),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => proptest::collection::btree_map(0..8_u128, 2..12_u32, 0..5).prop_map(Step::Hold),
        3 => (0..8_u128).prop_map(Step::Give),
        2 => (0..8_u128).prop_map(Step::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Beside a model of two sets: slots of VMs, and unclaimed ones.
    #[test]
    fn a_slot_is_given_that_neither_a_vm_nor_an_unclaimed_one_has(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut ledger = with_host();
        let web = add_vm(&mut ledger, 100, "web");
        let mut entry = with_host().hosts[&host_id(1)].clone();
        let mut given: BTreeMap<u128, Arc<VmIntent>> = BTreeMap::new();
        let mut unclaimed: BTreeMap<u128, u32> = BTreeMap::new();
        let mut next = 2;
        for step in steps {
            match step {
                Step::Hold(mut slots) => {
                    slots.retain(|vm, _| !given.contains_key(vm));
                    entry.set_unclaimed(slots.iter().map(|(vm, slot)| (vm_id(*vm), *slot)).collect());
                    unclaimed = slots;
                }
                Step::Give(vm) if !given.contains_key(&vm) => {
                    let taken: BTreeSet<u32> =
                        given.values().map(|vm| vm.net.expect("given").slot).collect();
                    let held = unclaimed.get(&vm).copied().filter(|slot| !taken.contains(slot));
                    let is_open = |slot: &u32| {
                        !taken.contains(slot) && !unclaimed.values().any(|held| held == slot)
                    };
                    let slot = held.or_else(|| (next..4095).chain(2..4095).find(is_open));
                    let net = entry.allocation_of(vm_id(vm));
                    prop_assert_eq!(net.map(|net| net.slot), slot);
                    let intent = Arc::new(VmIntent { id: vm_id(vm), net, ..VmIntent::clone(&web) });
                    entry.book(&intent);
                    entry.note_given(&intent);
                    next = slot.expect("there are many") + 1;
                    unclaimed.remove(&vm);
                    given.insert(vm, intent);
                }
                Step::Release(vm) => {
                    if let Some(intent) = given.remove(&vm) {
                        entry.release(&intent);
                    }
                }
                Step::Give(_) => {}
            }
        }
    }
}
