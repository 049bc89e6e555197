//! Of any hosts and any VM: what is decided is what is explained, and the best is taken.

use proptest::prelude::*;
use proptest::strategy::Strategy as Generate;

use super::*;
use crate::model::placement::Strategy;

#[derive(Debug, Clone)]
struct AnyHost {
    record: HostRecord,
    allocatable: Option<Resources>,
    available: bool,
    booked: Resources,
    has_free_slot: bool,
}

fn resources(most: u32) -> impl Generate<Value = Resources> {
    (0..=most, 0..=u64::from(most), 0..=u64::from(most), 0..=most).prop_map(
        |(vcpus, memory_mib, disk_mib, guests)| Resources { vcpus, memory_mib, disk_mib, guests },
    )
}

fn any_host(number: u128) -> impl Generate<Value = AnyHost> {
    (
        prop_oneof![Just("a"), Just("b")],
        prop::bool::weighted(0.1),
        proptest::option::weighted(0.9, resources(4000)),
        prop::bool::weighted(0.9),
        resources(2000),
        prop::bool::weighted(0.9),
    )
        .prop_map(move |(zone, cordoned, allocatable, available, booked, has_free_slot)| {
            AnyHost {
                record: record(number, zone, cordoned),
                allocatable,
                available,
                booked,
                has_free_slot,
            }
        })
}

fn fleet() -> impl Generate<Value = Vec<AnyHost>> {
    (0..8_u128).prop_flat_map(|hosts| (1..=hosts).map(any_host).collect::<Vec<_>>())
}

impl AnyHost {
    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            host: &self.record,
            allocatable: self.allocatable,
            available: self.available,
            booked: self.booked,
            has_free_slot: self.has_free_slot,
            image_files: None,
        }
    }
}

proptest! {
    #[test]
    fn what_is_decided_is_what_is_explained_and_no_better_host_is_passed_over(
        fleet in fleet(),
        memory in 64..2000_u32,
        zone in proptest::option::of(prop_oneof![Just("a"), Just("b")]),
        pack in any::<bool>(),
    ) {
        let spec = spec_with(|draft| {
            draft.memory_mib = memory;
            draft.root_disk_mib = 64;
            draft.placement_labels =
                zone.map(|zone| ("zone".to_owned(), zone.to_owned())).into_iter().collect();
        });
        let strategy = if pack { Strategy::Pack } else { Strategy::Spread };
        let wanted = Wanted { strategy, ..wanted(&spec) };
        let chosen = choose_host(&wanted, fleet.iter().map(AnyHost::candidate));
        let found = Evaluation::of(&wanted, fleet.iter().map(AnyHost::candidate));
        prop_assert_eq!(found.chosen, chosen);
        prop_assert_eq!(found.verdicts.len(), fleet.len());
        let scores = found.verdicts.iter().filter_map(|verdict| verdict.found.as_ref().ok());
        let best = scores.map(|score| score.total()).max();
        for (verdict, host) in found.verdicts.iter().zip(&fleet) {
            // A host is taken exactly when nothing speaks against it, and the reason is never none.
            let against = check_host(&wanted, &host.candidate());
            prop_assert_eq!(against.as_ref().err(), verdict.found.as_ref().err());
            prop_assert!(verdict.found.as_ref().err().is_none_or(|against| !against.is_empty()));
            if chosen == Ok(verdict.host) {
                prop_assert_eq!(verdict.found.as_ref().map(|score| score.total()).ok(), best);
                let after = host.booked.plus(spec.resources());
                let limit = host.allocatable.expect("seen");
                prop_assert!(after.vcpus <= limit.vcpus && after.disk_mib <= limit.disk_mib);
                prop_assert!(after.memory_mib <= limit.memory_mib && after.guests <= limit.guests);
            }
        }
        prop_assert_eq!(chosen.is_ok(), best.is_some());
    }
}
