//! How many decisions it costs to look for hosts.

use super::*;
use crate::model::affinity::AffinityDraft;
use crate::model::ledger::placing::{LOOKS, MAX_SHAPES_BEFORE};
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
