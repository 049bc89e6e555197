use banger_proto::ids::VmId;
use uuid::Uuid;

use super::*;

fn vm() -> VmId {
    VmId::from_uuid(Uuid::from_u128(7))
}

#[test]
fn a_newer_generation_waits_for_nobody() {
    let mut attempts = Attempts::default();
    let now = Instant::now();
    assert_eq!(attempts.failed(vm(), Generation(1), Step::Send, now), 1);
    let (at, pause) = attempts.not_before(vm(), Generation(1), Step::Send).expect("it waits");
    assert!(at > now);
    assert_eq!(pause, Pause::Failed);
    assert_eq!(attempts.not_before(vm(), Generation(2), Step::Send), None);
    assert_eq!(attempts.failed(vm(), Generation(2), Step::Send, now), 1, "counted afresh");
}

#[test]
fn failures_wait_longer_each_time_until_one_is_accepted() {
    let mut attempts = Attempts::default();
    let now = Instant::now();
    for expected in 1..=6 {
        assert_eq!(attempts.failed(vm(), Generation(1), Step::Send, now), expected);
    }
    let long = attempts.not_before(vm(), Generation(1), Step::Send).expect("it waits").0 - now;
    assert!(long >= Duration::from_secs(4), "{long:?}");
    attempts.accepted(vm(), Generation(1), Step::Send, now);
    assert_eq!(attempts.failed(vm(), Generation(1), Step::Send, now), 1);
}

#[test]
fn what_needs_nothing_is_forgotten() {
    let mut attempts = Attempts::default();
    attempts.failed(vm(), Generation(1), Step::Send, Instant::now());
    attempts.keep(&HashSet::new());
    assert_eq!(attempts.not_before(vm(), Generation(1), Step::Send), None);
}

#[test]
fn a_vm_that_is_gone_is_forgotten_at_once_though_its_delete_was_just_accepted() {
    let mut attempts = Attempts::default();
    let now = Instant::now();
    attempts.accepted(vm(), Generation(2), Step::Send, now);
    let (at, pause) = attempts.not_before(vm(), Generation(2), Step::Send).expect("it waits");
    assert!(at > now);
    assert_eq!(pause, Pause::NotSeenYet);
    assert_eq!(attempts.not_before(vm(), Generation(2), Step::Forget), None);
}
