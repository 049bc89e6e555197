//! Which host takes a VM.

use banger_integration_tests::fleet::{Fleet, status};
use banger_integration_tests::specs::create;
use banger_integration_tests::wait::until;
use banger_proto::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

fn on(name: &str, placement: v1::Placement) -> v1::CreateVmRequest {
    let mut request = create(name);
    request.spec.as_mut().expect("given").placement = Some(placement);
    request
}

fn on_host(name: &str, host: &str) -> v1::CreateVmRequest {
    on(name, v1::Placement { host: host.to_owned(), ..Default::default() })
}

fn with_memory(mut request: v1::CreateVmRequest, mib: u32) -> v1::CreateVmRequest {
    request.spec.as_mut().expect("given").memory_mib = mib;
    request
}

#[tokio::test]
async fn place_without_a_host_a_vm_waits_and_goes_to_the_first_that_joins() {
    let mut fleet = Fleet::without_hosts().await;
    let vm = fleet.create(create("early")).await;
    assert_eq!(status(&vm).state(), v1::VmState::Pending);
    assert_eq!(status(&vm).reason, "NO_HOST");
    fleet.add_host("late", &[]).await;
    let vm = fleet.until_state("early", v1::VmState::Running).await;
    assert_eq!(status(&vm).host_name, "late");
}

/// One change of the ledger looks for hosts for some of those that wait; the search goes on with
/// the others at once, and not when it is woken next.
#[tokio::test]
async fn place_a_vm_behind_many_that_fit_nowhere_is_reached_by_the_search_that_its_host_wakes() {
    let mut fleet = Fleet::without_hosts().await;
    for n in 0..520 {
        let host_labels = [("only".to_owned(), format!("h{n}"))].into();
        let wants = v1::Placement { host_labels, ..Default::default() };
        fleet.create(on(&format!("waits-{n}"), wants)).await;
    }
    fleet.create(create("last")).await;
    fleet.add_host("one", &[]).await;
    fleet.until_state("last", v1::VmState::Running).await;
    let first = fleet.get("waits-0").await.expect("there");
    assert_eq!(status(&first).reason, "NO_HOST_MATCHES");
}

#[tokio::test]
async fn place_a_named_host_and_labels_are_honoured() {
    let mut fleet = Fleet::of(1).await;
    fleet.add_host("fast", &["disk=nvme"]).await;
    fleet.create(on_host("named", "fast")).await;
    let labels = [("disk".to_owned(), "nvme".to_owned())].into();
    fleet.create(on("labelled", v1::Placement { host_labels: labels, ..Default::default() })).await;
    fleet.create(create("any")).await;
    for (vm, host) in [("named", "fast"), ("labelled", "fast"), ("any", "host-0")] {
        let seen = fleet.until_state(vm, v1::VmState::Running).await;
        assert_eq!(status(&seen).host_name, host, "{vm}");
    }
}

#[tokio::test]
async fn place_a_named_host_that_cannot_is_refused_with_the_reason() {
    let fleet = Fleet::of(1).await;
    let huge = with_memory(on_host("huge", "host-0"), 1_048_576);
    let error = fleet.vms().create_vm(huge).await.expect_err("no room");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error:?}");
    assert_eq!(error.get_details_error_info().expect("has one").reason, "HOST_UNSUITABLE");
    let error = fleet.vms().create_vm(on_host("lost", "nowhere")).await.expect_err("no host");
    assert_eq!(error.get_details_error_info().expect("has one").reason, "HOST_NOT_FOUND");
    let cordon = v1::CordonHostRequest { host: "host-0".to_owned(), ..Default::default() };
    fleet.hosts().cordon_host(cordon).await.expect("cordoned");
    let error = fleet.vms().create_vm(on_host("late", "host-0")).await.expect_err("cordoned");
    assert_eq!(error.get_details_error_info().expect("has one").reason, "HOST_UNSUITABLE");
}

#[tokio::test]
async fn place_hosts_are_not_over_booked_and_room_that_comes_free_is_used() {
    let fleet = Fleet::of(2).await;
    // A simulated host has 256 GiB: three of 200 do not fit on two.
    let big = |name: &str| with_memory(create(name), 200 * 1024);
    for name in ["one", "two"] {
        fleet.create(big(name)).await;
    }
    let third = fleet.create(big("three")).await;
    assert_eq!(status(&third).reason, "NO_HOST_HAS_ROOM");
    let one = fleet.until_state("one", v1::VmState::Running).await;
    let two = fleet.until_state("two", v1::VmState::Running).await;
    assert_ne!(status(&one).host_id, status(&two).host_id);
    let delete = v1::DeleteVmRequest { vm: "one".to_owned(), ..Default::default() };
    fleet.vms().delete_vm(delete).await.expect("deleted");
    let three = fleet.until_state("three", v1::VmState::Running).await;
    assert_eq!(status(&three).host_id, status(&one).host_id);
}

#[tokio::test]
async fn place_a_vm_books_the_disk_that_its_host_takes_for_it() {
    const MIB: u64 = 1 << 20;
    let fleet = Fleet::of(1).await;
    let booked = async || {
        let request = v1::GetHostRequest { host: "host-0".to_owned() };
        let host = fleet.hosts().get_host(request).await.expect("there").into_inner();
        host.status.expect("given").booked.unwrap_or_default().disk_mib
    };
    let taken = async |vm: &v1::Vm| {
        let request =
            v1::GetHostInventoryRequest { host: "host-0".to_owned(), ..Default::default() };
        let inventory = fleet.hosts().get_host_inventory(request).await.expect("answered");
        let objects = inventory.into_inner().objects;
        let is_its = |o: &&v1::HostObject| o.vm_id == vm.id && o.kind == "directory";
        objects.iter().find(is_its).expect("it has one").size_bytes
    };
    // What is not said is 1,024 MiB, whatever the length of the image.
    let mut default = create("default");
    default.spec.as_mut().expect("given").root_disk_mib = 0;
    let mut with_work = create("with-work");
    with_work.spec.as_mut().expect("given").work_disk = Some(v1::WorkDisk { size_mib: 100 });
    for (request, wanted) in [(default, 1024), (with_work, 64 + 100)] {
        let before = booked().await;
        let vm = fleet.create(request).await;
        assert_eq!(booked().await - before, wanted, "{}", vm.name);
        fleet.until_state(&vm.name, v1::VmState::Running).await;
        // And a part in two hundred of the image, with records of some pages.
        let there = taken(&vm).await;
        let most = (wanted + 4) * MIB;
        assert!((wanted * MIB..most).contains(&there), "{}: {there} of {most}", vm.name);
    }
}

async fn explained(fleet: &Fleet, vm: &str) -> v1::PlacementEvaluation {
    let request = v1::ExplainVmRequest { vm: vm.to_owned() };
    let explained = fleet.vms().explain_vm(request).await.expect("explained");
    explained.into_inner().placement.expect("it lives")
}

fn best_score(found: &v1::PlacementEvaluation) -> Option<i64> {
    found.hosts.iter().map(|host| host.score).max()
}

fn score_of_chosen(found: &v1::PlacementEvaluation) -> Option<i64> {
    let chosen = found.hosts.iter().find(|host| host.host_id == found.chosen_host_id);
    chosen.map(|host| host.score)
}

#[tokio::test]
async fn place_vms_are_spread_evenly_and_every_host_has_its_score() {
    let fleet = Fleet::of(3).await;
    let mut counts: std::collections::BTreeMap<String, usize> = Default::default();
    for n in 0..30 {
        let vm = fleet.create(create(&format!("vm-{n}"))).await;
        *counts.entry(status(&vm).host_name.clone()).or_default() += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
    let found = explained(&fleet, "vm-0").await;
    assert_eq!(found.strategy(), v1::PlacementStrategy::Spread);
    assert_eq!((found.hosts.len(), found.suitable_hosts), (3, 3));
    assert_eq!(score_of_chosen(&found), best_score(&found), "{found:#?}");

    // What would come of a create is told without making anything.
    let packed =
        v1::Placement { strategy: v1::PlacementStrategy::Pack.into(), ..v1::Placement::default() };
    let try_it = v1::CreateVmRequest { validate_only: true, ..on("packed", packed) };
    let vm = fleet.vms().create_vm(try_it).await.expect("it would do").into_inner();
    let found = vm.placement_evaluation.expect("told");
    assert_eq!(found.hosts.len(), 3);
    assert_eq!(score_of_chosen(&found), best_score(&found), "{found:#?}");
    assert!(best_score(&found) < Some(500_000), "{found:#?}");
}

#[tokio::test]
async fn place_replicas_that_stay_apart_are_one_a_host_however_many_come_at_once() {
    let fleet = Fleet::of(3).await;
    let replica = |n: usize| {
        let rule = v1::AffinityRule {
            vm_selector: "app in (web)".to_owned(),
            anti: true,
            ..v1::AffinityRule::default()
        };
        let placement = v1::Placement { affinity: vec![rule], ..v1::Placement::default() };
        let mut request = on(&format!("web-{n}"), placement);
        let spec = request.spec.as_mut().expect("given");
        spec.labels = [("app".to_owned(), "web".to_owned())].into();
        request
    };
    let creates: Vec<_> = (0..200)
        .map(|n| {
            let (mut vms, request) = (fleet.vms(), replica(n));
            tokio::spawn(async move { vms.create_vm(request).await.expect("kept").into_inner() })
        })
        .collect();
    let mut placed = Vec::new();
    let mut waiting = 0;
    for create in creates {
        let vm = create.await.expect("it ends");
        match status(&vm).host_name.as_str() {
            "" => {
                assert_eq!(status(&vm).reason, "NO_HOST_MEETS_AFFINITY");
                waiting += 1;
            }
            host => placed.push((host.to_owned(), vm.name.clone())),
        }
    }
    placed.sort();
    let hosts: Vec<&str> = placed.iter().map(|(host, _)| host.as_str()).collect();
    assert_eq!((hosts, waiting), (vec!["host-0", "host-1", "host-2"], 197));
    // Whoever goes makes room for exactly one.
    let (host, name) = placed.swap_remove(1);
    let delete = v1::DeleteVmRequest { vm: name.clone(), ..Default::default() };
    fleet.vms().delete_vm(delete).await.expect("deleted");
    fleet.until_gone(&name).await;
    let filter = v1::VmFilter { host: host.clone(), ..v1::VmFilter::default() };
    let list = v1::ListVmsRequest { filter: Some(filter), ..Default::default() };
    let next = until("another has its host", async || {
        let found = fleet.vms().list_vms(list.clone()).await.expect("listed").into_inner();
        assert!(found.vms.len() < 2, "two on {host}");
        found.vms.into_iter().next().ok_or("nobody has")
    })
    .await;
    fleet.until_state(&next.name, v1::VmState::Running).await;
}

#[tokio::test]
async fn place_of_those_that_wait_the_highest_priority_goes_first() {
    let fleet = Fleet::of(1).await;
    let big = |name: &str, priority| {
        let placement = v1::Placement { priority, ..v1::Placement::default() };
        with_memory(on(name, placement), 200 * 1024)
    };
    fleet.create(big("first", 0)).await;
    for (name, priority) in [("old", 0), ("low", -5), ("high", 5)] {
        let vm = fleet.create(big(name, priority)).await;
        assert_eq!(status(&vm).state(), v1::VmState::Pending, "{name}");
    }
    for (gone, next) in [("first", "high"), ("high", "old"), ("old", "low")] {
        let delete = v1::DeleteVmRequest { vm: gone.to_owned(), ..Default::default() };
        fleet.vms().delete_vm(delete).await.expect("deleted");
        fleet.until_state(next, v1::VmState::Running).await;
    }
}

#[tokio::test]
async fn place_a_vm_of_a_scheduler_waits_for_it_and_runs_where_it_is_bound() {
    let fleet = Fleet::of(2).await;
    let placement = v1::Placement { scheduler_name: "mine".to_owned(), ..v1::Placement::default() };
    let vm = fleet.create(on("left", placement)).await;
    assert_eq!(status(&vm).reason, "WAITS_FOR_SCHEDULER");
    // Whoever finds hosts sees what the server would see.
    let found = explained(&fleet, "left").await;
    assert_eq!((found.suitable_hosts, found.reason.as_str()), (2, "WAITS_FOR_SCHEDULER"));
    let bind = |host: &str| v1::BindVmRequest {
        vm: "left".to_owned(),
        host: host.to_owned(),
        ..v1::BindVmRequest::default()
    };
    let cordon = v1::CordonHostRequest { host: "host-0".to_owned(), ..Default::default() };
    fleet.hosts().cordon_host(cordon).await.expect("cordoned");
    let error = fleet.vms().bind_vm(bind("host-0")).await.expect_err("cordoned");
    assert_eq!(error.get_details_error_info().expect("has one").reason, "HOST_UNSUITABLE");
    fleet.vms().bind_vm(bind("host-1")).await.expect("bound");
    let vm = fleet.until_state("left", v1::VmState::Running).await;
    assert_eq!(status(&vm).host_name, "host-1");
}

#[tokio::test]
async fn place_a_refusal_of_a_named_host_says_all_that_speaks_against_it() {
    let mut fleet = Fleet::of(1).await;
    fleet.add_host("pooled", &["banger/pool=gpu"]).await;
    let cordon = v1::CordonHostRequest { host: "pooled".to_owned(), ..Default::default() };
    fleet.hosts().cordon_host(cordon).await.expect("cordoned");
    let huge = with_memory(on_host("huge", "pooled"), 1_048_576);
    let error = fleet.vms().create_vm(huge).await.expect_err("for three reasons");
    let told = error.get_details_precondition_failure().expect("each by itself").violations;
    let reasons: Vec<&str> = told.iter().map(|why| why.r#type.as_str()).collect();
    assert_eq!(reasons, ["NO_HOST_MATCHES", "HOST_CORDONED", "NO_HOST_LARGE_ENOUGH"]);
    assert!(told.iter().all(|why| why.subject == "pooled"), "{told:?}");
}

#[tokio::test]
async fn place_a_host_is_booked_by_its_own_overcommit_and_shows_it() {
    let fleet = Fleet::of(1).await;
    let host = async || {
        let request = v1::GetHostRequest { host: "host-0".to_owned() };
        fleet.hosts().get_host(request).await.expect("there").into_inner()
    };
    let before = host().await.status.expect("given");
    let (has, may) = (before.capacity.expect("online"), before.allocatable.expect("online"));
    assert_eq!(may.vcpus, has.vcpus * 4);
    let update = v1::UpdateHostRequest {
        host: "host-0".to_owned(),
        overcommit: Some(v1::HostOvercommit { vcpus: 0.5, memory: 0.0 }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["overcommit.vcpus".to_owned()] }),
        ..v1::UpdateHostRequest::default()
    };
    fleet.hosts().update_host(update).await.expect("changed");
    fleet.create(create("one")).await;
    let after = host().await.status.expect("given");
    assert_eq!(after.allocatable.expect("online").vcpus, has.vcpus / 2);
    assert_eq!(before.addresses_free - after.addresses_free, 1);
}

#[tokio::test]
async fn place_no_two_vms_share_an_address() {
    let fleet = Fleet::of(2).await;
    let mut addresses = std::collections::BTreeSet::new();
    for n in 0..40 {
        let host = format!("host-{}", n % 2);
        let vm = fleet.create(on_host(&format!("vm-{n}"), &host)).await;
        assert!(addresses.insert(status(&vm).guest_address.clone()), "{vm:#?}");
    }
}

#[tokio::test]
async fn place_a_join_token_is_good_once() {
    let mut fleet = Fleet::of(1).await;
    let token = fleet
        .hosts()
        .create_join_token(v1::CreateJoinTokenRequest::default())
        .await
        .expect("a token")
        .into_inner()
        .token;
    let join = |name: &str| v1::JoinHostRequest {
        token: token.clone(),
        name: name.to_owned(),
        certificate_request_pem: "nonsense".to_owned(),
        agent_address: "127.0.0.1:1".to_owned(),
        ..Default::default()
    };
    let error = fleet.hosts().join_host(join("bad")).await.expect_err("no request");
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    let mut wrong = join("bad");
    wrong.token = token.replace('.', "x");
    let error = fleet.hosts().join_host(wrong).await.expect_err("no token");
    assert_eq!(error.get_details_error_info().expect("has one").reason, "JOIN_TOKEN_INVALID");
    // `add_host` makes a token of its own, and its name is then taken.
    fleet.add_host("second", &[]).await;
}
