//! Inventory then changes, in order, each VM once.

use super::*;
use crate::report::phase::Phase;
use crate::vm::fixtures::{report, version, vm_id};

fn phases(changes: &[Reported]) -> Vec<(VmId, Option<Phase>)> {
    changes
        .iter()
        .map(|change| match change {
            Reported::Vm(report) => (report.vm, Some(report.phase)),
            Reported::Gone { vm, .. } => (*vm, None),
        })
        .collect()
}

#[tokio::test]
async fn a_reader_gets_the_inventory_and_then_every_change_in_order() {
    let reporter = Reporter::new();
    reporter.publish(report(1, Phase::Preparing));
    let (inventory, mut reader) = reporter.subscribe();
    assert_eq!(inventory.len(), 1);
    reporter.publish(report(2, Phase::Preparing));
    reporter.publish(report(1, Phase::Running));
    let changes = reader.changes().await.unwrap();
    assert_eq!(
        phases(&changes),
        [(vm_id(2), Some(Phase::Preparing)), (vm_id(1), Some(Phase::Running))]
    );
}

#[tokio::test]
async fn a_slow_reader_finds_each_vm_once_as_it_is_now() {
    let reporter = Reporter::new();
    let (_, mut reader) = reporter.subscribe();
    for _ in 0..1000 {
        reporter.publish(report(1, Phase::Preparing));
        reporter.publish(report(1, Phase::Running));
        reporter.publish(report(2, Phase::Stopped));
    }
    let changes = reader.changes().await.unwrap();
    assert_eq!(
        phases(&changes),
        [(vm_id(1), Some(Phase::Running)), (vm_id(2), Some(Phase::Stopped))]
    );
}

#[tokio::test]
async fn a_vm_that_is_gone_is_said_once_and_is_in_no_later_inventory() {
    let reporter = Reporter::new();
    reporter.publish(report(1, Phase::Running));
    let (_, mut reader) = reporter.subscribe();
    reporter.gone(vm_id(1), version(1, 2));
    assert_eq!(phases(&reader.changes().await.unwrap()), [(vm_id(1), None)]);
    assert_eq!(reporter.subscribe().0, []);
}

#[tokio::test]
async fn a_reader_that_missed_a_forgotten_tombstone_must_begin_anew() {
    let reporter = Reporter::new();
    let (_, mut slow) = reporter.subscribe();
    for n in 0..=TOMBSTONES {
        reporter.gone(vm_id(u32::try_from(n).unwrap() + 1), version(1, 1));
    }
    let (_, mut fresh) = reporter.subscribe();
    assert_eq!(slow.changes().await, Err(Lagged));
    reporter.publish(report(1, Phase::Running));
    assert_eq!(fresh.changes().await.unwrap().len(), 1);
}

#[tokio::test]
async fn many_changes_come_in_parts_and_none_is_left_out() {
    let reporter = Reporter::new();
    let (_, mut reader) = reporter.subscribe();
    let vms = u32::try_from(PART).unwrap() + 5;
    for n in 1..=vms {
        reporter.publish(report(n, Phase::Running));
    }
    assert_eq!(reader.changes().await.unwrap().len(), PART);
    assert_eq!(reader.changes().await.unwrap().len(), 5);
}
