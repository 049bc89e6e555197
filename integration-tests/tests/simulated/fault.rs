//! Parts die, and nothing is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use banger_integration_tests::fleet::{Fleet, process, status};
use banger_integration_tests::specs::create;
use banger_integration_tests::wait::until;
use banger_proto::v1;
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_server_killed_under_a_create_load_loses_no_acknowledged_vm() {
    let mut fleet = Fleet::without_hosts().await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let mut load = tokio::task::JoinSet::new();
        for task in 0..32 {
            let mut vms = fleet.vms();
            load.spawn(async move {
                let mut mine = Vec::new();
                for n in 0.. {
                    let mut request = create(&format!("r{round}-t{task}-n{n}"));
                    request.desired_state = v1::DesiredState::Stopped.into();
                    match vms.create_vm(request).await {
                        Ok(vm) => mine.push(vm.into_inner().id),
                        // The server is gone: whatever this one's outcome is, it was not said.
                        Err(_) => break,
                    }
                }
                mine
            });
        }
        until("some creates are acknowledged", || async {
            let list = v1::ListVmsRequest { page_size: 1, ..Default::default() };
            let listed = fleet.vms().list_vms(list).await.map_err(|e| e.to_string())?.into_inner();
            let wanted = 300 * (round + 1);
            if listed.total_size > wanted { Ok(()) } else { Err(listed.total_size.to_string()) }
        })
        .await;
        fleet.kill_server();
        while let Some(mine) = load.join_next().await {
            acknowledged.extend(mine.expect("no panic"));
        }
        fleet.start_server().await;
        let mut found = BTreeSet::new();
        let mut request = v1::ListVmsRequest { page_size: 1000, ..Default::default() };
        loop {
            let page = fleet.vms().list_vms(request.clone()).await.expect("lists").into_inner();
            found.extend(page.vms.into_iter().map(|vm| vm.id));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "lost {} of {}: {lost:?}", lost.len(), acknowledged.len());
    }
    assert!(acknowledged.len() > 600, "only {} were acknowledged", acknowledged.len());
}

/// A simulated kernel lives in the agent's process and is saved beside it: a kill may only come
/// when the VM has been saved, else the simulated machine has lost power.
async fn until_saved(fleet: &Fleet, pid: u32) {
    let path = fleet.dir().join("host-0.state").join("simulated-kernel.json");
    until("the simulated kernel is saved", || async {
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let saved: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let vmm = &saved["processes"][pid.to_string()]["vmm"];
        if vmm["state"] == "Running" { Ok(()) } else { Err(vmm.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn fault_an_agent_that_is_killed_finds_its_vms_again_and_says_so() {
    let mut fleet = Fleet::of(1).await;
    fleet.create(create("web")).await;
    let before = fleet.until_state("web", v1::VmState::Running).await;
    assert_eq!(status(&before).adopted_at, None);
    let (pid, _) = process(&before).expect("it runs");
    until_saved(&fleet, pid).await;
    fleet.kill_agent(0);
    let unknown = fleet.until_state("web", v1::VmState::Unknown).await;
    assert!(status(&unknown).unknown_since.is_some(), "{unknown:#?}");
    fleet.start_agent(0);
    let after = fleet.until_state("web", v1::VmState::Running).await;
    assert_eq!(process(&after), process(&before));
    assert!(status(&after).adopted_at.is_some(), "{after:#?}");
    assert!(status(&after).agent_epoch > status(&before).agent_epoch);
    assert_eq!(status(&after).restart_count, 0);
}

#[tokio::test]
async fn fault_a_restarted_server_knows_nothing_of_a_vm_until_its_agent_has_spoken() {
    let mut fleet = Fleet::of(1).await;
    fleet.create(create("web")).await;
    let before = fleet.until_state("web", v1::VmState::Running).await;
    fleet.stop_server();
    fleet.freeze_agent(0, true);
    fleet.start_server().await;
    let unknown = fleet.get("web").await.expect("is there");
    assert_eq!(status(&unknown).state(), v1::VmState::Unknown, "{unknown:#?}");
    assert!(!status(&unknown).reason.is_empty());
    fleet.freeze_agent(0, false);
    let after = fleet.until_state("web", v1::VmState::Running).await;
    assert_eq!(process(&after), process(&before));
    assert_eq!(status(&after).adopted_at, None, "the agent was not restarted");
}

#[tokio::test]
async fn fault_intents_for_a_host_that_is_away_are_accepted_and_applied_on_its_return() {
    let mut fleet = Fleet::of(1).await;
    fleet.create(create("stays")).await;
    fleet.create(create("goes")).await;
    fleet.until_state("stays", v1::VmState::Running).await;
    fleet.until_state("goes", v1::VmState::Running).await;
    fleet.stop_agent(0);
    fleet.until_state("goes", v1::VmState::Unknown).await;
    let stop = v1::StopVmRequest { vm: "stays".to_owned(), ..Default::default() };
    fleet.vms().stop_vm(stop).await.expect("the intent is accepted");
    let delete = v1::DeleteVmRequest { vm: "goes".to_owned(), ..Default::default() };
    fleet.vms().delete_vm(delete).await.expect("the intent is accepted");
    // Not gone: nobody has confirmed that.
    fleet.get("goes").await.expect("still there");
    fleet.start_agent(0);
    fleet.until_gone("goes").await;
    fleet.until_state("stays", v1::VmState::Stopped).await;
}

#[tokio::test]
async fn fault_an_agent_that_hangs_makes_its_vms_unknown_and_nobody_elses() {
    let fleet = Fleet::of(2).await;
    for n in 0..2 {
        let mut request = create(&format!("vm-{n}"));
        let host = format!("host-{n}");
        request.spec.as_mut().expect("given").placement =
            Some(v1::Placement { host, ..Default::default() });
        fleet.create(request).await;
        fleet.until_state(&format!("vm-{n}"), v1::VmState::Running).await;
    }
    fleet.freeze_agent(0, true);
    fleet.until_state("vm-0", v1::VmState::Unknown).await;
    let other = fleet.get("vm-1").await.expect("is there");
    assert_eq!(status(&other).state(), v1::VmState::Running);
    fleet.freeze_agent(0, false);
    fleet.until_state("vm-0", v1::VmState::Running).await;
}

#[tokio::test]
async fn fault_a_server_that_stops_ends_its_streams_with_a_clear_status() {
    let mut fleet = Fleet::without_hosts().await;
    let request = v1::WatchVmsRequest::default();
    let mut stream = fleet.vms().watch_vms(request).await.expect("watches").into_inner();
    stream.message().await.expect("no error").expect("the state at the start");
    let ended = tokio::spawn(async move {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    });
    let stopping = tokio::task::spawn_blocking(move || {
        fleet.stop_server();
        fleet
    });
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("in time");
    let error = ended.expect("no panic").expect("ends with a status, not in silence");
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    stopping.await.expect("no panic");
}
