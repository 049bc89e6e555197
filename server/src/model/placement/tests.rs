use super::*;
use crate::model::fixtures::{at, host_id, spec, spec_with};

fn record(number: u128, zone: &str, cordoned: bool) -> HostRecord {
    HostRecord {
        id: host_id(number),
        name: format!("host-{number}"),
        agent_address: "192.0.2.1:7072".to_owned(),
        labels: [("zone".to_owned(), zone.to_owned())].into(),
        cordoned,
        subnet: "10.64.0.0/20".parse().expect("a network"),
        certificate_expires_at: at(0),
        key_sha256: None,
        generation: 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

const ROOM: Resources = Resources { vcpus: 4, memory_mib: 4096, disk_mib: 10_240, guests: 1023 };

fn candidate(host: &HostRecord) -> Candidate<'_> {
    Candidate {
        host,
        capacity: Some(ROOM),
        available: true,
        booked: Resources::default(),
        has_free_slot: true,
    }
}

#[test]
fn the_first_host_that_fits_is_taken() {
    let (one, two) = (record(1, "a", false), record(2, "a", false));
    let full = Candidate { booked: ROOM, ..candidate(&one) };
    let chosen = choose_host(&spec(), [full, candidate(&two)], Overcommit::default());
    assert_eq!(chosen, Ok(two.id));
    let chosen = choose_host(&spec(), [candidate(&one), candidate(&two)], Overcommit::default());
    assert_eq!(chosen, Ok(one.id));
}

#[test]
fn each_obstacle_has_its_reason() {
    let (host, cordoned) = (record(1, "a", false), record(1, "a", true));
    let exact = Overcommit { vcpus: 1.0, memory: 1.0 };
    let elsewhere =
        spec_with(|draft| drop(draft.placement_labels.insert("zone".into(), "b".into())));
    let check = |spec: &VmSpec, candidate: Candidate<'_>| check_host(spec, &candidate, exact);
    assert_eq!(check(&spec(), candidate(&host)), Ok(()));
    assert_eq!(check(&elsewhere, candidate(&host)), Err(Unsuitable::LabelMismatch));
    assert_eq!(check(&spec(), candidate(&cordoned)), Err(Unsuitable::Cordoned));
    let unseen = Candidate { capacity: None, available: false, ..candidate(&host) };
    assert_eq!(check(&spec(), unseen), Err(Unsuitable::NotYetSeen));
    let away = Candidate { available: false, ..candidate(&host) };
    assert_eq!(check(&spec(), away), Err(Unsuitable::Unreachable));
    let no_slot = Candidate { has_free_slot: false, ..candidate(&host) };
    assert_eq!(check(&spec(), no_slot), Err(Unsuitable::NoFreeAddress));
    let big = spec_with(|draft| draft.memory_mib = 4097);
    let shortage = Shortage { resource: "MiB of memory", wanted: 4097, left: 4096 };
    assert_eq!(check(&big, candidate(&host)), Err(Unsuitable::TooSmall(shortage)));
    let some = Candidate {
        booked: Resources { memory_mib: 1, ..Resources::default() },
        ..candidate(&host)
    };
    let all = spec_with(|draft| draft.memory_mib = 4096);
    let shortage = Shortage { resource: "MiB of memory", wanted: 4096, left: 4095 };
    assert_eq!(check(&all, some), Err(Unsuitable::NoRoom(shortage)));
}

#[test]
fn vcpus_may_be_overbooked_by_the_ratio_and_disks_never() {
    let limit = Overcommit { vcpus: 4.0, memory: 1.5 }.limit(ROOM);
    assert_eq!(limit, Resources { vcpus: 16, memory_mib: 6144, disk_mib: 10_240, guests: 1023 });
    let work = spec_with(|draft| draft.work_disk_mib = Some(10_240 - 1024));
    assert_eq!(check_room(work.resources(), Resources::default(), limit), Ok(()));
    let work = spec_with(|draft| draft.work_disk_mib = Some(10_240 - 1023));
    assert!(check_room(work.resources(), Resources::default(), limit).is_err());
}

#[test]
fn without_a_host_the_nearest_miss_is_the_reason() {
    let (a, cordoned) = (record(1, "a", false), record(2, "a", true));
    let nowhere = spec_with(|draft| drop(draft.placement_labels.insert("zone".into(), "z".into())));
    let choose = |spec: &VmSpec, candidates: Vec<Candidate<'_>>| {
        choose_host(spec, candidates, Overcommit::default())
    };
    assert_eq!(choose(&spec(), vec![]), Err(NoHost::NoHosts));
    assert_eq!(choose(&nowhere, vec![candidate(&a)]), Err(NoHost::NoneMatches));
    assert_eq!(choose(&spec(), vec![candidate(&cordoned)]), Err(NoHost::NoneAvailable));
    let full = Candidate { booked: ROOM, ..candidate(&a) };
    assert_eq!(choose(&spec(), vec![full, candidate(&cordoned)]), Err(NoHost::NoneHasRoom));
}

#[test]
fn reasons_round_trip_through_text() {
    for why in NoHost::ALL {
        assert_eq!(NoHost::parse(why.reason()), Some(why));
    }
}

#[test]
fn a_vm_larger_than_every_host_is_told_so_and_not_as_a_shortage_that_passes() {
    let host = record(1, "a", false);
    let large = spec_with(|draft| draft.memory_mib = 8192);
    let full = Candidate { booked: ROOM, ..candidate(&host) };
    let choose = |spec: &VmSpec, candidates: &[Candidate<'_>]| {
        choose_host(spec, candidates.iter().copied(), Overcommit::default())
    };
    assert_eq!(choose(&large, &[candidate(&host)]), Err(NoHost::NoneLargeEnough));
    assert_eq!(choose(&large, &[full, full]), Err(NoHost::NoneLargeEnough));
    assert_eq!(choose(&spec(), &[full]), Err(NoHost::NoneHasRoom));
    // Another that is not there now may be larger.
    let away = Candidate { available: false, ..candidate(&host) };
    assert_eq!(choose(&large, &[candidate(&host), away]), Err(NoHost::NoneAvailable));
}

#[test]
fn a_bridge_without_a_free_port_is_no_room_however_small_the_vm() {
    let wanted = Resources { guests: 1, ..Resources::default() };
    let limit = Resources { guests: 1023, ..ROOM };
    let booked = |guests| Resources { guests, ..Resources::default() };
    assert_eq!(check_room(wanted, booked(1022), limit), Ok(()));
    let full = check_room(wanted, booked(1023), limit).expect_err("no port is left");
    let said = "the VM needs 1 port of the guests' bridge and 0 are left";
    assert_eq!(full.to_string(), said);
}
