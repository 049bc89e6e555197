use banger_proto::ids::Generation;

use super::*;
use crate::model::fixtures::{at, caller, create, host_id, join, spec_with, token, vm_id};
use crate::model::intent::{DEFAULT_STOP_GRACE, Desired};
use crate::model::placement::{NoHost, Strategy, Unsuitable};
use crate::model::spec::{ImageDraft, SpecProblem};

mod affinity;
mod any;
mod images;
mod looks;
mod projects;
mod quotas;
mod remembered;
mod sizes;
mod slots;
mod tokens;
mod turns;

const ROOM: Resources = Resources { vcpus: 4, memory_mib: 4096, disk_mib: 1 << 20, guests: 1000 };

/// Decides and applies, as the writer does.
fn make(ledger: &mut Ledger, mutation: AnyMutation) -> Result<Outcome, Refusal> {
    make_at(ledger, mutation, 0)
}

fn make_at(ledger: &mut Ledger, mutation: AnyMutation, seconds: i64) -> Result<Outcome, Refusal> {
    let decided = ledger.decide(&caller().at(at(seconds)), &mutation)?;
    ledger.apply(&decided.changes);
    ledger.note_outcome(&decided.outcome);
    Ok(decided.outcome)
}

fn vm(outcome: Result<Outcome, Refusal>) -> (Arc<VmIntent>, bool) {
    match outcome {
        Ok(Outcome::Vm { intent, changed }) => (intent, changed),
        other => panic!("no VM: {other:?}"),
    }
}

fn add_host(ledger: &mut Ledger, number: u128, name: &str) -> HostId {
    make(ledger, AnyMutation::CreateJoinToken(CreateJoinToken(token(name)))).expect("kept");
    make(ledger, AnyMutation::JoinHost(join(number, name, name))).expect("joined");
    ledger.set_capacity(host_id(number), Some(ROOM), true);
    host_id(number)
}

/// Has a host say that it has this, as if it said so first: it counts.
fn set_room(ledger: &mut Ledger, host: HostId, room: Resources) {
    ledger.hosts.get_mut(&host).expect("there").first = Default::default();
    ledger.set_capacity(host, Some(room), true);
}

fn with_host() -> Ledger {
    let mut ledger = Ledger::new(LedgerConfig::default());
    add_host(&mut ledger, 1, "one");
    ledger
}

fn add_vm(ledger: &mut Ledger, number: u128, name: &str) -> Arc<VmIntent> {
    vm(make(ledger, AnyMutation::CreateVm(create(number, name)))).0
}

fn power(name: &str, power: Power) -> AnyMutation {
    AnyMutation::SetPower(SetPower {
        vm: crate::model::fixtures::vm_named(name),
        etag: None,
        power,
    })
}

fn update(name: &str, spec: Arc<crate::model::spec::VmSpec>, allow_restart: bool) -> AnyMutation {
    AnyMutation::UpdateVm(UpdateVm {
        vm: crate::model::fixtures::vm_named(name),
        etag: None,
        spec: NewSpec::Whole(spec),
        allow_restart,
    })
}

fn delete(name: &str) -> AnyMutation {
    AnyMutation::DeleteVm(DeleteVm { vm: crate::model::fixtures::vm_named(name), etag: None })
}

const START: Power = Power::Start { again: false };
const STOP: Power = Power::Stop { grace: DEFAULT_STOP_GRACE };

// === create ===

#[test]
fn a_vm_is_placed_with_address_mac_and_context_id() {
    let mut ledger = with_host();
    let web = add_vm(&mut ledger, 1, "web");
    let net = web.net.expect("placed");
    assert_eq!(web.host, Some(host_id(1)));
    assert_eq!((net.slot, net.cid, net.address.to_string()), (2, 3, "10.64.0.2".to_owned()));
    assert_eq!((web.generation, web.boot_number, web.root_disk_number), (Generation(1), 1, 1));
}

#[test]
fn creating_again_with_the_same_id_answers_the_same_vm_whatever_changed_since() {
    let mut ledger = with_host();
    let first = add_vm(&mut ledger, 1, "web");
    make(&mut ledger, power("web", STOP)).expect("stopped");
    let (again, changed) = vm(make(&mut ledger, AnyMutation::CreateVm(create(1, "web"))));
    assert_eq!((again.id, again.generation, changed), (first.id, Generation(2), false));
}

#[test]
fn creating_another_vm_with_the_same_id_is_refused() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    let taken = Err(Refusal::VmIdTaken { id: vm_id(1), name: "web".to_owned() });
    assert_eq!(make(&mut ledger, AnyMutation::CreateVm(create(1, "db"))), taken);
    let other = CreateVm { spec: spec_with(|draft| draft.vcpus = 2), ..create(1, "web") };
    assert_eq!(make(&mut ledger, AnyMutation::CreateVm(other)), taken);
    let other = CreateVm { desired: Desired::Stopped, ..create(1, "web") };
    assert_eq!(make(&mut ledger, AnyMutation::CreateVm(other)), taken);
}

#[test]
fn a_request_id_finds_the_vm_that_its_first_use_made() {
    let mut ledger = with_host();
    let with_request = |number, id_is_given, name: &str| {
        let request_id = Some(vm_id(99));
        AnyMutation::CreateVm(CreateVm { request_id, id_is_given, ..create(number, name) })
    };
    let (first, _) = vm(make(&mut ledger, with_request(1, true, "web")));
    let (again, changed) = vm(make(&mut ledger, with_request(1, true, "web")));
    assert_eq!((again.id, changed), (first.id, false));
    // The id of the second was made by the server: the request id alone decides.
    let (again, changed) = vm(make(&mut ledger, with_request(2, false, "web")));
    assert_eq!((again.id, changed), (first.id, false));
    let other_id = make(&mut ledger, with_request(3, true, "web"));
    assert!(matches!(other_id, Err(Refusal::VmIdTaken { .. })), "{other_id:?}");
    let other_name = make(&mut ledger, with_request(2, false, "db"));
    assert!(matches!(other_name, Err(Refusal::VmIdTaken { .. })), "{other_name:?}");
}

#[test]
fn a_name_belongs_to_one_living_vm() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    let taken = Refusal::VmNameTaken { name: "web".to_owned(), by: vm_id(1) };
    assert_eq!(make(&mut ledger, AnyMutation::CreateVm(create(2, "web"))), Err(taken.clone()));
    make(&mut ledger, delete("web")).expect("deleting");
    assert_eq!(make(&mut ledger, AnyMutation::CreateVm(create(2, "web"))), Err(taken));
    make(&mut ledger, AnyMutation::Forget(Forget { vm: vm_id(1) })).expect("forgotten");
    add_vm(&mut ledger, 2, "web");
}

#[test]
fn a_name_that_was_left_open_is_made_from_the_id() {
    let mut ledger = with_host();
    let vm = add_vm(&mut ledger, 0xabcdef, "");
    assert_eq!(vm.name, "vm-000000abcdef");
    assert_eq!(crate::model::names::check_name(&vm.name), Ok(()));
    // The same end, another beginning.
    let taken = CreateVm {
        id: VmId::from_uuid(uuid::Uuid::from_u128(vm.id.uuid().as_u128() ^ (1 << 100))),
        ..create(0, "")
    };
    let outcome = make(&mut ledger, AnyMutation::CreateVm(taken));
    let Ok(Outcome::Vm { intent, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(intent.name, format!("vm-{}", intent.id.uuid().simple()));
}

#[test]
fn the_id_of_a_forgotten_vm_is_used_up() {
    let mut ledger = with_host();
    let request_id = Some(vm_id(99));
    let first = CreateVm { request_id, ..create(1, "web") };
    make(&mut ledger, AnyMutation::CreateVm(first)).expect("created");
    make(&mut ledger, delete("web")).expect("deleting");
    make(&mut ledger, AnyMutation::Forget(Forget { vm: vm_id(1) })).expect("forgotten");
    let again = make(&mut ledger, AnyMutation::CreateVm(create(1, "web")));
    assert_eq!(again, Err(Refusal::VmIdUsedUp { id: vm_id(1) }));
    let again =
        make(&mut ledger, AnyMutation::CreateVm(CreateVm { request_id, ..create(2, "web") }));
    assert_eq!(again, Err(Refusal::VmIdUsedUp { id: vm_id(99) }));
}

#[test]
fn there_are_at_most_so_many_vms_as_configured() {
    let mut ledger = Ledger::new(LedgerConfig { max_vms: 1, ..LedgerConfig::default() });
    add_vm(&mut ledger, 1, "web");
    let full = make(&mut ledger, AnyMutation::CreateVm(create(2, "db")));
    assert_eq!(full, Err(Refusal::LimitReached { what: "VMs", limit: 1 }));
}

// === placement ===

#[test]
fn a_named_host_is_honoured_or_refused_with_the_reason() {
    let mut ledger = with_host();
    add_host(&mut ledger, 2, "two");
    let on = |host: &str| {
        let host = host.to_owned();
        spec_with(|draft| draft.placement_host = host)
    };
    let make_on = |ledger: &mut Ledger, number, host: &str| {
        make(ledger, AnyMutation::CreateVm(CreateVm { spec: on(host), ..create(number, "") }))
    };
    assert_eq!(vm(make_on(&mut ledger, 1, "two")).0.host, Some(host_id(2)));
    assert_eq!(vm(make_on(&mut ledger, 2, &host_id(2).to_string())).0.host, Some(host_id(2)));
    let missing = make_on(&mut ledger, 3, "three");
    assert_eq!(missing, Err(Refusal::HostNotFound(HostRef::Name("three".to_owned()))));
    ledger.set_capacity(host_id(2), Some(ROOM), false);
    let why = Unsuitable::Unreachable;
    let refused = Err(Refusal::HostUnsuitable { host: "two".to_owned(), why, also: Vec::new() });
    assert_eq!(make_on(&mut ledger, 3, "two"), refused);
}

#[test]
fn a_vm_without_a_host_is_kept_and_placed_when_there_is_room() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    let web = add_vm(&mut ledger, 1, "web");
    assert_eq!((web.host, web.pending), (None, Some(NoHost::NoHosts)));
    add_host(&mut ledger, 1, "one");
    let placed = make(&mut ledger, AnyMutation::PlacePending(PlacePending));
    assert_eq!(placed, Ok(Outcome::Placed { placed: 1, pending: 0, rest_after: None }));
    let web = ledger.vm(&VmRef::Id(vm_id(1))).expect("there");
    assert_eq!((web.host, web.pending, web.generation), (Some(host_id(1)), None, Generation(1)));
}

#[test]
fn a_vm_that_is_wanted_gone_is_never_placed() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    let web = add_vm(&mut ledger, 1, "web");
    let gone = VmIntent { desired: Desired::Absent, ..VmIntent::clone(&web) };
    ledger.apply(&[Change::put(Arc::new(gone))]);
    add_host(&mut ledger, 1, "one");
    let placed = make(&mut ledger, AnyMutation::PlacePending(PlacePending));
    assert_eq!(placed, Ok(Outcome::Placed { placed: 0, pending: 0, rest_after: None }));
}

#[test]
fn looking_again_in_vain_changes_nothing_and_another_reason_is_kept() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    add_vm(&mut ledger, 1, "web");
    let look = AnyMutation::PlacePending(PlacePending);
    assert_eq!(ledger.decide(&caller(), &look).expect("looked").changes, []);
    add_host(&mut ledger, 1, "one");
    ledger.set_capacity(host_id(1), None, false);
    make(&mut ledger, AnyMutation::PlacePending(PlacePending)).expect("looked");
    let web = ledger.vm(&VmRef::Id(vm_id(1))).expect("there");
    assert_eq!(web.pending, Some(NoHost::NoneAvailable));
    assert_eq!(ledger.decide(&caller(), &look).expect("looked").changes, []);
}

#[test]
fn a_slot_that_was_freed_rests_until_all_others_were_given() {
    let mut ledger = with_host();
    for (number, slot) in [(1, 2), (2, 3), (3, 4)] {
        assert_eq!(
            add_vm(&mut ledger, number, &format!("vm{number}")).net.expect("placed").slot,
            slot
        );
    }
    make(&mut ledger, delete("vm2")).expect("deleting");
    assert_eq!(add_vm(&mut ledger, 4, "vm4").net.expect("placed").slot, 5);
    make(&mut ledger, AnyMutation::Forget(Forget { vm: vm_id(2) })).expect("forgotten");
    assert_eq!(add_vm(&mut ledger, 5, "vm5").net.expect("placed").slot, 6);
    // A change of an older VM gives no slot anew.
    let spec = spec_with(|draft| drop(draft.labels.insert("app".into(), "web".into())));
    make(&mut ledger, update("vm1", spec, false)).expect("updated");
    assert_eq!(add_vm(&mut ledger, 6, "vm6").net.expect("placed").slot, 7);
}

#[test]
fn slots_are_given_in_turn_and_each_that_is_free_is_found() {
    let mut ledger = Ledger::new(LedgerConfig { guest_prefix: 24, ..LedgerConfig::default() });
    add_host(&mut ledger, 1, "one");
    let mut given = Vec::new();
    // More than twice around, one VM at a time: no slot comes back before all others did.
    for number in 1..600 {
        let vm = add_vm(&mut ledger, number, "vm");
        given.push(vm.net.expect("placed").slot);
        make(&mut ledger, delete("vm")).expect("deleting");
        make(&mut ledger, AnyMutation::Forget(Forget { vm: vm.id })).expect("forgotten");
    }
    let turn = given.iter().skip(1).position(|slot| *slot == given[0]).expect("came back") + 1;
    assert!(turn > 240 && given.iter().zip(&given[turn..]).all(|(a, b)| a == b), "{given:?}");
}

#[test]
fn a_full_subnet_takes_no_further_vm() {
    let mut ledger = Ledger::new(LedgerConfig { guest_prefix: 29, ..LedgerConfig::default() });
    add_host(&mut ledger, 1, "one");
    for number in 1..=5 {
        assert!(add_vm(&mut ledger, number, &format!("vm{number}")).host.is_some());
    }
    assert_eq!(add_vm(&mut ledger, 6, "vm6").pending, Some(NoHost::NoneHasRoom));
}

// === update ===

#[test]
fn live_fields_of_a_running_vm_change_at_once() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    let spec = spec_with(|draft| drop(draft.labels.insert("app".into(), "web".into())));
    let (web, changed) = vm(make(&mut ledger, update("web", Arc::clone(&spec), false)));
    assert_eq!((web.generation, web.boot_number, changed), (Generation(2), 1, true));
    let (web, changed) = vm(make(&mut ledger, update("web", spec, false)));
    assert_eq!((web.generation, changed), (Generation(2), false), "a repetition");
}

#[test]
fn fields_that_need_a_stopped_vm_are_named_unless_a_restart_is_allowed() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    let spec = spec_with(|draft| {
        draft.vcpus = 2;
        draft.boot_args = "quiet".to_owned();
    });
    let refused = make(&mut ledger, update("web", Arc::clone(&spec), false));
    let Err(Refusal::NeedsStoppedVm { fields, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(fields, ["spec.vcpus", "spec.boot_args"]);
    let (web, _) = vm(make(&mut ledger, update("web", spec, true)));
    assert_eq!((web.boot_number, web.spec.vcpus()), (2, 2));
}

#[test]
fn a_stopped_vm_takes_any_change_and_its_next_start_is_a_new_process() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    make(&mut ledger, power("web", STOP)).expect("stopped");
    let spec = spec_with(|draft| draft.vcpus = 2);
    let (web, _) = vm(make(&mut ledger, update("web", spec, false)));
    assert_eq!(web.boot_number, 1);
    let (web, _) = vm(make(&mut ledger, power("web", START)));
    assert_eq!(web.boot_number, 2);
}

#[test]
fn placement_can_be_set_at_create_only_and_disks_only_grow() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    make(&mut ledger, power("web", STOP)).expect("stopped");
    let spec = spec_with(|draft| {
        draft.placement_host = "one".to_owned();
        draft.root_disk_mib = 512;
    });
    let refused = make(&mut ledger, update("web", spec, true));
    let Err(Refusal::InvalidFields(problems)) = refused else { panic!("{refused:?}") };
    let fields: Vec<&str> =
        problems.iter().map(|SpecProblem { field, .. }| field.as_str()).collect();
    assert_eq!(fields, ["spec.placement", "spec.root_disk_mib"]);
}

#[test]
fn another_root_image_makes_the_root_disk_anew() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    let spec = spec_with(|draft| {
        draft.root_image = Some(ImageDraft { name: "other".to_owned(), sha256: String::new() });
    });
    let (web, _) = vm(make(&mut ledger, update("web", spec, true)));
    assert_eq!((web.boot_number, web.root_disk_number), (2, 2));
}

#[test]
fn a_vm_can_not_grow_past_its_host() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    add_vm(&mut ledger, 2, "db");
    let spec = |memory| spec_with(move |draft| draft.memory_mib = memory);
    let refused = make(&mut ledger, update("web", spec(4096), true));
    assert!(matches!(refused, Err(Refusal::HostUnsuitable { .. })), "{refused:?}");
    make(&mut ledger, update("web", spec(4096 - 256), true)).expect("exactly what is left");
    assert_eq!(ledger.host_use(host_id(1)).booked.memory_mib, 4096);
}

// === power ===

#[test]
fn a_wish_that_is_there_already_changes_nothing() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    for wish in [START, Power::Resume] {
        assert!(!vm(make(&mut ledger, power("web", wish))).1, "{wish:?}");
    }
    make(&mut ledger, power("web", Power::Pause)).expect("paused");
    assert!(!vm(make(&mut ledger, power("web", Power::Pause))).1);
    make(&mut ledger, power("web", STOP)).expect("stopped");
    let (web, changed) = vm(make(&mut ledger, power("web", STOP)));
    assert_eq!((web.generation, changed), (Generation(3), false));
}

#[test]
fn stopping_again_with_less_patience_is_another_wish() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    make(&mut ledger, power("web", STOP)).expect("stopped");
    let now = Power::Stop { grace: std::time::Duration::ZERO };
    let (web, changed) = vm(make(&mut ledger, power("web", now)));
    assert_eq!((web.stop_grace, changed), (std::time::Duration::ZERO, true));
}

#[test]
fn starting_a_vm_that_ended_by_itself_makes_a_new_process() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    let (web, changed) = vm(make(&mut ledger, power("web", Power::Start { again: true })));
    assert_eq!((web.boot_number, web.generation, changed), (2, Generation(2), true));
}

#[test]
fn wishes_that_do_not_fit_what_is_wanted_are_refused() {
    let reboot = Power::Reboot { grace: DEFAULT_STOP_GRACE, reset_root_disk: false };
    for (wanted, wish) in
        [(STOP, Power::Pause), (STOP, Power::Resume), (STOP, reboot), (Power::Pause, reboot)]
    {
        let mut ledger = with_host();
        add_vm(&mut ledger, 1, "web");
        make(&mut ledger, power("web", wanted)).expect("fits");
        let refused = make(&mut ledger, power("web", wish));
        assert!(matches!(refused, Err(Refusal::WrongDesiredState { .. })), "{refused:?}");
    }
}

#[test]
fn a_reboot_raises_the_boot_number_and_may_reset_the_root_disk() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    let reboot = |reset_root_disk| Power::Reboot { grace: DEFAULT_STOP_GRACE, reset_root_disk };
    let (web, _) = vm(make(&mut ledger, power("web", reboot(false))));
    assert_eq!((web.boot_number, web.root_disk_number), (2, 1));
    let (web, _) = vm(make(&mut ledger, power("web", reboot(true))));
    assert_eq!((web.boot_number, web.root_disk_number), (3, 2));
}

#[test]
fn a_stale_etag_changes_nothing() {
    let mut ledger = with_host();
    let web = add_vm(&mut ledger, 1, "web");
    let stop = |etag| {
        let vm = VmRef::Id(vm_id(1));
        AnyMutation::SetPower(SetPower { vm, etag: Some(etag), power: STOP })
    };
    assert!(vm(make(&mut ledger, stop(web.etag()))).1);
    let refused = make(&mut ledger, stop(web.etag()));
    assert_eq!(refused, Err(Refusal::EtagMismatch { what: "VM web".to_owned() }));
}

// === delete ===

#[test]
fn a_vm_that_is_being_deleted_takes_no_other_wish() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    let (web, changed) = vm(make(&mut ledger, delete("web")));
    assert_eq!((web.desired, changed), (Desired::Absent, true));
    let deleting = Err(Refusal::VmDeleting { name: "web".to_owned() });
    for wish in [START, STOP, Power::Pause, Power::Resume] {
        assert_eq!(make(&mut ledger, power("web", wish)), deleting);
    }
    assert_eq!(make(&mut ledger, update("web", spec_with(|_| {}), true)), deleting);
    assert!(!vm(make(&mut ledger, delete("web"))).1, "a repetition");
}

#[test]
fn a_vm_that_never_had_a_host_is_gone_at_once() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    add_vm(&mut ledger, 1, "web");
    let gone = make(&mut ledger, delete("web"));
    assert!(matches!(gone, Ok(Outcome::VmGone(_))), "{gone:?}");
    assert_eq!((ledger.vms().count(), ledger.pending_count()), (0, 0));
}

#[test]
fn only_a_vm_that_is_wanted_absent_can_be_forgotten() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    let refused = make(&mut ledger, AnyMutation::Forget(Forget { vm: vm_id(1) }));
    assert!(matches!(refused, Err(Refusal::NotAbsent { .. })), "{refused:?}");
}

#[test]
fn every_request_leaves_a_line_of_history() {
    let mut ledger = with_host();
    let reboot = Power::Reboot { grace: DEFAULT_STOP_GRACE, reset_root_disk: true };
    let mut kinds = Vec::new();
    for mutation in [
        AnyMutation::CreateVm(create(1, "web")),
        power("web", Power::Pause),
        power("web", Power::Resume),
        power("web", reboot),
        power("web", STOP),
        power("web", START),
        update("web", spec_with(|draft| draft.vcpus = 2), true),
        delete("web"),
        AnyMutation::Forget(Forget { vm: vm_id(1) }),
    ] {
        let decided = ledger.decide(&caller(), &mutation).expect("fits");
        ledger.apply(&decided.changes);
        kinds.extend(decided.changes.iter().filter_map(|change| match change {
            Change::Event(event) => Some(event.kind.as_str()),
            _ => None,
        }));
    }
    assert_eq!(
        kinds,
        [
            "CREATED",
            "PLACED",
            "PAUSE_REQUESTED",
            "RESUME_REQUESTED",
            "REBOOT_REQUESTED",
            "STOP_REQUESTED",
            "START_REQUESTED",
            "UPDATED",
            "DELETE_REQUESTED",
            "DELETED",
        ]
    );
}

// === hosts ===

#[test]
fn hosts_get_subnets_of_their_own_and_give_them_back() {
    let mut ledger = with_host();
    let two = add_host(&mut ledger, 2, "two");
    let subnet =
        |ledger: &Ledger, id| ledger.host(&HostRef::Id(id)).expect("there").subnet.to_string();
    assert_eq!(subnet(&ledger, host_id(1)), "10.64.0.0/20");
    assert_eq!(subnet(&ledger, two), "10.64.16.0/20");
    let gone =
        AnyMutation::DeleteHost(DeleteHost { host: HostRef::Name("one".to_owned()), etag: None });
    make(&mut ledger, gone).expect("empty");
    let three = add_host(&mut ledger, 3, "three");
    assert_eq!(subnet(&ledger, three), "10.64.0.0/20");
}

#[test]
fn a_host_gets_no_subnet_that_its_machine_uses() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    make(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(token("t")))).expect("kept");
    let used_networks = ["10.64.0.0/24", "10.64.19.7/32", "192.0.2.0/24"];
    let used_networks = used_networks.map(|text| text.parse().expect("a network")).to_vec();
    let join = JoinHost { used_networks, ..join(1, "t", "one") };
    let joined = make(&mut ledger, AnyMutation::JoinHost(join)).expect("there are others");
    let Outcome::Host(host) = joined else { panic!("{joined:?}") };
    assert_eq!(host.subnet.to_string(), "10.64.32.0/20");
}

#[test]
fn a_host_that_uses_the_whole_pool_is_refused() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    make(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(token("t")))).expect("kept");
    let used_networks = vec!["10.0.0.0/8".parse().expect("a network")];
    let join = JoinHost { used_networks, ..join(1, "t", "one") };
    let refused = make(&mut ledger, AnyMutation::JoinHost(join)).expect_err("nothing is left");
    assert!(matches!(refused, Refusal::NoSubnetLeft { .. }), "{refused}");
}

#[test]
fn the_pool_can_be_used_up() {
    let config = LedgerConfig {
        guest_pool: "10.64.0.0/20".parse().expect("a network"),
        ..LedgerConfig::default()
    };
    let mut ledger = Ledger::new(config);
    add_host(&mut ledger, 1, "one");
    make(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(token("t")))).expect("kept");
    let refused = make(&mut ledger, AnyMutation::JoinHost(join(2, "t", "two")));
    assert_eq!(refused, Err(Refusal::NoSubnetLeft { pool: "10.64.0.0/20".to_owned() }));
}

#[test]
fn a_host_with_vms_can_not_be_deleted() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    let delete_host =
        AnyMutation::DeleteHost(DeleteHost { host: HostRef::Name("one".to_owned()), etag: None });
    let refused = make(&mut ledger, delete_host.clone());
    let refusal = refused.expect_err("it holds one");
    assert_eq!(refusal, Refusal::HostNotEmpty { host: "one".to_owned(), vms: 1 });
    assert_eq!(refusal.to_string(), "host one still holds 1 VM");
    make(&mut ledger, delete("web")).expect("deleting");
    let refused = make(&mut ledger, delete_host.clone());
    assert!(matches!(refused, Err(Refusal::HostNotEmpty { .. })), "not yet confirmed gone");
    make(&mut ledger, AnyMutation::Forget(Forget { vm: vm_id(1) })).expect("forgotten");
    make(&mut ledger, delete_host).expect("empty");
}

#[test]
fn a_cordoned_host_keeps_its_vms_and_takes_no_others() {
    let mut ledger = with_host();
    add_vm(&mut ledger, 1, "web");
    let cordon = |cordoned| {
        AnyMutation::SetCordon(SetCordon {
            host: HostRef::Name("one".to_owned()),
            etag: None,
            cordoned,
        })
    };
    make(&mut ledger, cordon(true)).expect("cordoned");
    assert_eq!(add_vm(&mut ledger, 2, "db").pending, Some(NoHost::NoneAvailable));
    let again = ledger.decide(&caller(), &cordon(true)).expect("fits");
    assert_eq!(again.changes, [], "a repetition");
    make(&mut ledger, cordon(false)).expect("uncordoned");
    let placed = make(&mut ledger, AnyMutation::PlacePending(PlacePending));
    assert_eq!(placed, Ok(Outcome::Placed { placed: 1, pending: 0, rest_after: None }));
}

#[test]
fn a_join_token_is_good_once_for_a_short_time_and_for_its_name() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    let named = JoinToken { host_name: Some("one".to_owned()), ..token("t") };
    make(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(named))).expect("kept");
    let join_host = |change: fn(&mut JoinHost)| {
        let mut join = join(1, "t", "one");
        change(&mut join);
        AnyMutation::JoinHost(join)
    };
    let invalid = |ledger: &mut Ledger, mutation, seconds| {
        let refused = make_at(ledger, mutation, seconds);
        assert!(matches!(refused, Err(Refusal::JoinTokenInvalid(_))), "{refused:?}");
    };
    invalid(&mut ledger, join_host(|join| join.token_id = "u".to_owned()), 0);
    invalid(&mut ledger, join_host(|join| join.secret_sha256 = [8; 32]), 0);
    let other = make_at(&mut ledger, join_host(|join| join.name = "two".to_owned()), 0);
    let (made_for, name) = ("one".to_owned(), "two".to_owned());
    assert_eq!(other, Err(Refusal::JoinTokenForAnother { made_for, name }));
    invalid(&mut ledger, join_host(|_| {}), 900);
    make(&mut ledger, join_host(|_| {})).expect("good");
    invalid(&mut ledger, join_host(|join| join.key_sha256 = [1; 32]), 0);
}

#[test]
fn a_join_whose_answer_was_lost_can_be_repeated_with_the_same_key() {
    let ledger = with_host();
    let before = Arc::clone(ledger.hosts().next().expect("a host"));
    let again = AnyMutation::JoinHost(JoinHost {
        agent_address: "192.0.2.99:1".to_owned(),
        certificate_expires_at: at(9_000_000),
        ..join(77, "one", "one")
    });
    let decided = ledger.decide(&caller(), &again).expect("the same key");
    assert_eq!(decided.changes, [], "a repetition changes nothing");
    assert_eq!(decided.outcome, Outcome::Host(before), "and is answered the same");
}

#[test]
fn a_used_token_with_the_key_of_before_opens_nothing_once_the_host_has_another_key() {
    let mut ledger = with_host();
    let named = JoinToken { host_name: Some("one".to_owned()), ..token("named") };
    make(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(named))).expect("kept");
    let known_id = Some(host_id(1));
    let new = JoinHost { known_id, key_sha256: [5; 32], ..join(2, "named", "one") };
    let Ok(Outcome::Host(host)) = make(&mut ledger, AnyMutation::JoinHost(new)) else {
        panic!("refused")
    };
    assert_eq!(host.key_sha256, Some([5; 32]));
    let refused = make(&mut ledger, AnyMutation::JoinHost(join(1, "one", "one")));
    assert_eq!(refused, Err(Refusal::JoinTokenInvalid("used")));
}

#[test]
fn labels_come_with_the_token_and_stay_when_a_host_joins_again_without_any() {
    let mut ledger = with_host();
    let zone_a = token("t").labels;
    assert_eq!(ledger.hosts().next().map(|host| host.labels.clone()), Some(zone_a.clone()));
    for (id, labels, expected) in [
        ("without", crate::model::labels::Labels::new(), zone_a),
        (
            "with",
            [("zone".to_owned(), "b".to_owned())].into(),
            [("zone".to_owned(), "b".to_owned())].into(),
        ),
    ] {
        let named = JoinToken { host_name: Some("one".to_owned()), labels, ..token(id) };
        make(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(named))).expect("kept");
        let again = JoinHost { known_id: Some(host_id(1)), ..join(2, id, "one") };
        let Ok(Outcome::Host(host)) = make(&mut ledger, AnyMutation::JoinHost(again)) else {
            panic!("refused")
        };
        assert_eq!(host.labels, expected, "{id}");
    }
}

#[test]
fn a_host_joins_again_under_its_id_with_a_token_made_for_its_name() {
    let mut ledger = with_host();
    let again = |token_id: &str| {
        let known_id = Some(host_id(1));
        AnyMutation::JoinHost(JoinHost {
            known_id,
            key_sha256: [5; 32],
            ..join(2, token_id, "one")
        })
    };
    make(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(token("any")))).expect("kept");
    let refused = make(&mut ledger, again("any"));
    assert!(matches!(refused, Err(Refusal::JoinTokenInvalid(_))), "{refused:?}");
    let named = JoinToken { host_name: Some("one".to_owned()), ..token("named") };
    make(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(named))).expect("kept");
    let Ok(Outcome::Host(host)) = make(&mut ledger, again("named")) else { panic!("refused") };
    assert_eq!((host.id, host.generation), (host_id(1), 2));
    make(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(token("t")))).expect("kept");
    let refused = make(&mut ledger, AnyMutation::JoinHost(join(3, "t", "one")));
    assert!(matches!(refused, Err(Refusal::HostNameTaken { .. })), "{refused:?}");
}

#[test]
fn expired_tokens_are_dropped_when_another_is_made() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    make(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(token("old")))).expect("kept");
    let new = JoinToken { expires_at: at(2000), ..token("new") };
    make_at(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(new)), 900).expect("kept");
    assert_eq!(ledger.join_tokens.iter().map(|token| &token.id).collect::<Vec<_>>(), ["new"]);
}

#[test]
fn a_create_repeated_with_its_host_named_in_another_way_is_the_same_create() {
    let id = host_id(1).to_string();
    for (first, then) in [("one", id.as_str()), (id.as_str(), "one")] {
        let mut ledger = with_host();
        add_host(&mut ledger, 2, "two");
        let on = |host: &str| {
            let spec = spec_with(|draft| draft.placement_host = host.to_owned());
            AnyMutation::CreateVm(CreateVm { spec, ..create(1, "web") })
        };
        let (made, changed) = vm(make(&mut ledger, on(first)));
        assert!(changed);
        assert_eq!(vm(make(&mut ledger, on(then))), (made, false), "{first} and then {then}");
        let other = make(&mut ledger, on("two"));
        assert!(matches!(other, Err(Refusal::VmIdTaken { .. })), "{other:?}");
    }
}

#[test]
fn a_guest_that_nobody_claims_keeps_its_address_until_it_is_claimed() {
    let mut ledger = with_host();
    let lost = add_vm(&mut ledger, 1, "lost");
    let address = lost.net.expect("placed").address;
    // A restore: the host runs a VM that the server does not know, beside one that it knows.
    let mut ledger = with_host();
    let known = add_vm(&mut ledger, 2, "known").net.expect("placed").address;
    let other = if known == address { "10.64.0.3" } else { "10.64.0.2" }.parse().unwrap();
    let held = [(vm_id(1), other), (vm_id(2), known)].into();
    ledger.set_addresses(host_id(1), &held);
    for number in 3..8 {
        let new = add_vm(&mut ledger, number, &format!("new-{number}"));
        assert_ne!(new.net.expect("placed").address, other, "{number}");
    }
    let claimed = add_vm(&mut ledger, 1, "lost");
    assert_eq!(claimed.net.expect("placed").address, other);
    // It is the server's again: once deleted, its address is free for others.
    let mut anew = Ledger::new(ledger.config().clone());
    anew.apply(&ledger.hosts().cloned().map(Change::put).collect::<Vec<_>>());
    anew.apply(&ledger.vms().cloned().map(Change::put).collect::<Vec<_>>());
    anew.keep_capacities_of(&ledger);
    assert!(anew.hosts[&host_id(1)].unclaimed().is_empty());
}

// === how hosts are filled ===

/// How many VMs each host has after 300 creates over ten.
fn filled(strategy: Strategy) -> Vec<usize> {
    let mut ledger = Ledger::new(LedgerConfig { strategy, ..LedgerConfig::default() });
    let hosts: Vec<HostId> =
        (0..10).map(|host| add_host(&mut ledger, host, &format!("host-{host}"))).collect();
    for host in &hosts {
        let room = Resources { vcpus: 64, memory_mib: 65_536, ..ROOM };
        set_room(&mut ledger, *host, room);
    }
    for number in 0..300 {
        add_vm(&mut ledger, number, &format!("vm-{number}"));
    }
    hosts.iter().map(|host| ledger.host_use(*host).vms).collect()
}

#[test]
fn three_hundred_vms_over_ten_hosts_are_thirty_on_each_or_as_few_hosts_as_can_be() {
    assert_eq!(filled(Strategy::Spread), [30; 10]);
    assert_eq!(filled(Strategy::Pack), [256, 44, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_vm_says_for_itself_in_which_order_hosts_are_filled() {
    let mut ledger = with_host();
    add_host(&mut ledger, 2, "two");
    add_vm(&mut ledger, 1, "first");
    let packed = spec_with(|draft| draft.placement_strategy = Some(Strategy::Pack));
    let create = |number, name: &str, spec: &Arc<_>| {
        AnyMutation::CreateVm(CreateVm { spec: Arc::clone(spec), ..create(number, name) })
    };
    let (packed, _) = vm(make(&mut ledger, create(2, "packed", &packed)));
    assert_eq!(packed.host, Some(host_id(1)));
    assert_eq!(add_vm(&mut ledger, 3, "spread").host, Some(host_id(2)));
}

#[test]
fn a_vm_is_evaluated_as_though_it_had_no_host_yet() {
    let mut ledger = with_host();
    add_host(&mut ledger, 2, "two");
    let large = spec_with(|draft| draft.memory_mib = 3000);
    let create = |number, name: &str| CreateVm { spec: Arc::clone(&large), ..create(number, name) };
    let (one, _) = vm(make(&mut ledger, AnyMutation::CreateVm(create(1, "one"))));
    let found = ledger.evaluate(&one);
    assert_eq!(found.chosen, Ok(one.host.expect("placed")));
    assert!(found.verdicts.iter().all(|verdict| verdict.found.is_ok()), "{found:?}");
    let (two, _) = vm(make(&mut ledger, AnyMutation::CreateVm(create(2, "two"))));
    let found = ledger.evaluate(&two);
    assert!(found.verdicts[0].found.is_err(), "the other is there: {found:?}");
    assert_eq!(found.chosen, Ok(host_id(2)));
}
