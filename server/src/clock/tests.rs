use super::*;

#[test]
fn a_manual_clock_moves_only_when_told() {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
    clock.advance(SignedDuration::from_secs(5));
    assert_eq!(clock.now().as_second(), 5);
    clock.advance(SignedDuration::from_secs(-7));
    assert_eq!(clock.now().as_second(), -2);
}

#[test]
fn a_manual_clock_stops_at_the_end_of_time() {
    let clock = ManualClock::at(Timestamp::MAX);
    clock.advance(SignedDuration::from_secs(1));
    assert_eq!(clock.now(), Timestamp::MAX);
}
