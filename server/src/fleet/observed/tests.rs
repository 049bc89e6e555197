use super::*;
use crate::model::observed::Phase;
use crate::testing::{facts, seen, vm_id};

fn feed(intake: &mut Intake, reports: Vec<Report>) -> Vec<Taken> {
    reports
        .into_iter()
        .map(|report| {
            let sequence = intake.taken + 1;
            intake.take(Message { sequence, report }).expect("in order")
        })
        .collect()
}

fn part(vms: &[u128], last: bool) -> Report {
    let vms = vms.iter().map(|vm| (vm_id(*vm), seen(Phase::Running, 1))).collect();
    Report::Inventory { vms, last }
}

fn host() -> Report {
    Report::Host(Box::new(facts()))
}

#[test]
fn an_inventory_counts_only_when_its_last_part_is_in() {
    let mut intake = Intake::default();
    let taken = feed(&mut intake, vec![host(), part(&[1], false), part(&[2], true)]);
    assert!(matches!(taken[0], Taken::Facts(_)));
    assert!(matches!(taken[1], Taken::Nothing));
    let Taken::Inventory(listed) = &taken[2] else { panic!("{:?}", taken[2]) };
    assert_eq!(listed.keys().copied().collect::<Vec<_>>(), [vm_id(1), vm_id(2)]);
    assert!(intake.is_complete());
}

#[test]
fn a_change_between_parts_of_the_inventory_is_part_of_it() {
    let mut intake = Intake::default();
    let taken = feed(
        &mut intake,
        vec![
            host(),
            part(&[1, 2], false),
            Report::Gone(vm_id(1)),
            Report::Vm(vm_id(3), seen(Phase::Starting, 1)),
            part(&[], true),
        ],
    );
    let Some(Taken::Inventory(listed)) = taken.last() else { panic!("{taken:?}") };
    assert_eq!(listed.keys().copied().collect::<Vec<_>>(), [vm_id(2), vm_id(3)]);
}

#[test]
fn a_gap_a_repetition_and_a_stream_without_facts_begin_anew() {
    let message = |sequence| Message { sequence, report: Report::Heartbeat };
    let mut intake = Intake::default();
    intake.take(message(1)).expect("the first");
    let gap = IntakeError::Gap { expected: 2, got: 3 };
    assert_eq!(intake.take(message(3)).expect_err("a gap"), gap);
    let again = IntakeError::Gap { expected: 2, got: 1 };
    assert_eq!(intake.take(message(1)).expect_err("a repetition"), again);
    let mut intake = Intake::default();
    let first = Message { sequence: 1, report: part(&[1], true) };
    assert_eq!(intake.take(first).expect_err("no facts"), IntakeError::NoFacts);
}

#[test]
fn after_the_inventory_changes_are_handed_on_one_by_one() {
    let mut intake = Intake::default();
    let taken = feed(
        &mut intake,
        vec![
            host(),
            part(&[], true),
            Report::Heartbeat,
            Report::Vm(vm_id(1), seen(Phase::Running, 1)),
            Report::Gone(vm_id(1)),
        ],
    );
    assert!(matches!(taken[2], Taken::Nothing));
    assert!(matches!(&taken[3], Taken::Sighting(Sighting::Vm(id, _)) if *id == vm_id(1)));
    assert!(matches!(&taken[4], Taken::Sighting(Sighting::Gone(id)) if *id == vm_id(1)));
}
