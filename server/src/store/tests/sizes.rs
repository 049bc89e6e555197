//! What hosts count as at most, over restarts and restores.

use super::*;
use crate::model::capacity::AcceptedCapacity;
use crate::model::host::Resources;
use crate::model::labels::LabelChange;
use crate::model::ledger::{KeepFirstCapacities, UpdateHost};

fn said(vcpus: u32) -> Resources {
    Resources { vcpus, memory_mib: 4096, disk_mib: 1 << 20, guests: 1000 }
}

async fn accept(fixture: &Fixture, host: u128, vcpus: u32) {
    let update = UpdateHost {
        host: HostRef::Id(host_id(host)),
        etag: None,
        labels: LabelChange::Some { put: Default::default(), remove: Default::default() },
        agent_address: None,
        vcpu_overcommit: None,
        memory_overcommit: None,
        accepted: Some(AcceptedCapacity { vcpus: Some(vcpus), ..Default::default() }),
    };
    fixture.store.submit(caller(), update).await.expect("accepted");
}

#[tokio::test]
async fn what_a_host_said_first_and_what_was_accepted_stand_over_a_restart() {
    let fixture = fixture().await;
    for number in [1, 2] {
        let name = format!("host-{number}");
        fixture.make(CreateJoinToken(token(&name)).into()).await.expect("kept");
        fixture.make(join(number, &name, &name).into()).await.expect("joined");
        fixture.store.set_capacity(host_id(number), Some(said(4)), true);
    }
    accept(&fixture, 2, 8).await;
    fixture.store.submit(caller(), KeepFirstCapacities).await.expect("kept");
    let first = fixture.store.host(&HostRef::Id(host_id(1))).expect("there").first_capacity;
    assert!(first.is_whole());

    let (open, directory) = fixture.reopened().await;
    let fixture = started(open, directory);
    let record = |number| fixture.store.host(&HostRef::Id(host_id(number))).expect("there");
    assert_eq!((record(1).ceiling(), record(1).accepted), (first, AcceptedCapacity::default()));
    assert_eq!(
        record(2).ceiling(),
        AcceptedCapacity { vcpus: Some(8), ..record(2).first_capacity }
    );
    // The first that it says in this life is not the first that it has said.
    fixture.store.set_capacity(host_id(1), Some(said(60_000)), true);
    assert!(!fixture.store.has_first_capacities());
    let spec = crate::model::fixtures::spec_with(|draft| draft.vcpus = 32);
    fixture.make(CreateVm { spec, ..create(1, "large") }.into()).await.expect("stored");
    let large = fixture.store.vm(&VmRef::Id(vm_id(1))).expect("there");
    assert_eq!(large.host, None, "{large:?}");
}

#[tokio::test]
async fn a_host_that_counts_for_less_since_the_backup_counts_for_no_more_after_it() {
    let fixture = fixture().await;
    for number in [1, 2] {
        fixture.add_host(number, &format!("host-{number}")).await;
        accept(&fixture, number, 64).await;
    }
    fixture.store.submit(caller(), KeepFirstCapacities).await.expect("kept");
    let copy = fixture.backup("copy").await;
    accept(&fixture, 1, 2).await;
    accept(&fixture, 2, 128).await;
    fixture.store.close().await;
    let path = database(&fixture.directory);
    let restored = restore(&path, &copy, at(10), RestoreTerms::default()).await.expect("restored");
    assert_eq!(restored.shut_out.smaller_hosts, ["host-1"]);
    let open = open_in(&fixture.directory).await;
    let accepted: Vec<_> = open.hosts().map(|host| host.accepted.vcpus).collect();
    assert_eq!(accepted, [Some(2), Some(64)]);
}
