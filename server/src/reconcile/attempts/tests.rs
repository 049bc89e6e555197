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
    assert_eq!(attempts.failed(vm(), Generation(1), now), 1);
    assert!(attempts.not_before(vm(), Generation(1)) > Some(now));
    assert_eq!(attempts.not_before(vm(), Generation(2)), None);
    assert_eq!(attempts.failed(vm(), Generation(2), now), 1, "counted afresh");
}

#[test]
fn failures_wait_longer_each_time_until_one_is_accepted() {
    let mut attempts = Attempts::default();
    let now = Instant::now();
    for expected in 1..=6 {
        assert_eq!(attempts.failed(vm(), Generation(1), now), expected);
    }
    let long = attempts.not_before(vm(), Generation(1)).expect("it waits") - now;
    assert!(long >= Duration::from_secs(4), "{long:?}");
    attempts.accepted(vm(), Generation(1), now);
    assert_eq!(attempts.failed(vm(), Generation(1), now), 1);
}

#[test]
fn what_needs_nothing_is_forgotten() {
    let mut attempts = Attempts::default();
    attempts.failed(vm(), Generation(1), Instant::now());
    attempts.keep(&HashSet::new());
    assert_eq!(attempts.not_before(vm(), Generation(1)), None);
}
