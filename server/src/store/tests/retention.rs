//! What is too old goes, in steps with a bound, and nothing else does.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::model::request::{RequestId, RequestKey};
use crate::model::retention::Retention;

const HOUR: Duration = Duration::from_secs(3600);

const KEEP: Retention = Retention {
    deleted_history: HOUR,
    deleted_ids: HOUR.saturating_mul(3),
    requests: HOUR.saturating_mul(2),
    sweeps: HOUR.saturating_mul(4),
    audit: HOUR.saturating_mul(5),
};

impl Fixture {
    async fn tidy(&self, hours: i64) -> Tidied {
        let mut all = Tidied::default();
        for _ in 0..100 {
            let step = self.store.tidy(KEEP, at(hours * 3600)).await.expect("tidied");
            all.rows += step.rows;
            if !step.more {
                return all;
            }
            all.more = true;
        }
        panic!("it does not come to an end: {all:?}");
    }

    async fn lines(&self, vm: u128) -> usize {
        self.store.vm_events(vm_id(vm), 0, 100).await.expect("readable").len()
    }

    /// Deletes a VM that no host ever held.
    async fn delete_at(&self, vm: u128, hours: i64) {
        let delete = DeleteVm { vm: VmRef::Id(vm_id(vm)), etag: None };
        let caller = caller().at(at(hours * 3600));
        self.store.submit(caller, delete).await.expect("deleted");
    }
}

#[tokio::test]
async fn of_a_deleted_vm_its_history_goes_first_and_its_id_after_the_stated_time() {
    let fixture = fixture().await;
    for vm in [1, 2, 3] {
        fixture.add_vm(vm, &format!("vm-{vm}")).await;
    }
    fixture.delete_at(1, 0).await;
    fixture.delete_at(2, 1).await;
    assert_eq!(fixture.tidy(0).await.rows, 0);
    fixture.tidy(1).await;
    assert_eq!(fixture.lines(1).await, 0);
    assert!(fixture.lines(2).await > 0 && fixture.lines(3).await > 0);
    assert!(fixture.store.was_deleted(vm_id(1)).await.expect("readable"));
    let again = fixture.make(AnyMutation::CreateVm(create(1, "vm-1"))).await;
    let refused = matches!(again, Err(MutateError::Refused(Refusal::VmIdUsedUp { .. })));
    assert!(refused, "{again:?}");
    fixture.tidy(3).await;
    assert!(!fixture.store.was_deleted(vm_id(1)).await.expect("readable"));
    assert!(fixture.store.was_deleted(vm_id(2)).await.expect("readable"));
    // And from then on the first one's is as good as any.
    fixture.make(AnyMutation::CreateVm(create(1, "again"))).await.expect("it is not refused");
    let again = fixture.make(AnyMutation::CreateVm(create(2, "again-2"))).await;
    let refused = matches!(again, Err(MutateError::Refused(Refusal::VmIdUsedUp { .. })));
    assert!(refused, "{again:?}");
    // What is there is never too old, and what is gone stays gone over a restart.
    let (open, directory) = fixture.reopened().await;
    let fixture = started(open, directory);
    fixture.tidy(1000).await;
    assert!(fixture.lines(3).await > 0);
    assert_eq!(fixture.lines(2).await, 0);
    assert_eq!(fixture.tidy(1000).await.rows, 0);
}

#[tokio::test]
async fn many_deleted_vms_go_in_many_small_steps_between_which_mutations_are_answered() {
    let fixture = fixture().await;
    for vm in 1..=350 {
        fixture.add_vm(vm, &format!("vm-{vm}")).await;
        let delete = DeleteVm { vm: VmRef::Id(vm_id(vm)), etag: None };
        let time = at(0) + Duration::from_millis(u64::try_from(vm).expect("few"));
        fixture.store.submit(caller().at(time), delete).await.expect("deleted");
    }
    let mut steps = Vec::new();
    loop {
        let step = fixture.store.tidy(KEEP, at(2 * 3600)).await.expect("tidied");
        steps.push(step.rows);
        fixture.add_vm(1000 + u128::try_from(steps.len()).expect("few"), "").await;
        if !step.more {
            break;
        }
    }
    // 100, 100, 100 and 50 VMs, four lines each: created, unplaced, asked to go, gone.
    assert_eq!(steps, [400, 400, 400, 200]);
}

#[tokio::test]
async fn requests_and_sweeps_go_by_their_age() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    fixture.add_vm(1, "web").await;
    let key = |number| RequestKey { id: RequestId(Uuid::from_u128(number)), fingerprint: [1; 32] };
    let pause = |number: u128, hours: i64| {
        let asked = SetPower { vm: VmRef::Id(vm_id(1)), etag: None, power: Power::Pause };
        fixture.store.submit_once(caller().at(at(hours * 3600)), Some(key(number)), asked)
    };
    pause(1, 0).await.expect("paused");
    pause(2, 1).await.expect("paused");
    let sweep = |number: u128, hours: i64| {
        let record = crate::model::inventory::SweepRecord {
            id: Uuid::from_u128(number),
            host: host_id(1),
            at: at(hours * 3600),
            actor: "alice".to_owned(),
            removed: 0,
            kept: 0,
            failed: 0,
            message: String::new(),
        };
        fixture.store.submit(caller(), RecordSweep(record))
    };
    sweep(1, 0).await.expect("written");
    sweep(2, 1).await.expect("written");
    assert_eq!(fixture.tidy(2).await.rows, 1, "the first request");
    assert_eq!(fixture.tidy(4).await.rows, 2, "the other request and the first sweep");
    let left = fixture.store.host_sweeps(host_id(1), 10).await.expect("readable");
    assert_eq!(left.iter().map(|sweep| sweep.at).collect::<Vec<_>>(), [at(3600)]);
    // What was forgotten is a new request.
    let start =
        SetPower { vm: VmRef::Id(vm_id(1)), etag: None, power: Power::Start { again: false } };
    let other = RequestKey { fingerprint: [2; 32], ..key(1) };
    fixture.store.submit_once(caller(), Some(other), start).await.expect("a new one");
}
