//! Streams show every change once, in order.

use std::collections::BTreeMap;

use banger_integration_tests::fleet::{Fleet, status};
use banger_integration_tests::specs::create;
use banger_proto::v1;
use tonic::{Code, Streaming};
use tonic_types::StatusExt as _;

type Table = BTreeMap<String, v1::Vm>;

/// Applies a message to what is known, and checks the rules of the stream.
fn apply(table: &mut Table, last: &mut u64, message: v1::WatchVmsResponse) {
    for event in message.events {
        assert!(event.revision > *last, "revision {} came after {last}", event.revision);
        *last = event.revision;
        let r#type = event.r#type();
        let vm = event.vm.expect("an event has a VM");
        match r#type {
            v1::VmEventType::Added => {
                assert!(table.insert(vm.id.clone(), vm).is_none(), "added twice");
            }
            v1::VmEventType::Modified => {
                assert!(table.insert(vm.id.clone(), vm).is_some(), "modified before it was added");
            }
            v1::VmEventType::Removed => {
                assert!(table.remove(&vm.id).is_some(), "removed before it was added");
            }
            v1::VmEventType::Unspecified => panic!("an event has a type"),
        }
    }
    assert!(message.revision >= *last, "a bookmark lies behind its events");
    *last = message.revision;
}

async fn next(stream: &mut Streaming<v1::WatchVmsResponse>) -> v1::WatchVmsResponse {
    let limit = banger_integration_tests::wait::LIMIT;
    let message = tokio::time::timeout(limit, stream.message()).await.expect("in time");
    message.expect("no error").expect("goes on")
}

/// The state at the start, which has no order but one revision.
async fn initial(stream: &mut Streaming<v1::WatchVmsResponse>) -> (Table, u64) {
    let mut table = Table::new();
    loop {
        let message = next(stream).await;
        for event in message.events {
            let vm = event.vm.expect("an event has a VM");
            assert!(table.insert(vm.id.clone(), vm).is_none(), "twice in the state at the start");
        }
        if message.initial_state_complete {
            return (table, message.revision);
        }
    }
}

async fn list(fleet: &Fleet) -> (Table, u64) {
    let mut table = Table::new();
    let mut request = v1::ListVmsRequest { page_size: 7, ..Default::default() };
    loop {
        let page = fleet.vms().list_vms(request.clone()).await.expect("lists").into_inner();
        for vm in page.vms {
            assert!(table.insert(vm.id.clone(), vm).is_none(), "twice in the list");
        }
        if page.next_page_token.is_empty() {
            return (table, page.revision);
        }
        request.page_token = page.next_page_token;
    }
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
    let (mut table, mut last) = list(&fleet).await;
    let request = v1::WatchVmsRequest { after_revision: Some(last), ..Default::default() };
    let mut stream = fleet.vms().watch_vms(request).await.expect("watches").into_inner();
    fleet.create(create("after")).await;
    fleet.until_state("after", v1::VmState::Running).await;
    for n in 0..10 {
        if n % 3 == 0 {
            fleet.until_gone(&format!("churn-{n}")).await;
        } else {
            fleet.until_state(&format!("churn-{n}"), v1::VmState::Running).await;
        }
    }
    let (listed, revision) = list(&fleet).await;
    while last < revision {
        apply(&mut table, &mut last, next(&mut stream).await);
    }
    assert_eq!(table, listed);
}

#[tokio::test]
async fn watch_shows_the_states_of_a_vm_arriving() {
    let fleet = Fleet::of(1).await;
    let request = v1::WatchVmsRequest::default();
    let mut stream = fleet.vms().watch_vms(request).await.expect("watches").into_inner();
    let (mut table, mut last) = initial(&mut stream).await;
    assert!(table.is_empty());
    let made = fleet.create(create("web")).await;
    while table.get(&made.id).is_none_or(|vm| status(vm).state() != v1::VmState::Running) {
        apply(&mut table, &mut last, next(&mut stream).await);
    }
    let delete = v1::DeleteVmRequest { vm: made.id.clone(), ..Default::default() };
    fleet.vms().delete_vm(delete).await.expect("deleted");
    while table.contains_key(&made.id) {
        apply(&mut table, &mut last, next(&mut stream).await);
    }
}

#[tokio::test]
async fn watch_with_a_filter_says_when_a_vm_leaves_it() {
    let fleet = Fleet::of(1).await;
    let filter = v1::VmFilter { states: vec![v1::VmState::Running.into()], ..Default::default() };
    let request = v1::WatchVmsRequest { filter: Some(filter), ..Default::default() };
    let mut stream = fleet.vms().watch_vms(request).await.expect("watches").into_inner();
    let (mut table, mut last) = initial(&mut stream).await;
    let made = fleet.create(create("web")).await;
    while !table.contains_key(&made.id) {
        apply(&mut table, &mut last, next(&mut stream).await);
    }
    let stop = v1::StopVmRequest { vm: made.id.clone(), ..Default::default() };
    fleet.vms().stop_vm(stop).await.expect("stops");
    while table.contains_key(&made.id) {
        apply(&mut table, &mut last, next(&mut stream).await);
    }
}

#[tokio::test]
async fn watch_revisions_grow_over_a_restart_and_an_old_one_must_list_again() {
    let mut fleet = Fleet::of(1).await;
    fleet.create(create("web")).await;
    fleet.until_state("web", v1::VmState::Running).await;
    let (_, before) = list(&fleet).await;
    fleet.stop_server();
    fleet.start_server().await;
    let (_, after) = list(&fleet).await;
    assert!(after > before, "{after} is not after {before}");
    let request = v1::WatchVmsRequest { after_revision: Some(before), ..Default::default() };
    let error = match fleet.vms().watch_vms(request).await {
        Err(error) => error,
        Ok(stream) => stream.into_inner().message().await.expect_err("too old"),
    };
    assert_eq!(error.code(), Code::OutOfRange);
    assert_eq!(error.get_details_error_info().expect("has one").reason, "REVISION_TOO_OLD");
}
