use super::*;
use crate::host::VmmKind;

fn at() -> Moment {
    Moment(std::time::Duration::from_secs(1))
}

#[test]
fn a_bound_that_moved_is_written_again_and_one_without_a_controller_is_said() {
    let mut wanted = JailBounds::of(VmmKind::Firecracker, 1, 256);
    let held = |wanted: &JailBounds| Seen::Present(wanted.held());
    assert_eq!(lacks(&wanted, &held(&wanted), at()), Unheld::default());

    let before = held(&wanted);
    wanted.cpu_millis = 500;
    let changed = lacks(&wanted, &before, at());
    assert_eq!((changed.mend, changed.fault), (Some(Effect::HoldBounds(wanted.clone())), None));

    let no_cpu = BoundsSeen { cpu_weight: None, cpu_millis: None, ..wanted.held() };
    let unheld = lacks(&wanted, &Seen::Present(no_cpu), at());
    let fault = unheld.fault.expect("what was asked for does not hold");
    assert_eq!((unheld.mend, fault.reason, fault.retry_at), (None, Reason::LimitsNotHeld, None));
    assert!(fault.message.contains("limits of cpu"), "{}", fault.message);
}

#[test]
fn what_can_not_be_read_is_looked_at_again_and_nothing_is_written() {
    let wanted = JailBounds::of(VmmKind::Firecracker, 1, 256);
    let unheld = lacks(&wanted, &Seen::Unknown("no answer".to_owned()), at());
    assert_eq!(unheld.mend, None);
    assert!(unheld.fault.is_some_and(|fault| fault.retry_at.is_some()));
}
