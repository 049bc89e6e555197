//! What hosts and VMs say of placement, over restarts.

use super::*;
use crate::model::affinity::AffinityDraft;
use crate::model::fixtures::spec_with;
use crate::model::labels::LabelChange;
use crate::model::ledger::UpdateHost;
use crate::model::placement::{HostOvercommit, NoHost, Strategy};

#[tokio::test]
async fn the_overcommit_of_a_host_and_the_rules_of_vms_are_there_after_a_restart() {
    let fixture = fixture().await;
    fixture.add_host(1, "one").await;
    let host = host_id(1);
    let set = UpdateHost {
        host: HostRef::Id(host),
        etag: None,
        labels: LabelChange::Whole([("zone".to_owned(), "a".to_owned())].into()),
        agent_address: None,
        vcpu_overcommit: Some(Some(2500)),
        memory_overcommit: None,
        accepted: None,
    };
    fixture.make(set.into()).await.expect("changed");
    let spec = spec_with(|draft| {
        draft.placement_strategy = Some(Strategy::Pack);
        draft.priority = 7;
        draft.pool = "gpu".to_owned();
        draft.affinity.push(AffinityDraft {
            vm_selector: "app in (web,db)".to_owned(),
            topology: "zone".to_owned(),
            anti: true,
            weight: 3,
            ..AffinityDraft::default()
        });
    });
    let create = CreateVm { spec: Arc::clone(&spec), ..create(1, "web") };
    fixture.make(create.into()).await.expect("created");

    let (open, directory) = fixture.reopened().await;
    let fixture = started(open, directory);
    let record = fixture.store.host(&HostRef::Id(host)).expect("there");
    let own = HostOvercommit { vcpus_milli: Some(2500), memory_milli: None };
    assert_eq!(record.overcommit, own);
    let web = fixture.store.vm(&VmRef::Id(vm_id(1))).expect("there");
    assert_eq!((&web.spec, web.pending), (&spec, Some(NoHost::NoneMatches)));
}
