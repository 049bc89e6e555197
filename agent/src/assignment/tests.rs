//! Which of two assignments wins.

use banger_proto::ids::{Epoch, Generation};
use proptest::prelude::*;

use super::*;
use crate::vm::fixtures::{assignment, version};

fn held(assignment: Assignment) -> Record {
    match merge(None, assignment) {
        Merge::Newer(record) => *record,
        other => panic!("the first is always newer: {other:?}"),
    }
}

#[test]
fn older_generation_never_restarts_a_stopped_vm() {
    let mut stop = assignment(1, 5);
    stop.power = Power::Stopped;
    let record = held(stop);
    assert_eq!(merge(Some(&record), assignment(1, 4)), Merge::Stale { seen: version(1, 5) });
}

#[test]
fn a_newer_epoch_wins_over_any_generation_of_an_older_one() {
    let record = held(assignment(1, 900));
    assert!(matches!(merge(Some(&record), assignment(2, 1)), Merge::Newer(_)));
    let record = held(assignment(2, 1));
    assert_eq!(merge(Some(&record), assignment(1, 900)), Merge::Stale { seen: version(2, 1) });
}

#[test]
fn the_same_version_again_only_wakes() {
    let record = held(assignment(1, 1));
    let mut again = assignment(1, 1);
    again.power = Power::Absent;
    assert_eq!(merge(Some(&record), again), Merge::Same);
}

#[test]
fn with_no_record_nothing_found_on_the_host_is_out_of_date() {
    let mut first = assignment(1, 7);
    first.boot_number = 4;
    first.root_disk_number = 3;
    let record = held(first);
    assert!(!record.reboot_pending());
    assert!(!record.root_disk_pending());
}

#[test]
fn a_reset_of_the_root_disk_stays_pending_through_later_changes() {
    let record = held(assignment(1, 1));
    let mut reset = assignment(1, 2);
    reset.root_disk_number += 1;
    let Merge::Newer(record) = merge(Some(&record), reset.clone()) else { panic!("newer") };
    assert!(record.root_disk_pending());
    reset.version = version(1, 3);
    reset.power = Power::Stopped;
    let Merge::Newer(record) = merge(Some(&record), reset) else { panic!("newer") };
    assert!(record.root_disk_pending());
}

#[test]
fn another_root_image_needs_another_store() {
    let record = held(assignment(1, 1));
    let mut other = assignment(1, 2);
    other.shape.as_mut().unwrap().root_image.name = "other.ext4".parse().unwrap();
    let Merge::Newer(record) = merge(Some(&record), other) else { panic!("newer") };
    assert!(record.root_disk_pending());
}

#[test]
fn an_image_is_needed_as_long_as_the_spec_names_it_or_the_disk_lies_over_it() {
    let image = |text: &str| text.parse::<ImageName>().expect("a name");
    let record = held(assignment(1, 1));
    let shape = record.assignment.shape.clone().expect("given");
    let mut other = assignment(1, 2);
    other.shape.as_mut().expect("given").root_image.name = image("other.ext4");
    let Merge::Newer(mut record) = merge(Some(&record), other) else { panic!("newer") };
    // The store over the old one is still there: what the guest wrote is nothing without it.
    for needed in [&shape.kernel.name, &shape.root_image.name, &image("other.ext4")] {
        assert!(record.names(needed), "{needed}");
    }
    assert!(!record.names(&image("third.ext4")));
    record.progress.root_image = record.assignment.shape.as_ref().map(|s| s.root_image.clone());
    assert!(!record.names(&shape.root_image.name), "the store lies over another one now");
    assert!(record.names(&image("other.ext4")));
}

#[test]
fn a_delete_keeps_the_shape_it_was_told_before() {
    let record = held(assignment(1, 1));
    let mut delete = assignment(1, 2);
    delete.power = Power::Absent;
    delete.shape = None;
    let Merge::Newer(record) = merge(Some(&record), delete) else { panic!("newer") };
    assert!(record.assignment.shape.is_some());
}

proptest! {
    #[test]
    fn in_any_order_of_arrival_the_highest_version_is_held(
        versions in proptest::collection::vec((0_u64..4, 0_u64..6), 1..20)
    ) {
        let mut record: Option<Record> = None;
        for (epoch, generation) in &versions {
            match merge(record.as_ref(), assignment(*epoch, *generation)) {
                Merge::Newer(newer) => record = Some(*newer),
                Merge::Same | Merge::Stale { .. } => {}
            }
        }
        let highest = versions
            .iter()
            .map(|(e, g)| Version { epoch: Epoch(*e), generation: Generation(*g) })
            .max();
        prop_assert_eq!(record.map(|r| r.assignment.version), highest);
    }
}
