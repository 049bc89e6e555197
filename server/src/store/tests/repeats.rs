//! Whatever is asked, whenever an answer is lost and the server restarted: a repetition finds its
//! own success, and changes nothing.

use std::time::Duration;

use banger_proto::ids::VmId;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::ledger::{HostRef, NewSpec, SetCordon, UpdateVm};
use crate::model::request::RequestId;

const VMS: u128 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// A new request for one VM; with its present etag, or without.
    Ask {
        vm: u128,
        what: u8,
        etag: bool,
    },
    /// One of before again, whichever that number means.
    Repeat(usize),
    /// The host has nothing of a VM any more.
    Forget(u128),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..=VMS, 0..7_u8, any::<bool>())
            .prop_map(|(vm, what, etag)| Step::Ask { vm, what, etag }),
        5 => any::<usize>().prop_map(Step::Repeat),
        1 => (1..=VMS).prop_map(Step::Forget),
        1 => Just(Step::Restart),
    ]
}

/// What is asked, with a key of its own.
fn asked(
    store: &Store,
    number: usize,
    vm: u128,
    what: u8,
    etag: bool,
) -> (RequestKey, AnyMutation) {
    let id = RequestId(Uuid::from_u128(0xabc_0000 + number as u128));
    let key = RequestKey { id, fingerprint: [what; 32] };
    let present = store.vm(&VmRef::Id(vm_id(vm)));
    let etag = present.as_ref().filter(|_| etag).map(|intent| intent.etag());
    let vm = VmRef::Id(vm_id(vm));
    let grace = Duration::from_secs(1);
    let power = |power| SetPower { vm: vm.clone(), etag: etag.clone(), power }.into();
    let mutation = match what {
        0 => power(Power::Reboot { grace, reset_root_disk: false }),
        1 => power(Power::Stop { grace }),
        2 => power(Power::Start { again: false }),
        3 => power(Power::Pause),
        4 => {
            let spec = spec_with(|draft| {
                draft.labels.insert("told".to_owned(), number.to_string());
            });
            UpdateVm { vm, etag, spec: NewSpec::Whole(spec), allow_restart: true }.into()
        }
        5 => DeleteVm { vm, etag }.into(),
        _ => {
            let host = HostRef::Name("one".to_owned());
            SetCordon { host, etag: None, cordoned: number.is_multiple_of(2) }.into()
        }
    };
    (key, mutation)
}

/// All that is wanted, to be compared.
fn wanted(store: &Store) -> Vec<Option<Arc<VmIntent>>> {
    (1..=VMS).map(|vm| store.vm(&VmRef::Id(vm_id(vm)))).collect()
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut fixture = fixture().await;
    fixture.add_host(1, "one").await;
    for vm in 1..=VMS {
        fixture.add_vm(vm, &format!("vm-{vm}")).await;
    }
    let mut done: Vec<(RequestKey, AnyMutation)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Ask { vm, what, etag } => {
                let (key, mutation) = asked(&fixture.store, number, vm, what, etag);
                let answer = fixture.store.submit_once(caller(), Some(key), mutation.clone()).await;
                if answer.is_ok() {
                    done.push((key, mutation));
                }
            }
            Step::Repeat(_) if done.is_empty() => {}
            Step::Repeat(which) => {
                let (key, mutation) = done[which % done.len()].clone();
                let before = wanted(&fixture.store);
                let host = fixture.store.host(&HostRef::Name("one".to_owned()));
                fixture.published.lock().clear();
                let answer = fixture.store.submit_once(caller(), Some(key), mutation.clone()).await;
                let recognized = matches!(
                    answer,
                    Ok(Outcome::Vm { changed: false, .. } | Outcome::Host(_))
                        | Err(MutateError::Refused(Refusal::DoneAndGone { .. }))
                );
                prop_assert!(recognized, "{mutation:?}: {answer:?}");
                prop_assert_eq!(wanted(&fixture.store), before);
                prop_assert_eq!(fixture.store.host(&HostRef::Name("one".to_owned())), host);
                prop_assert!(fixture.published.lock().is_empty());
                // The same id for something else is nobody's success.
                let other = RequestKey { fingerprint: [99; 32], ..key };
                let refused = fixture.store.submit_once(caller(), Some(other), mutation).await;
                let taken =
                    matches!(refused, Err(MutateError::Refused(Refusal::RequestIdTaken { .. })));
                prop_assert!(taken, "{refused:?}");
            }
            Step::Forget(vm) => {
                let _ = fixture.store.submit(caller(), Forget { vm: vm_id(vm) }).await;
            }
            Step::Restart => {
                let (open, directory) = fixture.reopened().await;
                fixture = started(open, directory);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: 24, ..ProptestConfig::default()
    })]

    #[test]
    fn a_repetition_finds_its_own_success_and_changes_nothing_over_restarts(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(run(steps))?;
    }
}

#[tokio::test]
async fn a_repetition_in_one_group_with_the_first_is_known_and_of_another_object_refused() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    let first = fixture.add_vm(1, "web").await;
    fixture.add_vm(2, "db").await;
    let key = RequestKey { id: RequestId(Uuid::from_u128(7)), fingerprint: [1; 32] };
    let power = Power::Reboot { grace: Duration::from_secs(1), reset_root_disk: false };
    let reboot = |vm| SetPower { vm, etag: None, power };
    let by_name = || reboot(crate::model::fixtures::vm_named("web"));
    let ask = |mutation| fixture.store.submit_once(caller(), Some(key), mutation);
    let by_id = reboot(VmRef::Id(vm_id(1)));
    let (one, two, three) = tokio::join!(ask(by_name()), ask(by_name()), ask(by_id));
    let answers = [one, two, three].map(|answer| answer.expect("done").intent.boot_number);
    assert_eq!(answers, [first.boot_number + 1; 3]);
    let other = ask(reboot(VmRef::Id(vm_id(2)))).await;
    let taken = matches!(other, Err(MutateError::Refused(Refusal::RequestIdTaken { .. })));
    assert!(taken, "{other:?}");
}

#[tokio::test]
async fn what_was_refused_is_not_remembered() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    let key = RequestKey { id: RequestId(Uuid::from_u128(7)), fingerprint: [1; 32] };
    let stop = |vm: VmId| {
        let power = Power::Stop { grace: Duration::ZERO };
        fixture.store.submit_once(
            caller(),
            Some(key),
            SetPower { vm: VmRef::Id(vm), etag: None, power },
        )
    };
    let missing = stop(vm_id(1)).await;
    let not_found = matches!(missing, Err(MutateError::Refused(Refusal::VmNotFound(_))));
    assert!(not_found, "{missing:?}");
    fixture.add_vm(1, "web").await;
    assert!(stop(vm_id(1)).await.expect("done").changed);
}
