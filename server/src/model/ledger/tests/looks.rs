//! How many decisions it costs to look for hosts.

use super::*;
use crate::model::affinity::AffinityDraft;
use crate::model::ledger::peers::WALKED;
use crate::model::ledger::placing::{LOOKS, MAX_LOOKS_AT_ONCE, MAX_SHAPES_BEFORE};
use crate::model::spec::VmSpecDraft;

fn made(ledger: &mut Ledger, number: u128, change: impl FnOnce(&mut VmSpecDraft)) -> Arc<VmIntent> {
    let create = CreateVm { spec: spec_with(change), ..create(number, &format!("vm-{number}")) };
    let seconds = i64::try_from(number).expect("small");
    vm(make_at(ledger, AnyMutation::CreateVm(create), seconds)).0
}

/// The looks that something costs.
fn looks<T>(what: impl FnOnce() -> T) -> (T, usize) {
    let before = LOOKS.get();
    let done = what();
    (done, LOOKS.get() - before)
}

fn search(ledger: &mut Ledger) -> (Outcome, usize) {
    looks(|| make(ledger, AnyMutation::PlacePending(PlacePending)).expect("searched"))
}

fn app(draft: &mut VmSpecDraft, app: &str) {
    drop(draft.labels.insert("app".to_owned(), app.to_owned()));
}

#[test]
fn vms_with_labels_and_priorities_that_no_rule_is_about_are_looked_at_once() {
    let mut ledger = with_host();
    for number in 0..50 {
        made(&mut ledger, number, |draft| {
            draft.memory_mib = 9000;
            draft.priority = i32::try_from(number).expect("small");
            app(draft, &format!("a{number}"));
        });
    }
    assert_eq!(search(&mut ledger).1, 1);
}

#[test]
fn a_create_that_only_asks_looks_at_the_hosts_once_as_one_that_is_stored() {
    let mut ledger = with_host();
    let create = create(1, "web");
    let (checked, of_check) = looks(|| ledger.check_create(&create, &caller(), &[]));
    let (checked, found) = checked.expect("it could be made");
    let (made, of_create) = looks(|| make(&mut ledger, create.clone().into()).expect("made"));
    assert_eq!((of_check, of_create), (1, 1));
    let (checked, _) = vm(Ok(checked.outcome));
    let (made, _) = vm(Ok(made));
    assert_eq!((checked.host, checked.net), (made.host, made.net), "and decides the same");
    assert_eq!(found.map(|found| found.chosen.ok()), Some(made.host));
}

#[test]
fn labels_count_where_a_vm_that_is_placed_on_the_way_stays_apart_from_some() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    let apart = |draft: &mut VmSpecDraft| {
        draft.affinity = vec![AffinityDraft {
            vm_selector: "app=noisy".to_owned(),
            anti: true,
            ..AffinityDraft::default()
        }];
    };
    made(&mut ledger, 1, apart);
    made(&mut ledger, 2, |draft| app(draft, "noisy"));
    made(&mut ledger, 3, |draft| app(draft, "calm"));
    add_host(&mut ledger, 1, "one");
    search(&mut ledger);
    let pending = |number| ledger.vm(&VmRef::Id(vm_id(number))).expect("there").pending;
    assert_eq!([1, 2, 3].map(pending), [None, Some(NoHost::NoneMeetsAffinity), None]);
    // And so from now on.
    made(&mut ledger, 4, |draft| app(draft, "noisy"));
    made(&mut ledger, 5, |draft| app(draft, "noisy"));
    assert_eq!(search(&mut ledger).1, 1);
}

#[test]
fn a_new_vm_looks_at_few_shapes_that_come_before_it_and_leaves_the_rest_to_the_search() {
    let mut ledger = with_host();
    for number in 0..100 {
        let memory = 9000 + u32::try_from(number).expect("small");
        made(&mut ledger, number, |draft| draft.memory_mib = memory);
    }
    // The room that the host came with has not been searched for yet.
    let (new, looks) = looks(|| made(&mut ledger, 100, |_| ()));
    assert_eq!((new.pending, looks), (Some(NoHost::OthersFirst), 1 + MAX_SHAPES_BEFORE));
    search(&mut ledger);
    assert!(ledger.vm(&VmRef::Id(new.id)).expect("there").host.is_some());
    assert!(made(&mut ledger, 101, |_| ()).host.is_some());
}

/// So many VMs of other shapes each, which fit nowhere, and one behind them that does.
fn many_before_one(ledger: &mut Ledger, many: usize) -> VmId {
    for number in 0..many {
        let memory = 9000 + u32::try_from(number).expect("small");
        let number = u128::try_from(number).expect("small");
        assert_eq!(made(ledger, number, |draft| draft.memory_mib = memory).host, None);
    }
    let last = u128::try_from(many).expect("small");
    let one = made(ledger, last, |draft| draft.memory_mib = 64);
    assert_eq!(one.host, None);
    one.id
}

#[test]
fn a_search_that_has_looked_often_ends_and_the_next_goes_on_after_it() {
    let mut ledger = with_host();
    let one = many_before_one(&mut ledger, 2 * MAX_LOOKS_AT_ONCE + 10);
    for _ in 0..2 {
        let (outcome, looks) = search(&mut ledger);
        assert_eq!(looks, MAX_LOOKS_AT_ONCE);
        assert!(matches!(outcome, Outcome::Placed { placed: 0, rest_after: Some(_), .. }));
    }
    let (outcome, looks) = search(&mut ledger);
    assert_eq!(looks, 11);
    assert!(matches!(outcome, Outcome::Placed { placed: 1, rest_after: None, .. }), "{outcome:?}");
    assert!(ledger.vm(&VmRef::Id(one)).expect("there").host.is_some());
    // All were looked at: whoever is new gives way to none of them.
    assert!(made(&mut ledger, 10_000, |draft| draft.memory_mib = 64).host.is_some());
    assert_eq!(search(&mut ledger).1, MAX_LOOKS_AT_ONCE, "from the first again");
}

#[test]
fn room_that_comes_while_a_search_is_under_way_is_searched_for_from_the_first() {
    let mut ledger = with_host();
    many_before_one(&mut ledger, MAX_LOOKS_AT_ONCE + 1);
    search(&mut ledger);
    // The first would fit now, and was looked at before.
    set_room(&mut ledger, host_id(1), Resources { memory_mib: 9000, ..ROOM });
    search(&mut ledger);
    let new = made(&mut ledger, 10_000, |draft| draft.memory_mib = 64);
    assert_eq!(new.pending, Some(NoHost::OthersFirst));
}

#[test]
fn vms_that_a_rule_is_about_are_looked_at_once_a_search_whoever_has_the_rule() {
    let mut ledger = with_host();
    for number in 0..5 {
        made(&mut ledger, number, |draft| {
            draft.memory_mib = 64;
            app(draft, "web");
        });
    }
    for number in 10..30 {
        made(&mut ledger, number, |draft| {
            draft.memory_mib = 9000 + u32::try_from(number).expect("small");
            draft.affinity = vec![AffinityDraft {
                vm_selector: "app=web".to_owned(),
                weight: 1,
                ..AffinityDraft::default()
            }];
        });
    }
    let before = WALKED.get();
    assert_eq!(search(&mut ledger).1, 20);
    assert_eq!(WALKED.get() - before, 5);
}
