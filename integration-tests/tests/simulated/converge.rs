//! Hosts become what is wanted.

use banger_integration_tests::fleet::{Fleet, process, status};
use banger_integration_tests::specs::{create, image};
use banger_integration_tests::wait::until;
use banger_proto::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

#[tokio::test]
async fn converge_a_vm_lives_its_whole_life() {
    let fleet = Fleet::of(1).await;
    let vm = || "web".to_owned();
    fleet.create(create("web")).await;
    let running = fleet.until_state("web", v1::VmState::Running).await;
    assert!(status(&running).simulated);
    let first = process(&running).expect("a running VM has a process");

    fleet.vms().pause_vm(v1::PauseVmRequest { vm: vm(), ..Default::default() }).await.expect("ok");
    let paused = fleet.until_state("web", v1::VmState::Paused).await;
    assert_eq!(process(&paused), Some(first));
    fleet
        .vms()
        .resume_vm(v1::ResumeVmRequest { vm: vm(), ..Default::default() })
        .await
        .expect("ok");
    let resumed = fleet.until_state("web", v1::VmState::Running).await;
    assert_eq!(process(&resumed), Some(first));

    fleet
        .vms()
        .reboot_vm(v1::RebootVmRequest { vm: vm(), ..Default::default() })
        .await
        .expect("ok");
    let rebooted = fleet
        .until_vm("web", "rebooted", |vm| {
            status(vm).state() == v1::VmState::Running && process(vm) != Some(first)
        })
        .await;
    assert_eq!(status(&rebooted).observed_generation, rebooted.generation);

    fleet.vms().stop_vm(v1::StopVmRequest { vm: vm(), ..Default::default() }).await.expect("ok");
    let stopped = fleet.until_state("web", v1::VmState::Stopped).await;
    assert_eq!(process(&stopped), None);
    fleet.vms().start_vm(v1::StartVmRequest { vm: vm(), ..Default::default() }).await.expect("ok");
    fleet.until_state("web", v1::VmState::Running).await;

    fleet
        .vms()
        .delete_vm(v1::DeleteVmRequest { vm: vm(), ..Default::default() })
        .await
        .expect("ok");
    fleet.until_gone("web").await;
    let again = v1::DeleteVmRequest { vm: vm(), allow_missing: true, ..Default::default() };
    fleet.vms().delete_vm(again).await.expect("what is gone can be deleted when that is allowed");
    // The id still answers with its history.
    let events = v1::ListVmEventsRequest { vm: running.id, ..Default::default() };
    let events = fleet.vms().list_vm_events(events).await.expect("kept").into_inner().events;
    let types: Vec<&str> = events.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(types.first(), Some(&"CREATED"), "{types:?}");
}

/// Of a VM's history, how often a new agent took it over.
async fn adoptions(fleet: &Fleet) -> usize {
    let asked = v1::ListVmEventsRequest { vm: "web".to_owned(), ..Default::default() };
    let events = fleet.vms().list_vm_events(asked).await.expect("kept").into_inner().events;
    events.iter().filter(|event| (&*event.r#type, &*event.reason) == ("RUNNING", "ADOPTED")).count()
}

#[tokio::test]
async fn converge_a_new_agent_is_told_of_once_also_when_it_came_while_the_server_was_away() {
    let mut fleet = Fleet::of(1).await;
    fleet.create(create("web")).await;
    let before = process(&fleet.until_state("web", v1::VmState::Running).await);
    assert_eq!(adoptions(&fleet).await, 0);
    fleet.stop_server();
    fleet.stop_agent(0);
    fleet.start_agent(0);
    fleet.start_server().await;
    until("the history tells of it", || async {
        match adoptions(&fleet).await {
            1 => Ok(()),
            other => Err(format!("{other} lines")),
        }
    })
    .await;
    // The next server hears of it too, and of what comes after: that is written after it.
    fleet.stop_server();
    fleet.start_server().await;
    assert_eq!(process(&fleet.until_state("web", v1::VmState::Running).await), before);
    let stop = v1::StopVmRequest { vm: "web".to_owned(), ..Default::default() };
    fleet.vms().stop_vm(stop).await.expect("accepted");
    until("the history tells of the stop", || async {
        let asked = v1::ListVmEventsRequest { vm: "web".to_owned(), ..Default::default() };
        let events = fleet.vms().list_vm_events(asked).await.expect("kept").into_inner().events;
        let told = events.iter().any(|event| event.r#type == "STOPPED");
        if told { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    assert_eq!(adoptions(&fleet).await, 1);
}

#[tokio::test]
async fn converge_a_missing_image_is_a_wait_with_its_reason_and_heals_by_an_update() {
    let mut fleet = Fleet::of(1).await;
    let mut request = create("web");
    request.spec.as_mut().expect("given").kernel = image("no-such-kernel");
    // Neither the server nor the host has it.
    let refused = fleet.vms().create_vm(request.clone()).await.expect_err("nobody has it");
    assert_eq!(refused.code(), tonic::Code::NotFound, "{refused:?}");
    let mut mistyped = request.clone();
    mistyped.spec.as_mut().expect("given").kernel = image("demo-kerne");
    let refused = fleet.vms().create_vm(mistyped).await.expect_err("nobody has it");
    assert!(refused.message().ends_with("did you mean \"demo-kernel\"?"), "{refused:?}");
    // A host that was not heard yet may have it.
    fleet.stop_agent(0);
    fleet.stop_server();
    fleet.start_server().await;
    fleet.create(request).await;
    fleet.start_agent(0);
    let is_nowhere = |vm: &v1::Vm| status(vm).reason == "NO_HOST_HAS_IMAGE";
    let waiting = fleet.until_vm("web", "no host has its kernel", is_nowhere).await;
    assert_eq!(status(&waiting).state(), v1::VmState::Pending);

    let mut spec = waiting.spec.expect("given");
    spec.kernel = image("demo-kernel");
    let update = v1::UpdateVmRequest {
        vm: "web".to_owned(),
        spec: Some(spec),
        allow_restart: true,
        ..Default::default()
    };
    fleet.vms().update_vm(update).await.expect("updated");
    fleet.until_state("web", v1::VmState::Running).await;
}

#[tokio::test]
async fn converge_an_update_of_a_running_machine_needs_a_restart_that_is_allowed() {
    let fleet = Fleet::of(1).await;
    fleet.create(create("web")).await;
    let running = fleet.until_state("web", v1::VmState::Running).await;
    let mut spec = running.spec.clone().expect("given");
    spec.vcpus = 2;
    let mut update =
        v1::UpdateVmRequest { vm: "web".to_owned(), spec: Some(spec), ..Default::default() };
    let error = fleet.vms().update_vm(update.clone()).await.expect_err("it runs");
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(error.get_details_error_info().expect("has one").reason, "NEEDS_STOPPED_VM");
    assert!(error.message().contains("vcpus"), "{}", error.message());
    update.allow_restart = true;
    fleet.vms().update_vm(update).await.expect("a restart is allowed");
    fleet
        .until_vm("web", "restarted once", |vm| {
            status(vm).state() == v1::VmState::Running && process(vm) != process(&running)
        })
        .await;
}

#[tokio::test]
async fn converge_waiting_is_for_at_least_the_generation_of_the_change() {
    let fleet = Fleet::of(1).await;
    let made = fleet.create(create("web")).await;
    let wait = v1::WaitVmRequest {
        vm: "web".to_owned(),
        generation: made.generation,
        ..Default::default()
    };
    let waited = fleet.vms().wait_vm(wait).await.expect("answers").into_inner();
    assert_eq!(waited.outcome(), v1::WaitOutcome::Reached);
    let stop = v1::StopVmRequest { vm: "web".to_owned(), ..Default::default() };
    let stopping = fleet.vms().stop_vm(stop).await.expect("ok").into_inner();
    let wait = v1::WaitVmRequest {
        vm: "web".to_owned(),
        generation: stopping.generation,
        ..Default::default()
    };
    let waited = fleet.vms().wait_vm(wait).await.expect("answers").into_inner();
    assert_eq!(waited.outcome(), v1::WaitOutcome::Reached);
    assert_eq!(status(&waited.vm.expect("given")).state(), v1::VmState::Stopped);
}

#[tokio::test]
async fn converge_a_hundred_vms_on_three_hosts() {
    let fleet = Fleet::of(3).await;
    let mut creates = tokio::task::JoinSet::new();
    for n in 0..100 {
        let mut request = create(&format!("vm-{n}"));
        let host = format!("host-{}", n % 3);
        let placement = v1::Placement { host, ..Default::default() };
        request.spec.as_mut().expect("given").placement = Some(placement);
        let mut vms = fleet.vms();
        creates.spawn(async move { vms.create_vm(request).await });
    }
    while let Some(done) = creates.join_next().await {
        done.expect("no panic").expect("created");
    }
    for n in 0..100 {
        fleet.until_state(&format!("vm-{n}"), v1::VmState::Running).await;
    }
}
