//! Claims about the pauses.

use super::*;

#[test]
fn pauses_double_up_to_the_longest_and_start_over_after_a_reset() {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
    let whole: Vec<_> = (0..4).map(|_| backoff.pause(u32::MAX).as_millis()).collect();
    assert_eq!(whole, [100, 200, 350, 350]);
    backoff.reset();
    assert_eq!(backoff.pause(u32::MAX).as_millis(), 100);
}

#[test]
fn a_pause_is_never_shorter_than_half_its_step() {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    assert_eq!(backoff.pause(0).as_millis(), 50);
    assert_eq!(backoff.pause(0).as_millis(), 100);
}
