//! What a project's reads cost beside many VMs of others: looks are counted, not time.

use super::*;
use crate::model::caller::ProjectRole;
use crate::model::filter::VmFilter;
use crate::model::fixtures::{caller_of, project};
use crate::model::intent::VmIntent;
use crate::testing::intent;
use crate::watch::LOOKED_AT;

/// VMs of others.
const MANY: u32 = 10_000;

/// The first page of all VMs that a caller sees, with how many VMs were looked at for it.
async fn listed(fixture: &Fixture, caller: &Caller) -> (v1::ListVmsResponse, usize) {
    let mut list = asked(v1::ListVmsRequest::default());
    list.extensions_mut().insert(caller.clone());
    let before = LOOKED_AT.get();
    let page = fixture.vms.list_vms(list).await.expect("listed").into_inner();
    (page, LOOKED_AT.get() - before)
}

fn vm_of(number: u32, of: &str) -> Arc<VmIntent> {
    let name = format!("vm-{number}");
    Arc::new(VmIntent { project: project(of), name, ..intent(number) })
}

#[tokio::test]
async fn a_project_of_one_vm_among_many_has_few_looked_at() {
    let fixture = fixture().await;
    let mut changes: Vec<_> = (2..MANY + 2).map(|n| Change::put(vm_of(n, "lab"))).collect();
    changes.insert(5_000, Change::put(vm_of(1, "shop")));
    fixture.api.view.committed(&changes);
    let shop = caller_of("shop", ProjectRole::Viewer);
    let (page, looked_at) = listed(&fixture, &shop).await;
    assert_eq!((page.vms.len(), page.total_size), (1, 1));
    assert_eq!(looked_at, 2, "once to count it, once to show it");

    let filter = VmFilter { project: Some(project("shop")), ..VmFilter::default() };
    let mut stream = fixture.api.view.watch(None, filter, &shop.party()).expect("a stream");
    let before = LOOKED_AT.get();
    let first = stream.next().await.expect("the state at the start");
    assert!(first.completes_initial_state, "in one part");
    assert_eq!(LOOKED_AT.get() - before, 1);

    // Whoever sees the fleet has the fleet looked at.
    let (page, looked_at) = listed(&fixture, &crate::model::fixtures::caller()).await;
    assert_eq!(page.total_size, u64::from(MANY) + 1);
    assert!(looked_at > 100, "{looked_at}");

    // One that goes is looked at no more.
    fixture.api.view.committed(&[Change::remove(vm_of(1, "shop"), at(1))]);
    let (page, looked_at) = listed(&fixture, &shop).await;
    assert_eq!((page.total_size, looked_at), (0, 0));
}
