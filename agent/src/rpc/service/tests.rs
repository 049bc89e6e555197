use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use banger_proto::agent_v1::observe_response::Event;
use banger_proto::ids::{Epoch, Generation, HostId, Version};
use parking_lot::Mutex;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::guests::{GuestClient, NoGuest};
use crate::host::{
    Announced, Capacity, Change, HostError, HostErrorKind, HostResult, ImageName, Receiving,
};
use crate::inventory::sweep::{Asker, Listed, Policy, SweepSettings, Swept};
use crate::report::Reporter;
use crate::rpc::{HostFacts, VmConsole};

struct FakeApi {
    answer: Mutex<Result<Assigned, NotAssigned>>,
    reporter: Reporter,
    draining: CancellationToken,
}

#[async_trait]
impl AgentApi for FakeApi {
    async fn assign(&self, _offered: Assignment) -> Result<Assigned, NotAssigned> {
        self.answer.lock().clone()
    }

    async fn host_facts(&self) -> HostFacts {
        HostFacts {
            host: HostId::from_uuid(uuid::Uuid::from_u128(7)),
            boot_id: "b".to_owned(),
            agent_epoch: 3,
            simulated: true,
            vmm: "simulated".to_owned(),
            root_disks: "snapshot".to_owned(),
            kernel_release: "6.1".to_owned(),
            capacity: Capacity { vcpus: 4, memory_mib: 1024, disk_mib: 1024 },
            images: Vec::new(),
            heartbeat_interval: Duration::from_secs(2),
            certificate: None,
        }
    }

    async fn inventory(&self, _claimed: BTreeSet<VmId>) -> HostResult<(Vec<Listed>, Policy)> {
        Err(HostError::new(HostErrorKind::Other, "list", "taps"))
    }

    async fn sweep(&self, asker: Asker, dry_run: bool) -> HostResult<(Vec<Swept>, Policy)> {
        assert!(dry_run, "the tests below ask for no other");
        let settings = SweepSettings::default();
        let Asker::People { actor, claimed } = asker else { panic!("the timer has no RPC") };
        assert_eq!((actor.as_str(), claimed.len()), ("ann", 1));
        Ok((Vec::new(), Policy { settings, budget_left: 7 }))
    }

    async fn receive_image(&self, _announced: Announced) -> HostResult<Option<Receiving>> {
        Ok(None)
    }

    async fn remove_image(&self, _name: &ImageName) -> HostResult<Change> {
        Ok(Change::AlreadySo)
    }

    fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    async fn server_seen(&self, _name: &str, _epoch: Epoch) {}

    async fn console(&self, _vm: VmId, _past: u64) -> HostResult<Option<VmConsole>> {
        Ok(None)
    }

    async fn type_in(&self, _vm: VmId, _bytes: &[u8]) -> HostResult<()> {
        Ok(())
    }

    fn guest(&self, _vm: VmId) -> Option<Result<GuestClient, NoGuest>> {
        Some(Err(NoGuest::NeverHeard))
    }

    fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }
}

fn version(generation: u64) -> Version {
    Version { epoch: Epoch(1), generation: Generation(generation) }
}

fn rpc(answer: Result<Assigned, NotAssigned>) -> (Arc<FakeApi>, AgentRpc<FakeApi>) {
    let api = Arc::new(FakeApi {
        answer: Mutex::new(answer),
        reporter: Reporter::default(),
        draining: CancellationToken::new(),
    });
    (Arc::clone(&api), AgentRpc::new(api))
}

fn delete() -> wire::DeleteVmRequest {
    wire::DeleteVmRequest {
        vm_id: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".to_owned(),
        version: Some(wire::Version { epoch: 1, generation: 4 }),
        ..wire::DeleteVmRequest::default()
    }
}

#[tokio::test]
async fn a_stale_version_is_refused_and_says_what_was_seen() {
    let (_, rpc) = rpc(Ok(Assigned::Stale(version(9))));
    let error = rpc.delete_vm(Request::new(delete())).await.expect_err("stale");
    assert_eq!(error.code(), Code::FailedPrecondition);
    let info = error.get_details_error_info().expect("has one");
    assert_eq!(info.reason, "STALE_GENERATION");
    assert_eq!(info.metadata["seen_epoch"], "1");
    assert_eq!(info.metadata["seen_generation"], "9");
}

#[tokio::test]
async fn deleting_what_is_not_there_succeeds_and_says_so() {
    let (_, rpc) = rpc(Ok(Assigned::Absent));
    let answer = rpc.delete_vm(Request::new(delete())).await.expect("absent").into_inner();
    assert!(answer.absent);
}

#[tokio::test]
async fn one_bad_assignment_does_not_refuse_the_others() {
    let (_, rpc) = rpc(Ok(Assigned::Accepted(version(4))));
    let bad = wire::Assignment { vm_id: "x".to_owned(), ..wire::Assignment::default() };
    let good = wire::Assignment {
        vm_id: delete().vm_id,
        version: delete().version,
        desired: wire::Power::Absent.into(),
        ..wire::Assignment::default()
    };
    let request = wire::ReconcileRequest { assignments: vec![bad, good] };
    let answer = rpc.reconcile(Request::new(request)).await.expect("answered").into_inner();
    assert!(answer.results[0].error.contains("assignment.vm_id"), "{answer:?}");
    assert_eq!(answer.results[1].accepted, delete().version);
}

#[tokio::test]
async fn a_full_disk_is_an_answer_with_its_reason_alone_and_among_others() {
    let (_, rpc) = rpc(Err(NotAssigned::DiskFull("no space left on device".to_owned())));
    let error = rpc.delete_vm(Request::new(delete())).await.expect_err("full");
    assert_eq!(error.code(), Code::ResourceExhausted, "not UNAVAILABLE: the agent answers");
    assert_eq!(error.get_details_error_info().expect("has one").reason, "DISK_FULL");
    assert!(error.message().contains("no space left on device"), "{error}");
    let absent = wire::Assignment {
        vm_id: delete().vm_id,
        version: delete().version,
        desired: wire::Power::Absent.into(),
        ..wire::Assignment::default()
    };
    let request = wire::ReconcileRequest { assignments: vec![absent] };
    let answer = rpc.reconcile(Request::new(request)).await.expect("answered").into_inner();
    assert_eq!(answer.results[0].reason, "DISK_FULL");
    assert!(answer.results[0].error.contains("no space left on device"), "{answer:?}");
}

#[tokio::test]
async fn a_sweep_says_who_asked_and_what_the_server_claims_and_answers_the_policy() {
    let (_, rpc) = rpc(Ok(Assigned::Absent));
    let request = wire::SweepRequest {
        dry_run: true,
        claimed_vm_ids: vec![delete().vm_id],
        actor: "ann".to_owned(),
    };
    let answer = rpc.sweep(Request::new(request)).await.expect("answered").into_inner();
    let policy = answer.policy.expect("has one");
    assert_eq!((policy.budget_left, policy.budget_per_hour, policy.automatic), (7, 200, true));
    assert_eq!(policy.grace.expect("has one").seconds, 60);
    let bad = wire::SweepRequest {
        claimed_vm_ids: vec!["../etc".to_owned()],
        ..wire::SweepRequest::default()
    };
    let error = rpc.sweep(Request::new(bad)).await.expect_err("no id");
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_host_that_cannot_be_read_has_no_inventory_rather_than_a_shorter_one() {
    let (_, rpc) = rpc(Ok(Assigned::Absent));
    let request = Request::new(wire::ListObjectsRequest::default());
    let Err(error) = rpc.list_objects(request).await else { panic!("the host is unreadable") };
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("taps"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_facts_then_inventory_then_heartbeats_numbered_without_gap() {
    let (api, rpc) = rpc(Ok(Assigned::Absent));
    let request = Request::new(wire::ObserveRequest::default());
    let mut stream = rpc.observe(request).await.expect("starts").into_inner();
    let mut kinds = Vec::new();
    for expected in 1..=4 {
        let message = stream.next().await.expect("goes on").expect("no error");
        assert_eq!(message.sequence, expected);
        kinds.push(match message.event.expect("has one") {
            Event::Host(facts) => format!("host of agent life {}", facts.agent_epoch),
            Event::Inventory(part) => format!("inventory, last {}", part.last),
            Event::Vm(_) | Event::Gone(_) => "change".to_owned(),
            Event::Heartbeat(_) => "heartbeat".to_owned(),
        });
    }
    assert_eq!(kinds, ["host of agent life 3", "inventory, last true", "heartbeat", "heartbeat"]);
    api.draining.cancel();
    let error = loop {
        match stream.next().await.expect("ends with a status") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::Unavailable);
}
