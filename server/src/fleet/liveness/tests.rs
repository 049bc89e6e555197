use super::*;

const HEARTBEAT: Duration = Duration::from_secs(2);

fn heard(silence_ms: u64) -> Contact {
    Contact::Heard { silence: Duration::from_millis(silence_ms), heartbeat: HEARTBEAT }
}

#[test]
fn a_host_never_reached_stays_connecting() {
    assert_eq!(judge(Contact::Never, &LivenessLimits::default()), HostState::Connecting);
    assert_eq!(next_change(Contact::Never, &LivenessLimits::default()), None);
}

#[test]
fn silence_makes_a_host_suspect_and_then_offline() {
    let limits = LivenessLimits::default();
    let cases = [
        (0, HostState::Online),
        (5_999, HostState::Online),
        (6_000, HostState::Suspect),
        (35_999, HostState::Suspect),
        (36_000, HostState::Offline),
        (9_000_000, HostState::Offline),
    ];
    for (silence, expected) in cases {
        assert_eq!(judge(heard(silence), &limits), expected, "after {silence} ms");
    }
}

#[test]
fn the_next_change_is_when_the_judgement_changes() {
    let limits = LivenessLimits::default();
    for silence in [0, 100, 5_999, 6_000, 12_000, 35_999] {
        let now = judge(heard(silence), &limits);
        let wait = next_change(heard(silence), &limits).expect("it changes before it is offline");
        let wait = u64::try_from(wait.as_millis()).expect("small");
        assert_eq!(judge(heard(silence + wait - 1), &limits), now, "one ms before, from {silence}");
        assert_ne!(judge(heard(silence + wait), &limits), now, "then, from {silence}");
    }
    assert_eq!(next_change(heard(36_000), &limits), None);
}

#[test]
fn an_absurd_heartbeat_neither_flaps_nor_blinds() {
    let limits = LivenessLimits::default();
    assert_eq!(limits.suspect_after(Duration::ZERO), limits.shortest);
    assert_eq!(limits.suspect_after(Duration::MAX), LONGEST_SILENCE);
}
