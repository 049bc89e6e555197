//! In which order VMs that wait get a host.

use proptest::prelude::*;
use proptest::strategy::Strategy;

use super::*;

fn sized(number: u128, memory: u32, priority: i32) -> CreateVm {
    let spec = spec_with(|draft| {
        draft.memory_mib = memory;
        draft.priority = priority;
    });
    CreateVm { spec, ..create(number, &format!("vm-{number}")) }
}

fn made(ledger: &mut Ledger, number: u128, memory: u32, priority: i32) -> Arc<VmIntent> {
    let create = AnyMutation::CreateVm(sized(number, memory, priority));
    vm(make_at(ledger, create, i64::try_from(number).expect("small"))).0
}

fn gone(ledger: &mut Ledger, number: u128) {
    let delete = DeleteVm { vm: VmRef::Id(vm_id(number)), etag: None };
    make(ledger, AnyMutation::DeleteVm(delete)).expect("deleting");
    let forgotten = make(ledger, AnyMutation::Forget(Forget { vm: vm_id(number) }));
    // One without a host is gone at once.
    assert!(matches!(forgotten, Ok(_) | Err(Refusal::VmNotFound(_))), "{forgotten:?}");
}

fn search(ledger: &mut Ledger) {
    make(ledger, AnyMutation::PlacePending(PlacePending)).expect("searched");
}

fn has_host(ledger: &Ledger, number: u128) -> bool {
    ledger.vm(&VmRef::Id(vm_id(number))).is_some_and(|vm| vm.host.is_some())
}

#[test]
fn the_highest_priority_goes_first_and_of_equals_the_oldest() {
    let mut ledger = with_host();
    made(&mut ledger, 1, 4000, 0);
    for (number, priority) in [(2, 0), (3, 5), (4, 5), (5, -1)] {
        assert!(made(&mut ledger, number, 2000, priority).host.is_none());
    }
    gone(&mut ledger, 1);
    search(&mut ledger);
    let placed: Vec<u128> = (2..=5).filter(|number| has_host(&ledger, *number)).collect();
    assert_eq!(placed, [3, 4]);
}

#[test]
fn one_that_fits_nowhere_keeps_none_back_that_come_after_it() {
    let mut ledger = with_host();
    made(&mut ledger, 1, 3000, 0);
    made(&mut ledger, 2, 4096, 100);
    made(&mut ledger, 3, 2000, 0);
    assert!(made(&mut ledger, 4, 1000, 0).host.is_some(), "there is room for it");
    gone(&mut ledger, 1);
    search(&mut ledger);
    assert!(has_host(&ledger, 3) && !has_host(&ledger, 2));
}

#[test]
fn a_new_vm_takes_no_room_that_one_which_waits_could_have() {
    let mut ledger = with_host();
    made(&mut ledger, 1, 4000, 0);
    made(&mut ledger, 2, 4000, 0);
    gone(&mut ledger, 1);
    // The search for the second has not been made yet.
    let new = made(&mut ledger, 3, 256, 0);
    assert_eq!(new.pending, Some(NoHost::OthersFirst));
    assert_eq!(ledger.evaluate(&new).chosen, Err(NoHost::OthersFirst));
    // Whoever comes before it by priority need not wait.
    assert!(made(&mut ledger, 4, 64, 1).host.is_some());
    search(&mut ledger);
    assert!(has_host(&ledger, 2));
    assert!(!has_host(&ledger, 3), "32 MiB are left");
    assert_eq!(ledger.vm(&VmRef::Id(vm_id(3))).expect("there").pending, Some(NoHost::NoneHasRoom));
    assert!(made(&mut ledger, 5, 64, 0).host.is_none(), "nothing is left");
}

#[test]
fn only_a_vm_that_could_have_a_host_is_told_that_others_come_first() {
    let mut ledger = with_host();
    made(&mut ledger, 1, 4000, 0);
    made(&mut ledger, 2, 4000, 0);
    gone(&mut ledger, 1);
    let mut told = |number, change: fn(&mut crate::model::spec::VmSpecDraft)| {
        let create = CreateVm { spec: spec_with(change), ..create(number, "") };
        vm(make_at(&mut ledger, AnyMutation::CreateVm(create), 10)).0.pending
    };
    assert_eq!(told(3, |_| ()), Some(NoHost::OthersFirst));
    assert_eq!(told(4, |draft| draft.pool = "gpu".to_owned()), Some(NoHost::NoneMatches));
    assert_eq!(told(5, |draft| draft.memory_mib = 9000), Some(NoHost::NoneLargeEnough));
    let left = told(6, |draft| draft.scheduler = "mine".to_owned());
    assert_eq!(left, Some(NoHost::LeftToScheduler));
}

#[test]
fn another_placement_is_looked_for_while_a_vm_has_no_host_and_not_after() {
    let mut ledger = with_host();
    let nowhere = spec_with(|draft| draft.pool = "gpu".to_owned());
    let create = AnyMutation::CreateVm(CreateVm { spec: nowhere, ..create(1, "web") });
    assert_eq!(vm(make(&mut ledger, create)).0.pending, Some(NoHost::NoneMatches));
    let anywhere = spec_with(|_| ());
    let (web, _) = vm(make(&mut ledger, update("web", anywhere, false)));
    assert_eq!(web.host, Some(host_id(1)));
    let elsewhere = spec_with(|draft| draft.pool = "gpu".to_owned());
    let refused = make(&mut ledger, update("web", elsewhere, true));
    let why = "can be changed only while the VM has no host";
    let problem = SpecProblem::new("spec.placement", why);
    assert_eq!(refused, Err(Refusal::InvalidFields(vec![problem])));
}

#[test]
fn a_vm_that_is_left_to_a_scheduler_waits_until_it_is_bound() {
    let mut ledger = with_host();
    let left = spec_with(|draft| draft.scheduler = "mine".to_owned());
    let create = AnyMutation::CreateVm(CreateVm { spec: left, ..create(1, "web") });
    let (web, _) = vm(make(&mut ledger, create));
    assert_eq!(web.pending, Some(NoHost::LeftToScheduler));
    search(&mut ledger);
    assert!(!has_host(&ledger, 1));
    // It holds nobody back either.
    assert!(made(&mut ledger, 2, 256, -1).host.is_some());
    let bind = |host: &str| {
        let (vm, host) = (VmRef::Id(vm_id(1)), HostRef::Name(host.to_owned()));
        AnyMutation::BindVm(BindVm { vm, host, etag: None })
    };
    add_host(&mut ledger, 2, "two");
    let absent = HostRef::Name("nowhere".to_owned());
    assert_eq!(make(&mut ledger, bind("nowhere")), Err(Refusal::HostNotFound(absent)));
    ledger.set_capacity(host_id(2), Some(ROOM), false);
    let refused = Refusal::HostUnsuitable {
        host: "two".to_owned(),
        why: Unsuitable::Unreachable,
        also: Vec::new(),
    };
    assert_eq!(make(&mut ledger, bind("two")), Err(refused));
    let (bound, changed) = vm(make(&mut ledger, bind("one")));
    assert_eq!((bound.host, bound.pending, changed), (Some(host_id(1)), None, true));
    assert_eq!(bound.generation, web.generation);
    assert!(!vm(make(&mut ledger, bind("one"))).1, "a repetition");
    let refused = make(&mut ledger, bind("two"));
    let other = Err(Refusal::HostUnsuitable {
        host: "two".to_owned(),
        why: Unsuitable::HasAnother,
        also: Vec::new(),
    });
    assert_eq!(refused, other);
}

#[test]
fn hosts_are_bound_by_callers_of_the_whole_fleet_alone() {
    use crate::model::caller::ProjectRole;
    use crate::model::fixtures::caller_of;
    let mut ledger = Ledger::new(LedgerConfig::default());
    made(&mut ledger, 1, 256, 0);
    add_host(&mut ledger, 1, "one");
    let (vm, host) = (VmRef::Id(vm_id(1)), HostRef::Id(host_id(1)));
    let bind = AnyMutation::BindVm(BindVm { vm, host, etag: None });
    let theirs = caller_of("default", ProjectRole::Admin);
    let refused = ledger.decide(&theirs, &bind);
    assert!(matches!(refused, Err(Refusal::InvalidFields(_))), "{refused:?}");
}

#[derive(Debug, Clone)]
enum Step {
    Create { memory: u32, priority: i32 },
    Delete(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let memory = prop_oneof![Just(500_u32), Just(1500), Just(3000)];
    prop_oneof![
        2 => (memory, -1..=1).prop_map(|(memory, priority)| Step::Create { memory, priority }),
        1 => any::<usize>().prop_map(Step::Delete),
    ]
}

proptest! {
    /// Beside a model with one number: what is free on the only host.
    #[test]
    fn whoever_comes_first_by_priority_and_age_and_has_room_goes_first(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut ledger = with_host();
        // In the order of their creation: number, memory, priority, whether it has a host.
        let mut model: Vec<(u128, u64, i32, bool)> = Vec::new();
        for (number, step) in (1..).zip(&steps) {
            match step {
                Step::Create { memory, priority } => {
                    made(&mut ledger, number, *memory, *priority);
                    model.push((number, u64::from(*memory), *priority, false));
                }
                Step::Delete(which) if !model.is_empty() => {
                    let (number, ..) = model.remove(which % model.len());
                    gone(&mut ledger, number);
                }
                Step::Delete(_) => {}
            }
            search(&mut ledger);
            let mut order: Vec<usize> = (0..model.len()).collect();
            order.sort_by_key(|index| (std::cmp::Reverse(model[*index].2), *index));
            for index in order {
                let taken: u64 = model.iter().filter(|vm| vm.3).map(|vm| vm.1).sum();
                let guests = model.iter().filter(|vm| vm.3).count();
                model[index].3 |= taken + model[index].1 <= ROOM.memory_mib && guests < 16;
            }
            for (number, .., placed) in &model {
                prop_assert_eq!(has_host(&ledger, *number), *placed, "VM {}", number);
            }
        }
    }
}
