//! Streams show every change once, in order.

use banger_integration_tests::fleet::{Fleet, status};
use banger_integration_tests::specs::create;
use banger_integration_tests::wait::until;
use banger_integration_tests::watching::{Follower, Table};
use banger_proto::v1;
use banger_proto::v1::vm_service_client::VmServiceClient;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use tonic::{Code, Streaming};
use tonic_types::StatusExt as _;

async fn next(follower: &mut Follower, stream: &mut Streaming<v1::WatchVmsResponse>) {
    let limit = banger_integration_tests::wait::LIMIT;
    let followed = tokio::time::timeout(limit, follower.follow(stream)).await;
    followed.expect("in time").expect("goes on");
}

async fn listed(fleet: &Fleet) -> Follower {
    Follower::listed(&fleet.vms()).await.expect("lists")
}

async fn churn(fleet: &Fleet, vms: usize) {
    for n in 0..vms {
        fleet.create(create(&format!("churn-{n}"))).await;
        if n % 3 == 0 {
            let vm = format!("churn-{n}");
            let delete = v1::DeleteVmRequest { vm, ..Default::default() };
            fleet.vms().delete_vm(delete).await.expect("deleted");
        }
    }
}

#[tokio::test]
async fn watch_after_a_list_rebuilds_the_exact_table() {
    let fleet = Fleet::of(1).await;
    churn(&fleet, 10).await;
    let mut follower = listed(&fleet).await;
    let mut stream = follower.resume(&fleet.vms()).await.expect("watches");
    fleet.create(create("after")).await;
    fleet.until_state("after", v1::VmState::Running).await;
    for n in 0..10 {
        if n % 3 == 0 {
            fleet.until_gone(&format!("churn-{n}")).await;
        } else {
            fleet.until_state(&format!("churn-{n}"), v1::VmState::Running).await;
        }
    }
    let listed = listed(&fleet).await;
    while follower.revision < listed.revision {
        next(&mut follower, &mut stream).await;
    }
    assert_eq!(follower.table, listed.table);
}

#[tokio::test]
async fn watch_shows_the_states_of_a_vm_arriving() {
    let fleet = Fleet::of(1).await;
    let request = v1::WatchVmsRequest::default();
    let mut stream = fleet.vms().watch_vms(request).await.expect("watches").into_inner();
    let mut follower = Follower::initial(&mut stream).await.expect("begins");
    assert!(follower.table.is_empty());
    let made = fleet.create(create("web")).await;
    while follower.table.get(&made.id).is_none_or(|vm| status(vm).state() != v1::VmState::Running) {
        next(&mut follower, &mut stream).await;
    }
    let delete = v1::DeleteVmRequest { vm: made.id.clone(), ..Default::default() };
    fleet.vms().delete_vm(delete).await.expect("deleted");
    while follower.table.contains_key(&made.id) {
        next(&mut follower, &mut stream).await;
    }
}

#[tokio::test]
async fn watch_with_a_filter_says_when_a_vm_leaves_it() {
    let fleet = Fleet::of(1).await;
    let filter = v1::VmFilter { states: vec![v1::VmState::Running.into()], ..Default::default() };
    let request = v1::WatchVmsRequest { filter: Some(filter), ..Default::default() };
    let mut stream = fleet.vms().watch_vms(request).await.expect("watches").into_inner();
    let mut follower = Follower::initial(&mut stream).await.expect("begins");
    let made = fleet.create(create("web")).await;
    while !follower.table.contains_key(&made.id) {
        next(&mut follower, &mut stream).await;
    }
    let stop = v1::StopVmRequest { vm: made.id.clone(), ..Default::default() };
    fleet.vms().stop_vm(stop).await.expect("stops");
    while follower.table.contains_key(&made.id) {
        next(&mut follower, &mut stream).await;
    }
}

#[tokio::test]
async fn watch_a_client_goes_on_over_stops_and_kills_of_the_server_without_a_list() {
    let mut fleet = Fleet::of(1).await;
    fleet.create(create("web")).await;
    let gone = fleet.create(create("goes")).await;
    fleet.until_state("goes", v1::VmState::Running).await;
    fleet.until_state("web", v1::VmState::Running).await;
    let mut late = listed(&fleet).await;
    let mut early = listed(&fleet).await;
    let delete = v1::DeleteVmRequest { vm: gone.id.clone(), ..Default::default() };
    fleet.vms().delete_vm(delete).await.expect("deleted");
    fleet.until_gone("goes").await;
    fleet.create(create("comes")).await;
    fleet.until_state("comes", v1::VmState::Running).await;
    for round in 0..4 {
        // Until what it was told is written, which a kill may come before.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let current = listed(&fleet).await;
        if round % 2 == 0 {
            fleet.stop_server()
        } else {
            fleet.kill_server()
        }
        fleet.start_server().await;
        fleet.until_state("comes", v1::VmState::Running).await;
        fleet.until_state("web", v1::VmState::Running).await;
        let listed = listed(&fleet).await;
        assert!(listed.revision > current.revision);
        for follower in [&mut early, &mut late, &mut { current }] {
            let mut stream = follower.resume(&fleet.vms()).await.expect("it goes on");
            while follower.revision < listed.revision {
                next(follower, &mut stream).await;
            }
            assert_eq!(follower.table, listed.table, "round {round}");
        }
    }
}

#[tokio::test]
async fn watch_a_revision_that_was_never_given_out_is_refused_with_the_reason_and_the_oldest() {
    let fleet = Fleet::without_hosts().await;
    let request = v1::WatchVmsRequest { after_revision: Some(u64::MAX), ..Default::default() };
    let error = match fleet.vms().watch_vms(request).await {
        Err(error) => error,
        Ok(stream) => stream.into_inner().message().await.expect_err("too old"),
    };
    assert_eq!(error.code(), Code::OutOfRange);
    let info = error.get_details_error_info().expect("has one");
    assert_eq!(info.reason, "REVISION_TOO_OLD");
    assert_eq!(info.metadata["why"], "NOT_GIVEN_OUT");
    info.metadata["oldest_revision"].parse::<u64>().expect("a revision");
}

/// A watcher with a connection of its own, which begins anew whenever its stream breaks, until it
/// has come to the revision that it is told.
async fn watches_for_ever(api: String, mut end: watch::Receiver<Option<u64>>) -> Table {
    let vms = VmServiceClient::new(Endpoint::from_shared(api).expect("an address").connect_lazy());
    loop {
        let (mut stream, mut follower) = until("a stream begins", || async {
            let request = v1::WatchVmsRequest::default();
            let mut stream = vms.clone().watch_vms(request).await?.into_inner();
            let follower = Follower::initial(&mut stream).await?;
            Ok::<_, tonic::Status>((stream, follower))
        })
        .await;
        loop {
            if end.borrow().is_some_and(|revision| follower.revision >= revision) {
                return follower.table;
            }
            // Cancel-safe: a message is taken whole or not at all.
            tokio::select! {
                followed = follower.follow(&mut stream) => if followed.is_err() { break },
                told = end.changed() => told.expect("somebody tells the end"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_a_herd_that_comes_back_at_once_finds_the_exact_table_and_writers_are_answered() {
    const HERD: usize = 300;
    let mut fleet = Fleet::of(1).await;
    churn(&fleet, 20).await;
    let (end, ended) = watch::channel(None);
    let mut herd = JoinSet::new();
    for _ in 0..HERD {
        herd.spawn(watches_for_ever(format!("http://{}", fleet.api()), ended.clone()));
    }
    for round in 0..3 {
        fleet.kill_server();
        fleet.start_server().await;
        // The herd is on its way back; what is asked meanwhile is answered.
        let name = format!("meanwhile-{round}");
        fleet.create(create(&name)).await;
        fleet.until_state(&name, v1::VmState::Running).await;
    }
    for n in 0..20 {
        if n % 3 != 0 {
            fleet.until_state(&format!("churn-{n}"), v1::VmState::Running).await;
        } else {
            fleet.until_gone(&format!("churn-{n}")).await;
        }
    }
    let listed = listed(&fleet).await;
    end.send(Some(listed.revision)).expect("they listen");
    let mut came_back = 0;
    while let Some(table) = herd.join_next().await {
        assert_eq!(table.expect("no rule was broken"), listed.table);
        came_back += 1;
    }
    assert_eq!(came_back, HERD);
}
