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

/// Stored fingerprints must be the same with every later server, or a repeated create would be
/// taken for another one.
#[test]
fn the_fingerprint_of_a_spec_does_not_change_between_versions() {
    let spec = spec_with(|draft| {
        draft.vcpus = 2;
        draft.labels.insert("app".to_owned(), "web".to_owned());
    });
    insta::assert_snapshot!(spec.to_json(), @r#"{"vcpus":2,"memory_mib":256,"kernel":{"name":"vmlinux"},"root_image":{"name":"root.ext4"},"root_disk_mib":1024,"boot_args":"console=ttyS0 reboot=k panic=1","egress":"NAT","labels":{"app":"web"},"restart_policy":"NEVER"}"#);
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
fn an_etag_differs_between_generations_and_between_things() {
    let tags =
        [etag(b"vm", "a", 1), etag(b"vm", "a", 2), etag(b"vm", "b", 1), etag(b"host", "a", 1)];
    for (index, tag) in tags.iter().enumerate() {
        assert!(!tags[index + 1..].contains(tag));
    }
}

#[test]
fn desired_states_round_trip_through_text() {
    for desired in [Desired::Running, Desired::Paused, Desired::Stopped, Desired::Absent] {
        assert_eq!(Desired::parse(desired.as_str()), Some(desired));
    }
    assert_eq!(Desired::parse("BOOTING"), None);
}
