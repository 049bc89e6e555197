//! The machine's clock jumps: it is shown and stored, and decides nothing about a VM.

use jiff::SignedDuration;

use super::*;
use crate::clock::{Clock as _, ManualClock};

const YEAR_HOURS: i64 = 24 * 365;

async fn reached(vms: &mut VmServiceClient<Channel>, vm: &str) {
    let wait = v1::WaitVmRequest { vm: vm.to_owned(), ..v1::WaitVmRequest::default() };
    let waited = vms.wait_vm(wait).await.expect("it answers").into_inner();
    assert_eq!(waited.outcome(), v1::WaitOutcome::Reached, "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_clock_jumps_loses_no_host_tells_nothing_twice_and_keeps_the_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let server =
        Server::start_with(config(&directory), clock.clone(), None).await.expect("it starts");
    let host = join(channel(&server).await, "alpha").await;
    until_online(&server).await;
    let mut vms = VmServiceClient::new(channel(&server).await);
    vms.create_vm(create("before")).await.expect("it is stored");
    reached(&mut vms, "before").await;
    let mut stream = watched(&mut vms, v1::WatchVmsRequest::default()).await;

    let mut wished = vec!["POWER_RUNNING"];
    for (name, hours) in [("back", -40 * YEAR_HOURS), ("forth", 80 * YEAR_HOURS)] {
        clock.advance(SignedDuration::from_hours(hours));
        vms.create_vm(create(name)).await.expect("it is stored");
        reached(&mut vms, name).await;
        let stop = v1::StopVmRequest { vm: "before".to_owned(), ..v1::StopVmRequest::default() };
        vms.stop_vm(stop).await.expect("it is stored");
        reached(&mut vms, "before").await;
        let start = v1::StartVmRequest { vm: "before".to_owned(), ..v1::StartVmRequest::default() };
        vms.start_vm(start).await.expect("it is stored");
        reached(&mut vms, "before").await;
        wished.extend(["POWER_RUNNING", "POWER_STOPPED", "POWER_RUNNING"]);
        let states: Vec<_> =
            server.view().hosts().iter().map(|host| host.view.health.state).collect();
        assert!(states.iter().all(|state| state.is_online()), "{states:?}");
    }
    let commands = host.agent.commands();
    let told: Vec<&str> = commands.iter().filter_map(|told| told.split(' ').nth(1)).collect();
    assert_eq!(told, wished, "{commands:?}");

    // Whoever watches has seen revisions grow; whoever reads the history, what came after what.
    let seen = until_event(&mut stream, |event| {
        event.vm.as_ref().is_some_and(|vm| vm.name == "forth")
            && state(event) == v1::VmState::Running
    })
    .await;
    assert!(seen.iter().map(|event| event.revision).is_sorted(), "{seen:?}");
    let history = v1::ListVmEventsRequest { vm: "before".to_owned(), ..Default::default() };
    let history = vms.list_vm_events(history).await.expect("it is kept").into_inner().events;
    let asked: Vec<&str> = history
        .iter()
        .map(|event| event.r#type.as_str())
        .filter(|r#type| *r#type == "CREATED" || r#type.ends_with("_REQUESTED"))
        .collect();
    let twice = ["STOP_REQUESTED", "START_REQUESTED"].repeat(2);
    assert_eq!(asked, [&["CREATED"][..], &twice].concat(), "{history:?}");
    let pages = v1::ListVmsRequest { page_size: 1, ..Default::default() };
    let mut names = Vec::new();
    let mut request = pages;
    loop {
        let page = vms.list_vms(request.clone()).await.expect("it lists").into_inner();
        names.extend(page.vms.into_iter().map(|vm| vm.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    names.sort();
    assert_eq!(names, ["back", "before", "forth"]);
    server.shutdown().await;
}
