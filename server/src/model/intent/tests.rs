use super::*;
use crate::model::fixtures::{spec, spec_with};

#[test]
fn a_fingerprint_tells_name_spec_and_desired_state_apart() {
    let base = Fingerprint::of("web", &spec(), Desired::Running);
    assert_eq!(base, Fingerprint::of("web", &spec(), Desired::Running));
    assert_ne!(base, Fingerprint::of("", &spec(), Desired::Running));
    assert_ne!(base, Fingerprint::of("web", &spec(), Desired::Stopped));
    assert_ne!(base, Fingerprint::of("web", &spec_with(|draft| draft.vcpus = 2), Desired::Running));
}

#[test]
fn slot_address_mac_and_context_id_follow_from_each_other() {
    let subnet = "10.64.0.0/20".parse().expect("a network");
    let net = NetAllocation::of(subnet, 2).expect("the first slot");
    assert_eq!(net.address.to_string(), "10.64.0.2");
    assert_eq!(net.mac.to_string(), "02:fc:0a:40:00:02");
    assert_eq!(net.cid, 3, "0 to 2 are reserved by vsock");
    assert_eq!(NetAllocation::of(subnet, 1), None);
}

#[test]
fn desired_states_round_trip_through_text() {
    for desired in [Desired::Running, Desired::Paused, Desired::Stopped, Desired::Absent] {
        assert_eq!(Desired::parse(desired.as_str()), Some(desired));
    }
    assert_eq!(Desired::parse("BOOTING"), None);
}
