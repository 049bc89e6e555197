use super::*;
use crate::model::capacity::AcceptedCapacity;
use crate::model::fixtures::{at, host_id, spec, spec_with};

mod any;

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
        certificate_made_at: None,
        joined_by: None,
        ca_sha256: None,
        renewal: Default::default(),
        revoked: None,
        overcommit: HostOvercommit::default(),
        accepted: AcceptedCapacity::default(),
        first_capacity: AcceptedCapacity::default(),
        generation: 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

const ROOM: Resources = Resources { vcpus: 4, memory_mib: 4096, disk_mib: 10_240, guests: 1023 };

fn candidate(host: &HostRecord) -> Candidate<'_> {
    Candidate {
        host,
        allocatable: Some(Overcommit::default().limit(ROOM)),
        available: true,
        booked: Resources::default(),
        has_free_slot: true,
        image_files: None,
    }
}

fn wanted(spec: &VmSpec) -> Wanted<'_> {
    Wanted { spec, named: None, strategy: Strategy::Spread, usual: None, peers: Peers::default() }
}

fn booked(host: &HostRecord, memory_mib: u64, guests: u32) -> Candidate<'_> {
    let booked = Resources { memory_mib, guests, ..Resources::default() };
    Candidate { booked, ..candidate(host) }
}

#[test]
fn the_emptiest_host_takes_a_vm_or_the_fullest_and_between_equals_the_first() {
    let hosts = [1, 2, 3].map(|number| record(number, "a", false));
    let [one, two, three] = &hosts;
    let choose = |strategy, candidates: [Candidate<'_>; 3]| {
        choose_host(&Wanted { strategy, ..wanted(&spec()) }, candidates)
    };
    let some = [booked(one, 512, 1), booked(two, 256, 1), booked(three, 1024, 1)];
    assert_eq!(choose(Strategy::Spread, some), Ok(two.id));
    assert_eq!(choose(Strategy::Pack, some), Ok(three.id));
    let full = [booked(one, 4096, 1), booked(two, 512, 1), booked(three, 512, 1)];
    assert_eq!(choose(Strategy::Spread, full), Ok(two.id));
    assert_eq!(choose(Strategy::Pack, full), Ok(two.id));
    let alike = [booked(one, 512, 3), booked(two, 512, 2), booked(three, 512, 2)];
    assert_eq!(choose(Strategy::Spread, alike), Ok(two.id), "fewer VMs, where the room is alike");
}

#[test]
fn a_host_is_as_full_as_what_is_booked_most_of() {
    let host = record(1, "a", false);
    let score = |booked| {
        let wanted = wanted(&spec()).score(&Candidate { booked, ..candidate(&host) });
        wanted.expect("seen").room
    };
    // 256 of 4096 MiB of memory, 1 of 16 vCPUs; the disk is 1024 of 10240.
    assert_eq!(score(Resources::default()), WHOLE - 100_000);
    assert_eq!(score(Resources { vcpus: 15, ..Resources::default() }), 0);
    assert_eq!(score(Resources { memory_mib: 1792, ..Resources::default() }), WHOLE / 2);
    // Past what there is: a host that was booked fuller before.
    assert_eq!(score(Resources { memory_mib: 99_999, ..Resources::default() }), 0);
    let endless = Resources { guests: u32::MAX, ..ROOM };
    let of = |limit| Score::of(Strategy::Pack, spec().resources(), Resources::default(), limit);
    assert_eq!(of(endless).room, 250_000, "what has no limit is never full");
}

#[test]
fn a_file_that_only_some_hosts_have_is_looked_for_and_contents_of_the_server_are_not() {
    let (one, two) = (record(1, "a", false), record(2, "a", false));
    let files = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (none, both): (BTreeSet<String>, BTreeSet<String>) =
        (files(&["vmlinux"]), files(&["vmlinux", "root.ext4"]));
    let with = |files| Candidate { image_files: Some(files), ..candidate(&one) };
    let lacks = Err(vec![Unsuitable::LacksImage]);
    assert_eq!(check_host(&wanted(&spec()), &with(&none)), lacks);
    assert_eq!(check_host(&wanted(&spec()), &with(&both)), Ok(()));
    assert_eq!(check_host(&wanted(&spec()), &candidate(&one)), Ok(()), "not heard of yet");
    let stored = crate::model::fixtures::spec_of_root(&"ab".repeat(32));
    assert_eq!(check_host(&wanted(&stored), &with(&none)), Ok(()));
    let has = Candidate { image_files: Some(&both), ..booked(&two, 2048, 9) };
    assert_eq!(choose_host(&wanted(&spec()), [with(&none), has]), Ok(two.id));
    assert_eq!(choose_host(&wanted(&spec()), [with(&none)]), Err(NoHost::NoneHasImage));
}

#[test]
fn each_obstacle_has_its_reason_and_all_of_them_are_told() {
    let (host, cordoned) = (record(1, "a", false), record(1, "a", true));
    let elsewhere =
        spec_with(|draft| drop(draft.placement_labels.insert("zone".into(), "b".into())));
    let check = |spec: &VmSpec, candidate: Candidate<'_>| {
        check_host(&wanted(spec), &candidate).map_err(|against| against[0])
    };
    assert_eq!(check(&spec(), candidate(&host)), Ok(()));
    assert_eq!(check(&elsewhere, candidate(&host)), Err(Unsuitable::LabelMismatch));
    assert_eq!(check(&spec(), candidate(&cordoned)), Err(Unsuitable::Cordoned));
    let unseen = Candidate { allocatable: None, available: false, ..candidate(&host) };
    assert_eq!(check(&spec(), unseen), Err(Unsuitable::NotYetSeen));
    let away = Candidate { available: false, ..candidate(&host) };
    assert_eq!(check(&spec(), away), Err(Unsuitable::Unreachable));
    let no_slot = Candidate { has_free_slot: false, ..candidate(&host) };
    assert_eq!(check(&spec(), no_slot), Err(Unsuitable::NoFreeAddress));
    let big = spec_with(|draft| draft.memory_mib = 4097);
    let shortage = Shortage { resource: "MiB of memory", wanted: 4097, left: 4096 };
    assert_eq!(check(&big, candidate(&host)), Err(Unsuitable::TooSmall(shortage)));
    let all = spec_with(|draft| draft.memory_mib = 4096);
    let short = Shortage { resource: "MiB of memory", wanted: 4096, left: 4095 };
    assert_eq!(check(&all, booked(&host, 1, 1)), Err(Unsuitable::NoRoom(short)));

    let worst = Candidate { available: false, has_free_slot: false, ..candidate(&cordoned) };
    let of_another = Wanted {
        named: Some(host_id(9)),
        spec: &spec_with(|draft| {
            draft.memory_mib = 4097;
            drop(draft.placement_labels.insert("zone".into(), "b".into()));
        }),
        ..wanted(&elsewhere)
    };
    let against = check_host(&of_another, &worst).expect_err("all of it");
    let told = [
        Unsuitable::NotNamed,
        Unsuitable::LabelMismatch,
        Unsuitable::Cordoned,
        Unsuitable::Unreachable,
        Unsuitable::TooSmall(shortage),
        Unsuitable::NoFreeAddress,
    ];
    assert_eq!(against, told);
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
    let choose =
        |spec: &VmSpec, candidates: Vec<Candidate<'_>>| choose_host(&wanted(spec), candidates);
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
        choose_host(&wanted(spec), candidates.iter().copied())
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
