//! Objects of a host through the public API, and its sweeps, over the real link.

use banger_proto::agent_v1 as wire;
use tonic_types::StatusExt as _;

use super::*;

fn object(kind: wire::ObjectKind, name: &str, state: wire::ObjectState) -> wire::HostObject {
    wire::HostObject {
        kind: kind.into(),
        name: name.to_owned(),
        state: state.into(),
        ..wire::HostObject::default()
    }
}

fn tap(name: &str, vm_id: &str, state: wire::ObjectState) -> wire::HostObject {
    wire::HostObject { vm_id: vm_id.to_owned(), ..object(wire::ObjectKind::Tap, name, state) }
}

struct World {
    server: RunningServer,
    hosts: HostServiceClient<Channel>,
    vms: VmServiceClient<Channel>,
    host: Host,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let server = started(&directory).await;
        let channel = channel(&server).await;
        let host = join(channel.clone(), "one").await;
        until_online(&server).await;
        let (hosts, vms) = (HostServiceClient::new(channel.clone()), VmServiceClient::new(channel));
        Self { server, hosts, vms, host, _directory: directory }
    }

    async fn page(
        &self,
        page_size: u32,
        page_token: &str,
        only_unowned: bool,
    ) -> v1::GetHostInventoryResponse {
        let request = v1::GetHostInventoryRequest {
            host: "one".to_owned(),
            page_size,
            page_token: page_token.to_owned(),
            only_unowned,
        };
        self.hosts.clone().get_host_inventory(request).await.expect("it answers").into_inner()
    }

    async fn sweep(&self, dry_run: bool) -> Result<v1::SweepHostResponse, tonic::Status> {
        let request =
            v1::SweepHostRequest { host: "one".to_owned(), dry_run, ..Default::default() };
        self.hosts.clone().sweep_host(request).await.map(tonic::Response::into_inner)
    }
}

#[tokio::test]
async fn names_and_places_come_from_the_server_and_what_is_elsewhere_is_claimed_there() {
    let world = World::new().await;
    let create_on = |name: &str, labels: &[&str]| {
        let mut request = create(name);
        if let Some(spec) = &mut request.spec {
            let host_labels =
                labels.iter().map(|label| ((*label).to_owned(), String::new())).collect();
            spec.placement = Some(v1::Placement { host_labels, ..v1::Placement::default() });
        }
        request
    };
    let mut vms = world.vms.clone();
    let here = vms.create_vm(create_on("here", &[])).await.expect("created").into_inner().id;
    let nowhere = vms
        .create_vm(create_on("nowhere", &["no-such-label"]))
        .await
        .expect("created")
        .into_inner()
        .id;
    let unknown = uuid::Uuid::from_u128(77).to_string();
    let (owned, orphan) = (wire::ObjectState::Owned, wire::ObjectState::Orphan);
    world.host.agent.set_objects(vec![
        tap("t-1", &here, owned),
        tap("t-2", &nowhere, owned),
        tap("t-3", &nowhere, orphan),
        tap("t-4", &unknown, owned),
        tap("t-5", &unknown, orphan),
        tap("t-6", "", orphan),
        tap("t-7", &here, orphan),
        object(wire::ObjectKind::Loop, "/dev/loop1", wire::ObjectState::Shared),
    ]);
    let page = world.page(0, "", false).await;
    let rows: Vec<String> = page
        .objects
        .iter()
        .map(|row| {
            let state = row.state().as_str_name().trim_start_matches("HOST_OBJECT_STATE_");
            format!("{} {} {state} {}", row.kind, row.name, row.vm_name)
        })
        .collect();
    assert_eq!(
        rows,
        [
            "tap t-1 OWNED here",
            "tap t-2 CLAIMED_ELSEWHERE nowhere",
            "tap t-3 CLAIMED_ELSEWHERE nowhere",
            "tap t-4 UNCLAIMED ",
            "tap t-5 ORPHAN ",
            "tap t-6 ORPHAN ",
            "tap t-7 UNCLEAR here",
            "loop /dev/loop1 SHARED ",
        ]
    );
    assert_eq!(page.policy.map(|policy| policy.budget_left), Some(150));
    let orphans = page
        .counts
        .iter()
        .find(|count| count.state() == v1::HostObjectState::Orphan && count.kind == "tap");
    assert_eq!(orphans.map(|count| count.count), Some(2));
    let page = world.page(0, "", true).await;
    let names: Vec<&str> = page.objects.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["t-2", "t-3", "t-4", "t-5", "t-6", "t-7"]);
    world.server.shutdown().await;
}

#[tokio::test]
async fn thousands_of_objects_come_in_pages_each_once_though_the_host_changes_meanwhile() {
    let world = World::new().await;
    let all: Vec<wire::HostObject> = (0..2500)
        .map(|n| {
            let detail = "x".repeat(200);
            let tap = tap(&format!("t-{n:04}"), "", wire::ObjectState::Orphan);
            wire::HostObject { detail, ..tap }
        })
        .collect();
    world.host.agent.set_objects(all.clone());
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let page = world.page(700, &token, false).await;
        assert!(page.objects.len() <= 700);
        names.extend(page.objects.into_iter().map(|row| row.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        // One that was listed goes, one that was not comes.
        let mut changed = all.clone();
        changed.remove(3);
        changed.push(tap("t-9999", "", wire::ObjectState::Orphan));
        world.host.agent.set_objects(changed);
    }
    let mut expected: Vec<String> = all.into_iter().map(|row| row.name).collect();
    expected.push("t-9999".to_owned());
    assert_eq!(names, expected);

    let request = v1::GetHostInventoryRequest {
        host: "one".to_owned(),
        page_token: "bm90IG91cnM".to_owned(),
        ..v1::GetHostInventoryRequest::default()
    };
    let error = world.hosts.clone().get_host_inventory(request).await.expect_err("no token");
    assert_eq!(error.get_details_error_info().expect("has one").reason, "PAGE_TOKEN_INVALID");
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_sweep_names_every_vm_the_server_knows_and_who_asked_is_kept() {
    let world = World::new().await;
    let vm = world.vms.clone().create_vm(create("web")).await.expect("created").into_inner().id;
    world.host.agent.set_objects(vec![
        tap("t-1", &vm, wire::ObjectState::Orphan),
        tap("t-2", "", wire::ObjectState::Orphan),
    ]);
    let dry = world.sweep(true).await.expect("it answers");
    assert_eq!(dry.removed.iter().map(|row| &*row.name).collect::<Vec<_>>(), ["t-2"]);
    assert!(world.page(0, "", false).await.recent_sweeps.is_empty(), "a dry run is no sweep");
    let swept = world.sweep(false).await.expect("it answers");
    assert_eq!(swept.kept.len(), 1);
    assert_eq!(swept.kept[0].reason(), v1::KeptReason::Claimed);
    assert_eq!(swept.kept[0].object.as_ref().map(|row| &*row.vm_name), Some("web"));
    let asked = world.host.agent.sweeps();
    assert_eq!(asked.iter().map(|ask| ask.dry_run).collect::<Vec<_>>(), [true, false]);
    assert!(asked.iter().all(|ask| ask.claimed_vm_ids == [vm.clone()]), "{asked:?}");
    assert!(asked.iter().all(|ask| ask.actor == "local"), "{asked:?}");
    let recent = world.page(0, "", false).await.recent_sweeps;
    assert_eq!(recent.len(), 1);
    let kept = &recent[0];
    assert_eq!((&*kept.actor, kept.removed, kept.kept, kept.failed), ("local", 1, 1, 0));
    assert_eq!(kept.message, "");
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_sweep_without_an_answer_has_an_unknown_outcome_and_is_kept_as_that() {
    let world = World::new().await;
    world.host.agent.fail_sweeps(Code::Unavailable);
    let error = world.sweep(false).await.expect_err("it breaks");
    assert_eq!(error.code(), Code::Unknown, "{error:?}");
    assert_eq!(error.get_details_error_info().expect("has one").reason, "OUTCOME_UNKNOWN");
    let error = world.sweep(true).await.expect_err("it breaks");
    assert_eq!(error.code(), Code::Unavailable, "a dry run changes nothing: {error:?}");
    world.host.agent.fail_sweeps(Code::Unimplemented);
    let error = world.sweep(false).await.expect_err("an agent of the version before");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error:?}");
    assert_eq!(error.get_details_error_info().expect("has one").reason, "HOST_REFUSED");
    let recent = world.page(0, "", false).await.recent_sweeps;
    assert_eq!(recent.len(), 2);
    assert!(recent.iter().all(|sweep| !sweep.message.is_empty()), "{recent:?}");
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_sweep_that_is_asked_for_again_by_its_request_is_not_made_again() {
    let world = World::new().await;
    let names = |objects: &[v1::HostObject]| -> Vec<String> {
        objects.iter().map(|object| object.name.clone()).collect()
    };
    let orphan = |name: &str| tap(name, "", wire::ObjectState::Orphan);
    let request = v1::SweepHostRequest {
        host: "one".to_owned(),
        dry_run: false,
        request_id: uuid::Uuid::from_u128(5).to_string(),
    };
    let ask = |request: v1::SweepHostRequest| {
        let mut hosts = world.hosts.clone();
        async move { hosts.sweep_host(request).await.map(tonic::Response::into_inner) }
    };
    world.host.agent.set_objects(vec![orphan("t-1")]);
    // A dry run changes nothing that could be done twice.
    let dry = ask(v1::SweepHostRequest { dry_run: true, ..request.clone() }).await;
    assert_eq!(names(&dry.expect("it answers").removed), ["t-1"]);
    let first = ask(request.clone()).await.expect("it answers");
    assert_eq!((names(&first.removed), first.repeated), (vec!["t-1".to_owned()], false));
    // What is an orphan since then is left to another sweep.
    world.host.agent.set_objects(vec![orphan("t-2")]);
    let by_id = world.page(0, "", false).await;
    assert_eq!(by_id.recent_sweeps.len(), 1);
    let again = ask(request.clone()).await.expect("it answers");
    assert_eq!((names(&again.removed), again.repeated), (Vec::new(), true));
    let for_real = world.host.agent.sweeps().iter().filter(|ask| !ask.dry_run).count();
    assert_eq!(for_real, 1, "the agent was told again");
    assert_eq!(world.page(0, "", false).await.recent_sweeps.len(), 1);
    // One that has no answer may have been made, and is not made again either.
    world.host.agent.fail_sweeps(Code::Unavailable);
    let lost = v1::SweepHostRequest { request_id: uuid::Uuid::from_u128(6).to_string(), ..request };
    assert_eq!(ask(lost.clone()).await.expect_err("it breaks").code(), Code::Unknown);
    let told = world.host.agent.sweeps().iter().filter(|ask| !ask.dry_run).count();
    let again = ask(lost).await;
    let told_since = world.host.agent.sweeps().iter().filter(|ask| !ask.dry_run).count() - told;
    assert_eq!(told_since, 0, "{again:?}");
    world.server.shutdown().await;
}
