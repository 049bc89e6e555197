//! Near which VMs others are placed, and apart from which.

use std::collections::BTreeSet;

use super::*;
use crate::model::affinity::AffinityDraft;
use crate::model::fixtures::project;
use crate::model::labels::{LabelChange, Labels};

fn labelled(number: u128, app: &str, rule: Option<(&str, &str, bool)>) -> CreateVm {
    let spec = spec_with(|draft| {
        drop(draft.labels.insert("app".to_owned(), app.to_owned()));
        draft.affinity = rule
            .into_iter()
            .map(|(selector, topology, anti)| AffinityDraft {
                vm_selector: selector.to_owned(),
                topology: topology.to_owned(),
                anti,
                ..AffinityDraft::default()
            })
            .collect();
    });
    CreateVm { spec, ..create(number, &format!("{app}-{number}")) }
}

fn made(ledger: &mut Ledger, create: CreateVm) -> Arc<VmIntent> {
    vm(make(ledger, AnyMutation::CreateVm(create))).0
}

fn zone(ledger: &mut Ledger, host: u128, zone: &str) {
    let labels = [("zone".to_owned(), zone.to_owned())].into();
    let update = UpdateHost {
        host: HostRef::Id(host_id(host)),
        etag: None,
        labels: LabelChange::Whole(labels),
        agent_address: None,
        vcpu_overcommit: None,
        memory_overcommit: None,
        accepted: None,
    };
    make(ledger, AnyMutation::UpdateHost(update)).expect("labelled");
}

fn ten_hosts() -> Ledger {
    let mut ledger = Ledger::new(LedgerConfig::default());
    for host in 1..=10 {
        add_host(&mut ledger, host, &format!("host-{host}"));
    }
    ledger
}

#[test]
fn a_rule_about_many_values_keeps_its_text_once() {
    let mut ledger = ten_hosts();
    let values: Vec<_> = (0..64).map(|n| format!("{n:060}")).collect();
    let rule = format!("app in ({})", values.join(","));
    let of_one = made(&mut ledger, labelled(0, "web", Some((&rule, "", true))));
    assert!(of_one.host.is_some());
    let (texts, rules) = ledger.peer_index.texts();
    assert_eq!((texts.len(), rules), (1, 64));
}

#[test]
fn of_two_hundred_that_stay_apart_each_host_has_one_and_the_others_wait() {
    let mut ledger = ten_hosts();
    let apart = Some(("app=web", "", true));
    let vms: Vec<_> = (0..200).map(|n| made(&mut ledger, labelled(n, "web", apart))).collect();
    let hosts: BTreeSet<_> = vms.iter().filter_map(|vm| vm.host).collect();
    assert_eq!((hosts.len(), vms.iter().filter(|vm| vm.host.is_some()).count()), (10, 10));
    let waiting = vms.iter().filter(|vm| vm.pending == Some(NoHost::NoneMeetsAffinity));
    assert_eq!(waiting.count(), 190);
    let nothing = Ok(Outcome::Placed { placed: 0, pending: 190, rest_after: None });
    assert_eq!(make(&mut ledger, AnyMutation::PlacePending(PlacePending)), nothing);

    // One goes: the one that has waited longest takes its host, and nobody else does.
    make(&mut ledger, delete("web-3")).expect("deleting");
    make(&mut ledger, AnyMutation::Forget(Forget { vm: vm_id(3) })).expect("forgotten");
    let one = Ok(Outcome::Placed { placed: 1, pending: 189, rest_after: None });
    assert_eq!(make(&mut ledger, AnyMutation::PlacePending(PlacePending)), one);
    let next = ledger.vm(&VmRef::Id(vm_id(10))).expect("there");
    assert_eq!(next.host, vms[3].host);
}

#[test]
fn those_that_wait_stay_apart_from_each_other_within_one_search() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    let apart = Some(("app=web", "zone", true));
    for number in 0..6 {
        made(&mut ledger, labelled(number, "web", apart));
    }
    for host in 1..=6 {
        add_host(&mut ledger, host, &format!("host-{host}"));
        zone(&mut ledger, host, if host <= 4 { "a" } else { "b" });
    }
    let two = Ok(Outcome::Placed { placed: 2, pending: 4, rest_after: None });
    assert_eq!(make(&mut ledger, AnyMutation::PlacePending(PlacePending)), two);
}

#[test]
fn a_hard_rule_to_stay_apart_holds_for_who_comes_later_without_one() {
    let mut ledger = with_host();
    add_host(&mut ledger, 2, "two");
    let quiet = made(&mut ledger, labelled(1, "quiet", Some(("app=noisy", "", true))));
    for number in 2..12 {
        let noisy = made(&mut ledger, labelled(number, "noisy", None));
        assert!(noisy.host.is_some() && noisy.host != quiet.host, "{noisy:?}");
    }
    let again = made(&mut ledger, labelled(20, "quiet", Some(("app=noisy", "", true))));
    assert_eq!(again.host, quiet.host);
    // With its end the others may go there.
    for number in [1, 20] {
        make(&mut ledger, delete(&format!("quiet-{number}"))).expect("deleting");
        make(&mut ledger, AnyMutation::Forget(Forget { vm: vm_id(number) })).expect("forgotten");
    }
    assert_eq!(made(&mut ledger, labelled(30, "noisy", None)).host, quiet.host);
}

#[test]
fn a_rule_to_stay_apart_from_several_is_found_by_each_and_goes_with_its_last_vm() {
    let mut ledger = with_host();
    let rule = Some(("app in (web,db)", "", true));
    for number in [1, 2] {
        assert!(made(&mut ledger, labelled(number, "quiet", rule)).host.is_some());
    }
    let number_of = |app: &str| match app {
        "web" => 3,
        "db" => 4,
        _ => 5,
    };
    let waits =
        |ledger: &mut Ledger, app: &str| made(ledger, labelled(number_of(app), app, None)).pending;
    let kept_apart = Some(NoHost::NoneMeetsAffinity);
    let found = ["web", "db", "cache"].map(|app| waits(&mut ledger, app));
    assert_eq!(found, [kept_apart, kept_apart, None]);
    for (number, left) in [(1, 2), (2, 0)] {
        make(&mut ledger, delete(&format!("quiet-{number}"))).expect("deleting");
        make(&mut ledger, AnyMutation::Forget(Forget { vm: vm_id(number) })).expect("forgotten");
        make(&mut ledger, AnyMutation::PlacePending(PlacePending)).expect("searched");
        assert_eq!(ledger.pending_count(), left);
    }
}

#[test]
fn only_rules_that_may_be_about_a_vm_are_looked_at() {
    let mut ledger = with_host();
    for number in 0..10 {
        let selector = format!("app=a{number},zone!=x");
        made(&mut ledger, labelled(number, "quiet", Some((selector.as_str(), "", true))));
    }
    let labels = |app: &str| Labels::from([("app".to_owned(), app.to_owned())]);
    let about = |app| {
        ledger
            .peer_index
            .rules_looked_at(&crate::model::project::ProjectName::default(), &labels(app))
    };
    assert_eq!(["a3", "b", "quiet"].map(about), [1, 0, 0]);
}

#[test]
fn those_that_want_to_be_together_follow_the_first() {
    let mut ledger = ten_hosts();
    for host in 1..=10 {
        zone(&mut ledger, host, ["a", "b", "c"][usize::try_from(host % 3).expect("small")]);
    }
    let together = Some(("app=db", "zone", false));
    let vms: Vec<_> = (0..9).map(|n| made(&mut ledger, labelled(n, "db", together))).collect();
    let zones: BTreeSet<_> = vms
        .iter()
        .map(|vm| {
            ledger.host(&HostRef::Id(vm.host.expect("placed"))).expect("there").labels.clone()
        })
        .collect();
    assert_eq!(zones.len(), 1);
    assert!(vms.iter().map(|vm| vm.host).collect::<BTreeSet<_>>().len() > 1, "within the zone");
    let alone = made(&mut ledger, labelled(20, "web", Some(("app=cache", "", false))));
    assert_eq!(alone.pending, Some(NoHost::NoneMeetsAffinity));
    made(&mut ledger, labelled(21, "cache", None));
    let one = Ok(Outcome::Placed { placed: 1, pending: 0, rest_after: None });
    assert_eq!(make(&mut ledger, AnyMutation::PlacePending(PlacePending)), one);
}

#[test]
fn rules_are_about_vms_of_the_same_project_alone() {
    let mut ledger = with_host();
    let web = made(&mut ledger, labelled(1, "web", Some(("app=web", "", true))));
    let another = VmIntent { id: vm_id(2), host: None, net: None, ..VmIntent::clone(&web) };
    assert_eq!(ledger.evaluate(&another).chosen, Err(NoHost::NoneMeetsAffinity));
    let theirs = VmIntent { project: project("lab"), ..another };
    assert_eq!(ledger.evaluate(&theirs).chosen, Ok(host_id(1)));
}

#[test]
fn a_vm_that_is_evaluated_does_not_keep_itself_away() {
    let mut ledger = with_host();
    let web = made(&mut ledger, labelled(1, "web", Some(("app=web", "", true))));
    assert_eq!(ledger.evaluate(&web).chosen, Ok(host_id(1)));
    let other = made(&mut ledger, labelled(2, "web", None));
    assert_eq!(other.pending, Some(NoHost::NoneMeetsAffinity));
}

#[test]
fn a_host_is_booked_by_its_own_overcommit() {
    let mut ledger = with_host();
    let exactly = |vcpus| UpdateHost {
        host: HostRef::Id(host_id(1)),
        etag: None,
        labels: LabelChange::Some { put: Labels::default(), remove: BTreeSet::new() },
        agent_address: None,
        vcpu_overcommit: Some(vcpus),
        memory_overcommit: None,
        accepted: None,
    };
    make(&mut ledger, AnyMutation::UpdateHost(exactly(Some(1000)))).expect("changed");
    let placed = |ledger: &mut Ledger, numbers: std::ops::Range<u128>| {
        let vms = numbers.map(|number| add_vm(ledger, number, &format!("vm-{number}")));
        vms.filter(|vm| vm.host.is_some()).count()
    };
    assert_eq!(placed(&mut ledger, 0..6), 4, "one for each vCPU");
    make(&mut ledger, AnyMutation::UpdateHost(exactly(None))).expect("changed");
    make(&mut ledger, AnyMutation::PlacePending(PlacePending)).expect("searched");
    assert_eq!(ledger.pending_count(), 0);
    assert_eq!(placed(&mut ledger, 6..20), 10, "four for each again");
}

#[test]
fn a_pool_is_for_those_who_ask_for_it_and_they_go_nowhere_else() {
    let mut ledger = with_host();
    add_host(&mut ledger, 2, "two");
    let pool = |ledger: &mut Ledger, host: u128, pool: &str| {
        let labels = [(crate::model::placement::POOL_LABEL.to_owned(), pool.to_owned())].into();
        let update = UpdateHost {
            host: HostRef::Id(host_id(host)),
            etag: None,
            labels: LabelChange::Whole(labels),
            agent_address: None,
            vcpu_overcommit: None,
            memory_overcommit: None,
            accepted: None,
        };
        make(ledger, AnyMutation::UpdateHost(update)).expect("labelled");
    };
    pool(&mut ledger, 2, "gpu");
    let of = |number, pool: &str| {
        let spec = spec_with(|draft| draft.pool = pool.to_owned());
        CreateVm { spec, ..create(number, &format!("vm-{number}")) }
    };
    for number in 1..=3 {
        assert_eq!(made(&mut ledger, of(number, "")).host, Some(host_id(1)));
    }
    assert_eq!(made(&mut ledger, of(4, "gpu")).host, Some(host_id(2)));
    assert_eq!(made(&mut ledger, of(5, "ssd")).pending, Some(NoHost::NoneMatches));
}

#[test]
fn the_same_rule_twice_does_not_keep_its_own_vm_away() {
    let mut ledger = with_host();
    let mut create = labelled(1, "web", None);
    create.spec = spec_with(|draft| {
        drop(draft.labels.insert("app".to_owned(), "web".to_owned()));
        let rule = AffinityDraft {
            vm_selector: "app=web".to_owned(),
            anti: true,
            ..AffinityDraft::default()
        };
        draft.affinity = vec![rule.clone(), rule];
    });
    let web = made(&mut ledger, create);
    assert_eq!(ledger.evaluate(&web).chosen, Ok(host_id(1)));
    let other = made(&mut ledger, labelled(2, "web", None));
    assert_eq!(other.pending, Some(NoHost::NoneMeetsAffinity));
}

#[test]
fn nobody_follows_a_vm_that_is_being_deleted_and_it_is_stayed_apart_from_until_it_is_gone() {
    let mut ledger = with_host();
    made(&mut ledger, labelled(1, "db", None));
    make(&mut ledger, delete("db-1")).expect("deleting");
    let follower = made(&mut ledger, labelled(2, "web", Some(("app=db", "", false))));
    assert_eq!(follower.pending, Some(NoHost::NoneMeetsAffinity));
    let apart = made(&mut ledger, labelled(3, "cache", Some(("app=db", "", true))));
    assert_eq!(apart.pending, Some(NoHost::NoneMeetsAffinity), "its guest may still run");
}
