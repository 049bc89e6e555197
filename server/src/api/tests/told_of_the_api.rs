//! What callers of a project are told of hosts, and of others on them: nothing.

use super::*;
use crate::fleet::observed::FleetSink as _;
use crate::model::caller::ProjectRole;
use crate::model::fixtures::{caller_of, join, project, project_record, token};
use crate::model::history::{EventKind, HistoryEvent};
use crate::model::host::{HostHealth, HostState};
use crate::model::image::StoredKind;
use crate::model::intent::VmIntent;
use crate::model::ledger::{CreateJoinToken, CreateProject, PutImage, Record};
use crate::model::observed::{Fault, Phase};
use crate::testing::{facts, health, host_id, host_record, intent, seen, vm_id};

fn by<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = asked(message);
    request.extensions_mut().insert(caller.clone());
    request
}

#[tokio::test]
async fn what_a_host_says_of_others_is_for_callers_of_the_fleet_alone() {
    const WORDS: &str = "address 10.64.0.77 is that of VM 0192beef; 4096 bytes are free";
    const TOLD: [&str; 4] = ["10.64.0.77", "0192beef", "4096 bytes", "192.0.2.7"];
    let fixture = fixture().await;
    let view = &fixture.api.view;
    let of_shop = VmIntent { project: project("shop"), ..intent(1) };
    view.committed(&[Change::put(host_record(1)), Change::put(Arc::new(of_shop))]);
    view.host_facts(host_id(1), Arc::new(facts()));
    let mut failed = seen(Phase::Failed, 1);
    failed.fault = Some(Fault {
        reason: "ADDRESS_IN_USE".to_owned(),
        step: "pin the guest".to_owned(),
        message: WORDS.to_owned(),
        left_behind: vec!["a pin of VM 0192beef".to_owned()],
        retrying: true,
    });
    let listed = [(vm_id(1), failed)].into_iter().collect();
    let message = "the agent at 192.0.2.7:7072 was slow".to_owned();
    let online = HostHealth { message, ..health(HostState::Online) };
    view.inventory(host_id(1), listed, online);
    let event = HistoryEvent {
        vm: vm_id(1),
        generation: banger_proto::ids::Generation(1),
        kind: EventKind::Entered(crate::model::status::VmState::Failed),
        reason: "ADDRESS_IN_USE".to_owned(),
        message: WORDS.to_owned(),
        actor: "host b1".to_owned(),
        at: at(1),
    };
    let recorder = crate::model::fixtures::caller();
    let kept = fixture.api.store.submit(recorder.clone(), Record { events: vec![event] }).await;
    kept.expect("kept");
    let vm = || vm_id(1).to_string();
    let project_callers = ProjectRole::ALL.map(|role| (caller_of("shop", role), false));
    for (caller, sees) in project_callers.into_iter().chain([(recorder, true)]) {
        let vms = &fixture.vms;
        let get = by(&caller, v1::GetVmRequest { vm: vm() });
        let got = vms.get_vm(get).await.expect("there").into_inner();
        assert_eq!(got.status.as_ref().map(|status| &*status.reason), Some("ADDRESS_IN_USE"));
        let list = by(&caller, v1::ListVmsRequest::default());
        let explain = by(&caller, v1::ExplainVmRequest { vm: vm() });
        let events = by(&caller, v1::ListVmEventsRequest { vm: vm(), ..Default::default() });
        let wait = by(&caller, v1::WaitVmRequest { vm: vm(), ..Default::default() });
        let copy = by(&caller, v1::CopyFromVmRequest { vm: vm(), path: "/etc".to_owned() });
        let answers = [
            format!("{got:?}"),
            format!("{:?}", vms.list_vms(list).await.expect("listed")),
            format!("{:?}", vms.explain_vm(explain).await.expect("explained")),
            format!("{:?}", vms.list_vm_events(events).await.expect("a history")),
            format!("{:?}", vms.wait_vm(wait).await.expect("failed")),
            format!("{:?}", vms.copy_from_vm(copy).await.err().expect("it does not run")),
        ];
        for answer in &answers {
            let told: Vec<_> = TOLD.iter().filter(|words| answer.contains(**words)).collect();
            assert_eq!(!told.is_empty(), sees, "{}: {told:?} in {answer}", caller.actor);
        }
    }
}

#[tokio::test]
async fn a_create_that_only_asks_names_no_host_and_no_address_to_a_project() {
    let fixture = fixture().await;
    let admin = crate::model::fixtures::caller();
    let store = &fixture.api.store;
    store.submit(admin.clone(), CreateProject(project_record("shop"))).await.expect("made");
    for (name, kind) in [("vmlinux", StoredKind::Kernel), ("root.ext4", StoredKind::Root)] {
        let (image, _) = crate::testing::image(name, kind, name.as_bytes());
        let put = PutImage { image, replace: false, public: Some(true) };
        store.submit(admin.clone(), put).await.expect("stored");
    }
    store.submit(admin.clone(), CreateJoinToken(token("t"))).await.expect("kept");
    let host = store.submit(admin.clone(), join(1, "t", "one")).await.expect("joined");
    let room = Resources { vcpus: 8, memory_mib: 8192, disk_mib: 1 << 20, guests: 100 };
    store.set_capacity(host.id, Some(room), true);
    let developer = caller_of("shop", ProjectRole::Developer);
    for (caller, sees) in [(admin, true), (developer, false)] {
        let request = v1::CreateVmRequest { validate_only: true, ..named("web") };
        let answer = fixture.vms.create_vm(by(&caller, request)).await.expect("it could be made");
        let status = answer.into_inner().status.expect("it has one");
        assert_eq!(status.host_id == host.id.to_string(), sees, "{status:?}");
        for hint in [&status.host_id, &status.host_name, &status.guest_address, &status.mac_address]
        {
            assert_eq!(!hint.is_empty(), sees, "{status:?}");
        }
    }
}
