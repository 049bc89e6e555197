use super::*;

#[test]
fn delays_double_and_stay_bounded() {
    let mut backoff = Backoff::for_dialling(7);
    let mut step = 50.0;
    for _ in 0..200 {
        let delay = backoff.next_delay().as_secs_f64() * 1000.0;
        assert!((0.75 * step..=1.25 * step).contains(&delay), "{delay} for a step of {step}");
        step = (step * 2.0_f64).min(5000.0);
    }
    backoff.reset();
    assert!(backoff.next_delay() <= Duration::from_micros(62_500));
}

#[test]
fn two_owners_are_not_in_step() {
    let (mut one, mut other) = (Backoff::for_dialling(1 << 70), Backoff::for_dialling(2));
    let same = (0..20).filter(|_| one.next_delay() == other.next_delay()).count();
    assert!(same < 3, "{same} of 20 delays are the same");
}

#[test]
fn a_seed_of_zero_still_varies() {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1), 0);
    assert_ne!(backoff.next_delay(), backoff.next_delay());
}
