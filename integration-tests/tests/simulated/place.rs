//! Which host takes a VM.

use banger_integration_tests::fleet::{Fleet, status};
use banger_integration_tests::specs::create;
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
