//! Whose an object is.

use super::*;

fn host(n: u128) -> HostId {
    HostId::from_uuid(Uuid::from_u128(n))
}

fn object(standing: RecordedOwner) -> HostObject {
    HostObject {
        kind: ObjectKind::Tap,
        name: "bg-aaaaaaaaaaaa".to_owned(),
        vm: Some(VmId::from_uuid(Uuid::from_u128(9))),
        standing,
        age: None,
        size_bytes: 0,
        detail: String::new(),
        orphan_for: None,
    }
}

fn of(standing: RecordedOwner, claim: Option<(Option<HostId>, bool)>) -> Whose {
    let claim = claim.map(|(host, leaving)| Claim { name: "web".to_owned(), host, leaving });
    whose(&object(standing), host(1), claim.as_ref()).0
}

const ALL: [RecordedOwner; 5] = [
    RecordedOwner::Owned,
    RecordedOwner::Leaving,
    RecordedOwner::Shared,
    RecordedOwner::Orphan,
    RecordedOwner::Unclear,
];

#[test]
fn an_object_of_a_vm_that_the_server_has_elsewhere_is_claimed_there_whatever_the_host_says() {
    for standing in ALL.into_iter().filter(|standing| *standing != RecordedOwner::Shared) {
        for place in [None, Some(host(2))] {
            assert_eq!(of(standing, Some((place, false))), Whose::ClaimedElsewhere(place));
            assert_eq!(of(standing, Some((place, true))), Whose::ClaimedElsewhere(place));
        }
    }
}

#[test]
fn only_what_neither_side_knows_is_an_orphan() {
    let orphans: Vec<RecordedOwner> =
        ALL.into_iter().filter(|standing| of(*standing, None) == Whose::Orphan).collect();
    assert_eq!(orphans, [RecordedOwner::Orphan]);
    for standing in ALL {
        for leaving in [false, true] {
            assert_ne!(of(standing, Some((Some(host(1)), leaving))), Whose::Orphan);
        }
    }
}

#[test]
fn what_both_sides_hold_is_owned_until_it_is_to_go() {
    let here = |leaving| Some((Some(host(1)), leaving));
    assert_eq!(of(RecordedOwner::Owned, here(false)), Whose::Owned);
    assert_eq!(of(RecordedOwner::Owned, here(true)), Whose::PendingRemoval);
    assert_eq!(of(RecordedOwner::Leaving, here(true)), Whose::PendingRemoval);
    assert_eq!(of(RecordedOwner::Leaving, None), Whose::PendingRemoval);
    assert_eq!(of(RecordedOwner::Orphan, here(true)), Whose::PendingRemoval);
    assert_eq!(of(RecordedOwner::Owned, None), Whose::Unclaimed);
    assert_eq!(of(RecordedOwner::Unclear, here(false)), Whose::Unclear);
    let claim = Claim { name: "web".to_owned(), host: Some(host(1)), leaving: false };
    let (state, why) = whose(&object(RecordedOwner::Orphan), host(1), Some(&claim));
    assert_eq!(state, Whose::Unclear);
    assert!(why.is_some(), "an orphan of a VM that belongs here says so");
}
